//! Connections that a handler takes over end with their tokens.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use hopguard_client::Spawn;
use hopguard_core::seconds;
use hopguard_tests::inbound::{Service, Setting, World};
use hopguard_tower::Upgrading;
use http::StatusCode;
use hyper::rt::{Read, Write};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::rig::{LIFE, Seen, Served, UPGRADE, late};

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
