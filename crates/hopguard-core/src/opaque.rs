//! Opaque credentials in the ledger: values without the shape of a JWT, found by a hash at every place.
//!
//! The anchor of an opaque credential is a keyed hash of its first 16 bytes, one multiplication that waits for
//! none before it, so that taking it anew at each place of a text costs less than rolling it along. It
//! nominates a start and the lengths that live credentials with this beginning have; the fingerprint of the
//! whole decides. Values that share a beginning cost one hash per distinct length, not one per value.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::held::Held;
use crate::opaque_filter::Filter;
use crate::{Destination, Facts, Fault, Fingerprint, UnixTime};

/// Bytes that make an anchor.
pub(crate) const ANCHOR: usize = 16;
/// Nothing shorter is remembered: it could stand in a text by chance.
pub(crate) const SHORTEST: usize = 20;
/// What may still be missing of a credential while its beginning is allowed to leave.
pub(crate) const TAIL: usize = 16;

/// Two hashes of the beginning of a credential that leaves only a tail open.
type Head = [u64; 2];

#[derive(Debug)]
pub(crate) struct Opaque {
    factors: [u64; 2],
    odd: bool,
    keys: [RandomState; 2],
    filter: Filter,
    /// Which lengths begin with this anchor, and how many of each.
    lengths: HashMap<u64, BTreeMap<usize, usize>>,
    /// Beginnings that leave only a tail open, and how many credentials share each.
    heads: HashMap<Head, usize>,
    /// By the hash of the whole value.
    pub(crate) entries: HashMap<Fingerprint, Entry>,
    pub(crate) by_expiry: BTreeSet<(UnixTime, Fingerprint)>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) held: Held,
    anchor: u64,
    head: Head,
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
            factors: [first.hash_one("factor"), second.hash_one("factor")],
            odd: false,
            keys,
            filter: Filter::default(),
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
        if self.filter.is_worn() {
            self.filter = Filter::of(self.lengths.keys().copied());
        } else {
            self.filter.mark(anchor);
        }
    }

    /// It was given again, perhaps for longer or for another destination; false if it is not kept. Of a token with
    /// claims the same text says the same; what a server says of an opaque one may change.
    ///
    /// # Errors
    ///
    /// [`Fault::GrantSubjectChanged`] if it was given for somebody else before: one of the two has the other's grant.
    pub(crate) fn lives_on(
        &mut self,
        key: Fingerprint,
        facts: &Facts,
        destination: Option<&Destination>,
    ) -> Result<bool, Fault> {
        let Some(Entry { held, .. }) = self.entries.get_mut(&key) else { return Ok(false) };
        if !held.is_of(facts) {
            return Err(Fault::GrantSubjectChanged);
        }
        held.grant(destination);
        if facts.expires > held.expires {
            self.by_expiry.remove(&(held.expires, key));
            held.expires = facts.expires;
            self.by_expiry.insert((held.expires, key));
        }
        Ok(true)
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
            #[cfg(test)]
            crate::costs::count(crate::costs::Cost::Window, 1);
            let hash = self.hash(window);
            if self.filter.passes(hash)
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

    /// Both halves of a product: a bit of its lower half depends on nothing above it, so that credentials that differ
    /// in their last digits alone would pass for each other.
    fn hash(&self, beginning: &[u8; ANCHOR]) -> u64 {
        let [low, high] = self.factors;
        let halves = [beginning.first_chunk(), beginning.last_chunk()];
        let [first, second] = halves.map(|half| half.map_or(0, |half| u64::from_le_bytes(*half)));
        let (lower, upper) = (first ^ low).carrying_mul(second ^ high, 0);
        lower ^ upper
    }

    fn head_hash(&self, head: &[u8]) -> Head {
        self.keys.each_ref().map(|key| key.hash_one(head))
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
        // Texts that differ in a few digits are as far apart as any, wherever these stand and whatever key was drawn.
        let ends = |n: usize| format!("{n:08}-{n:08}-credential");
        let begins = |n: usize| format!("{n:04}-equal-equal-equal");
        for text in [&ends, &begins as &dyn Fn(usize) -> String].repeat(10) {
            let mut index = Opaque::new();
            let passes = |index: &Opaque, n| {
                index.filter.passes(index.hash(text(n).as_bytes().first_chunk().unwrap()))
            };
            (0..1000).for_each(|n| _ = insert(&mut index, &text(2 * n)));
            assert!((0..1000).all(|n| passes(&index, 2 * n)));
            // One word in 66 has a mark, and three bits agree by one chance in 44 000.
            let chance = (0..3000).filter(|n| passes(&index, 2 * n + 1)).count();
            assert!(chance < 10, "{chance} of 3000");
        }
        let index = Opaque::new();
        let text = ends;
        // Either half of a beginning counts, and either hash of a head.
        let distinct = |parts: Vec<u64>| parts.into_iter().collect::<BTreeSet<_>>().len();
        let half =
            |n: usize| [format!("{n:08}--equal--").into_bytes(), format!("--equal--{n:07}").into_bytes()];
        for which in [0, 1] {
            let anchors = (0..1000).map(|n| index.hash(half(n)[which].first_chunk().unwrap())).collect();
            assert_eq!(distinct(anchors), 1000);
            assert_eq!(
                distinct((0..1000).map(|n| index.head_hash(text(n).as_bytes())[which]).collect()),
                1000
            );
        }
    }

    /// What is gone leaves the filter some day, and what is kept does not.
    #[test]
    fn a_worn_filter_is_made_anew_of_what_is_kept() {
        let mut index = Opaque::new();
        let kept = "0123456789abcdef-AAAA";
        insert(&mut index, kept);
        let gone = index.hash(b"fedcba9876543210");
        (0..crate::opaque_filter::WORN).for_each(|_| index.filter.mark(gone));
        insert(&mut index, "another-and-later-one");
        assert!(!index.filter.is_worn() && !index.filter.passes(gone));
        assert_eq!(nominated(&index, kept), [(0, kept.len())]);
        assert_eq!(nominated(&index, "another-and-later-one"), [(0, 21)]);
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
