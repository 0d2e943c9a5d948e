//! Random-looking identifiers for requests and events.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU128;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

use crate::hex;
use crate::keyed::Keyed;

/// A 128-bit identifier: never repeated within a process, not predictable from outside it, not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(NonZeroU128);

/// How many counts a thread takes at once, so that threads do not fight for one counter at every request.
const BLOCK: u64 = 1 << 10;

static COUNTER: AtomicU64 = AtomicU64::new(0);
static KEYED: LazyLock<Keyed> = LazyLock::new(Keyed::new);

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

impl Id {
    /// A fresh identifier.
    ///
    /// A counter under a keyed hash (SipHash with a key from the operating system) costs a tenth of a
    /// call to the random generator, and an event identifier needs no more. All of it is keyed, so that whoever is told
    /// some ids does not learn how many were given between them.
    #[must_use]
    pub fn fresh() -> Self {
        let next = NEXT.get();
        // A block begins at a multiple of its length, and so does what follows its last count.
        let count =
            if next.is_multiple_of(BLOCK) { COUNTER.fetch_add(BLOCK, Ordering::Relaxed) } else { next };
        NEXT.set(count.wrapping_add(1));
        let id = KEYED.of(&count.to_le_bytes());
        // Zero comes as rarely as any other number, and stands for no id.
        Self(NonZeroU128::new(id).unwrap_or(NonZeroU128::MAX))
    }
}

impl Id {
    /// The `n`th id that follows this request's, for an event that each request has once. It is as unlikely to be
    /// another request's as two fresh ones are to be one, and costs nothing.
    #[must_use]
    pub fn of_request(self, n: u8) -> Self {
        let next = self.0.get().wrapping_add(u128::from(n) + 1);
        Self(NonZeroU128::new(next).unwrap_or(NonZeroU128::MAX))
    }

    /// The 32 hexadecimal digits by which it is printed.
    #[must_use]
    pub fn digits(self) -> [u8; 32] {
        let mut digits = [0; 32];
        hex::write(&self.0.get().to_be_bytes(), &mut digits);
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
    fn each_event_of_a_request_has_its_own() {
        let request = Id::fresh();
        let ids = [request, request.of_request(0), request.of_request(1), request.of_request(u8::MAX)];
        assert!((1..ids.len()).all(|at| !ids[..at].contains(&ids[at])), "{ids:?}");
    }

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
    }
}
