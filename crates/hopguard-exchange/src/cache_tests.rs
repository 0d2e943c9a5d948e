//! What is kept, for how long, and what gives way.

use hopguard_core::{Destination, Exchange, Ledger, RawToken, seconds};
use proptest::prelude::*;

use hopguard_core::Clock as _;

use super::*;
use crate::key::GrantKeys;
use crate::rig_for_tests::{FakeClock, ISSUER, facts};

const START: u64 = 1_000_000;

#[track_caller]
fn until(ends: [u64; 2], spans: [Option<u64>; 2], expected: Millis) {
    let asked = START * 1000;
    assert_eq!(served_until(asked, ends_at(asked, ends, spans)), expected);
}

#[test]
fn the_least_end_counts_less_a_margin() {
    until([START + 300, START + 300], [None, None], (START + 270) * 1000);
    until([START + 100, START + 300], [None, None], (START + 90) * 1000);
    until([START + 300, START + 100], [None, None], (START + 90) * 1000);
    until([START + 300, START + 300], [Some(60), None], (START + 54) * 1000);
    until([START + 300, START + 300], [None, Some(60)], (START + 54) * 1000);
    until([START + 3600, START + 3600], [Some(3600), Some(3600)], (START + 3570) * 1000);
    until([START + 301, START + 301], [None, None], (START + 271) * 1000);
    until([START + 1, START + 300], [None, None], START * 1000 + 900);
    until([START + 300, START + 300], [Some(0), None], START * 1000);
    until([START - 5, START + 300], [None, None], (START - 5) * 1000);
    until([u64::MAX, START + 300], [Some(u64::MAX), Some(u64::MAX)], (START + 270) * 1000);
}

proptest! {
    #[test]
    fn nothing_outlives_any_of_its_ends(
        exp in 0..4000u64, parent in 0..4000u64,
        spans in proptest::array::uniform2(proptest::option::of(0..4000u64)),
    ) {
        let asked = 1_000_500;
        let found = served_until(asked, ends_at(asked, [exp, parent], spans));
        prop_assert!(found <= exp * 1000 && found <= parent * 1000);
        for span in spans.into_iter().flatten() {
            prop_assert!(found <= asked + span * 1000);
        }
    }
}

proptest! {
    #[test]
    fn renewal_begins_in_the_second_half_and_before_the_end(
        life in 1..10_000_000u64, ahead in 1..200_000u64, chance: u64,
    ) {
        let (asked, end) = (1_000_500, 1_000_500 + life);
        let from = renewed_from(asked, end, end + 1, ahead, chance);
        let until = served_until(asked, end);
        prop_assert!(from <= until && until - from <= ahead && until - from <= life / 2);
        prop_assert!(until - from >= ahead.min(life / 2) / 2);
        prop_assert_eq!(renewed_from(asked, end, end, ahead, chance), NEVER);
        prop_assert_eq!(renewed_from(asked, end, end + 1, 0, chance), NEVER);
    }
}

#[test]
fn renewal_is_spread_over_the_earlier_half_of_its_lead() {
    // Served until 270 s; with 60 s ahead, renewal begins 30 s to 60 s before that.
    let from = |chance| renewed_from(0, 300_000, 400_000, 60_000, chance);
    assert_eq!((from(0), from(1), from(30_000)), (240_000, 239_999, 210_000));
    assert_eq!((from(30_001), from(30_002)), (240_000, 239_999));
    // In the second half of its life only, however far ahead is asked for.
    assert_eq!(renewed_from(0, 300_000, 400_000, 1_000_000, 75_000), 120_000);
}

