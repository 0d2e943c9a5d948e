//! Answers end with their tokens, or do not begin.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use futures_util::stream;
use hopguard_core::{Clock, EventKind, Withdrawal, seconds};
use hopguard_testkit::cancel;
use hopguard_testkit::corpus::Stage;
use hopguard_tests::codes_of_requests;
use hopguard_tests::inbound::{Service, Setting, World};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::rig::{LIFE, Served, late};

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

/// A server asks for no frame that it cannot send, and the place in the audit comes free all the same.
#[tokio::test]
async fn an_answer_that_nobody_reads_ends_too() {
    for withdrawn in [false, true] {
        let served = Served::new().await;
        let client = served.open("GET /flood", "\r\n").await;
        // Until the buffers are full: nobody reads.
        while served.codes().is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(served.service.sink.reserved(), 1);
        if withdrawn {
            served.withdraw(served.withdrawals().remove(0));
        } else {
            served.advance(seconds(LIFE));
        }
        served.ended(if withdrawn { "stream_withdrawn" } else { "stream_expired" }, Some(200)).await;
        // What the server has is sent, and nothing more.
        client.closed().await;
        assert_eq!(served.codes().len(), 2, "one outcome");
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
