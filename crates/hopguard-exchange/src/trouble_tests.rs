//! An authorization server that is down, slow to come back, or asks for patience. No test waits.

use std::time::Duration;

use hopguard_client::{BoxFuture, TransportError};
use hopguard_core::{Fault, Refusal, seconds};

use crate::rig_for_tests::*;

fn good(number: usize, state: &str) -> Result<(String, String), &'static str> {
    Ok((format!("grant-{number}"), state.to_owned()))
}

/// 503 or 429, with `Retry-After`.
fn busy(status: u16, after: &str) -> Reply {
    error(status, "temporarily_unavailable").map(|mut response| {
        response.headers_mut().insert("retry-after", after.parse().unwrap());
        response
    })
}

#[tokio::test]
async fn what_was_not_processed_is_tried_again_in_the_same_flight() {
    for first in [
        |_: &Ask| Err(TransportError::Connect),
        |_: &Ask| error(502, "x"),
        |_: &Ask| error(503, "x"),
        |_: &Ask| error(504, "x"),
        |_: &Ask| busy(429, "1"),
    ] {
        let rig = Rig::new(move |ask| if ask.number < 2 { first(ask) } else { honest(ask) });
        let alice = rig.caller("alice").await;
        assert_eq!(rig.ask(&alice).await, good(2, "Miss"));
        assert_eq!(rig.asked(), 3);
        let waited = rig.clock.waited.lock().unwrap().clone();
        assert_eq!(waited.len(), 2);
        assert!(waited[0] >= Duration::from_millis(50) && waited[1] > waited[0], "{waited:?}");
    }
}

#[tokio::test]
async fn each_attempt_has_an_assertion_of_its_own() {
    let rig = Rig::new(|ask| if ask.number < 1 { error(503, "x") } else { honest(ask) });
    let alice = rig.caller("alice").await;
    rig.ask(&alice).await.unwrap();
    let seen = rig.sts.seen.lock().unwrap();
    let assertion = |n: usize| claims_of(&seen[n].form["client_assertion"])["jti"].clone();
    assert_ne!(assertion(0), assertion(1));
}

#[tokio::test]
async fn a_server_that_asks_for_patience_is_asked_no_sooner_and_the_caller_is_told() {
    for (status, after, told) in [(503, "30", 30), (503, "86400", 60)] {
        let rig = Rig::new(move |ask| if ask.number == 0 { busy(status, after) } else { honest(ask) });
        let (alice, bob) = (rig.caller("alice").await, rig.caller("bob").await);
        assert_eq!(rig.ask(&alice).await, Err("sts_busy"));
        rig.clock.advance(seconds(10));
        // Another caller of the same server: nothing is sent, and the rest of the time is what it is told.
        let refusal = rig.exchanger.grant(&bob, &rig.prepared()).await.unwrap_err();
        assert_eq!(refusal, Refusal::Fault(Fault::StsBusy(seconds(told - 10))));
        assert_eq!(refusal.retry_after(), Some(seconds(told - 10)));
        assert_eq!(rig.asked(), 1);
        rig.clock.advance(seconds(told - 10));
        assert_eq!(rig.ask(&bob).await, good(1, "Miss"));
        assert!(rig.clock.waited.lock().unwrap().is_empty());
    }
}

/// A limit of one subject's own, or a token over which the server trips: one caller shuts out nobody else.
#[tokio::test]
async fn trouble_with_one_subject_is_held_against_it_alone() {
    for (status, after, code, span) in [(429, "30", "sts_busy", 30), (500, "30", "sts_unavailable", 1)] {
        let rig = Rig::new(move |ask| {
            let subject = claims_of(&ask.form["subject_token"])["sub"].clone();
            if subject == "mallory" { busy(status, after) } else { honest(ask) }
        });
        for round in 0..20 {
            let name = |who: &str| format!("{who}-{round}");
            let mallory = rig.caller_with("mallory", |claims| claims["jti"] = name("m").into()).await;
            assert_eq!(rig.ask(&mallory).await, Err(code));
            let alice = rig.caller_with("alice", |claims| claims["jti"] = name("a").into()).await;
            assert_eq!(rig.ask(&alice).await, good(2 * round + 1, "Miss"), "{status}");
        }
        // The same token is not asked for again while that lasts, and is told how long.
        let mallory = rig.caller_with("mallory", |claims| claims["jti"] = "last".into()).await;
        let asked = rig.asked();
        assert_eq!(rig.ask(&mallory).await, Err(code));
        rig.clock.advance(seconds(span) - Duration::from_millis(1));
        let refusal = rig.exchanger.grant(&mallory, &rig.prepared()).await.unwrap_err();
        assert_eq!((refusal.code(), rig.asked()), (code, asked + 1));
        if status == 429 {
            assert_eq!(refusal.retry_after(), Some(Duration::from_millis(1)));
        }
        rig.clock.advance(Duration::from_millis(1));
        assert_eq!((rig.ask(&mallory).await, rig.asked()), (Err(code), asked + 2));
    }
}

#[tokio::test]
async fn nobody_is_held_back_for_longer_than_a_minute() {
    let rig = Rig::new(|ask| if ask.number == 0 { busy(429, "86400") } else { honest(ask) });
    let alice = rig.caller("alice").await;
    assert_eq!(rig.ask(&alice).await, Err("sts_busy"));
    rig.clock.advance(seconds(60) - Duration::from_millis(1));
    assert_eq!(rig.ask(&alice).await, Err("sts_busy"));
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(rig.ask(&alice).await, good(1, "Miss"));
}

