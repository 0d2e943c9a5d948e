//! Is a grant no wider than what its route expects? (RFC 8693 section 2.1, RFC 8707)
//!
//! Two things are here: [`Bounds`], the algebra (what may at most be granted, and how two limits combine),
//! and [`prove_narrowing`], the judgement over one answer of an authorization server, each point of which has
//! a fault code of its own.

use std::sync::Arc;
use std::time::Duration;

use crate::{Facts, Fault, Relaxation, ScopeSet, UnixTime, Waived};

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
    /// What the route relaxes.
    pub relaxed: Vec<Waived>,
}

/// The relaxations that a grant turns out to need.
pub(crate) struct Excuses<'a> {
    allowed: &'a [Waived],
    now: UnixTime,
    needed: Vec<Waived>,
    expired: bool,
}

impl<'a> Excuses<'a> {
    pub(crate) const fn new(allowed: &'a [Waived], now: UnixTime) -> Self {
        Self { allowed, now, needed: Vec::new(), expired: false }
    }

    /// Exactly the audience that is expected, and such others as are excused one by one.
    pub(crate) fn sole_audience(&mut self, expected: &str, grant: &Facts) -> Result<(), Fault> {
        let is_expected = |audience: &str| audience == expected;
        if !grant.audiences.iter().any(|audience| is_expected(audience)) {
            return Err(Fault::GrantAudienceWider);
        }
        for foreign in grant.audiences.iter().filter(|audience| !is_expected(audience)) {
            self.excuse(&Relaxation::ForeignAudience(foreign.clone()), Fault::GrantAudienceWider)?;
        }
        Ok(())
    }

    /// `fault`, unless the route relaxes exactly this.
    pub(crate) fn excuse(&mut self, relaxation: &Relaxation, fault: Fault) -> Result<(), Fault> {
        let mut same = self.allowed.iter().filter(|one| one.relaxation == *relaxation).peekable();
        if same.peek().is_none() {
            return Err(fault);
        }
        match same.find(|one| one.waiver.holds(self.now)) {
            Some(holds) => self.needed.push(holds.clone()),
            None => self.expired = true,
        }
        Ok(())
    }

    /// What was needed, once nothing else is wrong: a defect that no waiver covers is the more telling one.
    pub(crate) fn settle(self) -> Result<Vec<Waived>, Fault> {
        // INVARIANT: I16 — from its date on a waiver excuses nothing.
        if self.expired { Err(Fault::WaiverExpired) } else { Ok(self.needed) }
    }
}

