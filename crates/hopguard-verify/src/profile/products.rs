//! The profiles of products, each after its documentation.

use super::Profile;

impl Profile {
    /// RFC 9068, which is also what an issuer has that is given no profile: `typ` is `at+jwt`, and `client_id`, `jti`
    /// and `iat` are there.
    #[must_use]
    pub fn rfc9068() -> Self {
        let mut profile = Self::named("rfc9068").typ("at+jwt").client_in("client_id").scopes_in("scope");
        profile.standard = true;
        // RFC 9068 section 2.2.3.1 takes the claim over from SCIM.
        profile.token_id_required_in("jti").knows_roles(&["roles"])
    }

    /// Transaction tokens (draft-ietf-oauth-transaction-tokens), for a verifier of their own: an issuer with this
    /// profile has no access tokens. `typ` is `txntoken+jwt`; `txn` names the transaction and stands for the token in
    /// logs, `req_wl` the workload that asked for it. `iss`, which the draft leaves open, must be there.
    #[must_use]
    pub fn transaction_token() -> Self {
        let mut profile = Self::named("transaction_token").typ("txntoken+jwt").requires("txn");
        profile.transaction = true;
        profile.client_in("req_wl").scopes_in("scope").token_id_required_in("txn")
    }

    /// Keycloak: the payload's own `typ` is `Bearer`, or `DPoP` for a token that is bound to a key; `ID`, `Refresh`,
    /// `Offline` and `Logout` are other tokens. The client is `azp`. Roles: those of the realm.
    #[must_use]
    pub fn keycloak() -> Self {
        Self::named("keycloak")
            .typ("JWT")
            .typ("at+jwt")
            .requires_one_of("typ", &["Bearer", "DPoP"])
            .client_in("azp")
            .scopes_in("scope")
            .token_id_required_in("jti")
            .knows_roles(&["realm_access", "roles"])
    }

    /// Microsoft Entra ID, access tokens of version 1.0: `ver` says so, and `appid` and `appidacr` name the client and
    /// how it authenticated, which no ID token does. Scopes are in `scp`, roles in `roles`.
    #[must_use]
    pub fn entra_v1() -> Self {
        Self::named("entra_v1")
            .typ("JWT")
            .requires_value("ver", "1.0")
            .requires("appidacr")
            .no_id_token_claims()
            .client_in("appid")
            .scopes_in("scp")
            .token_id_in("uti")
            .knows_roles(&["roles"])
    }

    /// Microsoft Entra ID, access tokens of version 2.0: `ver` says so, and `azp` and `azpacr` name the client and how
    /// it authenticated, which no ID token does. Scopes are in `scp`, roles in `roles`.
    #[must_use]
    pub fn entra_v2() -> Self {
        Self::named("entra_v2")
            .typ("JWT")
            .requires_value("ver", "2.0")
            .requires("azpacr")
            .no_id_token_claims()
            .client_in("azp")
            .scopes_in("scp")
            .token_id_in("uti")
            .knows_roles(&["roles"])
    }

    /// Okta's custom authorization servers: no `typ`, the client in `cid`, the scopes as a list in `scp`, and a `jti`
    /// that begins with `AT.` where an ID token's begins with `ID.`. Roles: `groups`.
    #[must_use]
    pub fn okta() -> Self {
        Self::named("okta")
            .untyped()
            .typ("JWT")
            .typ("at+jwt")
            .requires_prefix("jti", "AT.")
            .requires("cid")
            .no_id_token_claims()
            .client_in("cid")
            .scopes_in("scp")
            .token_id_required_in("jti")
            .knows_roles(&["groups"])
    }

    /// Auth0, both of its token dialects: the client (`azp`, or `client_id` as RFC 9068 has it) is not the audience,
    /// as it is in an ID token, and no claim of ID tokens is there. Roles: RBAC's `permissions`.
    #[must_use]
    pub fn auth0() -> Self {
        Self::named("auth0")
            .typ("JWT")
            .typ("at+jwt")
            .client_is_no_audience()
            .no_id_token_claims()
            .refuses("sid")
            .client_in("azp")
            .client_in("client_id")
            .scopes_in("scope")
            .token_id_in("jti")
            .knows_roles(&["permissions"])
    }

    /// ZITADEL, access tokens of the JWT kind: they have a `jti`, which its ID tokens have not, and none of what its
    /// ID tokens say about the login. Roles: those of the project.
    #[must_use]
    pub fn zitadel() -> Self {
        Self::named("zitadel")
            .typ("JWT")
            .typ("at+jwt")
            .untyped()
            .requires("jti")
            .no_id_token_claims()
            .refuses("auth_time")
            .refuses("amr")
            .refuses("acr")
            .refuses("sid")
            .client_in("client_id")
            .client_in("azp")
            .scopes_in("scope")
            .token_id_required_in("jti")
            .knows_roles(&["urn:zitadel:iam:org:project:roles"])
    }

    fn token_id_required_in(mut self, claim: &str) -> Self {
        let standard = self.standard;
        self = self.token_id_in(claim);
        (self.token_id_required, self.standard) = (true, standard);
        self
    }

    fn knows_roles(mut self, place: &[&str]) -> Self {
        self.known_roles = Some(place.iter().map(|&name| name.into()).collect());
        self
    }

    fn no_id_token_claims(self) -> Self {
        self.refuses("nonce").refuses("at_hash").refuses("c_hash")
    }
}
