//! Nothing runs longer than its token (A19, I13): responses, uploads and upgraded connections, over real sockets,
//! with a clock that only the test moves.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::routing::any;
use futures_util::{StreamExt, stream};
use hopguard_client::Spawn;
use hopguard_core::{Clock, Event, EventKind, Withdrawal, minutes, seconds};
use hopguard_testkit::cancel;
use hopguard_testkit::corpus::Stage;
use hopguard_tests::inbound::{Reached, Service, Setting, World};
use hopguard_tests::{codes_of_requests, events_of_requests};
use hopguard_tower::{LongStream, Upgrading};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tower::ServiceExt;

/// How long tokens live here.
const LIFE: u64 = 120;

/// What the handlers tell.
#[derive(Clone, Default)]
struct Seen(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How an upload or an upgraded connection ended, as the handler saw it.
    ends: Mutex<Vec<String>>,
    ended: Notify,
    /// Streams that were dropped.
    dropped: AtomicUsize,
    /// hyper's own upgrade was there for the taking.
    raw: AtomicBool,
    /// Uploads that nobody reads, nor drops.
    kept: Mutex<Vec<Body>>,
}

/// What must come and does not shall fail the test, not stop the run.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it goes on, and should have ended")
}

impl Seen {
    fn end(&self, how: impl ToString) {
        self.0.ends.lock().unwrap().push(how.to_string());
        self.0.ended.notify_one();
    }

    async fn next_end(&self) -> String {
        soon(async {
            loop {
                if let Some(end) = self.0.ends.lock().unwrap().pop() {
                    return end;
                }
                self.0.ended.notified().await;
            }
        })
        .await
    }

    fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Counts when it is dropped.
    fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

struct Guard(Seen);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// One event, then silence until the end of the world.
fn sse(seen: &Seen) -> impl IntoResponse + use<> {
    let guard = seen.guard();
    let first = stream::iter([Ok::<_, Infallible>(SseEvent::default().data("first"))]);
    let silence = stream::pending::<Result<SseEvent, Infallible>>();
    Sse::new(first.chain(silence).map(move |event| {
        let _kept = &guard;
        event
    }))
}

/// Reads its upload to the end.
async fn upload(seen: Seen, request: Request) -> String {
    let mut body = request.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => read += frame.into_data().unwrap_or_default().len(),
            Err(error) => {
                seen.end(&error);
                return "broken".to_owned();
            }
        }
    }
    seen.end("whole");
    format!("{read} bytes")
}

/// Answers at once and reads its upload afterwards.
fn answer_first(seen: &Seen, request: Request) -> impl IntoResponse + use<> {
    let seen = seen.clone();
    Spawn::current().spawn(async move {
        let _read = upload(seen, request).await;
    });
    "started"
}

/// Answers at once, and keeps its upload without ever reading it.
fn keep(seen: &Seen, request: Request) -> &'static str {
    seen.0.kept.lock().unwrap().push(request.into_body());
    "started"
}

