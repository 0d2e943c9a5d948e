//! What every layer of one stack shares: its id, the ledger, the audit, the clock.

use std::sync::Arc;

use hopguard_core::{
    Admitted, Audit, Clock, Decision, Denial, Direction, Event, EventKind, Facts, Fault, Id, Ledger,
    Monotonic, Refusal, Remembered, StackId, TraceContext, UnixTime, Withdrawal, WithdrawalsFull,
    WithdrawnAt,
};
use http::{HeaderMap, HeaderName, Method, Request};

use crate::answer::Challenges;
use crate::inbound::Stage;

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// One stack in one process. Evidence made under one `Hop` is refused by the layers of another.
///
/// The complete builders make their own; layers that stand alone are tied together by one.
#[derive(Clone, Debug)]
pub struct Hop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stack: StackId,
    ledger: Ledger,
    audit: Audit,
    clock: Arc<dyn Clock>,
    challenges: Challenges,
    several_issuers: bool,
}

impl Hop {
    /// A stack over this ledger and audit, with time from `clock`.
    #[must_use]
    pub fn new(ledger: &Ledger, audit: &Audit, clock: Arc<dyn Clock>) -> Self {
        Self::described(ledger, audit, clock, None, false)
    }

    /// As [`Hop::new`], for a complete stack: its metadata may be published at a URL, and it trusts one
    /// issuer or several.
    pub(crate) fn described(
        ledger: &Ledger,
        audit: &Audit,
        clock: Arc<dyn Clock>,
        metadata: Option<&str>,
        several_issuers: bool,
    ) -> Self {
        let (ledger, audit) = (ledger.clone(), audit.clone());
        let challenges = Challenges::of(audit.service(), metadata);
        Self(Arc::new(Inner { stack: StackId::unique(), ledger, audit, clock, challenges, several_issuers }))
    }

    /// Which stack this is.
    #[must_use]
    pub fn stack(&self) -> StackId {
        self.0.stack
    }

    /// The live credentials of this process.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Where decisions are written.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Takes a key, issuer, token or subject back, for every stack of this ledger, and writes it down. It is
    /// kept until `until`, by when whatever it strikes must have expired.
    ///
    /// # Errors
    ///
    /// [`WithdrawalsFull`] if no more can be kept; nothing was taken back then.
    pub fn withdraw(&self, what: Withdrawal, until: UnixTime) -> Result<(), WithdrawalsFull> {
        let (notice, withdrawn) = (EventKind::Notice, Decision::Allow("withdrawal"));
        let at = self.0.clock.unix_millis();
        let mut event = self.0.audit.event(at, Direction::Internal, notice, "withdrawal", withdrawn);
        // What is struck: lineage finds later uses of a token by its fingerprint.
        let (place, of) = match &what {
            Withdrawal::Token(token) => {
                event.found = Some(*token);
                ("token".into(), None)
            }
            Withdrawal::Key { issuer, key_id } => (format!("key {key_id}"), Some(issuer)),
            Withdrawal::Issuer(issuer) => ("issuer".into(), Some(issuer)),
            Withdrawal::Subject { issuer, subject } => (format!("subject {subject}"), Some(issuer)),
        };
        event.place = Some(place.into());
        event.destination = of.cloned();
        self.0.ledger.withdrawals().withdraw(what, WithdrawnAt::by(&*self.0.clock), until)?;
        // Written whatever the audit's state: the withdrawal must not wait for it.
        self.0.audit.refusal(event);
        Ok(())
    }

