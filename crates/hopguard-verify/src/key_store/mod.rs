//! How long do an issuer's keys serve, and when is it asked for them again?
//!
//! | age of the set | what a use does |
//! | --- | --- |
//! | up to about 4 min | uses it |
//! | up to 5 min | uses it, and starts a fetch in the background |
//! | up to 1 h | waits for a fetch; while the issuer does not answer, uses it and keeps asking |
//! | more, or no set | waits for a fetch; without an answer nothing can be said about tokens |
//!
//! The first two ages are less if the issuer's `Cache-Control` says so, down to 30 s, and 10 s for a file;
//! see [`Pace`]. A failed fetch, or an answer without a key that can serve, changes nothing about the set in
//! use. At most one fetch is under way; it runs in its own task, so that nobody's cancellation ends it for
//! the others.

mod asking;
mod landing;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hopguard_client::{BoxFuture, Spawn, Timer, Transport};
use hopguard_core::{Audit, Clock, Fault, Monotonic, minutes, seconds};
use http::Uri;

use self::asking::Version;
use self::landing::Landing;
use crate::algorithm::Algorithm;
use crate::flight::Flight;
use crate::issuer::{Checked, Source};
use crate::keys::KeySet;

/// Up to this age a set is used while the issuer does not answer.
const CEILING: Duration = minutes(60);
/// Pause after a failed fetch.
const PAUSE: Duration = seconds(1);
/// How long a failed fetch is taken as a sign that the issuer does not answer.
const OUTAGE: Duration = seconds(30);
/// At most one fetch for the sake of an unknown `kid` in this time.
const EARLY: Duration = seconds(30);
/// The same where the keys stand in a file.
const EARLY_IN_FILE: Duration = seconds(1);
/// Stands for the time of a set that was never fetched.
const NEVER: u64 = u64::MAX;

/// One issuer's keys.
pub(crate) struct KeyStore {
    issuer: Arc<str>,
    source: Origin,
    algorithms: Option<Vec<Algorithm>>,
    outside: Outside,
    set: RwLock<Arc<KeySet>>,
    /// When the fetch of the set in use began, in milliseconds of the monotonic clock.
    fetched: AtomicU64,
    due_after: AtomicU64,
    fresh_for: AtomicU64,
    fetches: AtomicU64,
    failures: AtomicU64,
    refresh: Mutex<Refresh>,
}

/// How an issuer's keys are, for metrics and whoever looks after them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeySetStatus {
    /// The issuer, as tokens name it.
    pub issuer: Arc<str>,
    /// How many keys can serve.
    pub keys: usize,
    /// How long ago the issuer was last asked with success; `None` if never, or if the keys are fixed.
    pub age: Option<Duration>,
    /// True if the keys may be used.
    pub usable: bool,
    /// How often the issuer was asked since the start.
    pub fetches: u64,
    /// How often that failed.
    pub failures: u64,
}

/// What a store needs of the world around it.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawn: Spawn,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) audit: Option<Audit>,
}

#[derive(Debug)]
enum Origin {
    Fixed,
    File(PathBuf),
    Metadata([Uri; 2]),
    Jwks(Uri),
}

#[derive(Default)]
struct Refresh {
    flight: Option<Arc<Flight>>,
    failed: Option<Monotonic>,
    early: Option<Monotonic>,
    jwks: Option<(Uri, Monotonic)>,
    version: Option<Version>,
}

/// Why a fetch is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// There is no set, or it is too old to be used without asking.
    Keys,
    /// The set that was fetched at this time lacks the token's key.
    Newer(u64),
}

enum Standing {
    Fresh,
    Due,
    Stale,
    Gone,
}

impl KeyStore {
    pub(crate) fn new(checked: Checked, outside: Outside) -> Self {
        let (source, set, fetched) = match checked.source {
            Source::Fixed(set) => (Origin::Fixed, set, 0),
            Source::File(path) => (Origin::File(path), KeySet::default(), NEVER),
            Source::Metadata(urls) => (Origin::Metadata(urls), KeySet::default(), NEVER),
            Source::Jwks(url) => (Origin::Jwks(url), KeySet::default(), NEVER),
        };
        Self {
            issuer: checked.name.into(),
            source,
            algorithms: checked.algorithms,
            outside,
            set: RwLock::new(Arc::new(set)),
            fetched: AtomicU64::new(fetched),
            due_after: AtomicU64::new(0),
            fresh_for: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refresh: Mutex::default(),
        }
    }

