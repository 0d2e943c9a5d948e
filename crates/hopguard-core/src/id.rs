//! Random-looking identifiers for requests and events.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU128;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// A 128-bit identifier: never repeated within a process, not predictable from outside it, not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(NonZeroU128);

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
        let id = (u128::from(high.hash_one(count)) << 64) | u128::from(low.hash_one(count));
        // Zero comes as rarely as any other number, and stands for no id.
        Self(NonZeroU128::new(id).unwrap_or(NonZeroU128::MAX))
    }
}

impl Id {
    /// The 32 hexadecimal digits by which it is printed.
    #[must_use]
    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        hexadecimal(self.0.get().to_be_bytes(), &mut digits);
        digits
    }
}

/// Writes each byte as two digits.
pub(crate) fn hexadecimal(bytes: impl IntoIterator<Item = u8>, digits: &mut [u8]) {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
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
        assert_eq!(Id(NonZeroU128::MIN).to_string(), format!("{}1", "0".repeat(31)));
        assert_eq!(Id(NonZeroU128::MAX).to_string(), "f".repeat(32));
        let id = Id::fresh();
        assert_eq!(id.to_string(), format!("{:032x}", id.0));
        assert_ne!(id, Id::fresh());
    }
}
