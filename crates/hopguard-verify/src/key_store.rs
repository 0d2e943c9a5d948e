//! How long do an issuer's keys serve, and when is it asked for them again?
//!
//! | age of the set | what a use does |
//! | --- | --- |
//! | up to 4 min | uses it |
//! | up to 5 min | uses it, and starts a fetch in the background |
//! | up to 1 h | waits for a fetch; while the issuer does not answer, uses it and keeps asking |
//! | more, or no set | waits for a fetch; without an answer nothing can be said about tokens |
//!
//! A failed fetch, or an answer without a key that can serve, changes nothing about the set in use. At most one
//! fetch is under way; it runs in its own task, so that nobody's cancellation ends it for the others.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hopguard_client::{BoxFuture, Spawn, Transport};
use hopguard_core::{Audit, Clock, Decision, Direction, EventKind, Fault, Monotonic, minutes, seconds};
use http::header::ACCEPT;
use http::{Request, StatusCode, Uri};

use crate::algorithm::Algorithm;
use crate::flight::Flight;
use crate::issuer::{Checked, Source};
use crate::keys::KeySet;
use crate::metadata;

/// From this age on, a use starts a fetch in the background.
const DUE: Duration = minutes(4);
/// Up to this age a set is used without asking, while the issuer answers.
const FRESH: Duration = minutes(5);
/// Up to this age a set is used while the issuer does not answer.
const CEILING: Duration = minutes(60);
/// Pause after a failed fetch.
const PAUSE: Duration = seconds(1);
/// How long a failed fetch is taken as a sign that the issuer does not answer.
const OUTAGE: Duration = seconds(30);
/// At most one fetch for the sake of an unknown `kid` in this time.
const EARLY: Duration = seconds(30);
/// How long `jwks_uri` is taken from metadata read before.
const METADATA: Duration = minutes(60);
/// The longest answer that is read.
const ANSWER: usize = 512 * 1024;

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
    refresh: Mutex<Refresh>,
}

/// What a store needs of the world around it.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawn: Spawn,
    pub(crate) audit: Option<Audit>,
}

#[derive(Debug)]
enum Origin {
    Fixed,
    Metadata(Uri),
    Jwks(Uri),
}

