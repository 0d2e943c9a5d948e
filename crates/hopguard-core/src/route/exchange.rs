//! Exchange the caller's token for the destination's own (RFC 8693).

use std::sync::Arc;
use std::time::Duration;

use super::asked::Asked;
use super::demand::{Requires, Unstated};
use crate::{Expectation, Facts, Relaxation, ScopeSet, Waived, Waiver};

/// Exchange the caller's token for one that is good at the destination only (RFC 8693).
///
/// ```
/// use hopguard_core::{Exchange, minutes};
///
/// let route = Exchange::audience("https://inventory.internal")
///     .scope("stock:read")
///     .lifetime_at_most(minutes(2))
///     .requires("orders:read");
/// # let _ = route;
/// ```
#[derive(Clone, Debug)]
pub struct Exchange<R = Requires> {
    asked: Asked,
    wants_jwt: bool,
    requires: R,
}

impl Exchange<Unstated> {
    /// Ask for a token whose only audience is `audience` (the parameter of RFC 8693 section 2.1).
    #[must_use]
    pub fn audience(audience: &str) -> Self {
        Self { asked: Asked::audience(audience), wants_jwt: false, requires: Unstated }
    }

    /// Ask for a token for `resource` (RFC 8707) and name no audience, for servers that refuse the `audience`
    /// parameter. The grant's audience must be `resource`, unless
    /// [`expects_audience`](Self::expects_audience) names another.
    #[must_use]
    pub fn for_resource(resource: &str) -> Self {
        Self { asked: Asked::resource_only(resource), wants_jwt: false, requires: Unstated }
    }

    /// Open to callers whose token holds all of the space-delimited `scopes`.
    #[must_use]
    pub fn requires(self, scopes: &str) -> Exchange {
        self.state(Requires::all_of(scopes))
    }

    /// Open to every admitted caller.
    #[must_use]
    pub fn requires_none(self) -> Exchange {
        self.state(Requires::Nothing)
    }

    fn state(self, requires: Requires) -> Exchange {
        let Self { asked, wants_jwt, requires: Unstated } = self;
        Exchange { asked, wants_jwt, requires }
    }
}

impl<R> Exchange<R> {
    /// Ask for the space-delimited `scopes`, beside those asked already.
    #[must_use]
    pub fn scope(mut self, scopes: &str) -> Self {
        self.asked.add_scope(scopes);
        self
    }

    /// Also send `resource` (RFC 8707), for servers that select the audience by it. May be said several times.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.asked.add_resource(resource);
        self
    }

    /// The grant's audience is `audience`, whatever was asked for: some servers know a service by one name in
    /// requests and by another in tokens. No other audience passes, the one asked for included.
    #[must_use]
    pub fn expects_audience(mut self, audience: &str) -> Self {
        self.asked.expect_audience(audience);
        self
    }

    /// Ask for a token of type `urn:ietf:params:oauth:token-type:jwt` (RFC 8693 section 3) in place of an
    /// access token, for servers whose access tokens are opaque unless a JWT is asked for.
    #[must_use]
    pub const fn wants_jwt(mut self) -> Self {
        self.wants_jwt = true;
        self
    }

    /// A grant that was issued for longer than `longest` is refused. Five minutes unless set.
    #[must_use]
    pub const fn lifetime_at_most(mut self, longest: Duration) -> Self {
        self.asked.cap(longest);
        self
    }

    /// Takes a grant without `act`, from a server that does not write it.
    ///
    /// The peer then cannot tell us from the subject itself. A grant with an `act` that is not the parent's
    /// and us is refused as ever.
    #[must_use]
    pub fn dangerous_without_actor(self, waiver: Waiver) -> Self {
        self.relax(Relaxation::WithoutActor, waiver)
    }

    /// Takes a grant that names `audience` beside the one expected, from a server that always adds it.
    ///
    /// Whoever gets the grant can use it there too.
    #[must_use]
    pub fn dangerous_foreign_audience(self, audience: &str, waiver: Waiver) -> Self {
        self.relax(Relaxation::ForeignAudience(audience.into()), waiver)
    }

    /// Takes a grant that expires later than the token it was made from, from a server that knows one lifetime
    /// only. [`lifetime_at_most`](Self::lifetime_at_most) holds as ever.
    ///
    /// We stop using it when its parent expires; whoever got hold of it need not.
    #[must_use]
    pub fn dangerous_later_expiry(self, waiver: Waiver) -> Self {
        self.relax(Relaxation::LaterExpiry, waiver)
    }

    /// Takes an opaque grant, from a server that has no other.
    ///
    /// Nothing of it can be proven but what the answer says beside it: its life, which must be told
    /// (`expires_in`), and its scopes. Audience, subject and actor are taken to be those asked for. The
    /// passthrough block cannot find it where it does not belong. What looks like a JWS is verified as ever.
    #[must_use]
    pub fn dangerous_opaque(self, waiver: Waiver) -> Self {
        self.relax(Relaxation::Opaque, waiver)
    }

    fn relax(mut self, relaxation: Relaxation, waiver: Waiver) -> Self {
        self.asked.relax(relaxation, waiver);
        self
    }
}

