//! What a service tells those who do not know it yet, over real sockets: its metadata (RFC 9728) and whether it is
//! ready; and the rule about who acts.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use hopguard::{
    ActorGuard, Inbound, Issuer, OpenPaths, Protect, ResourceMetadata, ScopeGuard, Ttl, minutes, ready,
};
use hopguard_client::Spawn;
use hopguard_tests::answer::Answer;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::World;

const RESOURCE: &str = "https://orders.internal/v1";
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A guard of its own over the world's ledger; `also` sets what a test is about.
fn guard(
    world: &World,
    resource: &str,
    also: impl FnOnce(Builder) -> Builder,
) -> Result<Inbound, hopguard::ConfigErrors> {
    let builder = Inbound::builder(&world.ledger, &world.audit)
        .issuer(Issuer::at(&world.sts.issuer()))
        .audience(resource)
        .ttl(Ttl::lifetime_at_most(minutes(10)))
        .scope(ScopeGuard::all_of(["orders:read"]))
        .clock(world.clock.clone());
    also(builder).build()
}

type Builder = hopguard_tower::InboundBuilder<
    hopguard_tower::inbound::Set,
    hopguard_tower::inbound::Set,
    hopguard_tower::inbound::Set,
    hopguard_tower::inbound::Set,
>;

type Setting = fn(Builder) -> Builder;

async fn served(guard: &Inbound) -> SocketAddr {
    let router = Router::new()
        .route("/ready", ready(guard))
        .route("/orders", get(|| async { "an order" }))
        // What a handler puts there cannot stand in for the document.
        .route(WELL_KNOWN, get(|| async { "a lie" }))
        .route(&format!("{WELL_KNOWN}/v1"), get(|| async { "a lie" }));
    let app = guard.protect(router, OpenPaths::paths(["/ready"]));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    Spawn::current().spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn ask(address: SocketAddr, method: Method, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    Answer::over_socket(address, &request.body(Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn metadata_stands_at_the_path_inserted_place_and_challenges_name_it() {
    let world = World::new().await;
    let published = ResourceMetadata::published().scopes(["orders:write"]);
    let guard = guard(&world, RESOURCE, |builder| builder.resource_metadata(published)).unwrap();
    let address = served(&guard).await;
    let path = format!("{WELL_KNOWN}/v1");
    let url = "https://orders.internal/.well-known/oauth-protected-resource/v1";

    let answer = ask(address, Method::GET, &path, None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        serde_json::from_slice::<Value>(&answer.body).unwrap(),
        json!({
            "resource": RESOURCE,
            "authorization_servers": [world.sts.issuer()],
            "scopes_supported": ["orders:read", "orders:write"],
            "bearer_methods_supported": ["header"],
        })
    );
    // The same with a query, and for callers with a token, of which nothing is read.
    for (path, token) in [(format!("{path}?a=b"), None), (path.clone(), Some("rubbish"))] {
        assert_eq!(ask(address, Method::GET, &path, token).await.body, answer.body);
    }
    let head = ask(address, Method::HEAD, &path, None).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let post = ask(address, Method::POST, &path, None).await;
    assert_eq!((post.status, post.header("allow"), post.body.len()), (405, Some("GET, HEAD"), 0));

    // Any other spelling is an ordinary path, and guarded; so is the root, where this resource does not live.
    for other in [WELL_KNOWN.to_owned(), format!("{path}/"), format!("/{path}"), path.replace("v1", "V1")] {
        let refused = ask(address, Method::GET, &other, None).await;
        let challenge = format!(r#"Bearer realm="orders", resource_metadata="{url}""#);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some(&*challenge)), "{other}");
    }
    let wrong = ask(address, Method::GET, "/orders", Some("a.b.c")).await;
    let challenge = wrong.header("www-authenticate").unwrap();
    assert!(challenge.ends_with(&format!(r#", error="invalid_token", resource_metadata="{url}""#)));
    let poor = world.signed(world.sts.token(RESOURCE, "alice", "other"));
    let poor = ask(address, Method::GET, "/orders", Some(&poor)).await;
    let challenge = poor.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope") && challenge.contains(url), "{challenge}");
}

#[tokio::test]
async fn the_root_answers_for_a_resource_without_a_path_or_by_name_only() {
    let world = World::new().await;
    let at_root = |builder: Builder| builder.resource_metadata(ResourceMetadata::published().also_at_root());
    let plain = |builder: Builder| builder.resource_metadata(ResourceMetadata::published());
    let silent = |builder: Builder| builder;
    let cases: [(&str, Setting, u16, u16); 4] = [
        ("https://orders.internal", plain, 200, 401),
        (RESOURCE, plain, 401, 200),
        (RESOURCE, at_root, 200, 200),
        (RESOURCE, silent, 401, 401),
    ];
    for (resource, also, root, inserted) in cases {
        let address = served(&guard(&world, resource, also).unwrap()).await;
        for (path, status) in [(WELL_KNOWN.to_owned(), root), (format!("{WELL_KNOWN}/v1"), inserted)] {
            let answer = ask(address, Method::GET, &path, None).await;
            assert_eq!(answer.status, status, "{resource} {path}");
            if status == 200 {
                assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["resource"], resource);
            } else {
                let named = answer.header("www-authenticate").unwrap().contains("resource_metadata");
                assert_eq!(named, (root, inserted) != (401, 401));
            }
        }
    }
    let errors = guard(&world, "urn:orders", plain).unwrap_err();
    assert_eq!(errors.problems()[0].setting, "inbound.resource_metadata", "{errors}");
}

#[tokio::test]
async fn asking_whether_it_is_ready_is_what_makes_it_ready() {
    let world = World::new().await;
    let guard = guard(&world, RESOURCE, |builder| builder).unwrap();
    let address = served(&guard).await;
    assert!(!guard.verifier().is_ready());
    let first = ask(address, Method::GET, "/ready", None).await;
    assert_eq!((first.status, first.header("retry-after")), (503, Some("1")));
    // Nobody but the probes asks for keys here.
    let mut second = first;
    for _ in 0..1000 {
        if second.status != 503 {
            break;
        }
        second = ask(address, Method::GET, "/ready", None).await;
    }
    assert_eq!((second.status, second.header("cache-control")), (200, Some("no-store")));
    assert_eq!(second.header("retry-after"), None);
    let status = guard.verifier().key_sets();
    assert_eq!((status[0].usable, status[0].fetches), (true, 1), "all probes shared one fetch");
}

#[tokio::test]
async fn the_whole_stack_asks_who_acts() {
    let world = World::new().await;
    let guarded = |rule: ActorGuard| guard(&world, RESOURCE, |builder| builder.actor(rule));
    let address = served(&guarded(ActorGuard::any_of(["gateway"]).at_most(1)).unwrap()).await;
    for (act, code) in [
        (json!({"sub": "gateway"}), None),
        (json!({"sub": "mallory"}), Some("actor_unlisted")),
        (json!({"sub": "gateway", "act": {"sub": "mallory"}}), Some("actors_too_many")),
    ] {
        let token = world.signed(world.sts.token(RESOURCE, "alice", "orders:read").claim("act", act.clone()));
        let answer = ask(address, Method::GET, "/orders", Some(&token)).await;
        assert_eq!(answer.status, if code.is_some() { 403 } else { 200 }, "{act}");
        if let Some(code) = code {
            assert_eq!(world.sink.sole(code).gate, "actor");
        }
    }
    let errors = guarded(ActorGuard::any_of([])).unwrap_err();
    assert_eq!(errors.problems()[0].setting, "inbound.actor", "{errors}");
}
