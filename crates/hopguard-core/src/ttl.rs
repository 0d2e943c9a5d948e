//! How long may a token live?
//!
//! Three rules, at least one of which a stack demands:
//!
//! | rule | judges | refuses with |
//! | --- | --- | --- |
//! | [`Ttl::lifetime_at_most`] | `exp - iat`, for how long it was issued | `lifetime_too_long` |
//! | [`Ttl::age_at_most`] | `now - iat`, how long ago it was issued | `token_too_old` |
//! | [`Ttl::remaining_at_most`] | `exp - now`, how long it could still be abused | `remaining_too_long` |
//!
//! The first two need `iat` and refuse with `issued_at_missing` without it. A token at or past its `exp` is
//! refused by every one of them with `token_expired`.

use std::time::Duration;

use crate::{Denial, Facts, Guard, UnixTime, Verified};

/// Begins a [`TtlGuard`] with its first rule.
#[derive(Clone, Copy, Debug)]
pub struct Ttl;

impl Ttl {
    /// `exp - iat` may be at most `longest`.
    #[must_use]
    pub const fn lifetime_at_most(longest: Duration) -> TtlGuard {
        TtlGuard { lifetime: Some(longest), age: None, remaining: None }
    }

    /// `now - iat` may be at most `longest`.
    #[must_use]
    pub const fn age_at_most(longest: Duration) -> TtlGuard {
        TtlGuard { lifetime: None, age: Some(longest), remaining: None }
    }

    /// `exp - now` may be at most `longest`.
    #[must_use]
    pub const fn remaining_at_most(longest: Duration) -> TtlGuard {
        TtlGuard { lifetime: None, age: None, remaining: Some(longest) }
    }
}

/// Caps how long a token lives. Made by [`Ttl`], so that it has at least one rule.
///
/// ```
/// use hopguard_core::{Ttl, minutes};
///
/// let guard = Ttl::lifetime_at_most(minutes(5)).and_age_at_most(minutes(4));
/// # let _ = guard;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TtlGuard {
    lifetime: Option<Duration>,
    age: Option<Duration>,
    remaining: Option<Duration>,
}

impl TtlGuard {
    /// The longest cap that a stack is built with: two days. The longest-lived access tokens in common use, which are
    /// those of Entra's continuous access evaluation, live for 28 hours.
    pub const LONGEST: Duration = Duration::from_secs(48 * 60 * 60);

    /// Also: `exp - iat` may be at most `longest`.
    #[must_use]
    pub const fn and_lifetime_at_most(mut self, longest: Duration) -> Self {
        self.lifetime = Some(longest);
        self
    }

    /// Also: `now - iat` may be at most `longest`.
    #[must_use]
    pub const fn and_age_at_most(mut self, longest: Duration) -> Self {
        self.age = Some(longest);
        self
    }

    /// Also: `exp - now` may be at most `longest`.
    #[must_use]
    pub const fn and_remaining_at_most(mut self, longest: Duration) -> Self {
        self.remaining = Some(longest);
        self
    }

    /// When a token is too old, if it may be by age: what it has opened ends then, and not at its expiry.
    #[must_use]
    pub fn ends(&self, token: &Facts) -> Option<UnixTime> {
        // A token as old as the cap passes.
        let last = token.issued_at.zip(self.age).map(|(issued, age)| issued.after(age));
        last.map(|last| last.after(Duration::from_secs(1)))
    }

    /// The caps that are set, for checks at start-up.
    pub fn caps(&self) -> impl Iterator<Item = Duration> {
        [self.lifetime, self.age, self.remaining].into_iter().flatten()
    }
}

