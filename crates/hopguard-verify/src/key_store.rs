//! How long do an issuer's keys serve, and when is it asked for them again?
//!
//! | age of the set | what a use does |
//! | --- | --- |
//! | up to about 4 min | uses it |
//! | up to 5 min | uses it, and starts a fetch in the background |
//! | up to 1 h | waits for a fetch; while the issuer does not answer, uses it and keeps asking |
//! | more, or no set | waits for a fetch; without an answer nothing can be said about tokens |
//!
//! The first two ages are less if the issuer's `Cache-Control` says so, down to 30 s, and 10 s for a file; see
//! [`Pace`]. A failed fetch, or an answer without a key that can serve, changes nothing about the set in use. At most one
//! fetch is under way; it runs in its own task, so that nobody's cancellation ends it for the others.

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hopguard_client::{BoxFuture, Spawn, Timer, Transport};
use hopguard_core::{
    Audit, Clock, Decision, Direction, EventKind, Fault, Fingerprint, Monotonic, minutes, seconds,
};
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode, Uri};

use crate::algorithm::Algorithm;
use crate::flight::Flight;
use crate::issuer::{Checked, Source};
use crate::jwks_file;
use crate::keys::KeySet;
use crate::metadata;
use crate::pace::Pace;

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
/// The longest entity tag that is kept.
const TAG: usize = 256;
/// How long `jwks_uri` is taken from metadata read before.
const METADATA: Duration = minutes(60);
/// The longest that a fetch may take, metadata included: a transport that never answers must not hold everyone up.
const PATIENCE: Duration = seconds(30);
/// The longest answer that is read.
const ANSWER: usize = 512 * 1024;

const NOT_OK: &str = "the answer is not 200";

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

/// What asking for keys brought.
struct Brought {
    /// Absent if the set in use is still the one.
    set: Option<KeySet>,
    pace: Pace,
    /// By what the next answer can be known to be the same.
    version: Option<Version>,
}

