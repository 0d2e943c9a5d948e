//! What was asked of the authorization server.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::ScopeSet;
use crate::redact::Redacted;

/// What was asked of the authorization server.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Requested {
    /// `audience`.
    pub audience: Arc<str>,
    /// `scope`.
    pub scopes: ScopeSet,
}

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (audience, scopes) = (Redacted(&self.audience), Redacted(&self.scopes));
        f.debug_struct("Requested").field("audience", &audience).field("scopes", &scopes).finish()
    }
}
