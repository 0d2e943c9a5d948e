//! Who may hold the token now, and through how many hands may it have come? (RFC 8693 section 4.1)
//!
//! The party that acts is the outermost actor of `act`, or the client (`client_id`, RFC 9068 section 2.2) if nobody
//! acts for the subject. RFC 8693 wants access decided by the subject and the current actor alone: the actors within
//! are history, and this guard only counts them.
//!
//! ```
//! use hopguard_core::ActorGuard;
//!
//! let gateway = ActorGuard::any_of(["gateway"]);
//! let near = ActorGuard::any_of(["gateway", "batch"]).at_most(2);
//! let direct = ActorGuard::depth_at_most(0); // nobody acts for anybody
//! let partner = ActorGuard::any_of(["gateway"]).or_of("https://sts.partner.example", "bridge");
//! // And whoever shows the token is that party, by the certificate of its connection.
//! let itself = ActorGuard::any_of(["spiffe://shop.internal/gateway"]).shown_by_itself();
//! let named = ActorGuard::any_of(["gateway"]).shown_by("gateway", "spiffe://shop.internal/gateway");
//! # let _ = (gateway, near, direct, partner, itself, named);
//! ```
//!
//! # Security
//!
//! It judges what the token says. That whoever shows the token *is* the party it names takes proof: that the sender
//! holds the key to which the token is bound, or [`ActorGuard::shown_by_itself`] over a transport that authenticates
//! both ends. Where the transport says nothing of its other end, such a rule admits nobody.

use crate::{Denial, Facts, Guard, UnixTime, Verified};

/// Admits tokens by who acts with them, and by how many did.
#[derive(Clone, Debug)]
pub struct ActorGuard {
    allowed: Option<Vec<Party>>,
    depth: Option<usize>,
    shown: Option<Vec<Alias>>,
}

/// What the transport calls a party, where its own name is another.
#[derive(Clone, Debug)]
struct Alias {
    party: Party,
    peer: Box<str>,
}

/// A party that may act; without an issuer, one of the token's own.
#[derive(Clone, Debug)]
struct Party {
    subject: Box<str>,
    issuer: Option<Box<str>>,
}

impl ActorGuard {
    /// The party that acts must be one of `parties`, all known at the token's own issuer. Compared letter by letter.
    #[must_use]
    pub fn any_of<'a>(parties: impl IntoIterator<Item = &'a str>) -> Self {
        let own = |subject: &str| Party { subject: subject.into(), issuer: None };
        Self { allowed: Some(parties.into_iter().map(own).collect()), depth: None, shown: None }
    }

    /// Whoever acts, at most `actors` may stand in the chain; 0 admits only tokens without `act`.
    #[must_use]
    pub const fn depth_at_most(actors: usize) -> Self {
        Self { allowed: None, depth: Some(actors), shown: None }
    }

    /// The party that acts may also be `subject` of another `issuer`, which the token must name beside it.
    #[must_use]
    pub fn or_of(mut self, issuer: &str, subject: &str) -> Self {
        let party = Party { subject: subject.into(), issuer: Some(issuer.into()) };
        self.allowed.get_or_insert_default().push(party);
        self
    }

    /// At most `actors` may stand in the chain as well.
    #[must_use]
    pub const fn at_most(mut self, actors: usize) -> Self {
        self.depth = Some(actors);
        self
    }

    /// The transport's other end must have proven to be the party that acts: its
    /// [identity](crate::PeerIdentity) is that party's name, letter by letter. A party of another issuer is
    /// nobody's own name here: say by [`shown_by_of`](Self::shown_by_of) what the transport calls it.
    #[must_use]
    pub fn shown_by_itself(mut self) -> Self {
        self.shown.get_or_insert_default();
        self
    }

    /// As [`shown_by_itself`](Self::shown_by_itself), and on the transport `party` is called `peer`, and not by its own
    /// name; may be said of several, and of one several times.
    #[must_use]
    pub fn shown_by(self, party: &str, peer: &str) -> Self {
        self.shown_as(Party { subject: party.into(), issuer: None }, peer)
    }

    /// As [`shown_by`](Self::shown_by), for a `party` of another `issuer`, as in [`or_of`](Self::or_of).
    #[must_use]
    pub fn shown_by_of(self, issuer: &str, party: &str, peer: &str) -> Self {
        self.shown_as(Party { subject: party.into(), issuer: Some(issuer.into()) }, peer)
    }

    fn shown_as(mut self, party: Party, peer: &str) -> Self {
        self.shown.get_or_insert_default().push(Alias { party, peer: peer.into() });
        self
    }

    fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.shown.iter().flatten()
    }

    /// Is the transport's other end the party that acts?
    fn check_peer(&self, token: &Verified) -> Result<(), Denial> {
        if self.shown.is_none() {
            return Ok(());
        }
        // INVARIANT: I15 — a transport that says nothing of its other end proves nothing.
        let peer = token.presented().peer_identity().ok_or(Denial::PeerUnproven)?.name();
        let own = &token.facts().issuer;
        let (party, issuer) = acting(token.facts()).ok_or(Denial::PeerNotActor)?;
        let mut aliases = self.aliases().filter(|alias| alias.party.is(party, issuer, own)).peekable();
        let same = match aliases.peek() {
            Some(_) => aliases.any(|alias| *alias.peer == *peer),
            // Two issuers may give one name to two parties, and the transport's names are those of ours.
            None => issuer == &**own && party == peer,
        };
        if same && !peer.is_empty() { Ok(()) } else { Err(Denial::PeerNotActor) }
    }
}

