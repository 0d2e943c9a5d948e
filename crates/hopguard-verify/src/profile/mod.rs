//! How does this kind of issuer write its access tokens, and how does it tell them from its other tokens?
//!
//! RFC 9068 answers with the header's `typ`. Most products were there before it: their access tokens say `typ: JWT`
//! or nothing, as their ID tokens do (RFC 8725 section 3.11). A [`Profile`] therefore names what an access token of
//! its product has and an ID token has not, and one that names nothing does not build.

mod products;
mod reading;

pub(crate) use reading::Named;
use reading::bare;

/// What every ID token may hold (OpenID Connect Core section 2): to find it tells nothing.
const OF_ID_TOKENS: [&str; 36] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "c_hash",
    "s_hash",
    "sid",
    "sub_jwk",
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "email_verified",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
    "phone_number_verified",
    "address",
    "updated_at",
    "cnf",
];

/// Types of tokens that are no access tokens, whatever a profile says.
const OTHER_TYPES: [&str; 8] = [
    "logout+jwt",
    "dpop+jwt",
    "secevent+jwt",
    "client-authentication+jwt",
    "txntoken+jwt",
    "token-introspection+jwt",
    "oauth-authz-req+jwt",
    "id_token+jwt",
];

/// How one kind of issuer writes its access tokens.
///
/// The named ones follow their product's documentation. Each refuses that product's ID tokens and logout tokens with
/// `token_type_mismatch`. Time, subject, issuer and audience are judged as always: `aud` that names others beside us,
/// such as Keycloak's `account`, is refused unless the audience guard tolerates it by name.
///
/// ```
/// use hopguard_verify::{Issuer, Profile};
///
/// let keycloak = Issuer::at("https://id.internal/realms/shop").profile(Profile::keycloak());
/// let entra = Issuer::at("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0")
///     .profile(Profile::entra_v2().with_roles());
/// let acme = Issuer::at("https://acme.internal").profile(
///     Profile::named("acme").typ("JWT").requires_value("token_use", "access").client_in("client").scopes_in("scope"),
/// );
/// # let _ = (keycloak, entra, acme);
/// ```
#[derive(Clone, Debug)]
pub struct Profile {
    name: Box<str>,
    types: Vec<Box<str>>,
    untyped: bool,
    marks: Vec<Mark>,
    clients: Vec<Box<str>>,
    scopes: Vec<Box<str>>,
    token_ids: Vec<Box<str>>,
    token_id_required: bool,
    /// Where the product writes roles, if it is known.
    known_roles: Option<Vec<Box<str>>>,
    roles: Vec<Vec<Box<str>>>,
    standard: bool,
    transaction: bool,
}

/// What an access token has, or has not.
#[derive(Clone, Debug)]
enum Mark {
    Present(Box<str>),
    Is(Box<str>, Vec<Box<str>>),
    Begins(Box<str>, Box<str>),
    Absent(Box<str>),
    /// The client is not among the audiences: an ID token is always meant for its client.
    ClientIsNoAudience,
}

