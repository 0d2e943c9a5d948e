//! May this client turn this token into that one? (RFC 8693 section 2)

use std::sync::Arc;

use hopguard_client::random_jti;
use hopguard_core::{
    Actor, ActorChain, Denial, Facts, Fault, Fingerprint, MayAct, RawToken, Refusal, Requested, ScopeSet,
    UnixTime, Unverified,
};
use hopguard_verify::Check;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::authentication::authenticate;
use crate::form::Form;
use crate::rule::Checked;
use crate::sts::Inner;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What is known about a request so far, for the audit.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) client: Option<Arc<str>>,
    pub(crate) requested: Option<Arc<Requested>>,
    pub(crate) unverified: Option<Box<Unverified>>,
    pub(crate) token: Option<Arc<Facts>>,
}

/// A token made by an exchange.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) token: Signed,
    pub(crate) issued_token_type: &'static str,
    pub(crate) now: UnixTime,
}

impl Inner {
    /// Judges one token request. `trail` keeps what was learnt, also of a request that is refused.
    pub(crate) fn exchange(
        &self,
        headers: &http::HeaderMap,
        form: &Form,
        trail: &mut Trail,
    ) -> Result<Exchanged, Refusal> {
        let now = self.clock.now();
        let client = authenticate(&self.clients, &[&self.issuer, &self.token_endpoint], headers, form, now)?;
        trail.client = Some(client.id.clone());
        if form.need("grant_type")? != TOKEN_EXCHANGE {
            return Err(Denial::GrantTypeUnsupported.into());
        }
        let asked = Asked::read(form)?;
        trail.requested = Some(asked.requested.clone());
        let rules = self.rules_for(&client.id, &asked.requested.audience)?;
        let (parent, rule) = self.subject(&asked.subject, &rules, trail)?;
        self.may_act(&parent, &client.id)?;
        let scopes = &asked.requested.scopes;
        if !rule.derives(scopes, &parent.scopes) {
            return Err(Denial::ScopeRefused.into());
        }
        // INVARIANT: I5 — the same subject, one audience, no later expiry, the chain and one more.
        let token = Minted {
            subject: parent.subject.clone(),
            audience: rule.audience.clone(),
            client: (*client.id).into(),
            scopes: scopes.clone(),
            actors: extended(&parent.actors, &client.id),
            issued: now,
            expires: parent.expires.min(now.after(rule.lifetime)),
            may_act: None,
        };
        Ok(Exchanged { token: self.sign(&token)?, issued_token_type: asked.issued_token_type, now })
    }

    /// The client's rules that lead to `audience`, at least one.
    fn rules_for(&self, client: &str, audience: &str) -> Result<Vec<&Checked>, Denial> {
        let mut of_client = self.rules.iter().filter(|rule| &*rule.client == client).peekable();
        if of_client.peek().is_none() {
            return Err(Denial::ClientNotAllowed);
        }
        let leading: Vec<_> = of_client.filter(|rule| &*rule.audience == audience).collect();
        if leading.is_empty() { Err(Denial::ExchangeTargetRefused) } else { Ok(leading) }
    }

    /// Verifies the subject token and finds the rule that is for tokens of its audience.
    fn subject<'r>(
        &self,
        token: &RawToken,
        rules: &[&'r Checked],
        trail: &mut Trail,
    ) -> Result<(Arc<Facts>, &'r Checked), Denial> {
        let ring = self.ring();
        let parent = match ring.verifier().check(token, self.ledger.withdrawals()) {
            Check::Done(verdict) => verdict,
            // All keys there are were given to the verifier.
            Check::NeedsKeys(_) => Err(Denial::KeyUnknown),
        };
        let parent =
            parent.inspect_err(|_| trail.unverified = Some(Box::new(ring.verifier().claimed(token))))?;
        trail.token = Some(parent.clone());
        // INVARIANT: I15 — whoever holds a bound token without its key may have stolen it.
        if !parent.confirmation.is_none() {
            return Err(Denial::HolderUnproven);
        }
        let [audience] = &*parent.audiences else {
            return Err(Denial::AudienceNotSole);
        };
        let rule = rules.iter().find(|rule| rule.subject_audience == *audience);
        rule.map(|rule| (parent.clone(), *rule)).ok_or(Denial::AudienceMismatch)
    }

    /// May the client act for the subject, at this place of the chain?
    fn may_act(&self, parent: &Facts, client: &str) -> Result<(), Denial> {
        // INVARIANT: I14 — an empty may_act allows nobody.
        if parent.may_act.as_ref().is_some_and(|may_act| !may_act.allows(client, &self.issuer)) {
            return Err(Denial::ActorNotAllowed);
        }
        // A client that acts twice in one chain means a cycle, or a chain spliced from two.
        let ours = |actor: &Actor| actor.issuer.as_deref().is_none_or(|issuer| issuer == &*self.issuer);
        if parent.actors.actors().iter().any(|actor| &*actor.subject == client && ours(actor)) {
            return Err(Denial::ActorRepeated);
        }
        if parent.actors.depth() >= self.actors_at_most { Err(Denial::ActorChainTooDeep) } else { Ok(()) }
    }

