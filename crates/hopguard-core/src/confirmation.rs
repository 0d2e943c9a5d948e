//! To which key a token is bound: the `cnf` claim (RFC 7800).

use serde::Serialize;

/// What `cnf` demands of whoever shows the token.
///
/// A `cnf` with a member that is not known here never becomes a value of this type: the token is refused
/// when it is read, because a binding that nobody checks is no binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// No `cnf`: a bearer token.
    #[default]
    None,
    /// `jkt`: the thumbprint of the DPoP key (RFC 9449 section 6.1).
    Jkt(Box<str>),
    /// `x5t#S256`: the thumbprint of the client certificate (RFC 8705 section 3.1).
    Certificate(Box<str>),
    /// Both at once; each must hold.
    Both {
        /// `jkt`.
        jkt: Box<str>,
        /// `x5t#S256`.
        certificate: Box<str>,
    },
}

impl Confirmation {
    /// True if the token is bound to no key.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}
