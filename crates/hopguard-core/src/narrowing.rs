//! Is a grant no wider than what its route expects? (RFC 8693 section 2.1, RFC 8707)
//!
//! Two things are here: [`Bounds`], the algebra (what may at most be granted, and how two limits combine),
//! and [`prove_narrowing`], the judgement over one answer of an authorization server, each point of which has
//! a fault code of its own.

use std::sync::Arc;
use std::time::Duration;

use crate::{Facts, Fault, ScopeSet, UnixTime};

/// The most that may be granted: one audience, these scopes, until then.
///
/// Bounds form a meet-semilattice: [`Bounds::meet`] of two limits admits exactly what both admit, so limits
/// can be combined in any order and the result is never wider than either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The audiences that may be named; a grant names at least one, and no other.
    pub audiences: Vec<Box<str>>,
    /// The scopes that may be held.
    pub scopes: ScopeSet,
    /// The latest expiry.
    pub expires: UnixTime,
}

impl Bounds {
    /// The limit that admits what both admit.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        Self {
            audiences: self.audiences.iter().filter(|a| other.audiences.contains(a)).cloned().collect(),
            scopes: self.scopes.intersection(&other.scopes),
            expires: self.expires.min(other.expires),
        }
    }

    /// True if this limit admits nothing that `other` does not.
    #[must_use]
    pub fn narrows(&self, other: &Self) -> bool {
        self.audiences.iter().all(|audience| other.audiences.contains(audience))
            && self.scopes.is_subset_of(&other.scopes)
            && self.expires <= other.expires
    }

    /// Judges a grant against this limit.
    ///
    /// # Errors
    ///
    /// [`Fault::GrantAudienceWider`], [`Fault::GrantScopeWider`] or [`Fault::GrantOutlivesParent`].
    pub fn admit(&self, grant: &Facts) -> Result<(), Fault> {
        // INVARIANT: I14 — a grant without audience would be good everywhere.
        if grant.audiences.is_empty() || !grant.audiences.iter().all(|a| self.audiences.contains(a)) {
            return Err(Fault::GrantAudienceWider);
        }
        if !grant.scopes.is_subset_of(&self.scopes) {
            return Err(Fault::GrantScopeWider);
        }
        if grant.expires > self.expires {
            return Err(Fault::GrantOutlivesParent);
        }
        Ok(())
    }
}

/// What a route expects of the grant made for it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The one audience.
    pub audience: Arc<str>,
    /// The scopes at most.
    pub scopes: ScopeSet,
    /// The longest life, `exp - iat`.
    pub lifetime: Duration,
    /// The name under which the authorization server knows us; the chain must grow by it.
    pub actor: Arc<str>,
}

