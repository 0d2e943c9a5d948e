//! What the file says is what the stacks do: each setting is shown by a token or a call that it decides about.

use std::convert::Infallible;

use hopguard::{Clock, Config, EgressError, GuardedClient, Parts};
use http::{Request, Response};
use serde_json::json;
use tower::{ServiceExt, service_fn};

use crate::world::{INVENTORY, ORDERS, SECRET, World};

fn parts(world: &World) -> Parts {
    let toml = format!(
        r#"
        service = "orders"
        instance = "1"
        audit.tracing = true
        [inbound]
        audience = "{ORDERS}"
        audience_aliases = ["urn:orders"]
        leeway = "20s"
        ttl.lifetime_at_most = "10m"
        ttl.age_at_most = "2m"
        scope.any_of = ["orders:read", "orders:write"]
        scope.at_most = ["orders:read", "orders:write"]
        actor.any_of = ["gateway", "web"]
        actor.depth_at_most = 1
        open_paths = ["/health"]
        [[inbound.issuer]]
        url = "{issuer}"
        jwks_url = "{issuer}/jwks"
        algorithms = ["ES256"]
        [[inbound.dangerous_tolerate_foreign]]
        audience = "account"
        reason = "the server adds it"
        owner = "us"
        until = 2099-01-01
        [egress.sts]
        issuer = "{issuer}"
        client_id = "orders"
        authentication = "client_secret_basic"
        [[egress.route]]
        url = "{peer}"
        rule = "exchange"
        audience = "{INVENTORY}"
        scopes = ["stock:read"]
        requires = ["orders:read"]
        [[egress.route]]
        url = "{peer}/open"
        rule = "anonymous"
        [[egress.route]]
        url = "{peer}/closed"
        rule = "deny"
        "#,
        issuer = world.sts.issuer(),
        peer = world.peer.url(""),
    );
    let config = Config::read(&toml, [("HOPGUARD_EGRESS__STS__CLIENT_SECRET", SECRET)]);
    config.unwrap_or_else(|errors| panic!("{errors}")).clock(world.clock.clone()).build().unwrap()
}

#[tokio::test]
async fn each_setting_of_the_way_in_decides() {
    let world = World::new().await;
    let parts = parts(&world);
    let token = |audience: &str, scope: &str| world.sts.token(audience, "alice", scope);
    let good = || token(ORDERS, "orders:read").claim("act", json!({"sub": "gateway"}));
    let now = world.clock.now().as_secs();
    let deep = json!({"sub": "gateway", "act": {"sub": "gateway"}});
    for (name, token, code) in [
        ("good", good(), None),
        ("alias", good().claim("aud", "urn:orders"), None),
        ("waived", good().claim("aud", json!([ORDERS, "account"])), None),
        ("foreign", good().claim("aud", json!([ORDERS, "other"])), Some("audience_not_sole")),
        ("audience", good().claim("aud", "urn:other"), Some("audience_mismatch")),
        ("age", good().claim("iat", now - 121), Some("token_too_old")),
        ("lifetime", good().claim("exp", now + 700), Some("lifetime_too_long")),
        ("leeway", good().claim("iat", now + 19), None),
        ("future", good().claim("iat", now + 30), Some("token_from_future")),
        ("scope", good().claim("scope", "other"), Some("insufficient_scope")),
        ("broad", good().claim("scope", "orders:read admin"), Some("scope_too_broad")),
        ("actor", good().claim("act", json!({"sub": "mallory"})), Some("actor_unlisted")),
        ("depth", good().claim("act", deep), Some("actors_too_many")),
    ] {
        let service = parts.inbound.around(service_fn(|_: Request<hopguard::Upload<String>>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
        let request = Request::get("/").header("authorization", format!("Bearer {}", world.signed(token)));
        let response = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
        let found = response.extensions().get::<hopguard::Refused>().map(|refused| refused.refusal.code());
        assert_eq!(found, code, "{name}");
    }
}

#[tokio::test]
async fn each_route_of_the_way_out_decides() {
    let world = World::new().await;
    let parts = parts(&world);
    let client = GuardedClient::builder().build(parts.egress.as_ref().unwrap()).unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    let mut callers = Vec::new();
    for scope in ["orders:read", "orders:write"] {
        let keep = seen.clone();
        let service = parts.inbound.around(service_fn(move |request: Request<hopguard::Upload<String>>| {
            *keep.lock().unwrap() = hopguard::admitted(request.extensions()).cloned();
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        }));
        let token = world.sts.token(ORDERS, "alice", scope).claim("act", json!({"sub": "gateway"}));
        let request = Request::get("/").header("authorization", format!("Bearer {}", world.signed(token)));
        service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
        callers.push(seen.lock().unwrap().take().expect("admitted"));
    }
    for (caller, path, code) in [
        (0, "/stock/42", None),
        (1, "/stock/42", Some("route_requires_scope")),
        (1, "/open/status", None),
        (0, "/closed/door", Some("destination_unlisted")),
    ] {
        let answer = client.on_behalf_of(&callers[caller]).get(&world.peer.url(path)).send().await;
        let found = match &answer {
            Ok(_) => None,
            Err(EgressError::Refused(refused)) => Some(refused.refusal.code()),
            Err(other) => panic!("{path}: {other:?}"),
        };
        assert_eq!(found, code, "{path}");
    }
    let sent = world.peer.requests();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].header("authorization").is_some() && sent[1].header("authorization").is_none());
}
