//! Is a token that the client credentials grant gave us what its route expects (RFC 6749 section 4.4)?
//!
//! There is no parent to narrow: what is held against the route is issuer, subject, audience, scopes, life,
//! actors and holder key.

use std::sync::Arc;
use std::time::Duration;

use crate::narrowing::Excuses;
use crate::{Facts, Fault, Relaxation, ScopeSet, UnixTime, Waived};

/// What a route expects of the token that we get for ourselves.
#[derive(Clone, Debug)]
pub struct OwnExpectation {
    /// The authorization server.
    pub issuer: Arc<str>,
    /// `sub`: us.
    pub subject: Arc<str>,
    /// The one audience.
    pub audience: Arc<str>,
    /// The scopes at most.
    pub scopes: ScopeSet,
    /// The longest life, `exp - iat`.
    pub lifetime: Duration,
    /// What the route relaxes.
    pub relaxed: Vec<Waived>,
}

/// Proves that `grant`, already verified as genuine unless it is opaque, is for us and no wider than expected.
///
/// Returns the relaxations that it needed, for [`Granted::needing`](crate::Granted::needing).
///
/// # Errors
///
/// The [`Fault`] of the first point that does not hold and is not relaxed: form, expiry, issuer, subject,
/// audience, scopes, life, actors, holder key. [`Fault::WaiverExpired`] where nothing is wrong but what an
/// expired waiver would have excused.
pub fn prove_own(expected: &OwnExpectation, grant: &Facts, now: UnixTime) -> Result<Vec<Waived>, Fault> {
    let mut excuses = Excuses::new(&expected.relaxed, now);
    if !grant.structured {
        excuses.excuse(&Relaxation::Opaque, Fault::GrantUnreadable)?;
    }
    if now >= grant.expires {
        return Err(Fault::GrantExpired);
    }
    if grant.issuer != expected.issuer {
        return Err(Fault::GrantIssuerUnexpected);
    }
    // INVARIANT: I5 — a token for somebody else would let us act as them, with nobody having asked for it.
    if *grant.subject != *expected.subject {
        return Err(Fault::GrantSubjectChanged);
    }
    // INVARIANT: I14 — a grant without audience would be good everywhere.
    excuses.sole_audience(&expected.audience, grant)?;
    if !grant.scopes.is_subset_of(&expected.scopes) {
        return Err(Fault::GrantScopeWider);
    }
    let issued = grant.issued_at.unwrap_or(now);
    if grant.expires.since(issued).is_none_or(|life| life > expected.lifetime) {
        return Err(Fault::GrantLifetimeTooLong);
    }
    // Nobody acts for us.
    if grant.actors.depth() != 0 {
        return Err(Fault::GrantActorChanged);
    }
    if !grant.confirmation.is_none() {
        return Err(Fault::GrantHolderChanged);
    }
    excuses.settle()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::facts;
    use crate::{Actor, ActorChain, Confirmation, Waiver, minutes};

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn honest() -> Facts {
        let mut grant = facts();
        (grant.subject, grant.audiences) = ("orders".into(), ["ledger".into()].into());
        (grant.issued_at, grant.expires) = (Some(NOW), UnixTime::from_secs(1060));
        (grant.scopes, grant.actors) = (ScopeSet::parse("write").unwrap(), ActorChain::empty());
        grant
    }

    #[track_caller]
    fn own(change: impl FnOnce(&mut Facts), relaxed: &[Relaxation], expected: Result<usize, &str>) {
        let mut grant = honest();
        let issuer = Arc::clone(&grant.issuer);
        change(&mut grant);
        let waiver = || Waiver::new("a test", "nobody", UnixTime::from_secs(1001));
        let relaxed = relaxed.iter().map(|one| Waived { relaxation: one.clone(), waiver: waiver() });
        let expectation = OwnExpectation {
            issuer,
            subject: "orders".into(),
            audience: "ledger".into(),
            scopes: ScopeSet::parse("read write").unwrap(),
            lifetime: minutes(1),
            relaxed: relaxed.collect(),
        };
        let found = prove_own(&expectation, &grant, NOW).map(|needed| needed.len()).map_err(Fault::code);
        assert_eq!(found, expected);
    }

    #[test]
    fn each_point_has_its_own_code() {
        own(|_| (), &[], Ok(0));
        own(|g| g.structured = false, &[], Err("grant_unreadable"));
        own(|g| g.structured = false, &[Relaxation::Opaque], Ok(1));
        own(|g| g.expires = NOW, &[], Err("grant_expired"));
        own(|g| g.issuer = "https://other".into(), &[], Err("grant_issuer_unexpected"));
        own(|g| g.subject = "alice".into(), &[], Err("grant_subject_changed"));
        own(|g| g.audiences = [].into(), &[], Err("grant_audience_wider"));
        own(|g| g.audiences = ["elsewhere".into()].into(), &[], Err("grant_audience_wider"));
        let both =
            |g: &mut Facts| g.audiences = g.audiences.iter().cloned().chain(["account".into()]).collect();
        own(both, &[], Err("grant_audience_wider"));
        own(both, &[Relaxation::ForeignAudience("account".into())], Ok(1));
        own(|g| g.scopes = ScopeSet::parse("admin write").unwrap(), &[], Err("grant_scope_wider"));
        own(|g| g.scopes = ScopeSet::empty(), &[], Ok(0));
        own(|g| g.expires = UnixTime::from_secs(1061), &[], Err("grant_lifetime_too_long"));
        let acted = ActorChain::from_outermost(vec![Actor::new("orders")]);
        own(|g| g.actors = acted, &[], Err("grant_actor_changed"));
        own(|g| g.confirmation = Confirmation::Jkt("k".into()), &[], Err("grant_holder_changed"));
    }
}
