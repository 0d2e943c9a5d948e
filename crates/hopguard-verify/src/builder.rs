//! What a verifier is made of, and everything that may be wrong with it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hopguard_client::Timer;
use hopguard_core::{ActorChain, Audit, ConfigErrors, Leeway, Problems};
use memchr::memmem::Finder;

use crate::alike::Alike;
use crate::familiar::Familiar;
use crate::issuer::Issuer;
use crate::json::DEPTH;
use crate::key_store::{KeyStore, Outside};
use crate::memory::Memory;
use crate::profile::Profile;
use crate::verifier::{Inner, Trusted, Verifier};

const TOKEN_BYTES: usize = 16 * 1024;
const REMEMBERED: usize = 10_000;
/// Header lines of any real server end below this.
const TOKEN_BYTES_MOST: usize = 64 * 1024;
/// From here on nobody means so many tokens remembered: they would take 32 GiB.
const TOKENS_MOST: usize = 1 << 24;

/// Collects a verifier's settings; see the [crate's documentation](crate).
#[must_use]
pub struct VerifierBuilder {
    outside: Outside,
    issuers: Vec<Issuer>,
    leeway: Option<Duration>,
    remember_at_most: usize,
    token_at_most: usize,
    actors_at_most: usize,
}

impl VerifierBuilder {
    pub(crate) const fn new(outside: Outside) -> Self {
        Self {
            outside,
            issuers: Vec::new(),
            leeway: None,
            remember_at_most: REMEMBERED,
            token_at_most: TOKEN_BYTES,
            actors_at_most: ActorChain::DEFAULT_DEPTH,
        }
    }

    /// Trusts this issuer; may be said several times. Each one's keys verify its own tokens only.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// How far clocks may differ when `nbf` and `iat` are judged: 5 s unless set, at most 60 s. `exp` knows no
    /// leeway.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = Some(leeway);
        self
    }

    /// How many verified tokens are remembered: 10 000 unless set; 0 remembers none, fewer than 16 are taken for 16.
    ///
    /// The bound holds in bytes as well, with 2 KiB for each: tokens of ordinary size fill the one, and those with
    /// very long or very many claims the other.
    pub fn remember_at_most(mut self, entries: usize) -> Self {
        self.remember_at_most = entries;
        self
    }

    /// The longest token that is read: 16 KiB unless set.
    pub fn token_at_most(mut self, bytes: usize) -> Self {
        self.token_at_most = bytes;
        self
    }

    /// The deepest `act` chain that is read: 8 unless set.
    pub fn actors_at_most(mut self, depth: usize) -> Self {
        self.actors_at_most = depth;
        self
    }

    /// What a fetch of keys is given up by, after 30 s: the Tokio runtime's timer unless set.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.outside.timer = timer;
        self
    }

    /// Writes a notice of every fetch of keys, and of every failed one, here.
    pub fn audit(mut self, audit: &Audit) -> Self {
        self.outside.audit = Some(audit.clone());
        self
    }

    /// The verifier. No I/O is done.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn build(self) -> Result<Verifier, ConfigErrors> {
        let mut problems = Problems::new();
        if self.issuers.is_empty() {
            problems.add("issuer", "is missing: name at least one that is trusted");
        }
        let mut issuers: Vec<Trusted> = Vec::with_capacity(self.issuers.len());
        for (at, issuer) in self.issuers.into_iter().enumerate() {
            let setting = format!("issuer[{at}]");
            let Some(checked) = issuer.check(&setting, &mut problems) else { continue };
            if issuers.iter().any(|known| **known.store.issuer() == *checked.name) {
                problems.add(setting, "is named twice: one issuer has one source of keys");
                continue;
            }
            let profile = (!checked.profile.is_standard()).then(|| checked.profile.clone());
            let name = Finder::new(&format!("\"{}\"", checked.name)).into_owned();
            issuers.push(Trusted {
                store: Arc::new(KeyStore::new(checked, self.outside.clone())),
                name,
                profile,
                alike: Alike::default(),
            });
        }
        let of_transactions =
            |trusted: &&Trusted| trusted.profile.as_ref().is_some_and(Profile::is_of_transactions);
        let transactions = issuers.iter().filter(of_transactions).count();
        if transactions > 0 && transactions < issuers.len() {
            problems.add(
                "issuer",
                "has transaction tokens beside an issuer of access tokens: give each a verifier",
            );
        }
        let leeway = match self.leeway {
            None => Leeway::default(),
            Some(leeway) => Leeway::new(leeway).unwrap_or_else(|| {
                problems.add("leeway", "is above 60 s, more than any kept clock is wrong");
                Leeway::NONE
            }),
        };
        if !(1..=TOKEN_BYTES_MOST).contains(&self.token_at_most) {
            problems.add("token_at_most", format!("must lie between 1 and {TOKEN_BYTES_MOST} bytes"));
        }
        let deepest = usize::from(DEPTH) - 1;
        if self.actors_at_most > deepest {
            problems.add("actors_at_most", format!("is above {deepest}, the deepest that is read"));
        }
        let memory = match self.remember_at_most {
            0 => None,
            // Room is made at once, and what no machine has would end the process.
            TOKENS_MOST.. => {
                problems.add("remember_at_most", format!("must lie below {TOKENS_MOST} tokens"));
                None
            }
            most => {
                let memory = Memory::bounded(most);
                if memory.is_none() {
                    problems.add("remember_at_most", "cannot be met: the system has no randomness");
                }
                memory
            }
        };
        problems.into_result(Verifier(Arc::new(Inner {
            issuers,
            transactions: transactions > 0,
            memory,
            familiar: Familiar::default(),
            clock: self.outside.clock,
            leeway,
            token_at_most: self.token_at_most,
            actors_at_most: self.actors_at_most,
            signature_checks: AtomicU64::new(0),
        })))
    }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}
