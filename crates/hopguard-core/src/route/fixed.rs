//! A secret from the configuration, for a peer that knows no authorization server.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, HeaderValue};

use super::demand::{Demand, Requires, Unstated};
use crate::{Ledger, RawToken};

/// What a secret cannot stand in: framing, and what belongs to another party than the peer.
const RESERVED: [HeaderName; 12] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Calls to this route carry a secret of ours that never changes.
///
/// The ledger knows it as granted for this destination, so that the passthrough block refuses it everywhere
/// else. It is shown in no log and has no fingerprint in the audit, because a guess could be checked against
/// that.
///
/// ```
/// use hopguard_core::{RawToken, Static};
///
/// let secret = RawToken::new("sk_live_4eC39HqLyjWDarjtT1zdp7dc"); // from a secret store
/// let route = Static::header("x-api-key", secret).requires("orders:write");
/// assert!(!format!("{route:?}").contains("sk_live"));
/// ```
#[derive(Clone, Debug)]
pub struct Static<R = Demand> {
    place: Place,
    secret: Arc<RawToken>,
    demand: R,
}

#[derive(Clone, Debug)]
enum Place {
    Bearer,
    Header(Box<str>),
}

impl Static<Unstated> {
    /// Shows `secret` as `Authorization: Bearer`.
    #[must_use]
    pub const fn bearer(secret: Arc<RawToken>) -> Self {
        Self { place: Place::Bearer, secret, demand: Unstated }
    }

    /// Shows `secret`, and nothing else, in the header `name`.
    #[must_use]
    pub fn header(name: &str, secret: Arc<RawToken>) -> Self {
        Self { place: Place::Header(name.into()), secret, demand: Unstated }
    }

    /// Open to callers whose token holds all of the space-delimited `scopes`, and to no call that is made for
    /// nobody.
    #[must_use]
    pub fn requires(self, scopes: &str) -> Static {
        self.state(Requires::all_of(scopes))
    }

    /// Open to every admitted caller, and to calls that are made for nobody.
    #[must_use]
    pub fn requires_none(self) -> Static {
        self.state(Requires::Nothing)
    }

    fn state(self, requires: Requires) -> Static {
        let Self { place, secret, demand: Unstated } = self;
        Static { place, secret, demand: Demand::new(requires) }
    }
}

impl Static {
    /// Open, beside the callers that it is open to, to calls that are made for nobody: those of a task that
    /// serves no request.
    #[must_use]
    pub fn or_ourselves(self) -> Self {
        Self { demand: self.demand.or_ourselves(), ..self }
    }

    /// Who may cause such a call.
    #[must_use]
    pub const fn demand(&self) -> &Demand {
        &self.demand
    }

    /// The secret, for the ledger.
    #[must_use]
    pub const fn secret(&self) -> &Arc<RawToken> {
        &self.secret
    }

    /// The header it stands in; `None` for what names none.
    #[must_use]
    pub fn header_name(&self) -> Option<HeaderName> {
        match &self.place {
            Place::Bearer => Some(AUTHORIZATION),
            Place::Header(name) => name.parse().ok(),
        }
    }

    /// The header that shows the secret, marked sensitive; `None` for what no header can hold.
    #[must_use]
    pub fn attachment(&self) -> Option<(HeaderName, HeaderValue)> {
        let value = match &self.place {
            Place::Bearer => self.secret.as_bearer()?,
            Place::Header(_) => {
                let bytes = Bytes::from_owner(Shown(Arc::clone(&self.secret)));
                let mut value = HeaderValue::from_maybe_shared(bytes).ok()?;
                value.set_sensitive(true);
                value
            }
        };
        Some((self.header_name()?, value))
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let name = self.header_name();
        if name.is_none() {
            return Some("names no header");
        }
        if name.is_some_and(|name| RESERVED.contains(&name)) {
            return Some("puts its secret into a header that is not for credentials of ours");
        }
        if self.secret.len() < Ledger::SHORTEST_OPAQUE {
            return Some("has a secret of fewer than 20 bytes, which cannot be told from other text");
        }
        let text = self.secret.dangerous_expose();
        if text.trim() != text || self.attachment().is_none() {
            return Some("has a secret that no header can hold");
        }
        self.demand.required().problem()
    }
}

/// The secret's own bytes, wiped when the last holder lets go.
struct Shown(Arc<RawToken>);

impl AsRef<[u8]> for Shown {
    fn as_ref(&self) -> &[u8] {
        self.0.dangerous_expose_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Route, RouteRule};

    const SECRET: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";

    #[track_caller]
    fn builds(rule: Static, expected: bool) {
        let route = Route::new("https://a.internal", RouteRule::from(rule));
        assert_eq!(route.is_ok(), expected, "{route:?}");
    }

    #[test]
    fn a_secret_needs_a_place_and_a_demand() {
        let secret = || RawToken::new(SECRET);
        builds(Static::bearer(secret()).requires("a"), true);
        builds(Static::header("x-api-key", secret()).requires_none(), true);
        builds(
            Static::header("authorization", RawToken::new("token 0123456789abcdef")).requires_none(),
            true,
        );
        for name in ["", "x api", "host", "Content-Length", "cookie", "proxy-authorization", "connection"] {
            builds(Static::header(name, secret()).requires_none(), false);
        }
        builds(Static::bearer(RawToken::new("0123456789abcdef0123")).requires_none(), true);
        builds(Static::bearer(secret()).requires(""), false);
        builds(Static::bearer(secret()).requires("\n"), false);
        for text in ["", "short-and-guessable", "0123456789 abcdef\n0123", " 0123456789abcdef0123"] {
            builds(Static::bearer(RawToken::new(text)).requires_none(), false);
        }
    }

    #[test]
    fn it_is_shown_where_it_belongs_and_nowhere_else() {
        let bearer = Static::bearer(RawToken::new(SECRET)).requires("a");
        let header = Static::header("X-Api-Key", RawToken::new(SECRET)).requires("a");
        let shown = |one: &Static| one.attachment().unwrap();
        assert_eq!(shown(&bearer).0, AUTHORIZATION);
        assert_eq!(shown(&bearer).1, format!("Bearer {SECRET}"));
        assert_eq!((shown(&header).0.as_str(), shown(&header).1.to_str().unwrap()), ("x-api-key", SECRET));
        for one in [&bearer, &header] {
            assert!(shown(one).1.is_sensitive());
            assert!(!format!("{one:?} {:?}", shown(one)).contains("sk_live"));
        }
    }

    #[test]
    fn calls_for_nobody_need_a_word_of_their_own() {
        let secret = || RawToken::new(SECRET);
        assert!(!Static::bearer(secret()).requires("a").demand().admits_ourselves());
        assert!(Static::bearer(secret()).requires("a").or_ourselves().demand().admits_ourselves());
        assert!(Static::bearer(secret()).requires_none().demand().admits_ourselves());
    }
}
