//! Row G11: a peer's 401 leads to one exchange anew, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hopguard::seconds;
use hopguard_testkit::{WireAnswer, WireRecorder};

use crate::world::World;

const INVALID: &str = "Bearer error=\"invalid_token\"";

/// A peer that answers its first `refusals` requests with 401 and this challenge.
async fn peer(refusals: usize, challenge: &'static str) -> WireRecorder {
    let seen = Arc::new(AtomicUsize::new(0));
    WireRecorder::answering(move |_| {
        if seen.fetch_add(1, Ordering::SeqCst) < refusals {
            WireAnswer::text(401, "no").with_header("www-authenticate", challenge)
        } else {
            WireAnswer::text(200, "yes")
        }
    })
    .await
}

#[tokio::test]
async fn an_old_grant_is_exchanged_once_more() {
    let world = World::with_peer(peer(2, INVALID).await).await;
    let caller = world.caller().await;
    // Young: the answer stands as it is.
    assert_eq!(world.call(&caller).await.unwrap().status(), 401);
    assert_eq!((world.reached(), world.sts.token_requests()), (1, 1));
    world.clock.advance(seconds(5));
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    assert_eq!((world.reached(), world.sts.token_requests()), (3, 2));
    let shown: Vec<_> =
        world.peer.requests().iter().map(|r| r.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(shown[0], shown[1]);
    assert_ne!(shown[1], shown[2]);
    world.sink.sole("grant_renewed");
    let attempts: Vec<_> = world.sink.with_code("sent").iter().map(|event| event.attempt).collect();
    assert_eq!(attempts, [Some(1), Some(1), Some(2)]);
}

#[tokio::test]
async fn a_hostile_peer_cannot_make_us_hammer() {
    let world = World::with_peer(peer(usize::MAX, INVALID).await).await;
    let caller = world.admit(&world.signed(world.token())).await;
    for _ in 0..40 {
        world.clock.advance(seconds(5));
        let fresh = world.admit(&world.signed(world.token().claim("jti", "x"))).await;
        for caller in [&caller, &fresh] {
            let _answer = world.call(caller).await;
        }
    }
    // Without a bound each of the 80 calls would exchange once more. Five a route and ten seconds, and one for
    // each caller's own first grant.
    let renewals = world.sink.with_code("grant_renewed").len();
    assert!(renewals <= 5 * 21, "{renewals}");
    let per_call = world.reached() as f64 / 80.0;
    assert!(per_call <= 2.0, "{per_call} requests for a call");
}

#[tokio::test]
async fn other_refusals_are_the_peers_own() {
    for challenge in ["Bearer", "Bearer error=\"insufficient_scope\"", "Basic realm=\"x\""] {
        let world = World::with_peer(peer(1, challenge).await).await;
        let caller = world.caller().await;
        world.call(&caller).await.unwrap();
        world.clock.advance(seconds(6));
        assert_eq!(world.sts.token_requests(), 1, "{challenge}");
    }
}

#[tokio::test]
async fn a_stream_is_not_sent_twice() {
    let world = World::with_peer(peer(2, INVALID).await).await;
    let caller = world.caller().await;
    world.call(&caller).await.unwrap();
    world.clock.advance(seconds(6));
    let calls = world.client.on_behalf_of(&caller);
    let body = reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::from_static(b"once")));
    let answer = calls.post(&world.peer.url("/stock")).body(body).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), world.reached()), (401, 2));
    let whole = calls.post(&world.peer.url("/stock")).body("twice").send().await.unwrap();
    assert_eq!(whole.status(), 200);
}
