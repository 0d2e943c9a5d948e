//! Rows E7, E8, E11, E13: no credential leaves but the one granted for its destination.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hopguard::{Admitted, EgressError, SendError};

use crate::world::World;

enum Place {
    Header(&'static str),
    Query,
    Path,
}

async fn send(
    world: &World,
    caller: &Admitted,
    place: &Place,
    value: &str,
) -> Result<reqwest::Response, EgressError<SendError>> {
    let calls = world.client.on_behalf_of(caller);
    let url = world.peer.url("/stock/42");
    match place {
        Place::Header(name) => calls.get(&url).header(name, value).send().await,
        Place::Query => calls.get(&url).query(&[("q", value)]).send().await,
        Place::Path => {
            calls.get(&world.peer.url(&format!("/stock/x{}", value.replace(['/', ' '], "_")))).send().await
        }
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

const PLACES: [Place; 6] = [
    Place::Header("x-api-key"),
    Place::Header("cookie"),
    Place::Header("x-forwarded-authorization"),
    Place::Header("user-agent"),
    Place::Query,
    Place::Path,
];

fn dresses(token: &str) -> Vec<String> {
    vec![
        token.to_owned(),
        format!("Bearer {token}"),
        format!("session={token}; a=b"),
        percent(token),
        format!("Basic {}", BASE64_STANDARD.encode(format!("user:{token}"))),
        BASE64_URL_SAFE_NO_PAD.encode(token),
        hex(token),
    ]
}

/// Every place times every dress, for one token that `caller` must not be able to pass on.
async fn blocked_everywhere(world: &World, caller: &Admitted, token: &str) {
    // Whatever the first call needs is there, so that the wire shows only what the block lets through.
    world.call(caller).await.unwrap();
    let before = world.peer.bytes().len();
    for place in &PLACES {
        for value in dresses(token) {
            let outcome = send(world, caller, place, &value).await;
            // A path with percent signs in it may be refused as ambiguous first.
            match &outcome {
                Err(error) if error.code() == "target_unreadable" && matches!(place, Place::Path) => continue,
                _ => world.refused(outcome, "passthrough_blocked"),
            }
        }
    }
    assert_eq!(world.peer.bytes().len(), before, "not a byte was sent");
    assert!(!world.peer.saw(token));
}

#[tokio::test]
async fn the_callers_own_token_is_blocked() {
    let world = World::new().await;
    let text = world.signed(world.token());
    let caller = world.admit(&text).await;
    blocked_everywhere(&world, &caller, &text).await;
    let event = world.sink.with_code("passthrough_blocked").remove(0);
    assert_eq!(event.found, Some(caller.facts().fingerprint));
    assert_eq!(event.place.as_deref(), Some("x-api-key"));
}

#[tokio::test]
async fn another_requests_token_is_blocked() {
    let world = World::new().await;
    let theirs = world.signed(world.sts.token(crate::world::ORDERS, "bob", "orders:read"));
    world.admit(&theirs).await;
    let caller = world.caller().await;
    blocked_everywhere(&world, &caller, &theirs).await;
}

#[tokio::test]
async fn a_malleated_copy_is_blocked_too() {
    let world = World::new().await;
    let text = world.signed(world.token());
    let caller = world.admit(&text).await;
    let (input, signature) = text.rsplit_once('.').unwrap();
    let copy = format!("{input}.{}", hopguard_testkit::mint::malleated(signature));
    world.call(&caller).await.unwrap();
    let outcome = send(&world, &caller, &Place::Header("x-api-key"), &copy).await;
    world.refused(outcome, "passthrough_blocked");
}

#[tokio::test]
async fn a_credential_of_ones_own_is_refused() {
    let world = World::new().await;
    let caller = world.caller().await;
    for name in ["authorization", "proxy-authorization"] {
        for value in ["Bearer x", "Basic eDp5"] {
            let outcome = send(&world, &caller, &Place::Header(name), value).await;
            world.refused(outcome, "credential_unexpected");
        }
    }
    assert_eq!(world.reached(), 0);
}

#[tokio::test]
async fn what_was_never_verified_cannot_block() {
    let world = World::new().await;
    let planted = world.signed(world.token().claim("jti", "planted"));
    let caller = world.caller().await;
    let forged = format!("{}AAAA", &planted[..planted.len() - 4]);
    for value in [&planted, &forged] {
        assert_eq!(send(&world, &caller, &Place::Header("x-state"), value).await.unwrap().status(), 200);
    }
}

/// Genuine tokens for somebody else take no place in the ledger, so that nobody pushes live entries out with them.
#[tokio::test]
async fn what_the_guards_refuse_is_not_remembered() {
    use tower::ServiceExt;
    let world = World::new().await;
    for token in
        [world.token().claim("aud", "https://elsewhere.internal"), world.token().claim("exp", 1_900_000_000)]
    {
        let service =
            world.inbound.around(tower::service_fn(|_: http::Request<hopguard::Upload<String>>| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
            }));
        let shown = format!("Bearer {}", world.signed(token));
        let request = http::Request::get("/").header("authorization", shown).body(String::new()).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap().status(), 401);
        assert_eq!(world.ledger.len(), 0, "{:?}", world.sink.codes());
    }
    world.caller().await;
    assert_eq!(world.ledger.len(), 1);
}

#[tokio::test]
async fn a_grant_passes_at_its_own_destination_and_nowhere_else() {
    let world = World::new().await;
    let caller = world.caller().await;
    world.call(&caller).await.unwrap();
    let shown = world.peer.requests()[0].header("authorization").unwrap().to_owned();
    let grant = shown.strip_prefix("Bearer ").unwrap();
    // As when a service calls itself: the grant comes back in, and is sent to where it was granted for.
    assert_eq!(send(&world, &caller, &Place::Header("x-again"), grant).await.unwrap().status(), 200);
    let elsewhere =
        hopguard_testkit::WireRecorder::answering(|_| hopguard_testkit::WireAnswer::text(200, "")).await;
    let endpoint = hopguard::StsEndpoint::at(
        &world.sts.issuer(),
        hopguard::ClientAuth::client_secret_basic("orders", crate::world::SECRET),
    );
    let egress = hopguard::Egress::builder(&world.ledger, &world.audit, endpoint)
        .route(&elsewhere.url(""), hopguard::Anonymous)
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let client = hopguard::GuardedClient::builder().build(&egress).unwrap();
    let outcome = client.as_nobody().get(&elsewhere.url("/")).header("x-again", grant).send().await;
    world.refused(outcome, "passthrough_blocked");
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn ordinary_values_pass() {
    let world = World::new().await;
    let caller = world.caller().await;
    let foreign = hopguard_testkit::mint::MintKey::es256("elsewhere");
    let state = world.token().claim("iss", "https://elsewhere").sign(&foreign);
    // As a parameter that is there for it; any other JWT in a URL is refused.
    let calls = world.client.on_behalf_of(&caller);
    let asked = calls.get(&world.peer.url("/stock/42")).query(&[("id_token_hint", &state)]).send().await;
    assert_eq!(asked.unwrap().status(), 200);
    world.refused(send(&world, &caller, &Place::Query, &state).await, "passthrough_blocked");
    assert_eq!(send(&world, &caller, &Place::Header("x-state"), &state).await.unwrap().status(), 200);
    for value in [
        "a.b.c",
        "v1.4.2-rc.1",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        &BASE64_STANDARD.encode([7; 600]),
        &hex(&"x".repeat(400)),
        &percent("https://example.com/?a=b"),
    ] {
        for place in [Place::Header("x-value"), Place::Header("cookie"), Place::Query] {
            assert_eq!(send(&world, &caller, &place, value).await.unwrap().status(), 200, "{value}");
        }
    }
}
