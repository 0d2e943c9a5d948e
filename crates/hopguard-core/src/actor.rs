//! Who acted for whom: the `act` claim as a chain (RFC 8693 section 4.1).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::redact::Redacted;

/// One actor: a subject, and its issuer where the token names one.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Actor {
    /// `sub` of the actor.
    pub subject: Box<str>,
    /// `iss` of the actor; absent where the token's own issuer is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<str>>,
}

impl Actor {
    /// An actor known by `subject` at the token's own issuer.
    #[must_use]
    pub fn new(subject: &str) -> Self {
        Self { subject: subject.into(), issuer: None }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, issuer) = (Redacted(&self.subject), Redacted(&self.issuer));
        f.debug_struct("Actor").field("subject", &subject).field("issuer", &issuer).finish()
    }
}

/// The chain of actors, the current one first. A token without `act` has the empty chain. Cloning it copies nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ActorChain(Arc<[Actor]>);

impl ActorChain {
    /// The deepest chain that is read unless a setting says otherwise.
    pub const DEFAULT_DEPTH: usize = 8;

    /// Nobody acted: the subject calls for itself.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A chain from the outermost (current) actor inwards.
    #[must_use]
    pub fn from_outermost(actors: Vec<Actor>) -> Self {
        if actors.is_empty() { Self::default() } else { Self(actors.into()) }
    }

    /// The actors, the current one first.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.0
    }

    /// How many actors there are.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The actor that holds the token now.
    #[must_use]
    pub fn current(&self) -> Option<&Actor> {
        self.0.first()
    }

    /// True if this chain is `parent` with exactly one more link, whose subject is `actor` and whose issuer,
    /// if named, is `issuer`.
    ///
    /// ```
    /// use hopguard_core::{Actor, ActorChain};
    ///
    /// let parent = ActorChain::from_outermost(vec![Actor::new("gateway")]);
    /// let grant = ActorChain::from_outermost(vec![Actor::new("orders"), Actor::new("gateway")]);
    /// assert!(grant.extends(&parent, "orders", "https://sts.internal"));
    /// assert!(!parent.extends(&parent, "orders", "https://sts.internal"));
    /// ```
    #[must_use]
    pub fn extends(&self, parent: &Self, actor: &str, issuer: &str) -> bool {
        self.0.split_first().is_some_and(|(current, rest)| {
            current.subject.as_ref() == actor
                && current.issuer.as_deref().is_none_or(|named| named == issuer)
                && *rest == *parent.0
        })
    }
}

impl fmt::Debug for ActorChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|actor| Redacted(&actor.subject))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(names: &[&str]) -> ActorChain {
        ActorChain::from_outermost(names.iter().map(|&name| Actor::new(name)).collect())
    }

    #[test]
    fn a_chain_extends_another_by_exactly_one_link() {
        let parent = chain(&["gateway"]);
        let extends = |names: &[&str]| chain(names).extends(&parent, "orders", "https://sts");
        assert!(extends(&["orders", "gateway"]));
        for other in [
            &[][..],
            &["orders"],
            &["gateway"],
            &["other", "gateway"],
            &["orders", "other"],
            &["orders", "orders", "gateway"],
        ] {
            assert!(!extends(other), "{other:?}");
        }
        let of = |issuer: &str| {
            let mut actor = Actor::new("orders");
            actor.issuer = Some(issuer.into());
            ActorChain::from_outermost(vec![actor]).extends(&ActorChain::empty(), "orders", "https://sts")
        };
        assert!(of("https://sts") && !of("https://other"));
    }

    #[test]
    fn it_shows_its_links_outermost_first() {
        let shown = chain(&["orders", "gateway"]);
        let names: Vec<_> = shown.actors().iter().map(|actor| &*actor.subject).collect();
        assert_eq!((names, shown.depth()), (vec!["orders", "gateway"], 2));
        assert_eq!(shown.current().map(|actor| &*actor.subject), Some("orders"));
    }
}
