//! What the events of a request say beside what was decided: its method, the other end, the attempt, the kind of
//! route, the policy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hopguard::{
    Anonymous, AsOurselves, AuditLayer, Denial, Guard, GuardExt, RawToken, Static, Upload, VerifyLayer,
    seconds,
};
use hopguard_core::{Direction, Event, EventKind, UnixTime, Verified};
use hopguard_testkit::{MemorySink, WireAnswer, WireRecorder};
use hopguard_tower::PeerAddress;
use http::{Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::probes::verifier;
use crate::schema::assert_described;
use crate::world::World;

fn outcomes(sink: &MemorySink) -> Vec<Event> {
    sink.events().into_iter().filter(|event| event.kind == EventKind::Outcome).collect()
}

#[tokio::test]
async fn a_call_says_its_method_its_kind_of_route_and_its_attempt() {
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
    let world = World::with_routes(peer, |egress, peer| {
        egress
            .route(&peer.url("/ours"), AsOurselves::audience("https://ledger.internal").requires_none())
            .route(
                &peer.url("/paid"),
                Static::bearer(RawToken::new("sk_live_4eC39HqLyjWDarjt")).requires_none(),
            )
            .route(&peer.url("/nobody"), Anonymous)
    })
    .await;
    let caller = world.caller().await;
    drop(world.sink.take());
    for (method, path, rule) in [
        (Method::GET, "/stock/1", "exchange"),
        (Method::POST, "/ours", "as_ourselves"),
        (Method::PUT, "/paid", "static"),
        (Method::DELETE, "/nobody", "anonymous"),
    ] {
        let name = method.to_string();
        let calls = world.client.on_behalf_of(&caller);
        let answer = calls.request(method, &world.peer.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap();
        assert_described(&world.sink.json());
        let events: Vec<_> =
            world.sink.take().into_iter().filter(|event| event.direction == Direction::Outbound).collect();
        let told = events.iter().map(|event| (event.decision.code(), event.method, event.attempt));
        let name = Some(&*name);
        assert_eq!(told.collect::<Vec<_>>(), [("sent", name, Some(1)), ("completed", name, Some(1))]);
        assert_eq!(events[0].rule, Some(rule));
    }
    let calls = world.client.on_behalf_of(&caller);
    assert!(calls.put("https://elsewhere.internal").send().await.is_err());
    let refused = world.sink.sole("destination_unlisted");
    assert_eq!((refused.method, refused.rule, refused.attempt), (Some("PUT"), None, Some(1)));
}

#[tokio::test]
async fn the_outcome_of_a_second_attempt_says_so() {
    let peer = WireRecorder::answering(|requests| {
        let refuse = requests.header("x-first").is_some();
        let answer = WireAnswer::text(if refuse { 401 } else { 200 }, "");
        answer.with_header("www-authenticate", "Bearer error=\"invalid_token\"")
    });
    let world = World::with_peer(peer.await).await;
    let caller = world.caller().await;
    world.call(&caller).await.unwrap();
    world.clock.advance(seconds(5));
    drop(world.sink.take());
    let url = world.peer.url("/stock/1");
    let call = world.client.on_behalf_of(&caller).get(&url).header("x-first", "1");
    assert_eq!(call.send().await.unwrap().status(), 401);
    let attempts: Vec<_> = outcomes(&world.sink).iter().map(|event| (event.attempt, event.status)).collect();
    assert_eq!(attempts, [(Some(1), Some(401)), (Some(2), Some(401))]);
}

#[tokio::test]
async fn the_outcome_names_the_other_end() {
    let world = World::new().await;
    let other: SocketAddr = ([192, 0, 2, 7], 4711).into();
    let token = world.signed(world.token());
    let request = || {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        request.extension(PeerAddress(other)).body(String::new()).unwrap()
    };
    let whole =
        service_fn(|_: Request<Upload<String>>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    assert_eq!(world.inbound.around(whole).oneshot(request()).await.unwrap().status(), 200);
    let alone = ServiceBuilder::new().layer(AuditLayer::new(world.inbound.hop()));
    let alone =
        alone.service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    assert_eq!(alone.oneshot(request()).await.unwrap().status(), 200);
    let told: Vec<_> = outcomes(&world.sink).iter().map(|event| (event.gate, event.peer)).collect();
    assert_eq!(told, [("inbound", Some(other)), ("audit", Some(other))]);
}

/// Who brings no credential, or none that can be read, is named as far as anybody knows.
#[tokio::test]
async fn a_refusal_names_the_other_end_whatever_it_brought() {
    let world = World::new().await;
    let other: SocketAddr = ([192, 0, 2, 7], 4711).into();
    let request = |credentials: &[&str]| {
        let mut request = Request::get("/").extension(PeerAddress(other));
        for one in credentials {
            request = request.header("authorization", *one);
        }
        request.body(String::new()).unwrap()
    };
    for (credentials, code) in [
        (&[][..], "token_missing"),
        (&["Bearer"], "credential_malformed"),
        (&["Basic eA=="], "credential_unsupported"),
        (&["Bearer a", "Bearer b"], "credential_ambiguous"),
        (&["Bearer a.b"], "token_malformed"),
    ] {
        let whole = service_fn(|_: Request<Upload<String>>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        let alone = ServiceBuilder::new().layer(VerifyLayer::new(world.inbound.hop(), verifier(&world)));
        let alone = alone
            .service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(String::new())) });
        world.inbound.around(whole).oneshot(request(credentials)).await.unwrap();
        alone.oneshot(request(credentials)).await.unwrap();
        let peers: Vec<_> =
            world.sink.take().iter().map(|event| (event.decision.code(), event.peer)).collect();
        assert_eq!(peers, [(code, Some(other)); 2]);
    }
}

/// Refuses what is not read only, by a policy that has a version.
struct ReadOnly(Arc<str>);

impl Guard for ReadOnly {
    fn name(&self) -> &'static str {
        "read_only"
    }

    fn check(&self, token: &Verified, _now: UnixTime) -> Result<(), Denial> {
        let reads = token.facts().scopes.iter().all(|scope| scope.ends_with(":read"));
        if reads { Ok(()) } else { Err(Denial::PolicyRefused) }
    }

    fn policy(&self) -> Option<&Arc<str>> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn a_gate_names_the_policy_of_its_guard() {
    let world = World::new().await;
    let hop = world.inbound.hop();
    let service = ServiceBuilder::new()
        .layer(VerifyLayer::new(hop, verifier(&world)))
        .layer(ReadOnly("read-only@7".into()).layer(hop))
        .service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    for (scope, status) in [("orders:read", 200), ("orders:write", 403)] {
        let token = world.signed(world.token().claim("scope", scope));
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let answer = service.clone().oneshot(request.body(String::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
    }
    let told = world
        .sink
        .events()
        .into_iter()
        .map(|event| (event.gate, event.decision.code(), event.policy.as_deref().map(str::to_owned)));
    let policy = || Some("read-only@7".to_owned());
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("verify", "passed", None),
            ("read_only", "passed", policy()),
            ("verify", "passed", None),
            ("read_only", "policy_refused", policy()),
        ]
    );
    assert_described(&world.sink.json());
}
