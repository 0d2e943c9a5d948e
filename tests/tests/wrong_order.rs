//! Each wrong order, put together by hand: 500 and an event, never a pass.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get};
use bytes::Bytes;
use hopguard_axum::Caller;
use hopguard_core::{
    AudienceGuard, Clock, Event, EventKind, Guard, Ledger, ScopeGuard, Ttl, Waiver, minutes,
};
use hopguard_testkit::MemorySink;
use hopguard_testkit::corpus::{Stage, Target};
use hopguard_testkit::leak::Capture;
use hopguard_tests::alone::{Alone, Boxed, WHOLE, answer};
use hopguard_tests::answer::Answer;
use hopguard_tests::inbound::{Reached, Service, Setting, World, admin};
use hopguard_tests::onward::{Onward, PEER, Peer, boxed, call};
use hopguard_tests::{codes_of_requests, enabled, event_named, events_of_requests};
use hopguard_tower::{EgressError, GuardExt, Hop, Inbound, OpenPaths, Upload};
use http::Extensions;
use tower::util::{BoxCloneSyncService, MapRequestLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;

/// `Router::layer` would leave unguarded what is added after it, and so would `MethodRouter::layer`. This is ambiguous,
/// and does not compile, where the complete stack is a layer that they take.
const _: fn() = {
    trait IsNoLayer<Unless> {
        fn holds() {}
    }
    struct Layered;
    impl<T> IsNoLayer<()> for T {}
    impl<T: Layer<axum::routing::Route>> IsNoLayer<Layered> for T {}
    <Inbound as IsNoLayer<_>>::holds
};

const GUARDS: &[&str] = &["bind", "audience", "ttl", "scope"];

/// Fails unless the answer is this fault, an event says so, and no handler was reached. Returns the event.
#[track_caller]
fn faulted(sink: &MemorySink, reached: &Reached, answer: &Answer, code: &str) -> Event {
    assert_eq!(answer.status, 500, "{:?}", sink.codes());
    let event = event_named(sink, answer.event().expect("the answer names an event"));
    assert_eq!((event.decision.code(), event.status), (code, Some(500)));
    assert_eq!(event.kind, EventKind::Decision);
    assert_eq!(reached.count(), 0, "a handler was reached");
    event
}

/// Everything that a request carried when it reached a handler, to be put into another one.
#[derive(Clone, Debug, Default)]
struct Stolen(Arc<Mutex<Extensions>>);

impl Stolen {
    /// What the handlers of `reached` were given last.
    fn from(reached: &Reached) -> Self {
        let all = reached.all();
        Self(Arc::new(Mutex::new(all.last().expect("a handler was reached").extensions.clone())))
    }

    /// A layer that puts it into every request.
    fn planted(&self, service: Boxed) -> Boxed {
        let stolen = self.clone();
        let plant = move |mut request: Request| {
            request.extensions_mut().extend(stolen.0.lock().unwrap().clone());
            request
        };
        BoxCloneSyncService::new(MapRequestLayer::new(plant).layer(service))
    }
}

/// A request without any token.
fn stranger(path: &str) -> http::Request<Bytes> {
    http::Request::get(path).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_guard_in_front_of_the_verifier_finds_no_evidence() {
    let world = World::default();
    for guard in GUARDS {
        let alone = Alone::new(&world);
        let stack = alone.stack([*guard, "verify"], alone.routes(true));
        let answer = answer(&stack, world.good_request("/orders/42")).await;
        let event = faulted(&alone.sink, &alone.reached, &answer, "evidence_missing");
        assert_eq!(event.gate, *guard);
        assert!(event.token.is_none());
    }
}

#[tokio::test]
async fn a_guard_without_a_verifier_finds_no_evidence() {
    let world = World::default();
    for guard in GUARDS {
        let alone = Alone::new(&world);
        let stack = alone.stack([*guard], alone.routes(true));
        let answer = answer(&stack, world.good_request("/orders/42")).await;
        faulted(&alone.sink, &alone.reached, &answer, "evidence_missing");
    }
    // A route's own rule, on a router that nobody protects.
    let alone = Alone::new(&world);
    let answer = answer(&alone.routes(true), world.good_request("/admin")).await;
    faulted(&alone.sink, &alone.reached, &answer, "evidence_missing");
}

/// There is no `build` that could fail. Left to decide as it was written, one of these would let anybody's token pass.
#[tokio::test]
async fn a_guard_alone_that_was_written_down_wrongly_refuses_everybody() {
    let world = World::default();
    let unsaid = Waiver::new("", "", world.clock.now().after(minutes(5)));
    let lax = || AudienceGuard::exactly(Stage::AUDIENCE);
    assert_eq!(lax().problem(), None);
    let wrong = |alone: &Alone<'_>, number: usize| {
        let (hop, routes) = (&alone.hop, alone.routes(true));
        match number {
            0 => BoxCloneSyncService::new(
                lax().dangerous_tolerate_foreign("account", unsaid.clone()).layer(hop).layer(routes),
            ),
            1 => BoxCloneSyncService::new(lax().or_alias("").layer(hop).layer(routes)),
            2 => BoxCloneSyncService::new(
                Ttl::lifetime_at_most(minutes(5)).and_age_at_most(Duration::ZERO).layer(hop).layer(routes),
            ),
            _ => BoxCloneSyncService::new(
                ScopeGuard::any_of([Stage::SCOPE, "two words"]).layer(hop).layer(routes),
            ),
        }
    };
    for (number, gate) in ["audience", "audience", "ttl", "scope"].into_iter().enumerate() {
        let alone = Alone::new(&world);
        let stack = alone.stack(["verify and bind"], wrong(&alone, number));
        let answer = answer(&stack, world.good_request("/orders/42")).await;
        let event = faulted(&alone.sink, &alone.reached, &answer, "guard_misconfigured");
        assert_eq!(event.gate, gate);
    }
}

#[tokio::test]
async fn a_guard_of_another_stack_refuses_its_evidence() {
    let world = World::default();
    for guard in GUARDS {
        let alone = Alone::new(&world);
        let other = Hop::new(alone.hop.ledger(), alone.hop.audit(), world.clock.clone());
        assert_ne!(other.stack(), alone.hop.stack());
        let stack = alone.stack(["verify"], alone.layer(guard, &other, alone.routes(true)));
        let answer = answer(&stack, world.good_request("/orders/42")).await;
        let event = faulted(&alone.sink, &alone.reached, &answer, "evidence_foreign");
        assert_eq!(event.gate, *guard);
        // It is somebody else's evidence: this stack does not write its claims down as if it had checked them.
        assert!(event.token.is_none());
    }
}

#[tokio::test]
async fn a_route_tightened_by_another_service_refuses() {
    let world = World::default();
    let other = Service::usual(&world);
    let service = Service::serving(&world, Setting::usual(&world), |_, reached| {
        let kept = reached.clone();
        let handler = move |request: Request| async move { kept.note(request) };
        Router::new().route("/admin", any(handler).layer(other.guard.tighten(admin()).unwrap()))
    });
    let token = world.stage.token().claim("scope", "orders:read orders:admin").sign(world.stage.key());
    let answer = service.answer(hopguard_tests::inbound::bearer("/admin", &token)).await;
    // The layer belongs to the other service, and so does its event.
    faulted(&other.sink, &service.reached, &answer, "evidence_foreign");
    assert_eq!(codes_of_requests(&service.sink), ["admitted", "completed"]);
}

/// A router whose every handler asks who calls.
fn asking(reached: &Reached) -> Router {
    let reached = reached.clone();
    let ask = move |caller: Caller, request: Request| {
        let reached = reached.clone();
        async move {
            reached.note(request);
            caller.facts().subject.to_string()
        }
    };
    Router::new().route("/health", get(ask.clone())).fallback(ask)
}

#[tokio::test]
async fn a_handler_that_asks_who_calls_is_not_run_without_a_stack() {
    let world = World::default();
    let (reached, log) = (Reached::default(), Capture::new());
    let answer = {
        let _capturing = log.here();
        answer(&BoxCloneSyncService::new(asking(&reached)), world.good_request("/orders/42")).await
    };
    assert_eq!((answer.status, reached.count()), (500, 0));
    // There is no audit to write to: the log says what is missing.
    assert!(log.text().contains("evidence_missing"), "{}", log.text());
}

#[tokio::test]
async fn a_handler_that_asks_who_calls_is_not_run_on_an_open_path() {
    let world = World::default();
    let service = Service::serving(&world, Setting::usual(&world), |_, reached| asking(reached));
    // With a good token as well: nobody has checked it.
    for request in [stranger("/health"), world.good_request("/health")] {
        let answer = service.answer(request).await;
        let event = faulted(&service.sink, &service.reached, &answer, "evidence_missing");
        assert_eq!(event.gate, "handler");
    }
    assert_eq!(service.answer(world.good_request("/orders/42")).await.status, 200);
    assert_eq!(service.reached.count(), 1);
}

#[tokio::test]
async fn guards_alone_admit_nobody() {
    let world = World::default();
    let alone = Alone::new(&world);
    let stack = alone.stack(WHOLE.iter().copied(), BoxCloneSyncService::new(asking(&alone.reached)));
    let answer = answer(&stack, world.good_request("/orders/42")).await;
    let event = faulted(&alone.sink, &alone.reached, &answer, "evidence_missing");
    assert_eq!(event.gate, "handler");
    let passed = alone.sink.with_code("passed");
    assert_eq!(passed.iter().map(|event| event.gate).collect::<Vec<_>>(), WHOLE);
    assert!(passed.iter().all(|one| one.request_id == event.request_id), "events of one request");
}

#[tokio::test]
async fn a_second_verifier_finds_the_credential_gone() {
    let world = World::default();
    let alone = Alone::new(&world);
    let stack = alone.stack(["verify", "verify", "audience"], alone.routes(true));
    let answer = answer(&stack, world.good_request("/orders/42")).await;
    assert_eq!((answer.status, alone.reached.count()), (401, 0));
    alone.sink.assert_codes(&["passed", "token_missing"]);
}

/// Evidence cannot be made outside the crate that checks; all that other middleware could do is to keep what a
/// good request carried and put it into a bad one.
#[tokio::test]
async fn evidence_of_an_earlier_request_is_removed_by_a_complete_stack() {
    let world = World::default();
    let service = Service::serving(&world, Setting::usual(&world), |_, reached| asking(reached));
    assert_eq!(service.answer(world.good_request("/orders/42")).await.status, 200);
    let stolen = Stolen::from(&service.reached);
    let stack = stolen.planted(BoxCloneSyncService::new(service.app.clone()));
    let refused = answer(&stack, stranger("/orders/42")).await;
    assert_eq!(refused.status, 401);
    let opened = answer(&stack, stranger("/health")).await;
    assert_eq!(opened.status, 500);
    assert_eq!(service.reached.count(), 1);
    // And its events are not those of the request that it was taken from.
    let events = events_of_requests(&service.sink);
    let codes: Vec<_> = events.iter().map(|event| event.decision.code()).collect();
    assert_eq!(codes, ["admitted", "completed", "token_missing", "evidence_missing"]);
    let first = events[0].request_id;
    assert!(events[2..].iter().all(|event| event.request_id.is_some() && event.request_id != first));
}

#[tokio::test]
async fn evidence_of_an_earlier_request_is_removed_by_the_verifier_alone() {
    let world = World::default();
    let alone = Alone::new(&world);
    let stack = alone.stack(WHOLE.iter().copied(), alone.routes(true));
    assert_eq!(answer(&stack, world.good_request("/orders/42")).await.status, 200);
    let planted = Stolen::from(&alone.reached).planted(stack);
    assert_eq!(answer(&planted, stranger("/orders/42")).await.status, 401);
    assert_eq!(alone.reached.count(), 1);
}

/// What is planted in front of a verifier does not say who writes the events either.
#[tokio::test]
async fn whoever_stands_in_front_of_the_handler_writes_its_events() {
    let world = World::default();
    let other = Service::usual(&world);
    assert_eq!(other.answer(world.good_request("/plain")).await.status, 200);
    let (stolen, before) = (Stolen::from(&other.reached), other.sink.events().len());
    let alone = Alone::new(&world);
    let stack = alone.stack(WHOLE.iter().copied(), BoxCloneSyncService::new(asking(&alone.reached)));
    let answer = answer(&stolen.planted(stack), world.good_request("/orders/42")).await;
    faulted(&alone.sink, &alone.reached, &answer, "evidence_missing");
    assert_eq!(other.sink.events().len(), before);
}

#[tokio::test]
async fn evidence_that_is_planted_behind_the_verifier_is_foreign() {
    let world = World::default();
    let alone = Alone::new(&world);
    let other = Service::usual(&world);
    assert_eq!(other.answer(world.good_request("/plain")).await.status, 200);
    let stolen = Stolen::from(&other.reached);
    // Its own token is for somebody else; the evidence that is planted over it is not.
    let token = world.stage.token().claim("aud", "https://inventory.internal").sign(world.stage.key());
    for guard in GUARDS {
        let inner = alone.stack([*guard], alone.routes(true));
        let stack = alone.stack(["verify"], stolen.planted(inner));
        let answer = answer(&stack, hopguard_tests::inbound::bearer("/orders/42", &token)).await;
        // Written under the request id that was planted too, but written.
        faulted(&alone.sink, &alone.reached, &answer, "evidence_foreign");
    }
}

/// The evidence of a stack further out does not serve a handler behind another stack's open path.
#[tokio::test]
async fn a_stack_inside_another_begins_without_evidence() {
    let world = World::default();
    let (outer, inner) = (Service::usual(&world), Service::usual(&world));
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let kept = seen.clone();
    let handler = service_fn(move |request: Request| {
        kept.lock().unwrap().push(hopguard_tower::admitted(request.extensions()).is_some());
        async { Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty())) }
    });
    let around = |guard: &Inbound, service: Boxed| {
        let outside = ServiceBuilder::new().map_response(|r: http::Response<_>| r.map(Body::new));
        let inside = ServiceBuilder::new().map_request(|r: http::Request<Upload<Body>>| r.map(Body::new));
        BoxCloneSyncService::new(outside.service(guard.around(inside.service(service)))) as Boxed
    };
    let guarded = inner.guard.clone().open(OpenPaths::paths(["/health"]));
    let both = around(&outer.guard, around(&guarded, BoxCloneSyncService::new(handler)));
    assert_eq!(answer(&both, world.good_request("/health")).await.status, 200);
    assert_eq!(*seen.lock().unwrap(), [false], "the outer stack's evidence has reached the handler");
    // Elsewhere the inner stack wants a token of its own, which the outer one has taken out.
    assert_eq!(answer(&both, world.good_request("/orders/42")).await.status, 401);
    inner.sink.assert_codes(&["token_missing"]);
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// All orders of the five layers: with the verifier first and the holder check second, each admits exactly what
/// the right order admits; in any other order, nothing is admitted at all.
#[tokio::test]
async fn no_order_admits_more() {
    let world = World::default();
    let relevant = |guard: Option<&str>| guard.is_none_or(|guard| GUARDS.contains(&guard));
    let attacks: Vec<_> =
        enabled(Target::Inbound).into_iter().filter(|one| relevant(one.removed_guard.as_deref())).collect();
    assert!(attacks.len() >= 20, "{}", attacks.len());
    let orders = permutations(WHOLE);
    assert_eq!(orders.len(), 120);
    let mut let_in = 0;
    for order in orders {
        let alone = Alone::new(&world);
        let stack = alone.stack(order.iter().copied(), alone.routes(true));
        for attack in &attacks {
            let prepared = world.stage.prepare(attack);
            let reached = alone.reached.count() + prepared.before.len();
            let answer = alone.attacked(&stack, prepared).await;
            let right = order[..2] == ["verify", "bind"];
            let admitted = attack.expect.code == "admitted" && right;
            let expected = if right { attack.expect.status } else { 500 };
            assert_eq!(answer.status, expected, "{} in the order {order:?}", attack.id);
            if right {
                assert_eq!(alone.reached.count() - reached, usize::from(admitted), "{} {order:?}", attack.id);
                let_in += usize::from(admitted);
            } else {
                assert_eq!(alone.reached.count(), 0, "{} in the order {order:?}", attack.id);
            }
        }
    }
    assert!(let_in >= 6 * 3, "{let_in}");
}