#[derive(Default)]
struct Refresh {
    flight: Option<Arc<Flight>>,
    failed: Option<Monotonic>,
    early: Option<Monotonic>,
    jwks: Option<(Uri, Monotonic)>,
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
            Source::Metadata(url) => (Origin::Metadata(url), KeySet::default(), NEVER),
            Source::Jwks(url) => (Origin::Jwks(url), KeySet::default(), NEVER),
        };
        Self {
            issuer: checked.name.into(),
            source,
            algorithms: checked.algorithms,
            outside,
            set: RwLock::new(Arc::new(set)),
            fetched: AtomicU64::new(fetched),
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

    /// True if the issuer may be asked for a key that the set of time `seen` lacks. While a fetch is under way
    /// everyone may wait for it.
    pub(crate) fn may_ask_for_newer(&self, seen: u64) -> bool {
        if matches!(self.source, Origin::Fixed) {
            return false;
        }
        let refresh = self.refresh();
        refresh.flight.is_some()
            || self.fetched.load(Ordering::Acquire) != seen
            || refresh.allows(Want::Newer(seen), self.now())
    }

    /// True if there is a set that may be used, be it stale.
    pub(crate) fn is_usable(&self) -> bool {
        !matches!(self.standing(), Standing::Gone)
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
        match self.now().since(Monotonic::from_origin(Duration::from_millis(fetched))) {
            age if age <= DUE => Standing::Fresh,
            age if age <= FRESH => Standing::Due,
            age if age <= CEILING => Standing::Stale,
            _ => Standing::Gone,
        }
    }

    fn is_out(&self) -> bool {
        let now = self.now();
        self.refresh().failed.is_some_and(|at| now.since(at) <= OUTAGE)
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
            if served || !refresh.allows(want, now) {
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
            landing.outcome = store.ask().await;
        });
        Some(flight)
    }

    /// Asks the issuer for its keys.
    async fn ask(&self) -> Result<KeySet, &'static str> {
        let jwks = match &self.source {
            Origin::Fixed => return Err("the keys are fixed"),
            Origin::Jwks(url) => url.clone(),
            Origin::Metadata(url) => self.discover(url).await?,
        };
        let text = self.get(jwks).await?;
        let (before, _) = self.current();
        let set = KeySet::read(&text, &self.issuer, self.algorithms.as_deref(), Some(&before))
            .map_err(|_| "the key set is malformed")?;
        if set.is_empty() { Err("the key set has no key that can serve") } else { Ok(set) }
    }

    async fn discover(&self, url: &Uri) -> Result<Uri, &'static str> {
        let now = self.now();
        let known = self.refresh().jwks.clone().filter(|(_, read)| now.since(*read) <= METADATA);
        if let Some((jwks, _)) = known {
            return Ok(jwks);
        }
        let text = self.get(url.clone()).await?;
        let jwks = metadata::jwks_uri(&text, &self.issuer)?;
        self.refresh().jwks = Some((jwks.clone(), now));
        Ok(jwks)
    }

    async fn get(&self, url: Uri) -> Result<Bytes, &'static str> {
        let request = Request::get(url).header(ACCEPT, "application/json").body(Bytes::new());
        let request = request.map_err(|_| "the request cannot be made")?;
        let answer = self.outside.transport.send(request).await.map_err(|error| error.code())?;
        if answer.status() != StatusCode::OK {
            return Err("the answer is not 200");
        }
        let text = answer.into_body();
        if text.len() > ANSWER { Err("the answer is too large") } else { Ok(text) }
    }

    fn land(&self, began: Monotonic, outcome: Result<KeySet, &'static str>) {
        let count = match &outcome {
            Ok(set) => set.len(),
            Err(_) => 0,
        };
        let failure = outcome.as_ref().err().copied();
        if let Ok(next) = outcome {
            let next = Arc::new(next);
            let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
            set.retire_all_but(&next);
            *set = next;
            let began = began.since(Monotonic::from_origin(Duration::ZERO)).as_millis();
            self.fetched.store(u64::try_from(began).unwrap_or(NEVER - 1), Ordering::Release);
        }
        let flight = {
            let mut refresh = self.refresh();
            refresh.failed = failure.map(|_| self.now());
            if failure.is_some() {
                // What the metadata said may be out of date as well.
                refresh.jwks = None;
            }
            refresh.flight.take()
        };
        let issuer = &*self.issuer;
        match failure {
            None => tracing::debug!(issuer, count, "the key set was fetched"),
            Some(why) => tracing::warn!(issuer, why, "the key set could not be fetched"),
        }
        self.note(if failure.is_none() { "keys_refreshed" } else { "keys_refresh_failed" });
        if let Some(flight) = flight {
            flight.land();
        }
    }

    fn note(&self, code: &'static str) {
        let Some(audit) = &self.outside.audit else { return };
        let (time, decision) = (self.outside.clock.unix_millis(), Decision::Allow(code));
        let mut event = audit.event(time, Direction::Internal, EventKind::Notice, "keys", decision);
        event.destination = Some(self.issuer.clone());
        if audit.write(event).is_err() {
            tracing::warn!(issuer = &*self.issuer, code, "the audit log has no room for a notice");
        }
    }

    fn refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refresh {
    /// Whether a fetch may begin now.
    fn allows(&self, want: Want, now: Monotonic) -> bool {
        // INVARIANT: I9 — whatever strangers send, the issuer is asked at this pace and no faster.
        let within = |at: Option<Monotonic>, pause| at.is_some_and(|at| now.since(at) < pause);
        !within(self.failed, PAUSE) && (want == Want::Keys || !within(self.early, EARLY))
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

/// Ends a flight however its task ends: done, panicked, or dropped with its runtime.
struct Landing {
    store: Arc<KeyStore>,
    began: Monotonic,
    outcome: Result<KeySet, &'static str>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Err("the fetch was given up"));
        self.store.land(self.began, outcome);
    }
}
