//! What every benchmark stands on: an issuer's keys and tokens, a sink that keeps nothing, a service that does
//! nothing, and an authorization server without a wire.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt;
use hopguard_client::{Algorithm, BoxFuture, SigningKey, SystemClock, Transport, TransportError};
use hopguard_core::{Audit, AuditFull, AuditSink, Clock, Event, Id, Ledger, ScopeGuard, Ttl, minutes};
use hopguard_tower::inbound::{InboundBuilder, Missing, Set};
use hopguard_tower::{Inbound, OpenPaths};
use hopguard_verify::Issuer;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_service::Service;

pub(crate) const ISSUER: &str = "https://sts.internal";
pub(crate) const GATEWAY: &str = "https://gateway.internal";
pub(crate) const ORDERS: &str = "https://orders.internal";
pub(crate) const INVENTORY: &str = "https://inventory.internal";
pub(crate) const TOKEN_ENDPOINT: &str = "https://sts.internal/token";
const JWKS: &str = "https://sts.internal/jwks";

/// An issuer's key, the way we hold it and the way the floors do.
pub(crate) struct Key {
    pub(crate) signing: SigningKey,
    pub(crate) raw: ParsedPublicKey,
    jwk: Value,
}

impl Key {
    pub(crate) fn es256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let raw = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        Self::new(Algorithm::Es256, pair.to_pkcs8v1().expect("PKCS #8").as_ref(), raw.expect("a point"))
    }

    pub(crate) fn rs256() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let raw = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS #8");
        Self::new(Algorithm::Rs256, der.as_ref(), raw.expect("a key"))
    }

    pub(crate) fn eddsa() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let raw = ParsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        Self::new(Algorithm::EdDsa, pair.to_pkcs8v1().expect("PKCS #8").as_ref(), raw.expect("a point"))
    }

    fn new(algorithm: Algorithm, pkcs8: &[u8], raw: ParsedPublicKey) -> Self {
        let signing = SigningKey::from_pkcs8(algorithm, pkcs8, None).expect("a key");
        Self { jwk: signing.public_jwk(), signing, raw }
    }

    pub(crate) fn jwk(&self) -> &Value {
        &self.jwk
    }

    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk] }).to_string()
    }

    /// A token of about 900 bytes, as an authorization server writes it after one exchange.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.signing.sign_jwt("at+jwt", claims).expect("a token").to_string()
    }

    /// `count` tokens, no two alike, signed on every core.
    pub(crate) fn tokens(&self, count: usize) -> Vec<Arc<str>> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(workers);
        std::thread::scope(|scope| {
            let part = || (0..share).map(|_| self.token(&claims()).into()).collect::<Vec<_>>();
            let parts: Vec<_> = (0..workers).map(|_| scope.spawn(part)).collect();
            parts.into_iter().flat_map(|part| part.join().expect("tokens")).take(count).collect()
        })
    }
}

/// The claims of a user's token for orders, as the gateway's exchange has left them.
pub(crate) fn claims() -> Value {
    let now = SystemClock.now().as_secs();
    json!({
        "iss": ISSUER,
        "aud": ORDERS,
        "sub": "6f1c2f1e-8a53-4c1b-9d4e-0f6b5d9a7c11",
        "client_id": "gateway",
        "jti": Id::fresh().to_string(),
        "iat": now,
        "exp": now + 3600,
        "scope": "orders:read orders:write stock:read",
        "act": { "sub": "gateway", "act": { "sub": "edge" } },
        "auth_time": now - 60,
        "acr": "urn:mace:incommon:iap:silver",
        "amr": ["pwd", "otp"],
        "sid": "0f6b5d9a-8a53-4c1b-9d4e-6f1c2f1e7c11",
        "email": "alice@example.com",
        "preferred_username": "alice",
        "groups": ["buyers", "reviewers", "emea"],
    })
}

/// A token taken apart as the floors want it, outside the measured time.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) input: String,
    pub(crate) signature: Vec<u8>,
}

impl Signed {
    pub(crate) fn of(token: &str) -> Self {
        let (input, signature) = token.rsplit_once('.').expect("a signature");
        Self { input: input.to_owned(), signature: URL_SAFE_NO_PAD.decode(signature).expect("base64url") }
    }

    pub(crate) fn verify(&self, key: &ParsedPublicKey) {
        key.verify_sig(self.input.as_bytes(), &self.signature).expect("a good signature");
    }
}

/// Takes events, counts none and keeps none: what is measured is what the request path does.
#[derive(Debug)]
pub(crate) struct Discard;

impl AuditSink for Discard {
    fn reserve(&self) -> Result<(), AuditFull> {
        Ok(())
    }

    fn release(&self) {}

