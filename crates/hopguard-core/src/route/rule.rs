//! What is done for calls to a route.

use super::demand::Requires;
use super::{AsOurselves, Exchange, Static};

/// What is done for calls to a route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RouteRule {
    /// Exchange the caller's token.
    Exchange(Exchange),
    /// Show a token of our own.
    AsOurselves(AsOurselves),
    /// Show a secret from the configuration.
    Static(Static),
    /// Send without any credential.
    Anonymous,
    /// Refuse, for a path below an origin that is otherwise open.
    Deny,
}

impl RouteRule {
    /// The kind's name, as configuration files write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exchange(_) => "exchange",
            Self::AsOurselves(_) => "as_ourselves",
            Self::Static(_) => "static",
            Self::Anonymous => "anonymous",
            Self::Deny => "deny",
        }
    }

    /// What the caller's token must hold; `None` for kinds that give no credential.
    #[must_use]
    pub const fn required(&self) -> Option<&Requires> {
        match self {
            Self::Exchange(exchange) => Some(exchange.required()),
            Self::AsOurselves(own) => Some(own.demand().required()),
            Self::Static(fixed) => Some(fixed.demand().required()),
            Self::Anonymous | Self::Deny => None,
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Exchange(exchange) => exchange.problem(),
            Self::AsOurselves(own) => own.problem(),
            Self::Static(fixed) => fixed.problem(),
            Self::Anonymous | Self::Deny => None,
        }
    }
}

/// What says of one route how it is called: [`Exchange`], [`AsOurselves`] or [`Static`] once they state who may cause
/// the call, [`Anonymous`](crate::Anonymous), [`Deny`](crate::Deny), or a [`RouteRule`].
#[diagnostic::on_unimplemented(
    message = "the rule of this route does not say which callers may cause the call",
    label = "`.requires(\"…\")` is missing",
    note = "name the scopes that the caller's own token must hold: `.requires(\"orders:read\")`",
    note = "or say by name that every admitted caller may: `.requires_none()`"
)]
pub trait IntoRule {
    /// The rule.
    fn into_rule(self) -> RouteRule;
}

macro_rules! rules {
    ($($rule:ty),*) => { $(
        impl IntoRule for $rule {
            fn into_rule(self) -> RouteRule {
                self.into()
            }
        }
    )* };
}

rules!(RouteRule, Exchange, AsOurselves, Static, Anonymous, Deny);

impl From<AsOurselves> for RouteRule {
    fn from(own: AsOurselves) -> Self {
        Self::AsOurselves(own)
    }
}

impl From<Static> for RouteRule {
    fn from(fixed: Static) -> Self {
        Self::Static(fixed)
    }
}

impl From<Exchange> for RouteRule {
    fn from(exchange: Exchange) -> Self {
        Self::Exchange(exchange)
    }
}

/// Calls to this route carry no credential at all.
#[derive(Clone, Copy, Debug)]
pub struct Anonymous;

/// Calls to this route are refused, below an origin that is otherwise open.
#[derive(Clone, Copy, Debug)]
pub struct Deny;

impl From<Anonymous> for RouteRule {
    fn from(Anonymous: Anonymous) -> Self {
        Self::Anonymous
    }
}

impl From<Deny> for RouteRule {
    fn from(Deny: Deny) -> Self {
        Self::Deny
    }
}
