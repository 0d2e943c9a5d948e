//! Rows E4 and E10: what goes out in our own name, by a token of our own or by a secret of the configuration.

use hopguard::{AsOurselves, RawToken, Static, Withdrawal, seconds};
use hopguard_core::CacheState;
use hopguard_testkit::{Misbehaviour, WireAnswer, WireRecorder, leak};

use crate::world::World;

const LEDGER: &str = "https://ledger.internal";
const KEY: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
const OTHER: &str = "sk_other_9fD40IrMzkXEbskuU2aeq8ed";

fn entries() -> AsOurselves {
    AsOurselves::audience(LEDGER).scope("entries:write").requires("orders:read")
}

async fn world() -> World {
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "done")).await;
    World::with_routes(peer, |egress, peer| {
        egress
            .route(&peer.url("/entries"), entries())
            .route(&peer.url("/jobs"), AsOurselves::audience(LEDGER).scope("jobs:run").requires_none())
            .route(&peer.url("/both"), AsOurselves::audience(LEDGER).requires("orders:read").or_ourselves())
            .route(&peer.url("/admin"), AsOurselves::audience(LEDGER).requires("orders:admin"))
            .route(
                &peer.url("/paid"),
                Static::header("x-api-key", RawToken::new(KEY)).requires("orders:read"),
            )
            .route(&peer.url("/bearer"), Static::bearer(RawToken::new(OTHER)).requires("orders:admin"))
            .route(&peer.url("/free"), Static::bearer(RawToken::new(OTHER)).requires_none())
    })
    .await
}

