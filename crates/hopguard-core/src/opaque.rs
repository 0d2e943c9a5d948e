//! Opaque credentials in the ledger: values without the shape of a JWT, found by a hash at every place.
//!
//! The anchor of an opaque credential is a keyed hash of its first 16 bytes, two multiplications that wait for
//! none before them, so that taking it anew at each place of a text costs less than rolling it along. It
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
    multipliers: [u64; 2],
    odd: bool,
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

/// A byte that a bearer token may hold.
pub(crate) fn is_ordinary(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// How many bytes of a credential this long must have matched before the rest is withheld.
pub(crate) fn head_length(length: usize) -> usize {
    length.saturating_sub(TAIL).max(ANCHOR)
}

impl Opaque {
    pub(crate) fn new() -> Self {
        let keys = [RandomState::new(), RandomState::new()];
        let [first, second] = &keys;
        Self {
            // Odd, so that multiplying loses nothing.
            multipliers: [first.hash_one("multiplier") | 1, second.hash_one("multiplier") | 1],
            odd: false,
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
        let Some(beginning) = text.first_chunk() else { return };
        let anchor = self.hash(beginning);
        self.odd |= !text.iter().all(|&byte| is_ordinary(byte));
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
        if self.is_empty() {
            return;
        }
        for (start, window) in text.windows(ANCHOR).enumerate() {
            let Some(window) = window.first_chunk() else { return };
            let hash = self.hash(window);
            if self.is_marked(hash)
                && let Some(lengths) = self.lengths.get(&hash)
            {
                lengths.keys().for_each(|&length| nominate(start, length));
            }
        }
    }

    /// True if a credential was ever kept that holds other bytes than a bearer token may (RFC 6750 section 2.1).
    pub(crate) fn is_odd(&self) -> bool {
        self.odd
    }

    fn hash(&self, beginning: &[u8; ANCHOR]) -> u64 {
        let whole = u128::from_le_bytes(*beginning);
        let [low, high] = self.multipliers;
        let halves = [whole & u128::from(u64::MAX), whole >> 64];
        let [first, second] = halves.map(|half| u64::try_from(half).unwrap_or(0));
        first.wrapping_mul(low).wrapping_add(second.wrapping_mul(high))
    }

    fn head_hash(&self, head: &[u8]) -> u128 {
        let [high, low] = &self.keys;
        (u128::from(high.hash_one(head)) << 64) | u128::from(low.hash_one(head))
    }

    /// The word of the filter that an anchor belongs to, and its first bit there.
    fn place(anchor: u64) -> (usize, u64) {
        // The upper bits of a sum of products depend on all bits below them.
        let word = usize::try_from(anchor >> (64 - FILTER_BITS + 6)).unwrap_or(0);
        (word, 1 << ((anchor >> 42) & 63))
    }

    /// Two more bits of the same word, looked at where the first is set: what is not kept seldom has all three, and
    /// one bit costs least where nothing is found.
    fn others(anchor: u64) -> u64 {
        (1 << ((anchor >> 36) & 63)) | (1 << ((anchor >> 30) & 63))
    }

    fn mark(&mut self, anchor: u64) {
        let (word, bit) = Self::place(anchor);
        if let Some(word) = self.filter.get_mut(word) {
            *word |= bit | Self::others(anchor);
        }
    }

    fn is_marked(&self, anchor: u64) -> bool {
        let (word, bit) = Self::place(anchor);
        self.filter.get(word).is_some_and(|&word| {
            let others = || Self::others(anchor);
            word & bit != 0 && word & others() == others()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::facts;

    fn insert(index: &mut Opaque, text: &str) -> Fingerprint {
        let key = Fingerprint::of_bytes(text.as_bytes());
        index.insert(text.as_bytes(), key, Held::new(&facts(), None));
        key
    }

    fn nominated(index: &Opaque, text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        index.nominate(text.as_bytes(), |start, length| found.push((start, length)));
        found.sort_unstable();
        found
    }

    #[test]
    fn it_nominates_what_is_kept_and_lets_go_of_the_rest() {
        let mut index = Opaque::new();
        let long = "0123456789abcdef-and-twenty-bytes-more";
        assert!(index.is_empty() && nominated(&index, long).is_empty());
        // Two of one length and one longer, all with one beginning; the two share what leaves a tail open.
        let twins = ["0123456789abcdef-AAAA", "0123456789abcdef-BBBB"].map(|text| insert(&mut index, text));
        let other = insert(&mut index, long);
        let head = |length: usize| long.as_bytes().get(..head_length(length)).unwrap();
        assert!(!index.is_empty() && index.knows_head(head(21)) && index.knows_head(head(long.len())));
        assert!(!index.knows_head(b"0123456789abcdeX") && !index.knows_head(&head(long.len())[1..]));
        let shown = format!("x{long}");
        assert_eq!(nominated(&index, &shown), [(1, 21), (1, long.len())]);
        assert_eq!(nominated(&index, &shown[..16]), []);
        index.remove(twins[0]);
        assert!(index.knows_head(head(21)));
        assert_eq!(nominated(&index, &shown), [(1, 21), (1, long.len())]);
        index.remove(twins[1]);
        assert!(!index.knows_head(head(21)) && index.knows_head(head(long.len())));
        assert_eq!(nominated(&index, &shown), [(1, long.len())]);
        index.remove(other);
        index.remove(other);
        assert!(
            index.is_empty()
                && index.by_expiry.is_empty()
                && index.lengths.is_empty()
                && index.heads.is_empty()
        );
        assert_eq!(nominated(&index, &shown), []);
    }

    #[test]
    fn hardly_anything_else_passes_the_filter() {
        let mut index = Opaque::new();
        let text = |n: usize| format!("{n:08}-{n:08}-credential");
        for n in 0..1000 {
            insert(&mut index, &text(n));
        }
        let hash = |n: usize| index.hash(text(n).as_bytes().first_chunk().unwrap());
        assert!((0..1000).all(|n| index.is_marked(hash(n))));
        let chance = (1000..21_000).filter(|&n| index.is_marked(hash(n))).count();
        assert!(chance < 20, "{chance} of 20 000");
        let heads: std::collections::HashSet<u128> =
            (0..1000).map(|n| index.head_hash(text(n).as_bytes())).collect();
        assert_eq!(heads.len(), 1000);
        // Both halves count.
        assert!(heads.iter().any(|head| head >> 64 != 0) && heads.iter().any(|head| head << 64 != 0));
    }

    #[test]
    fn what_a_bearer_token_may_hold_is_ordinary() {
        let ordinary = b"AZaz09-._~+/=";
        assert!(ordinary.iter().all(|&byte| is_ordinary(byte)));
        assert!(!b" %\"\\:&;@\x00\x7f\xc3".iter().any(|&byte| is_ordinary(byte)));
        let mut index = Opaque::new();
        insert(&mut index, "0123456789abcdef0123");
        assert!(!index.is_odd());
        insert(&mut index, "0123456789abcdef:123");
        insert(&mut index, "0123456789abcdef0124");
        assert!(index.is_odd());
    }
}
