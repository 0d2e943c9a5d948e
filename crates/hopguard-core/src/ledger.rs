//! What this process has verified or been granted and has not expired.
//!
//! The ledger is how the passthrough block knows a credential when it sees one. It holds no token: for each
//! it keeps a keyed hash of the first bytes of the signature (the *anchor*, which nominates), the
//! fingerprint (which decides), the expiry, and the destinations it was granted for.
//!
//! The anchor stands behind the second dot because those bytes are as good as random in every accepted
//! algorithm, and because changing an ECDSA signature without the key leaves its first half alone. An opaque
//! credential, of at least 20 bytes, is anchored by its first 16 bytes instead; no text is looked through for
//! those while none is live.
//!
//! An entry dies at its expiry. A withdrawn one is good nowhere from that moment on, also where it was granted
//! for, and gives its place up when one is needed; until then its bytes stay blocked.
//!
//! # Security
//!
//! Only what was verified or granted enters ([`Ledger::remember_received`] takes evidence), so that nobody can
//! plant a value to have innocent traffic blocked, or push live entries out with garbage.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::expiries::Expiries;
use crate::held::Held;
use crate::keyed::Keyed;
use crate::opaque::{self, Opaque};
use crate::withdrawal::Withdrawals;
use crate::{
    Destination, Facts, Fault, Fingerprint, Granted, MAX_LEEWAY, RawToken, Static, UnixTime, Verified,
};

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
    keyed: Keyed,
    shards: [Mutex<Shard>; SHARDS],
    most_per_shard: usize,
    overflow: Overflow,
    opaque: RwLock<Opaque>,
    opaque_live: AtomicUsize,
    most_opaque: usize,
    // Values shorter than the shortest live credential need no decoding.
    shortest: AtomicUsize,
    // The fewest and the most bytes that show a credential: up to its anchor's end, or all of an opaque one.
    least_shown: AtomicUsize,
    most_shown: AtomicUsize,
    withdrawals: Withdrawals,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<u128, Entry, BuildHasherDefault<Half>>,
    by_expiry: Expiries<u128>,
    /// Up to which withdrawal the withdrawn entries were cleared away.
    cleared: u64,
}

#[derive(Debug)]
struct Entry {
    fingerprinted_len: usize,
    held: Held,
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
    /// Credentials kept unless set otherwise: about 64 MB when full.
    pub const DEFAULT_MOST: usize = 131_072;

    /// An opaque value shorter than this is not remembered: it could stand in a text by chance.
    pub const SHORTEST_OPAQUE: usize = opaque::SHORTEST;

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
            keyed: Keyed::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            most_per_shard: most.div_ceil(SHARDS).max(1),
            overflow,
            opaque: RwLock::new(Opaque::new()),
            opaque_live: AtomicUsize::new(0),
            most_opaque: most.max(1),
            shortest: AtomicUsize::new(usize::MAX),
            least_shown: AtomicUsize::new(usize::MAX),
            most_shown: AtomicUsize::new(0),
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
    /// [`Fault::LedgerFull`] if it is full and set to refuse; [`Fault::GrantUnreadable`] for an opaque value of
    /// fewer than 20 bytes, which could not be told from other text.
    pub fn remember_received(&self, token: &Verified, now: UnixTime) -> Result<Remembered, Fault> {
        let facts = token.facts();
        self.remember(token.presented().token(), facts, None, now)
    }

    /// Remembers a grant, good at `destination` and nowhere else.
    ///
    /// # Errors
    ///
    /// [`Fault::LedgerFull`] if it is full and set to refuse; [`Fault::GrantUnreadable`] for an opaque value of
    /// fewer than 20 bytes, which could not be told from other text.
    pub fn remember_granted(
        &self,
        grant: &Granted,
        destination: &Destination,
        now: UnixTime,
    ) -> Result<Remembered, Fault> {
        let facts = grant.facts();
        self.remember(grant.token(), facts, Some(destination), now)
    }

    /// Remembers a secret from the configuration, good at `destination` and nowhere else. It never expires, so
    /// that everything else goes before it.
    ///
    /// # Errors
    ///
    /// [`Fault::LedgerFull`] if it is full and set to refuse; [`Fault::GrantUnreadable`] for one of fewer than 20
    /// bytes, which could not be told from other text.
    pub fn remember_configured(
        &self,
        route: &Static,
        destination: &Destination,
        now: UnixTime,
    ) -> Result<Remembered, Fault> {
        let secret = route.secret();
        let facts = Facts::of_configured(secret);
        self.withdrawals().keep_for_good(facts.fingerprint);
        self.remember(secret, &facts, Some(destination), now)
    }