/// A limit that five subjects meet in a row is everybody's.
#[tokio::test]
async fn a_limit_that_many_meet_is_everybodys() {
    let rig = Rig::new(|_| busy(429, "30"));
    for n in 0..5 {
        let caller = rig.caller(&format!("user-{n}")).await;
        assert_eq!(rig.ask(&caller).await, Err("sts_busy"));
    }
    let other = rig.caller("another").await;
    rig.clock.advance(seconds(10));
    let refusal = rig.exchanger.grant(&other, &rig.prepared()).await.unwrap_err();
    assert_eq!((refusal, rig.asked()), (Refusal::Fault(Fault::StsBusy(seconds(20))), 5));
}

#[tokio::test]
async fn patience_that_runs_out_is_told_with_the_servers_own_number() {
    let rig = Rig::new(|_| busy(503, "2"));
    let alice = rig.caller("alice").await;
    let refusal = rig.exchanger.grant(&alice, &rig.prepared()).await.unwrap_err();
    assert_eq!(refusal, Refusal::Fault(Fault::StsBusy(seconds(2))));
    assert_eq!(rig.asked(), 3);
}

#[tokio::test]
async fn an_outage_opens_the_circuit_and_one_caller_finds_out_that_it_is_over() {
    let rig = Rig::new(|ask| if ask.number < 6 { Err(TransportError::Timeout) } else { honest(ask) });
    let alice = rig.caller("alice").await;
    for _ in 0..10 {
        assert_eq!(rig.ask(&alice).await, Err("sts_unavailable"));
    }
    assert_eq!(rig.asked(), 5);
    rig.clock.advance(seconds(1));
    for _ in 0..10 {
        assert_eq!(rig.ask(&alice).await, Err("sts_unavailable"));
    }
    assert_eq!(rig.asked(), 6, "one trial");
    rig.clock.advance(seconds(2));
    assert_eq!(rig.ask(&alice).await, good(6, "Miss"));
    let bob = rig.caller("bob").await;
    assert_eq!(rig.ask(&bob).await, good(7, "Miss"));
}

/// A transport without a limit of its own keeps no flight for good.
#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    for discovers in [false, true] {
        let silent = |_| -> BoxFuture<'static, Reply> { Box::pin(std::future::pending()) };
        let rig = Rig::with(FakeClock::at(START), silent, move |builder| {
            let builder = builder.flights_at_most(1);
            if discovers { builder } else { fixed_endpoint(builder) }
        });
        rig.clock.impatient.store(true, std::sync::atomic::Ordering::SeqCst);
        for who in ["alice", "bob"] {
            let caller = rig.caller(who).await;
            let asked = tokio::time::timeout(Duration::from_secs(60), rig.ask(&caller)).await;
            assert_eq!(asked.expect("it is given up"), Err("sts_unavailable"));
        }
        assert_eq!(rig.clock.waited.lock().unwrap().first(), Some(&hopguard_core::minutes(5)));
    }
}

#[tokio::test]
async fn grants_in_hand_outlive_the_outage() {
    let rig = Rig::new(|ask| if ask.number == 0 { honest(ask) } else { Err(TransportError::Connect) });
    let (alice, bob) = (rig.caller("alice").await, rig.caller("bob").await);
    assert_eq!(rig.ask(&alice).await, good(0, "Miss"));
    for _ in 0..5 {
        assert_eq!(rig.ask(&bob).await, Err("sts_unavailable"));
        assert_eq!(rig.ask(&alice).await, good(0, "Hit"));
    }
}

#[tokio::test]
async fn refusals_are_answers_and_never_open_the_circuit() {
    let rig = Rig::new(|ask| if ask.number < 50 { error(400, "invalid_grant") } else { honest(ask) });
    let alice = rig.caller("alice").await;
    for _ in 0..50 {
        assert_eq!(rig.ask(&alice).await, Err("sts_refused"));
    }
    assert_eq!(rig.ask(&alice).await, good(50, "Miss"));
}

#[tokio::test]
async fn a_caller_that_expires_during_a_wait_is_not_asked_for() {
    let rig = Rig::new(|_| busy(503, "2"));
    let alice = rig.caller_with("alice", |claims| claims["exp"] = (START + 2).into()).await;
    assert_eq!(rig.ask(&alice).await, Err("subject_expired"));
    assert_eq!(rig.asked(), 1);
}

#[tokio::test]
async fn an_outage_does_not_multiply_the_load() {
    // Every other request fails, so that the circuit stays closed and the budget alone holds.
    let behaviour = |ask: Ask| {
        let reply = match ask.form["subject_token"].as_str() {
            token if claims_of(token)["sub"] == "alice" => honest(&ask),
            _ => error(503, "x"),
        };
        Box::pin(async { reply }) as BoxFuture<'static, Reply>
    };
    let rig = Rig::with(FakeClock::at(START), behaviour, fixed_endpoint);
    let (alice, bob) = (rig.caller("alice").await, rig.caller("bob").await);
    for _ in 0..100 {
        let (fresh, _) = rig.exchanger.grant(&alice, &rig.prepared()).await.unwrap();
        rig.exchanger.forget(&alice, &rig.prepared(), &fresh);
        assert_eq!(rig.ask(&bob).await, Err("sts_unavailable"));
    }
    // Ten saved up, and one earned by every ten answers.
    assert!((210..=220).contains(&rig.asked()), "{}", rig.asked());
}