#[tokio::test]
async fn a_call_as_ourselves_shows_us_and_not_the_caller() {
    let world = world().await;
    let text = world.signed(world.token());
    let caller = world.admit(&text).await;
    for _ in 0..2 {
        let calls = world.client.on_behalf_of(&caller);
        assert_eq!(calls.post(&world.peer.url("/entries/1")).send().await.unwrap().status(), 200);
    }
    let requests = world.peer.requests();
    let shown = requests[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let claims = hopguard_testkit::mint::claims_of(shown);
    assert_eq!((claims["sub"].as_str(), claims["aud"].as_str()), (Some("orders"), Some(LEDGER)));
    assert!(!claims.contains_key("act") && !world.peer.saw(&text));
    let forms = world.sts.forms();
    assert_eq!((forms.len(), forms[0]["grant_type"].as_str()), (1, "client_credentials"));
    assert!(!forms[0].contains_key("subject_token"));
    // Not made from the caller's token: the lineage must not say so. The request's id ties the two.
    let sent = world.sink.with_code("sent");
    assert!(sent.iter().all(|event| event.token.is_none() && event.grant.is_some()));
    assert!(sent.iter().all(|event| event.request_id == Some(caller.request_id())));
    assert!(matches!((sent[0].cache, sent[1].cache), (Some(CacheState::Miss), Some(CacheState::Hit))));
}

#[tokio::test]
async fn a_caller_with_too_little_causes_no_call_of_ours() {
    let world = world().await;
    let caller = world.caller().await;
    let weak = world.admit(&world.signed(world.token().claim("scope", "orders:list"))).await;
    for (who, path) in
        [(&caller, "/admin"), (&caller, "/bearer"), (&weak, "/entries"), (&weak, "/paid"), (&weak, "/both")]
    {
        let outcome = world.client.on_behalf_of(who).get(&world.peer.url(path)).send().await;
        world.refused(outcome, "route_requires_scope");
    }
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

#[tokio::test]
async fn outside_a_request_only_routes_that_say_so_are_open() {
    let world = world().await;
    for path in ["/stock", "/entries", "/admin", "/paid", "/bearer"] {
        let outcome = world.client.as_ourselves().get(&world.peer.url(path)).send().await;
        world.refused(outcome, "evidence_missing");
    }
    for path in ["/jobs", "/both", "/free", "/paid"] {
        let outcome = world.client.as_nobody().get(&world.peer.url(path)).send().await;
        world.refused(outcome, "evidence_missing");
    }
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
    for path in ["/jobs", "/both", "/free", "/open"] {
        let answer = world.client.as_ourselves().get(&world.peer.url(path)).send().await;
        assert_eq!(answer.unwrap().status(), 200, "{path}");
    }
    assert_eq!((world.reached(), world.sts.token_requests()), (4, 2));
}

#[tokio::test]
async fn a_token_of_ours_that_is_not_ours_is_not_used() {
    for (how, code) in [
        (Misbehaviour::OtherSubject, "grant_subject_changed"),
        (Misbehaviour::OtherAudience, "grant_audience_wider"),
        (Misbehaviour::WiderScope, "grant_scope_wider"),
        (Misbehaviour::OtherActor, "grant_actor_changed"),
        (Misbehaviour::InvalidTarget, "sts_refused"),
        (Misbehaviour::InvalidScope, "sts_refused"),
        (Misbehaviour::StepUp, "sts_refused"),
        (Misbehaviour::HangUp, "sts_unavailable"),
    ] {
        let world = world().await;
        world.sts.misbehave(how);
        let job = || world.client.as_ourselves().get(&world.peer.url("/jobs")).send();
        let outcome = job().await;
        world.refused(outcome, code);
        assert_eq!(world.reached(), 0, "{how:?}");
        world.sts.misbehave(Misbehaviour::Honest);
        assert_eq!(job().await.unwrap().status(), 200, "{how:?}");
    }
}

#[tokio::test]
async fn a_peer_that_refuses_our_token_gets_a_new_one() {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let peer =
        WireRecorder::answering(move |_| match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            1 => WireAnswer::text(401, "").with_header("www-authenticate", "Bearer error=\"invalid_token\""),
            _ => WireAnswer::text(200, ""),
        })
        .await;
    let world = World::with_routes(peer, |egress, peer| {
        egress.route(&peer.url("/jobs"), AsOurselves::audience(LEDGER).requires_none())
    })
    .await;
    let job = || world.client.as_ourselves().get(&world.peer.url("/jobs")).send();
    assert_eq!(job().await.unwrap().status(), 200);
    world.clock.advance(seconds(5));
    assert_eq!(job().await.unwrap().status(), 200);
    assert_eq!((world.reached(), world.sts.token_requests()), (3, 2));
    world.sink.sole("grant_renewed");
}

#[tokio::test]
async fn a_secret_is_shown_where_it_is_configured_and_nowhere_else() {
    let world = world().await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    assert_eq!(calls.get(&world.peer.url("/paid")).send().await.unwrap().status(), 200);
    let free = calls.get(&world.peer.url("/free")).send().await.unwrap();
    assert_eq!((free.status().as_u16(), world.sts.token_requests()), (200, 0));
    let requests = world.peer.requests();
    assert_eq!((requests[0].header("x-api-key"), requests[0].header("authorization")), (Some(KEY), None));
    assert_eq!(requests[1].header("authorization"), Some(format!("Bearer {OTHER}").as_str()));
    // A handler brings none of its own.
    let outcome = calls.get(&world.peer.url("/paid")).header("x-api-key", "mine").send().await;
    world.refused(outcome, "credential_unexpected");
    // Another destination: the block knows the secret in header, URL and body, also wrapped.
    let elsewhere = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
    let egress = hopguard::Egress::builder(
        &world.ledger,
        &world.audit,
        hopguard::StsEndpoint::at(
            &world.sts.issuer(),
            hopguard::ClientAuth::client_secret_basic("orders", crate::world::SECRET),
        ),
    )
    .route(&elsewhere.url(""), hopguard::Anonymous)
    .clock(world.clock.clone())
    .build()
    .unwrap();
    let other = hopguard::GuardedClient::builder().build(&egress).unwrap();
    let calls = || other.on_behalf_of(&caller).post(&elsewhere.url("/"));
    for leak in [
        calls().header("x-api-key", KEY),
        calls().header("x-note", &format!("key={KEY};")),
        calls().query(&[("key", KEY)]),
        calls().json(&serde_json::json!({ "key": OTHER })),
        calls().form(&[("key", OTHER)]),
    ] {
        world.refused(leak.send().await, "passthrough_blocked");
    }
    assert_eq!(elsewhere.requests().len(), 0);
    let events = format!("{:?} {:?} {:?}", world.sink.events(), world.egress, world.client);
    for secret in [KEY, OTHER] {
        leak::assert_absent(secret, [("audit and debug", events.as_bytes())]);
    }
}

#[tokio::test]
async fn a_withdrawn_secret_is_sent_no_more() {
    let world = world().await;
    let caller = world.caller().await;
    let call = || world.client.on_behalf_of(&caller).get(&world.peer.url("/free")).send();
    assert_eq!(call().await.unwrap().status(), 200);
    let until = hopguard::Clock::now(&*world.clock).after(seconds(999));
    let what = Withdrawal::Token(RawToken::new(OTHER).fingerprint());
    world.egress.hop().withdraw(what, until).unwrap();
    let outcome = call().await;
    world.refused(outcome, "grant_withdrawn");
    assert_eq!(world.reached(), 1);
}

#[tokio::test]
async fn a_call_is_explained_without_being_made() {
    let world = world().await;
    let caller = world.caller().await;
    let ask = |path: &str, whom: Option<hopguard::OnBehalfOf>| {
        let mut request = http::Request::get(world.peer.url(path)).body(()).unwrap();
        request.extensions_mut().extend(http::Extensions::new());
        if let Some(whom) = whom {
            request.extensions_mut().insert(whom);
        }
        let (parts, ()) = request.into_parts();
        let why = world.egress.explain_parts(&parts);
        let whole = world.egress.explain(&http::Request::from_parts(parts, ()));
        assert_eq!(why.to_string(), whole.to_string());
        why
    };
    let caller = || Some(hopguard::OnBehalfOf::caller(&caller));
    let code = |path, whom| ask(path, whom).refused().map(|refusal| refusal.code());
    assert_eq!(code("/stock", caller()), None);
    assert_eq!(code("/stock", None), Some("evidence_missing"));
    assert_eq!(code("/admin", caller()), Some("route_requires_scope"));
    assert_eq!(code("/jobs", Some(hopguard::OnBehalfOf::ourselves())), None);
    assert_eq!(code("/closed", caller()), Some("destination_unlisted"));
    assert_eq!(code("/x/../admin", caller()), Some("target_unreadable"));
    let paid = ask("/paid", caller());
    assert_eq!(paid.routes().chosen().map(|one| one.kind), Some("static"));
    let text = paid.to_string();
    assert!(text.contains("a configured secret in x-api-key; the caller needs orders:read"), "{text}");
    assert!(!text.contains(KEY) && !format!("{paid:?}").contains(KEY));
    let admin = ask("/admin", caller()).to_string();
    assert!(admin.starts_with("refused for this caller: route_requires_scope"), "{admin}");
    assert_eq!(
        (world.reached(), world.sts.wire().requests().iter().filter(|r| r.target == "/token").count()),
        (0, 0)
    );
}

/// I13: what is sent once more after a 401 is sent for a caller whose token is good still.
#[tokio::test]
async fn a_renewal_is_not_for_a_caller_who_has_expired() {
    use std::sync::{Arc, OnceLock};
    let clock: Arc<OnceLock<Arc<hopguard_testkit::FakeClock>>> = Arc::default();
    let later = clock.clone();
    let peer = WireRecorder::answering(move |request| {
        if request.header("x-late").is_some() {
            later.get().unwrap().advance(hopguard::minutes(20));
        }
        WireAnswer::text(401, "no").with_header("www-authenticate", "Bearer error=\"invalid_token\"")
    })
    .await;
    let world = World::with_routes(peer, |egress, peer| egress.route(&peer.url("/entries"), entries())).await;
    clock.set(world.clock.clone()).unwrap();
    let caller = world.caller().await;
    let call = || world.client.on_behalf_of(&caller).post(&world.peer.url("/entries/1"));
    assert_eq!(call().send().await.unwrap().status(), 401);
    assert_eq!(world.reached(), 1);
    world.clock.advance(seconds(6));
    let outcome = call().header("x-late", "1").send().await;
    assert!(caller.facts().expires <= hopguard::Clock::now(&*world.clock), "the caller is gone");
    world.refused(outcome, "subject_expired");
    assert_eq!((world.reached(), world.sts.token_requests()), (2, 1), "nothing is asked or sent for nobody");
}

/// I18: a withdrawal lasts as long as what it strikes, and a secret of the configuration lasts for good.
#[tokio::test]
async fn a_withdrawn_secret_does_not_come_back() {
    let world = world().await;
    let call = || world.client.as_ourselves().get(&world.peer.url("/free")).send();
    assert_eq!(call().await.unwrap().status(), 200);
    let until = hopguard::Clock::now(&*world.clock).after(seconds(999));
    let what = Withdrawal::Token(RawToken::new(OTHER).fingerprint());
    world.egress.hop().withdraw(what, until).unwrap();
    world.refused(call().await, "grant_withdrawn");
    world.clock.advance(seconds(1000));
    // Anything else is withdrawn, which clears away what is over.
    let until = hopguard::Clock::now(&*world.clock).after(seconds(999));
    world.egress.hop().withdraw(Withdrawal::Token(RawToken::new(KEY).fingerprint()), until).unwrap();
    let outcome = call().await;
    assert!(
        outcome.is_err(),
        "a withdrawn secret is sent again: {:?}",
        outcome.map(|answer| answer.status())
    );
}
