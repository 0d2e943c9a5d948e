//! The exchanger: from an admitted caller and a route to a proven grant.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hopguard_client::{BoxFuture, ClientAuth, Spawn, Timer, Transport};
use hopguard_core::{
    Admitted, AsOurselves, Asked, CacheState, Clock, Denial, Destination, Exchange, Facts, Fault, Granted,
    Ledger, RawToken, Refusal, Remembered,
};
use hopguard_verify::Verifier;

use crate::actor::ActorToken;
use crate::answer::{Answer, Reading, read_answer, transport_fault};
use crate::breaker::Breaker;
use crate::builder::ExchangerBuilder;
use crate::cache::{Found, GrantCache, Life, Millis, ends_at, judge, renewed_from, served_until};
use crate::endpoint::TokenEndpoint;
use crate::flight::{Boarding, Flights, Pilot};
use crate::key::{GrantKey, GrantKeys};
use crate::prepared::Prepared;
use crate::profile::StsProfile;
use crate::request::{Identity, own_form, token_request};
use crate::retry::{Attempts, Budget, Trouble, chance};
use crate::status::{Counts, ExchangeStatus};

/// Exchanges tokens at one authorization server; see the crate's documentation. Cloning it shares it.
#[derive(Clone)]
pub struct Exchanger(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) issuer: Arc<str>,
    pub(crate) auth: ClientAuth,
    pub(crate) client: Arc<str>,
    pub(crate) profile: StsProfile,
    // As it is expected in `act`.
    pub(crate) acts_as: Arc<str>,
    pub(crate) actor: Option<ActorToken>,
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) verifier: Verifier,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) spawn: Spawn,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) retries: Budget,
    pub(crate) ledger: Ledger,
    pub(crate) keys: GrantKeys,
    pub(crate) cache: GrantCache,
    pub(crate) flights: Arc<Flights<GrantKey, Result<Granted, Refusal>>>,
    pub(crate) refresh_ahead: Millis,
    pub(crate) overflows: AtomicU64,
    pub(crate) counts: Counts,
}

/// What one request is about; owned, because it outlives the call that began it.
pub(crate) struct Job {
    key: GrantKey,
    purpose: Purpose,
    destination: Destination,
}

/// For whom a grant is asked.
pub(crate) enum Purpose {
    /// For a caller, by its token.
    OnBehalf { parent: Arc<Facts>, token: Arc<RawToken>, prepared: Prepared },
    /// For us.
    Own(AsOurselves),
}

impl Purpose {
    pub(crate) fn asked(&self) -> &Asked {
        match self {
            Self::OnBehalf { prepared, .. } => prepared.target().asked(),
            Self::Own(target) => target.asked(),
        }
    }

    fn parent(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::OnBehalf { parent, .. } => Some(parent),
            Self::Own(_) => None,
        }
    }
}

impl Job {
    fn of(key: GrantKey, subject: &Admitted, prepared: &Prepared) -> Self {
        let (parent, token) = (Arc::clone(subject.facts()), Arc::clone(subject.subject_token()));
        let purpose = Purpose::OnBehalf { parent, token, prepared: prepared.clone() };
        Self { key, purpose, destination: prepared.destination().clone() }
    }

    pub(crate) fn own(key: GrantKey, target: &AsOurselves, destination: &Destination) -> Self {
        Self { key, purpose: Purpose::Own(target.clone()), destination: destination.clone() }
    }
}

impl Exchanger {
    /// Begins an exchanger for the authorization server whose issuer URL is `issuer`.
    ///
    /// `verifier` must trust that issuer; what it returns is verified by it. `ledger` must be that of the
    /// inbound stack whose callers are served: others are refused.
    pub fn builder(
        issuer: &str,
        auth: ClientAuth,
        verifier: Verifier,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        spawn: Spawn,
        ledger: &Ledger,
    ) -> ExchangerBuilder {
        ExchangerBuilder {
            issuer: issuer.to_owned(),
            token_endpoint: None,
            auth,
            profile: StsProfile::default(),
            acts_as: None,
            actor: None,
            verifier,
            transport,
            clock,
            timer: None,
            spawn,
            ledger: ledger.clone(),
            remember_at_most: ExchangerBuilder::DEFAULT_REMEMBERED,
            waiters_at_most: ExchangerBuilder::DEFAULT_WAITERS,
            flights_at_most: ExchangerBuilder::DEFAULT_FLIGHTS,
            refresh_ahead: ExchangerBuilder::DEFAULT_REFRESH_AHEAD,
        }
    }