/// Proves that `grant`, already verified as genuine, is a narrowing of `parent`.
///
/// # Errors
///
/// The [`Fault`] of the first point that does not hold, in the order of I5: issuer, subject, audience,
/// scopes, expiry against the parent and the route, actor chain, holder key.
pub fn prove_narrowing(
    parent: &Facts,
    expected: &Expectation,
    grant: &Facts,
    now: UnixTime,
) -> Result<(), Fault> {
    if !grant.structured {
        return Err(Fault::GrantUnreadable);
    }
    if now >= grant.expires {
        return Err(Fault::GrantExpired);
    }
    // INVARIANT: I5 — subjects are (`iss`, `sub`): the same name at two issuers is two people.
    if grant.issuer != parent.issuer {
        return Err(Fault::GrantIssuerUnexpected);
    }
    if grant.subject != parent.subject {
        return Err(Fault::GrantSubjectChanged);
    }
    let bounds = Bounds {
        audiences: vec![expected.audience.as_ref().into()],
        scopes: expected.scopes.clone(),
        expires: parent.expires,
    };
    bounds.admit(grant)?;
    let issued = grant.issued_at.unwrap_or(now);
    if grant.expires.since(issued).is_none_or(|life| life > expected.lifetime) {
        return Err(Fault::GrantLifetimeTooLong);
    }
    if grant.actors.depth() == 0 {
        return Err(Fault::GrantActorMissing);
    }
    if !grant.actors.extends(&parent.actors, &expected.actor, &grant.issuer) {
        return Err(Fault::GrantActorChanged);
    }
    if !grant.confirmation.is_none() {
        return Err(Fault::GrantHolderChanged);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence_for_tests::facts;
    use crate::{Actor, ActorChain, Confirmation, minutes};

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn chain(actors: &[&str]) -> ActorChain {
        ActorChain::from_outermost(actors.iter().map(|&name| Actor::new(name)).collect())
    }

    #[track_caller]
    fn narrowing(change: impl FnOnce(&mut Facts), expected: Result<(), &str>) {
        let mut parent = facts();
        (parent.expires, parent.actors) = (UnixTime::from_secs(1300), chain(&["gateway"]));
        let mut grant = parent.clone();
        grant.audiences = names(&["inventory"]);
        grant.scopes = ScopeSet::parse("stock:read").unwrap();
        grant.actors = chain(&["orders", "gateway"]);
        grant.issued_at = Some(NOW);
        change(&mut grant);
        let expectation = Expectation {
            audience: "inventory".into(),
            scopes: ScopeSet::parse("stock:read stock:list").unwrap(),
            lifetime: minutes(5),
            actor: "orders".into(),
        };
        assert_eq!(prove_narrowing(&parent, &expectation, &grant, NOW).map_err(Fault::code), expected);
    }

    #[test]
    fn each_point_has_its_own_code() {
        narrowing(|_| (), Ok(()));
        narrowing(|g| g.scopes = ScopeSet::empty(), Ok(()));
        narrowing(|g| g.structured = false, Err("grant_unreadable"));
        narrowing(|g| g.expires = NOW, Err("grant_expired"));
        narrowing(|g| g.issuer = "https://other".into(), Err("grant_issuer_unexpected"));
        narrowing(|g| g.subject = "mallory".into(), Err("grant_subject_changed"));
        narrowing(|g| g.audiences = names(&["elsewhere"]), Err("grant_audience_wider"));
        narrowing(|g| g.audiences = names(&["inventory", "elsewhere"]), Err("grant_audience_wider"));
        narrowing(|g| g.audiences = names(&[]), Err("grant_audience_wider"));
        narrowing(|g| g.scopes = ScopeSet::parse("stock:read admin").unwrap(), Err("grant_scope_wider"));
        narrowing(|g| g.expires = UnixTime::from_secs(1301), Err("grant_outlives_parent"));
        narrowing(|g| g.expires = UnixTime::from_secs(1300), Ok(()));
        narrowing(|g| g.issued_at = Some(UnixTime::from_secs(999)), Err("grant_lifetime_too_long"));
        narrowing(|g| g.issued_at = Some(UnixTime::from_secs(1301)), Err("grant_lifetime_too_long"));
        narrowing(|g| g.issued_at = None, Ok(()));
        narrowing(|g| g.actors = chain(&[]), Err("grant_actor_missing"));
        for wrong in [
            &["gateway"][..],
            &["orders"],
            &["orders", "orders", "gateway"],
            &["gateway", "orders"],
            &["x", "gateway"],
        ] {
            narrowing(|g| g.actors = chain(wrong), Err("grant_actor_changed"));
        }
        narrowing(|g| g.confirmation = Confirmation::Jkt("k".into()), Err("grant_holder_changed"));
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        (proptest::collection::btree_set("[p-r]", 0..4), proptest::collection::vec("[a-c]", 0..4), 0..4u64)
            .prop_map(|(audiences, scopes, expires)| Bounds {
                audiences: audiences.iter().map(|a| a.as_str().into()).collect(),
                scopes: ScopeSet::from_tokens(scopes.iter().map(String::as_str)).unwrap(),
                expires: UnixTime::from_secs(expires),
            })
    }

    proptest! {
        #[test]
        fn the_meet_admits_exactly_what_both_admit(a in bounds(), b in bounds(), g in bounds()) {
            let mut grant = facts();
            (grant.audiences, grant.scopes, grant.expires) = (g.audiences, g.scopes, g.expires);
            let both = a.admit(&grant).is_ok() && b.admit(&grant).is_ok();
            prop_assert_eq!(a.meet(&b).admit(&grant).is_ok(), both);
        }

        #[test]
        fn narrowing_never_widens(a in bounds(), b in bounds(), c in bounds()) {
            prop_assert!(a.narrows(&a));
            prop_assert!(a.meet(&b).narrows(&a) && a.meet(&b).narrows(&b));
            prop_assert!(!(a.narrows(&b) && b.narrows(&c)) || a.narrows(&c));
            prop_assert!(!(c.narrows(&a) && c.narrows(&b)) || c.narrows(&a.meet(&b)));
        }
    }
}
