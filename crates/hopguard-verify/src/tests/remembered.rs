//! What a remembered verdict is good for, and when it dies.

use hopguard_core::{Fingerprint, UnixTime, Withdrawal, minutes, seconds};

use crate::familiar::Mark;

use super::*;

fn remembered(rig: &Rig, token: &str) -> bool {
    let first = rig.check(token).unwrap();
    Arc::ptr_eq(&first, &rig.check(token).unwrap())
}

#[test]
fn the_same_token_is_verified_once() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    assert!(remembered(&rig, &signer.token(&claims())));
    let forgetful = Rig::built(&[], |builder| {
        builder.issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&signer]))).remember_at_most(0)
    });
    assert!(!remembered(&forgetful, &signer.token(&claims())));
}

#[test]
fn each_signature_that_is_checked_is_counted() {
    let (signer, other) = (Signer::es256("k1"), Signer::es256("k1"));
    let rig = Rig::fixed(&[&signer]);
    let (good, bad) = (signer.token(&claims()), other.token(&claims()));
    for (token, expected) in [(&good, 1), (&good, 1), (&bad, 2), (&bad, 3), (&good, 3)] {
        let _ = rig.check(token);
        assert_eq!(rig.verifier.signature_checks(), expected);
    }
}

#[test]
fn a_verdict_belongs_to_the_whole_token() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    assert!(remembered(&rig, &token));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut forged = decode(signature);
    for at in 0..forged.len() {
        forged[at] ^= 1;
        assert_eq!(rig.check(&format!("{input}.{}", encode(&forged))).err(), Some("signature_invalid"));
        forged[at] ^= 1;
    }
    let other = Signer::es256("k1").sign(input.as_bytes());
    assert_eq!(rig.check(&format!("{input}.{}", encode(&other))).err(), Some("signature_invalid"));
    assert!(remembered(&rig, &token));
}

/// More headers than are familiar at once: each verdict stays remembered, whichever is asked first.
#[test]
fn what_comes_first_changes_no_verdict() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = |n: usize| {
        let mut header = signer.header();
        header["x5t"] = format!("{n}").into();
        signer.raw(&header.to_string(), &claims().to_string())
    };
    let tokens: Vec<_> = (0..40).map(token).collect();
    let facts: Vec<_> = tokens.iter().map(|token| rig.check(token).unwrap()).collect();
    for (token, facts) in tokens.iter().zip(&facts) {
        assert!(Arc::ptr_eq(facts, &rig.check(token).unwrap()));
    }
    assert_eq!(rig.verifier.signature_checks(), 40);
    rig.clock.advance(minutes(5));
    assert!(tokens.iter().all(|token| rig.check(token).err() == Some("token_expired")));
    assert_eq!(rig.verifier.remembered(), 0);
}

/// A header that was read for one token is not read again for the next. Nothing else passes over.
#[test]
fn what_a_known_header_asks_for_is_asked_by_each_of_its_tokens() {
    let (signer, other) = (Signer::es256("k1"), Signer::es256("k1"));
    let rig = Rig::fixed(&[&signer]);
    assert_eq!(rig.check(&signer.token(&claims())).unwrap().key_id.as_deref(), Some("k1"));
    let facts = rig.check(&signer.token(&long_claims("2"))).unwrap();
    assert_eq!((facts.key_id.as_deref(), facts.token_id.as_deref()), (Some("k1"), Some("2")));
    assert_eq!(rig.check(&other.token(&long_claims("3"))).err(), Some("signature_invalid"));
    let (mut foreign, mut late) = (claims(), claims());
    foreign["iss"] = "https://elsewhere".into();
    late["exp"] = 1.into();
    assert_eq!(rig.check(&signer.token(&foreign)).err(), Some("issuer_unknown"));
    assert_eq!(rig.check(&signer.token(&late)).err(), Some("token_expired"));
    let header = signer.header().to_string();
    assert_eq!(rig.check(&signer.raw(&header, "[]")).err(), Some("token_malformed"));
    assert_eq!(rig.verifier.signature_checks(), 4);
}

/// The set of keys is asked each time, though the header is known.
#[tokio::test]
async fn a_known_header_names_no_key_for_good() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let rig = Rig::new(&[&old, &new]);
    rig.verify(&old.token(&long_claims("1"))).await.unwrap();
    rig.issuer.publish(&[&new]);
    rig.clock.advance(seconds(241));
    rig.verify(&old.token(&long_claims("2"))).await.unwrap();
    rig.settle().await;
    assert_eq!(rig.verify(&old.token(&long_claims("3"))).await.err(), Some("key_unknown"));
}

#[test]
fn time_is_judged_at_every_use() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    assert!(remembered(&rig, &token));
    rig.clock.advance(seconds(299));
    rig.check(&token).unwrap();
    rig.clock.advance(seconds(1));
    assert_eq!(rig.verifier.remembered(), 1);
    assert_eq!(rig.check(&token).err(), Some("token_expired"));
    // It is void for good, and takes no room any more.
    assert_eq!(rig.verifier.remembered(), 0);
    assert_eq!(rig.check(&token).err(), Some("token_expired"));
    assert_eq!(rig.verifier.remembered(), 0);
}

#[test]
fn withdrawal_is_judged_at_every_use() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    assert!(remembered(&rig, &token));
    let at = UnixTime::from_secs(NOW);
    let what = Withdrawal::Token(Fingerprint::of_token(&token));
    rig.ledger.withdrawals().withdraw(what, at, at.after(minutes(10))).unwrap();
    assert_eq!(rig.check(&token).err(), Some("token_withdrawn"));
}

