//! Which callers a route is open to (I6).

use crate::{Denial, Facts, InvalidScope, ScopeSet};

/// Which scopes the caller's own token must hold before a route is open to it (I6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requires {
    /// All of these, and at least one.
    AllOf(Result<ScopeSet, InvalidScope>),
    /// None, said by name.
    Nothing,
}

/// Marks a rule that does not say yet what it requires; it is no route until it does.
#[derive(Clone, Copy, Debug)]
pub struct Unstated;

impl Requires {
    /// All of the space-delimited `scopes`.
    pub(super) fn all_of(scopes: &str) -> Self {
        Self::AllOf(ScopeSet::parse(scopes))
    }

    /// Is a route that requires this open to a caller with these claims?
    ///
    /// # Errors
    ///
    /// [`Denial::RouteRequiresScope`] if a scope is lacking.
    pub fn check_open_to(&self, parent: &Facts) -> Result<(), Denial> {
        // INVARIANT: I6 — judged here, before anything is fetched; an empty demand is not "no demand".
        match self {
            Self::Nothing => Ok(()),
            Self::AllOf(Ok(needed)) if !needed.is_empty() && needed.is_subset_of(&parent.scopes) => Ok(()),
            Self::AllOf(needed) => Err(Denial::RouteRequiresScope(needed.clone().unwrap_or_default())),
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::AllOf(Err(_)) => Some("requires a malformed scope"),
            Self::AllOf(Ok(set)) if set.is_empty() => {
                Some("requires an empty scope: write requires_none() if every caller may use it")
            }
            _ => None,
        }
    }
}

/// What a route demands that gives a credential of our own: of callers, and of calls that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    requires: Requires,
    also_ourselves: bool,
}

impl Demand {
    pub(super) const fn new(requires: Requires) -> Self {
        Self { requires, also_ourselves: false }
    }

    pub(super) fn or_ourselves(self) -> Self {
        Self { also_ourselves: true, ..self }
    }

    /// What the caller's token must hold.
    #[must_use]
    pub const fn required(&self) -> &Requires {
        &self.requires
    }

    /// True if the route serves calls that are made for nobody.
    #[must_use]
    pub const fn admits_ourselves(&self) -> bool {
        self.also_ourselves || matches!(self.requires, Requires::Nothing)
    }
}
