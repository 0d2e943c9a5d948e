//! How far a request has come: the evidence it carries from layer to layer.

use std::net::SocketAddr;
use std::sync::Arc;

use hopguard_core::{
    Admitted, Bound, Decision, Direction, EventKind, Fault, Id, Refusal, UnixTime, Verified, Waived,
};
use http::Extensions;

use crate::answer::Refused;
use crate::hop::Passage;

/// The transport's other end. An adapter puts it into the request's extensions before the stack.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// The route that a router chose, as its template: `/orders/{id}`. An adapter whose router tells it leaves it in the
/// extensions of the *response*: the stack stands in front of the router, so that only the outcome can name it.
#[derive(Clone, Debug)]
pub struct RouteTemplate(Arc<str>);

impl RouteTemplate {
    /// The longest template that events show.
    pub const LONGEST: usize = 256;

    /// This template, cut to [`RouteTemplate::LONGEST`] bytes.
    #[must_use]
    pub fn new(template: &str) -> Self {
        Self(template.get(..template.floor_char_boundary(Self::LONGEST)).unwrap_or_default().into())
    }

    /// True if this is the (whole) template.
    #[must_use]
    pub fn is(&self, template: &str) -> bool {
        *self.0 == *template
    }

    pub(crate) fn into_shared(self) -> Arc<str> {
        self.0
    }
}

/// The evidence so far.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Verified(Verified),
    Bound(Bound),
    Admitted(Admitted),
}

impl Stage {
    pub(crate) fn verified(&self) -> &Verified {
        match self {
            Self::Verified(verified) => verified,
            Self::Bound(bound) => bound.verified(),
            Self::Admitted(admitted) => admitted.bound().verified(),
        }
    }

    /// Leaves this evidence for the next step. There is a place for it once a record was begun.
    pub(crate) fn enter(self, extensions: &mut Extensions) {
        if let Some(passage) = extensions.get_mut::<Passage>() {
            passage.stage = Some(self);
        }
    }
}

/// One decision of the stack: takes the evidence so far, returns what the next step needs.
pub trait Step {
    /// The name under which the audit writes this step's decisions.
    fn name(&self) -> &'static str;

    /// Decides. `None` leaves the evidence as it is.
    ///
    /// # Errors
    ///
    /// The refusal.
    fn step(&self, token: &Verified, now: UnixTime) -> Result<Option<Bound>, Refusal>;

    /// The policy by which it decides, for the audit.
    fn policy(&self) -> Option<&Arc<str>> {
        None
    }

    /// The relaxations without which this step would have refused the token at `now`.
    fn waived(&self, token: &Verified, now: UnixTime) -> Vec<&Waived> {
        let _strict = (token, now);
        Vec::new()
    }

    /// True unless this is the step that checks the holder: no other looks at a token whose holder is unknown.
    fn needs_holder(&self) -> bool {
        true
    }
}

/// The evidence that a complete stack has let this request through; `None` in front of or outside one.
#[must_use]
pub fn admitted(extensions: &Extensions) -> Option<&Admitted> {
    extensions.get::<Passage>()?.admitted()
}

/// For adapters whose handler asks for a caller that nobody has admitted: writes the event, if a stack is
/// there to write it, and says how to answer.
#[must_use]
pub fn evidence_missing(extensions: &Extensions) -> Refused {
    let fault = Fault::EvidenceMissing;
    let Some(Passage { hop: Some(hop), record, .. }) = extensions.get::<Passage>() else {
        tracing::error!(
            code = fault.code(),
            "a handler asks for a caller, and no hopguard stack is in front of it"
        );
        return Refused { refusal: fault.into(), event: Id::fresh() };
    };
    let decision = Decision::Fault(fault);
    let mut event = hop.event(record, Direction::Inbound, EventKind::Decision, "handler", decision);
    event.status = Some(fault.status());
    let refused = Refused { refusal: fault.into(), event: event.id };
    hop.audit().stranger(event);
    refused
}