impl Profile {
    /// A profile of your own, which accepts nothing yet. `name` is for messages.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            types: Vec::new(),
            untyped: false,
            marks: Vec::new(),
            clients: Vec::new(),
            scopes: Vec::new(),
            token_ids: Vec::new(),
            token_id_required: false,
            known_roles: None,
            roles: Vec::new(),
            standard: false,
            transaction: false,
        }
    }

    /// Accepts this `typ` in the header; may be said several times.
    #[must_use]
    pub fn typ(mut self, typ: &str) -> Self {
        self.types.push(bare(typ).to_ascii_lowercase().into());
        self.standard = false;
        self
    }

    /// Accepts a header without `typ`.
    #[must_use]
    pub fn untyped(mut self) -> Self {
        self.untyped = true;
        self.standard = false;
        self
    }

    /// An access token has this claim.
    #[must_use]
    pub fn requires(self, claim: &str) -> Self {
        self.mark(Mark::Present(claim.into()))
    }

    /// An access token has this claim, and it is this text.
    #[must_use]
    pub fn requires_value(self, claim: &str, value: &str) -> Self {
        self.requires_one_of(claim, &[value])
    }

    /// An access token has this claim, and it is one of these texts.
    #[must_use]
    pub fn requires_one_of(self, claim: &str, values: &[&str]) -> Self {
        self.mark(Mark::Is(claim.into(), values.iter().map(|&value| value.into()).collect()))
    }

    /// An access token has this claim, a text that begins so.
    #[must_use]
    pub fn requires_prefix(self, claim: &str, prefix: &str) -> Self {
        self.mark(Mark::Begins(claim.into(), prefix.into()))
    }

    /// An access token has no such claim. Alone it is no rule: what is optional in the other token may be absent there
    /// too.
    #[must_use]
    pub fn refuses(self, claim: &str) -> Self {
        self.mark(Mark::Absent(claim.into()))
    }

    /// An access token names its client, and is not meant for it; an ID token always is (OpenID Connect Core section
    /// 2).
    #[must_use]
    pub fn client_is_no_audience(self) -> Self {
        self.mark(Mark::ClientIsNoAudience)
    }

    /// The client stands in this claim; if said several times, in the first of them that is there.
    #[must_use]
    pub fn client_in(mut self, claim: &str) -> Self {
        self.clients.push(claim.into());
        self.standard = false;
        self
    }

    /// Scopes stand in this claim, as a list with spaces between them or as an array; if said several times, in all of
    /// them together.
    #[must_use]
    pub fn scopes_in(mut self, claim: &str) -> Self {
        self.scopes.push(claim.into());
        self.standard = false;
        self
    }

    /// The token's identifier stands in this claim, if it is there.
    #[must_use]
    pub fn token_id_in(mut self, claim: &str) -> Self {
        self.token_ids.push(claim.into());
        self.standard = false;
        self
    }

    /// Takes the roles that stand where this product writes them for scopes, each as `role:NAME`. A role whose name no
    /// scope can have grants nothing, and neither does a scope that looks like a role.
    #[must_use]
    pub fn with_roles(mut self) -> Self {
        match self.known_roles.clone() {
            Some(place) => self.roles.push(place),
            // Without a place the setting would do nothing, and nobody would notice: `problem` says so.
            None => self.roles.push(Vec::new()),
        }
        self.standard = false;
        self
    }

    /// Takes roles for scopes as [`Profile::with_roles`] does, from this place: the names of the nested claims, the
    /// last of which is a list of texts or an object whose member names are the roles.
    ///
    /// ```
    /// use hopguard_verify::Profile;
    ///
    /// // The roles that Keycloak's client `orders` defines.
    /// let profile = Profile::keycloak().roles_in(&["resource_access", "orders", "roles"]);
    /// # let _ = profile;
    /// ```
    #[must_use]
    pub fn roles_in(mut self, place: &[&str]) -> Self {
        self.roles.push(place.iter().map(|&name| name.into()).collect());
        self.standard = false;
        self
    }

    fn mark(mut self, mark: Mark) -> Self {
        self.marks.push(mark);
        self.standard = false;
        self
    }

    /// True if this is RFC 9068 as it stands, for which nothing need be read twice.
    pub(crate) fn is_standard(&self) -> bool {
        self.standard
    }

    pub(crate) fn is_of_transactions(&self) -> bool {
        self.transaction
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What is wrong with the profile.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.types.is_empty() && !self.untyped {
            return Some("accepts no `typ`: name one, or say that there is none");
        }
        let only = ["txntoken+jwt".into()];
        if self.transaction && (self.types != only || self.untyped) {
            return Some("accepts another `typ` beside that of transaction tokens");
        }
        if !self.transaction && self.types.iter().any(|typ| OTHER_TYPES.contains(&&**typ)) {
            return Some("accepts the `typ` of a token that is no access token");
        }
        let typed = !self.untyped && self.types.iter().all(|typ| &**typ == "at+jwt");
        if !typed && !self.marks.iter().any(Mark::tells) {
            return Some(
                "has no rule that tells an access token from an ID token: name a claim or value that only access \
                 tokens have",
            );
        }
        if self.clients.is_empty() {
            return Some("names no claim for the client");
        }
        if self.roles.iter().any(Vec::is_empty) {
            return Some("takes roles for scopes and knows no place for them: name one");
        }
        None
    }
}

impl Mark {
    fn claim(&self) -> Option<&str> {
        match self {
            Self::Present(claim) | Self::Is(claim, _) | Self::Begins(claim, _) | Self::Absent(claim) => {
                Some(claim)
            }
            Self::ClientIsNoAudience => None,
        }
    }

    /// True if an ID token would not pass by itself.
    fn tells(&self) -> bool {
        match self {
            Self::Present(claim) => !OF_ID_TOKENS.contains(&&**claim),
            Self::Is(claim, values) => !OF_ID_TOKENS.contains(&&**claim) && !values.is_empty(),
            Self::Begins(claim, prefix) => !OF_ID_TOKENS.contains(&&**claim) && !prefix.is_empty(),
            Self::Absent(_) => false,
            Self::ClientIsNoAudience => true,
        }
    }
}