    fn remember(
        &self,
        token: &RawToken,
        facts: &Facts,
        destination: Option<&Destination>,
        now: UnixTime,
    ) -> Result<Remembered, Fault> {
        let text = token.dangerous_expose_bytes();
        if !facts.structured {
            return self.remember_opaque(text, facts, destination, now);
        }
        // The verifier has counted already; looking for the dots again would cost more than all the rest.
        let &Facts { fingerprinted_len, expires, .. } = facts;
        let Some(anchor) = self.anchor_after(text, fingerprinted_len) else {
            // No signature to speak of: none may be remembered by parts it does not have.
            return Err(Fault::GrantUnreadable);
        };
        self.widen(text.len(), fingerprinted_len.saturating_add(1 + ANCHOR));
        let mut shard = self.shard(anchor);
        if let Some(known) = shard.entries.get_mut(&anchor) {
            // No honest signer repeats 96 bits of signature over another text. Taken for the one that is known,
            // this token would be found nowhere, and its grants would open doors to the other.
            if known.held.fingerprint != facts.fingerprint {
                return Err(Fault::LedgerFull);
            }
            known.held.grant(destination);
            return Ok(Remembered { evicted: false });
        }
        if shard.entries.len() >= self.0.most_per_shard {
            shard.clear_withdrawn(&self.0.withdrawals);
        }
        let full = shard.entries.len() >= self.0.most_per_shard;
        let oldest = shard.by_expiry.first();
        let mut evicted = false;
        if let Some(expiry) = oldest.filter(|expiry| full || !is_live(*expiry, now)) {
            evicted = is_live(expiry, now);
            if evicted && self.0.overflow == Overflow::Refuse {
                return Err(Fault::LedgerFull);
            }
            if let Some(oldest) = shard.by_expiry.pop() {
                shard.entries.remove(&oldest);
            }
        }
        shard.by_expiry.insert(expires, anchor);
        shard.entries.insert(anchor, Entry { fingerprinted_len, held: Held::new(facts, destination) });
        Ok(Remembered { evicted })
    }

