//! What the fetching of keys is bounded by: the length of an answer, those who wait, the age of what metadata said.

use std::collections::BTreeSet;
use std::fs;
use std::task::{Context, Poll, Waker};

use hopguard_client::Timer;
use hopguard_core::{Fault, minutes, seconds};

use super::*;

/// The longest key set that is read.
const ANSWER: usize = 512 * 1024;

/// A set that would serve, were it not for its length.
fn padded(signer: &Signer, length: usize) -> String {
    let set = set_of(&[signer]);
    let spaces = " ".repeat(length - set.len());
    set + &spaces
}

#[tokio::test]
async fn a_good_set_beyond_the_bound_is_not_read() {
    let signer = Signer::es256("k1");
    for (length, expected) in [(ANSWER, None), (ANSWER + 1, Some("keys_unavailable"))] {
        let rig = Rig::new(&[&signer]);
        rig.issuer.answer(Answer::Status(200, padded(&signer, length)));
        assert_eq!(rig.verify(&signer.token(&claims())).await.err(), expected, "{length}");
    }
}

#[tokio::test]
async fn a_good_file_beyond_the_bound_is_not_read() {
    let signer = Signer::es256("k1");
    let path = std::env::temp_dir().join(format!("hopguard-{}-bounds.json", std::process::id()));
    for (length, expected) in [(ANSWER, None), (ANSWER + 1, Some("keys_unavailable"))] {
        fs::write(&path, padded(&signer, length)).unwrap();
        let rig = Rig::built(&[], |builder| builder.issuer(Issuer::at(ISSUER).jwks_file(&path)));
        assert_eq!(rig.verify(&signer.token(&claims())).await.err(), expected, "{length}");
    }
    fs::remove_file(&path).unwrap();
}

/// Whoever finds no place to wait is told at once that nothing can be said, though there is a set: it is too old to be
/// used without asking. For a newer key nobody needs a place: what there is serves.
#[tokio::test]
async fn whoever_finds_no_place_to_wait_is_told_so() {
    let (signer, never) = (Signer::es256("k1"), Signer::es256("never"));
    for (token, age, expected) in [
        (signer.token(&long_claims("1")), minutes(6), Err(Fault::KeysUnavailable)),
        (never.token(&long_claims("2")), seconds(31), Ok(())),
    ] {
        let rig = Rig::new(&[&signer]);
        rig.verifier.warm_up().await.unwrap();
        rig.clock.advance(age);
        rig.issuer.hold();
        let wanted = || {
            let found = rig.verifier.check(&RawToken::new(&token), rig.ledger.withdrawals());
            let Check::NeedsKeys(wanted) = found else { panic!("{found:?}") };
            wanted.fetch()
        };
        let mut idle = Context::from_waker(Waker::noop());
        let mut crowd: Vec<_> = (0..8192).map(|_| wanted()).collect();
        assert!(crowd.iter_mut().all(|waiter| waiter.as_mut().poll(&mut idle).is_pending()));
        assert_eq!(wanted().await, expected);
        drop(crowd);
        assert!(wanted().as_mut().poll(&mut idle).is_pending());
    }
}

/// Goes off when it is told to, and says for how long each wait was meant to be.
#[derive(Debug)]
struct Alarm {
    off: watch::Sender<bool>,
    spans: Mutex<Vec<Duration>>,
}

impl Timer for Alarm {
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.spans.lock().unwrap().push(span);
        let mut off = self.off.subscribe();
        Box::pin(async move {
            off.wait_for(|off| *off).await.unwrap();
        })
    }
}