impl Guard for TtlGuard {
    fn name(&self) -> &'static str {
        "ttl"
    }

    fn check(&self, token: &Verified, now: UnixTime) -> Result<(), Denial> {
        let facts = token.facts();
        let remaining = match facts.expires.since(now) {
            None | Some(Duration::ZERO) => return Err(Denial::TokenExpired),
            Some(left) => left,
        };
        if self.lifetime.is_some() || self.age.is_some() {
            let issued = facts.issued_at.ok_or(Denial::IssuedAtMissing)?;
            // `exp` before `iat` is no life at all, and the token is refused as expired long before this;
            // `iat` after `now` is within the leeway that validity allowed, hence no age yet.
            let lifetime = facts.expires.since(issued).ok_or(Denial::TokenExpired)?;
            if self.lifetime.is_some_and(|longest| lifetime > longest) {
                return Err(Denial::LifetimeTooLong);
            }
            if self.age.is_some_and(|longest| now.since(issued).unwrap_or_default() > longest) {
                return Err(Denial::TokenTooOld);
            }
        }
        if self.remaining.is_some_and(|longest| remaining > longest) {
            return Err(Denial::RemainingTooLong);
        }
        Ok(())
    }

    fn problem(&self) -> Option<&'static str> {
        let nothing = self.caps().any(|cap| cap.is_zero());
        if nothing {
            return Some("allows no time at all: name a cap of at least one second");
        }
        let endless = self.caps().any(|cap| cap > Self::LONGEST);
        endless.then_some(
            "lets tokens live for more than two days: name a cap that a stolen one does not outlive",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::verified_with;
    use crate::{minutes, seconds};

    #[track_caller]
    fn ttl(guard: TtlGuard, issued: Option<u64>, expires: u64, expected: Result<(), &str>) {
        let token = verified_with(|facts| {
            facts.issued_at = issued.map(UnixTime::from_secs);
            facts.expires = UnixTime::from_secs(expires);
        });
        let verdict = guard.check(&token, UnixTime::from_secs(1000));
        assert_eq!(verdict.as_ref().map_err(Denial::code), expected.as_ref().map_err(|code| *code));
    }

    #[test]
    fn issued_lifetime() {
        let guard = Ttl::lifetime_at_most(minutes(5));
        ttl(guard, Some(990), 1290, Ok(()));
        ttl(guard, Some(990), 1291, Err("lifetime_too_long"));
        ttl(guard, Some(990), 1000, Err("token_expired"));
        ttl(guard, Some(990), 1001, Ok(()));
        ttl(guard, None, 1100, Err("issued_at_missing"));
        ttl(guard, Some(2000), 1100, Err("token_expired"));
        ttl(guard, Some(0), u64::MAX, Err("lifetime_too_long"));
    }

    #[test]
    fn age() {
        let guard = Ttl::age_at_most(seconds(10));
        ttl(guard, Some(990), 9000, Ok(()));
        ttl(guard, Some(989), 9000, Err("token_too_old"));
        ttl(guard, Some(1003), 9000, Ok(()));
        ttl(guard, None, 9000, Err("issued_at_missing"));
    }

    #[test]
    fn remaining() {
        let guard = Ttl::remaining_at_most(seconds(60));
        ttl(guard, None, 1060, Ok(()));
        ttl(guard, None, 1061, Err("remaining_too_long"));
        ttl(guard, None, 999, Err("token_expired"));
    }

    #[test]
    fn every_rule_that_is_added_counts() {
        let guard =
            Ttl::lifetime_at_most(minutes(5)).and_age_at_most(seconds(10)).and_remaining_at_most(seconds(60));
        assert_eq!(guard.caps().count(), 3);
        assert_eq!(guard.problem(), None);
        assert!(guard.and_age_at_most(Duration::ZERO).problem().is_some());
        ttl(guard, Some(995), 1050, Ok(()));
        ttl(guard, Some(900), 1050, Err("token_too_old"));
        ttl(guard, Some(995), 1070, Err("remaining_too_long"));
        let late = Ttl::remaining_at_most(seconds(60)).and_lifetime_at_most(seconds(70));
        ttl(late, Some(985), 1055, Ok(()));
        ttl(late, Some(984), 1055, Err("lifetime_too_long"));
    }

    #[test]
    fn a_cap_that_is_none_is_a_problem() {
        for (cap, expected) in [
            (TtlGuard::LONGEST, None),
            (TtlGuard::LONGEST + Duration::from_secs(1), Some("two days")),
            (Duration::ZERO, Some("no time")),
        ] {
            for guard in [
                crate::Ttl::lifetime_at_most(cap),
                crate::Ttl::age_at_most(cap),
                crate::Ttl::remaining_at_most(cap),
                crate::Ttl::lifetime_at_most(minutes(5)).and_age_at_most(cap),
            ] {
                let problem = guard.problem();
                assert_eq!(problem.is_some(), expected.is_some(), "{guard:?}");
                assert!(problem.unwrap_or_default().contains(expected.unwrap_or_default()), "{problem:?}");
            }
        }
    }
}