    /// Signs a token and describes it.
    pub(crate) fn sign(&self, token: &Minted) -> Result<Signed, Fault> {
        let ring = self.ring();
        let jti = random_jti()?;
        let claims = Claims {
            iss: &self.issuer,
            sub: &token.subject,
            aud: &token.audience,
            client_id: &token.client,
            iat: token.issued.as_secs(),
            exp: token.expires.as_secs(),
            jti: &jti,
            scope: (!token.scopes.is_empty()).then(|| token.scopes.to_string()),
            act: act(token.actors.actors()),
            may_act: token.may_act.as_ref().map(|client| json!({ "sub": client })),
        };
        let text = ring.sign(&claims, token.expires)?;
        let facts = Facts {
            fingerprint: Fingerprint::of_token(&text),
            issuer: self.issuer.clone(),
            subject: token.subject.clone(),
            client: Some((&*token.client).into()),
            audiences: [token.audience.clone()].into(),
            expires: token.expires,
            not_before: None,
            issued_at: Some(token.issued),
            token_id: Some(jti.as_str().into()),
            scopes: token.scopes.clone(),
            actors: token.actors.clone(),
            may_act: token.may_act.as_ref().map(|client| MayAct { parties: vec![Actor::new(client)] }),
            confirmation: hopguard_core::Confirmation::None,
            key_id: Some(ring.key_id().into()),
            fingerprinted_len: text.rfind('.').unwrap_or(text.len()),
            structured: true,
        };
        Ok(Signed { text, facts: Arc::new(facts) })
    }
}

/// A token request, its parameters judged (RFC 8693 section 2.1).
struct Asked {
    subject: Arc<RawToken>,
    requested: Arc<Requested>,
    issued_token_type: &'static str,
}

impl Asked {
    fn read(form: &Form) -> Result<Self, Denial> {
        let subject = RawToken::new(form.need("subject_token")?);
        token_type(form.need("subject_token_type")?)?;
        let issued_token_type = form.get("requested_token_type").map_or(Ok(ACCESS_TOKEN), token_type)?;
        // INVARIANT: I4 — an actor token that nobody reads must not look as if it had been honoured.
        if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
            return Err(Denial::ActorTokenUnsupported);
        }
        // INVARIANT: I17 — what is written to the audit before any rule is looked at is bounded.
        let long = |name: &str, most: usize| form.get(name).is_some_and(|value| value.len() > most);
        if long("audience", 2048) || long("resource", 2048) || long("scope", 4096) {
            return Err(Denial::RequestTooLarge);
        }
        let audience = match (form.get("audience"), form.get("resource")) {
            (Some(audience), Some(resource)) if audience != resource => {
                return Err(Denial::ExchangeTargetRefused);
            }
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) => return Err(Denial::ParameterMissing),
        };
        let scopes = ScopeSet::parse(form.get("scope").unwrap_or("")).map_err(|_| Denial::ScopeRefused)?;
        let requested = Arc::new(Requested { audience: audience.into(), scopes });
        Ok(Self { subject, requested, issued_token_type })
    }
}

/// RFC 8693 section 3: of the registered types, those that our tokens are.
fn token_type(named: &str) -> Result<&'static str, Denial> {
    [ACCESS_TOKEN, JWT].into_iter().find(|known| *known == named).ok_or(Denial::TokenTypeUnsupported)
}

/// What a token shall say.
#[derive(Debug)]
pub(crate) struct Minted {
    pub(crate) subject: Arc<str>,
    pub(crate) audience: Box<str>,
    pub(crate) client: Box<str>,
    pub(crate) scopes: ScopeSet,
    pub(crate) actors: ActorChain,
    pub(crate) issued: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) may_act: Option<Box<str>>,
}

/// A token that was signed.
pub(crate) struct Signed {
    pub(crate) text: Zeroizing<String>,
    pub(crate) facts: Arc<Facts>,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed").field("fingerprint", &self.facts.fingerprint).finish_non_exhaustive()
    }
}

/// The claims of an access token (RFC 9068 section 2.2).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_act: Option<Value>,
}

/// `parent` with `client` as the current actor.
fn extended(parent: &ActorChain, client: &str) -> ActorChain {
    ActorChain::from_outermost(
        std::iter::once(Actor::new(client)).chain(parent.actors().iter().cloned()).collect(),
    )
}

/// The chain as nested `act` claims (RFC 8693 section 4.1), the current actor outermost.
fn act(actors: &[Actor]) -> Option<Value> {
    actors.iter().rev().fold(None, |inner, actor| {
        let mut claim = json!({ "sub": actor.subject });
        if let Some(members) = claim.as_object_mut() {
            members.extend(actor.issuer.as_ref().map(|issuer| ("iss".to_owned(), json!(issuer))));
            members.extend(inner.map(|inner| ("act".to_owned(), inner)));
        }
        Some(claim)
    })
}