/// What a set can be recognised by without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    /// The entity tag that stood beside it at this URL.
    Tag(Uri, HeaderValue),
    /// Its bytes.
    Bytes(Fingerprint),
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

    /// Asks the issuer for its keys, and gives up on an answer that takes too long.
    async fn ask_in_time(&self) -> Result<Brought, &'static str> {
        let mut ask = pin!(self.ask());
        let mut late = self.outside.timer.wait(PATIENCE);
        poll_fn(|context| match ask.as_mut().poll(context) {
            Poll::Pending => late.as_mut().poll(context).map(|()| Err("the answer takes too long")),
            outcome => outcome,
        })
        .await
    }

    /// Asks the issuer for its keys.
    async fn ask(&self) -> Result<Brought, &'static str> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let known = self.refresh().version.clone();
        // Where the system has no randomness, all instances ask at the same time: a pity, no danger.
        let mut chance = [0];
        let [chance] = aws_lc_rs::rand::fill(&mut chance).map_or([0], |()| chance);
        let jwks = match &self.source {
            Origin::Fixed => return Err("the keys are fixed"),
            Origin::File(path) => {
                let text = jwks_file::read(path, ANSWER)?;
                let version = Some(Version::Bytes(Fingerprint::of_bytes(&text)));
                let set = if known == version { None } else { Some(self.read(&text)?) };
                return Ok(Brought { set, pace: Pace::of_file(chance), version });
            }
            Origin::Jwks(url) => url.clone(),
            Origin::Metadata(urls) => self.discover(urls).await?,
        };
        let tag = match known {
            Some(Version::Tag(url, tag)) if url == jwks => Some(tag),
            _ => None,
        };
        let answer = self.get(jwks.clone(), tag.as_ref()).await?;
        let pace = Pace::of_answer(answer.headers(), chance);
        match (answer.status(), tag) {
            (StatusCode::OK, _) => {
                let tag = answer.headers().get(ETAG).filter(|tag| tag.len() <= TAG).cloned();
                let version = tag.map(|tag| Version::Tag(jwks, tag));
                Ok(Brought { set: Some(self.read(answer.body())?), pace, version })
            }
            // The tag was kept when its set was taken into use, so the set in use is meant (RFC 9110 section 15.4.5).
            (StatusCode::NOT_MODIFIED, Some(tag)) => {
                Ok(Brought { set: None, pace, version: Some(Version::Tag(jwks, tag)) })
            }
            _ => Err(NOT_OK),
        }
    }

    fn read(&self, text: &[u8]) -> Result<KeySet, &'static str> {
        let (before, _) = self.current();
        let set = KeySet::read(text, &self.issuer, self.algorithms.as_deref(), Some(&before))
            .map_err(|_| "the key set is malformed")?;
        if set.is_empty() { Err("the key set has no key that can serve") } else { Ok(set) }
    }

    async fn discover(&self, urls: &[Uri; 2]) -> Result<Uri, &'static str> {
        let now = self.now();
        let known = self.refresh().jwks.clone().filter(|(_, read)| now.since(*read) <= METADATA);
        if let Some((jwks, _)) = known {
            return Ok(jwks);
        }
        let mut problem = NOT_OK;
        for url in urls {
            // Without an answer there is nobody to ask for the other document either.
            let answer = self.get(url.clone(), None).await?;
            if answer.status() != StatusCode::OK {
                continue;
            }
            match metadata::jwks_uri(answer.body(), &self.issuer) {
                Ok(jwks) => {
                    self.refresh().jwks = Some((jwks.clone(), now));
                    return Ok(jwks);
                }
                Err(found) => problem = found,
            }
        }
        Err(problem)
    }

    async fn get(&self, url: Uri, tag: Option<&HeaderValue>) -> Result<Response<Bytes>, &'static str> {
        let mut request = Request::get(url).header(ACCEPT, "application/json");
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let request = request.body(Bytes::new()).map_err(|_| "the request cannot be made")?;
        let answer = self.outside.transport.send(request).await.map_err(|error| error.code())?;
        if answer.body().len() > ANSWER { Err("the answer is too large") } else { Ok(answer) }
    }

    fn land(&self, began: Monotonic, outcome: Result<Brought, &'static str>) {
        let failure = outcome.as_ref().err().copied();
        let mut changed = false;
        let mut version = None;
        if let Ok(brought) = outcome {
            changed = brought.set.is_some();
            version = brought.version;
            if let Some(next) = brought.set {
                let next = Arc::new(next);
                let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
                set.retire_all_but(&next);
                *set = next;
            }
            self.due_after.store(millis(brought.pace.due), Ordering::Release);
            self.fresh_for.store(millis(brought.pace.fresh), Ordering::Release);
            let began = began.since(Monotonic::from_origin(Duration::ZERO));
            self.fetched.store(millis(began), Ordering::Release);
        }
        let flight = {
            let mut refresh = self.refresh();
            refresh.failed = failure.map(|_| self.now());
            if failure.is_some() {
                // What the metadata said may be out of date as well. What the set in use is known by is not.
                refresh.jwks = None;
            } else {
                refresh.version = version;
            }
            refresh.flight.take()
        };
        let (issuer, count) = (&*self.issuer, self.current().0.len());
        match failure {
            None => tracing::debug!(issuer, count, changed, "the key set was fetched"),
            Some(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(issuer, why, "the key set could not be fetched");
            }
        }
        match failure {
            Some(_) => self.note("keys_refresh_failed"),
            // A file is looked at every few seconds: only a change of it is news.
            None if changed || !matches!(self.source, Origin::File(_)) => self.note("keys_refreshed"),
            None => {}
        }
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

fn reading(millis: u64) -> Monotonic {
    Monotonic::from_origin(Duration::from_millis(millis))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1).min(NEVER - 1)
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

/// Ends a flight however its task ends: done, panicked, or dropped with its runtime.
struct Landing {
    store: Arc<KeyStore>,
    began: Monotonic,
    outcome: Result<Brought, &'static str>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Err("the fetch was given up"));
        self.store.land(self.began, outcome);
    }
}
