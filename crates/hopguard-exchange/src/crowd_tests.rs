//! Many callers at once: one exchange per key, nobody stranded, nothing crosses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hopguard_client::BoxFuture;
use hopguard_core::{Admitted, CacheState, Clock, Granted, Refusal, Withdrawal, minutes, seconds};
use tokio::sync::Semaphore;

use crate::rig_for_tests::*;

/// A rig whose server answers honestly once `gate` lets it.
fn gated(
    gate: &Arc<Semaphore>,
    settings: impl FnOnce(crate::ExchangerBuilder) -> crate::ExchangerBuilder,
) -> Arc<Rig> {
    let gate = Arc::clone(gate);
    let behaviour = move |ask: Ask| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            honest(&ask)
        }) as BoxFuture<'static, Reply>
    };
    Arc::new(Rig::with(FakeClock::at(START), behaviour, |b| settings(fixed_endpoint(b))))
}

type Outcome = Result<(String, String), &'static str>;

#[expect(clippy::disallowed_methods, reason = "a test starts its own callers")]
fn calling(rig: &Arc<Rig>, caller: &Admitted) -> tokio::task::JoinHandle<Outcome> {
    let (rig, caller) = (Arc::clone(rig), caller.clone());
    tokio::spawn(async move { rig.ask(&caller).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_make_one_exchange() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, |b| b);
    let alice = rig.caller("alice").await;
    let calls: Vec<_> = (0..1000).map(|_| calling(&rig, &alice)).collect();
    until(|| rig.exchanger.traffic() == (1, 1000)).await;
    gate.add_permits(1);
    let mut states = Vec::new();
    for call in calls {
        let (name, state) = call.await.unwrap().unwrap();
        assert_eq!(name, "grant-0");
        states.push(state);
    }
    assert_eq!(states.iter().filter(|state| *state == "Miss").count(), 1);
    assert_eq!(states.iter().filter(|state| *state == "Coalesced").count(), 999);
    assert_eq!(rig.asked(), 1);
    assert_eq!(rig.exchanger.traffic(), (0, 0));
    assert_eq!(rig.ask(&alice).await, Ok(("grant-0".into(), "Hit".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_callers_without_a_gate_make_one_exchange_too() {
    for _ in 0..20 {
        let rig = gated(&Arc::new(Semaphore::new(1)), |b| b);
        let alice = rig.caller("alice").await;
        let calls: Vec<_> = (0..50).map(|_| calling(&rig, &alice)).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().0, "grant-0");
        }
        assert_eq!(rig.asked(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_grant_crosses_subjects() {
    let gate = Arc::new(Semaphore::new(2000));
    let rig = gated(&gate, |b| b);
    let mut callers = Vec::new();
    for n in 0..1000 {
        callers.push(rig.caller(&format!("subject-{n}")).await);
    }
    for round in 0..2 {
        let mut calls = Vec::new();
        for caller in &callers {
            let (rig, caller) = (Arc::clone(&rig), caller.clone());
            let call = async move { (rig.exchanger.grant(&caller, &rig.prepared()).await, caller) };
            #[expect(clippy::disallowed_methods, reason = "a test starts its own callers")]
            calls.push(tokio::spawn(call));
        }
        for call in calls {
            let (outcome, caller) = call.await.unwrap();
            let (granted, _) = outcome.unwrap();
            assert_eq!(granted.facts().subject, caller.facts().subject);
            assert_eq!(granted.parent(), Some(caller.facts().fingerprint));
        }
        assert_eq!(rig.asked(), 1000, "round {round}");
    }
}

#[tokio::test]
async fn whoever_began_may_leave() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, |b| b);
    let alice = rig.caller("alice").await;
    let first = calling(&rig, &alice);
    until(|| rig.asked() == 1).await;
    let second = calling(&rig, &alice);
    until(|| rig.exchanger.traffic() == (1, 2)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    until(|| rig.exchanger.traffic() == (1, 1)).await;
    gate.add_permits(1);
    assert_eq!(second.await.unwrap(), Ok(("grant-0".into(), "Coalesced".into())));
    assert_eq!(rig.asked(), 1);
}

#[tokio::test]
async fn an_exchange_that_nobody_waits_for_is_still_kept() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, |b| b);
    let alice = rig.caller("alice").await;
    let first = calling(&rig, &alice);
    until(|| rig.asked() == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    until(|| rig.exchanger.traffic() == (0, 0)).await;
    assert_eq!(rig.ask(&alice).await, Ok(("grant-0".into(), "Hit".into())));
}

#[tokio::test]
async fn a_future_that_is_never_polled_asks_nothing() {
    let rig = gated(&Arc::new(Semaphore::new(9)), |b| b);
    let alice = rig.caller("alice").await;
    drop(rig.exchanger.grant(&alice, &rig.prepared()));
    tokio::task::yield_now().await;
    assert_eq!((rig.asked(), rig.exchanger.traffic()), (0, (0, 0)));
}

#[tokio::test]
async fn a_panic_on_the_way_strands_nobody() {
    let (gate, healthy) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let (at_the_gate, well) = (Arc::clone(&gate), Arc::clone(&healthy));
    let behaviour = move |ask: Ask| {
        let (gate, healthy) = (Arc::clone(&at_the_gate), Arc::clone(&well));
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            assert!(healthy.load(Ordering::SeqCst), "a transport that panics");
            honest(&ask)
        }) as BoxFuture<'static, Reply>
    };
    let rig = Arc::new(Rig::with(FakeClock::at(START), behaviour, fixed_endpoint));
    let alice = rig.caller("alice").await;
    let calls: Vec<_> = (0..10).map(|_| calling(&rig, &alice)).collect();
    until(|| rig.exchanger.traffic() == (1, 10)).await;
    gate.add_permits(1);
    for call in calls {
        assert_eq!(call.await.unwrap(), Err("sts_unavailable"));
    }
    assert_eq!(rig.exchanger.traffic(), (0, 0));
    healthy.store(true, Ordering::SeqCst);
    gate.add_permits(1);
    assert_eq!(rig.ask(&alice).await, Ok(("grant-1".into(), "Miss".into())));
}

#[test]
fn a_task_that_is_dropped_strands_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (rig, call) = runtime.block_on(async {
        let rig = gated(&Arc::new(Semaphore::new(0)), |b| b);
        let alice = rig.caller("alice").await;
        let mut call = rig.exchanger.grant(&alice, &rig.prepared());
        let begun = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)));
        assert!(begun.await.is_pending());
        until(|| rig.asked() == 1).await;
        (rig, call)
    });
    // The runtime goes away, and with it the task that carries the exchange.
    drop(runtime);
    let outcome = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(call);
    assert_eq!(told(outcome), Err("sts_unavailable"));
    assert_eq!(rig.exchanger.traffic(), (0, 0));
}

