//! Is the token meant for this service? (RFC 7519 section 4.1.3, RFC 9068 section 4)
//!
//! By default exactly one audience, and it is us: a token that is good here and elsewhere can be replayed
//! elsewhere. Compared byte by byte: another case, path or trailing slash is another audience.
//!
//! # Security
//!
//! It says nothing about who shows the token or what it may do.

use crate::{Denial, Guard, Relaxation, UnixTime, Verified, Waived, Waiver};

/// Admits tokens whose only audience is this service.
#[derive(Clone, Debug)]
pub struct AudienceGuard {
    ours: Vec<Box<str>>,
    foreign: Vec<Waived>,
}

impl AudienceGuard {
    /// The token's audience must be `audience` and nothing else.
    #[must_use]
    pub fn exactly(audience: &str) -> Self {
        Self { ours: vec![audience.into()], foreign: Vec::new() }
    }

    /// This service is also known as `alias`; a token for either is for us.
    #[must_use]
    pub fn or_alias(mut self, alias: &str) -> Self {
        self.ours.push(alias.into());
        self
    }

    /// Tolerates `audience`, which is not us, beside ours, until the waiver ends.
    ///
    /// The token can then be replayed there: name the one audience that an authorization server insists on
    /// adding, and no other. Each use is written to the audit as `waiver_used`.
    #[must_use]
    pub fn dangerous_tolerate_foreign(mut self, audience: &str, waiver: Waiver) -> Self {
        self.foreign.push(Waived { relaxation: Relaxation::TokenForeignAudience(audience.into()), waiver });
        self
    }

    fn tolerated(&self, audience: &str, now: UnixTime) -> impl Iterator<Item = &Waived> {
        let named = move |one: &&Waived| one.relaxation.audience() == Some(audience);
        self.foreign.iter().filter(named).filter(move |one| one.waiver.is_in_force(now))
    }

    /// The names under which this service takes tokens; the first is its own.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.ours.iter().map(AsRef::as_ref)
    }
}

