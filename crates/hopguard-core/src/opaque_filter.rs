//! A filter before the index of opaque credentials: an anchor that is marked always passes, and hardly another does.

/// As many as sixteen bits can tell apart: half a megabyte.
const WORDS: usize = 65_536;
/// Past so many marks the filter is made anew, because bits of what is gone stay set.
pub(crate) const WORN: usize = 262_144;

/// Three bits of one word for each anchor; no memory before the first.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    words: Vec<u64>,
    marks: usize,
}

impl Filter {
    /// A new one, with these anchors marked.
    pub(crate) fn of(anchors: impl Iterator<Item = u64>) -> Self {
        let mut filter = Self { words: vec![0; WORDS], marks: 0 };
        anchors.for_each(|anchor| filter.set(anchor));
        filter
    }

    /// True if it must be made anew before more is marked.
    pub(crate) fn is_worn(&self) -> bool {
        self.words.is_empty() || self.marks >= WORN
    }

    pub(crate) fn mark(&mut self, anchor: u64) {
        self.set(anchor);
        self.marks += 1;
    }

    fn set(&mut self, anchor: u64) {
        let (word, bits) = place(anchor);
        if let Some(word) = self.words.get_mut(word) {
            bits.into_iter().for_each(|bit| *word |= mask(bit));
        }
    }

    /// One bit costs least where nothing is found, and what is not marked seldom has all three.
    pub(crate) fn passes(&self, anchor: u64) -> bool {
        let (word, [bit, others @ ..]) = place(anchor);
        self.words.get(word).is_some_and(|&word| {
            let is_set = |bit| word & mask(bit) != 0;
            is_set(bit) && others.into_iter().all(is_set)
        })
    }
}

/// The word that an anchor belongs to, and its bits there.
fn place(anchor: u64) -> (usize, [u8; 3]) {
    let [_, _, _, third, second, first, low, high] = anchor.to_le_bytes();
    (usize::from(u16::from_le_bytes([low, high])), [first, second, third])
}

/// Of a byte the lowest six bits count.
fn mask(bit: u8) -> u64 {
    1_u64.wrapping_shl(u32::from(bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as evenly spread as a hash is, and the same in each run.
    fn anchors(from: u64, count: usize) -> impl Iterator<Item = u64> {
        (from..).take(count).map(|n| {
            let n = (n ^ (n >> 7)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (n ^ (n >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        })
    }

    #[test]
    fn what_is_marked_passes_and_hardly_anything_else() {
        let mut filter = Filter::of(anchors(0, 1000));
        anchors(1000, 199_000).for_each(|anchor| filter.mark(anchor));
        assert!(anchors(0, 200_000).all(|anchor| filter.passes(anchor)));
        // Three in each word: a seventh of its bits, and the third power of that.
        let others = anchors(1 << 40, 100_000).filter(|&anchor| filter.passes(anchor)).count();
        assert!((300..900).contains(&others), "{others} of 100 000");
        let full = filter.words.iter().filter(|word| **word != 0).count();
        assert!(full > WORDS * 9 / 10, "{full}");
    }

    #[test]
    fn it_is_worn_after_as_many_marks_as_it_says() {
        assert!(Filter::default().is_worn(), "there is none yet");
        let mut filter = Filter::of(anchors(0, 10));
        anchors(0, WORN).for_each(|anchor| {
            assert!(!filter.is_worn());
            filter.mark(anchor);
        });
        assert!(filter.is_worn());
        // However much is kept, a new one is not worn.
        assert!(!Filter::of(anchors(0, WORN + 1)).is_worn());
    }
}
