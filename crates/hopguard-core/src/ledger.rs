//! What this process has verified or been granted and has not expired.
//!
//! The ledger is how the passthrough block knows a credential when it sees one. It holds no token: for each
//! it keeps a keyed hash of the first bytes of the signature (the *anchor*, which nominates), the
//! fingerprint (which decides), the expiry, and the destinations it was granted for.
//!
//! The anchor stands behind the second dot because those bytes are as good as random in every accepted
//! algorithm, and because changing an ECDSA signature without the key leaves its first half alone.
//!
//! # Security
//!
//! Only what was verified or granted enters ([`Ledger::remember_received`] takes evidence), so that nobody can
//! plant a value to have innocent traffic blocked, or push live entries out with garbage.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::withdrawal::Withdrawals;
use crate::{Destination, Facts, Fault, Fingerprint, Granted, RawToken, UnixTime, Verified};

/// Bytes of signature that make an anchor.
const ANCHOR: usize = 16;
const SHARDS: usize = 16;

/// Which ledger; evidence says by it where its token is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LedgerId(u64);

/// What happens when the ledger is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The entry closest to its expiry goes, and an event says so.
    EvictWithEvent,
    /// The request that would need a new entry is refused with `ledger_full`.
    Refuse,
}

/// What remembering a credential did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// A live entry had to go; the caller writes the `ledger_overflow` event.
    pub evicted: bool,
}

/// The live credentials of a process. One per process, shared by every stack; cloning shares it.
///
/// ```
/// let ledger = hopguard_core::Ledger::bounded();
/// assert_eq!(ledger.len(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: LedgerId,
    keys: [RandomState; 2],
    shards: [Mutex<Shard>; SHARDS],
    most_per_shard: usize,
    overflow: Overflow,
    // Values shorter than the shortest live credential need no decoding.
    shortest: AtomicUsize,
    withdrawals: Withdrawals,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<u128, Entry, BuildHasherDefault<Half>>,
    by_expiry: BTreeSet<(UnixTime, u128)>,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Fingerprint,
    fingerprinted_len: usize,
    expires: UnixTime,
    granted_for: Vec<Destination>,
}

/// An anchor is a keyed hash already: half of it spreads the anchors as well as another hash would.
#[derive(Debug, Default)]
struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, anchor: u128) {
        let [.., a, b, c, d, e, f, g, h] = (anchor >> 64).to_be_bytes();
        self.0 = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    }
}

impl Ledger {
    /// Credentials kept unless set otherwise: about 20 MB when full.
    pub const DEFAULT_MOST: usize = 131_072;

    /// A ledger of [`Ledger::DEFAULT_MOST`] credentials that lets the oldest go when full.
    #[must_use]
    pub fn bounded() -> Self {
        Self::with_bound(Self::DEFAULT_MOST, Overflow::EvictWithEvent)
    }