#[test]
fn one_use_claims_the_renewal_and_a_later_one_claims_it_again() {
    let (cache, clock, ledger) = (GrantCache::new(10), FakeClock::at(START), Ledger::bounded());
    let mut parent = facts();
    parent.expires = UnixTime::from_secs(START + 300);
    let one = granted("one", &parent, START + 200);
    cache.keep(key(1), one, 100, life((START + 180) * 1000, (START + 200) * 1000), START * 1000);
    let claims = || {
        let found = cache.grant(key(1), Some(&parent), ledger.withdrawals(), clock.unix_millis()).unwrap();
        let again = cache.grant(key(1), Some(&parent), ledger.withdrawals(), clock.unix_millis()).unwrap();
        (found.claims_renewal(), again.claims_renewal())
    };
    clock.advance(Duration::from_millis(99_999));
    assert_eq!(claims(), (false, false));
    clock.advance(Duration::from_millis(1));
    assert_eq!(claims(), (true, false));
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(claims(), (false, false));
    clock.advance(Duration::from_millis(1));
    assert_eq!(claims(), (true, false));

    // A successor that ends no later ends the attempts; one that does takes them up.
    let two = granted("two", &parent, START + 200);
    // It is served for longer, because its margin is smaller, and still gains nothing.
    cache.keep(key(1), two, 100, life((START + 190) * 1000, (START + 200) * 1000), START * 1000);
    clock.advance(seconds(30));
    assert_eq!(claims(), (false, false));
    let three = granted("three", &parent, START + 201);
    cache.keep(key(1), three.clone(), 100, life((START + 191) * 1000, (START + 201) * 1000), START * 1000);
    assert_eq!(claims(), (true, false));
    let found =
        cache.grant(key(1), Some(&parent), ledger.withdrawals(), clock.unix_millis()).unwrap().granted();
    assert_eq!(found.facts().fingerprint, three.facts().fingerprint);
}

fn granted(name: &str, parent: &Facts, expires: u64) -> Granted {
    let text = format!("{name}.{name}.0123456789abcdef");
    let mut grant = facts();
    grant.fingerprint = Fingerprint::of_token(&text);
    grant.expires = UnixTime::from_secs(expires);
    Granted::assert_narrowed(
        RawToken::new(&text),
        Arc::new(grant),
        parent.fingerprint,
        UnixTime::from_secs(START),
    )
}

fn served(until: Millis) -> Life {
    Life { renewed_from: NEVER, served_until: until, end: until }
}

/// Renewed from a hundred seconds on.
fn life(served_until: Millis, end: Millis) -> Life {
    Life { renewed_from: (START + 100) * 1000, served_until, end }
}

fn key(n: usize) -> GrantKey {
    thread_local!(static KEYS: GrantKeys = GrantKeys::new(ISSUER, None, "orders", &[]));
    let target = Exchange::audience(&n.to_string()).requires_none();
    let here = Destination::of(&"https://here.internal".parse().unwrap()).unwrap();
    KEYS.with(|keys| keys.of_route(&target, &here).key(&facts()))
}

#[test]
fn it_is_served_up_to_its_moment_and_to_its_parent_only() {
    let (cache, clock, ledger) = (GrantCache::new(10), FakeClock::at(START), Ledger::bounded());
    let mut parent = facts();
    parent.expires = UnixTime::from_secs(START + 300);
    let one = granted("one", &parent, START + 200);
    cache.keep(key(1), one.clone(), 100, served((START + 180) * 1000), START * 1000);
    let found = |parent: &Facts| {
        cache.grant(key(1), Some(parent), ledger.withdrawals(), clock.unix_millis()).is_some()
    };
    assert!(found(&parent));
    clock.advance(Duration::from_millis(179_999));
    assert!(found(&parent));
    clock.advance(Duration::from_millis(1));
    assert!(!found(&parent));
    assert_eq!(cache.len(), 0, "a dead grant makes room at once");

    cache.keep(key(1), one, 100, served((START + 190) * 1000), START * 1000);
    let mut other = parent.clone();
    other.fingerprint = Fingerprint::of_token("other");
    assert!(!found(&other));
}

#[test]
fn an_entry_without_time_left_is_not_kept() {
    let cache = GrantCache::new(10);
    cache.keep(key(1), granted("one", &facts(), START + 1), 100, served(START * 1000), START * 1000);
    assert_eq!(cache.len(), 0);
}

