//! What is written down about a request: one decision and one outcome for each that is admitted, whatever becomes
//! of it; and a count in place of a flood.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use bytes::Bytes;
use futures_util::future::{pending, poll_immediate};
use futures_util::{StreamExt, stream};
use hopguard_client::Spawn;
use hopguard_core::{EventKind, Fingerprint, Ledger, Overflow, StrangerLimits, seconds};
use hopguard_testkit::corpus::{Stage, Target};
use hopguard_testkit::{MemorySink, ScriptedTransport, cancel};
use hopguard_tests::inbound::{Reached, Service, Setting, World, bearer};
use hopguard_tests::onward::{Down, Onward, PEER, Peer, Sent, call};
use hopguard_tests::{codes_of_requests, enabled, event_named, events_of_requests};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tower_layer::Layer;

/// A router with one handler for each way in which an answer can end.
fn endings(reached: &Reached) -> Router {
    let reached = reached.clone();
    let noting = move |request: Request| {
        reached.note(request);
        async { "done" }
    };
    let chunks =
        |count: usize| stream::iter(0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"chunk")));
    let slowly = move || {
        chunks(3).then(|chunk| async {
            tokio::task::yield_now().await;
            chunk
        })
    };
    let fails = || stream::iter([Ok(Bytes::from_static(b"chunk")), Err(std::io::Error::other("the disk"))]);
    Router::new()
        .route("/text", any(noting.clone()))
        .route("/orders/{id}", any(noting.clone()))
        .nest("/deep", Router::new().route("/{*rest}", any(noting.clone())))
        .route("/empty", any(|| async {}))
        .route("/no-content", any(|| async { StatusCode::NO_CONTENT }))
        .route("/error", any(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "sorry") }))
        .route("/stream", any(move || async move { Body::from_stream(chunks(3)) }))
        .route("/slow", any(move || async move { Body::from_stream(slowly()) }))
        .route("/endless", any(move || async move { Body::from_stream(chunks(usize::MAX)) }))
        .route("/fails", any(move || async move { Body::from_stream(fails()) }))
        .route("/never", any(pending::<()>))
        .route("/panics", any(|| async { panic!("a bug of the handler") as &'static str }))
        .fallback(noting)
}

fn service(world: &World, sink: Arc<MemorySink>) -> Service {
    Service::serving(world, Setting { sink, ..Setting::usual(world) }, |_, reached| {
        endings(reached).layer(hopguard::NameRoutes)
    })
}

/// Sends a good request and returns the head of the answer.
async fn head(world: &World, service: &Service, path: &str) -> Response<Body> {
    let Ok(response) = service.app.clone().oneshot(world.good_request(path).map(Body::from)).await;
    response
}

/// Fails unless exactly one request was admitted, and ended so.
#[track_caller]
fn ended(service: &Service, outcome: &str, status: Option<u16>) {
    assert_eq!(codes_of_requests(&service.sink), ["admitted", outcome]);
    let events = events_of_requests(&service.sink);
    let [decision, end] = &events[..] else { panic!("two events") };
    assert_eq!((decision.kind, end.kind), (EventKind::Decision, EventKind::Outcome));
    assert!(end.request_id.is_some() && end.request_id == decision.request_id);
    let fingerprint = |event: &hopguard_core::Event| event.token.as_ref().map(|facts| facts.fingerprint);
    assert!(fingerprint(end).is_some() && fingerprint(end) == fingerprint(decision));
    assert_eq!(end.status, status);
    assert_eq!(service.sink.reserved(), 0, "room that is not given back");
}

#[tokio::test]
async fn an_answer_that_is_read_to_its_end_is_completed() {
    let world = World::default();
    for (path, status) in [
        ("/text", 200),
        ("/empty", 200),
        ("/no-content", 204),
        ("/error", 500),
        ("/stream", 200),
        ("/slow", 200),
        ("/no/such/path", 200),
    ] {
        let service = service(&world, MemorySink::new());
        let response = head(&world, &service, path).await;
        assert_eq!(response.status(), status, "{path}");
        response.into_body().collect().await.unwrap();
        ended(&service, "completed", Some(status));
    }
}

/// The template and never the path, which may hold anything; a method that somebody invented is not repeated.
#[tokio::test]
async fn events_name_the_method_and_the_outcome_its_route() {
    let world = World::default();
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    let long = format!("/orders/{token}");
    for (method, path, shown, route) in [
        ("GET", "/orders/17", "GET", Some("/orders/{id}")),
        ("DELETE", "/orders/18", "DELETE", Some("/orders/{id}")),
        (token, &long, "_OTHER", Some("/orders/{id}")),
        ("get", "/deep/down/there", "_OTHER", Some("/deep/{*rest}")),
        ("POST", "/no/such/path", "POST", None),
    ] {
        let service = service(&world, MemorySink::new());
        let mut request = world.good_request(path).map(Body::from);
        *request.method_mut() = method.parse().unwrap();
        let Ok(response) = service.app.clone().oneshot(request).await;
        assert_eq!(response.status(), 200, "{path}");
        response.into_body().collect().await.unwrap();
        ended(&service, "completed", Some(200));
        let events = events_of_requests(&service.sink);
        let [decision, end] = &events[..] else { panic!("two events") };
        assert_eq!((decision.method, end.method), (Some(shown), Some(shown)), "{path}");
        assert_eq!((decision.route.as_deref(), end.route.as_deref()), (None, route), "{path}");
    }
}

#[tokio::test]
async fn the_outcome_is_written_when_the_body_ends_and_not_before() {
    let world = World::default();
    for (path, chunks) in [("/text", 1), ("/stream", 3), ("/slow", 3)] {
        let service = service(&world, MemorySink::new());
        let mut body = head(&world, &service, path).await.into_body();
        for _ in 0..chunks {
            assert_eq!(codes_of_requests(&service.sink), ["admitted"], "{path}");
            assert_eq!(service.sink.reserved(), 1, "room for the outcome is set aside");
            body.frame().await.expect("a frame").expect("a chunk");
        }
        assert!(body.frame().await.is_none());
        ended(&service, "completed", Some(200));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_is_abandoned() {
    let world = World::default();
    for (path, frames) in [("/text", 0), ("/stream", 0), ("/stream", 2), ("/slow", 1), ("/endless", 50)] {
        let service = service(&world, MemorySink::new());
        let mut body = head(&world, &service, path).await.into_body();
        for _ in 0..frames {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        ended(&service, "abandoned", Some(200));
    }
    // The stream itself breaks.
    let service = service(&world, MemorySink::new());
    let body = head(&world, &service, "/fails").await.into_body();
    assert!(body.collect().await.is_err());
    ended(&service, "abandoned", Some(200));
}

#[tokio::test]
async fn a_handler_that_is_given_up_or_panics_is_abandoned() {
    let world = World::default();
    let given_up = service(&world, MemorySink::new());
    {
        let mut never = pin!(head(&world, &given_up, "/never"));
        // The keys are fetched meanwhile, so that it takes a few polls to come to the handler.
        while codes_of_requests(&given_up.sink).is_empty() {
            assert!(poll_immediate(&mut never).await.is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(codes_of_requests(&given_up.sink), ["admitted"]);
    }
    ended(&given_up, "abandoned", None);

    let panicking = service(&world, MemorySink::new());
    {
        let mut panics = pin!(head(&world, &panicking, "/panics"));
        let caught =
            poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| panics.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(_)) => Poll::Ready(false),
                Err(_) => Poll::Ready(true),
            });
        assert!(caught.await, "the handler did not panic");
    }
    ended(&panicking, "abandoned", None);
}

#[tokio::test]
async fn a_refused_request_has_one_decision_and_no_outcome_and_an_open_one_neither() {
    let world = World::default();
    let service = Service::usual(&world);
    let foreign = world.stage.token().claim("aud", "https://inventory.internal").sign(world.stage.key());
    assert_eq!(service.answer(bearer("/orders/42", &foreign)).await.status, 401);
    assert_eq!(service.answer(bearer("/orders/42", "nonsense")).await.status, 401);
    assert_eq!(service.answer(http::Request::get("/health").body(Bytes::new()).unwrap()).await.status, 200);
    assert_eq!(codes_of_requests(&service.sink), ["audience_mismatch", "token_malformed"]);
    assert_eq!(service.sink.reserved(), 0);
    // A route's own refusal comes after the admission: the request was admitted, and it ended.
    assert_eq!(service.answer(world.good_request("/admin")).await.status, 403);
    assert_eq!(codes_of_requests(&service.sink)[2..], ["admitted", "insufficient_scope", "completed"]);
}

#[tokio::test]
async fn wherever_the_caller_goes_away_admissions_and_outcomes_are_equal() {
    let world = World::default();
    let service = service(&world, MemorySink::new());
    let count = |code: &str| codes_of_requests(&service.sink).iter().filter(|found| **found == code).count();
    let polls = cancel::at_every_poll(
        || async {
            let response = head(&world, &service, "/slow").await;
            response.into_body().collect().await.unwrap();
        },
        async |polls| {
            assert_eq!(count("admitted"), count("completed") + count("abandoned"), "after {polls} polls");
            assert_eq!(service.sink.reserved(), 0, "after {polls} polls");
        },
    )
    .await;
    assert!(polls >= 3, "{polls}");
    assert_eq!(count("completed"), 1);
    // What of a body is at hand is judged before its head leaves, so that few places are left to go away at.
    assert!(count("abandoned") >= 1, "{:?}", service.sink.codes());
}

#[tokio::test]
async fn what_cannot_be_written_down_does_not_happen() {
    let world = World::default();
    // No room at all; room for the outcome but not for the decision.
    for room in [0, 1] {
        let service = service(&world, MemorySink::new());
        // The keys are there, and what was written about them: nothing else will take a place.
        assert_eq!(service.answer(world.good_request("/text")).await.status, 200);
        service.sink.set_places(service.sink.events().len() + room);
        let answer = service.answer(world.good_request("/text")).await;
        assert_eq!((answer.status, service.reached.count()), (503, 1), "room for {room}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        let event = event_named(&service.sink, answer.event().unwrap());
        assert_eq!(event.decision.code(), "audit_unavailable");
        assert_eq!(service.sink.reserved(), 0, "what was set aside is given back");
        // As soon as there is room again, callers are served again.
        service.sink.set_places(service.sink.events().len() + 2);
        assert_eq!(service.answer(world.good_request("/text")).await.status, 200);
        assert_eq!(service.reached.count(), 2);
    }
}

#[tokio::test]
async fn a_request_that_runs_keeps_its_place_while_others_are_refused() {
    let world = World::default();
    let service = service(&world, MemorySink::new());
    let running = head(&world, &service, "/stream").await;
    let held = service.sink.events().len() + service.sink.reserved();
    service.sink.set_places(held);
    assert_eq!(service.answer(world.good_request("/text")).await.status, 503);
    assert_eq!(service.reached.count(), 0);
    running.into_body().collect().await.unwrap();
    assert_eq!(codes_of_requests(&service.sink), ["admitted", "audit_unavailable", "completed"]);
    assert_eq!(service.sink.reserved(), 0);
}

#[tokio::test]
async fn guards_alone_pass_nobody_whom_they_cannot_write_down() {
    let world = World::default();
    let alone = hopguard_tests::alone::Alone::new(&world);
    let stack = alone.without(None);
    let answer =
        async || hopguard_tests::alone::answer(&stack, world.good_request("/orders/42")).await.status;
    assert_eq!((answer().await, alone.reached.count()), (200, 1));
    let guards = hopguard_tests::alone::WHOLE.len() + 1;
    // Each guard writes that it passed: room for some of them, and not for all.
    for room in 0..guards {
        alone.sink.set_places(alone.sink.events().len() + room);
        assert_eq!((answer().await, alone.reached.count()), (503, 1), "room for {room}");
    }
    alone.sink.set_places(alone.sink.events().len() + guards);
    assert_eq!((answer().await, alone.reached.count()), (200, 2));
}

/// The rounds of a flood: everything in the corpus that is refused before it is verified.
const ROUNDS: usize = 40;

#[tokio::test]
async fn a_flood_of_strangers_is_counted_and_denies_nobody() {
    let world = World::default();
    let limits = StrangerLimits::default();
    // Room for what good callers need, and for what the bounded lane may take of it; not for the flood.
    let (good, codes) = (ROUNDS, 20);
    let singly = usize::try_from(limits.singly).unwrap();
    let sink = MemorySink::with_places(3 * good + codes * (singly + 1) + 10);
    let service = Service::with(&world, Setting { sink, limits, ..Setting::usual(&world) });
    let attacks: Vec<_> = enabled(Target::Inbound)
        .into_iter()
        .filter(|one| matches!(one.removed_guard.as_deref(), Some("verify" | "extract")))
        .collect();
    let mut flood = 0;
    for _ in 0..ROUNDS {
        for attack in &attacks {
            let prepared = world.stage.prepare(attack);
            // Huge ones are slow to make, and one of each kind is enough; nor is what begins with a good token.
            if prepared.token.len() > 20_000 || !prepared.before.is_empty() {
                continue;
            }
            assert_eq!(service.answer(prepared.request).await.status, attack.expect.status, "{}", attack.id);
            flood += 1;
        }
        let answer = service.answer(world.good_request("/plain")).await;
        assert_eq!(answer.status, 200, "a good caller was refused: {:?}", service.sink.codes().last());
    }
    assert!(flood > 2000, "{flood}");
    assert_eq!(service.reached.count(), good);
    // I9: garbage enters no memory, and keys were fetched a fixed number of times.
    assert_eq!(service.ledger.len(), good);
    assert!(service.transport.count() <= 4, "{:?}", service.transport);

    let events = service.sink.events();
    let refused = |event: &&hopguard_core::Event| event.kind == EventKind::Decision && event.status.is_some();
    let single: Vec<_> = events.iter().filter(refused).map(|event| event.decision.code()).collect();
    for code in &single {
        assert!(single.iter().filter(|other| *other == code).count() <= singly, "{code}");
    }
    assert_eq!(service.sink.with_code("suppressed").len(), 0, "the window has not ended");
    // When it ends, whoever comes next has the counts written.
    world.clock.advance(Duration::from_millis(limits.window_millis));
    assert_eq!(service.answer(world.good_request("/plain")).await.status, 200);
    let suppressed = service.sink.with_code("suppressed");
    assert!(suppressed.iter().all(|event| event.kind == EventKind::Count && event.count > Some(0)));
    let counted: u64 = suppressed.iter().filter_map(|event| event.count).sum();
    assert_eq!(
        single.len() + usize::try_from(counted).unwrap(),
        flood,
        "every refusal is written or counted"
    );
    let mut gates: Vec<_> = suppressed.iter().map(|event| event.gate).collect();
    gates.dedup();
    assert_eq!(gates.len(), suppressed.len(), "one count for each code");
    assert!(gates.contains(&"token_missing") && gates.contains(&"signature_invalid"), "{gates:?}");
}

#[tokio::test]
async fn a_ledger_that_lets_go_says_so_and_denies_nobody() {
    let world = World::default();
    let ledger = Ledger::with_bound(1, Overflow::EvictWithEvent);
    let service = Service::with(&world, Setting { ledger, ..Setting::usual(&world) });
    for _ in 0..64 {
        assert_eq!(service.answer(world.good_request("/plain")).await.status, 200);
    }
    assert!(service.ledger.len() <= 16);
    let overflows = service.sink.with_code("ledger_overflow");
    assert!(overflows.len() >= 48, "{}", overflows.len());
    assert!(overflows.iter().all(|event| event.kind == EventKind::Notice));
    assert_eq!(codes_of_requests(&service.sink).len(), 2 * 64);
}

#[tokio::test]
async fn the_same_token_twice_is_two_requests_of_one_fingerprint() {
    let world = World::default();
    let service = Service::usual(&world);
    let token = world.stage.good_token();
    for _ in 0..2 {
        assert_eq!(service.answer(bearer("/plain", &token)).await.status, 200);
    }
    let events = events_of_requests(&service.sink);
    assert_eq!(codes_of_requests(&service.sink), ["admitted", "completed", "admitted", "completed"]);
    assert_ne!(events[0].request_id, events[2].request_id);
    let expected = Fingerprint::of_token(&token);
    assert!(
        events.iter().all(|event| event.token.as_ref().is_some_and(|facts| facts.fingerprint == expected))
    );
}

/// Serves on loopback until the runtime ends.
async fn served(service: &Service) -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, app) = (listener.local_addr().unwrap(), service.app.clone());
    Spawn::current().spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Waits until the audit has an outcome.
async fn outcome(sink: &MemorySink) {
    let written = async {
        while !sink.events().iter().any(|event| event.kind == EventKind::Outcome) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(seconds(30), written).await.expect("an outcome");
}

#[tokio::test]
async fn over_a_socket_every_answer_has_its_end() {
    let world = World::default();
    for (method, path, status) in [
        ("GET", "/text", 200),
        ("GET", "/empty", 200),
        ("GET", "/no-content", 204),
        ("GET", "/slow", 200),
        ("HEAD", "/text", 200),
        ("HEAD", "/slow", 200),
        ("POST", "/text", 200),
    ] {
        let service = service(&world, MemorySink::new());
        let mut request = world.good_request(path);
        *request.method_mut() = method.parse().unwrap();
        let answer = hopguard_tests::answer::Answer::over_socket(served(&service).await, &request).await;
        assert_eq!(answer.status, status, "{method} {path}");
        outcome(&service.sink).await;
        ended(&service, "completed", Some(status));
    }
}

#[tokio::test]
async fn over_a_socket_a_caller_that_hangs_up_is_abandoned() {
    let world = World::default();
    let service = service(&world, MemorySink::new());
    let mut stream = TcpStream::connect(served(&service).await).await.unwrap();
    let token = world.stage.good_token();
    let request = format!("GET /endless HTTP/1.1\r\nhost: orders\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 4096];
    stream.read_exact(&mut some).await.unwrap();
    assert_eq!(codes_of_requests(&service.sink), ["admitted"]);
    drop(stream);
    outcome(&service.sink).await;
    ended(&service, "abandoned", Some(200));
}

// === the way out ===

async fn calling(
    onward: &Onward,
    peer: &Peer,
) -> Result<Response<impl http_body::Body<Data = Bytes>>, &'static str> {
    let caller = onward.admit(&onward.token()).await;
    let _admission = onward.sink.take();
    let egress = onward.egress().layer(peer.clone());
    egress.oneshot(call(&format!("{PEER}/stock/42"), Some(&caller))).await.map_err(|error| error.code())
}

#[tokio::test]
async fn a_call_onwards_has_one_decision_and_one_outcome() {
    let onward = Onward::start().await;
    let peer = Peer::good();
    let Ok(response) = calling(&onward, &peer).await else { panic!("{:?}", onward.sink.codes()) };
    assert_eq!(codes_of_requests(&onward.sink), ["sent"]);
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(codes_of_requests(&onward.sink), ["sent", "completed"]);

    drop(calling(&onward, &peer).await.ok());
    assert_eq!(codes_of_requests(&onward.sink), ["sent", "abandoned"]);

    let down = Peer::answering(|_: &Sent| Err(Down));
    assert_eq!(calling(&onward, &down).await.err(), Some("peer_unavailable"));
    assert_eq!(codes_of_requests(&onward.sink), ["sent", "peer_unavailable"]);
    let events = events_of_requests(&onward.sink);
    assert!(events[0].request_id.is_some() && events[0].request_id == events[1].request_id);
    assert_eq!((events[1].status, onward.sink.reserved()), (None, 0));
}

#[tokio::test]
async fn a_call_that_cannot_be_written_down_is_not_made() {
    let onward = Onward::start().await;
    let caller = onward.admit(&onward.token()).await;
    let peer = Peer::good();
    let egress = onward.egress().layer(peer.clone());
    let calling = || egress.clone().oneshot(call(&format!("{PEER}/stock/42"), Some(&caller)));
    // Keys and grant are there, and what was written about them: nothing else will take a place.
    assert!(calling().await.is_ok_and(|response| response.status() == 200));
    for room in [0, 1] {
        onward.sink.set_places(onward.sink.events().len() + room);
        let code = calling().await.map(|_| ()).map_err(|error| error.code());
        assert_eq!((code, peer.sent().len()), (Err("audit_unavailable"), 1), "room for {room}");
        assert_eq!(onward.sink.reserved(), 0);
    }
    onward.sink.set_places(onward.sink.events().len() + 2);
    assert!(calling().await.is_ok_and(|response| response.status() == 200));
    assert_eq!(peer.sent().len(), 2);
}

/// Who has waited for keys is refused when they are there, and not when it came: else the window, in which so many are
/// written singly, would begin anew with each of them.
#[tokio::test]
async fn who_has_waited_for_keys_begins_no_window_of_old() {
    let world = World::default();
    let (clock, first, second) = (world.clock.clone(), world.stage.jwks(), world.stage.second_jwks());
    let mut setting = Setting::usual(&world);
    setting.limits = StrangerLimits { singly: 1, window_millis: 10_000 };
    setting.transport = ScriptedTransport::json(move |url| {
        clock.advance(seconds(11));
        if url.starts_with(Stage::ISSUER) { first.clone() } else { second.clone() }
    });
    let service = Service::with(&world, setting);
    let mut token = world.stage.good_token();
    token.replace_range(token.len() - 9..token.len() - 8, "-");
    for _ in 0..3 {
        assert_eq!(service.answer(bearer("/text", &token)).await.status, 401);
    }
    let codes = codes_of_requests(&service.sink);
    assert_eq!(codes, ["signature_invalid"], "the others are counted");
}
