//! Row G11: a peer's 401 leads to one exchange anew, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hopguard::{Admitted, Exchange, seconds};
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

/// Callers of their own, each with a grant of its own.
async fn callers(world: &World, count: usize) -> Vec<Admitted> {
    let mut callers = Vec::new();
    for n in 0..count {
        callers.push(world.admit(&world.signed(world.token().claim("jti", format!("caller-{n}")))).await);
    }
    callers
}

#[tokio::test]
async fn a_hostile_peer_cannot_make_us_hammer() {
    let world = World::with_peer(peer(usize::MAX, INVALID).await).await;
    let callers = callers(&world, 8).await;
    // Young grants first, then old ones: five in ten seconds are exchanged anew, whoever asks.
    for (wait, renewals) in [(0, 0), (5, 5), (5, 5), (5, 10)] {
        world.clock.advance(seconds(wait));
        for caller in &callers {
            assert_eq!(world.call(caller).await.unwrap().status(), 401);
        }
        assert_eq!(world.sink.with_code("grant_renewed").len(), renewals);
        assert_eq!(world.sts.token_requests(), 8 + renewals);
    }
    assert_eq!(world.reached(), 4 * 8 + 10);
}

#[tokio::test]
async fn a_peer_with_many_routes_has_one_budget() {
    let paths = ["/a", "/b", "/c", "/d"];
    let world = World::with_routes(peer(usize::MAX, INVALID).await, |egress, peer| {
        // Grants of their own, too.
        let route =
            |path| Exchange::audience(&format!("https://peer.internal{path}")).requires("orders:read");
        paths.iter().fold(egress, |egress, path| egress.route(&peer.url(path), route(path)))
    })
    .await;
    let callers = callers(&world, 2).await;
    for wait in [0, 5] {
        world.clock.advance(seconds(wait));
        for (caller, path) in callers.iter().flat_map(|caller| paths.iter().map(move |path| (caller, path))) {
            let answer = world.client.on_behalf_of(caller).get(&world.peer.url(path)).send().await;
            assert_eq!(answer.unwrap().status(), 401);
        }
    }
    assert_eq!(world.sink.with_code("grant_renewed").len(), 5);
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
