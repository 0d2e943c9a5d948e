//! A keyed hash for what is looked up and what is named, never for what is proven.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use siphasher::sip128::SipHasher13;

/// SipHash-1-3 with 128 bits of output, under a key of its own: half the price of two hashes of 64 bits.
pub(crate) struct Keyed(SipHasher13);

impl Keyed {
    /// With a key that nobody knows: the standard library draws it from the operating system.
    pub(crate) fn new() -> Self {
        let drawn = RandomState::new();
        Self(SipHasher13::new_with_keys(drawn.hash_one(0), drawn.hash_one(1)))
    }

    pub(crate) fn of(&self, bytes: &[u8]) -> u128 {
        self.0.hash(bytes).as_u128()
    }
}

impl fmt::Debug for Keyed {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_key_and_shows_none() {
        let (one, other) = (Keyed::new(), Keyed::new());
        assert_eq!(one.of(b"anchor"), one.of(b"anchor"));
        assert_ne!(one.of(b"anchor"), other.of(b"anchor"));
        assert_ne!(one.of(b"anchor"), one.of(b"anchos"));
        assert_eq!(format!("{one:?}"), "Keyed");
    }

    #[test]
    fn both_halves_vary() {
        let keyed = Keyed::new();
        let hashes: Vec<_> = (0..1000_u32).map(|n| keyed.of(&n.to_le_bytes())).collect();
        let distinct = |half: fn(u128) -> u128| {
            hashes.iter().map(|hash| half(*hash)).collect::<std::collections::HashSet<_>>().len()
        };
        assert_eq!(distinct(|hash| hash >> 64), 1000);
        assert_eq!(distinct(|hash| hash & u128::from(u64::MAX)), 1000);
    }
}
