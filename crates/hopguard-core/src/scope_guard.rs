//! Does the token hold the scopes that this service, or this route, needs?
//!
//! ```
//! use hopguard_core::ScopeGuard;
//!
//! let reads = ScopeGuard::all_of(["orders:read"]);
//! let narrow = ScopeGuard::any_of(["orders:read", "orders:write"]).at_most(["orders:read", "orders:write"]);
//! let none = ScopeGuard::any_scope();
//! # let _ = (reads, narrow, none);
//! ```

use crate::{Denial, Guard, InvalidScope, ScopeSet, UnixTime, Verified};

/// Admits tokens by their scopes.
#[derive(Clone, Debug)]
pub struct ScopeGuard {
    need: Need,
    at_most: Option<Result<ScopeSet, InvalidScope>>,
}

#[derive(Clone, Debug)]
enum Need {
    All(Result<ScopeSet, InvalidScope>),
    Any(Result<ScopeSet, InvalidScope>),
    Nothing,
}

impl ScopeGuard {
    /// The token must hold every one of `scopes`.
    #[must_use]
    pub fn all_of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Self { need: Need::All(ScopeSet::from_tokens(scopes)), at_most: None }
    }

    /// The token must hold at least one of `scopes`.
    #[must_use]
    pub fn any_of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Self { need: Need::Any(ScopeSet::from_tokens(scopes)), at_most: None }
    }

    /// No scope is needed, said by name.
    #[must_use]
    pub const fn any_scope() -> Self {
        Self { need: Need::Nothing, at_most: None }
    }

    /// The token may hold nothing beyond `scopes`: refuses a token broader than this service ever needs.
    #[must_use]
    pub fn at_most<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.at_most = Some(ScopeSet::from_tokens(scopes));
        self
    }

    /// The scopes that it asks for.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let named = match &self.need {
            Need::All(Ok(scopes)) | Need::Any(Ok(scopes)) => Some(scopes),
            _ => None,
        };
        named.into_iter().flat_map(ScopeSet::iter)
    }
}

impl Guard for ScopeGuard {
    fn name(&self) -> &'static str {
        "scope"
    }

    fn check(&self, token: &Verified, _now: UnixTime) -> Result<(), Denial> {
        let held = &token.facts().scopes;
        // INVARIANT: I14 — a rule that could not be read, and an empty one, admits nobody.
        match &self.need {
            Need::Nothing => {}
            Need::All(Ok(needed)) if !needed.is_empty() && needed.is_subset_of(held) => {}
            Need::Any(Ok(needed)) if needed.shares_any(held) => {}
            Need::All(needed) | Need::Any(needed) => {
                return Err(Denial::InsufficientScope(needed.clone().unwrap_or_default()));
            }
        }
        match &self.at_most {
            None => Ok(()),
            Some(Ok(most)) if held.is_subset_of(most) => Ok(()),
            Some(_) => Err(Denial::ScopeTooBroad),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        let malformed = "has a scope with a space, quote, backslash or non-ASCII character, or an empty one";
        match &self.need {
            Need::All(Err(_)) | Need::Any(Err(_)) => return Some(malformed),
            Need::All(Ok(set)) | Need::Any(Ok(set)) if set.is_empty() => {
                return Some("lists no scope: write any_scope() if none is needed");
            }
            _ => {}
        }
        matches!(self.at_most, Some(Err(_))).then_some(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::verified_with;

    #[track_caller]
    fn scope(guard: &ScopeGuard, held: &str, expected: Result<(), &str>) {
        let token = verified_with(|facts| facts.scopes = ScopeSet::parse(held).unwrap());
        let verdict = guard.check(&token, UnixTime::from_secs(0));
        assert_eq!(
            verdict.as_ref().map_err(Denial::code),
            expected.as_ref().map_err(|code| *code),
            "{held:?}"
        );
    }

    #[test]
    fn all_of_needs_all() {
        let guard = ScopeGuard::all_of(["a", "b"]);
        scope(&guard, "a b c", Ok(()));
        scope(&guard, "a", Err("insufficient_scope"));
        scope(&guard, "", Err("insufficient_scope"));
        scope(&guard, "A B", Err("insufficient_scope"));
    }

    #[test]
    fn any_of_needs_one() {
        let guard = ScopeGuard::any_of(["a", "b"]);
        scope(&guard, "b", Ok(()));
        scope(&guard, "c", Err("insufficient_scope"));
        scope(&guard, "", Err("insufficient_scope"));
    }

    #[test]
    fn at_most_refuses_the_broad() {
        let guard = ScopeGuard::any_scope().at_most(["a"]);
        scope(&guard, "a", Ok(()));
        scope(&guard, "", Ok(()));
        scope(&guard, "a b", Err("scope_too_broad"));
    }

    #[test]
    fn what_cannot_be_read_admits_nobody() {
        for guard in [ScopeGuard::all_of([]), ScopeGuard::any_of([]), ScopeGuard::all_of(["a b"])] {
            assert!(guard.problem().is_some());
            scope(&guard, "a b", Err("insufficient_scope"));
        }
        let most = ScopeGuard::any_scope().at_most(["a b"]);
        assert!(most.problem().is_some());
        scope(&most, "", Err("scope_too_broad"));
        assert_eq!(ScopeGuard::all_of(["a"]).at_most([]).problem(), None);
    }

    #[test]
    fn it_names_what_it_asks_for() {
        let named = |guard: ScopeGuard| guard.named().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(named(ScopeGuard::all_of(["b", "a"])), ["a", "b"]);
        assert_eq!(named(ScopeGuard::any_of(["a"]).at_most(["a", "c"])), ["a"]);
        assert_eq!(named(ScopeGuard::any_scope()), [""; 0]);
    }
}
