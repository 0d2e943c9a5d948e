//! Was this very token verified before?
//!
//! A verdict is remembered under a keyed hash of the *whole* token: a token with another signature is another
//! token, however much of it is the same. What is remembered is the facts, never a byte of the token. Only
//! verified tokens enter, so that garbage pushes nothing out; whether a verdict may still be used (its time, its
//! key, withdrawals) is judged at every use, by the verifier.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hopguard_core::Facts;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::footprint::footprint;
use crate::keys::Key;

/// Tokens longer than this are verified each time.
const TOKEN: usize = 4096;
/// What a verdict weighs at least, so that the bound on entries times this is the bound on bytes.
const PAGE: usize = 2048;
/// Below this the eviction by use has nothing to choose from, and a memory of one would keep none.
const FEWEST: usize = 16;

/// What stands for a whole token, in this process and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag([u8; 16]);

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
    key: LessSafeKey,
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
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
        let most = most.max(FEWEST);
        let weight = u64::try_from(most.saturating_mul(PAGE)).ok()?;
        let verdicts = Cache::with(most, weight, Weights, Spread, DefaultLifecycle::default());
        Some(Self { key, verdicts })
    }

    /// The tag of a token; `None` if it is too long to be remembered.
    ///
    /// GMAC (NIST SP 800-38D) with a fixed nonce, used as a keyed universal hash: for a key that nobody knows, two
    /// different tokens of at most 4 KiB collide with a probability below 2^-119. A fixed nonce is sound because no
    /// tag ever leaves the process. It costs a third of a SHA-256 of the same bytes.
    pub(crate) fn tag(&self, token: &[u8]) -> Option<Tag> {
        if token.len() > TOKEN {
            return None;
        }
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(token), &mut []);
        tag.ok()?.as_ref().try_into().ok().map(Tag)
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

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
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
    fn a_tag_covers_every_byte() {
        let memory = Memory::bounded(10).unwrap();
        let tag = |token: &str| memory.tag(token.as_bytes()).unwrap().0;
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        assert_eq!(tag(token), tag(token));
        for at in 0..token.len() {
            let mut other = token.as_bytes().to_vec();
            other[at] ^= 1;
            assert_ne!(tag(&String::from_utf8(other).unwrap()), tag(token), "byte {at}");
        }
        assert_ne!(tag("a"), tag("a\0"));
        assert_ne!(tag(""), tag("\0"));
        assert_ne!(Memory::bounded(10).unwrap().tag(token.as_bytes()).unwrap().0, tag(token));
        assert!(memory.tag(&[b'a'; TOKEN]).is_some());
        assert!(memory.tag(&[b'a'; TOKEN + 1]).is_none());
    }

    #[test]
    fn tags_are_spread_by_what_is_random_in_them() {
        let place = |first: u8| Spread.hash_one(Tag([first; 16]));
        let places: std::collections::BTreeSet<_> = (0..=255).map(place).collect();
        assert_eq!(places.len(), 256);
        let other = |text: &[u8]| {
            let mut hasher = Spread.build_hasher();
            hasher.write(text);
            hasher.finish()
        };
        assert!(other(b"ab") != other(b"ba") && other(b"ab") != other(b"a"));
    }
}
