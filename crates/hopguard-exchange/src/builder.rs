//! The settings of an exchanger, judged all at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hopguard_client::{ClientAuth, Spawn, SystemTimer, Timer, Transport};
use hopguard_core::{Clock, ConfigErrors, Ledger, Problems, parse_absolute};
use hopguard_verify::Verifier;

use crate::actor::ActorToken;
use crate::breaker::Breaker;
use crate::cache::GrantCache;
use crate::endpoint::{Discovery, TokenEndpoint, endpoint_url};
use crate::exchanger::{Exchanger, Inner};
use crate::flight::Flights;
use crate::key::GrantKeys;
use crate::patience::Patient;
use crate::profile::StsProfile;
use crate::retry::Budget;
use crate::status::Counts;

/// From here on nobody means a bound: grants would take 64 GiB.
const MOST: usize = 1 << 24;

/// Collects the settings of an [`Exchanger`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ExchangerBuilder {
    pub(crate) issuer: String,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) auth: ClientAuth,
    pub(crate) profile: StsProfile,
    pub(crate) acts_as: Option<String>,
    pub(crate) actor: Option<ActorToken>,
    pub(crate) verifier: Verifier,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) spawn: Spawn,
    pub(crate) ledger: Ledger,
    pub(crate) remember_at_most: usize,
    pub(crate) waiters_at_most: usize,
    pub(crate) flights_at_most: usize,
    pub(crate) refresh_ahead: Duration,
}

impl ExchangerBuilder {
    /// Grants kept unless set otherwise.
    pub const DEFAULT_REMEMBERED: usize = 10_000;
    /// Callers that wait for an exchange at one time unless set otherwise.
    pub const DEFAULT_WAITERS: usize = 10_000;
    /// Exchanges under way at one time unless set otherwise.
    pub const DEFAULT_FLIGHTS: usize = 2048;

    /// How long before its end a grant is renewed at most, unless set otherwise.
    pub const DEFAULT_REFRESH_AHEAD: Duration = Duration::from_secs(60);

    /// Sends to this token endpoint and asks for no metadata.
    pub fn token_endpoint(mut self, url: &str) -> Self {
        self.token_endpoint = Some(url.to_owned());
        self
    }

    /// Sends `actor` with each exchange. Without it no exchange is made.
    pub fn actor_token(mut self, actor: ActorToken) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Which of the server's error codes mean the caller; none but those of RFC 9470 unless set.
    pub fn sts_profile(mut self, profile: StsProfile) -> Self {
        self.profile = profile;
        self
    }

    /// The name under which we stand in the `act` of grants, where that is not the client's: the subject of the
    /// actor token, for servers that write that.
    pub fn acts_as(mut self, name: &str) -> Self {
        self.acts_as = Some(name.to_owned());
        self
    }

