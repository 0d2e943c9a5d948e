//! What bounds and names the way in, from the file: each setting is shown by a token that it decides about.

use axum::body::Body;
use hopguard::{Config, OpenPaths, Parts, PeerIdentity};
use hopguard_axum::{Caller, Protect, Protected};
use hopguard_testkit::mint::jwks;
use http::Request;
use serde_json::json;
use tower::ServiceExt;

use crate::world::{ORDERS, World};

/// The parts that a file makes whose `[inbound]` and first issuer have these lines as well, and the service
/// behind them.
fn service(world: &World, inbound: &str, issuer: &str) -> (Parts, Protected) {
    let toml = format!(
        r#"
        service = "orders"
        instance = "1"
        audit.tracing = true
        [inbound]
        audience = "{ORDERS}"
        ttl.lifetime_at_most = "10m"
        scope.none = true
        {inbound}
        [[inbound.issuer]]
        url = "{url}"
        keys_fixed = '{keys}'
        {issuer}
        "#,
        url = world.sts.issuer(),
        keys = jwks(&[world.sts.key()]),
    );
    let config = Config::read(&toml, [("HOPGUARDED", "")]).unwrap_or_else(|errors| panic!("{errors}"));
    let parts = config.clock(world.clock.clone()).build().unwrap();
    let router = axum::Router::new().route("/", axum::routing::get(|_: Caller| async {}));
    let app = parts.inbound.protect(router, OpenPaths::none());
    (parts, app)
}

async fn shown(app: &Protected, token: &str, peer: Option<&str>) -> Option<&'static str> {
    let mut request = Request::get("/").header("authorization", format!("Bearer {token}"));
    if let Some(peer) = peer {
        request = request.extension(PeerIdentity::assert_authenticated(peer));
    }
    let Ok(response) = app.clone().oneshot(request.body(Body::empty()).unwrap()).await;
    response.extensions().get::<hopguard::Refused>().map(|refused| refused.refusal.code())
}

#[tokio::test]
async fn what_is_read_and_remembered_is_bounded_by_the_file() {
    let world = World::new().await;
    let token = || world.sts.token(ORDERS, "alice", "orders:read");
    let plain = world.signed(token());
    let long = world.signed(token().claim("note", "x".repeat(2000)));
    let deep = world.signed(token().claim("act", json!({"sub": "a", "act": {"sub": "b"}})));
    for (lines, checks, long_one, deep_one) in [
        ("", 1, None, None),
        ("remember_at_most = 0", 2, None, None),
        ("token_at_most = 2000", 1, Some("token_too_large"), None),
        ("actors_at_most = 1", 1, None, Some("claim_invalid")),
    ] {
        let (parts, app) = service(&world, lines, "");
        assert_eq!(shown(&app, &plain, None).await, None, "{lines}");
        assert_eq!(shown(&app, &plain, None).await, None, "{lines}");
        assert_eq!(parts.inbound.verifier().signature_checks(), checks, "{lines}");
        assert_eq!(shown(&app, &long, None).await, long_one, "{lines}");
        assert_eq!(shown(&app, &deep, None).await, deep_one, "{lines}");
    }
    // The keys stood in the file.
    assert_eq!(world.sts.key_requests() + world.sts.metadata_requests(), 0);
}

#[tokio::test]
async fn who_shows_a_token_is_said_by_the_file() {
    let world = World::new().await;
    let of = |party: &str| world.signed(world.sts.token(ORDERS, "alice", "a").claim("client_id", party));
    let lines = r#"
        actor.any_of = ["gateway", "batch"]
        actor.shown_by_itself = true
        actor.shown_by = [{ party = "gateway", peer = "spiffe://shop.internal/gateway" }]
    "#;
    let (_parts, app) = service(&world, lines, "");
    for (party, peer, code) in [
        ("gateway", None, Some("peer_unproven")),
        ("gateway", Some("gateway"), Some("peer_not_actor")),
        ("gateway", Some("spiffe://shop.internal/gateway"), None),
        ("batch", Some("batch"), None),
        ("batch", Some("spiffe://shop.internal/gateway"), Some("peer_not_actor")),
        ("other", Some("other"), Some("actor_unlisted")),
    ] {
        assert_eq!(shown(&app, &of(party), peer).await, code, "{party}, {peer:?}");
    }
    let lines = r#"actor.shown_by = [{ party = "bridge", peer = "peer", issuer = "https://partner.example" }]
        [[inbound.actor.or_of]]
        issuer = "https://partner.example"
        subject = "bridge""#;
    let (_parts, app) = service(&world, lines, "");
    let act = json!({"sub": "bridge", "iss": "https://partner.example"});
    let token = world.signed(world.sts.token(ORDERS, "alice", "a").claim("act", act));
    assert_eq!(shown(&app, &token, Some("peer")).await, None);
    assert_eq!(shown(&app, &token, Some("bridge")).await, Some("peer_not_actor"));
}

#[tokio::test]
async fn a_profile_of_ones_own_is_told_by_the_file() {
    let world = World::new().await;
    let own = r#"
        profile = "own"
        [inbound.issuer.access_token]
        typ = ["JWT"]
        untyped = true
        requires = ["tenant"]
        refuses = ["nonce"]
        client_is_no_audience = true
        client_in = ["client"]
        scopes_in = ["rights"]
        token_id_in = ["id"]
        [[inbound.issuer.access_token.claim]]
        name = "token_use"
        one_of = ["access", "service"]
        [[inbound.issuer.access_token.claim]]
        name = "id"
        begins_with = "AT."
    "#;
    let (_parts, app) = service(&world, "", own);
    let good = || {
        let token = world.sts.token(ORDERS, "alice", "").without("client_id").without("jti").without("scope");
        let token =
            token.header("typ", "JWT").claim("tenant", "t").claim("client", "web").claim("id", "AT.1");
        token.claim("rights", json!(["a"])).claim("token_use", "access")
    };
    let mismatch = Some("token_type_mismatch");
    for (name, token, code) in [
        ("good", good(), None),
        ("untyped", good().without_header("typ"), None),
        ("other typ", good().header("typ", "at+jwt"), mismatch),
        ("service", good().claim("token_use", "service"), None),
        ("id token", good().claim("token_use", "id"), mismatch),
        ("no tenant", good().without("tenant"), mismatch),
        ("nonce", good().claim("nonce", "n"), mismatch),
        ("its own audience", good().claim("client", ORDERS), mismatch),
        ("no prefix", good().claim("id", "ID.1"), mismatch),
    ] {
        assert_eq!(shown(&app, &world.signed(token), None).await, code, "{name}");
    }
}
