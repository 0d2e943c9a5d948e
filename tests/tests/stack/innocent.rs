//! Ordinary traffic is never blocked: ten thousand generated requests past a ledger with live credentials.

use std::convert::Infallible;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hopguard::{Hop, OnBehalfOf, PassthroughLayer, ScannedBody};
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{ORDERS, World};

/// Numbers that look random and are the same each time (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn jwt(&mut self, typ: &str) -> String {
        let part = |json: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let head = part(&serde_json::json!({"alg": "ES256", "typ": typ, "kid": "k"}));
        let claims = serde_json::json!({
            "iss": "https://sts.internal", "aud": "https://orders.internal", "sub": "alice", "jti": self.next(),
        });
        format!("{head}.{}.{}", part(&claims), BASE64_URL_SAFE_NO_PAD.encode(self.bytes(64)))
    }

    fn uuid(&mut self) -> String {
        let bytes: String = self.bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &bytes[..8], &bytes[8..12], &bytes[12..16], &bytes[16..20], &bytes[20..])
    }

    fn request(&mut self) -> Request<String> {
        let (state, id) = (self.jwt("JWT"), self.uuid());
        let signature: String = self.bytes(32).iter().map(|byte| format!("{byte:02x}")).collect();
        let url = match self.below(6) {
            0 => format!("/authorize?response_type=code&state={state}&client_id={id}"),
            1 => format!("/logout?id_token_hint={state}&post_logout_redirect_uri=https%3A%2F%2Fa.example%2F"),
            2 => format!("/bucket/v1.2.3/file.tar.gz?X-Amz-Expires=300&X-Amz-Signature={signature}"),
            3 => format!("/orders/{id}/lines/{}.{}", self.below(99), self.below(9)),
            4 => format!("/search?q=a.b.c%20%25&page={}", self.below(50)),
            _ => "/".to_owned(),
        };
        let cookie = format!("sid=s%3A{id}.{}; theme=dark; v=1.2", BASE64_STANDARD.encode(self.bytes(32)));
        let mut request = Request::post(format!("https://peer.internal{url}"))
            .header("cookie", cookie)
            .header("x-request-id", self.uuid())
            .header("etag", format!("\"{signature}\""));
        if self.below(3) == 0 {
            request = request.header("dpop", self.jwt("dpop+jwt"));
        }
        let body = match self.below(6) {
            0 => {
                let length = usize::try_from(500 + self.below(4000)).unwrap();
                let image = BASE64_STANDARD.encode(self.bytes(length)).replace('/', "\\/");
                format!("{{\"image\":\"data:image\\/png;base64,{image}\",\"text\":\"a \\u00e9\\n\"}}")
            }
            1 => format!(
                "grant_type=client_credentials&client_assertion_type=urn%3Aietf&client_assertion={}",
                self.jwt("JWT")
            ),
            2 => format!("{{\"state\":\"{state}\",\"ids\":[\"{id}\",\"{}\"],\"price\":12.50}}", self.uuid()),
            3 => format!("--b\r\n\r\n{}\r\n--b--", BASE64_STANDARD.encode(self.jwt("JWT"))),
            4 => format!(
                "A sentence. Another one, with v1.2.3 and https://www.example.com/a/b.html. {signature}"
            ),
            _ => String::new(),
        };
        request.body(body).unwrap()
    }
}

#[tokio::test]
async fn nothing_innocent_is_blocked() {
    let world = World::new().await;
    let caller = world.caller().await;
    for user in 0..50 {
        world.admit(&world.signed(world.sts.token(ORDERS, &format!("user-{user}"), "orders:read"))).await;
    }
    let layer = PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    let mut numbers = Numbers(0x1BAD_5EED);
    let mut seen = 0;
    for _ in 0..10_000 {
        let mut request = numbers.request();
        request.extensions_mut().insert(OnBehalfOf::caller(&caller));
        let (uri, sent) = (request.uri().clone(), request.body().clone());
        let client = service_fn(|request: Request<ScannedBody<String>>| async {
            let arrived = request.into_body().collect().await.map(|body| body.to_bytes());
            Ok::<_, Infallible>(Response::new(arrived))
        });
        let arrived = layer.layer(client).oneshot(request).await;
        let arrived = arrived.unwrap_or_else(|error| panic!("{uri} {sent}: {error}")).into_body().unwrap();
        assert_eq!(arrived, sent.as_bytes());
        seen += 1;
    }
    assert_eq!((seen, world.sink.with_code("passthrough_blocked").len()), (10_000, 0));
}
