//! Is the token genuine? The steps in their order, cheapest refusal first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hopguard_client::{BoxFuture, Spawn, SystemTimer, Transport};
use hopguard_core::{
    Clock, Denial, Facts, Fault, Leeway, RawToken, Refusal, UnixTime, Unverified, Withdrawals, check_validity,
};
use memchr::memmem::{self, Finder};

use crate::alike::Alike;
use crate::builder::VerifierBuilder;
use crate::claims::{Claims, Origin};
use crate::compact::Compact;
use crate::extra::Extra;
use crate::familiar::{Familiar, Mark};
use crate::header::{Asked, Header};
use crate::key_store::{KeySetStatus, KeyStore, Outside, Want};
use crate::keys::Lookup;
use crate::memory::{Memory, Verdict};
use crate::profile::Profile;
use crate::universal::Tag;

/// Verifies access tokens of the issuers it was built with. Cloning shares it.
///
/// See the [crate's documentation](crate).
#[derive(Clone)]
pub struct Verifier(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) issuers: Vec<Trusted>,
    pub(crate) transactions: bool,
    pub(crate) memory: Option<Memory>,
    pub(crate) familiar: Familiar,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leeway: Leeway,
    pub(crate) token_at_most: usize,
    pub(crate) actors_at_most: usize,
    pub(crate) signature_checks: AtomicU64,
}

/// An issuer that is trusted: its keys, and how it writes its tokens.
pub(crate) struct Trusted {
    pub(crate) store: Arc<KeyStore>,
    /// Finds its name, in quotes, in a text.
    pub(crate) name: Finder<'static>,
    /// Absent for RFC 9068.
    pub(crate) profile: Option<Profile>,
    pub(crate) alike: Alike,
}

/// What can be said about a token without waiting.
#[must_use]
#[derive(Debug)]
pub enum Check {
    /// A verdict.
    Done(Result<Arc<Facts>, Denial>),
    /// The issuer must be asked for its keys first.
    NeedsKeys(KeysWanted),
}

/// Keys that a verdict waits for.
#[must_use]
pub struct KeysWanted {
    store: Arc<KeyStore>,
    want: Want,
}

impl KeysWanted {
    /// Asks the issuer, together with everyone else who waits for the same keys. What was begun goes on if the
    /// future is dropped. Afterwards, check the token again.
    ///
    /// # Errors
    ///
    /// [`Fault::KeysUnavailable`] if there is no set of keys that may be used, or too many wait for one.
    #[must_use]
    pub fn fetch(self) -> BoxFuture<'static, Result<(), Fault>> {
        self.store.fetch(self.want)
    }

    /// The verdict when the keys were asked for and are still wanted.
    fn given_up(&self) -> Refusal {
        match self.want {
            Want::Keys => Fault::KeysUnavailable.into(),
            Want::Newer(_) => Denial::KeyUnknown.into(),
        }
    }
}

impl fmt::Debug for KeysWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeysWanted").field("issuer", self.store.issuer()).field("want", &self.want).finish()
    }
}

