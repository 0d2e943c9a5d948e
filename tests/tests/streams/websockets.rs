//! axum's own `WebSocketUpgrade`, over connections that the stack can close, and over others.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::extract::Request;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use hopguard_axum::TimedListener;
use hopguard_client::Spawn;
use hopguard_core::seconds;
use hopguard_tests::inbound::{Service, Setting, World};
use hopguard_tests::{codes_of_requests, events_of_requests};
use hopguard_tower::inbound::Front;
use hopguard_tower::{TimedConnection, Upgrading, Upload};
use http::{Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tower::{ServiceExt, service_fn};

use crate::rig::{LIFE, Seen, Served, UPGRADE, late, soon};

/// Echoes until the connection ends, and tells how it did.
async fn echo(seen: Seen, mut socket: WebSocket) {
    loop {
        match socket.recv().await {
            Some(Ok(message)) => {
                if let Err(error) = socket.send(message).await {
                    return seen.end(error);
                }
            }
            Some(Err(error)) => return seen.end(error),
            None => return seen.end("closed"),
        }
    }
}

fn sockets(seen: &Seen) -> Router {
    let (echoing, idle) = (seen.clone(), seen.clone());
    let (twice, own, ours) = (seen.clone(), seen.clone(), seen.clone());
    Router::new()
        .route(
            "/echo",
            any(async move |upgrade: WebSocketUpgrade| upgrade.on_upgrade(|socket| echo(echoing, socket))),
        )
        .route(
            "/idle",
            any(async move |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async move |socket| {
                    let _kept = (socket, idle.guard());
                    std::future::pending::<()>().await;
                })
            }),
        )
        .route("/plain", any(async || "plain"))
        .route("/own-first", any(async move |request: Request| taken(&own, request, true)))
        .route("/ours-first", any(async move |request: Request| taken(&ours, request, false)))
        .route("/both", any(async move |request: Request| both(twice, request)))
}

/// Takes hyper's own and the stack's, the one or the other first, and tells which of them it has.
fn taken(seen: &Seen, mut request: Request, own_first: bool) -> &'static str {
    let own = |request: &mut Request| request.extensions_mut().remove::<OnUpgrade>().is_some();
    let ours = |request: &mut Request| Upgrading::of(request).is_some();
    let has = if own_first {
        [own(&mut request), ours(&mut request)]
    } else {
        let ours = ours(&mut request);
        [own(&mut request), ours]
    };
    seen.end(format!("{has:?}"));
    "plain"
}