#[tokio::test]
async fn a_verdict_dies_with_its_key() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let rig = Rig::new(&[&old, &new]);
    let (by_old, by_new) = (old.token(&long_claims("1")), new.token(&long_claims("2")));
    rig.verify(&by_old).await.unwrap();
    let kept = rig.verify(&by_new).await.unwrap();
    rig.issuer.publish(&[&new]);
    rig.clock.advance(seconds(241));
    rig.check(&by_old).unwrap();
    rig.settle().await;
    assert_eq!(rig.verifier.remembered(), 2);
    assert_eq!(rig.verify(&by_old).await.err(), Some("key_unknown"));
    assert_eq!(rig.verifier.remembered(), 1);
    assert!(Arc::ptr_eq(&kept, &rig.verify(&by_new).await.unwrap()));
    // Another key of the same name is another key.
    let impostor = Signer::es256("new");
    rig.issuer.publish(&[&impostor]);
    rig.clock.advance(seconds(241));
    rig.check(&by_new).unwrap();
    rig.settle().await;
    assert_eq!(rig.verify(&by_new).await.err(), Some("signature_invalid"));
    // And a key that comes back is welcome, though its old verdicts are gone.
    rig.issuer.publish(&[&new]);
    rig.clock.advance(seconds(301));
    assert!(!Arc::ptr_eq(&kept, &rig.verify(&by_new).await.unwrap()));
}

#[test]
fn what_was_refused_is_not_remembered() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let mut early = claims();
    early["nbf"] = json!(NOW + 60);
    let token = signer.token(&early);
    assert_eq!(rig.check(&token).err(), Some("token_not_yet_valid"));
    rig.clock.advance(seconds(60));
    rig.check(&token).unwrap();
}

#[test]
fn long_tokens_are_verified_each_time() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let mut long = claims();
    long["note"] = json!("x".repeat(4096));
    assert!(!remembered(&rig, &signer.token(&long)));
}

#[test]
fn a_flood_of_distinct_tokens_stays_within_the_bound() {
    let signer = Signer::new(Algorithm::EdDsa, Some("k1"));
    let rig = Rig::built(&[], |builder| {
        builder.issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&signer]))).remember_at_most(64)
    });
    let regular = signer.token(&claims());
    for n in 0..1000 {
        rig.check(&regular).unwrap();
        rig.check(&signer.token(&long_claims(&n.to_string()))).unwrap();
    }
    // Whoever is seen again and again stays.
    assert!(remembered(&rig, &regular));
    assert!(rig.verifier.remembered() <= 64, "{}", rig.verifier.remembered());
}

/// Distinct tokens in a row, each seen once, do not push out those that are seen again and again, though these are not
/// seen while it lasts.
#[test]
fn a_scan_leaves_what_is_used() {
    let signer = Signer::new(Algorithm::EdDsa, Some("k1"));
    let rig = Rig::built(&[], |builder| {
        builder.issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&signer]))).remember_at_most(1000)
    });
    let hot: Vec<_> = (0..600).map(|n| signer.token(&long_claims(&format!("hot-{n}")))).collect();
    for _ in 0..3 {
        for token in &hot {
            rig.check(token).unwrap();
        }
    }
    for n in 0..5000 {
        rig.check(&signer.token(&long_claims(&n.to_string()))).unwrap();
    }
    let before = rig.verifier.signature_checks();
    for token in &hot {
        rig.check(token).unwrap();
    }
    let again = rig.verifier.signature_checks() - before;
    println!("{again} of {} were verified again", hot.len());
    assert!(again <= 60, "{again} of {} were verified again", hot.len());
}

#[test]
fn a_flood_of_tokens_with_many_claims_stays_within_the_bytes() {
    let signer = Signer::new(Algorithm::EdDsa, Some("k1"));
    let rig = Rig::built(&[], |builder| {
        builder.issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&signer]))).remember_at_most(64)
    });
    for n in 0..200 {
        let mut wide = long_claims(&n.to_string());
        // Four bytes of text each, and many times that in memory.
        wide["may_act"] = (0..120).map(|n| json!({ "sub": format!("s{n}") })).collect();
        rig.check(&signer.token(&wide)).unwrap();
    }
    // They are remembered, but far fewer of them than the bound on entries would let in.
    assert!((4..32).contains(&rig.verifier.remembered()), "{}", rig.verifier.remembered());
    assert!(rig.verifier.remembered_weight() <= 64 * 2048, "{}", rig.verifier.remembered_weight());
}

#[test]
fn a_memory_for_one_remembers() {
    let signer = Signer::es256("k1");
    let rig = Rig::built(&[], |builder| {
        builder.issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&signer]))).remember_at_most(1)
    });
    assert!(remembered(&rig, &signer.token(&claims())));
}

/// A header that others have pushed out is familiar again once one of its tokens was recognised.
#[test]
fn a_header_that_was_pushed_out_comes_back() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let (token, familiar) = (signer.token(&claims()), rig.verifier.familiar());
    let mark = Mark::of(token.as_bytes());
    assert!(remembered(&rig, &token) && familiar.has(mark));
    for n in 0..200 {
        familiar.add_any(Mark::of(format!("another-header-of-{n}.p.s").as_bytes()));
    }
    assert!(!familiar.has(mark));
    assert!(remembered(&rig, &token) && familiar.has(mark));
    assert_eq!(rig.verifier.signature_checks(), 1);
}