#[tokio::test]
async fn an_issuer_that_never_answers_holds_nobody_up_for_good() {
    let signer = Signer::es256("k1");
    let token = signer.token(&long_claims("1"));
    let alarm = Arc::new(Alarm { off: watch::Sender::new(false), spans: Mutex::default() });
    let rig = Rig::built(&[&signer], |builder| builder.issuer(Issuer::at(ISSUER)).timer(alarm.clone()));
    rig.issuer.hold();
    let mut waiting = Box::pin(rig.verify(&token));
    let mut idle = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut idle).is_pending());
    rig.settle().await;
    assert!(waiting.as_mut().poll(&mut idle).is_pending());
    alarm.off.send_replace(true);
    rig.settle().await;
    let Poll::Ready(verdict) = waiting.as_mut().poll(&mut idle) else { panic!("it is held up") };
    assert_eq!(verdict.err(), Some("keys_unavailable"));
    let status = rig.verifier.key_sets().swap_remove(0);
    assert_eq!((status.fetches, status.failures), (1, 1));
    // The next one begins anew, and an answer in time is taken though another never came.
    alarm.off.send_replace(false);
    rig.issuer.release();
    rig.clock.advance(seconds(1));
    rig.verify(&token).await.unwrap();
    // With a set in use, nobody even notices.
    rig.issuer.hold();
    rig.clock.advance(seconds(241));
    rig.check(&token).unwrap();
    rig.settle().await;
    alarm.off.send_replace(true);
    rig.settle().await;
    rig.clock.advance(minutes(2));
    rig.verify(&token).await.unwrap();
    assert!(alarm.spans.lock().unwrap().iter().all(|span| *span == seconds(30)));
}

async fn moved(rig: &Rig, token: &str, wait: Duration) -> Vec<String> {
    rig.issuer.asked.lock().unwrap().clear();
    rig.clock.advance(wait);
    rig.verify(token).await.unwrap();
    rig.settle().await;
    rig.issuer.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
}

fn moves(rig: &Rig) {
    let metadata = json!({"issuer": ISSUER, "jwks_uri": format!("{JWKS}/next")}).to_string();
    *rig.issuer.metadata.lock().unwrap() = Answer::Status(200, metadata);
}

const METADATA: &str = "/.well-known/oauth-authorization-server";

#[tokio::test]
async fn an_issuer_that_moves_its_keys_is_followed_within_an_hour() {
    let signer = Signer::es256("k1");
    let rig = Rig::built(&[&signer], |builder| builder.issuer(Issuer::at(ISSUER)));
    let token = signer.token(&long_claims("1"));
    assert_eq!(moved(&rig, &token, seconds(0)).await, [METADATA, "/jwks"]);
    moves(&rig);
    for _ in 0..10 {
        assert_eq!(moved(&rig, &token, minutes(6)).await, ["/jwks"]);
    }
    assert_eq!(moved(&rig, &token, minutes(6)).await, [METADATA, "/jwks/next"]);
}

#[tokio::test]
async fn an_issuer_that_moves_its_keys_is_followed_when_the_old_place_fails() {
    let signer = Signer::es256("k1");
    let rig = Rig::built(&[&signer], |builder| builder.issuer(Issuer::at(ISSUER)));
    let token = signer.token(&long_claims("1"));
    assert_eq!(moved(&rig, &token, seconds(0)).await, [METADATA, "/jwks"]);
    moves(&rig);
    rig.issuer.answer(Answer::Status(404, String::new()));
    assert_eq!(moved(&rig, &token, minutes(6)).await, ["/jwks"]);
    rig.issuer.publish(&[&signer]);
    assert_eq!(moved(&rig, &token, seconds(1)).await, [METADATA, "/jwks/next"]);
}

/// A fleet that started at once does not come back at once.
#[tokio::test]
async fn stores_of_one_age_come_due_at_different_ages() {
    let signer = Signer::es256("k1");
    let token = signer.token(&long_claims("1"));
    let mut ages = BTreeSet::new();
    for _ in 0..32 {
        let rig = Rig::new(&[&signer]);
        rig.verify(&token).await.unwrap();
        rig.clock.advance(seconds(209));
        let mut age = 209;
        while rig.issuer.fetches() == 1 {
            age += 1;
            rig.clock.advance(seconds(1));
            rig.check(&token).unwrap();
            rig.settle().await;
        }
        assert!((210..=241).contains(&age), "{age}");
        ages.insert(age);
    }
    assert!(ages.len() > 4, "{ages:?}");
}