/// Proves that `grant`, already verified as genuine unless it is opaque, is a narrowing of `parent`.
///
/// Returns the relaxations that it needed, for [`Granted::needing`](crate::Granted::needing).
///
/// # Errors
///
/// The [`Fault`] of the first point that does not hold and is not relaxed, in the order of I5: form, issuer,
/// subject, audience, scopes, expiry against the parent and the route, actor chain, holder key.
/// [`Fault::WaiverExpired`] where nothing is wrong but what an expired waiver would have excused.
pub fn prove_narrowing(
    parent: &Facts,
    expected: &Expectation,
    grant: &Facts,
    now: UnixTime,
) -> Result<Vec<Waived>, Fault> {
    let mut excuses = Excuses::new(&expected.relaxed, now);
    if !grant.structured {
        excuses.excuse(&Relaxation::Opaque, Fault::GrantUnreadable)?;
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
    // INVARIANT: I14 — a grant without audience would be good everywhere.
    excuses.sole_audience(&expected.audience, grant)?;
    if !grant.scopes.is_subset_of(&expected.scopes) {
        return Err(Fault::GrantScopeWider);
    }
    if grant.expires > parent.expires {
        excuses.excuse(&Relaxation::LaterExpiry, Fault::GrantOutlivesParent)?;
    }
    let issued = grant.issued_at.unwrap_or(now);
    if grant.expires.since(issued).is_none_or(|life| life > expected.lifetime) {
        return Err(Fault::GrantLifetimeTooLong);
    }
    // What is opaque shows no actor, and was excused above.
    if grant.structured {
        if grant.actors.depth() == 0 {
            excuses.excuse(&Relaxation::WithoutActor, Fault::GrantActorMissing)?;
        } else if !grant.actors.extends(&parent.actors, &expected.actor, &grant.issuer) {
            return Err(Fault::GrantActorChanged);
        }
    }
    if !grant.confirmation.is_none() {
        return Err(Fault::GrantHolderChanged);
    }
    excuses.settle()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence_for_tests::facts;
    use crate::{Actor, ActorChain, Confirmation, Waiver, minutes};

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn names(names: &[&str]) -> Arc<[Box<str>]> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn chain(actors: &[&str]) -> ActorChain {
        ActorChain::from_outermost(actors.iter().map(|&name| Actor::new(name)).collect())
    }

    const LATER: UnixTime = UnixTime::from_secs(1001);

    fn parent() -> Facts {
        let mut parent = facts();
        (parent.expires, parent.actors) = (UnixTime::from_secs(1300), chain(&["gateway"]));
        parent
    }

    fn honest() -> Facts {
        let mut grant = parent();
        grant.audiences = names(&["inventory"]);
        grant.scopes = ScopeSet::parse("stock:read").unwrap();
        grant.actors = chain(&["orders", "gateway"]);
        grant.issued_at = Some(NOW);
        grant
    }

    fn expectation(relaxed: &[Relaxation], until: UnixTime) -> Expectation {
        let waived = |one: &Relaxation| Waived {
            relaxation: one.clone(),
            waiver: Waiver::new("a test", "nobody", until),
        };
        Expectation {
            audience: "inventory".into(),
            scopes: ScopeSet::parse("stock:read stock:list").unwrap(),
            lifetime: minutes(5),
            actor: "orders".into(),
            relaxed: relaxed.iter().map(waived).collect(),
        }
    }

    /// The verdict, and what it needed.
    fn verdict(
        grant: &Facts,
        relaxed: &[Relaxation],
        until: UnixTime,
    ) -> Result<Vec<Relaxation>, &'static str> {
        prove_narrowing(&parent(), &expectation(relaxed, until), grant, NOW)
            .map(|needed| needed.into_iter().map(|one| one.relaxation).collect())
            .map_err(Fault::code)
    }

    #[track_caller]
    fn narrowing(change: impl FnOnce(&mut Facts), expected: Result<(), &str>) {
        let mut grant = honest();
        change(&mut grant);
        assert_eq!(verdict(&grant, &[], LATER).map(|needed| assert!(needed.is_empty())), expected);
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

    type Change = fn(&mut Facts);

    /// Every way to be wider that stands alone, with its code and the relaxation that excuses it.
    fn wider() -> Vec<(Change, &'static str, Option<Relaxation>)> {
        let account = || Relaxation::ForeignAudience("account".into());
        vec![
            (|g| g.structured = false, "grant_unreadable", Some(Relaxation::Opaque)),
            (|g| g.audiences = names(&["inventory", "account"]), "grant_audience_wider", Some(account())),
            (|g| g.audiences = names(&["account", "inventory"]), "grant_audience_wider", Some(account())),
            (
                |g| (g.issued_at, g.expires) = (Some(LATER), UnixTime::from_secs(1301)),
                "grant_outlives_parent",
                Some(Relaxation::LaterExpiry),
            ),
            (|g| g.actors = chain(&[]), "grant_actor_missing", Some(Relaxation::WithoutActor)),
            (|g| g.audiences = names(&["account"]), "grant_audience_wider", None),
            (|g| g.audiences = names(&[]), "grant_audience_wider", None),
            (|g| g.audiences = names(&["inventory", "other"]), "grant_audience_wider", None),
            (|g| g.audiences = names(&["inventory", "account", "other"]), "grant_audience_wider", None),
            (|g| g.audiences = names(&["inventory", "Account"]), "grant_audience_wider", None),
            (|g| g.issuer = "https://other".into(), "grant_issuer_unexpected", None),
            (|g| g.subject = "mallory".into(), "grant_subject_changed", None),
            (|g| g.scopes = ScopeSet::parse("admin").unwrap(), "grant_scope_wider", None),
            (|g| g.expires = NOW, "grant_expired", None),
            (|g| g.issued_at = Some(UnixTime::from_secs(999)), "grant_lifetime_too_long", None),
            (|g| g.actors = chain(&["gateway"]), "grant_actor_changed", None),
            (|g| g.actors = chain(&["orders"]), "grant_actor_changed", None),
            (|g| g.actors = chain(&["orders", "x", "gateway"]), "grant_actor_changed", None),
            (|g| g.confirmation = Confirmation::Jkt("k".into()), "grant_holder_changed", None),
        ]
    }

    fn every_relaxation() -> Vec<Relaxation> {
        let mut all: Vec<_> = wider().into_iter().filter_map(|(_, _, excuse)| excuse).collect();
        all.dedup();
        all
    }

    #[test]
    fn each_relaxation_relaxes_exactly_one_point() {
        assert_eq!(every_relaxation().len(), 4);
        for (change, code, excuse) in wider() {
            let mut grant = honest();
            change(&mut grant);
            for one in every_relaxation() {
                let excused = excuse.as_ref() == Some(&one);
                let expected = if excused { Ok(vec![one.clone()]) } else { Err(code) };
                assert_eq!(
                    verdict(&grant, std::slice::from_ref(&one), LATER),
                    expected,
                    "{code} and {one:?}"
                );
                // From its date on it excuses nothing, and says why.
                let expected = Err(if excused { "waiver_expired" } else { code });
                assert_eq!(verdict(&grant, std::slice::from_ref(&one), NOW), expected, "{code} and {one:?}");
            }
            let all = verdict(&grant, &every_relaxation(), LATER);
            assert_eq!(all, excuse.map(|one| vec![one]).ok_or(code), "{code}");
        }
    }

    #[test]
    fn a_relaxation_that_is_not_needed_is_not_used() {
        assert_eq!(verdict(&honest(), &every_relaxation(), LATER), Ok(vec![]));
        assert_eq!(verdict(&honest(), &every_relaxation(), NOW), Ok(vec![]));
    }

    #[test]
    fn of_two_waivers_for_one_point_the_one_that_holds_counts() {
        let mut expected = expectation(&[Relaxation::WithoutActor], NOW);
        expected.relaxed.extend(expectation(&[Relaxation::WithoutActor], LATER).relaxed);
        let mut grant = honest();
        grant.actors = chain(&[]);
        let needed = prove_narrowing(&parent(), &expected, &grant, NOW).unwrap();
        assert_eq!(needed, [expected.relaxed[1].clone()]);
    }

    proptest! {
        /// Any mixture of defects passes only if each of them is excused, and what was needed is told whole.
        #[test]
        fn a_mixture_passes_only_if_each_part_is_excused(
            defects in proptest::sample::subsequence(wider(), 0..=5),
            allowed in proptest::sample::subsequence(every_relaxation(), 0..=4),
        ) {
            let mut grant = honest();
            for (change, _, _) in &defects {
                change(&mut grant);
            }
            match verdict(&grant, &allowed, LATER) {
                Ok(needed) => {
                    prop_assert!(needed.iter().all(|one| allowed.contains(one)));
                    // The same with exactly what was needed, and with nothing less.
                    prop_assert_eq!(verdict(&grant, &needed, LATER), Ok(needed.clone()));
                    for at in 0..needed.len() {
                        let mut less = needed.clone();
                        less.remove(at);
                        prop_assert!(verdict(&grant, &less, LATER).is_err());
                    }
                    // With no relaxation in play the proof is the algebra's.
                    if needed.is_empty() {
                        let bounds = Bounds {
                            audiences: names(&["inventory"]).to_vec(),
                            scopes: expectation(&[], LATER).scopes,
                            expires: parent().expires,
                        };
                        prop_assert_eq!(bounds.admit(&grant), Ok(()));
                    }
                }
                Err(code) => prop_assert!(!defects.is_empty(), "{}", code),
            }
        }
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
            (grant.audiences, grant.scopes, grant.expires) = (g.audiences.into(), g.scopes, g.expires);
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

    #[test]
    fn bounds_judge_each_side_by_itself() {
        let bounds = |audience: &str, scopes: &str, expires| Bounds {
            audiences: names(&[audience]).to_vec(),
            scopes: ScopeSet::parse(scopes).unwrap(),
            expires: UnixTime::from_secs(expires),
        };
        let wide = bounds("inventory", "stock:list stock:read", 1300);
        assert!(wide.narrows(&wide) && bounds("inventory", "stock:read", 1299).narrows(&wide));
        for wider in [
            bounds("elsewhere", "stock:read", 1299),
            bounds("inventory", "admin", 1299),
            bounds("inventory", "stock:read", 1301),
        ] {
            assert!(!wider.narrows(&wide), "{wider:?}");
        }
        let admitted = |change: &dyn Fn(&mut Facts)| {
            let mut grant = honest();
            change(&mut grant);
            wide.admit(&grant).map_err(Fault::code)
        };
        assert_eq!(admitted(&|g| g.expires = UnixTime::from_secs(1300)), Ok(()));
        assert_eq!(admitted(&|g| g.audiences = names(&[])), Err("grant_audience_wider"));
        assert_eq!(admitted(&|g| g.audiences = names(&["elsewhere"])), Err("grant_audience_wider"));
        assert_eq!(admitted(&|g| g.scopes = ScopeSet::parse("admin").unwrap()), Err("grant_scope_wider"));
        assert_eq!(admitted(&|g| g.expires = UnixTime::from_secs(1301)), Err("grant_outlives_parent"));
    }
}
