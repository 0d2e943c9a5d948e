//! The authorization server behind the way out, as it was written down.

use hopguard_client::ClientAuth;
use hopguard_exchange::{ActorToken, StsProfile};
use hopguard_verify::{Algorithm, Issuer, Profile};

/// The authorization server that exchanges tokens, and how we prove who we are to it.
///
/// ```
/// use hopguard_client::{ClientAuth, TokenFile};
/// use hopguard_exchange::{ActorToken, StsProfile};
/// use hopguard_tower::StsEndpoint;
/// use hopguard_verify::Profile;
///
/// let svid = || TokenFile::at("/var/run/secrets/tokens/svid");
/// let keycloak = StsEndpoint::at("https://id.internal/realms/shop", ClientAuth::jwt_svid_file("orders", svid()))
///     .token_endpoint("https://id.internal/realms/shop/protocol/openid-connect/token")
///     .jwks_url("https://id.internal/realms/shop/protocol/openid-connect/certs")
///     .profile(Profile::keycloak())
///     .refusals(StsProfile::keycloak())
///     .actor_token(ActorToken::file(svid()).of_type_jwt())
///     .acts_as("service-account-orders");
/// # let _ = keycloak;
/// ```
#[derive(Clone, Debug)]
pub struct StsEndpoint {
    pub(super) issuer: String,
    pub(super) auth: ClientAuth,
    pub(super) token_endpoint: Option<String>,
    pub(super) grants: Issuer,
    pub(super) refusals: StsProfile,
    pub(super) actor: Option<ActorToken>,
    pub(super) acts_as: Option<String>,
}

impl StsEndpoint {
    /// The server with this issuer URL; its endpoints are found by RFC 8414.
    #[must_use]
    pub fn at(issuer: &str, auth: ClientAuth) -> Self {
        Self {
            issuer: issuer.into(),
            auth,
            token_endpoint: None,
            grants: Issuer::at(issuer),
            refusals: StsProfile::default(),
            actor: None,
            acts_as: None,
        }
    }

    /// Takes the keys of its grants from this URL in place of the one that its metadata names.
    #[must_use]
    pub fn jwks_url(mut self, url: &str) -> Self {
        self.grants = self.grants.jwks_url(url);
        self
    }

    /// Takes the keys of its grants from this JWK set, which never changes.
    #[must_use]
    pub fn keys_fixed(mut self, jwks: &str) -> Self {
        self.grants = self.grants.keys_fixed(jwks);
        self
    }

    /// Accepts only these algorithms on its grants.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.grants = self.grants.algorithms(algorithms);
        self
    }

    /// How it writes its tokens: RFC 9068 unless set.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.grants = self.grants.profile(profile);
        self
    }

    /// Which of its error codes mean the caller: none but those of RFC 9470 unless set.
    #[must_use]
    pub fn refusals(mut self, profile: StsProfile) -> Self {
        self.refusals = profile;
        self
    }

    /// Sends this token of our own with each exchange (`actor_token`, RFC 8693 section 2.1).
    #[must_use]
    pub fn actor_token(mut self, actor: ActorToken) -> Self {
        self.actor = Some(actor);
        self
    }

    /// The name under which we stand in the `act` of its grants, where that is not the client's.
    #[must_use]
    pub fn acts_as(mut self, name: &str) -> Self {
        self.acts_as = Some(name.into());
        self
    }

    /// Uses this token endpoint in place of the one that the server's metadata names.
    #[must_use]
    pub fn token_endpoint(mut self, url: &str) -> Self {
        self.token_endpoint = Some(url.into());
        self
    }
}