impl Party {
    fn is_nameless(&self) -> bool {
        self.subject.is_empty() || self.issuer.as_deref() == Some("")
    }

    fn is(&self, subject: &str, issuer: &str, own: &str) -> bool {
        // INVARIANT: I14 — an empty name is nobody's. A name means something at its issuer only (RFC 8693 section
        // 4.1 has actors identified by `iss` and `sub` together where `sub` alone does not do it).
        !self.is_nameless() && *self.subject == *subject && self.issuer.as_deref().unwrap_or(own) == issuer
    }
}

/// The party that acts, and its issuer. A client is always one of the token's own issuer.
fn acting(facts: &Facts) -> Option<(&str, &str)> {
    match facts.actors.current() {
        Some(actor) => Some((&actor.subject, actor.issuer.as_deref().unwrap_or(&facts.issuer))),
        None => facts.client.as_deref().map(|client| (client, &*facts.issuer)),
    }
}

impl Guard for ActorGuard {
    fn name(&self) -> &'static str {
        "actor"
    }

    fn check(&self, token: &Verified, _now: UnixTime) -> Result<(), Denial> {
        let facts = token.facts();
        if let Some(allowed) = &self.allowed {
            let (subject, issuer) = acting(facts).ok_or(Denial::ActorUnlisted)?;
            if !allowed.iter().any(|party| party.is(subject, issuer, &facts.issuer)) {
                return Err(Denial::ActorUnlisted);
            }
        }
        match self.depth {
            Some(most) if facts.actors.depth() > most => Err(Denial::ActorsTooMany),
            _ => self.check_peer(token),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        match self.allowed.as_deref() {
            Some([]) => Some("lists no party: write depth_at_most() if anybody may act"),
            Some(all) if all.iter().any(Party::is_nameless) => {
                Some("lists a party or an issuer without a name")
            }
            _ if self.aliases().any(|alias| alias.party.is_nameless() || alias.peer.is_empty()) => {
                Some("says who shows a token by an empty name")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence_for_tests::verified_with;
    use crate::{Actor, ActorChain, PeerIdentity};

    const ELSEWHERE: &str = "https://sts.partner.example";

    /// Actors from the outermost inwards, as `subject` or `subject@issuer`.
    fn chain(actors: &[&str]) -> ActorChain {
        let actors = actors.iter().map(|actor| match actor.split_once('@') {
            Some((subject, issuer)) => Actor { subject: subject.into(), issuer: Some(issuer.into()) },
            None => Actor::new(actor),
        });
        ActorChain::from_outermost(actors.collect())
    }

    #[track_caller]
    fn actor(guard: &ActorGuard, client: Option<&str>, actors: &[&str], expected: Result<(), &str>) {
        let token = verified_with(|facts| {
            facts.client = client.map(Into::into);
            facts.actors = chain(actors);
        });
        let verdict = guard.check(&token, UnixTime::from_secs(0));
        let expected = expected.as_ref().map_err(|code| *code);
        assert_eq!(verdict.as_ref().map_err(Denial::code), expected, "{guard:?}: {client:?} {actors:?}");
    }

    #[test]
    fn the_outermost_actor_counts() {
        let guard = ActorGuard::any_of(["gateway", "batch"]);
        actor(&guard, Some("web"), &["gateway"], Ok(()));
        actor(&guard, Some("web"), &["batch", "gateway"], Ok(()));
        for actors in [&["orders"][..], &["orders", "gateway"], &["Gateway"], &["gateway "], &[""]] {
            actor(&guard, Some("gateway"), actors, Err("actor_unlisted"));
        }
    }

    #[test]
    fn without_an_actor_the_client_counts() {
        let guard = ActorGuard::any_of(["web"]);
        actor(&guard, Some("web"), &[], Ok(()));
        actor(&guard, Some("other"), &[], Err("actor_unlisted"));
        actor(&guard, None, &[], Err("actor_unlisted"));
        actor(&guard, Some("web"), &["other"], Err("actor_unlisted"));
    }

    #[test]
    fn a_name_means_something_at_its_issuer_only() {
        let own = "https://sts.internal";
        let guard = ActorGuard::any_of(["gateway"]);
        actor(&guard, None, &[&format!("gateway@{own}")], Ok(()));
        actor(&guard, None, &[&format!("gateway@{ELSEWHERE}")], Err("actor_unlisted"));
        let guard = guard.or_of(ELSEWHERE, "bridge");
        actor(&guard, None, &[&format!("bridge@{ELSEWHERE}")], Ok(()));
        actor(&guard, None, &["gateway"], Ok(()));
        for other in ["bridge".to_owned(), format!("bridge@{own}"), format!("gateway@{ELSEWHERE}")] {
            actor(&guard, Some("bridge"), &[&other], Err("actor_unlisted"));
        }
        // A client is one of the token's own issuer.
        actor(&guard, Some("bridge"), &[], Err("actor_unlisted"));
    }

    #[test]
    fn the_chain_is_counted() {
        let guard = ActorGuard::depth_at_most(2);
        actor(&guard, None, &[], Ok(()));
        actor(&guard, None, &["a", "b"], Ok(()));
        actor(&guard, None, &["a", "b", "c"], Err("actors_too_many"));
        actor(&ActorGuard::depth_at_most(0), Some("web"), &[], Ok(()));
        actor(&ActorGuard::depth_at_most(0), Some("web"), &["a"], Err("actors_too_many"));
        let both = ActorGuard::any_of(["a"]).at_most(1);
        actor(&both, None, &["a"], Ok(()));
        actor(&both, None, &["a", "b"], Err("actors_too_many"));
        actor(&both, None, &["b", "a"], Err("actor_unlisted"));
    }

    #[track_caller]
    fn shown(guard: &ActorGuard, peer: Option<&str>, actors: &[&str], expected: Result<(), &str>) {
        let token = verified_with(|facts| {
            facts.client = Some("web".into());
            facts.actors = chain(actors);
        });
        let proven = peer.map(PeerIdentity::assert_authenticated);
        let presented = token.presented().clone().by(proven);
        let token = Verified::assert_genuine(presented, token.facts().clone());
        let verdict = guard.check(&token, UnixTime::from_secs(0));
        assert_eq!(
            verdict.as_ref().map_err(Denial::code),
            expected.as_ref().map_err(|code| *code),
            "{peer:?}"
        );
    }

    #[test]
    fn the_sender_is_the_party_that_acts() {
        let guard = ActorGuard::any_of(["gateway", "web"]).shown_by_itself();
        shown(&guard, Some("gateway"), &["gateway"], Ok(()));
        shown(&guard, Some("web"), &[], Ok(()));
        shown(&guard, None, &["gateway"], Err("peer_unproven"));
        for peer in ["web", "Gateway", "gateway ", "", "mallory"] {
            shown(&guard, Some(peer), &["gateway"], Err("peer_not_actor"));
        }
        // Who is listed comes first: the peer's own name opens nothing.
        shown(&guard, Some("mallory"), &["mallory"], Err("actor_unlisted"));
        // Without the rule nobody asks.
        shown(&ActorGuard::any_of(["gateway"]), None, &["gateway"], Ok(()));
        shown(&ActorGuard::any_of(["gateway"]), Some("mallory"), &["gateway"], Ok(()));
        // Whoever acts, at whatever depth.
        let anybody = ActorGuard::depth_at_most(1).shown_by_itself();
        shown(&anybody, Some("x"), &["x"], Ok(()));
        shown(&anybody, Some("y"), &["x"], Err("peer_not_actor"));
        shown(&anybody, Some("x"), &["x", "y"], Err("actors_too_many"));
    }

    #[test]
    fn a_party_with_another_name_on_the_transport_is_not_known_by_its_own() {
        let guard = ActorGuard::any_of(["gateway", "web"])
            .shown_by("gateway", "spiffe://shop/gateway-a")
            .shown_by("gateway", "spiffe://shop/gateway-b");
        shown(&guard, Some("spiffe://shop/gateway-a"), &["gateway"], Ok(()));
        shown(&guard, Some("spiffe://shop/gateway-b"), &["gateway"], Ok(()));
        shown(&guard, Some("gateway"), &["gateway"], Err("peer_not_actor"));
        shown(&guard, Some("web"), &[], Ok(()));
        shown(&guard, Some("spiffe://shop/gateway-a"), &[], Err("peer_not_actor"));
        shown(&guard, None, &["gateway"], Err("peer_unproven"));
        for (party, peer) in [("", "x"), ("x", "")] {
            assert!(ActorGuard::any_of(["x"]).shown_by(party, peer).problem().is_some());
        }
        shown(&ActorGuard::any_of(["x"]).shown_by("x", ""), Some(""), &["x"], Err("peer_not_actor"));
    }

    /// A peer of ours that bears the name of a partner's party is not that party.
    #[test]
    fn a_name_of_another_issuer_is_not_the_transports() {
        let foreign = format!("bridge@{ELSEWHERE}");
        let guard = ActorGuard::any_of(["bridge"]).or_of(ELSEWHERE, "bridge").shown_by_itself();
        shown(&guard, Some("bridge"), &["bridge"], Ok(()));
        shown(&guard, Some("bridge"), &["bridge@https://sts.internal"], Ok(()));
        shown(&guard, Some("bridge"), &[&foreign], Err("peer_not_actor"));
        let named = guard.clone().shown_by("bridge", "spiffe://shop/bridge");
        shown(&named, Some("spiffe://shop/bridge"), &[&foreign], Err("peer_not_actor"));
        let named = guard.shown_by_of(ELSEWHERE, "bridge", "spiffe://partner/bridge");
        shown(&named, Some("spiffe://partner/bridge"), &[&foreign], Ok(()));
        shown(&named, Some("spiffe://partner/bridge"), &["bridge"], Err("peer_not_actor"));
        shown(&named, Some("bridge"), &["bridge"], Ok(()));
        assert!(ActorGuard::any_of(["x"]).shown_by_of("", "x", "y").problem().is_some());
    }

    #[test]
    fn an_empty_rule_admits_nobody_and_is_a_problem() {
        let guards =
            [ActorGuard::any_of([]), ActorGuard::any_of([""]), ActorGuard::any_of([]).or_of("", "web")];
        for guard in guards {
            assert!(guard.problem().is_some());
            actor(&guard, Some("web"), &[], Err("actor_unlisted"));
            actor(&guard, Some(""), &[], Err("actor_unlisted"));
            actor(&guard, Some("web"), &[""], Err("actor_unlisted"));
            actor(&guard, Some("web"), &["web@"], Err("actor_unlisted"));
        }
        assert_eq!(ActorGuard::any_of(["web"]).problem(), None);
        assert_eq!(ActorGuard::depth_at_most(0).problem(), None);
    }
}
