//! How long may a grant be served, and to whom? The grants that were proven, and the refusals that are
//! remembered for a moment.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hopguard_core::{Denial, Facts, Fault, Fingerprint, Granted, Monotonic, Refusal, UnixTime, Withdrawals};
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
/// The same of trouble that may be about this caller alone, where the server says nothing of when to come back.
const TROUBLE_REMEMBERED: Duration = Duration::from_secs(1);
/// A caller is held back for this long at most, whatever the server asks for.
const LONGEST_HELD_BACK: Duration = Duration::from_secs(60);

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
) -> Result<(), Refusal> {
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
    refused: Cache<GrantKey, (Refusal, Monotonic)>,
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

    /// Remembers for a moment that the caller was refused.
    pub(crate) fn refuse(&self, key: GrantKey, denial: Denial, now: Monotonic) {
        self.refused.insert(key, (denial.into(), now.after(REFUSAL_REMEMBERED)));
    }

    /// Asks no more for this caller and this target for as long as the server wants that, or for a moment: it had
    /// trouble that may be about this caller alone.
    pub(crate) fn hold_back(&self, key: GrantKey, fault: Fault, now: Monotonic, asked: Option<Duration>) {
        let span = asked.map_or(TROUBLE_REMEMBERED, |wait| wait.min(LONGEST_HELD_BACK));
        self.refused.insert(key, (fault.into(), now.after(span)));
    }

    /// The refusal that still holds under `key`.
    pub(crate) fn refusal(&self, key: GrantKey, now: Monotonic) -> Option<Refusal> {
        let (refusal, until) = self.refused.get(&key)?;
        if now < until {
            return Some(match refusal {
                Refusal::Fault(Fault::StsBusy(_)) => Fault::StsBusy(until.since(now)).into(),
                other => other,
            });
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
#[path = "cache_tests.rs"]
mod tests;
