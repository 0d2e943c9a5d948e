//! How long may a grant be served, and to whom? The grants that were proven, and the refusals that are
//! remembered for a moment.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hopguard_core::{Denial, Facts, Fingerprint, Granted, Monotonic, UnixTime, Withdrawals};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::key::GrantKey;

/// What an entry weighs at least. The bound on entries times this is the bound on bytes.
const PAGE: u64 = 4096;
/// Below this the eviction by use has nothing to choose from, and a cache of one would keep none.
const FEWEST: usize = 16;
/// The margin is never longer than this.
const LONGEST_MARGIN_MILLIS: u64 = 30_000;
/// How long a refusal of this caller for this target is remembered.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(5);

/// A renewal that brought nothing is not begun again before this.
const BETWEEN_RENEWALS_MILLIS: u64 = 5_000;

/// A time as milliseconds since the epoch; margins of short lives need parts of a second.
pub(crate) type Millis = u64;
/// No moment at all.
pub(crate) const NEVER: Millis = Millis::MAX;

/// The moment at which a grant that was asked for at `asked` is over.
///
/// `ends` are the points in time that each end it, in seconds; `spans` count from when it was asked for.
pub(crate) fn ends_at(asked: Millis, ends: [u64; 2], spans: [Option<u64>; 2]) -> Millis {
    let points = ends.into_iter().map(|second| second.saturating_mul(1000));
    let spans = spans.into_iter().flatten().map(|seconds| asked.saturating_add(seconds.saturating_mul(1000)));
    points.chain(spans).min().unwrap_or(asked)
}

/// The moment up to which a grant that is over at `end` is served from the cache.
///
/// The margin keeps a grant from expiring on its way to the peer.
pub(crate) fn served_until(asked: Millis, end: Millis) -> Millis {
    let life = end.saturating_sub(asked);
    end.saturating_sub(LONGEST_MARGIN_MILLIS.min(life / 10))
}

/// The moment from which a use of the grant fetches its successor: half to the whole of `ahead` before it is
/// served no more, but in the second half of its life only. [`NEVER`] where its parent ends no later than it
/// does, because no successor could outlive it.
pub(crate) fn renewed_from(
    asked: Millis,
    end: Millis,
    parent_end: Millis,
    ahead: Millis,
    chance: u64,
) -> Millis {
    if parent_end <= end || ahead == 0 {
        return NEVER;
    }
    let life = end.saturating_sub(asked);
    let ahead = ahead.min(life / 2);
    // Jitter, so that grants that were fetched together are not renewed together.
    let ahead = (ahead / 2).saturating_add(chance % (ahead / 2).saturating_add(1));
    served_until(asked, end).saturating_sub(ahead)
}

/// When a grant is renewed, served no more, and over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) renewed_from: Millis,
    pub(crate) served_until: Millis,
    pub(crate) end: Millis,
}

/// What becomes of a grant at the moment of its use.
///
/// # Errors
///
/// The code of what ended it: the parent's expiry or withdrawal, or its own.
pub(crate) fn judge(
    granted: &Granted,
    parent: Option<&Facts>,
    withdrawals: &Withdrawals,
    now: UnixTime,
) -> Result<(), hopguard_core::Refusal> {
    use hopguard_core::Fault;
    // INVARIANT: I13, I18 — judged at every use; a grant dies with its parent, whatever it says itself.
    if parent.is_some_and(|parent| now >= parent.expires) {
        return Err(Denial::SubjectExpired.into());
    }
    if parent.is_some_and(|parent| withdrawals.strikes(parent)) {
        return Err(Denial::TokenWithdrawn.into());
    }
    if now >= granted.facts().expires {
        return Err(Fault::GrantExpired.into());
    }
    if withdrawals.strikes(granted.facts()) {
        return Err(Fault::GrantWithdrawn.into());
    }
    // INVARIANT: I16 — what was taken by a waiver ends with the waiver.
    if !granted.waived().iter().all(|one| one.waiver.holds(now)) {
        return Err(Fault::WaiverExpired.into());
    }
    Ok(())
}

struct Kept {
    granted: Granted,
    life: Life,
    // As in `life`, until a use claims it.
    renewed_from: AtomicU64,
    weight: u64,
}

/// A live grant of the cache.
pub(crate) struct Found {
    kept: Arc<Kept>,
    now: Millis,
}

impl Found {
    pub(crate) fn granted(&self) -> Granted {
        self.kept.granted.clone()
    }

