//! Which client assertions were used already (RFC 7523 section 3, `jti`).

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use hopguard_core::{Denial, Fault, Fingerprint, Refusal, UnixTime};

/// The used assertions of one client. Each client has a memory of its own, so that none can fill another's.
#[derive(Debug)]
pub(crate) struct ReplayMemory {
    most: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    known: HashSet<Fingerprint>,
    by_expiry: BTreeSet<(UnixTime, Fingerprint)>,
}

impl ReplayMemory {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, used: Mutex::default() }
    }

    /// Notes that the assertion `jti`, good until `expires`, was used.
    pub(crate) fn remember(&self, jti: &str, expires: UnixTime, now: UnixTime) -> Result<(), Refusal> {
        // A fixed size per entry, whatever the client writes.
        let jti = Fingerprint::of_bytes(jti.as_bytes());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&(expired, old)) = used.by_expiry.first().filter(|(expires, _)| *expires <= now) {
            used.by_expiry.remove(&(expired, old));
            used.known.remove(&old);
        }
        if used.known.contains(&jti) {
            return Err(Denial::AssertionReplayed.into());
        }
        // INVARIANT: I17 — forgetting a live one would let it be replayed, so that a full memory refuses.
        if used.known.len() >= self.most {
            return Err(Fault::ReplayMemoryFull.into());
        }
        used.known.insert(jti);
        used.by_expiry.insert((expires, jti));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn remember(memory: &ReplayMemory, jti: &str, expires: u64, now: u64, expected: Result<(), &str>) {
        let (expires, now) = (UnixTime::from_secs(expires), UnixTime::from_secs(now));
        let found = memory.remember(jti, expires, now);
        assert_eq!(found.as_ref().map_err(Refusal::code), expected.as_ref().map_err(|code| *code));
    }

    #[test]
    fn an_assertion_is_used_once_while_it_lives() {
        let memory = ReplayMemory::new(9);
        remember(&memory, "a", 60, 0, Ok(()));
        remember(&memory, "a", 60, 59, Err("assertion_replayed"));
        remember(&memory, "a", 90, 59, Err("assertion_replayed"));
        remember(&memory, "b", 60, 0, Ok(()));
        remember(&memory, "a", 160, 60, Ok(()));
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_only_what_is_expired() {
        let memory = ReplayMemory::new(2);
        remember(&memory, "a", 60, 0, Ok(()));
        remember(&memory, "b", 70, 0, Ok(()));
        remember(&memory, "c", 80, 0, Err("replay_memory_full"));
        remember(&memory, "a", 60, 0, Err("assertion_replayed"));
        remember(&memory, "c", 80, 60, Ok(()));
        remember(&memory, "b", 70, 60, Err("assertion_replayed"));
    }
}
