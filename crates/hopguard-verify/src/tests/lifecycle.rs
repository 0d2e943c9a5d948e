//! When keys are fetched, how long they serve, and what strangers can make us do.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use hopguard_core::{Audit, AuditFull, AuditSink, Event, minutes, seconds};

use super::*;

#[tokio::test]
async fn keys_are_found_through_metadata_once() {
    let signer = Signer::es256("k1");
    let rig = Rig::built(&[&signer], |builder| builder.issuer(Issuer::at(ISSUER)));
    assert!(!rig.verifier.is_ready());
    rig.verifier.warm_up().await.unwrap();
    assert!(rig.verifier.is_ready());
    rig.verify(&signer.token(&claims())).await.unwrap();
    rig.clock.advance(minutes(10));
    rig.verify(&signer.token(&long_claims("2"))).await.unwrap();
    assert_eq!((rig.issuer.metadata_fetches.load(Ordering::SeqCst), rig.issuer.fetches()), (1, 2));
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_followed() {
    let signer = Signer::es256("k1");
    let rig = Rig::built(&[&signer], |builder| builder.issuer(Issuer::at(ISSUER)));
    for wrong in [
        json!({"issuer": "https://evil", "jwks_uri": JWKS}),
        json!({"issuer": ISSUER, "jwks_uri": "http://evil/jwks"}),
        json!({"issuer": ISSUER}),
    ] {
        *rig.issuer.metadata.lock().unwrap() = Answer::Status(200, wrong.to_string());
        assert_eq!(rig.verifier.warm_up().await.unwrap_err().code(), "keys_unavailable");
        rig.clock.advance(seconds(2));
    }
    assert_eq!(rig.issuer.fetches(), 0);
}

#[tokio::test]
async fn one_fetch_serves_everyone_who_waits() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    rig.issuer.hold();
    let token = signer.token(&claims());
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(rig.verify(&token))).collect();
    let mut idle = Context::from_waker(Waker::noop());
    for waiter in &mut waiting {
        assert!(waiter.as_mut().poll(&mut idle).is_pending());
    }
    // The one that began the fetch goes away, and so does every second one.
    let staying: Vec<_> = waiting.into_iter().skip(1).step_by(2).collect();
    rig.settle().await;
    rig.issuer.release();
    for waiter in staying {
        waiter.await.unwrap();
    }
    assert_eq!(rig.issuer.fetches(), 1);
}

#[tokio::test]
async fn a_fetch_that_panics_strands_nobody() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    rig.issuer.answer(Answer::Panics);
    assert_eq!(rig.verify(&signer.token(&claims())).await.err(), Some("keys_unavailable"));
    rig.issuer.publish(&[&signer]);
    rig.clock.advance(seconds(1));
    rig.verify(&signer.token(&claims())).await.unwrap();
}

#[test]
fn a_runtime_that_ends_strands_nobody() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    let token = signer.token(&claims());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    rig.issuer.hold();
    runtime().block_on(async {
        let mut waiter = pin!(rig.verify(&token));
        assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    });
    rig.issuer.release();
    rig.clock.advance(seconds(1));
    runtime().block_on(rig.verify(&token)).unwrap();
}

#[tokio::test]
async fn an_unknown_kid_has_a_budget() {
    let (old, new, never) = (Signer::es256("old"), Signer::es256("new"), Signer::es256("never"));
    let rig = Rig::new(&[&old]);
    rig.verify(&old.token(&claims())).await.unwrap();
    rig.issuer.publish(&[&old, &new]);
    // A rotation is followed at once.
    rig.verify(&new.token(&claims())).await.unwrap();
    assert_eq!(rig.issuer.fetches(), 2);
    // What stays unknown is refused without asking, while good tokens are served.
    for n in 0..500 {
        assert_eq!(rig.verify(&never.token(&long_claims(&n.to_string()))).await.err(), Some("key_unknown"));
        rig.clock.advance(Duration::from_millis(50));
        rig.verify(&new.token(&long_claims("good"))).await.unwrap();
    }
    assert_eq!(rig.issuer.fetches(), 2);
    // Nobody is even told to wait.
    assert_eq!(rig.check(&never.token(&claims())).err(), Some("key_unknown"));
    rig.clock.advance(seconds(5));
    assert_eq!(rig.check(&never.token(&claims())).err(), Some("needs keys"));
    for _ in 0..100 {
        assert_eq!(rig.verify(&never.token(&claims())).await.err(), Some("key_unknown"));
    }
    assert_eq!(rig.issuer.fetches(), 3);
}

