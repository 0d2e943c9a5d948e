//! Who acts, where that is to be proven by a token of its own (`actor_token`, RFC 8693 section 2.1).
//!
//! Most servers take the authenticated client for the actor and need none.

use std::fmt;
use std::sync::Arc;

use hopguard_client::TokenFile;
use hopguard_core::{Fault, RawToken, TokenForm};

use crate::request::{ACCESS_TOKEN, JWT};

/// A token of our own that is sent with each exchange.
///
/// ```
/// use hopguard_client::TokenFile;
/// use hopguard_exchange::ActorToken;
///
/// let actor = ActorToken::file(TokenFile::at("/var/run/secrets/tokens/svid")).of_type_jwt();
/// # let _ = actor;
/// ```
#[derive(Clone)]
pub struct ActorToken {
    source: Source,
    kind: &'static str,
}

#[derive(Clone)]
enum Source {
    Fixed(Arc<RawToken>),
    File(TokenFile),
}

impl ActorToken {
    /// The token that stands in `file` at each exchange.
    #[must_use]
    pub const fn file(file: TokenFile) -> Self {
        Self { source: Source::File(file), kind: ACCESS_TOKEN }
    }

    /// Always this token; exchanges fail once it has expired.
    #[must_use]
    pub const fn fixed(token: Arc<RawToken>) -> Self {
        Self { source: Source::Fixed(token), kind: ACCESS_TOKEN }
    }

    /// It is announced as a JWT in place of an access token (RFC 8693 section 3).
    #[must_use]
    pub const fn of_type_jwt(mut self) -> Self {
        self.kind = JWT;
        self
    }

    /// Adds it to a request.
    ///
    /// # Errors
    ///
    /// [`Fault::OwnCredentialUnavailable`]: the request must not be sent without it (I4).
    pub(crate) fn append_to(&self, form: &mut TokenForm) -> Result<(), Fault> {
        let token = match &self.source {
            Source::Fixed(token) if token.is_empty() => return Err(Fault::OwnCredentialUnavailable),
            Source::Fixed(token) => Arc::clone(token),
            Source::File(file) => file.read()?,
        };
        form.append_token("actor_token", &token);
        form.append("actor_token_type", self.kind);
        Ok(())
    }

    /// What tells it from another, for the keys of grants: its type, and what it is or where it is kept.
    pub(crate) fn dimensions(&self) -> [String; 2] {
        let source = match &self.source {
            Source::Fixed(token) => token.fingerprint().to_string(),
            Source::File(file) => file.path().to_string_lossy().into_owned(),
        };
        [self.kind.to_owned(), source]
    }
}

impl fmt::Debug for ActorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ActorToken");
        match &self.source {
            Source::Fixed(token) => shown.field("fixed", token),
            Source::File(file) => shown.field("file", file),
        };
        shown.field("kind", &self.kind).finish()
    }
}