/// Takes the stack's, and hyper's own behind its back.
fn both(seen: Seen, mut request: Request) -> impl IntoResponse + use<> {
    let mut own = request.extensions().get::<OnUpgrade>().unwrap().clone();
    let upgrading = Upgrading::of(&mut request).unwrap();
    Spawn::current().spawn(async move {
        let _kept = upgrading;
        // Asked again and again, so that it is the one that is told.
        let connection = loop {
            match poll_fn(|context| Poll::Ready(Pin::new(&mut own).poll(context))).await {
                Poll::Ready(connection) => break connection.unwrap(),
                Poll::Pending => tokio::task::yield_now().await,
            }
        };
        let mut connection = TokioIo::new(connection);
        let mut buffer = [0; 4];
        while connection.read_exact(&mut buffer).await.is_ok() {
            connection.write_all(&buffer).await.unwrap();
        }
        seen.end("closed");
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
}

async fn timed() -> Served {
    Served::over(TimedListener::over, sockets, |_| ()).await
}

type Socket = WebSocketStream<TcpStream>;

async fn open(served: &Served, path: &str) -> Result<Socket, Error> {
    let mut request = format!("ws://{}{path}", served.address).into_client_request().unwrap();
    let token = served.world.stage.good_token();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(served.address).await.unwrap();
    soon(tokio_tungstenite::client_async(request, stream)).await.map(|(socket, _)| socket)
}

async fn answers(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(soon(socket.next()).await.unwrap().unwrap(), Message::text(text));
}

/// Fails unless nothing more comes but the end.
async fn ended(mut socket: Socket) {
    match soon(socket.next()).await {
        None | Some(Err(_)) => {}
        Some(Ok(message)) => panic!("{message:?} has passed"),
    }
}

#[tokio::test]
async fn a_websocket_ends_at_its_tokens_expiry() {
    let served = timed().await;
    let mut socket = open(&served, "/echo").await.unwrap();
    answers(&mut socket, "ping").await;
    assert_eq!(served.codes(), ["admitted"], "it runs, and has no outcome yet");
    served.advance(seconds(LIFE - 1));
    answers(&mut socket, "pong").await;
    served.advance(seconds(1));
    ended(socket).await;
    let end = served.seen.next_end().await;
    assert!(end.contains("expired"), "{end}");
    served.ended("stream_expired", Some(101)).await;
}

#[tokio::test]
async fn a_websocket_ends_though_its_handler_does_nothing() {
    for expired in [true, false] {
        let served = timed().await;
        let socket = open(&served, "/idle").await.unwrap();
        if expired {
            served.advance(seconds(LIFE));
        } else {
            served.withdraw(served.withdrawals().remove(3));
        }
        ended(socket).await;
        served.ended(if expired { "stream_expired" } else { "stream_withdrawn" }, Some(101)).await;
        assert_eq!(served.seen.dropped(), 0, "the handler has not moved");
    }
}

#[tokio::test]
async fn nothing_passes_a_websocket_late_though_nothing_wakes_it() {
    let served = timed().await;
    let mut socket = open(&served, "/echo").await.unwrap();
    answers(&mut socket, "ping").await;
    served.world.clock.set(late());
    socket.send(Message::text("late")).await.unwrap();
    ended(socket).await;
    assert!(served.seen.next_end().await.contains("expired"));
    served.ended("stream_expired", Some(101)).await;
}

#[tokio::test]
async fn a_websocket_that_ends_by_itself_is_completed() {
    let served = timed().await;
    let mut socket = open(&served, "/echo").await.unwrap();
    answers(&mut socket, "ping").await;
    socket.close(None).await.unwrap();
    served.ended("completed", Some(101)).await;
    // Whatever comes later, it is over.
    served.advance(seconds(LIFE));
    tokio::task::yield_now().await;
    assert_eq!(served.codes().len(), 2);
}

#[tokio::test]
async fn a_connection_that_nobody_could_close_is_no_websocket() {
    let served = Served::over(|listener| listener, sockets, |_| ()).await;
    match open(&served, "/echo").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_takes_the_connection_has_it_alone() {
    for (path, has) in [("/own-first", "[true, false]"), ("/ours-first", "[false, true]")] {
        let served = timed().await;
        let mut client = served.open(&format!("GET {path}"), UPGRADE).await;
        client.until("plain").await;
        assert_eq!(served.seen.next_end().await, has, "{path}");
    }
}

#[tokio::test]
async fn hypers_own_behind_the_stacks_back_ends_in_time_too() {
    let served = timed().await;
    let mut client = served.open("GET /both", UPGRADE).await;
    client.until("\r\n\r\n").await;
    client.send("ping").await;
    client.until("ping").await;
    served.advance(seconds(LIFE));
    client.closed().await;
    assert_eq!(served.seen.next_end().await, "closed");
    // Which of the two was asked last is chance; there is one outcome.
    let events = served.events(2).await;
    assert!(["abandoned", "stream_expired"].contains(&events[1].decision.code()), "{:?}", served.codes());
}

/// The connection is the token's only once it is upgraded.
#[tokio::test]
async fn requests_that_upgrade_nothing_leave_the_connection_alone() {
    let served = timed().await;
    let mut client = served.open("GET /plain", "\r\n").await;
    client.until("plain").await;
    served.advance(seconds(LIFE));
    let head = "GET /plain HTTP/1.1\r\nhost: orders.internal\r\nconnection: close\r\n\r\n";
    client.send(head).await;
    assert!(client.closed().await.contains("HTTP/1.1 401"), "answered over the same connection");
    // Nor is it the token's if the handler leaves the offer alone.
    let served = timed().await;
    let client = served.open("GET /plain", "connection: upgrade, close\r\nupgrade: echo\r\n\r\n").await;
    assert!(client.closed().await.starts_with("HTTP/1.1 200"));
    served.ended("completed", Some(200)).await;
}

type Switching = Result<Response<String>, Infallible>;

/// A stack around a handler that switches, over a connection of its own.
fn switching(
    world: &World,
    seen: &Seen,
) -> (
    Service,
    (TimedConnection, DuplexStream),
    impl tower::Service<
        http::Request<String>,
        Response = Response<impl http_body::Body + use<>>,
        Error = Infallible,
        Future: Send,
    > + use<>,
) {
    let service = Service::serving(world, Setting::usual(world), |_, _| Router::new());
    let seen = seen.clone();
    let handler = service_fn(move |request: http::Request<Upload<String>>| {
        seen.0.raw.store(request.extensions().get::<OnUpgrade>().is_some(), Ordering::SeqCst);
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        std::future::ready(Switching::Ok(response))
    });
    let (socket, other) = tokio::io::duplex(64);
    let connection = TimedConnection::over(TokioIo::new(socket));
    let stack: Front<_> = service.guard.around(handler).for_connection(connection.hangup());
    (service, (connection, other), stack)
}

fn upgrading(world: &World, version: Version) -> http::Request<String> {
    let mut request = world.good_request("/x").map(|_| String::new());
    *request.version_mut() = version;
    let none = hyper::upgrade::on(http::Request::new(()));
    request.extensions_mut().insert(none);
    request
}

/// Others have streams over the same connection.
#[tokio::test]
async fn a_stream_of_http_2_is_not_the_connection() {
    for (version, raw) in [
        (Version::HTTP_10, true),
        (Version::HTTP_11, true),
        (Version::HTTP_2, false),
        (Version::HTTP_3, false),
    ] {
        let (world, seen) = (World::default(), Seen::default());
        let (_service, (connection, _other), stack) = switching(&world, &seen);
        let Ok(response) = stack.oneshot(upgrading(&world, version)).await;
        assert_eq!(
            (response.status().as_u16(), seen.0.raw.load(Ordering::SeqCst)),
            (101, raw),
            "{version:?}"
        );
        drop(response);
        world.clock.advance(seconds(LIFE));
        tokio::task::yield_now().await;
        let mut io = TokioIo::new(connection);
        assert_eq!(io.write(b"late").await.is_err(), raw, "{version:?}");
    }
}

/// Without a task that ends it, it does not begin.
#[test]
fn a_connection_that_nobody_could_watch_is_closed() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (world, seen) = (World::default(), Seen::default());
    let (service, (connection, _other), stack) = runtime.block_on(async {
        let made = switching(&world, &seen);
        // Its keys are there, and nothing else is waited for.
        made.0.answer(world.good_request("/x")).await;
        made
    });
    let _ = service.sink.take();
    let mut context = Context::from_waker(Waker::noop());
    let mut answer = pin!(stack.oneshot(upgrading(&world, Version::HTTP_11)));
    assert!(matches!(answer.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    let mut io = TokioIo::new(connection);
    let mut writing = pin!(io.write(b"x"));
    match writing.as_mut().poll(&mut context) {
        Poll::Ready(Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::NotConnected),
        other => panic!("{other:?}"),
    }
    assert_eq!(codes_of_requests(&service.sink), ["admitted", "abandoned"]);
    assert_eq!(events_of_requests(&service.sink)[1].status, Some(101));
}