    /// True for the one use that is to fetch the successor.
    pub(crate) fn claims_renewal(&self) -> bool {
        let from = self.kept.renewed_from.load(Ordering::Relaxed);
        let again = self.now.saturating_add(BETWEEN_RENEWALS_MILLIS);
        self.now >= from
            && self
                .kept
                .renewed_from
                .compare_exchange(from, again, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[derive(Clone)]
struct Weights;

impl Weighter<GrantKey, Arc<Kept>> for Weights {
    fn weight(&self, _key: &GrantKey, kept: &Arc<Kept>) -> u64 {
        kept.weight
    }
}

/// The grants of one exchanger, bounded and evicted by use.
pub(crate) struct GrantCache {
    kept: Cache<GrantKey, Arc<Kept>, Weights, AsIs>,
    refused: Cache<GrantKey, (Denial, Monotonic)>,
}

/// Takes a [`GrantKey`] as its own hash: it is one, under a key that nobody outside the process knows.
#[derive(Clone, Copy, Default)]
struct AsIs(u64);

impl BuildHasher for AsIs {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        // Nothing writes bytes; folded all the same, so that whoever will is not left with one hash for all.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl GrantCache {
    /// Room for `most` grants, and for [`FEWEST`] at least.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(FEWEST);
        let bytes = (most as u64).saturating_mul(PAGE);
        let kept = Cache::with(most, bytes, Weights, AsIs::default(), DefaultLifecycle::default());
        Self { kept, refused: Cache::new(most) }
    }

    /// The grant under `key`, if it is live for the caller whose token `parent` describes, or for us.
    pub(crate) fn grant(
        &self,
        key: GrantKey,
        parent: Option<&Facts>,
        withdrawals: &Withdrawals,
        now: Millis,
    ) -> Option<Found> {
        let kept = self.kept.get(&key)?;
        let live = now < kept.life.served_until
            // A second lock beside the key: no grant crosses from one subject token to another.
            && kept.granted.parent() == parent.map(|parent| parent.fingerprint)
            && judge(&kept.granted, parent, withdrawals, UnixTime::from_secs(now / 1000)).is_ok();
        if live {
            return Some(Found { kept, now });
        }
        self.forget(key, kept.granted.facts().fingerprint);
        None
    }

    /// Keeps a proven grant, unless its life leaves no time in which it could be served.
    ///
    /// One that ends no later than the one before it shows that renewals gain nothing: they end.
    pub(crate) fn keep(
        &self,
        key: GrantKey,
        granted: Granted,
        token_bytes: usize,
        mut life: Life,
        now: Millis,
    ) {
        if let Some(before) = self.kept.peek(&key)
            && before.life.end >= life.end
        {
            life.renewed_from = NEVER;
            before.renewed_from.store(NEVER, Ordering::Relaxed);
            if before.life.served_until >= life.served_until {
                return;
            }
        }
        if now < life.served_until {
            // The token's bytes, its `Authorization` value, and its claims once more as facts.
            let weight = PAGE.max((token_bytes as u64).saturating_mul(3));
            let renewed_from = AtomicU64::new(life.renewed_from);
            self.kept.insert(key, Arc::new(Kept { granted, life, renewed_from, weight }));
        }
    }

    /// Drops the grant under `key` if it is still the one with this fingerprint.
    pub(crate) fn forget(&self, key: GrantKey, fingerprint: Fingerprint) {
        self.kept.remove_if(&key, |kept| kept.granted.facts().fingerprint == fingerprint);
    }

    /// Remembers for a moment that the caller was refused. Never called for a fault.
    pub(crate) fn refuse(&self, key: GrantKey, denial: Denial, now: Monotonic) {
        self.refused.insert(key, (denial, now.after(REFUSAL_REMEMBERED)));
    }

    /// The refusal that still holds under `key`.
    pub(crate) fn refusal(&self, key: GrantKey, now: Monotonic) -> Option<Denial> {
        let (denial, until) = self.refused.get(&key)?;
        if now < until {
            return Some(denial);
        }
        self.refused.remove_if(&key, |(_, other)| *other == until);
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

impl fmt::Debug for GrantCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantCache").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
            let found =
                cache.grant(key(1), Some(&parent), ledger.withdrawals(), clock.unix_millis()).unwrap();
            let again =
                cache.grant(key(1), Some(&parent), ledger.withdrawals(), clock.unix_millis()).unwrap();
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
        cache.keep(
            key(1),
            three.clone(),
            100,
            life((START + 191) * 1000, (START + 201) * 1000),
            START * 1000,
        );
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
            cache.keep(
                key(n),
                granted(&n.to_string(), &facts(), START + 300),
                16 * 1024,
                served(u64::MAX),
                0,
            );
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
            judge(&grant, Some(&parent), ledger.withdrawals(), clock.now())
                .err()
                .map(|refusal| refusal.code())
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
}
