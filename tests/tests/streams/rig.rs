//! A service on a socket, whose clock only the test moves, and its handlers.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, Sse};
use axum::routing::any;
use axum::serve::Listener;
use futures_util::{StreamExt, stream};
use hopguard_client::Spawn;
use hopguard_core::{Clock, Event, EventKind, Withdrawal, minutes};
use hopguard_tests::inbound::{Reached, Service, Setting, World};
use hopguard_tests::{codes_of_requests, events_of_requests};
use hopguard_tower::Upgrading;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How long tokens live here.
pub(crate) const LIFE: u64 = 120;

/// What the handlers tell.
#[derive(Clone, Default)]
pub(crate) struct Seen(pub(crate) Arc<Inner>);

#[derive(Default)]
pub(crate) struct Inner {
    /// How an upload or an upgraded connection ended, as the handler saw it.
    pub(crate) ends: Mutex<Vec<String>>,
    pub(crate) ended: Notify,
    /// Streams that were dropped.
    pub(crate) dropped: AtomicUsize,
    /// hyper's own upgrade was there for the taking.
    pub(crate) raw: AtomicBool,
    /// Uploads that nobody reads, nor drops.
    pub(crate) kept: Mutex<Vec<Body>>,
}

/// What must come and does not shall fail the test, not stop the run.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it goes on, and should have ended")
}

impl Seen {
    pub(crate) fn end(&self, how: impl ToString) {
        self.0.ends.lock().unwrap().push(how.to_string());
        self.0.ended.notify_one();
    }

    pub(crate) async fn next_end(&self) -> String {
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

    pub(crate) fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Counts when it is dropped.
    pub(crate) fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

pub(crate) struct Guard(Seen);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// One event, then silence until the end of the world.
pub(crate) fn sse(seen: &Seen) -> impl IntoResponse + use<> {
    let guard = seen.guard();
    let first = stream::iter([Ok::<_, Infallible>(SseEvent::default().data("first"))]);
    let silence = stream::pending::<Result<SseEvent, Infallible>>();
    Sse::new(first.chain(silence).map(move |event| {
        let _kept = &guard;
        event
    }))
}

/// Reads its upload to the end.
pub(crate) async fn upload(seen: Seen, request: Request) -> String {
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
pub(crate) fn answer_first(seen: &Seen, request: Request) -> impl IntoResponse + use<> {
    let seen = seen.clone();
    Spawn::current().spawn(async move {
        let _read = upload(seen, request).await;
    });
    "started"
}

/// Answers at once, and keeps its upload without ever reading it.
pub(crate) fn keep(seen: &Seen, request: Request) -> &'static str {
    seen.0.kept.lock().unwrap().push(request.into_body());
    "started"
}

/// Takes the connection and echoes, or leaves it alone.
pub(crate) fn upgrade(seen: &Seen, mut request: Request, echoes: bool) -> Response<Body> {
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

/// More at once than sockets hold.
fn flood() -> impl futures_util::Stream<Item = Result<Bytes, io::Error>> {
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    stream::repeat_with(move || Ok(chunk.clone()))
}

pub(crate) fn routes(seen: &Seen) -> Router {
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
        .route("/flood", any(async || Body::from_stream(flood())))
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
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) service: Service,
    pub(crate) seen: Seen,
    pub(crate) address: SocketAddr,
}

/// When the good token expires.
pub(crate) fn late() -> hopguard_core::UnixTime {
    hopguard_core::UnixTime::from_secs(1_800_000_000 + LIFE)
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Setting)) -> Self {
        Self::over(|listener| listener, routes, change).await
    }

    /// Over another listener, with other handlers.
    pub(crate) async fn over<L>(
        listener: impl FnOnce(TcpListener) -> L,
        routes: impl FnOnce(&Seen) -> Router,
        change: impl FnOnce(&mut Setting),
    ) -> Self
    where
        L: Listener<Addr = SocketAddr>,
    {
        let world = World::default();
        let seen = Seen::default();
        let mut setting = Setting::usual(&world);
        change(&mut setting);
        let service = Service::serving(&world, setting, |_, _: &Reached| routes(&seen));
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (app, listener) = (service.app.clone(), listener(socket));
        Spawn::current().spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { world, service, seen, address }
    }

    /// Sends a head with a good token, and whatever else of it is given.
    pub(crate) async fn open(&self, line: &str, more: &str) -> Client {
        let token = self.world.stage.good_token();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head =
            format!("{line} HTTP/1.1\r\nhost: orders.internal\r\nauthorization: Bearer {token}\r\n{more}");
        stream.write_all(head.as_bytes()).await.unwrap();
        Client { stream, read: Vec::new() }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
    }

    pub(crate) fn codes(&self) -> Vec<&'static str> {
        codes_of_requests(&self.service.sink)
    }

    /// Waits until so many events about requests are there.
    pub(crate) async fn events(&self, count: usize) -> Vec<Event> {
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
    pub(crate) async fn ended(&self, code: &str, status: Option<u16>) {
        let events = self.events(2).await;
        assert_eq!(self.codes(), ["admitted", code]);
        let [admitted, end] = &events[..] else { panic!("{:?}", self.codes()) };
        assert_eq!((end.kind, end.status), (EventKind::Outcome, status));
        assert_eq!(end.request_id, admitted.request_id);
        assert!(end.token.is_some());
    }

    /// Everything by which the good token can be withdrawn.
    pub(crate) fn withdrawals(&self) -> Vec<Withdrawal> {
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

    pub(crate) fn withdraw(&self, what: Withdrawal) {
        let until = self.world.clock.now().after(minutes(10));
        self.service.guard.hop().withdraw(what, until).unwrap();
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) read: Vec<u8>,
}

impl Client {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads until `text` has come.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.text().contains(text) {
            let read = soon(self.stream.read(&mut buffer)).await.unwrap();
            assert!(read > 0, "the connection was closed before {text:?}: {:?}", self.text());
            self.read.extend_from_slice(&buffer[..read]);
        }
    }

    /// Reads until the connection is closed, in whatever way, and returns all there was.
    pub(crate) async fn closed(mut self) -> String {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = soon(self.stream.read(&mut buffer)).await {
            self.read.extend_from_slice(&buffer[..read]);
        }
        self.text()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

pub(crate) const UPGRADE: &str = "connection: upgrade\r\nupgrade: echo\r\n\r\n";
