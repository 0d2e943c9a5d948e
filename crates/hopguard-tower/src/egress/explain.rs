//! What would become of a call, told without making it.

use std::fmt;

use hopguard_core::{Explanation, Refusal};

/// Which route a call takes and why, and whether it may be made as it stands. Holds no secret.
///
/// What only the authorization server, the audit or the passthrough block can say is not known before the call.
#[derive(Clone, Debug)]
pub struct Explained {
    why: Explanation,
    verdict: Result<(), Refusal>,
}

impl Explained {
    pub(super) const fn new(why: Explanation, verdict: Result<(), Refusal>) -> Self {
        Self { why, verdict }
    }

    /// The routes, and how each stands to the call.
    #[must_use]
    pub const fn routes(&self) -> &Explanation {
        &self.why
    }

    /// Why the call would be refused as it stands, for this caller; `None` if it would go on to its exchange.
    #[must_use]
    pub fn refused(&self) -> Option<&Refusal> {
        self.verdict.as_ref().err()
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            // Told by the routes themselves.
            Err(Refusal::Fault(fault)) if self.why.refused() == Some(*fault) => {}
            Err(refusal) => writeln!(f, "refused for this caller: {} ({refusal})", refusal.code())?,
            Ok(()) => {}
        }
        self.why.fmt(f)
    }
}