#[test]
fn forgetting_spares_a_newer_grant() {
    let cache = GrantCache::new(10);
    let (old, new) = (granted("old", &facts(), START + 9), granted("new", &facts(), START + 9));
    cache.keep(key(1), new.clone(), 100, served(u64::MAX), 0);
    cache.forget(key(1), old.facts().fingerprint);
    assert_eq!(cache.len(), 1);
    cache.forget(key(1), new.facts().fingerprint);
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_full_cache_keeps_what_is_used() {
    let (cache, clock, ledger) = (GrantCache::new(100), FakeClock::at(START), Ledger::bounded());
    let mut parent = facts();
    parent.expires = UnixTime::from_secs(START + 300);
    let hot = || cache.grant(key(0), Some(&parent), ledger.withdrawals(), clock.unix_millis()).is_some();
    cache.keep(key(0), granted("hot", &parent, START + 300), 100, served(u64::MAX), 0);
    for n in 1..1000 {
        assert!(hot(), "evicted after {n}");
        cache.keep(key(n), granted(&n.to_string(), &parent, START + 300), 100, served(u64::MAX), 0);
        assert!(cache.len() <= 100);
    }
}

#[test]
fn a_small_cache_holds_what_it_says() {
    for most in [1, FEWEST, FEWEST + 1, 40] {
        let cache = GrantCache::new(most);
        for n in 0..100 {
            cache.keep(key(n), granted(&n.to_string(), &facts(), START + 300), 900, served(u64::MAX), 0);
            assert!(cache.kept.peek(&key(n)).is_some(), "the newest of {n} in {most}");
        }
        assert!((2..=most.max(FEWEST)).contains(&cache.len()), "{} of {most}", cache.len());
    }
}

#[test]
fn long_tokens_take_the_room_of_several() {
    let cache = GrantCache::new(64);
    for n in 0..64 {
        cache.keep(key(n), granted(&n.to_string(), &facts(), START + 300), 16 * 1024, served(u64::MAX), 0);
    }
    assert!((1..=8).contains(&cache.len()), "{}", cache.len());
}

#[test]
fn a_refusal_fades() {
    let (cache, clock) = (GrantCache::new(10), FakeClock::at(START));
    cache.refuse(key(1), Denial::ExchangeTargetRefused, clock.monotonic());
    let code = |n| cache.refusal(key(n), clock.monotonic()).map(|denial| denial.code());
    assert_eq!(code(1), Some("exchange_target_refused"));
    assert_eq!(code(2), None);
    clock.advance(Duration::from_millis(4999));
    assert_eq!(code(1), Some("exchange_target_refused"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(code(1), None);
}

#[test]
fn each_end_has_its_own_code() {
    use hopguard_core::Withdrawal;
    let mut parent = facts();
    parent.expires = UnixTime::from_secs(START + 100);
    let grant = granted("one", &parent, START + 50);
    let code = |at: u64, withdrawn: Option<Withdrawal>| {
        let (clock, ledger) = (FakeClock::at(at), Ledger::bounded());
        if let Some(what) = withdrawn {
            ledger.withdrawals().withdraw(what, clock.now(), clock.now().after(seconds(999))).unwrap();
        }
        judge(&grant, Some(&parent), ledger.withdrawals(), clock.now()).err().map(|refusal| refusal.code())
    };
    assert_eq!(code(START + 49, None), None);
    assert_eq!(code(START + 50, None), Some("grant_expired"));
    assert_eq!(code(START + 100, None), Some("subject_expired"));
    assert_eq!(code(START, Some(Withdrawal::Token(parent.fingerprint))), Some("token_withdrawn"));
    assert_eq!(code(START, Some(Withdrawal::Token(grant.facts().fingerprint))), Some("grant_withdrawn"));
}

#[test]
fn keys_spread_and_bytes_are_folded() {
    let hash = |n: usize| AsIs::default().hash_one(key(n));
    let spread: std::collections::HashSet<_> = (0..100).map(hash).collect();
    assert_eq!((spread.len(), hash(1)), (100, hash(1)));
    // All bits are used: a table takes its shard from some and its place from others.
    let seen = spread.iter().fold((0, u64::MAX), |(any, all), hash| (any | hash, all & hash));
    assert_eq!(seen, (u64::MAX, 0));
    assert_eq!(AsIs::default().hash_one(7u64), 7);
    let mut folded = AsIs::default();
    folded.write(&[1, 2, 3, 4, 5, 6, 7, 8, 1]);
    assert_eq!(folded.finish(), 0x0203_0405_0607_0800);
}

#[test]
fn a_refusal_that_is_over_makes_room() {
    let cache = GrantCache::new(100);
    let key = key(1);
    let now = Monotonic::from_origin(Duration::from_secs(100));
    cache.refuse(key, Denial::SubjectExpired, now);
    assert!(cache.refusal(key, now).is_some());
    assert!(cache.refusal(key, now.after(REFUSAL_REMEMBERED - Duration::from_millis(1))).is_some());
    assert!(cache.refusal(key, now.after(REFUSAL_REMEMBERED)).is_none());
    assert_eq!(cache.refused.len(), 0);
}