/// Why the synchronous part ends early.
enum Stop {
    Denied(Denial),
    Keys(KeysWanted),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Verifier {
    /// Starts with no issuer. Nothing is fetched before the first token, or [`Verifier::warm_up`].
    pub fn builder(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>, spawn: Spawn) -> VerifierBuilder {
        VerifierBuilder::new(Outside { transport, clock, spawn, timer: SystemTimer::shared(), audit: None })
    }

    /// Everything that can be said without waiting; if the issuer's keys are there, the verdict.
    ///
    /// Must be called within a Tokio runtime with its timer enabled, unless every issuer's keys are fixed: a use may
    /// start a fetch in the background.
    pub fn check(&self, token: &RawToken, withdrawals: &Withdrawals) -> Check {
        self.check_at(token, withdrawals, self.0.clock.now())
    }

    /// As [`Verifier::check`], at a time that the caller has just read from the same clock.
    pub fn check_at(&self, token: &RawToken, withdrawals: &Withdrawals, now: UnixTime) -> Check {
        match self.0.judge(token, withdrawals, now) {
            Ok(facts) => Check::Done(Ok(facts)),
            Err(Stop::Denied(denial)) => Check::Done(Err(denial)),
            Err(Stop::Keys(wanted)) => Check::NeedsKeys(wanted),
        }
    }

    /// The verdict, waiting for keys if need be.
    ///
    /// # Errors
    ///
    /// A [`Denial`] if the token is not genuine, not valid now, or withdrawn; [`Fault::KeysUnavailable`] if nothing
    /// can be said about it.
    pub async fn verify(&self, token: &RawToken, withdrawals: &Withdrawals) -> Result<Arc<Facts>, Refusal> {
        // Twice at most: once for a set at all, once for a newer one.
        for _ in 0..2 {
            match self.check(token, withdrawals) {
                Check::Done(verdict) => return Ok(verdict?),
                Check::NeedsKeys(wanted) => wanted.fetch().await?,
            }
        }
        match self.check(token, withdrawals) {
            Check::Done(verdict) => Ok(verdict?),
            Check::NeedsKeys(wanted) => Err(wanted.given_up()),
        }
    }

    /// What the token claims of itself, cut short, for the record of a refusal. To be believed by nobody.
    #[must_use]
    pub fn claimed(&self, token: &RawToken) -> Unverified {
        let mut claimed = Unverified::default();
        let Ok(segments) = Compact::split(token.dangerous_expose_bytes(), self.0.token_at_most) else {
            return claimed;
        };
        if let Ok(text) = segments.header()
            && let Ok(header) = Header::read(&text)
        {
            claimed.key_id = header.key_id().ok().flatten().map(|id| Unverified::bounded(&id));
        }
        if let Ok(text) = segments.payload()
            && let Ok(claims) = Claims::read(&text)
        {
            claimed.issuer = claims.unverified_issuer().ok().map(|issuer| Unverified::bounded(&issuer));
        }
        claimed
    }

    /// Fetches the keys of every issuer, so that the first request need not wait.
    ///
    /// # Errors
    ///
    /// [`Fault::KeysUnavailable`] if an issuer does not answer; each is asked all the same.
    pub async fn warm_up(&self) -> Result<(), Fault> {
        let wanted: Vec<_> = self
            .0
            .issuers
            .iter()
            .filter_map(|one| one.store.begin_use().err().map(|want| one.store.clone().fetch(want)))
            .collect();
        let mut outcome = Ok(());
        for fetch in wanted {
            outcome = outcome.and(fetch.await);
        }
        outcome
    }

    /// True if its issuers have transaction tokens, and no access tokens.
    #[must_use]
    pub fn verifies_transactions(&self) -> bool {
        self.0.transactions
    }

    /// True if there are keys of every issuer that may be used: a signal for whoever routes traffic here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.issuers.iter().all(|one| one.store.is_usable())
    }

    /// How the keys of each issuer are: age, fetches and failures, for metrics.
    #[must_use]
    pub fn key_sets(&self) -> Vec<KeySetStatus> {
        self.0.issuers.iter().map(|one| one.store.status()).collect()
    }

