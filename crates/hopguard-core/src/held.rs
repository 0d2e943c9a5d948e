//! What the ledger keeps beside a credential's anchor: until when it lives, where it may go, and by what a
//! withdrawal knows it.

use std::fmt;
use std::sync::Arc;

use crate::withdrawal::{Struck, Withdrawals};
use crate::{Destination, Facts, Fingerprint, UnixTime};

pub(crate) struct Held {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) expires: UnixTime,
    granted_for: Vec<Destination>,
    issuer: Arc<str>,
    subject: Arc<str>,
    key_id: Option<Arc<str>>,
    issued_at: Option<UnixTime>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a withdrawal knows it by are claims, and a claim can hold a token.
        f.debug_struct("Held")
            .field("fingerprint", &self.fingerprint)
            .field("expires", &self.expires)
            .field("granted_for", &self.granted_for)
            .finish_non_exhaustive()
    }
}

impl Held {
    pub(crate) fn new(facts: &Facts, destination: Option<&Destination>) -> Self {
        Self {
            fingerprint: facts.fingerprint,
            expires: facts.expires,
            granted_for: destination.cloned().into_iter().collect(),
            issuer: facts.issuer.clone(),
            subject: facts.subject.clone(),
            key_id: facts.key_id.clone(),
            issued_at: facts.issued_at,
        }
    }

    /// True if it speaks for the same subject.
    pub(crate) fn is_of(&self, facts: &Facts) -> bool {
        self.issuer == facts.issuer && self.subject == facts.subject
    }

    /// It was granted for `destination` as well.
    pub(crate) fn grant(&mut self, destination: Option<&Destination>) {
        if let Some(destination) = destination
            && !self.granted_for.contains(destination)
        {
            self.granted_for.push(destination.clone());
        }
    }

    /// May its bytes go to `destination`? Nowhere, if none is named.
    pub(crate) fn may_go_to(&self, destination: Option<&Destination>, withdrawals: &Withdrawals) -> bool {
        // INVARIANT: I18 — a withdrawn grant is good nowhere, not even where it was granted for.
        destination.is_some_and(|destination| self.granted_for.contains(destination))
            && !self.is_withdrawn(withdrawals)
    }

    pub(crate) fn is_withdrawn(&self, withdrawals: &Withdrawals) -> bool {
        withdrawals.strikes_these(&Struck {
            issuer: &self.issuer,
            subject: &self.subject,
            key_id: self.key_id.as_deref(),
            fingerprint: self.fingerprint,
            issued_at: self.issued_at,
        })
    }
}