    /// Waits between attempts by `timer` in place of the runtime's.
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = Some(timer);
        self
    }

    /// Keeps at most so many grants (but room for 16), and about 4 KiB for each in all; the least used goes
    /// first.
    pub fn remember_at_most(mut self, entries: usize) -> Self {
        self.remember_at_most = entries;
        self
    }

    /// Lets at most so many callers wait at one time; who comes after gets
    /// [`ExchangeOverloaded`](hopguard_core::Fault::ExchangeOverloaded).
    pub fn waiters_at_most(mut self, callers: usize) -> Self {
        self.waiters_at_most = callers;
        self
    }

    /// Lets at most so many exchanges be under way at one time; who would begin another gets
    /// [`ExchangeOverloaded`](hopguard_core::Fault::ExchangeOverloaded).
    pub fn flights_at_most(mut self, exchanges: usize) -> Self {
        self.flights_at_most = exchanges;
        self
    }

    /// Begins to renew a grant that is used so long before its end at most, and in the second half of its
    /// life at the earliest. Zero: never before its end.
    pub fn refresh_ahead_at_most(mut self, ahead: Duration) -> Self {
        self.refresh_ahead = ahead;
        self
    }

    /// The exchanger. Does no I/O.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every setting that is wrong.
    pub fn build(self) -> Result<Exchanger, ConfigErrors> {
        let mut problems = Problems::new();
        let parsed =
            parse_issuer(&self.issuer).map_err(|problem| problems.add("exchange.issuer", problem)).ok();
        if let Err(nested) = self.auth.validate() {
            problems.absorb("exchange.auth", nested);
        }
        if let Some(problem) = self.profile.problem() {
            problems.add("exchange.sts_profile", problem);
        }
        for (setting, value) in [
            ("exchange.remember_at_most", self.remember_at_most),
            ("exchange.waiters_at_most", self.waiters_at_most),
            ("exchange.flights_at_most", self.flights_at_most),
        ] {
            match value {
                0 => problems.add(setting, "is zero: at least one is needed"),
                MOST.. => problems.add(setting, format!("must lie below {MOST}")),
                _ => {}
            }
        }
        let acts_as = self.acts_as.as_deref().unwrap_or(self.auth.client_id());
        if self.acts_as.as_ref().is_some_and(String::is_empty) {
            problems.add("exchange.acts_as", "is empty: give the name that `act` holds");
        }
        let keys = {
            let token = self.actor.as_ref().map(ActorToken::dimensions);
            let actor = std::iter::once(acts_as).chain(token.iter().flatten().map(String::as_str));
            let (endpoint, actor) = (self.token_endpoint.as_deref(), actor.collect::<Vec<_>>());
            GrantKeys::new(&self.issuer, endpoint, self.auth.client_id(), &actor)
        };
        let endpoint = match (&self.token_endpoint, &parsed) {
            (Some(url), _) => endpoint_url(url)
                .map_err(|problem| problems.add("exchange.token_endpoint", problem))
                .ok()
                .map(TokenEndpoint::Fixed),
            (None, Some(parsed)) => {
                let discovery = Discovery::of(&self.issuer, parsed);
                if discovery.is_none() {
                    problems.add("exchange.issuer", "has no metadata URL: set the token endpoint");
                }
                discovery.map(TokenEndpoint::Discovered)
            }
            (None, None) => None,
        };
        let timer = self.timer.unwrap_or_else(SystemTimer::shared);
        let transport = Arc::new(Patient { transport: self.transport, timer: timer.clone() });
        match endpoint {
            Some(endpoint) if problems.is_empty() => Ok(Exchanger(Arc::new(Inner {
                issuer: self.issuer.as_str().into(),
                acts_as: acts_as.into(),
                client: self.auth.client_id().into(),
                profile: self.profile,
                auth: self.auth,
                actor: self.actor,
                endpoint,
                verifier: self.verifier,
                transport,
                clock: self.clock,
                timer,
                spawn: self.spawn,
                breaker: Breaker::new(),
                retries: Budget::full(),
                ledger: self.ledger,
                keys,
                cache: GrantCache::new(self.remember_at_most),
                flights: Flights::new(self.flights_at_most, self.waiters_at_most),
                refresh_ahead: u64::try_from(self.refresh_ahead.as_millis()).unwrap_or(u64::MAX),
                overflows: AtomicU64::new(0),
                counts: Counts::default(),
            }))),
            _ => Err(problems.into_errors()),
        }
    }
}

impl fmt::Debug for ExchangerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangerBuilder")
            .field("issuer", &self.issuer)
            .field("token_endpoint", &self.token_endpoint)
            .finish_non_exhaustive()
    }
}

/// An issuer is a URL without query and fragment (RFC 8414 section 2).
fn parse_issuer(issuer: &str) -> Result<http::Uri, &'static str> {
    if issuer.contains(['?', '#']) {
        return Err("has a query or a fragment");
    }
    parse_absolute(issuer)
}