    /// How many signatures were checked so far, good ones and bad ones. Beside the number of requests it tells how
    /// much of a flood comes as far as the costly step, and how much the memory of verified tokens saves.
    #[must_use]
    pub fn signature_checks(&self) -> u64 {
        self.0.signature_checks.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn remembered_weight(&self) -> u64 {
        self.0.memory.as_ref().map_or(0, Memory::weight)
    }

    #[cfg(test)]
    pub(crate) fn familiar(&self) -> &Familiar {
        &self.0.familiar
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.0.memory.as_ref().map_or(0, Memory::len)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<_> = self.0.issuers.iter().map(|one| one.store.issuer()).collect();
        f.debug_struct("Verifier")
            .field("issuers", &issuers)
            .field("memory", &self.0.memory)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn judge(&self, token: &RawToken, withdrawals: &Withdrawals, now: UnixTime) -> Result<Arc<Facts>, Stop> {
        // INVARIANT: I9 — every line above the call of `verify` refuses without a signature check.
        let token = token.dangerous_expose_bytes();
        let tag = || self.memory.as_ref().and_then(|memory| Some((memory, memory.tag(token)?)));
        let mark = Mark::of(token);
        let familiar = self.familiar.has(mark);
        let mut tagged = if familiar { tag() } else { None };
        if let Some((memory, tag)) = tagged
            && let Some(facts) = self.recall(memory, tag, withdrawals, now)?
        {
            return Ok(facts);
        }

        let segments = Compact::split(token, self.token_at_most)?;
        let known = if familiar { self.familiar.asked(segments.encoded_header) } else { None };
        let (header, read);
        let asked = match &known {
            Some(asked) => &**asked,
            None => {
                header = segments.header()?;
                read = Header::read(&header)?.asks()?;
                &read
            }
        };
        let text = self.may_be_known(&segments, asked)?;
        if !familiar {
            tagged = tag();
            if let Some((memory, tag)) = tagged
                && let Some(facts) = self.recall(memory, tag, withdrawals, now)?
            {
                // Another header had taken its place.
                self.familiar.add(mark, segments.encoded_header, asked);
                return Ok(facts);
            }
        }
        let claims = Claims::read(&text)?;
        let signature = segments.signature()?;
        let named = claims.unverified_issuer()?;
        let issuer = self.issuers.iter().position(|one| **one.store.issuer() == *named);
        let (issuer, Trusted { store, profile, alike, .. }) =
            issuer.and_then(|at| self.issuers.get(at).map(|one| (at, one))).ok_or(Denial::IssuerUnknown)?;
        let extra = match profile {
            None => {
                asked.is_access_token()?;
                None
            }
            Some(profile) => {
                let extra = Extra::read(&text, profile)?;
                profile.is_access_token(asked.typ()?, &extra)?;
                Some((profile, extra))
            }
        };

        self.begin_use(store)?;
        let (set, fetched) = store.current();
        let key = match set.find(asked.key_id.as_deref(), asked.algorithm) {
            Lookup::Found(key) => key,
            Lookup::OtherAlgorithm => return Err(Denial::AlgorithmRefused.into()),
            Lookup::Unknown if store.may_ask_for_newer(fetched) => {
                return Err(Stop::Keys(KeysWanted { store: store.clone(), want: Want::Newer(fetched) }));
            }
            Lookup::Unknown | Lookup::Ambiguous => return Err(Denial::KeyUnknown.into()),
        };
        self.signature_checks.fetch_add(1, Ordering::Relaxed);
        let fingerprint =
            key.verify(segments.signing_input, signature.as_bytes()).ok_or(Denial::SignatureInvalid)?;

        let origin = Origin {
            issuer: store.issuer(),
            key_id: key.shared_id(),
            fingerprint,
            fingerprinted_len: segments.signing_input.len(),
            alike,
        };
        let named = extra.map(|(profile, extra)| profile.read(&extra, alike)).transpose()?;
        let facts = Arc::new(claims.facts(&origin, named, self.actors_at_most)?);
        self.still_valid(&facts, now, withdrawals)?;
        if known.is_none() {
            self.familiar.add(mark, segments.encoded_header, asked);
        }
        if let Some((memory, tag)) = tagged {
            memory.remember(tag, Verdict { facts: facts.clone(), key: key.clone(), issuer });
        }
        Ok(facts)
    }

    /// The facts of a token that was verified before, if they may still be used.
    fn recall(
        &self,
        memory: &Memory,
        tag: Tag,
        withdrawals: &Withdrawals,
        now: UnixTime,
    ) -> Result<Option<Arc<Facts>>, Stop> {
        let Some(verdict) = memory.recall(tag) else { return Ok(None) };
        if let Some(trusted) = self.issuers.get(verdict.issuer) {
            self.begin_use(&trusted.store)?;
        }
        // INVARIANT: I18 — a verdict dies with the key it rests on.
        if verdict.key.is_retired() {
            memory.forget(tag);
            return Ok(None);
        }
        let valid = self.still_valid(&verdict.facts, now, withdrawals);
        if valid == Err(Denial::TokenExpired) {
            memory.forget(tag);
        }
        Ok(valid.map(|()| Some(verdict.facts))?)
    }

    /// Refuses, before the claims are read, a token that cannot be of an issuer that is trusted, no access token, or
    /// signed with a key that no such issuer has: those are the bulk of what strangers send. It lets pass what it is
    /// not sure of, and decides nothing in the token's favour. Returns the claims' text.
    fn may_be_known(&self, segments: &Compact<'_>, asked: &Asked<'_>) -> Result<Vec<u8>, Denial> {
        let text = segments.payload()?;
        let claims = text.as_slice();
        let mut named = self.issuers.iter().filter(|one| one.name.find(claims).is_some()).peekable();
        // A name that does not stand there may still be spelled with escapes.
        let is_plain = || memchr::memchr(b'\\', claims).is_none();
        if named.peek().is_none() {
            return if names_an_issuer(claims) && is_plain() { Err(Denial::IssuerUnknown) } else { Ok(text) };
        }
        if self.issuers.iter().all(|one| one.profile.is_none()) {
            asked.is_access_token()?;
        }
        match asked.key_id.as_deref() {
            Some(id) if named.all(|one| one.store.surely_lacks(id)) && is_plain() => Err(Denial::KeyUnknown),
            _ => Ok(text),
        }
    }

    fn begin_use(&self, store: &Arc<KeyStore>) -> Result<(), Stop> {
        store.begin_use().map_err(|want| Stop::Keys(KeysWanted { store: store.clone(), want }))
    }

    fn still_valid(&self, facts: &Facts, now: UnixTime, withdrawals: &Withdrawals) -> Result<(), Denial> {
        check_validity(facts, now, self.leeway)?;
        if withdrawals.strikes(facts) { Err(Denial::TokenWithdrawn) } else { Ok(()) }
    }
}

/// True if `iss` stands there with a text that is not empty, as compact JSON has it.
fn names_an_issuer(claims: &[u8]) -> bool {
    const ISS: &[u8] = b"\"iss\":\"";
    let text = memmem::find(claims, ISS).and_then(|at| claims.get(at + ISS.len()..));
    text.is_some_and(|text| text.first().is_some_and(|&byte| byte != b'"'))
}
