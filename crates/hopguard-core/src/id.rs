//! Random-looking identifiers for requests and events.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU128;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// A 128-bit identifier: never repeated within a process, not predictable from outside it, not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(NonZeroU128);

/// How many counts a thread takes at once, so that threads do not fight for one counter at every request.
const BLOCK: u64 = 1 << 10;

static COUNTER: AtomicU64 = AtomicU64::new(0);
static SECRETS: LazyLock<Secrets> = LazyLock::new(Secrets::drawn);

struct Secrets {
    keys: RandomState,
    begin: u64,
    odd: u64,
}

impl Secrets {
    fn drawn() -> Self {
        let keys = RandomState::new();
        let (begin, odd) = (RandomState::new().hash_one(0), RandomState::new().hash_one(1) | 1);
        Self { keys, begin, odd }
    }

    /// No two counts give one number, and none tells another to whoever does not know the secrets: each step can be
    /// undone, with them.
    fn mixed(&self, count: u64) -> u64 {
        let mixed = (count ^ self.begin).wrapping_mul(self.odd);
        (mixed ^ (mixed >> 32)).wrapping_mul(self.odd)
    }
}

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

impl Id {
    /// A fresh identifier.
    ///
    /// A counter under a keyed hash (SipHash with keys from the operating system), beside the counter itself in
    /// disguise, costs a small part of a call to the random generator, and an event identifier needs no more.
    #[must_use]
    pub fn fresh() -> Self {
        let next = NEXT.get();
        // A block begins at a multiple of its length, and so does what follows its last count.
        let count =
            if next.is_multiple_of(BLOCK) { COUNTER.fetch_add(BLOCK, Ordering::Relaxed) } else { next };
        NEXT.set(count.wrapping_add(1));
        let hash = SECRETS.keys.hash_one(count);
        let id = (u128::from(hash) << 64) | u128::from(SECRETS.mixed(count) ^ hash);
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
    fn threads_share_no_id() {
        let fresh = || (0..3 * BLOCK).map(|_| Id::fresh()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(fresh)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let distinct: std::collections::HashSet<_> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn it_is_printed_in_full() {
        assert_eq!(Id(NonZeroU128::MIN).to_string(), format!("{}1", "0".repeat(31)));
        assert_eq!(Id(NonZeroU128::MAX).to_string(), "f".repeat(32));
        let id = Id::fresh();
        assert_eq!(id.to_string(), format!("{:032x}", id.0));
        assert_ne!(id, Id::fresh());
    }

    #[test]
    fn none_is_repeated_and_all_of_it_varies() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| Id::fresh()).collect();
        assert_eq!(ids.len(), 10_000);
        let lower: std::collections::HashSet<_> =
            ids.iter().map(|id| id.0.get() & u128::from(u64::MAX)).collect();
        let upper: std::collections::HashSet<_> = ids.iter().map(|id| id.0.get() >> 64).collect();
        assert_eq!((lower.len(), upper.len()), (10_000, 10_000));
        let secrets = Secrets::drawn();
        let mixed: std::collections::HashSet<_> = (0..10_000).map(|count| secrets.mixed(count)).collect();
        assert_eq!(mixed.len(), 10_000);
    }
}