#[tokio::test]
async fn too_many_waiters_are_told_so() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, |b| b.waiters_at_most(3));
    let alice = rig.caller("alice").await;
    let calls: Vec<_> = (0..3).map(|_| calling(&rig, &alice)).collect();
    until(|| rig.exchanger.traffic() == (1, 3)).await;
    assert_eq!(rig.ask(&alice).await, Err("exchange_overloaded"));
    gate.add_permits(1);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(rig.ask(&alice).await, Ok(("grant-0".into(), "Hit".into())));
}

#[tokio::test]
async fn too_many_exchanges_are_told_so() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, |b| b.flights_at_most(2));
    let mut calls = Vec::new();
    for name in ["alice", "bob"] {
        calls.push(calling(&rig, &rig.caller(name).await));
    }
    until(|| rig.exchanger.traffic() == (2, 2)).await;
    let carol = rig.caller("carol").await;
    assert_eq!(rig.ask(&carol).await, Err("exchange_overloaded"));
    gate.add_permits(3);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert!(rig.ask(&carol).await.is_ok());
}

#[tokio::test]
async fn who_waited_past_its_own_expiry_gets_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let rig = gated(&gate, |b| b);
    let alice = rig.caller("alice").await;
    let call = calling(&rig, &alice);
    until(|| rig.asked() == 1).await;
    rig.clock.advance(seconds(300));
    gate.add_permits(1);
    assert_eq!(call.await.unwrap(), Err("subject_expired"));
}

/// Begins a call, lets its exchange end, and leaves the caller where it has not heard of it yet.
async fn ended_unheard(
    rig: &Rig,
    alice: &Admitted,
) -> BoxFuture<'static, Result<(Granted, CacheState), Refusal>> {
    let mut call = rig.exchanger.grant(alice, &rig.prepared());
    let begun = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)));
    assert!(begun.await.is_pending());
    until(|| rig.exchanger.traffic().0 == 0).await;
    call
}

#[tokio::test]
async fn a_grant_is_judged_again_when_the_caller_hears_of_it() {
    let rig = gated(&Arc::new(Semaphore::new(9)), |b| b);
    let (alice, bob) = (rig.caller("alice").await, rig.caller("bob").await);
    let call = ended_unheard(&rig, &alice).await;
    let now = rig.clock.now();
    let what = Withdrawal::Token(alice.facts().fingerprint);
    rig.ledger.withdrawals().withdraw(what, now, now.after(minutes(9))).unwrap();
    assert_eq!(told(call.await), Err("token_withdrawn"));

    let call = ended_unheard(&rig, &bob).await;
    rig.clock.advance(seconds(120));
    assert_eq!(told(call.await), Err("grant_expired"));
    let call = ended_unheard(&rig, &bob).await;
    rig.clock.advance(minutes(3));
    assert_eq!(told(call.await), Err("subject_expired"));
}

#[tokio::test]
async fn who_missed_the_cache_looks_again_before_it_asks() {
    let rig = gated(&Arc::new(Semaphore::new(9)), |b| b);
    let alice = rig.caller("alice").await;
    let slow = rig.exchanger.grant(&alice, &rig.prepared());
    assert_eq!(rig.ask(&alice).await, Ok(("grant-0".into(), "Miss".into())));
    assert_eq!(told(slow.await), Ok(("grant-0".into(), "Hit".into())));
    assert_eq!(rig.asked(), 1);
}
