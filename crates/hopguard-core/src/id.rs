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

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
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