    fn remember_opaque(
        &self,
        text: &[u8],
        facts: &Facts,
        destination: Option<&Destination>,
        now: UnixTime,
    ) -> Result<Remembered, Fault> {
        if text.len() < opaque::SHORTEST {
            return Err(Fault::GrantUnreadable);
        }
        let key = Fingerprint::of_bytes(text);
        let mut index = self.0.opaque.write().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, expired)) =
            index.by_expiry.first().filter(|(expires, _)| !is_live(*expires, now)).copied()
        {
            index.remove(expired);
        }
        if index.lives_on(key, facts, destination)? {
            return Ok(Remembered { evicted: false });
        }
        let mut evicted = false;
        if index.entries.len() >= self.0.most_opaque
            && let Some((_, oldest)) = index.by_expiry.first().copied()
        {
            evicted = true;
            if self.0.overflow == Overflow::Refuse {
                return Err(Fault::LedgerFull);
            }
            index.remove(oldest);
        }
        self.widen(text.len(), text.len());
        index.insert(text, key, Held::new(facts, destination));
        self.0.opaque_live.store(index.entries.len(), Ordering::Release);
        Ok(Remembered { evicted })
    }

    fn widen(&self, length: usize, shown: usize) {
        // Looked at first: they hardly ever change, and a write has every other core read them anew.
        let Inner { shortest, least_shown, most_shown, .. } = &*self.0;
        if length < shortest.load(Ordering::Relaxed) {
            shortest.fetch_min(length, Ordering::Relaxed);
        }
        if shown < least_shown.load(Ordering::Relaxed) {
            least_shown.fetch_min(shown, Ordering::Relaxed);
        }
        if shown > most_shown.load(Ordering::Relaxed) {
            most_shown.fetch_max(shown, Ordering::Relaxed);
        }
    }

    /// The credential whose second dot stands at `dot` in `text`, if the ledger holds one that is live and may
    /// not go to `destination`.
    pub(crate) fn foreign_at(
        &self,
        text: &[u8],
        dot: usize,
        destination: Option<&Destination>,
        now: UnixTime,
    ) -> Option<Fingerprint> {
        let anchor = self.anchor_after(text, dot)?;
        let (fingerprint, length, passes) = {
            let shard = self.shard(anchor);
            let entry = shard.entries.get(&anchor).filter(|entry| is_live(entry.held.expires, now))?;
            let passes = entry.held.may_go_to(destination, &self.0.withdrawals);
            (entry.held.fingerprint, entry.fingerprinted_len, passes)
        };
        let part = text.get(dot.checked_sub(length)?..dot)?;
        (!passes && has_one_dot(part) && Fingerprint::of_bytes(part) == fingerprint).then_some(fingerprint)
    }

    /// True if the credential at `dot` is kept as granted for `destination`.
    pub(crate) fn granted_for(
        &self,
        fingerprint: Fingerprint,
        text: &[u8],
        dot: usize,
        destination: Option<&Destination>,
    ) -> bool {
        self.anchor_after(text, dot).is_some_and(|anchor| {
            let shard = self.shard(anchor);
            let entry = shard.entries.get(&anchor).filter(|entry| entry.held.fingerprint == fingerprint);
            entry.is_some_and(|entry| entry.held.may_go_to(destination, &self.0.withdrawals))
        })
    }

    /// The opaque credentials; `None` while there is none, so that no text is looked through for them.
    pub(crate) fn opaque(&self) -> Option<RwLockReadGuard<'_, Opaque>> {
        (self.0.opaque_live.load(Ordering::Acquire) > 0)
            .then(|| self.0.opaque.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `value`, if it is an opaque credential that is live and may not go to `destination`.
    pub(crate) fn foreign_opaque(
        &self,
        index: &Opaque,
        value: &[u8],
        destination: Option<&Destination>,
        now: UnixTime,
    ) -> Option<Fingerprint> {
        let entry = index.entries.get(&Fingerprint::of_bytes(value))?;
        let foreign =
            is_live(entry.held.expires, now) && !entry.held.may_go_to(destination, &self.0.withdrawals);
        foreign.then_some(entry.held.fingerprint)
    }

    /// The fewest and the most bytes by which a kept credential shows.
    pub(crate) fn shown(&self) -> (usize, usize) {
        (self.0.least_shown.load(Ordering::Relaxed), self.0.most_shown.load(Ordering::Relaxed))
    }

    /// Length of the shortest credential ever remembered; `usize::MAX` while there is none.
    pub(crate) fn shortest(&self) -> usize {
        self.0.shortest.load(Ordering::Relaxed)
    }

    /// How many credentials are kept, expired ones included until their place is needed.
    #[must_use]
    pub fn len(&self) -> usize {
        let structured: usize = self.0.shards.iter().map(|shard| lock(shard).entries.len()).sum();
        structured + self.opaque().map_or(0, |index| index.entries.len())
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
        Some(self.0.keyed.of(bytes))
    }

    fn shard(&self, anchor: u128) -> std::sync::MutexGuard<'_, Shard> {
        // The remainder is below SHARDS, so the first shard is never a fallback that is taken.
        let [first, ..] = &self.0.shards;
        let at = usize::try_from(anchor % SHARDS as u128).unwrap_or(0);
        lock(self.0.shards.get(at).unwrap_or(first))
    }
}

impl Shard {
    /// Lets go of what was withdrawn: once per withdrawal, and only when room is needed.
    fn clear_withdrawn(&mut self, withdrawals: &Withdrawals) {
        let generation = withdrawals.generation();
        if generation != self.cleared {
            self.cleared = generation;
            self.entries.retain(|_, entry| !entry.held.is_withdrawn(withdrawals));
            let Self { entries, by_expiry, .. } = self;
            by_expiry.retain(|anchor| entries.contains_key(anchor));
        }
    }
}

/// True while somebody may take the credential: a peer's clock may be behind ours, and its leeway as wide as
/// ours can be set.
fn is_live(expires: UnixTime, now: UnixTime) -> bool {
    expires.after(MAX_LEEWAY) > now
}

/// True for header and payload of a JWT. It bounds what a crafted text can make us hash: of many dots close
/// together none ends one.
pub(crate) fn has_one_dot(part: &[u8]) -> bool {
    let first = memchr::memchr(b'.', part);
    first.is_some() && first == memchr::memrchr(b'.', part)
}

fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    // A panic cannot leave a shard half-written in a way that lets a credential through unseen: each entry
    // is inserted last.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::{opaque_token, verified_token};

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn token(n: usize) -> String {
        format!("eyJhbGciOiJFUzI1NiJ9.eyJuIjo{n:06}fQ.{n:06}signature-bytes-{n:020}")
    }

    fn here() -> Destination {
        Destination::of(&"https://here.internal".parse().unwrap()).unwrap()
    }

    fn found(ledger: &Ledger, text: &str, now: UnixTime) -> bool {
        memchr::memchr_iter(b'.', text.as_bytes())
            .any(|dot| ledger.foreign_at(text.as_bytes(), dot, Some(&here()), now).is_some())
    }

    #[test]
    fn what_was_received_is_found_wherever_it_stands() {
        let ledger = Ledger::bounded();
        ledger.remember_received(&verified_token(&token(1), 2000), NOW).unwrap();
        assert!(found(&ledger, &token(1), NOW));
        assert!(found(&ledger, &format!("a.b-{}.c.d", token(1)), NOW));
        assert!(!found(&ledger, &token(2), NOW));
        assert!(!found(&ledger, &token(1).replace("eyJuIjo", "eyJuIjp"), NOW));
        assert!(found(&ledger, &token(1), UnixTime::from_secs(2059)));
        assert!(!found(&ledger, &token(1), UnixTime::from_secs(2060)));
        // Another token under the same first bytes of signature is not taken for this one.
        let twin = token(1).replace("eyJuIjo", "eyJuIjp");
        let refused = ledger.remember_received(&verified_token(&twin, 2000), NOW).unwrap_err();
        assert_eq!(refused.code(), "ledger_full");
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

    fn found_opaque(ledger: &Ledger, text: &str, now: UnixTime) -> bool {
        let Some(index) = ledger.opaque() else { return false };
        let mut found = false;
        index.nominate(text.as_bytes(), |start, length| {
            let value = text.as_bytes().get(start..start + length);
            found |= value.is_some_and(|v| ledger.foreign_opaque(&index, v, Some(&here()), now).is_some());
        });
        found
    }

    #[test]
    fn opaque_values_are_found_from_twenty_bytes_on() {
        let ledger = Ledger::bounded();
        let short = ledger.remember_received(&opaque_token("0123456789abcdefghi", 2000), NOW);
        assert_eq!(short.map_err(Fault::code), Err("grant_unreadable"));
        assert!(ledger.opaque().is_none(), "nothing is looked for while none is live");
        // Several with one beginning, of two lengths.
        let values = ["a-common-prefix-of-one", "a-common-prefix-of-two", "a-common-prefix-of-three"];
        for value in values {
            ledger.remember_received(&opaque_token(value, 2000), NOW).unwrap();
        }
        for value in values {
            assert!(found_opaque(&ledger, value, NOW));
            assert!(found_opaque(&ledger, &format!("xx{value}yy"), NOW));
            assert!(!found_opaque(&ledger, &value[..value.len() - 1], NOW));
            assert!(!found_opaque(&ledger, value, UnixTime::from_secs(2060)));
        }
        assert!(!found_opaque(&ledger, "a-common-prefix-of-six", NOW));
        assert_eq!(ledger.len(), 3);
        let full = Ledger::with_bound(2, Overflow::Refuse);
        let outcomes = values.map(|value| full.remember_received(&opaque_token(value, 2000), NOW).is_ok());
        assert_eq!(outcomes, [true, true, false]);
    }

    #[test]
    fn a_withdrawn_grant_is_good_nowhere_and_gives_its_place_up() {
        let ledger = Ledger::with_bound(16, Overflow::Refuse);
        let mut kept = Vec::new();
        for n in 0.. {
            let verified = verified_token(&token(n), 2000);
            let facts = verified.facts().clone();
            let grant =
                Granted::assert_narrowed(RawToken::new(&token(n)), facts.clone(), facts.fingerprint, NOW);
            match ledger.remember_granted(&grant, &here(), NOW) {
                Ok(_) => kept.push(n),
                Err(full) => {
                    assert_eq!(full.code(), "ledger_full");
                    break;
                }
            }
        }
        assert!(kept.iter().all(|&n| !found(&ledger, &token(n), NOW)), "each was granted for here");
        let everything = crate::Withdrawal::Issuer("https://sts.internal".into());
        ledger.withdrawals().withdraw(everything, NOW, UnixTime::from_secs(3000)).unwrap();
        assert!(kept.iter().all(|&n| found(&ledger, &token(n), NOW)));
        for n in 1000..1016 {
            let outcome = ledger.remember_received(&verified_token(&token(n), 2000), NOW);
            assert_eq!(outcome, Ok(Remembered { evicted: false }));
            ledger
                .withdrawals()
                .withdraw(
                    crate::Withdrawal::Token(Fingerprint::of_token(&token(n))),
                    NOW,
                    UnixTime::from_secs(3000),
                )
                .unwrap();
        }
    }

    #[test]
    fn expired_entries_make_room_without_an_event() {
        let ledger = Ledger::with_bound(16, Overflow::Refuse);
        for n in 0..400 {
            let now = UnixTime::from_secs(1000 + 100 * n as u64);
            let outcome = ledger.remember_received(&verified_token(&token(n), 1005 + 100 * n as u64), now);
            assert_eq!(outcome, Ok(Remembered { evicted: false }));
        }
    }

    #[test]
    fn with_room_nothing_live_goes_and_what_is_over_does() {
        let ledger = Ledger::with_bound(16_384, Overflow::Refuse);
        for n in 0..200 {
            assert_eq!(
                ledger.remember_received(&verified_token(&token(n), 2000), NOW),
                Ok(Remembered { evicted: false })
            );
        }
        assert_eq!(ledger.len(), 200);
        // Long after, each new one takes the place of one that is over.
        let later = UnixTime::from_secs(3000);
        for n in 200..2200 {
            ledger.remember_received(&verified_token(&token(n), 4000), later).unwrap();
        }
        assert!(ledger.len() < 2200, "{}", ledger.len());
        assert!(found(&ledger, &token(200), later) && found(&ledger, &token(2199), later));
    }

    #[test]
    fn a_configured_secret_is_found_and_its_withdrawal_kept() {
        let (ledger, secret) = (Ledger::bounded(), "a-secret-of-more-than-twenty-bytes");
        let route = crate::Static::bearer(RawToken::new(secret)).requires_none();
        let elsewhere = Destination::of(&"https://elsewhere.internal".parse().unwrap()).unwrap();
        assert_eq!(ledger.remember_configured(&route, &elsewhere, NOW), Ok(Remembered { evicted: false }));
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn an_anchor_is_its_own_hash() {
        let hash = |anchor: u128| {
            let mut half = Half::default();
            half.write_u128(anchor);
            half.finish()
        };
        assert_eq!(hash(0x0123_4567_89ab_cdef_0000_0000_0000_0000), 0x0123_4567_89ab_cdef);
        let mut folded = Half::default();
        folded.write(&[1, 2, 3, 4, 5, 6, 7, 8, 1]);
        assert_eq!(folded.finish(), 0x0203_0405_0607_0800);
    }

    #[test]
    fn what_was_granted_for_here_is_known_to_be() {
        let (ledger, text) = (Ledger::bounded(), token(7));
        let verified = verified_token(&text, 2000);
        let (facts, dot) = (verified.facts(), text.rfind('.').unwrap());
        let grant = Granted::assert_narrowed(RawToken::new(&text), facts.clone(), facts.fingerprint, NOW);
        ledger.remember_granted(&grant, &here(), NOW).unwrap();
        let elsewhere = Destination::of(&"https://elsewhere.internal".parse().unwrap()).unwrap();
        let granted = |fingerprint, destination: &Destination| {
            ledger.granted_for(fingerprint, text.as_bytes(), dot, Some(destination))
        };
        assert!(granted(facts.fingerprint, &here()));
        assert!(!granted(facts.fingerprint, &elsewhere));
        assert!(!granted(Fingerprint::of_token("another"), &here()));
    }

    #[test]
    fn the_shortest_opaque_credential_has_twenty_bytes() {
        let remembered = |length: usize| {
            let ledger = Ledger::bounded();
            ledger
                .remember_received(&opaque_token(&"x7".repeat(10)[..length], 2000), NOW)
                .map(|_| ledger.len())
        };
        assert_eq!((remembered(20), remembered(19)), (Ok(1), Err(Fault::GrantUnreadable)));
    }

    #[test]
    fn two_parts_have_one_dot() {
        for (part, expected) in
            [("a.b", true), (".", true), ("", false), ("ab", false), ("a.b.c", false), ("a..", false)]
        {
            assert_eq!(has_one_dot(part.as_bytes()), expected, "{part}");
        }
    }
}