    /// The grant if a live one is in the cache: no waiting. A use near the grant's end begins to fetch its
    /// successor in a task of its own, where a runtime is current to carry it. `None` also for callers that
    /// [`grant`](Self::grant) would refuse.
    #[must_use]
    pub fn cached(&self, subject: &Admitted, prepared: &Prepared) -> Option<Granted> {
        self.cached_at(subject, prepared, self.0.clock.unix_millis())
    }

    /// As [`cached`](Self::cached), by the time that the caller has read from the same clock just now: milliseconds
    /// since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn cached_at(&self, subject: &Admitted, prepared: &Prepared, now: u64) -> Option<Granted> {
        // Whether the caller's token is alive is judged with the grant.
        self.0.check_fit(subject, prepared.target()).ok()?;
        self.0.serve(prepared.keys().key(subject.facts()), subject, prepared, now)
    }

    /// The grant for calls to a destination, exchanging the caller's token if need be.
    ///
    /// An exchange once begun runs in a task of its own: dropping the future neither stops it nor strands
    /// others who wait for it.
    ///
    /// # Errors
    ///
    /// Of the caller: [`Denial::RouteRequiresScope`], [`Denial::SubjectExpired`], [`Denial::TokenWithdrawn`],
    /// [`Denial::ExchangeTargetRefused`], [`Denial::StepUpRequired`], and [`Denial::SubjectRefused`] for codes that the
    /// [`StsProfile`] names.
    ///
    /// Ours: [`Fault::OwnCredentialUnavailable`], [`Fault::EvidenceForeign`] for a caller whose token another
    /// ledger knows, [`Fault::SubjectIssuerForeign`] for one whose token another issuer made,
    /// [`Fault::ExchangeOverloaded`], [`Fault::StsRefused`], [`Fault::LedgerFull`]. The authorization
    /// server's: [`Fault::StsUnavailable`], [`Fault::StsBusy`], [`Fault::StsAnswerInvalid`],
    /// [`Fault::KeysUnavailable`], [`Fault::GrantTypeUnexpected`], [`Fault::GrantUnreadable`], and those of
    /// [`hopguard_core::prove_narrowing`].
    #[must_use = "nothing is exchanged before the future is polled"]
    pub fn grant(
        &self,
        subject: &Admitted,
        prepared: &Prepared,
    ) -> BoxFuture<'static, Result<(Granted, CacheState), Refusal>> {
        if let Err(refusal) = self.0.check(subject, prepared.target()) {
            return Box::pin(ready(Err(refusal)));
        }
        let key = prepared.keys().key(subject.facts());
        if let Some(granted) = self.0.serve(key, subject, prepared, self.0.clock.unix_millis()) {
            return Box::pin(ready(Ok((granted, CacheState::Hit))));
        }
        Box::pin(Arc::clone(&self.0).wait_for(Job::of(key, subject, prepared)))
    }

    /// Drops a grant that its destination has refused with `invalid_token`, so that the next call exchanges
    /// anew. A newer grant for the same request stays.
    pub fn forget(&self, subject: &Admitted, prepared: &Prepared, refused: &Granted) {
        let key = prepared.keys().key(subject.facts());
        self.0.cache.forget(key, refused.facts().fingerprint);
    }

    /// How many live entries the ledger had to let go for grants, since this was last asked. Each is worth a
    /// `ledger_overflow` event, which this crate has no way to write.
    #[must_use = "the count starts anew"]
    pub fn take_ledger_overflows(&self) -> u64 {
        self.0.overflows.swap(0, Ordering::Relaxed)
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self) -> ExchangeStatus {
        self.0.counts.status(self.0.cache.len(), self.0.flights.traffic())
    }

    #[cfg(test)]
    pub(crate) fn traffic(&self) -> (usize, usize) {
        self.0.flights.traffic()
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.0.cache.len()
    }
}

