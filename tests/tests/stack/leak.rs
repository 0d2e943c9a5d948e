//! I10: token bytes appear in no log, audit record, error or `Debug`.

use hopguard_testkit::leak::{self, Capture};
use hopguard_testkit::{Misbehaviour, mint::Signature};
use http::Request;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::World;

/// Sends tokens along every path that writes something, and looks at all that was written.
#[tokio::test]
async fn no_token_shows_anywhere() {
    let capture = Capture::new();
    let _guard = capture.here();
    let world = World::new().await;
    let good = world.signed(world.token());
    let caller = world.admit(&good).await;
    let mut tokens = vec![good.clone()];
    let mut shown = format!("{caller:?} {:?} {:?}", world.inbound, world.client);

    for bad in [
        world.token().signature(Signature::Impostor),
        world.token().claim("iss", "https://evil.example"),
        world.token().claim("aud", "elsewhere"),
        world.token().claim("exp", 1),
        world.token().header("kid", "unknown"),
        world.token().header("typ", "JWT"),
        world.token().raw_payload("{\"iss\":"),
    ] {
        let text = world.signed(bad);
        let service = world.inbound.layer(service_fn(|_: Request<hopguard::Upload<String>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));
        let request = Request::get("/").header("authorization", format!("Bearer {text}")).body(String::new());
        let response = service.oneshot(request.unwrap()).await.unwrap();
        assert!(response.status().is_client_error());
        shown.push_str(&format!("{response:?}"));
        tokens.push(text);
    }

    for how in
        [Misbehaviour::WiderScope, Misbehaviour::Opaque, Misbehaviour::InvalidRequest, Misbehaviour::Huge]
    {
        world.sts.misbehave(how);
        let error = world.call(&caller).await.unwrap_err();
        shown.push_str(&chain(&error));
    }
    world.sts.misbehave(Misbehaviour::Honest);
    let response = world.call(&caller).await.unwrap();
    shown.push_str(&format!("{response:?}"));
    let grant = world.peer.requests()[0].header("authorization").unwrap().replace("Bearer ", "");
    tokens.push(grant);
    let leaks = [("x-api-key", good.as_str()), ("authorization", good.as_str())];
    for (name, value) in leaks {
        let calls = world.client.on_behalf_of(&caller);
        let error = calls.get(&world.peer.url("/")).header(name, value).send().await.unwrap_err();
        shown.push_str(&chain(&error));
    }
    let calls = world.client.on_behalf_of(&caller);
    let url = format!("http://127.0.0.1:1/?t={good}");
    shown.push_str(&chain(&calls.get(&url).send().await.unwrap_err()));

    let (log, audit) = (capture.text(), world.sink.text());
    assert!(!log.is_empty(), "the logs were captured");
    for token in &tokens {
        let places = [
            ("a log", log.as_bytes()),
            ("the audit", audit.as_bytes()),
            ("a debug or error", shown.as_bytes()),
        ];
        leak::assert_absent(token, places);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(" {source} {source:?}"));
        next = source.source();
    }
    text
}