    fn commit(&self, event: Event) {
        drop(event);
    }

    fn offer(&self, event: Event) {
        drop(event);
    }
}

pub(crate) fn audit() -> Audit {
    Audit::new("orders", "1", Arc::new(Discard))
}

/// The stack that the chain's `orders` has, over fixed keys.
pub(crate) fn guard(ledger: &Ledger, audit: &Audit, key: &Key) -> Inbound {
    guard_for(Inbound::builder(ledger, audit).issuer(Issuer::at(ISSUER).keys_fixed(&key.jwks())), ORDERS)
}

pub(crate) fn guard_for(builder: InboundBuilder<Set, Missing, Missing, Missing>, audience: &str) -> Inbound {
    builder
        .audience(audience)
        .ttl(Ttl::lifetime_at_most(minutes(61)))
        .scope(ScopeGuard::all_of(["stock:read"]))
        .transport(Arc::new(Sts::silent()))
        .build()
        .expect("a stack")
        .open(OpenPaths::paths(["/health"]))
}

/// A request as a server hands it over.
pub(crate) fn request(token: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .uri("/orders/4711?expand=lines")
        .header("host", "orders.internal")
        .header("user-agent", "gateway/1.4.2")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, br")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .expect("a request")
}

/// A service that answers at once, as bare as one can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(request);
        ready(Ok(Response::new(Full::from(Bytes::from_static(b"ok")))))
    }
}

/// Calls a service that never waits, and reads its answer to the end.
pub(crate) fn drive<S, B, R>(service: &mut S, request: Request<B>) -> StatusCode
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: std::fmt::Debug,
    R: http_body_util::BodyExt<Data = Bytes> + Unpin,
    R::Error: std::fmt::Debug,
{
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "a service that is always ready");
    let response = service.call(request).now_or_never().expect("no waiting").expect("an answer");
    let (parts, mut body) = response.into_parts();
    while let Some(frame) = body.frame().now_or_never().expect("no waiting") {
        drop(frame.expect("a frame"));
    }
    parts.status
}

/// An authorization server without a wire: signs narrower tokens for whatever is asked.
pub(crate) struct Sts {
    key: Option<Arc<Key>>,
}

impl Sts {
    /// One that must not be asked.
    pub(crate) fn silent() -> Self {
        Self { key: None }
    }

    /// One that signs with `key`.
    pub(crate) fn of(key: &Arc<Key>) -> Self {
        Self { key: Some(key.clone()) }
    }

    fn answer(key: &Key, request: &Request<Bytes>) -> Value {
        match request.uri().path() {
            "/.well-known/oauth-authorization-server" => {
                json!({ "issuer": ISSUER, "jwks_uri": JWKS, "token_endpoint": TOKEN_ENDPOINT })
            }
            "/jwks" => json!({ "keys": [key.jwk()] }),
            "/token" => {
                let form = std::str::from_utf8(request.body()).expect("a form");
                let field = |name: &str| {
                    let pair = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                    percent_encoding::percent_decode_str(pair.unwrap_or_default())
                        .decode_utf8_lossy()
                        .into_owned()
                };
                let subject = field("subject_token");
                let payload = subject.split('.').nth(1).expect("a payload");
                let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
                let mut claims: Value = serde_json::from_slice(&payload).expect("claims");
                // The client's name is what its secret is for; the benches give each client its audience's.
                let client = client_of(request);
                let act = json!({ "sub": client, "act": claims["act"] });
                claims["aud"] = field("audience").into();
                claims["scope"] = field("scope").into();
                claims["client_id"] = client.into();
                claims["act"] = act;
                claims["jti"] = Id::fresh().to_string().into();
                json!({
                    "access_token": key.token(&claims),
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                    "token_type": "Bearer",
                    "expires_in": 3600,
                })
            }
            other => panic!("nobody serves {other}"),
        }
    }
}

/// The client that `client_secret_basic` names.
fn client_of(request: &Request<Bytes>) -> String {
    let value = request.headers()["authorization"].to_str().expect("text");
    let pair = value.strip_prefix("Basic ").expect("client_secret_basic");
    let pair = base64::prelude::BASE64_STANDARD.decode(pair).expect("base64");
    let pair = String::from_utf8(pair).expect("text");
    pair.split(':').next().unwrap_or_default().to_owned()
}

impl std::fmt::Debug for Sts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sts")
    }
}

impl Transport for Sts {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        let key = self.key.as_ref().expect("nobody asks this server");
        let body = Bytes::from(Self::answer(key, &request).to_string());
        let answer = Response::builder().header("content-type", "application/json").body(body);
        Box::pin(ready(Ok(answer.expect("a response"))))
    }
}