    /// A ledger of at most `most` credentials (rounded up to a multiple of 16).
    #[must_use]
    pub fn with_bound(most: usize, overflow: Overflow) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Inner {
            id: LedgerId(NEXT.fetch_add(1, Ordering::Relaxed)),
            keys: [RandomState::new(), RandomState::new()],
            shards: std::array::from_fn(|_| Mutex::default()),
            most_per_shard: most.div_ceil(SHARDS).max(1),
            overflow,
            shortest: AtomicUsize::new(usize::MAX),
            withdrawals: Withdrawals::new(),
        }))
    }

    /// Which ledger this is.
    #[must_use]
    pub fn id(&self) -> LedgerId {
        self.0.id
    }

    /// What was taken back before its expiry; obeyed by every stack of this ledger.
    #[must_use]
    pub fn withdrawals(&self) -> &Withdrawals {
        &self.0.withdrawals
    }

    /// Remembers a token that this process received and verified.
    ///
    /// # Errors
    ///
    /// [`Fault::LedgerFull`] if it is full and set to refuse.
    pub fn remember_received(&self, token: &Verified, now: UnixTime) -> Result<Remembered, Fault> {
        let facts = token.facts();
        self.remember(token.presented().token(), facts, None, now)
    }

    /// Remembers a grant, good at `destination` and nowhere else.
    ///
    /// # Errors
    ///
    /// [`Fault::LedgerFull`] if it is full and set to refuse.
    pub fn remember_granted(
        &self,
        grant: &Granted,
        destination: &Destination,
        now: UnixTime,
    ) -> Result<Remembered, Fault> {
        let facts = grant.facts();
        self.remember(grant.token(), facts, Some(destination), now)
    }

    fn remember(
        &self,
        token: &RawToken,
        facts: &Facts,
        destination: Option<&Destination>,
        now: UnixTime,
    ) -> Result<Remembered, Fault> {
        let text = token.dangerous_expose();
        // The verifier has counted already; looking for the dots again would cost more than all the rest.
        let &Facts { fingerprint, fingerprinted_len, expires, structured, .. } = facts;
        let anchor = structured.then(|| self.anchor_after(text.as_bytes(), fingerprinted_len));
        let Some(anchor) = anchor.flatten() else {
            // Not a JWS: no stack verifies one, and none may be remembered by parts it does not have.
            return Err(Fault::GrantUnreadable);
        };
        self.0.shortest.fetch_min(text.len(), Ordering::Relaxed);
        let mut shard = self.shard(anchor);
        if let Some(known) = shard.entries.get_mut(&anchor) {
            if let Some(destination) = destination
                && !known.granted_for.contains(destination)
            {
                known.granted_for.push(destination.clone());
            }
            return Ok(Remembered { evicted: false });
        }
        let full = shard.entries.len() >= self.0.most_per_shard;
        let oldest = shard.by_expiry.first().copied();
        let mut evicted = false;
        if let Some((expiry, oldest)) = oldest.filter(|(expiry, _)| full || *expiry <= now) {
            evicted = expiry > now;
            if evicted && self.0.overflow == Overflow::Refuse {
                return Err(Fault::LedgerFull);
            }
            shard.by_expiry.remove(&(expiry, oldest));
            shard.entries.remove(&oldest);
        }
        let granted_for = destination.cloned().into_iter().collect();
        shard.by_expiry.insert((expires, anchor));
        shard.entries.insert(anchor, Entry { fingerprint, fingerprinted_len, expires, granted_for });
        Ok(Remembered { evicted })
    }

    /// The credential whose second dot stands at `dot` in `text`, if the ledger holds one that is live and
    /// was not granted for `destination`.
    pub(crate) fn foreign_at(
        &self,
        text: &[u8],
        dot: usize,
        destination: &Destination,
        now: UnixTime,
    ) -> Option<Fingerprint> {
        let anchor = self.anchor_after(text, dot)?;
        let (fingerprint, length, granted) = {
            let shard = self.shard(anchor);
            let entry = shard.entries.get(&anchor).filter(|entry| entry.expires > now)?;
            (entry.fingerprint, entry.fingerprinted_len, entry.granted_for.contains(destination))
        };
        let part = text.get(dot.checked_sub(length)?..dot)?;
        (!granted && Fingerprint::of_bytes(part) == fingerprint).then_some(fingerprint)
    }

    /// True if the credential at `dot` is kept as granted for `destination`.
    pub(crate) fn granted_for(
        &self,
        fingerprint: Fingerprint,
        text: &[u8],
        dot: usize,
        destination: &Destination,
    ) -> bool {
        self.anchor_after(text, dot).is_some_and(|anchor| {
            let shard = self.shard(anchor);
            let entry = shard.entries.get(&anchor).filter(|entry| entry.fingerprint == fingerprint);
            entry.is_some_and(|entry| entry.granted_for.contains(destination))
        })
    }

    /// Length of the shortest credential ever remembered; `usize::MAX` while there is none.
    pub(crate) fn shortest(&self) -> usize {
        self.0.shortest.load(Ordering::Relaxed)
    }

    /// How many credentials are kept, expired ones included until their place is needed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// True if none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn anchor_after(&self, text: &[u8], dot: usize) -> Option<u128> {
        let start = dot.checked_add(1)?;
        let bytes = text.get(start..start.checked_add(ANCHOR)?)?;
        if text.get(dot) != Some(&b'.') {
            return None;
        }
        let [high, low] = &self.0.keys;
        Some((u128::from(high.hash_one(bytes)) << 64) | u128::from(low.hash_one(bytes)))
    }

    fn shard(&self, anchor: u128) -> std::sync::MutexGuard<'_, Shard> {
        // The remainder is below SHARDS, so the first shard is never a fallback that is taken.
        let [first, ..] = &self.0.shards;
        let at = usize::try_from(anchor % SHARDS as u128).unwrap_or(0);
        lock(self.0.shards.get(at).unwrap_or(first))
    }
}

fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    // A panic cannot leave a shard half-written in a way that lets a credential through unseen: each entry
    // is inserted last.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::verified_token;

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn token(n: usize) -> String {
        format!("eyJhbGciOiJFUzI1NiJ9.eyJuIjo{n:06}fQ.{n:06}signature-bytes-{n:020}")
    }

    fn here() -> Destination {
        Destination::of(&"https://here.internal".parse().unwrap()).unwrap()
    }

    fn found(ledger: &Ledger, text: &str, now: UnixTime) -> bool {
        memchr::memchr_iter(b'.', text.as_bytes())
            .any(|dot| ledger.foreign_at(text.as_bytes(), dot, &here(), now).is_some())
    }

    #[test]
    fn what_was_received_is_found_wherever_it_stands() {
        let ledger = Ledger::bounded();
        ledger.remember_received(&verified_token(&token(1), 2000), NOW).unwrap();
        assert!(found(&ledger, &token(1), NOW));
        assert!(found(&ledger, &format!("a.b-{}.c.d", token(1)), NOW));
        assert!(!found(&ledger, &token(2), NOW));
        assert!(!found(&ledger, &token(1).replace("eyJuIjo", "eyJuIjp"), NOW));
        assert!(!found(&ledger, &token(1), UnixTime::from_secs(2000)));
    }

    #[test]
    fn a_grant_passes_at_its_own_destination_only() {
        let ledger = Ledger::bounded();
        let text = token(3);
        let verified = verified_token(&text, 2000);
        let raw = RawToken::new(&text);
        let grant =
            Granted::assert_narrowed(raw, verified.facts().clone(), verified.facts().fingerprint, NOW);
        let elsewhere = Destination::of(&"https://elsewhere.internal".parse().unwrap()).unwrap();
        ledger.remember_granted(&grant, &elsewhere, NOW).unwrap();
        assert!(found(&ledger, &text, NOW));
        ledger.remember_granted(&grant, &here(), NOW).unwrap();
        assert!(!found(&ledger, &text, NOW));
        // Received as well, as when a service calls itself: still granted for here.
        ledger.remember_received(&verified, NOW).unwrap();
        assert!(!found(&ledger, &text, NOW));
    }

    #[test]
    fn a_full_ledger_lets_the_oldest_go_or_refuses() {
        for (overflow, code) in [(Overflow::EvictWithEvent, None), (Overflow::Refuse, Some("ledger_full"))] {
            let ledger = Ledger::with_bound(16, overflow);
            let outcomes: Vec<_> = (0..200)
                .map(|n| ledger.remember_received(&verified_token(&token(n), 2000 + n as u64), NOW))
                .collect();
            assert_eq!(ledger.len(), 16);
            assert_eq!(outcomes.iter().find_map(|o| o.err().map(Fault::code)), code);
            assert_eq!(outcomes.contains(&Ok(Remembered { evicted: true })), code.is_none());
        }
    }

    #[test]
    fn expired_entries_make_room_without_an_event() {
        let ledger = Ledger::with_bound(16, Overflow::Refuse);
        for n in 0..400 {
            let now = UnixTime::from_secs(1000 + 10 * n as u64);
            let outcome = ledger.remember_received(&verified_token(&token(n), 1005 + 10 * n as u64), now);
            assert_eq!(outcome, Ok(Remembered { evicted: false }));
        }
    }
}
