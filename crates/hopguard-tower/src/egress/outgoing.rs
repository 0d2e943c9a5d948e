//! What the exchange has established about an outgoing request, for the steps below it.

use std::sync::Arc;

use hopguard_core::{
    Admitted, CacheState, Decision, Denial, Destination, Direction, Event, EventKind, Facts, Fault, Granted,
    Refusal, Requested, TXN_TOKEN, UnixTime,
};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::attachment::Attachment;
use crate::Hop;
use crate::answer::Refused;
use crate::hop::Record;

/// Private to this crate, so that nobody else can claim to have matched a route.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing(pub(crate) Arc<Matched>);

/// A redirect of this request is handed back, for the exchange to judge anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follows;

#[derive(Clone, Debug)]
pub(crate) struct Matched {
    pub(crate) record: Record,
    pub(crate) destination: Option<Destination>,
    /// The kind of route that was chosen.
    pub(crate) rule: Option<&'static str>,
    pub(crate) subject: Option<Admitted>,
    pub(crate) requested: Option<Arc<Requested>>,
    pub(crate) attached: Attached,
    /// The grant is our own: it was not made from the caller's token.
    pub(crate) as_ourselves: bool,
    /// A redirect is handed back, for the exchange to judge anew.
    pub(crate) follows: bool,
    pub(crate) cache: Option<CacheState>,
    pub(crate) attempt: u8,
    /// The block let something in it pass by a waiver that ends here.
    pub(crate) passes_until: Option<UnixTime>,
}

/// The credential that goes along.
#[derive(Clone, Debug)]
pub(crate) enum Attached {
    Nothing,
    Grant(Granted),
    /// One of the configuration. No event shows it.
    Secret(Arc<Attachment>),
}

impl Attached {
    /// The header that shows it; `None` where there is nothing to show.
    ///
    /// # Errors
    ///
    /// [`Fault::GrantUnreadable`] for a grant that no header can hold.
    pub(crate) fn header(&self) -> Result<Option<(&HeaderName, &HeaderValue)>, Fault> {
        static IN: HeaderName = AUTHORIZATION;
        match self {
            Self::Nothing => Ok(None),
            Self::Grant(granted) => Ok(Some((&IN, granted.authorization()?))),
            Self::Secret(attachment) => Ok(Some(attachment.header())),
        }
    }

    /// What the grant says, if it is one.
    pub(crate) fn grant(&self) -> Option<&Granted> {
        match self {
            Self::Grant(granted) => Some(granted),
            _ => None,
        }
    }

    fn facts(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::Nothing => None,
            Self::Grant(granted) => Some(granted.facts()),
            Self::Secret(attachment) => Some(attachment.facts()),
        }
    }
}

/// May anything be done for this caller still?
///
/// # Errors
///
/// The code of what ended it.
pub(crate) fn still_good(hop: &Hop, subject: &Admitted, now: UnixTime) -> Result<(), Denial> {
    // INVARIANT: I13 — the handler may have taken its time.
    if now >= subject.facts().expires {
        return Err(Denial::SubjectExpired);
    }
    if hop.ledger().withdrawals().strikes(subject.facts()) {
        return Err(Denial::TokenWithdrawn);
    }
    Ok(())
}

impl Matched {
    pub(crate) const fn new(record: Record, subject: Option<Admitted>) -> Self {
        Self {
            record,
            destination: None,
            rule: None,
            subject,
            requested: None,
            attached: Attached::Nothing,
            as_ourselves: false,
            follows: false,
            cache: None,
            attempt: 1,
            passes_until: None,
        }
    }

    /// May what is attached be sent still? Asked after each wait on the way from the exchange to the wire.
    ///
    /// # Errors
    ///
    /// What ended it meanwhile: the caller's expiry or withdrawal, or that of what is attached, or the end of a waiver
    /// that it needs.
    pub(crate) fn still_sendable(&self, hop: &Hop, now: UnixTime) -> Result<(), Refusal> {
        let Some(sent) = self.attached.facts() else { return Ok(()) };
        if let Some(subject) = &self.subject {
            still_good(hop, subject, now)?;
        }
        if now >= sent.expires {
            return Err(Fault::GrantExpired.into());
        }
        if hop.ledger().withdrawals().strikes(sent) {
            return Err(Fault::GrantWithdrawn.into());
        }
        // INVARIANT: I16 — what was taken by a waiver ends with the waiver.
        let waived = self.attached.grant().map(Granted::waived).unwrap_or_default();
        if waived.iter().all(|one| one.waiver.holds(now)) { Ok(()) } else { Err(Fault::WaiverExpired.into()) }
    }

    /// As [`Matched::still_sendable`], for a request that the passthrough block has let through.
    pub(crate) fn still_leaves(&self, hop: &Hop, headers: &HeaderMap) -> Result<(), Refusal> {
        let now = hop.now();
        self.still_sendable(hop, now)?;
        // INVARIANT: I16 — what passed by a waiver does not leave after its end.
        if self.passes_until.is_some_and(|end| now >= end) {
            return Err(Fault::WaiverExpired.into());
        }
        // The block has let nothing else pass in this header.
        match self.subject.as_ref().and_then(Admitted::transaction) {
            Some(transaction) if headers.contains_key(TXN_TOKEN) => {
                Ok(transaction.header(hop.ledger().withdrawals(), now).map(drop)?)
            }
            _ => Ok(()),
        }
    }

    /// The event of a decision about this request.
    pub(crate) fn event(&self, hop: &Hop, gate: &'static str, decision: Decision) -> Event {
        let mut event = hop.event(&self.record, Direction::Outbound, EventKind::Decision, gate, decision);
        // A token of ours beside the caller's would read as made from it; the request's id ties the two.
        if !self.as_ourselves {
            event.token = self.subject.as_ref().map(|subject| subject.facts().clone());
        }
        event.destination = self.destination.as_ref().map(|destination| destination.shared().clone());
        event.rule = self.rule;
        event.requested.clone_from(&self.requested);
        event.grant = self.attached.grant().map(|granted| granted.facts().clone());
        event.cache = self.cache;
        event.attempt = Some(self.attempt);
        event
    }

    /// Writes a refusal of this request.
    pub(crate) fn refuse(&self, hop: &Hop, gate: &'static str, refusal: Refusal) -> Refused {
        let event = self.event(hop, gate, refusal.clone().into());
        let refused = Refused { refusal, event: event.id };
        hop.audit().refusal(event);
        refused
    }
}
