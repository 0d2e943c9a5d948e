//! How does this kind of issuer write its access tokens, and how does it tell them from its other tokens?
//!
//! RFC 9068 answers with the header's `typ`. Most products were there before it: their access tokens say `typ: JWT`
//! or nothing, as their ID tokens do (RFC 8725 section 3.11). A [`Profile`] therefore names what an access token of
//! its product has and an ID token has not, and one that names nothing does not build.

use std::borrow::Cow;
use std::sync::Arc;

use hopguard_core::{Denial, ScopeSet};

use crate::alike::Alike;
use crate::extra::{Extra, Value};

/// What every ID token may hold (OpenID Connect Core section 2): to find it tells nothing.
const OF_ID_TOKENS: [&str; 13] = [
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

/// What a role becomes when roles are taken for scopes.
const ROLE: &str = "role:";

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

    fn token_id_required_in(mut self, claim: &str) -> Self {
        let standard = self.standard;
        self = self.token_id_in(claim);
        (self.token_id_required, self.standard) = (true, standard);
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

    fn knows_roles(mut self, place: &[&str]) -> Self {
        self.known_roles = Some(place.iter().map(|&name| name.into()).collect());
        self
    }

    fn no_id_token_claims(self) -> Self {
        self.refuses("nonce").refuses("at_hash").refuses("c_hash")
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

    /// Refuses what is no access token of this profile. Nothing is verified yet, so this can only refuse.
    pub(crate) fn is_access_token(&self, typ: Option<&str>, extra: &Extra<'_>) -> Result<(), Denial> {
        let typed = match typ {
            Some(typ) => self.types.iter().any(|one| bare(typ).eq_ignore_ascii_case(one)),
            None => self.untyped,
        };
        // `events` makes it a logout token or another security event (RFC 8417 section 2.2).
        if typed && extra.find("events").is_none() && self.marks.iter().all(|mark| self.holds(mark, extra)) {
            Ok(())
        } else {
            Err(Denial::TokenTypeMismatch)
        }
    }

    fn holds(&self, mark: &Mark, extra: &Extra<'_>) -> bool {
        match mark {
            Mark::Present(claim) => extra.find(claim).is_some(),
            Mark::Is(claim, values) => {
                extra.text(claim).is_some_and(|text| values.iter().any(|one| **one == *text))
            }
            Mark::Begins(claim, prefix) => extra.text(claim).is_some_and(|text| text.starts_with(&**prefix)),
            Mark::Absent(claim) => extra.find(claim).is_none(),
            Mark::ClientIsNoAudience => {
                let client = self.clients.iter().find_map(|claim| extra.text(claim));
                client.is_some_and(|client| match extra.find("aud") {
                    Some(Value::Text(audience)) => *audience != *client,
                    Some(Value::List(all)) => {
                        all.iter().all(|one| !matches!(one, Value::Text(text) if *text == *client))
                    }
                    _ => false,
                })
            }
        }
    }

    /// What this profile's claims say. Only after the signature was checked.
    pub(crate) fn read(&self, extra: &Extra<'_>, alike: &Alike) -> Result<Named, Denial> {
        let client = alike.client(first(&self.clients, extra)?.ok_or(Denial::ClaimMissing)?);
        let token_id = first(&self.token_ids, extra)?.map(Box::from);
        if self.token_id_required && token_id.is_none() {
            return Err(Denial::ClaimMissing);
        }
        Ok(Named { client, token_id, scopes: self.scopes(extra)? })
    }

    fn scopes(&self, extra: &Extra<'_>) -> Result<ScopeSet, Denial> {
        let mut tokens: Vec<Cow<'_, str>> = Vec::new();
        for claim in &self.scopes {
            match extra.find(claim) {
                None => {}
                Some(Value::Text(list)) => {
                    tokens.extend(list.split(' ').filter(|token| !token.is_empty()).map(Cow::Borrowed));
                }
                Some(Value::List(all)) => {
                    for one in all {
                        let Value::Text(token) = one else { return Err(Denial::ClaimInvalid) };
                        tokens.push(Cow::Borrowed(token));
                    }
                }
                Some(Value::Object(_) | Value::Other) => return Err(Denial::ClaimInvalid),
            }
        }
        if !self.roles.is_empty() {
            tokens.retain(|token| !token.starts_with(ROLE));
            for place in &self.roles {
                let roles =
                    extra.at(place).into_iter().flat_map(Value::names).map(|role| format!("{ROLE}{role}"));
                tokens.extend(roles.filter(|role| ScopeSet::from_tokens([&**role]).is_ok()).map(Cow::Owned));
            }
        }
        ScopeSet::from_tokens(tokens.iter().map(|token| &**token)).map_err(|_| Denial::ClaimInvalid)
    }

    /// True if this profile has a use for the claim.
    pub(crate) fn reads(&self, claim: &str) -> bool {
        let named = |names: &[Box<str>]| names.iter().any(|name| **name == *claim);
        claim == "events"
            || claim == "aud"
            || named(&self.clients)
            || named(&self.scopes)
            || named(&self.token_ids)
            || self.roles.iter().any(|place| place.first().is_some_and(|name| **name == *claim))
            || self.marks.iter().any(|mark| mark.claim().is_some_and(|name| name == claim))
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

/// Media types may leave `application/` out (RFC 7515 section 4.1.9).
fn bare(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    }
}

/// The first of these claims that is there; it must be a text, and not empty.
fn first<'a>(claims: &[Box<str>], extra: &'a Extra<'_>) -> Result<Option<&'a str>, Denial> {
    match claims.iter().find_map(|claim| extra.find(claim)) {
        None => Ok(None),
        Some(Value::Text(text)) if !text.is_empty() => Ok(Some(&**text)),
        Some(_) => Err(Denial::ClaimInvalid),
    }
}

/// What a profile finds under its own names.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) client: Arc<str>,
    pub(crate) token_id: Option<Box<str>>,
    pub(crate) scopes: ScopeSet,
}