/// Takes the connection and echoes, or leaves it alone.
fn upgrade(seen: &Seen, mut request: Request, echoes: bool) -> Response<Body> {
    let raw = request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some();
    seen.0.raw.fetch_or(raw, Ordering::SeqCst);
    let connect = request.method() == Method::CONNECT;
    let Some(upgrading) = Upgrading::of(&mut request) else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    assert!(Upgrading::of(&mut request).is_none(), "there is only one");
    let seen = seen.clone();
    Spawn::current().spawn(async move {
        let connection = match upgrading.await {
            Ok(connection) => connection,
            Err(error) => return seen.end(error),
        };
        if !echoes {
            let _kept = connection;
            return std::future::pending().await;
        }
        let mut connection = TokioIo::new(connection);
        let mut buffer = [0; 64];
        loop {
            match connection.read(&mut buffer).await {
                Ok(0) => return seen.end("eof"),
                Ok(read) => {
                    if connection.write_all(&buffer[..read]).await.is_err() {
                        return seen.end("unwritten");
                    }
                }
                Err(error) => return seen.end(format!("{:?}: {error}", error.kind())),
            }
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    if connect {
        *response.status_mut() = StatusCode::OK;
    } else {
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
    }
    response
}

fn routes(seen: &Seen) -> Router {
    macro_rules! seen {
        (|$seen:ident, $request:ident| $body:expr) => {{
            let seen = seen.clone();
            any(move |$request: Request| async move {
                let $seen = &seen;
                $body
            })
        }};
    }
    let endless = || stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(b"chunk")));
    let paced = move || {
        endless().then(|chunk| async {
            tokio::task::yield_now().await;
            chunk
        })
    };
    Router::new()
        .route("/sse", seen!(|seen, _request| sse(seen)))
        .route("/orders/{id}/events", seen!(|seen, _request| sse(seen)))
        .route("/endless", any(move || async move { Body::from_stream(endless()) }))
        .route("/paced", any(move || async move { Body::from_stream(paced()) }))
        .route(
            "/never",
            seen!(|seen, _request| {
                let _guard = seen.guard();
                std::future::pending::<()>().await;
            }),
        )
        .route("/upload", seen!(|seen, request| upload(seen.clone(), request).await))
        .route("/answer-first", seen!(|seen, request| answer_first(seen, request)))
        .route("/keep", seen!(|seen, request| keep(seen, request)))
        .route("/echo", seen!(|seen, request| upgrade(seen, request, true)))
        .route("/idle", seen!(|seen, request| upgrade(seen, request, false)))
        .route("/not-taken", seen!(|_seen, _request| StatusCode::SWITCHING_PROTOCOLS))
        .fallback(seen!(|seen, request| upgrade(seen, request, true)))
}

/// A service, served on a socket.
struct Served {
    world: World,
    service: Service,
    seen: Seen,
    address: std::net::SocketAddr,
}

/// When the good token expires.
fn late() -> hopguard_core::UnixTime {
    hopguard_core::UnixTime::from_secs(1_800_000_000 + LIFE)
}

impl Served {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Setting)) -> Self {
        let world = World::default();
        let seen = Seen::default();
        let mut setting = Setting::usual(&world);
        change(&mut setting);
        let service = Service::serving(&world, setting, |_, _: &Reached| routes(&seen));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = service.app.clone();
        Spawn::current().spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { world, service, seen, address }
    }

    /// Sends a head with a good token, and whatever else of it is given.
    async fn open(&self, line: &str, more: &str) -> Client {
        let token = self.world.stage.good_token();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head =
            format!("{line} HTTP/1.1\r\nhost: orders.internal\r\nauthorization: Bearer {token}\r\n{more}");
        stream.write_all(head.as_bytes()).await.unwrap();
        Client { stream, read: Vec::new() }
    }

    fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
    }

    fn codes(&self) -> Vec<&'static str> {
        codes_of_requests(&self.service.sink)
    }

    /// Waits until so many events about requests are there.
    async fn events(&self, count: usize) -> Vec<Event> {
        let enough = async {
            loop {
                let events = events_of_requests(&self.service.sink);
                if events.len() >= count {
                    return events;
                }
                tokio::task::yield_now().await;
            }
        };
        let events = soon(enough).await;
        assert_eq!(self.service.sink.reserved(), 0, "room that is not given back");
        events
    }

    /// Fails unless one request was admitted, and ended so.
    async fn ended(&self, code: &str, status: Option<u16>) {
        let events = self.events(2).await;
        assert_eq!(self.codes(), ["admitted", code]);
        let [admitted, end] = &events[..] else { panic!("{:?}", self.codes()) };
        assert_eq!((end.kind, end.status), (EventKind::Outcome, status));
        assert_eq!(end.request_id, admitted.request_id);
        assert!(end.token.is_some());
    }

    /// Everything by which the good token can be withdrawn.
    fn withdrawals(&self) -> Vec<Withdrawal> {
        let event = self.service.sink.sole("admitted");
        let token = event.token.as_ref().unwrap();
        let issuer = token.issuer.clone();
        vec![
            Withdrawal::Token(token.fingerprint),
            Withdrawal::Issuer(issuer.clone()),
            Withdrawal::Key { issuer: issuer.clone(), key_id: token.key_id.clone().unwrap() },
            Withdrawal::Subject { issuer, subject: token.subject.clone() },
        ]
    }

    fn withdraw(&self, what: Withdrawal) {
        let until = self.world.clock.now().after(minutes(10));
        self.service.guard.hop().withdraw(what, until).unwrap();
    }
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads until `text` has come.
    async fn until(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.text().contains(text) {
            let read = soon(self.stream.read(&mut buffer)).await.unwrap();
            assert!(read > 0, "the connection was closed before {text:?}: {:?}", self.text());
            self.read.extend_from_slice(&buffer[..read]);
        }
    }

    /// Reads until the connection is closed, in whatever way, and returns all there was.
    async fn closed(mut self) -> String {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = soon(self.stream.read(&mut buffer)).await {
            self.read.extend_from_slice(&buffer[..read]);
        }
        self.text()
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: echo\r\n\r\n";

#[tokio::test]
async fn an_event_stream_is_cut_at_its_tokens_expiry() {
    let served = Served::new().await;
    let mut client = served.open("GET /sse", "\r\n").await;
    client.until("first").await;
    served.advance(seconds(LIFE - 1));
    // In its last second it runs on.
    let other = served.open("GET /no/such/path", "connection: close\r\n\r\n").await;
    assert!(other.closed().await.starts_with("HTTP/1.1 426"));
    assert_eq!((served.seen.dropped(), served.codes()), (0, vec!["admitted", "admitted", "completed"]));
    let _earlier = served.service.sink.take();
    served.advance(seconds(1));
    let all = client.closed().await;
    assert!(all.starts_with("HTTP/1.1 200") && all.contains("first"));
    assert!(!all.ends_with("0\r\n\r\n"), "it looks like a whole answer: {all:?}");
    let events = served.events(1).await;
    assert_eq!((events[0].decision.code(), events[0].status), ("stream_expired", Some(200)));
    assert_eq!(events.len(), 1);
    assert_eq!(served.seen.dropped(), 1, "what the handler had open is dropped");
}

#[tokio::test]
async fn an_event_stream_is_cut_by_whatever_withdraws_its_token() {
    for kind in 0..4 {
        let served = Served::new().await;
        let mut client = served.open("GET /sse", "\r\n").await;
        client.until("first").await;
        // Something else is withdrawn: woken, and not struck.
        served.withdraw(Withdrawal::Subject { issuer: Stage::ISSUER.into(), subject: "mallory".into() });
        tokio::task::yield_now().await;
        assert_eq!(served.codes(), ["admitted"]);
        let what = served.withdrawals().remove(kind);
        // No time passes: nothing but the withdrawal itself wakes the stream.
        served.withdraw(what);
        assert!(!client.closed().await.ends_with("0\r\n\r\n"));
        served.ended("stream_withdrawn", Some(200)).await;
    }
}

#[tokio::test]
async fn no_frame_passes_late_though_nothing_wakes_the_stream() {
    for withdrawn in [false, true] {
        let served = Served::new().await;
        let request = served.world.good_request("/endless").map(Body::from);
        let Ok(response) = served.service.app.clone().oneshot(request).await;
        let mut body = response.into_body();
        served.world.clock.set(hopguard_core::UnixTime::from_secs(1_800_000_000 + LIFE - 1));
        for _ in 0..100 {
            body.frame().await.unwrap().unwrap();
        }
        if withdrawn {
            served.withdraw(served.withdrawals().remove(0));
        } else {
            // Somebody sets the clock: no timer knows of it.
            served.world.clock.set(late());
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains(if withdrawn { "withdrawn" } else { "expired" }), "{error}");
        assert!(body.frame().await.is_none());
        served.ended(if withdrawn { "stream_withdrawn" } else { "stream_expired" }, Some(200)).await;
    }
}

#[tokio::test]
async fn an_answer_that_has_not_begun_by_then_does_not_begin() {
    let served = Served::new().await;
    let client = served.open("GET /never", "connection: close\r\n\r\n").await;
    while served.codes().is_empty() {
        tokio::task::yield_now().await;
    }
    served.advance(seconds(LIFE));
    let all = client.closed().await;
    assert!(all.starts_with("HTTP/1.1 401") && all.contains("invalid_token"), "{all}");
    served.ended("stream_expired", Some(401)).await;
    let end = served.service.sink.sole("stream_expired");
    assert!(all.contains(&format!("hopguard-event: {}", end.id)), "{all}");
    assert_eq!(served.seen.dropped(), 1);
}

/// No timer tells it: the handler has just taken too long.
#[tokio::test]
async fn an_answer_that_comes_too_late_does_not_begin_either() {
    for withdrawn in [false, true] {
        let world = World::default();
        let clock = world.clock.clone();
        let ledger = hopguard_core::Ledger::bounded();
        let setting = Setting { ledger: ledger.clone(), ..Setting::usual(&world) };
        let service = Service::serving(&world, setting, |_, _| {
            Router::new().fallback(any(move |caller: hopguard_axum::Caller| async move {
                if withdrawn {
                    let what = Withdrawal::Token(caller.facts().fingerprint);
                    ledger.withdrawals().withdraw(what, clock.now(), late()).unwrap();
                } else {
                    clock.set(late());
                }
                "the order"
            }))
        });
        let answer = service.answer(world.good_request("/orders/42")).await;
        let code = if withdrawn { "stream_withdrawn" } else { "stream_expired" };
        assert_eq!(answer.status, 401);
        assert!(!String::from_utf8_lossy(&answer.body).contains("order"));
        assert_eq!(codes_of_requests(&service.sink), ["admitted", code]);
        let event = hopguard_tests::event_named(&service.sink, answer.event().unwrap());
        assert_eq!((event.decision.code(), event.kind, event.status), (code, EventKind::Outcome, Some(401)));
    }
}

/// What is at hand of a body is looked through before its head leaves, and may take as long as it likes.
#[tokio::test]
async fn an_answer_whose_body_takes_too_long_to_begin_does_not_begin_either() {
    let world = World::default();
    let clock = world.clock.clone();
    let service = Service::serving(&world, Setting::usual(&world), |_, _| {
        Router::new().fallback(any(move |_: hopguard_axum::Caller| async move {
            let body = stream::once(async move {
                clock.set(late());
                Ok::<_, Infallible>("the order")
            });
            ([("location", "/orders/42")], Body::from_stream(body))
        }))
    });
    let answer = service.answer(world.good_request("/orders/42")).await;
    assert_eq!(answer.status, 401);
    assert!(answer.headers.iter().all(|(name, _)| name != "location"), "{:?}", answer.headers);
    assert!(!String::from_utf8_lossy(&answer.body).contains("order"));
    assert_eq!(codes_of_requests(&service.sink), ["admitted", "stream_expired"]);
}

/// The handler behind two stacks has the outer one's caller's token and the inner one's: neither may outlive its own.
#[tokio::test]
async fn a_stack_within_another_hands_on_no_upgrade_of_the_outer_one() {
    let world = World::default();
    let outer = Service::serving(&world, Setting::usual(&world), |_, _| {
        let inner = Service::serving(&world, Setting::usual(&world), |_, _| {
            Router::new().fallback(any(|mut request: Request| async move {
                let taken = Upgrading::of(&mut request).is_some();
                if taken { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::UPGRADE_REQUIRED }
            }))
        });
        let token = world.stage.good_token();
        let again = move |mut request: Request| {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
            request
        };
        Router::new().fallback_service(tower::ServiceBuilder::new().map_request(again).service(inner.app))
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = outer.app.clone();
    Spawn::current().spawn(async move { axum::serve(listener, app).await.unwrap() });
    let served = Served { world, service: outer, seen: Seen::default(), address };
    let mut client = served.open("GET /x", UPGRADE).await;
    client.until("\r\n\r\n").await;
    assert!(client.text().starts_with("HTTP/1.1 426"), "{}", client.text());
}

#[tokio::test]
async fn a_slow_upload_ends_and_the_handler_hears_of_it() {
    let served = Served::new().await;
    let mut client =
        served.open("POST /upload", "connection: close\r\ncontent-length: 1000\r\n\r\n12345").await;
    while served.codes().is_empty() {
        tokio::task::yield_now().await;
    }
    client.send("67890").await;
    served.advance(seconds(LIFE));
    let all = client.closed().await;
    assert!(all.starts_with("HTTP/1.1 401"), "{all}");
    let end = served.seen.next_end().await;
    assert!(end.contains("expired"), "{end}");
    served.ended("stream_expired", Some(401)).await;
}

#[tokio::test]
async fn an_upload_that_goes_on_after_the_answer_ends_too() {
    for withdrawn in [true, false] {
        let served = Served::new().await;
        let mut client = served.open("POST /answer-first", "content-length: 1000\r\n\r\n12345").await;
        client.until("started").await;
        assert_eq!(served.codes(), ["admitted"], "its answer is whole, and its upload goes on");
        if withdrawn {
            served.withdraw(served.withdrawals().remove(0));
        } else {
            served.advance(seconds(LIFE));
        }
        let (end, code) = (served.seen.next_end().await, if withdrawn { "withdrawn" } else { "expired" });
        assert!(end.contains(code), "{end}");
        served.ended(&format!("stream_{code}"), Some(200)).await;
    }
}

/// Nobody asks it for a frame that could tell that its time is up, and its place in the audit comes free all the same.
#[tokio::test]
async fn an_upload_that_is_kept_and_never_read_ends_too() {
    for (change, code) in
        [("time", "stream_expired"), ("withdrawn", "stream_withdrawn"), ("dropped", "completed")]
    {
        let served = Served::new().await;
        let mut client = served.open("POST /keep", "content-length: 1000\r\n\r\n12345").await;
        client.until("started").await;
        assert_eq!(served.codes(), ["admitted"], "its answer is whole, and its upload goes on");
        match change {
            "time" => served.advance(seconds(LIFE)),
            "withdrawn" => served.withdraw(served.withdrawals().remove(0)),
            _ => served.seen.0.kept.lock().unwrap().clear(),
        }
        served.ended(code, Some(200)).await;
        served.seen.0.kept.lock().unwrap().clear();
        assert_eq!(served.codes().len(), 2, "one outcome");
    }
}

/// Its outcome is written once it is whole, or once its caller has gone away.
#[tokio::test]
async fn an_upload_that_goes_on_after_the_answer_is_waited_for() {
    for whole in [true, false] {
        let served = Served::new().await;
        let mut client = served.open("POST /answer-first", "content-length: 10\r\n\r\n12345").await;
        client.until("started").await;
        assert_eq!(served.codes(), ["admitted"]);
        if whole {
            // The server does not tell the handler that this was all, before the next request comes.
            client.send("67890").await;
        } else {
            drop(client);
            assert_ne!(served.seen.next_end().await, "whole");
        }
        served.ended("completed", Some(200)).await;
    }
}

#[tokio::test]
async fn a_quick_upload_arrives_whole() {
    let served = Served::new().await;
    let client = served.open("POST /upload", "connection: close\r\ncontent-length: 5\r\n\r\n12345").await;
    assert!(client.closed().await.ends_with("5 bytes"));
    assert_eq!(served.seen.next_end().await, "whole");
    served.ended("completed", Some(200)).await;
}

#[tokio::test]
async fn an_upgraded_connection_is_closed_at_its_tokens_expiry() {
    for line in ["GET /echo", "CONNECT inventory.internal:443"] {
        let served = Served::new().await;
        let mut client = served.open(line, UPGRADE).await;
        client.until("\r\n\r\n").await;
        let expected = if line.starts_with("GET") { "HTTP/1.1 101" } else { "HTTP/1.1 200" };
        assert!(client.text().starts_with(expected), "{}", client.text());
        assert!(!served.seen.0.raw.load(Ordering::SeqCst), "hyper's own upgrade has reached the handler");
        client.send("ping").await;
        client.until("ping").await;
        assert_eq!(served.codes(), ["admitted"], "it runs, and has no outcome yet");
        served.advance(seconds(LIFE - 1));
        client.send("pong").await;
        client.until("pong").await;
        served.advance(seconds(1));
        client.closed().await;
        let end = served.seen.next_end().await;
        assert!(end.starts_with("ConnectionAborted") && end.contains("expired"), "{end}");
        served.ended("stream_expired", Some(if line.starts_with("GET") { 101 } else { 200 })).await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_closed_though_its_handler_does_nothing() {
    for expired in [true, false] {
        let served = Served::new().await;
        let mut client = served.open("GET /idle", UPGRADE).await;
        client.until("\r\n\r\n").await;
        if expired {
            served.advance(seconds(LIFE));
        } else {
            served.withdraw(served.withdrawals().remove(3));
        }
        client.closed().await;
        served.ended(if expired { "stream_expired" } else { "stream_withdrawn" }, Some(101)).await;
    }
}

#[tokio::test]
async fn nothing_passes_an_upgraded_connection_late_though_nothing_wakes_it() {
    let served = Served::new().await;
    let mut client = served.open("GET /echo", UPGRADE).await;
    client.until("\r\n\r\n").await;
    client.send("ping").await;
    client.until("ping").await;
    served.world.clock.set(late());
    client.send("late").await;
    assert!(!client.closed().await.contains("late"));
    assert!(served.seen.next_end().await.starts_with("ConnectionAborted"));
    served.ended("stream_expired", Some(101)).await;
}

#[tokio::test]
async fn an_upgraded_connection_that_ends_by_itself_is_completed() {
    let served = Served::new().await;
    let mut client = served.open("GET /echo", UPGRADE).await;
    client.until("\r\n\r\n").await;
    drop(client);
    let end = served.seen.next_end().await;
    assert!(end == "eof" || end.starts_with("ConnectionReset"), "{end}");
    let events = served.events(2).await;
    assert_eq!(events[1].decision.code(), if end == "eof" { "completed" } else { "abandoned" });
    // Whatever comes later, it is over.
    served.advance(seconds(LIFE));
    tokio::task::yield_now().await;
    assert_eq!(served.codes().len(), 2);
}

#[tokio::test]
async fn an_upgrade_that_the_answer_does_not_allow_is_none() {
    let served = Served::new().await;
    // No upgrade was asked for, and none taken.
    let client = served.open("GET /echo", "connection: close\r\n\r\n").await;
    assert!(client.closed().await.starts_with("HTTP/1.1 426"));
    served.ended("completed", Some(426)).await;
    // Asked for, switched to, and nobody took it: the connection ends with the answer.
    let served = Served::new().await;
    let client = served.open("GET /not-taken", UPGRADE).await;
    assert!(client.closed().await.starts_with("HTTP/1.1 101"));
    served.ended("completed", Some(101)).await;
}

fn long() -> LongStream {
    LongStream::on("/orders/{id}/events", minutes(30))
}

#[tokio::test]
async fn a_route_may_let_its_streams_outlive_their_tokens_up_to_a_cap() {
    let served = Served::with(|setting| setting.long.push(long())).await;
    let mut client = served.open("GET /orders/42/events", "\r\n").await;
    client.until("first").await;
    let admitted = served.service.sink.sole("admitted");
    let until = admitted.lasts_until.map(hopguard_core::UnixTime::as_secs);
    assert_eq!(until, Some(1_800_000_000 + 30 * 60));
    assert_eq!(admitted.route.as_deref(), Some("/orders/{id}/events"));
    // Far beyond its token, and one second short of the cap.
    served.advance(minutes(30) - seconds(1));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(served.codes(), ["admitted"]);
    served.advance(seconds(1));
    client.closed().await;
    served.ended("stream_expired", Some(200)).await;
}

#[tokio::test]
async fn a_longer_stream_still_ends_when_its_token_is_withdrawn() {
    let served = Served::with(|setting| setting.long.push(long())).await;
    let mut client = served.open("GET /orders/42/events", "\r\n").await;
    client.until("first").await;
    served.advance(minutes(20));
    served.withdraw(served.withdrawals().remove(0));
    client.closed().await;
    served.ended("stream_withdrawn", Some(200)).await;
}

/// The rule is the path's as it stands: what another reader might take for it is not covered (A13).
#[tokio::test]
async fn other_routes_and_spellings_live_no_longer() {
    for path in [
        "/sse",
        "/orders/42/events/",
        "/orders/42/events;x",
        "/x/../orders/42/events",
        "/orders/4%32/events",
        "//orders/42/events",
        "/orders/42/EVENTS",
    ] {
        let served = Served::with(|setting| setting.long.push(long())).await;
        let request = served.world.good_request(path).map(Body::from);
        let Ok(response) = served.service.app.clone().oneshot(request).await;
        let admitted = served.service.sink.sole("admitted");
        assert_eq!((admitted.lasts_until, admitted.route), (None, None), "{path}");
        if response.status() == 200 {
            served.world.clock.set(late());
            let error = response.into_body().collect().await.unwrap_err();
            assert!(error.to_string().contains("expired"), "{path}");
        }
    }
}

/// A token that lives longer than the cap is not cut short by it, and the smallest of several caps counts.
#[tokio::test]
async fn a_cap_neither_shortens_nor_adds_up() {
    let shorter = || LongStream::on("/orders/{id}/events", seconds(LIFE));
    for long in [vec![shorter()], vec![long(), shorter()]] {
        let served = Served::with(|setting| setting.long = long).await;
        let mut client = served.open("GET /orders/42/events", "\r\n").await;
        client.until("first").await;
        assert_eq!(served.service.sink.sole("admitted").lasts_until, None);
        served.advance(seconds(LIFE));
        client.closed().await;
        served.ended("stream_expired", Some(200)).await;
    }
}

#[tokio::test]
async fn wherever_the_caller_goes_away_there_is_one_outcome() {
    let served = Served::new().await;
    let _first = served.service.answer(served.world.good_request("/no/such/path")).await;
    let _ = served.service.sink.take();
    let count = |codes: &[&str]| served.codes().iter().filter(|code| codes.contains(code)).count();
    let outcomes = ["completed", "abandoned", "stream_expired", "stream_withdrawn"];
    let polls = cancel::at_every_poll(
        || async {
            let request = served.world.good_request("/paced").map(Body::from);
            let Ok(response) = served.service.app.clone().oneshot(request).await;
            let mut body = response.into_body();
            for frames in 0.. {
                if frames == 5 {
                    served.world.clock.advance(seconds(LIFE));
                }
                match body.frame().await {
                    Some(Ok(_)) => assert!(frames < 5, "a frame has passed late"),
                    Some(Err(_)) => break,
                    None => panic!("it never ends"),
                }
            }
        },
        async |polls| {
            assert_eq!(count(&["admitted"]), count(&outcomes), "after {polls} polls");
            assert_eq!(served.service.sink.reserved(), 0, "after {polls} polls");
        },
    )
    .await;
    assert!(polls >= 5, "{polls}");
    assert_eq!(count(&["stream_expired"]), 1);
    assert!(count(&["abandoned"]) >= 4, "{:?}", served.codes());
}

/// Both directions of the same connection, driven by hand.
#[tokio::test]
async fn a_connection_keeps_no_task_alive_once_it_is_dropped() {
    let served = Served::new().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let keep = Arc::new(Mutex::new(None));
    let kept = keep.clone();
    let app = Service::serving(&served.world, Setting::usual(&served.world), |_, _| {
        Router::new().fallback(any(move |mut request: Request| async move {
            let upgrading = Upgrading::of(&mut request).unwrap();
            Spawn::current().spawn(async move {
                *kept.lock().unwrap() = Some(upgrading.await.unwrap());
                tell.send(()).unwrap();
            });
            (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
        }))
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.app.clone();
    Spawn::current().spawn(async move { axum::serve(listener, service).await.unwrap() });
    let served = Served { service: app, address, ..served };
    let mut client = served.open("GET /x", UPGRADE).await;
    client.until("\r\n\r\n").await;
    told.recv().await.unwrap();
    let mut connection = keep.lock().unwrap().take().unwrap();
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut space = [0; 8];
    let mut buffer = hyper::rt::ReadBuf::new(&mut space);
    let mut pinned = std::pin::Pin::new(&mut connection);
    assert!(matches!(pinned.as_mut().poll_read(&mut context, buffer.unfilled()), Poll::Pending));
    assert!(matches!(pinned.as_mut().poll_write(&mut context, b"hello"), Poll::Ready(Ok(5))));
    client.until("hello").await;
    drop(connection);
    client.closed().await;
    served.ended("completed", Some(101)).await;
}

/// Whoever waits for an upgrade is told when there will be none: the answer is another, or there is none at all.
async fn the_waiting_task_ends(held: bool, withdrawn: bool) {
    let served = Served::new().await;
    let (tell, mut told) = mpsc::unbounded_channel::<bool>();
    let (entered, mut inside) = mpsc::unbounded_channel::<()>();
    let app = Service::serving(&served.world, Setting::usual(&served.world), |_, _| {
        Router::new().fallback(any(move |mut request: Request| async move {
            let upgrading = Upgrading::of(&mut request).unwrap();
            Spawn::current().spawn(async move {
                let _ = tell.send(upgrading.await.is_ok());
            });
            entered.send(()).unwrap();
            if held {
                std::future::pending::<()>().await;
            }
            StatusCode::BAD_REQUEST
        }))
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.app.clone();
    Spawn::current().spawn(async move { axum::serve(listener, service).await.unwrap() });
    let served = Served { service: app, address, ..served };
    let mut client = served.open("GET /x", UPGRADE).await;
    inside.recv().await.unwrap();
    if withdrawn {
        served.advance(seconds(LIFE));
        client.until("401").await;
    } else if !held {
        client.until("400").await;
    }
    drop(client);
    let end = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    assert_eq!(end, Ok(Some(false)), "the task that waits for the connection is never woken");
}

#[tokio::test]
async fn an_upgrade_that_is_answered_otherwise_strands_no_task() {
    the_waiting_task_ends(false, false).await;
}

#[tokio::test]
async fn an_upgrade_whose_caller_hangs_up_strands_no_task() {
    the_waiting_task_ends(true, false).await;
}

#[tokio::test]
async fn an_upgrade_whose_token_expires_first_strands_no_task() {
    the_waiting_task_ends(true, true).await;
}

/// I18: a withdrawal is remembered for as long as the longest stream may run, although its `until` is measured by the
/// life of tokens; so also a stream that nobody read meanwhile ends.
#[tokio::test]
async fn a_longer_stream_does_not_outlive_the_memory_of_a_withdrawal() {
    // The route lives for longer than the ten minutes for which withdrawals are kept here.
    let served = Served::with(|setting| setting.long.push(LongStream::on("/paced", minutes(60)))).await;
    let request = served.world.good_request("/paced").map(Body::from);
    let Ok(response) = served.service.app.clone().oneshot(request).await;
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    // The peer does not read; its token is withdrawn, for longer than any token lives.
    served.withdraw(served.withdrawals().remove(0));
    served.advance(minutes(11));
    // Somebody else's token is withdrawn, which clears away what is over.
    let issuer: Arc<str> = Arc::from("https://elsewhere.internal");
    served.withdraw(Withdrawal::Issuer(issuer));
    // The peer reads on.
    let frame = body.frame().await.unwrap();
    assert!(frame.is_err(), "a withdrawn stream goes on");
}
