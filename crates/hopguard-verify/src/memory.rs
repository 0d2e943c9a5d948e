//! Was this very token verified before?
//!
//! A verdict is remembered under a [universal hash](crate::universal) of the *whole* token: a token with
//! another signature is another token, however much of it is the same. What is remembered is the facts, never
//! a byte of the token. Only verified tokens enter, so that garbage pushes nothing out; whether a verdict may
//! still be used (its time, its key, withdrawals) is judged at every use, by the verifier.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hopguard_core::Facts;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::footprint::footprint;
use crate::keys::Key;
use crate::universal::{Tag, Universal};

/// What a verdict weighs at least, so that the bound on entries times this is the bound on bytes.
const PAGE: usize = 2048;
/// Below this the eviction by use has nothing to choose from, and a memory of one would keep none.
const FEWEST: usize = 16;

/// A verdict and what it rests on. Cloning shares both.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) facts: Arc<Facts>,
    pub(crate) key: Arc<Key>,
    /// Which of the verifier's issuers it is.
    pub(crate) issuer: usize,
}

/// The verdicts that are remembered.
pub(crate) struct Memory {
    key: Universal,
    verdicts: Cache<Tag, Kept, Weights, Spread>,
}

/// A verdict, and what it weighs: worked out once, asked for whenever room is made.
#[derive(Clone)]
struct Kept {
    verdict: Verdict,
    weight: u64,
}

impl Memory {
    /// Room for `most` verdicts, [`FEWEST`] at least, and for [`PAGE`] bytes of each on average; `None` if the
    /// system has no randomness.
    pub(crate) fn bounded(most: usize) -> Option<Self> {
        let key = Universal::drawn()?;
        let most = most.max(FEWEST);
        let weight = u64::try_from(most.saturating_mul(PAGE)).ok()?;
        let verdicts = Cache::with(most, weight, Weights, Spread, DefaultLifecycle::default());
        Some(Self { key, verdicts })
    }

    /// The tag of a token; `None` if it is too long to be remembered.
    pub(crate) fn tag(&self, token: &[u8]) -> Option<Tag> {
        self.key.of(token)
    }

    /// The verdict that was remembered for exactly this token.
    pub(crate) fn recall(&self, tag: Tag) -> Option<Verdict> {
        self.verdicts.get(&tag).map(|kept| kept.verdict)
    }

    /// Remembers a verdict; the least used ones go if there is no room.
    // INVARIANT: I17 — a verdict pays for the bytes it takes, and none is so small that entries go uncounted.
    pub(crate) fn remember(&self, tag: Tag, verdict: Verdict) {
        let weight = u64::try_from(footprint(&verdict).max(PAGE)).unwrap_or(u64::MAX);
        self.verdicts.insert(tag, Kept { verdict, weight });
    }

    /// Drops a verdict that is void.
    pub(crate) fn forget(&self, tag: Tag) {
        self.verdicts.remove(&tag);
    }

    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.verdicts.weight()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.verdicts.len()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("verdicts", &self.verdicts.len()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Weights;

impl Weighter<Tag, Kept> for Weights {
    fn weight(&self, _tag: &Tag, kept: &Kept) -> u64 {
        kept.weight
    }
}

/// A tag is as good as random already: its first half spreads it over the table.
#[derive(Clone, Copy, Debug, Default)]
struct Spread;

#[derive(Debug)]
struct First(u64);

impl BuildHasher for Spread {
    type Hasher = First;

    fn build_hasher(&self) -> First {
        First(0)
    }
}

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_spread_by_what_is_random_in_them() {
        let memory = Memory::bounded(10).unwrap();
        let signature = |n: u64| {
            (1..6).map(move |word| format!("{:016x}", (n * 5 + word).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        };
        let token = |n| format!("eyJhbGciOiJFUzI1NiJ9.{}", signature(n).collect::<String>());
        let places: Vec<_> = (0..4096).map(|n| Spread.hash_one(memory.tag(token(n).as_bytes()))).collect();
        // Of 4096 places that are drawn, 63% are met; whichever bits a table takes.
        for shift in [0, 20, 52] {
            let met = places
                .iter()
                .map(|place| place >> shift & 4095)
                .collect::<std::collections::BTreeSet<_>>()
                .len();
            assert!((2300..2900).contains(&met), "{met} at {shift}");
        }
        let other = |text: &[u8]| {
            let mut hasher = Spread.build_hasher();
            hasher.write(text);
            hasher.finish()
        };
        assert!(other(b"ab") != other(b"ba") && other(b"ab") != other(b"a"));
    }
}