impl fmt::Debug for Exchanger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanger")
            .field("issuer", &self.0.issuer)
            .field("auth", &self.0.auth)
            .field("acts_as", &self.0.acts_as)
            .field("cache", &self.0.cache)
            .field("flights", &self.0.flights)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Everything about the caller that needs no I/O; nothing is looked up or sent before it holds.
    fn check(&self, subject: &Admitted, target: &Exchange) -> Result<(), Refusal> {
        self.check_fit(subject, target)?;
        self.check_alive(Some(subject.facts()))
    }

    /// Everything about the caller that time does not change.
    fn check_fit(&self, subject: &Admitted, target: &Exchange) -> Result<(), Refusal> {
        if subject.ledger() != self.ledger.id() {
            return Err(Fault::EvidenceForeign.into());
        }
        let parent = subject.facts();
        // INVARIANT: I3 — a received token goes to its own issuer's endpoint and to no other.
        if parent.issuer != self.issuer {
            return Err(Fault::SubjectIssuerForeign.into());
        }
        // INVARIANT: I6 — the route is open to this parent, whoever forgot to ask before.
        Ok(target.check_open_to(parent)?)
    }

    fn check_alive(&self, parent: Option<&Facts>) -> Result<(), Refusal> {
        let Some(parent) = parent else { return Ok(()) };
        if self.clock.now() >= parent.expires {
            return Err(Denial::SubjectExpired.into());
        }
        if self.ledger.withdrawals().strikes(parent) {
            return Err(Denial::TokenWithdrawn.into());
        }
        Ok(())
    }

    pub(crate) fn kept(&self, key: GrantKey, parent: Option<&Facts>, now: Millis) -> Option<Found> {
        self.cache.grant(key, parent, self.ledger.withdrawals(), now)
    }

    /// The live grant under `key`, which this use may be the one to renew.
    fn serve(
        self: &Arc<Self>,
        key: GrantKey,
        subject: &Admitted,
        prepared: &Prepared,
        now: Millis,
    ) -> Option<Granted> {
        let found = self.kept(key, Some(subject.facts()), now)?;
        Some(self.used(key, &found, || Job::of(key, subject, prepared)))
    }

    /// The grant that was found; the one use that is to renew it begins to.
    pub(crate) fn used(self: &Arc<Self>, key: GrantKey, found: &Found, job: impl FnOnce() -> Job) -> Granted {
        if found.claims_renewal()
            && let Boarding::Leads(pilot, _passenger) = self.flights.board(key, || None::<()>)
        {
            self.counts.renew();
            self.fly(job(), pilot);
        }
        found.granted()
    }

    /// Carries an exchange to its end in a task of its own.
    fn fly(self: &Arc<Self>, job: Job, pilot: Pilot<GrantKey, Result<Granted, Refusal>>) {
        let inner = Arc::clone(self);
        // Without a runtime the task is dropped and the pilot with it, which its passengers are told.
        self.spawn.try_spawn(async move {
            let (key, is_of_subject) = (job.key, job.purpose.parent().is_some());
            // A box of its own: the task is moved several times before and after it runs, and this is most of it.
            let outcome = Box::pin(inner.exchange(job)).await;
            if outcome.is_err() {
                inner.counts.fail();
            }
            // INVARIANT: I4, G12 — only what is the caller's own fault is held against it.
            if let Err(Refusal::Denial(denial)) = &outcome
                && is_of_subject
            {
                inner.cache.refuse(key, denial.clone(), inner.clock.monotonic());
            }
            pilot.land(outcome);
        });
    }

    pub(crate) async fn wait_for(self: Arc<Self>, job: Job) -> Result<(Granted, CacheState), Refusal> {
        // Between the call and its first poll time may have passed.
        let (key, parent) = (job.key, job.purpose.parent().cloned());
        let parent = parent.as_deref();
        self.check_alive(parent)?;
        let landed = || match self.kept(key, parent, self.clock.unix_millis()) {
            Some(found) => Some(Ok(found.granted())),
            None => self.cache.refusal(key, self.clock.monotonic()).map(Err),
        };
        // A flight under way may be a renewal, and whoever finds a live grant has no need to wait for it.
        if let Some(found) = self.kept(key, parent, self.clock.unix_millis()) {
            return Ok((found.granted(), CacheState::Hit));
        }
        let (passenger, state) = match self.flights.board(key, landed) {
            Boarding::Landed(Ok(granted)) => return Ok((granted, CacheState::Hit)),
            Boarding::Landed(Err(refusal)) => return Err(refusal),
            Boarding::Full => return Err(Fault::ExchangeOverloaded.into()),
            Boarding::Follows(passenger) => (passenger, CacheState::Coalesced),
            Boarding::Leads(pilot, passenger) => {
                self.counts.begin();
                self.fly(job, pilot);
                (passenger, CacheState::Miss)
            }
        };
        let granted = passenger.await.unwrap_or(Err(Fault::StsUnavailable.into()))?;
        judge(&granted, parent, self.ledger.withdrawals(), self.clock.now())?;
        Ok((granted, state))
    }

    /// One exchange from request to kept grant.
    async fn exchange(&self, job: Job) -> Result<Granted, Refusal> {
        let endpoint = self.endpoint.find(&*self.transport, &*self.clock).await?;
        let parent = job.purpose.parent().map(|parent| &**parent);
        let (asked, answer) =
            self.ask(&endpoint, &job).await.map_err(|refusal| self.blame(refusal, parent))?;
        let granted =
            self.prove(&answer, &job.purpose).await.map_err(|refusal| self.blame(refusal, parent))?;

        let facts = granted.facts();
        let remembered = if facts.structured || facts.fingerprinted_len >= Ledger::SHORTEST_OPAQUE {
            self.ledger.remember_granted(&granted, &job.destination, self.clock.now())?
        } else {
            // Too short to be told from other text: the price of the relaxation.
            Remembered { evicted: false }
        };
        if remembered.evicted {
            self.overflows.fetch_add(1, Ordering::Relaxed);
        }
        // A token of our own has no parent that could end it.
        let parent_end = parent.map_or(u64::MAX, |parent| parent.expires.as_secs());
        let ends = [granted.facts().expires.as_secs(), parent_end];
        let spans = [answer.expires_in, Some(job.purpose.asked().longest_life().as_secs())];
        let end = ends_at(asked, ends, spans);
        let parent_end = parent_end.saturating_mul(1000);
        let life = Life {
            renewed_from: renewed_from(asked, end, parent_end, self.refresh_ahead, chance()),
            served_until: served_until(asked, end),
            end,
        };
        self.cache.keep(job.key, granted.clone(), answer.token.len(), life, self.clock.unix_millis());
        Ok(granted)
    }

    /// Asks until there is an answer or no point in asking; also when the last attempt began.
    async fn ask(&self, endpoint: &http::Uri, job: &Job) -> Result<(Millis, Answer), Refusal> {
        let Job { key, purpose, .. } = job;
        let mut attempts = Attempts::begin(self.clock.monotonic());
        let reading = match purpose {
            Purpose::OnBehalf { .. } => Reading::OfExchange(&self.profile),
            Purpose::Own(_) => Reading::OfOwn,
        };
        loop {
            // Discovery or the wait may have taken a while, and an expired token is not worth a request.
            self.check_alive(purpose.parent().map(|parent| &**parent))?;
            let permit = self.breaker.admit(self.clock.monotonic())?;
            let (asked, now) = (self.clock.unix_millis(), self.clock.now());
            // Made anew for each attempt: an assertion is good for one.
            let form = match purpose {
                Purpose::OnBehalf { token, prepared, .. } => {
                    prepared.form().form(token, self.actor.as_ref(), self.auth.form_room())?
                }
                Purpose::Own(target) => own_form(target),
            };
            let us = Identity { issuer: &self.issuer, auth: &self.auth };
            let request = token_request(endpoint, &us, form, now)?;
            let outcome = self.transport.send(request).await;
            let Some(trouble) = Trouble::of(&outcome) else {
                permit.answered();
                self.retries.earn();
                return Ok((asked, read_answer(outcome.map_err(transport_fault)?, &reading)?));
            };
            let now = self.clock.monotonic();
            let subject = purpose.parent().filter(|_| trouble.is_of_subject()).map(|parent| &parent.subject);
            permit.failed(now, trouble.asked_too_long(), subject.map(|subject| self.breaker.whose(subject)));
            let refusal = match outcome {
                Ok(response) => read_answer(response, &reading).err().unwrap_or(Fault::StsUnavailable.into()),
                Err(error) => transport_fault(error).into(),
            };
            match attempts.next(trouble, now, chance(), &self.retries) {
                Some(wait) => self.timer.wait(wait).await,
                None => {
                    let refusal = trouble.asked().map_or(refusal, |wait| Fault::StsBusy(wait).into());
                    if let (Some(_), Refusal::Fault(fault)) = (subject, &refusal) {
                        self.cache.hold_back(*key, *fault, now, trouble.asked());
                    }
                    return Err(refusal);
                }
            }
        }
    }

    /// What the caller's expiry explains is the caller's fault, if its token expired while we asked.
    fn blame(&self, refusal: Refusal, parent: Option<&Facts>) -> Refusal {
        let explained =
            matches!(refusal, Refusal::Denial(_) | Refusal::Fault(Fault::StsRefused | Fault::GrantExpired));
        let over = parent.is_some_and(|parent| self.clock.now() >= parent.expires);
        if explained && over { Denial::SubjectExpired.into() } else { refusal }
    }
}
