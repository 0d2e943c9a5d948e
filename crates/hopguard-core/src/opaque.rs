//! Opaque credentials in the ledger: values without the shape of a JWT, found by a rolling hash.
//!
//! The anchor of an opaque credential is a hash of its first 16 bytes that can be rolled along a text. It
//! nominates a start and the lengths that live credentials with this beginning have; the fingerprint of the
//! whole decides. Values that share a beginning cost one hash per distinct length, not one per value.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::held::Held;
use crate::{Fingerprint, UnixTime};

/// Bytes that make an anchor.
pub(crate) const ANCHOR: usize = 16;
/// Nothing shorter is remembered: it could stand in a text by chance.
pub(crate) const SHORTEST: usize = 20;
/// What may still be missing of a credential while its beginning is allowed to leave.
pub(crate) const TAIL: usize = 16;

/// Bits of the first filter: half a megabyte, made when the first opaque credential comes.
const FILTER_BITS: u32 = 22;
/// Past so many insertions the filter is made anew, because bits of what is gone stay set.
const FILTER_FULL: usize = 1 << 18;

#[derive(Debug)]
pub(crate) struct Opaque {
    multiplier: u64,
    keys: [RandomState; 2],
    filter: Vec<u64>,
    inserted: usize,
    /// Which lengths begin with this anchor, and how many of each.
    lengths: HashMap<u64, BTreeMap<usize, usize>>,
    /// Beginnings that leave only a tail open, and how many credentials share each.
    heads: HashMap<u128, usize>,
    /// By the hash of the whole value.
    pub(crate) entries: HashMap<Fingerprint, Entry>,
    pub(crate) by_expiry: BTreeSet<(UnixTime, Fingerprint)>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) held: Held,
    anchor: u64,
    head: u128,
    length: usize,
}

/// How many bytes of a credential this long must have matched before the rest is withheld.
pub(crate) fn head_length(length: usize) -> usize {
    length.saturating_sub(TAIL).max(ANCHOR)
}

impl Opaque {
    pub(crate) fn new() -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        let [first, _] = &keys;
        Self {
            // Odd, so that multiplying loses nothing.
            multiplier: first.hash_one("multiplier") | 1,
            keys,
            filter: Vec::new(),
            inserted: 0,
            lengths: HashMap::new(),
            heads: HashMap::new(),
            entries: HashMap::new(),
            by_expiry: BTreeSet::new(),
        }
    }

    pub(crate) fn insert(&mut self, text: &[u8], key: Fingerprint, held: Held) {
        let Some(beginning) = text.get(..ANCHOR) else { return };
        let anchor = self.hash(beginning);
        let head = self.head_hash(text.get(..head_length(text.len())).unwrap_or(text));
        let (expires, length) = (held.expires, text.len());
        *self.lengths.entry(anchor).or_default().entry(length).or_default() += 1;
        *self.heads.entry(head).or_default() += 1;
        self.by_expiry.insert((expires, key));
        self.entries.insert(key, Entry { held, anchor, head, length });
        self.inserted += 1;
        if self.filter.is_empty() || self.inserted > FILTER_FULL {
            self.filter = vec![0; 1 << (FILTER_BITS - 6)];
            self.inserted = self.lengths.len();
            let anchors: Vec<u64> = self.lengths.keys().copied().collect();
            anchors.into_iter().for_each(|anchor| self.mark(anchor));
        } else {
            self.mark(anchor);
        }
    }

    pub(crate) fn remove(&mut self, key: Fingerprint) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.by_expiry.remove(&(entry.held.expires, key));
        if let Some(lengths) = self.lengths.get_mut(&entry.anchor) {
            if let Some(count) = lengths.get_mut(&entry.length) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&entry.length);
                }
            }
            if lengths.is_empty() {
                self.lengths.remove(&entry.anchor);
            }
        }
        if let Some(count) = self.heads.get_mut(&entry.head) {
            *count -= 1;
            if *count == 0 {
                self.heads.remove(&entry.head);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if what matched so far is all but the tail of a credential that is kept.
    pub(crate) fn knows_head(&self, head: &[u8]) -> bool {
        self.heads.contains_key(&self.head_hash(head))
    }

    /// Calls `nominate` with each start in `text` where a credential could begin, and its length.
    pub(crate) fn nominate(&self, text: &[u8], mut nominate: impl FnMut(usize, usize)) {
        let Some((first, _)) = text.split_at_checked(ANCHOR) else { return };
        if self.is_empty() {
            return;
        }
        let leaves = (1..ANCHOR).fold(1_u64, |power, _| power.wrapping_mul(self.multiplier));
        let mut hash = self.hash(first);
        let mut look = |start: usize, hash: u64| {
            if self.is_marked(hash)
                && let Some(lengths) = self.lengths.get(&hash)
            {
                lengths.keys().for_each(|&length| nominate(start, length));
            }
        };
        look(0, hash);
        for (index, (&gone, &come)) in text.iter().zip(text.iter().skip(ANCHOR)).enumerate() {
            hash = hash.wrapping_sub(u64::from(gone).wrapping_add(1).wrapping_mul(leaves));
            hash = hash.wrapping_mul(self.multiplier).wrapping_add(u64::from(come) + 1);
            look(index + 1, hash);
        }
    }

    fn hash(&self, beginning: &[u8]) -> u64 {
        let roll =
            |hash: u64, byte: &u8| hash.wrapping_mul(self.multiplier).wrapping_add(u64::from(*byte) + 1);
        beginning.iter().fold(0, roll)
    }

    fn head_hash(&self, head: &[u8]) -> u128 {
        let [high, low] = &self.keys;
        (u128::from(high.hash_one(head)) << 64) | u128::from(low.hash_one(head))
    }

    fn place(anchor: u64) -> (usize, u64) {
        // The upper bits of a product depend on all bits below them.
        let at = anchor.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS);
        (usize::try_from(at >> 6).unwrap_or(0), 1 << (at & 63))
    }

    fn mark(&mut self, anchor: u64) {
        let (word, bit) = Self::place(anchor);
        if let Some(word) = self.filter.get_mut(word) {
            *word |= bit;
        }
    }

    fn is_marked(&self, anchor: u64) -> bool {
        let (word, bit) = Self::place(anchor);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }
}