impl Guard for AudienceGuard {
    fn name(&self) -> &'static str {
        "audience"
    }

    fn check(&self, token: &Verified, now: UnixTime) -> Result<(), Denial> {
        let found = &token.facts().audiences;
        // INVARIANT: I14 — no audience, and an empty one, is nobody's.
        if !found.iter().any(|audience| !audience.is_empty() && self.ours.contains(audience)) {
            return Err(Denial::AudienceMismatch);
        }
        // INVARIANT: I16 — from its end on, a waiver is as if it had never been written.
        let waived = |audience| self.tolerated(audience, now).next().is_some();
        if found.iter().all(|audience| self.ours.contains(audience) || waived(audience)) {
            Ok(())
        } else {
            Err(Denial::AudienceNotSole)
        }
    }

    fn waived(&self, token: &Verified, now: UnixTime) -> Vec<&Waived> {
        if self.foreign.is_empty() {
            return Vec::new();
        }
        let foreign = token.facts().audiences.iter().filter(|audience| !self.ours.contains(audience));
        foreign.flat_map(|audience| self.tolerated(audience, now)).collect()
    }

    fn problem(&self) -> Option<&'static str> {
        if self.audiences().any(|one| one.trim().is_empty()) {
            return Some("is empty: name this service's own URI");
        }
        let nameless = |one: &Waived| one.relaxation.audience().is_none_or(|name| name.trim().is_empty());
        if self.foreign.iter().any(|one| nameless(one) || !one.waiver.is_complete()) {
            return Some("tolerates a foreign audience without its name, a reason or an owner");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::verified_with;

    #[track_caller]
    fn audience(guard: &AudienceGuard, found: &[&str], expected: Result<(), &str>) {
        let token = verified_with(|facts| facts.audiences = found.iter().map(|&a| a.into()).collect());
        let verdict = guard.check(&token, UnixTime::from_secs(0));
        assert_eq!(
            verdict.as_ref().map_err(Denial::code),
            expected.as_ref().map_err(|code| *code),
            "{found:?}"
        );
    }

    #[test]
    fn exactly_ours() {
        let guard = AudienceGuard::exactly("https://orders.internal");
        audience(&guard, &["https://orders.internal"], Ok(()));
        audience(&guard, &["https://orders.internal", "https://orders.internal"], Ok(()));
        for other in
            ["https://Orders.internal", "https://orders.internal/", "https://orders.internal.evil", ""]
        {
            audience(&guard, &[other], Err("audience_mismatch"));
        }
        audience(&guard, &[], Err("audience_mismatch"));
        audience(&guard, &["https://orders.internal", "account"], Err("audience_not_sole"));
    }

    #[test]
    fn an_empty_setting_matches_nothing() {
        audience(&AudienceGuard::exactly(""), &[""], Err("audience_mismatch"));
    }

    #[test]
    fn aliases_and_listed_strangers() {
        let waiver = |until| Waiver::new("why", "who", UnixTime::from_secs(until));
        let guard = AudienceGuard::exactly("orders").or_alias("orders-v1");
        let late = guard.clone().dangerous_tolerate_foreign("account", waiver(0));
        audience(&late, &["orders", "account"], Err("audience_not_sole"));
        let guard = guard.dangerous_tolerate_foreign("account", waiver(1));
        let used = verified_with(|facts| facts.audiences = ["orders".into(), "account".into()].into());
        assert_eq!(guard.waived(&used, UnixTime::from_secs(0)).len(), 1);
        let sole = verified_with(|facts| facts.audiences = ["orders".into()].into());
        assert!(guard.waived(&sole, UnixTime::from_secs(0)).is_empty());
        assert!(
            AudienceGuard::exactly("a")
                .dangerous_tolerate_foreign("b", Waiver::new("", "", UnixTime::from_secs(9)))
                .problem()
                .is_some()
        );
        audience(&guard, &["orders-v1"], Ok(()));
        audience(&guard, &["orders", "account"], Ok(()));
        audience(&guard, &["account"], Err("audience_mismatch"));
        audience(&guard, &["orders", "account", "other"], Err("audience_not_sole"));
    }

    #[test]
    fn a_setting_that_names_nothing_is_a_problem() {
        let waiver = |why| Waiver::new(why, "who", UnixTime::from_secs(1));
        let ours = || AudienceGuard::exactly("orders");
        assert_eq!(ours().problem(), None);
        assert_eq!(ours().dangerous_tolerate_foreign("account", waiver("why")).problem(), None);
        let empty = "is empty: name this service's own URI";
        assert_eq!(AudienceGuard::exactly("").problem(), Some(empty));
        assert_eq!(ours().or_alias("").problem(), Some(empty));
        assert_eq!(AudienceGuard::exactly(" ").problem(), Some(empty));
        let nameless = "tolerates a foreign audience without its name, a reason or an owner";
        assert_eq!(ours().dangerous_tolerate_foreign("", waiver("why")).problem(), Some(nameless));
        assert_eq!(ours().dangerous_tolerate_foreign("account", waiver("")).problem(), Some(nameless));
    }

    #[test]
    fn each_waiver_in_force_that_was_needed_is_told() {
        let waiver = |owner, until| Waiver::new("why", owner, UnixTime::from_secs(until));
        let guard = AudienceGuard::exactly("orders")
            .dangerous_tolerate_foreign("a", waiver("ended", 5))
            .dangerous_tolerate_foreign("a", waiver("of a", 9))
            .dangerous_tolerate_foreign("b", waiver("of b", 9))
            .dangerous_tolerate_foreign("c", waiver("of c", 9))
            .dangerous_tolerate_foreign("d", waiver("", 9));
        let told = |audiences: &[&str], now| {
            let token =
                verified_with(|facts| facts.audiences = audiences.iter().map(|&one| one.into()).collect());
            let waived = guard.waived(&token, UnixTime::from_secs(now));
            waived.iter().map(|one| one.waiver.owner().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(&["a", "orders", "b"], 5), ["of a", "of b"]);
        assert_eq!(told(&["a", "orders"], 4), ["ended", "of a"]);
        assert_eq!(told(&["orders"], 5), [""; 0]);
        assert_eq!(told(&["a", "orders"], 9), [""; 0]);
        audience(&guard, &["orders", "d"], Err("audience_not_sole"));
    }
}