#[tokio::test]
async fn whoever_brings_a_new_key_while_it_is_fetched_waits_for_it() {
    let (old, new, never) = (Signer::es256("old"), Signer::es256("new"), Signer::es256("never"));
    let rig = Rig::new(&[&old]);
    rig.verify(&old.token(&claims())).await.unwrap();
    rig.issuer.publish(&[&old, &new]);
    rig.issuer.hold();
    let (stranger, good) = (never.token(&claims()), new.token(&claims()));
    let mut stranger = pin!(rig.verify(&stranger));
    let mut idle = Context::from_waker(Waker::noop());
    assert!(stranger.as_mut().poll(&mut idle).is_pending());
    let mut good = pin!(rig.verify(&good));
    assert!(good.as_mut().poll(&mut idle).is_pending());
    // Meanwhile the old key serves.
    rig.check(&old.token(&long_claims("meanwhile"))).unwrap();
    rig.issuer.release();
    good.await.unwrap();
    assert_eq!(stranger.await.err(), Some("key_unknown"));
    assert_eq!(rig.issuer.fetches(), 2);
}

#[tokio::test]
async fn garbage_and_foreign_issuers_cause_no_fetch() {
    let (signer, rig) = (Signer::es256("k1"), Rig::new(&[]));
    let mut foreign = claims();
    foreign["iss"] = json!("https://evil.internal");
    let token = signer.token(&claims());
    let (_, rest) = token.split_once('.').unwrap();
    let mut id_token = signer.header();
    id_token["typ"] = json!("JWT");
    for bad in [
        "garbage".to_owned(),
        signer.token(&foreign),
        format!("{}.{rest}", encode(br#"{"alg":"none","typ":"at+jwt"}"#)),
        format!("{token}="),
        signer.raw(&id_token.to_string(), &claims().to_string()),
    ] {
        assert!(rig.verify(&bad).await.is_err());
    }
    rig.settle().await;
    assert_eq!(rig.issuer.fetches(), 0);
}

#[tokio::test]
async fn keys_are_refreshed_by_use_and_ahead_of_need() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    let token = signer.token(&long_claims("1"));
    rig.verify(&token).await.unwrap();
    rig.clock.advance(seconds(210));
    rig.check(&token).unwrap();
    rig.settle().await;
    assert_eq!(rig.issuer.fetches(), 1);
    // From four minutes on at the latest in the background, once, also by a remembered token.
    rig.clock.advance(seconds(31));
    for _ in 0..100 {
        rig.check(&token).unwrap();
    }
    rig.settle().await;
    assert_eq!(rig.issuer.fetches(), 2);
    rig.check(&token).unwrap();
    rig.settle().await;
    assert_eq!(rig.issuer.fetches(), 2);
    // After a pause longer than five minutes nobody is served from an old set.
    rig.clock.advance(seconds(301));
    assert_eq!(rig.check(&token).err(), Some("needs keys"));
    rig.verify(&token).await.unwrap();
    assert_eq!(rig.issuer.fetches(), 3);
}

#[tokio::test]
async fn an_outage_is_survived_up_to_the_ceiling() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    let (known, fresh) = (signer.token(&long_claims("known")), signer.token(&long_claims("fresh")));
    rig.verify(&known).await.unwrap();
    let broken = [
        Answer::Fails(TransportError::Connect),
        Answer::Fails(TransportError::TooLarge),
        Answer::Status(500, String::new()),
        Answer::Status(200, "<html>".to_owned()),
        Answer::Status(200, r#"{"keys":[]}"#.to_owned()),
        Answer::Status(200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.to_owned()),
        Answer::Status(200, r#"{"keys":{}}"#.to_owned()),
        Answer::Status(302, set_of(&[&Signer::es256("k1")])),
        Answer::Status(200, format!("{{\"keys\":[],\"x\":\"{}\"}}", "a".repeat(600_000))),
        Answer::Panics,
    ];
    for minute in 0..59 {
        rig.clock.advance(minutes(1));
        rig.issuer.answer(broken[minute % broken.len()].clone());
        rig.verify(&known).await.unwrap();
        rig.verify(&fresh).await.unwrap();
        rig.settle().await;
        assert!(rig.verifier.is_ready());
    }
    rig.clock.advance(minutes(2));
    assert!(!rig.verifier.is_ready());
    assert_eq!(rig.verify(&known).await.err(), Some("keys_unavailable"));
    assert_eq!(rig.verify(&fresh).await.err(), Some("keys_unavailable"));
    rig.issuer.publish(&[&signer]);
    rig.clock.advance(seconds(1));
    rig.verify(&known).await.unwrap();
}

#[tokio::test]
async fn during_an_outage_nobody_waits_and_the_issuer_is_not_hammered() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    let token = signer.token(&long_claims("1"));
    rig.verify(&token).await.unwrap();
    rig.issuer.answer(Answer::Status(503, String::new()));
    rig.clock.advance(minutes(6));
    rig.verify(&token).await.unwrap();
    let before = rig.issuer.fetches();
    // 1000 uses in ten seconds: at most one fetch per second, and each use is served without waiting.
    for _ in 0..1000 {
        rig.clock.advance(Duration::from_millis(10));
        rig.check(&token).unwrap();
        rig.settle().await;
    }
    let asked = rig.issuer.fetches() - before;
    assert!((9..=10).contains(&asked), "{asked}");
}

#[tokio::test]
async fn without_keys_the_issuer_is_asked_once_a_second() {
    let signer = Signer::es256("k1");
    let rig = Rig::new(&[&signer]);
    rig.issuer.answer(Answer::Fails(TransportError::Timeout));
    for n in 0..1000 {
        let token = signer.token(&long_claims(&n.to_string()));
        assert_eq!(rig.verify(&token).await.err(), Some("keys_unavailable"));
        rig.clock.advance(Duration::from_millis(10));
    }
    assert!((9..=11).contains(&rig.issuer.fetches()), "{}", rig.issuer.fetches());
}

#[tokio::test]
async fn a_failed_early_fetch_takes_nothing_away() {
    let (signer, never) = (Signer::es256("k1"), Signer::es256("never"));
    let rig = Rig::new(&[&signer]);
    rig.verify(&signer.token(&claims())).await.unwrap();
    rig.issuer.answer(Answer::Status(200, r#"{"keys":[]}"#.to_owned()));
    assert_eq!(rig.verify(&never.token(&claims())).await.err(), Some("key_unknown"));
    assert_eq!(rig.issuer.fetches(), 2);
    rig.verify(&signer.token(&long_claims("2"))).await.unwrap();
}

/// Keeps the codes of what is written.
#[derive(Debug, Default)]
pub(super) struct Codes(Mutex<Vec<&'static str>>);

impl Codes {
    pub(super) fn written(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

impl AuditSink for Codes {
    fn reserve(&self) -> Result<(), AuditFull> {
        Ok(())
    }

    fn release(&self) {}

    fn commit(&self, event: Event) {
        assert_eq!(event.destination.as_deref(), Some(ISSUER));
        self.0.lock().unwrap().push(event.decision.code());
    }

    fn offer(&self, _event: Event) {}
}

#[tokio::test]
async fn every_fetch_is_written_down() {
    let (signer, codes) = (Signer::es256("k1"), Arc::new(Codes::default()));
    let audit = Audit::new("orders", "1", codes.clone());
    let rig =
        Rig::built(&[&signer], |builder| builder.issuer(Issuer::at(ISSUER).jwks_url(JWKS)).audit(&audit));
    rig.verify(&signer.token(&claims())).await.unwrap();
    rig.issuer.answer(Answer::Status(404, String::new()));
    rig.clock.advance(minutes(5));
    rig.check(&signer.token(&long_claims("2"))).unwrap();
    rig.settle().await;
    assert_eq!(codes.written(), ["keys_refreshed", "keys_refresh_failed"]);
}
