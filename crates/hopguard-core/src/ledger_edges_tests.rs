//! The ledger at its edges: opaque credentials that expire, are pushed out or refused, and where `shown` begins.

use crate::evidence_for_tests::{opaque_token, verified_token};
use crate::*;

const NOW: UnixTime = UnixTime::from_secs(1000);

fn opaque(n: usize) -> String {
    format!("opaque-credential-{n:06}-of-somebody")
}

#[track_caller]
fn kept(ledger: &Ledger, n: usize, expires: u64, now: u64) -> bool {
    let evidence = opaque_token(&opaque(n), expires);
    ledger.remember_received(&evidence, UnixTime::from_secs(now)).unwrap().evicted
}

fn found(ledger: &Ledger, n: usize, now: u64) -> bool {
    let here = Destination::of(&http::Uri::from_static("https://peer.internal/")).unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("x-note", opaque(n).parse().unwrap());
    let uri = http::Uri::from_static("https://peer.internal/");
    Scanner::new(ledger, &here, UnixTime::from_secs(now)).scan(&uri, &headers).is_err()
}

#[test]
fn expired_opaque_credentials_leave_and_are_found_no_more() {
    let ledger = Ledger::bounded();
    assert!(ledger.is_empty());
    for n in 0..5 {
        assert!(!kept(&ledger, n, 1010 + n as u64, 1000));
    }
    assert!(!ledger.is_empty() && ledger.len() == 5);
    assert!((0..5).all(|n| found(&ledger, n, 1069)));
    // A minute is granted to other people's clocks. At 1073 four have expired all the same: the next to come
    // clears them away, and nothing else.
    assert!(!kept(&ledger, 5, 1200, 1073));
    assert_eq!(ledger.len(), 2);
    assert_eq!(
        (0..6).map(|n| found(&ledger, n, 1073)).collect::<Vec<_>>(),
        [false, false, false, false, true, true]
    );
    // What left may come again, and is then one entry like any other.
    assert!(!kept(&ledger, 0, 1200, 1073));
    assert!(!kept(&ledger, 0, 1200, 1073));
    assert_eq!((ledger.len(), found(&ledger, 0, 1073)), (3, true));
}

/// A server may give the same value again, for longer. It lives as long as the longest of what was said of it.
#[test]
fn an_opaque_credential_that_is_granted_again_lives_longer() {
    let ledger = Ledger::bounded();
    for (n, expires) in [(0, 1100), (1, 1100), (0, 1500), (1, 1050), (0, 1300)] {
        kept(&ledger, n, expires, 1000);
    }
    assert_eq!(ledger.len(), 2);
    assert_eq!([0, 1].map(|n| found(&ledger, n, 1159)), [true, true]);
    assert_eq!([0, 1].map(|n| found(&ledger, n, 1160)), [true, false]);
    // The next to come clears away what has expired, and nothing else.
    kept(&ledger, 2, 2000, 1559);
    assert_eq!((ledger.len(), [0, 1, 2].map(|n| found(&ledger, n, 1559))), (2, [true, false, true]));
    kept(&ledger, 3, 2000, 1560);
    assert_eq!((ledger.len(), [0, 2, 3].map(|n| found(&ledger, n, 1560))), (2, [false, true, true]));
}

#[test]
fn an_opaque_credential_speaks_for_one_subject() {
    let ledger = Ledger::bounded();
    let of = |subject: &str, issuer: &str, expires| {
        let mut facts = opaque_token(&opaque(0), expires).facts().as_ref().clone();
        (facts.subject, facts.issuer) = (subject.into(), issuer.into());
        let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(&opaque(0)), None);
        Verified::assert_genuine(presented, std::sync::Arc::new(facts))
    };
    let remember = |subject, issuer, expires, now| {
        ledger
            .remember_received(&of(subject, issuer, expires), UnixTime::from_secs(now))
            .map_err(|fault| fault.code())
    };
    assert!(remember("alice", "https://a", 1100, 1000).is_ok());
    assert_eq!(remember("bob", "https://a", 1100, 1000).err(), Some("grant_subject_changed"));
    assert_eq!(remember("alice", "https://b", 1100, 1000).err(), Some("grant_subject_changed"));
    assert!(remember("alice", "https://a", 1100, 1000).is_ok());
    // Once it has expired, it is as good as new.
    assert_eq!(remember("bob", "https://a", 1300, 1159).err(), Some("grant_subject_changed"));
    assert!(remember("bob", "https://a", 1300, 1160).is_ok());
}

#[test]
fn a_full_ledger_of_opaque_credentials_lets_the_oldest_go_or_refuses() {
    let ledger = Ledger::with_bound(16, Overflow::EvictWithEvent);
    for n in 0..16 {
        assert!(!kept(&ledger, n, 2000 + n as u64, 1000));
    }
    assert!(kept(&ledger, 16, 2100, 1000), "a live one had to go");
    assert_eq!(ledger.len(), 16);
    assert_eq!([0, 1, 16].map(|n| found(&ledger, n, 1000)), [false, true, true]);

    let strict = Ledger::with_bound(16, Overflow::Refuse);
    assert!((0..16).all(|n| !kept(&strict, n, 2000, 1000)));
    let refused = strict.remember_received(&opaque_token(&opaque(16), 2000), NOW).unwrap_err();
    assert_eq!((refused.code(), strict.len(), found(&strict, 16, 1000)), ("ledger_full", 16, false));
    assert!(!kept(&strict, 3, 2000, 1000), "what is known needs no place");
}

#[test]
fn a_signature_is_shown_once_its_anchor_is() {
    let text = format!("aaaa.bbbbbb.{}", "s".repeat(40));
    let ledger = Ledger::bounded();
    ledger.remember_received(&verified_token(&text, 2000), NOW).unwrap();
    // Eleven bytes that the fingerprint covers, the dot, and sixteen of signature.
    assert_eq!((ledger.shortest(), ledger.shown()), (text.len(), (28, 28)));
    let longer = format!("aaaa.bbbbbbbb.{}", "t".repeat(40));
    ledger.remember_received(&verified_token(&longer, 2000), NOW).unwrap();
    assert_eq!((ledger.shortest(), ledger.shown()), (text.len(), (28, 30)));
}