    /// The time in whole seconds.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.0.clock.now()
    }

    /// Is a token that was verified good still, after a wait?
    ///
    /// # Errors
    ///
    /// [`Denial::TokenExpired`] or [`Denial::TokenWithdrawn`].
    pub(crate) fn still_good(&self, token: &Facts) -> Result<(), Denial> {
        // INVARIANT: I13, I18 — what was true before may be so no longer.
        if self.now() >= token.expires {
            return Err(Denial::TokenExpired);
        }
        if self.ledger().withdrawals().strikes(token) {
            return Err(Denial::TokenWithdrawn);
        }
        Ok(())
    }

    /// As [`Hop::now`], as of a moment ago; see [`Clock::tick`].
    pub(crate) fn tick(&self) -> UnixTime {
        self.0.clock.tick()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// An event of the request that `record` belongs to.
    #[inline]
    pub(crate) fn event(
        &self,
        record: &Record,
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Event {
        self.event_with_id(Id::fresh(), record, direction, kind, gate, decision)
    }

    /// As [`Hop::event`], under an id that the caller has seen to.
    #[inline]
    pub(crate) fn event_with_id(
        &self,
        id: Id,
        record: &Record,
        direction: Direction,
        kind: EventKind,
        gate: &'static str,
        decision: Decision,
    ) -> Event {
        // One reading serves both: the time of an event is that of the arrival, and what has passed since.
        let latency = self.0.clock.monotonic().since(record.started);
        let since = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let millis = record.started_millis.saturating_add(since);
        let mut event = self.0.audit.event_with_id(id, millis, direction, kind, gate, decision);
        event.request_id = Some(record.request);
        event.method = record.method;
        event.trace = record.trace;
        event.latency = Some(latency);
        event
    }

    /// Refuses somebody who is not known. The event, whose id this returns, is made only if it is written singly;
    /// then `complete` adds what is costly to find out.
    pub(crate) fn stranger(
        &self,
        record: &Record,
        gate: &'static str,
        refusal: &Refusal,
        complete: impl FnOnce(&mut Event),
    ) -> Id {
        let (id, direction) = (Id::fresh(), Direction::Inbound);
        // Who has waited for keys is refused now, and not when it came: the lane's window would seem to be set back.
        let millis = record.started_millis.max(record.now.as_secs().saturating_mul(1000));
        self.0.audit.stranger_with(millis, refusal.code(), direction, || {
            let decision = Decision::from(refusal.clone());
            let kind = EventKind::Decision;
            let mut event = self.event_with_id(id, record, direction, kind, gate, decision);
            event.status = Some(refusal.status());
            complete(&mut event);
            event
        });
        id
    }

    /// The same subject may be two callers (G13).
    pub(crate) fn trusts_several_issuers(&self) -> bool {
        self.0.several_issuers
    }

    /// What a refusal asks of the caller.
    pub(crate) fn challenges(&self) -> &Challenges {
        &self.0.challenges
    }

    /// Writes that the ledger had to let a live entry go.
    pub(crate) fn note(&self, remembered: Remembered, record: &Record) {
        if remembered.evicted {
            std::hint::cold_path();
            let overflow = Decision::Allow("ledger_overflow");
            let event = self.event(record, Direction::Internal, EventKind::Notice, "ledger", overflow);
            // Nobody is known to be at fault, and overflow can come in floods: the bounded lane.
            self.0.audit.stranger(event);
        }
    }

    /// The record of a request, begun by whichever layer meets it first.
    pub(crate) fn record<B>(&self, request: &mut Request<B>) -> Record {
        self.passage(request).record
    }

    /// What the request carries, begun by whichever layer meets it first.
    pub(crate) fn passage<'a, B>(&self, request: &'a mut Request<B>) -> &'a mut Passage {
        if request.extensions().get::<Passage>().is_none() {
            let record = self.begin(Some(request.method()), request.headers());
            request.extensions_mut().insert(Passage::begun(self, record));
        }
        let begun = || Passage::begun(self, self.begin(None, &HeaderMap::new()));
        request.extensions_mut().get_or_insert_with(begun)
    }

    /// A new record, whatever the request carried before.
    pub(crate) fn begin(&self, method: Option<&Method>, headers: &HeaderMap) -> Record {
        self.begun(Id::fresh(), method, trace_of(headers))
    }

    /// A new record of a call for this caller: a part of what its request caused.
    pub(crate) fn begin_for(&self, caller: &Admitted, method: &Method, headers: &HeaderMap) -> Record {
        let trace = caller.trace().copied().or_else(|| trace_of(headers));
        self.begun(caller.request_id(), Some(method), trace)
    }

    fn begun(&self, request: Id, method: Option<&Method>, trace: Option<TraceContext>) -> Record {
        let (started_millis, started) = self.0.clock.both();
        let now = UnixTime::from_secs(started_millis / 1000);
        Record { request, started, started_millis, now, method: method.map(known), trace }
    }
}

fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceContext::parse(value),
        _ => None,
    }
}

/// What a request carries through the layers. One extension for all of it, because each costs an allocation.
///
/// The type is private to this crate, so that no other middleware can insert it.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    /// Whoever writes down, where no layer is at hand, that the request carries no evidence. None once it does.
    pub(crate) hop: Option<Hop>,
    pub(crate) record: Record,
    /// The evidence so far.
    pub(crate) stage: Option<Stage>,
}

impl Passage {
    /// Nothing is known about the request yet.
    pub(crate) fn begun(hop: &Hop, record: Record) -> Self {
        Self { hop: Some(hop.clone()), record, stage: None }
    }

    /// The evidence that a complete stack has let this request through.
    pub(crate) fn admitted(&self) -> Option<&Admitted> {
        match &self.stage {
            Some(Stage::Admitted(admitted)) => Some(admitted),
            _ => None,
        }
    }

    /// The evidence, if it is this stack's.
    pub(crate) fn stage_of(&self, stack: StackId) -> Result<&Stage, Fault> {
        // INVARIANT: I1 — no evidence is our bug, and never a pass.
        let stage = self.stage.as_ref().ok_or(Fault::EvidenceMissing)?;
        stage.verified().belongs_to(stack)?;
        Ok(stage)
    }
}

/// What ties the events of one request together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) request: Id,
    pub(crate) started: Monotonic,
    pub(crate) started_millis: u64,
    /// By which time it is judged: that of the arrival, unless the request has waited since.
    pub(crate) now: UnixTime,
    pub(crate) method: Option<&'static str>,
    pub(crate) trace: Option<TraceContext>,
}

/// The method as events name it. What others invented is not repeated: it could be anything, and of any length.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

impl Record {
    /// The same request, judged at another time.
    pub(crate) fn judged_at(self, now: UnixTime) -> Self {
        Self { now, ..self }
    }
}
