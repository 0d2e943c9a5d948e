//! A grant that is used near its end is renewed behind its users' backs, once, and only if that gains time.

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::{BoxFuture, TransportError};
use hopguard_core::{Clock, Withdrawal, minutes, seconds};
use tokio::sync::Semaphore;

use crate::rig_for_tests::*;

fn good(number: usize, state: &str) -> Result<(String, String), &'static str> {
    Ok((format!("grant-{number}"), state.to_owned()))
}

/// A server whose first answer is honest; each later one comes when `gate` lets it, as `later` says.
fn gated(gate: &Arc<Semaphore>, later: impl Fn(&Ask) -> Reply + Clone + Send + Sync + 'static) -> Rig {
    let gate = Arc::clone(gate);
    let behaviour = move |ask: Ask| {
        let (gate, later) = (Arc::clone(&gate), later.clone());
        Box::pin(async move {
            if ask.number == 0 {
                return honest(&ask);
            }
            gate.acquire().await.unwrap().forget();
            later(&ask)
        }) as BoxFuture<'static, Reply>
    };
    Rig::with(FakeClock::at(START), behaviour, fixed_endpoint)
}

/// Past the moment at which the jitter has let every renewal begin, within the life of the first grant: it
/// lives for 120 s and is served for 108.
const LATE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_use_renews_while_the_grant_is_served_on() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, honest);
    let alice = rig.caller("alice").await;
    assert_eq!(rig.ask(&alice).await, good(0, "Miss"));
    rig.clock.advance(LATE);
    tokio::task::yield_now().await;
    assert_eq!(rig.asked(), 1, "time alone starts nothing");
    for _ in 0..100 {
        assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
        assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_some());
    }
    until(|| rig.asked() == 2).await;
    assert_eq!(rig.exchanger.traffic(), (1, 0), "one renewal, and nobody waits for it");
    // A slow renewal is not begun a second time.
    rig.clock.advance(seconds(10));
    assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    gate.add_permits(1);
    until(|| rig.exchanger.traffic() == (0, 0)).await;
    assert_eq!(rig.ask(&alice).await, good(1, "Hit"));
    assert_eq!(rig.asked(), 2);
}

#[tokio::test]
async fn the_first_half_of_a_life_renews_nothing() {
    let rig = gated(&Arc::new(Semaphore::new(9)), honest);
    let alice = rig.caller("alice").await;
    rig.ask(&alice).await.unwrap();
    // Sixty seconds are both the longest lead and half the life; served until 108.
    rig.clock.advance(seconds(48) - Duration::from_millis(1));
    assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    tokio::task::yield_now().await;
    assert_eq!((rig.asked(), rig.exchanger.traffic()), (1, (0, 0)));
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_grant_and_pauses() {
    for (failure, code) in [
        ((|_| Err(TransportError::Timeout)) as fn(&Ask) -> Reply, "sts_unavailable"),
        (|_| error(400, "invalid_target"), "exchange_target_refused"),
        (|ask| reply(200, &response(&ask.form["subject_token"])), "grant_audience_wider"),
    ] {
        let rig = gated(&Arc::new(Semaphore::new(9)), failure);
        let alice = rig.caller("alice").await;
        rig.ask(&alice).await.unwrap();
        rig.clock.advance(LATE);
        for asked in 2..5 {
            for _ in 0..10 {
                assert_eq!(rig.ask(&alice).await, good(0, "Hit"), "{code}");
                tokio::task::yield_now().await;
            }
            until(|| rig.exchanger.traffic() == (0, 0)).await;
            assert_eq!(rig.asked(), asked, "{code}: once every five seconds");
            rig.clock.advance(seconds(5));
        }
        // The hard stop: the grant is over, and the failure is the caller's to see.
        rig.clock.advance(seconds(3));
        assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none());
        assert_eq!(rig.ask(&alice).await, Err(code));
    }
}

#[tokio::test]
async fn who_comes_after_the_end_waits_for_the_renewal() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, honest);
    let alice = rig.caller("alice").await;
    rig.ask(&alice).await.unwrap();
    rig.clock.advance(LATE);
    rig.ask(&alice).await.unwrap();
    until(|| rig.asked() == 2).await;
    rig.clock.advance(seconds(18));
    gate.add_permits(1);
    assert_eq!(rig.ask(&alice).await, good(1, "Coalesced"));
    assert_eq!(rig.asked(), 2);
}

#[tokio::test]
async fn a_grant_that_lives_as_long_as_its_parent_is_not_renewed() {
    let gate = Arc::new(Semaphore::new(9));
    let rig = gated(&gate, honest);
    let alice = rig.caller_with("alice", |claims| claims["exp"] = (START + 120).into()).await;
    rig.ask(&alice).await.unwrap();
    rig.clock.advance(seconds(107));
    assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    tokio::task::yield_now().await;
    assert_eq!((rig.asked(), rig.exchanger.traffic()), (1, (0, 0)));
}

#[tokio::test]
async fn a_server_that_grants_no_later_end_is_asked_once() {
    let rig = gated(&Arc::new(Semaphore::new(9)), |ask| {
        let mut claims = ask.claims();
        claims["exp"] = (START + 120).into();
        reply(200, &response(&mint(&claims)))
    });
    let alice = rig.caller("alice").await;
    rig.ask(&alice).await.unwrap();
    rig.clock.advance(LATE);
    assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    until(|| rig.asked() == 2 && rig.exchanger.traffic() == (0, 0)).await;
    for _ in 0..5 {
        assert_eq!(rig.ask(&alice).await, good(1, "Hit"));
        rig.clock.advance(seconds(5));
    }
    assert_eq!(rig.ask(&alice).await, good(1, "Hit"));
    tokio::task::yield_now().await;
    assert_eq!((rig.asked(), rig.exchanger.traffic()), (2, (0, 0)));
}

#[tokio::test]
async fn a_subject_that_is_withdrawn_during_the_renewal_gets_nothing_of_it() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, honest);
    let alice = rig.caller("alice").await;
    rig.ask(&alice).await.unwrap();
    rig.clock.advance(LATE);
    rig.ask(&alice).await.unwrap();
    until(|| rig.asked() == 2).await;
    let now = rig.clock.now();
    let what = Withdrawal::Token(alice.facts().fingerprint);
    rig.ledger.withdrawals().withdraw(what, now, now.after(minutes(9))).unwrap();
    gate.add_permits(1);
    until(|| rig.exchanger.traffic() == (0, 0)).await;
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_none());
    assert_eq!(rig.ask(&alice).await, Err("token_withdrawn"));
}

#[test]
fn without_a_runtime_a_use_is_served_all_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (rig, alice) = runtime.block_on(async {
        let rig = gated(&Arc::new(Semaphore::new(9)), honest);
        let alice = rig.caller("alice").await;
        rig.ask(&alice).await.unwrap();
        (rig, alice)
    });
    rig.clock.advance(LATE);
    assert!(rig.exchanger.cached(&alice, &rig.prepared()).is_some());
    assert_eq!(rig.exchanger.traffic(), (0, 0));
}
