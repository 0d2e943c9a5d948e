//! Is the token valid at this moment? (RFC 7519 sections 4.1.4 to 4.1.6)

use std::time::Duration;

use crate::{Denial, Facts, UnixTime};

/// The most leeway that can be configured.
pub const MAX_LEEWAY: Duration = Duration::from_secs(60);

/// How far apart two clocks may be when `nbf` and `iat` are judged. Never applied to `exp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leeway(Duration);

impl Leeway {
    /// No leeway at all.
    pub const NONE: Self = Self(Duration::ZERO);

    /// `leeway`, if it is at most [`MAX_LEEWAY`].
    #[must_use]
    pub const fn new(leeway: Duration) -> Option<Self> {
        if leeway.as_secs() < MAX_LEEWAY.as_secs() || (leeway.as_secs() == 60 && leeway.subsec_nanos() == 0) {
            Some(Self(leeway))
        } else {
            None
        }
    }
}

impl Default for Leeway {
    /// Five seconds: what NTP-kept clocks need, with room.
    fn default() -> Self {
        Self(Duration::from_secs(5))
    }
}

/// Checks `exp`, `nbf` and `iat` against `now`. At `exp` the token is expired.
///
/// # Errors
///
/// [`Denial::TokenExpired`], [`Denial::TokenNotYetValid`] or [`Denial::TokenFromFuture`].
pub fn check_validity(facts: &Facts, now: UnixTime, leeway: Leeway) -> Result<(), Denial> {
    // INVARIANT: I13 — equality is expired, and no leeway touches this line.
    if now >= facts.expires {
        return Err(Denial::TokenExpired);
    }
    let latest = now.after(leeway.0);
    if facts.not_before.is_some_and(|from| from > latest) {
        return Err(Denial::TokenNotYetValid);
    }
    if facts.issued_at.is_some_and(|at| at > latest) {
        return Err(Denial::TokenFromFuture);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::facts;

    #[track_caller]
    fn validity(now: u64, expected: Result<(), &str>) {
        let mut token = facts();
        (token.not_before, token.issued_at, token.expires) =
            (Some(UnixTime::from_secs(100)), Some(UnixTime::from_secs(98)), UnixTime::from_secs(400));
        let leeway = Leeway::new(Duration::from_secs(5)).unwrap();
        let found = check_validity(&token, UnixTime::from_secs(now), leeway);
        assert_eq!(found.as_ref().map_err(|denial| denial.code()), expected.as_ref().map_err(|code| *code));
    }

    #[test]
    fn the_edges_are_exact() {
        validity(92, Err("token_not_yet_valid"));
        validity(94, Err("token_not_yet_valid"));
        validity(95, Ok(()));
        validity(399, Ok(()));
        validity(400, Err("token_expired"));
        validity(u64::MAX, Err("token_expired"));
    }

    #[test]
    fn a_token_from_the_future_is_refused() {
        let mut token = facts();
        token.issued_at = Some(UnixTime::from_secs(106));
        let at = |now| check_validity(&token, UnixTime::from_secs(now), Leeway::default()).err();
        assert_eq!(at(100), Some(Denial::TokenFromFuture));
        assert_eq!(at(101), None);
    }

    #[test]
    fn leeway_is_capped() {
        assert!(Leeway::new(MAX_LEEWAY).is_some());
        assert!(Leeway::new(MAX_LEEWAY + Duration::from_nanos(1)).is_none());
    }
}
