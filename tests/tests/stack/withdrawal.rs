//! I18: what is withdrawn is gone everywhere at once.

use hopguard_core::Withdrawal;
use hopguard_core::{Clock, minutes};

use crate::world::World;

#[tokio::test]
async fn each_kind_of_withdrawal_stops_the_way_out() {
    for kind in 0..4 {
        let world = World::new().await;
        let caller = world.caller().await;
        world.call(&caller).await.unwrap();
        let facts = caller.facts();
        let what = match kind {
            0 => Withdrawal::Token(facts.fingerprint),
            1 => Withdrawal::Issuer(facts.issuer.clone()),
            2 => Withdrawal::Subject { issuer: facts.issuer.clone(), subject: facts.subject.clone() },
            _ => Withdrawal::Key { issuer: facts.issuer.clone(), key_id: facts.key_id.clone().unwrap() },
        };
        world.inbound.hop().withdraw(what, world.clock.now().after(minutes(10))).unwrap();
        let event = world.sink.sole("withdrawal");
        // Lineage finds later uses by this.
        assert_eq!(event.found, (kind == 0).then_some(facts.fingerprint));
        let place = event.place.unwrap();
        assert!(place.starts_with(["token", "issuer", "subject alice", "key sts-1"][kind]), "{place}");
        let outcome = world.call(&caller).await;
        world.refused(outcome, "token_withdrawn");
        assert_eq!(world.reached(), 1);
    }
}

#[tokio::test]
async fn a_withdrawn_grant_is_exchanged_anew() {
    let world = World::new().await;
    let caller = world.caller().await;
    world.call(&caller).await.unwrap();
    let grant = world.sink.sole("sent").grant.unwrap();
    let now = world.clock.now();
    world
        .ledger
        .withdrawals()
        .withdraw(Withdrawal::Token(grant.fingerprint), now, now.after(minutes(10)))
        .unwrap();
    world.call(&caller).await.unwrap();
    assert_eq!(world.sts.token_requests(), 2);
}

/// A wall clock that was ahead for a moment lets no withdrawal be forgotten.
#[tokio::test]
async fn a_withdrawal_outlives_a_clock_that_was_ahead() {
    let world = World::new().await;
    let caller = world.caller().await;
    let facts = caller.facts();
    let (issuer, subject) = (facts.issuer.clone(), facts.subject.clone());
    let (now, hop) = (world.clock.now(), world.inbound.hop());
    hop.withdraw(Withdrawal::Subject { issuer: issuer.clone(), subject }, now.after(minutes(5))).unwrap();
    assert!(world.ledger.withdrawals().strikes(facts));
    world.clock.set(now.after(minutes(10)));
    let other = Withdrawal::Subject { issuer, subject: "somebody".into() };
    hop.withdraw(other.clone(), now.after(minutes(15))).unwrap();
    world.clock.set(now);
    assert!(world.ledger.withdrawals().strikes(facts));
    // What is over by both clocks is let go of.
    world.clock.advance(minutes(6));
    hop.withdraw(other, now.after(minutes(15))).unwrap();
    assert!(!world.ledger.withdrawals().strikes(facts));
}
