//! NH, a universal hash of whole texts under a key that nobody knows.
//!
//! NH adds key to text word by word and sums the products of neighbours (Black and others, *UMAC: Fast and Secure
//! Message Authentication*, 1999, section 4; RFC 4418 section 5.2 has it over words of 32 bits). Over words of 64 bits,
//! taken twice under a key that is moved on by one pair, two different texts of one length have the same sums for one
//! key in 2^128 (theorem 4.3 there). That is proven, and rests on the key being unknown: whoever knows it makes up a
//! text with any sums he likes. So it tells texts apart within a process, and is no signature of anything.

use std::hash::{Hash, Hasher};

/// The longest text.
pub(crate) const LONGEST: usize = 4096;
const BLOCK: usize = 16;
/// One pair of key words for each block, one for what is left of a block, and one because the second sum is moved on.
const PAIRS: usize = LONGEST / BLOCK + 2;

/// A key, drawn for one use.
pub(crate) struct Universal(Box<[[u64; 2]; PAIRS]>);

/// What stands for a whole text under one key, in this process and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    sums: [u128; 2],
    length: usize,
}

impl Hash for Tag {
    /// For a table: one sum spreads tags well enough, both its halves together.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [sum, _] = self.sums;
        let [low, high] = words(&sum.to_le_bytes());
        state.write_u64(low ^ high);
    }
}

impl Universal {
    /// A new key; `None` if the system has no randomness.
    pub(crate) fn drawn() -> Option<Self> {
        let mut random = vec![[[0; 8]; 2]; PAIRS];
        aws_lc_rs::rand::fill(random.as_flattened_mut().as_flattened_mut()).ok()?;
        let pairs: Vec<_> = random.into_iter().map(|pair| pair.map(u64::from_le_bytes)).collect();
        pairs.try_into().ok().map(Self)
    }

    /// The tag of a text; `None` if it is longer than [`LONGEST`].
    pub(crate) fn of(&self, text: &[u8]) -> Option<Tag> {
        if text.len() > LONGEST {
            return None;
        }
        let (blocks, rest) = text.as_chunks();
        let keys = self.0.as_slice();
        let moved = keys.get(1..)?;
        let sums = blocks
            .iter()
            .zip(keys)
            .zip(moved)
            .fold([0; 2], |sums, ((block, key), moved)| add(sums, block, [*key, *moved]));
        // Zeros are as good as any other end: the length stands beside the sums.
        let mut last = [0; BLOCK];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let keys = [*keys.get(blocks.len())?, *moved.get(blocks.len())?];
        Some(Tag { sums: add(sums, &last, keys), length: text.len() })
    }
}

/// Adds the product of a block to each sum, under a pair of key words for each.
fn add(sums: [u128; 2], block: &[u8; BLOCK], keys: [[u64; 2]; 2]) -> [u128; 2] {
    let [first, second] = words(block);
    let product = |[low, high]: [u64; 2]| {
        u128::from(first.wrapping_add(low)).wrapping_mul(u128::from(second.wrapping_add(high)))
    };
    let ([sum, moved], [key, next]) = (sums, keys);
    [sum.wrapping_add(product(key)), moved.wrapping_add(product(next))]
}

fn words(block: &[u8; BLOCK]) -> [u64; 2] {
    [block.first_chunk(), block.last_chunk()].map(|half| half.map_or(0, |half| u64::from_le_bytes(*half)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that is the same in each run.
    fn counted() -> Universal {
        let mut word = 0_u64;
        let mut next = || {
            word += 1;
            word.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        Universal(Box::new(std::array::from_fn(|_| [next(), next()])))
    }

    /// NH as the paper has it, over the words of a text and those of a key.
    fn nh(text: &[u8], key: &[u64]) -> u128 {
        let mut padded = text.to_vec();
        padded.resize(text.len().next_multiple_of(16), 0);
        let words: Vec<_> = padded.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let mut sum = 0_u128;
        for at in (0..words.len()).step_by(2) {
            let [first, second] = [at, at + 1].map(|at| u128::from(words[at].wrapping_add(key[at])));
            sum = sum.wrapping_add(first * second);
        }
        sum
    }

    #[test]
    fn it_is_nh_twice() {
        let universal = counted();
        let key = universal.0.as_flattened();
        let text: Vec<_> = (0..LONGEST).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
        for length in (0..200).chain([1000, LONGEST - 17, LONGEST - 16, LONGEST - 1, LONGEST]) {
            let tag = universal.of(&text[..length]).unwrap();
            // What is left of a block is a block of zeros where there is none.
            let end = if length % 16 == 0 { length / 8 } else { usize::MAX };
            let left = |moved: usize| {
                key.get(end.saturating_add(moved))
                    .map_or(0, |low| u128::from(*low) * u128::from(key[end + moved + 1]))
            };
            let wanted = [0, 2].map(|moved| nh(&text[..length], &key[moved..]).wrapping_add(left(moved)));
            assert_eq!((tag.sums, tag.length), (wanted, length));
        }
        assert!(universal.of(&[b'a'; LONGEST]).is_some());
        assert!(universal.of(&[b'a'; LONGEST + 1]).is_none());
    }

    /// Worked out by hand from the definition, with the words one to four as key.
    #[test]
    fn a_known_answer() {
        let mut universal = counted();
        universal.0[..3].copy_from_slice(&[[1, 2], [3, 4], [5, 6]]);
        // (1 + 1)(0 + 2) + 3 * 4 and (1 + 3)(0 + 4) + 5 * 6.
        let tag = universal.of(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(tag.sums, [16, 46]);
        // (255 + 1)(1 + 2) and (255 + 3)(1 + 4).
        assert_eq!(universal.of(&[255, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap().sums, [768, 1290]);
    }

    #[test]
    fn a_tag_covers_every_byte() {
        let universal = Universal::drawn().unwrap();
        let text = [b'e'; 100];
        let tag = universal.of(&text).unwrap();
        assert!(universal.of(&text) == Some(tag));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut other = text;
                other[at] ^= 1 << bit;
                let other = universal.of(&other).unwrap();
                assert!(
                    other.sums[0] != tag.sums[0] && other.sums[1] != tag.sums[1],
                    "bit {bit} of byte {at}"
                );
            }
        }
        assert!(universal.of(b"a") != universal.of(b"a\0") && universal.of(b"") != universal.of(b"\0"));
        assert!(Universal::drawn().unwrap().of(&text) != Some(tag), "each has a key of its own");
    }

    /// All of the key is drawn.
    #[test]
    fn no_word_of_a_key_is_guessed() {
        let keys = [Universal::drawn().unwrap(), Universal::drawn().unwrap()];
        let words: std::collections::BTreeSet<_> = keys.iter().flat_map(|key| key.0.as_flattened()).collect();
        assert_eq!(words.len(), 4 * PAIRS);
    }
}
