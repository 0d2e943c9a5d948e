//! Random-looking identifiers for requests and events.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// A 128-bit identifier: never repeated within a process, not predictable from outside it, not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u128);

static COUNTER: AtomicU64 = AtomicU64::new(0);
static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

impl Id {
    /// A fresh identifier.
    ///
    /// A counter under two keyed hashes (SipHash with keys from the operating system) costs a tenth of a
    /// call to the random generator, and an event identifier needs no more.
    #[must_use]
    pub fn fresh() -> Self {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let [high, low] = &*KEYS;
        Self((u128::from(high.hash_one(count)) << 64) | u128::from(low.hash_one(count)))
    }
}

impl Id {
    /// The 32 hexadecimal digits by which it is printed.
    #[must_use]
    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        digits
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_printed_in_full() {
        assert_eq!(Id(0x0a).to_string(), format!("{}0a", "0".repeat(30)));
        assert_eq!(Id(u128::MAX).to_string(), "f".repeat(32));
        let id = Id::fresh();
        assert_eq!(id.to_string(), format!("{:032x}", id.0));
        assert_ne!(id, Id::fresh());
    }
}
