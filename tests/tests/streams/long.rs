//! Routes whose streams may outlive their tokens, up to a cap.

use std::sync::Arc;

use axum::body::Body;
use hopguard_core::{Ttl, Withdrawal, minutes, seconds};
use hopguard_tower::LongStream;
use http::Method;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::rig::{LIFE, Served, late};

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

/// A long download is no reason for a long upload to the same path.
#[tokio::test]
async fn only_the_methods_that_are_named_live_longer() {
    let posts = || LongStream::on("/orders/{id}/events", minutes(30)).methods([Method::POST]);
    for (long, method, lasts) in
        [(long(), "GET", true), (long(), "POST", false), (posts(), "POST", true), (posts(), "GET", false)]
    {
        let served = Served::with(|setting| setting.long.push(long)).await;
        let mut client =
            served.open(&format!("{method} /orders/42/events"), "content-length: 0\r\n\r\n").await;
        client.until("first").await;
        assert_eq!(served.service.sink.sole("admitted").lasts_until.is_some(), lasts, "{method}");
        served.advance(seconds(LIFE));
        if lasts {
            tokio::task::yield_now().await;
            assert_eq!(served.codes(), ["admitted"]);
        } else {
            client.closed().await;
            served.ended("stream_expired", Some(200)).await;
        }
    }
}

/// Where tokens are good until they are too old, so is what they have opened, whatever their expiry.
#[tokio::test]
async fn under_a_rule_of_age_a_stream_ends_when_its_token_is_too_old() {
    let by_age = |long: Vec<LongStream>| {
        Served::with(move |setting| (setting.ttl, setting.long) = (Ttl::age_at_most(seconds(60)), long))
    };
    let served = by_age(vec![]).await;
    let mut client = served.open("GET /orders/42/events", "\r\n").await;
    client.until("first").await;
    served.advance(seconds(60));
    tokio::task::yield_now().await;
    assert_eq!(served.codes(), ["admitted"], "a token as old as the cap is good");
    served.advance(seconds(1));
    client.closed().await;
    served.ended("stream_expired", Some(200)).await;
    // A cap below its expiry prolongs it all the same, and is said to.
    let served = by_age(vec![LongStream::on("/orders/{id}/events", seconds(90))]).await;
    let mut client = served.open("GET /orders/42/events", "\r\n").await;
    client.until("first").await;
    assert!(served.service.sink.sole("admitted").lasts_until.is_some());
    served.advance(seconds(89));
    tokio::task::yield_now().await;
    assert_eq!(served.codes(), ["admitted"]);
    served.advance(seconds(1));
    client.closed().await;
    served.ended("stream_expired", Some(200)).await;
}