    /// The issuer, as tokens name it.
    pub(crate) fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }

    /// Notes a use of the keys, whether through the set or through a remembered verdict, and says whether they
    /// may be used now.
    pub(crate) fn begin_use(self: &Arc<Self>) -> Result<(), Want> {
        match self.standing() {
            Standing::Fresh => Ok(()),
            Standing::Due => {
                self.refresh_behind();
                Ok(())
            }
            Standing::Stale if self.is_out() => {
                self.refresh_behind();
                Ok(())
            }
            Standing::Stale | Standing::Gone => Err(Want::Keys),
        }
    }

    /// The set in use, and when it was fetched.
    pub(crate) fn current(&self) -> (Arc<KeySet>, u64) {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        (set.clone(), self.fetched.load(Ordering::Acquire))
    }

    /// True if the set in use is fresh, has no key of this name, and the issuer may not be asked for a newer one now.
    pub(crate) fn surely_lacks(&self, id: &str) -> bool {
        let (has, fetched) = {
            let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
            (set.has(id), self.fetched.load(Ordering::Acquire))
        };
        !has && matches!(self.standing(), Standing::Fresh) && !self.may_ask_for_newer(fetched)
    }

    /// True if the issuer may be asked for a key that the set of time `seen` lacks. While a fetch is under way
    /// everyone may wait for it.
    pub(crate) fn may_ask_for_newer(&self, seen: u64) -> bool {
        if matches!(self.source, Origin::Fixed) {
            return false;
        }
        let refresh = self.refresh();
        refresh.flight.is_some()
            || self.fetched.load(Ordering::Acquire) != seen
            || refresh.allows(Want::Newer(seen), self.now(), self.early())
    }

    /// True if there is a set that may be used, be it stale.
    pub(crate) fn is_usable(&self) -> bool {
        !matches!(self.standing(), Standing::Gone)
    }

    /// How the keys are.
    pub(crate) fn status(&self) -> KeySetStatus {
        let (set, fetched) = self.current();
        let asked = fetched != NEVER && !matches!(self.source, Origin::Fixed);
        KeySetStatus {
            issuer: self.issuer.clone(),
            keys: set.len(),
            age: asked.then(|| self.now().since(reading(fetched))),
            usable: self.is_usable(),
            fetches: self.fetches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Waits for what is wanted. Resolves to `Ok` whenever there is a set that can be used afterwards.
    pub(crate) fn fetch(self: Arc<Self>, want: Want) -> BoxFuture<'static, Result<(), Fault>> {
        let flight = self.join_or_start(want);
        Box::pin(async move {
            let crowded = match flight {
                Some(flight) => flight.landed().await.is_err(),
                None => false,
            };
            if self.is_usable() && !(crowded && want == Want::Keys) {
                Ok(())
            } else {
                Err(Fault::KeysUnavailable)
            }
        })
    }

    fn now(&self) -> Monotonic {
        self.outside.clock.monotonic()
    }

    fn standing(&self) -> Standing {
        if matches!(self.source, Origin::Fixed) {
            return Standing::Fresh;
        }
        let fetched = self.fetched.load(Ordering::Acquire);
        if fetched == NEVER {
            return Standing::Gone;
        }
        let pace = |limit: &AtomicU64| Duration::from_millis(limit.load(Ordering::Acquire));
        match self.now().since(reading(fetched)) {
            age if age <= pace(&self.due_after) => Standing::Fresh,
            age if age <= pace(&self.fresh_for) => Standing::Due,
            age if age <= CEILING => Standing::Stale,
            _ => Standing::Gone,
        }
    }

    fn is_out(&self) -> bool {
        let now = self.now();
        self.refresh().failed.is_some_and(|at| now.since(at) <= OUTAGE)
    }

    fn early(&self) -> Duration {
        if matches!(self.source, Origin::File(_)) { EARLY_IN_FILE } else { EARLY }
    }

    fn refresh_behind(self: &Arc<Self>) {
        // The future is not awaited: the flight goes on by itself.
        drop(self.join_or_start(Want::Keys));
    }

    /// The flight to wait for, if one is under way or may be begun.
    fn join_or_start(self: &Arc<Self>, want: Want) -> Option<Arc<Flight>> {
        let (flight, landing) = {
            let mut refresh = self.refresh();
            if refresh.flight.is_some() {
                return refresh.flight.clone();
            }
            let now = self.now();
            // Between the look at the set and this line, another flight may have landed.
            let served = match want {
                Want::Keys => matches!(self.standing(), Standing::Fresh),
                Want::Newer(seen) => self.fetched.load(Ordering::Acquire) != seen,
            };
            if served || !refresh.allows(want, now, self.early()) {
                return None;
            }
            if matches!(want, Want::Newer(_)) {
                refresh.early = Some(now);
            }
            let flight = Arc::new(Flight::default());
            refresh.flight = Some(flight.clone());
            (flight, Landing { store: self.clone(), began: now, outcome: Err("the fetch was given up") })
        };
        self.outside.spawn.spawn(async move {
            let mut landing = landing;
            let store = landing.store.clone();
            landing.outcome = store.ask_in_time().await;
        });
        Some(flight)
    }

    fn refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reading(millis: u64) -> Monotonic {
    Monotonic::from_origin(Duration::from_millis(millis))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER).min(NEVER.saturating_sub(1))
}

impl Refresh {
    /// Whether a fetch may begin now.
    fn allows(&self, want: Want, now: Monotonic, early: Duration) -> bool {
        // INVARIANT: I9 — whatever strangers send, the issuer is asked at this pace and no faster.
        let within = |at: Option<Monotonic>, pause| at.is_some_and(|at| now.since(at) < pause);
        !within(self.failed, PAUSE) && (want == Want::Keys || !within(self.early, early))
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("issuer", &self.issuer)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
