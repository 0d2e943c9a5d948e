//! The secret of a static route, made ready once: its header, and its place in the ledger.

use std::sync::Arc;

use hopguard_core::{Destination, Facts, Fault, Refusal, Static};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Hop;

/// What a static route attaches.
#[derive(Debug)]
pub(crate) struct Attachment {
    name: HeaderName,
    value: HeaderValue,
    /// For withdrawals; the audit never shows them.
    facts: Arc<Facts>,
}

impl Attachment {
    /// Enters the secret in the ledger, as granted for `destination` and nowhere else.
    ///
    /// # Errors
    ///
    /// What the calls of the route are refused with: a secret that the block would not know is not sent.
    pub(super) fn enter(hop: &Hop, route: &Static, destination: &Destination) -> Result<Arc<Self>, Fault> {
        let (name, value) = route.attachment().ok_or(Fault::OwnCredentialUnavailable)?;
        // INVARIANT: I2 — whatever else sends it elsewhere is stopped by the passthrough block.
        hop.ledger().remember_configured(route, destination, hop.now())?;
        Ok(Arc::new(Self { name, value, facts: Arc::new(Facts::of_configured(route.secret())) }))
    }

    /// The header, unless the secret was withdrawn or the request brings a value of its own.
    pub(super) fn check(&self, hop: &Hop, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.contains_key(&self.name) {
            return Err(Fault::CredentialUnexpected.into());
        }
        if hop.ledger().withdrawals().strikes(&self.facts) {
            return Err(Fault::GrantWithdrawn.into());
        }
        Ok(())
    }

    pub(super) const fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    pub(super) const fn header(&self) -> (&HeaderName, &HeaderValue) {
        (&self.name, &self.value)
    }
}