fn permutations<'a>(items: &[&'a str]) -> Vec<Vec<&'a str>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        let rest: Vec<_> =
            items.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, one)| *one).collect();
        all.extend(permutations(&rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}

/// Fails unless the call was refused with `code`, an event says so, and nothing was fetched or sent.
#[track_caller]
fn kept_back(
    onward: &Onward,
    peer: &Peer,
    outcome: Result<u16, EgressError<impl std::fmt::Debug>>,
    code: &str,
) {
    let Err(EgressError::Refused(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refused.refusal.code(), refused.refusal.status()), (code, 500));
    assert_eq!(event_named(&onward.sink, &refused.event.to_string()).decision.code(), code);
    assert_eq!((onward.sts.token_requests(), peer.sent().len()), (0, 0));
}

#[tokio::test]
async fn evidence_of_another_ledger_calls_nobody() {
    let onward = Onward::start().await;
    let caller = onward.admit(&onward.token()).await;
    let stock = || call(&format!("{PEER}/stock/42"), Some(&caller));
    let peer = Peer::good();
    // The passthrough block over such a ledger would not know the caller's token.
    let elsewhere = onward.egress_over(&Ledger::bounded());
    let outcome = boxed(elsewhere.layer(peer.clone()), |error| error).oneshot(stock()).await;
    kept_back(&onward, &peer, outcome, "evidence_foreign");
    // Not even where no credential is attached.
    let anonymous = call(&format!("{}/ping", hopguard_tests::onward::STATUS), Some(&caller));
    let outcome = boxed(elsewhere.layer(peer.clone()), |error| error).oneshot(anonymous).await;
    kept_back(&onward, &peer, outcome, "evidence_foreign");
    let outcome = boxed(onward.egress().layer(peer.clone()), |error| error).oneshot(stock()).await;
    assert_eq!((outcome.unwrap(), peer.sent().len()), (200, 1));
}

#[tokio::test]
async fn a_call_that_names_nobody_is_not_made_as_somebody() {
    let onward = Onward::start().await;
    let peer = Peer::good();
    for stack in [onward.without(None, &peer), boxed(onward.egress().layer(peer.clone()), |error| error)] {
        let outcome = stack.oneshot(call(&format!("{PEER}/stock/42"), None)).await;
        kept_back(&onward, &peer, outcome, "evidence_missing");
    }
}