impl Exchange {
    /// What is asked of the authorization server.
    #[must_use]
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The audience that is asked for, and expected unless [`expects_audience`](Self::expects_audience) says
    /// otherwise.
    #[must_use]
    pub const fn target_audience(&self) -> &Arc<str> {
        self.asked.target_audience()
    }

    /// The audience that the grant must have.
    #[must_use]
    pub fn expected_audience(&self) -> &Arc<str> {
        self.asked.expected_audience()
    }

    /// The resource indicators that are sent.
    #[must_use]
    pub fn target_resources(&self) -> &[Box<str>] {
        self.asked.resources()
    }

    /// True if a JWT is asked for by its type.
    #[must_use]
    pub const fn asks_for_jwt(&self) -> bool {
        self.wants_jwt
    }

    /// What the route relaxes, each with its waiver.
    #[must_use]
    pub fn relaxed(&self) -> &[Waived] {
        self.asked.relaxed()
    }

    /// What the grant is held against; `actor` is the name under which the authorization server knows us.
    #[must_use]
    pub fn expectation(&self, actor: &Arc<str>) -> Expectation {
        Expectation {
            audience: Arc::clone(self.expected_audience()),
            scopes: self.target_scopes(),
            lifetime: self.longest_life(),
            actor: Arc::clone(actor),
            relaxed: self.relaxed().to_vec(),
        }
    }

    /// The scopes that are asked for; the grant may hold no others. Nothing where they could not be read.
    #[must_use]
    pub fn target_scopes(&self) -> ScopeSet {
        self.asked.scopes()
    }

    /// The longest life of a grant.
    #[must_use]
    pub const fn longest_life(&self) -> Duration {
        self.asked.longest_life()
    }

    /// What the caller's token must hold.
    #[must_use]
    pub const fn required(&self) -> &Requires {
        &self.requires
    }

    /// Is this route open to a caller with these claims?
    ///
    /// # Errors
    ///
    /// [`Denial::RouteRequiresScope`](crate::Denial::RouteRequiresScope) if a scope is lacking.
    pub fn check_open_to(&self, parent: &Facts) -> Result<(), crate::Denial> {
        self.requires.check_open_to(parent)
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        self.asked.problem().or_else(|| self.requires.problem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minutes;

    #[test]
    fn a_route_is_open_to_the_right_parent_only() {
        let parent = |scopes: &str| {
            let mut facts = crate::evidence_for_tests::facts();
            facts.scopes = ScopeSet::parse(scopes).unwrap();
            facts
        };
        let open =
            |exchange: &Exchange, scopes| exchange.check_open_to(&parent(scopes)).map_err(|d| d.code());
        let route = Exchange::audience("a").requires("orders:read orders:list");
        assert_eq!(open(&route, "orders:read orders:list x"), Ok(()));
        assert_eq!(open(&route, "orders:read"), Err("route_requires_scope"));
        assert_eq!(open(&route, ""), Err("route_requires_scope"));
        assert_eq!(open(&Exchange::audience("a").requires(""), "x"), Err("route_requires_scope"));
        assert_eq!(open(&Exchange::audience("a").requires_none(), ""), Ok(()));
    }

    #[test]
    fn what_is_set_reaches_the_expectation() {
        let waiver = || Waiver::new("why", "who", crate::UnixTime::from_secs(9));
        let exchange = Exchange::audience("a")
            .expects_audience("b")
            .scope("s")
            .lifetime_at_most(minutes(3))
            .dangerous_opaque(waiver())
            .dangerous_later_expiry(waiver())
            .requires("r");
        assert_eq!((&**exchange.target_audience(), &**exchange.expected_audience()), ("a", "b"));
        let expected = exchange.expectation(&"us".into());
        assert_eq!((&*expected.audience, &*expected.actor), ("b", "us"));
        assert_eq!((expected.scopes.to_string().as_str(), expected.lifetime), ("s", minutes(3)));
        let relaxed: Vec<_> = expected.relaxed.iter().map(|one| one.relaxation.name()).collect();
        assert_eq!(relaxed, ["grant_opaque", "grant_later_expiry"]);
    }
}
