//! An authorization server on loopback that behaves, until it is told not to.
//!
//! It answers RFC 8414 metadata, a key set and an RFC 8693 token endpoint, mints through [`mint`](crate::mint)
//! and checks nothing: not the client, not the subject token. What it is asked is recorded byte by byte.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hopguard_core::Clock;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::mint::{MintKey, Token, claims_of, jwks};
use crate::wire::{WireAnswer, WireRecorder, WireRequest};

/// How long an honest grant lives unless its parent dies earlier.
const GRANT_SECONDS: u64 = 60;

/// What the token endpoint does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misbehaviour {
    /// Nothing.
    #[default]
    Honest,
    /// Grants a scope that was not asked, in the token and in the answer.
    WiderScope,
    /// Grants for another audience than asked.
    OtherAudience,
    /// Grants for the audience asked and one more.
    TwoAudiences,
    /// Grants for longer than the subject token lives.
    LaterExpiry,
    /// Grants for another `sub`.
    OtherSubject,
    /// Grants without `act`.
    NoActor,
    /// Grants with an actor between the client and the parent's chain.
    LongerChain,
    /// Grants with two actors between the client and the parent's chain.
    TwoLevelsLonger,
    /// Grants in the name of another actor.
    OtherActor,
    /// Binds the grant to a key that nobody asked for.
    OtherHolder,
    /// Signs with its own key, in another issuer's name.
    OtherIssuer,
    /// Signs with a key that it does not publish, under the `kid` of one that it does.
    OtherKey,
    /// Grants an opaque token.
    Opaque,
    /// Grants an ID token: `typ: JWT`.
    IdToken,
    /// `token_type` is `N_A` (RFC 8693 section 2.2.1).
    WrongTokenType,
    /// `issued_token_type` is a refresh token's.
    WrongIssuedTokenType,
    /// Returns the subject token itself.
    Echo,
    /// Answers when [`MisbehavingSts::release`] is called.
    Slow,
    /// Closes the connection in the middle of its answer.
    HalfAnswer,
    /// A good answer that says it is HTML.
    WrongContentType,
    /// Megabytes of white space around a good answer.
    Huge,
    /// 307 to somewhere else.
    Redirect,
    /// 500 with a page of text.
    Http500,
    /// 400 `invalid_request`.
    InvalidRequest,
    /// 400 `invalid_grant`.
    InvalidGrant,
    /// 401 `invalid_client`.
    InvalidClient,
    /// 400 `invalid_target` (RFC 8693 section 2.2.2).
    InvalidTarget,
    /// 400 `invalid_scope`.
    InvalidScope,
    /// 400 `invalid_token`: what Keycloak says of a subject token that is no longer good.
    InvalidToken,
    /// 400 `insufficient_user_authentication` (RFC 9470) with its parameters, and text that nobody should repeat.
    StepUp,
    /// 429 with `Retry-After: 30`.
    Busy,
    /// Answers `{}`.
    Empty,
    /// Closes the connection without a word. To stop listening altogether, see [`MisbehavingSts::down`].
    HangUp,
}

/// An authorization server that can be told to misbehave.
pub struct MisbehavingSts {
    peer: WireRecorder,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    key: MintKey,
    now: Mutex<Plan>,
    gate: Arc<Semaphore>,
    tokens: AtomicUsize,
    keys: AtomicUsize,
    metadata: AtomicUsize,
    // Known once the port is.
    issuer: Mutex<String>,
}

#[derive(Default)]
struct Plan {
    always: Misbehaviour,
    next: Vec<Misbehaviour>,
}

impl MisbehavingSts {
    /// Listens on a port of its own with a fresh ES256 key, and behaves.
    pub async fn start(clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared {
            clock,
            key: MintKey::es256("sts-1"),
            now: Mutex::default(),
            gate: Arc::new(Semaphore::new(0)),
            tokens: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
            metadata: AtomicUsize::new(0),
            issuer: Mutex::default(),
        });
        let serving = shared.clone();
        let peer = WireRecorder::answering(move |request| serving.answer(request)).await;
        *shared.issuer.lock().unwrap() = peer.url("");
        Self { peer, shared }
    }

    /// Its issuer identifier, which is its URL.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.shared.issuer()
    }

    /// The URL of its token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        self.peer.url("/token")
    }

    /// The URL of its key set.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        self.peer.url("/jwks")
    }

    /// The key it signs with.
    #[must_use]
    pub fn key(&self) -> &MintKey {
        &self.shared.key
    }

    /// A token of its own, to be changed and signed with [`key`](Self::key): as a first hop receives it.
    pub fn token(&self, audience: &str, subject: &str, scope: &str) -> Token {
        Token::access(&self.issuer(), audience, subject, self.shared.clock.now()).claim("scope", scope)
    }

    /// From now on every token request is answered so.
    pub fn misbehave(&self, how: Misbehaviour) {
        *self.shared.now.lock().unwrap() = Plan { always: how, next: Vec::new() };
    }

    /// The next token requests are answered so, one after the other; then as before.
    pub fn misbehave_next(&self, hows: impl IntoIterator<Item = Misbehaviour>) {
        self.shared.now.lock().unwrap().next.extend(hows);
    }

    /// Lets one [`Misbehaviour::Slow`] answer go.
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    /// Stops listening: connections are refused from now on.
    pub async fn down(&self) {
        self.peer.stop().await;
    }

    /// How many token requests came.
    #[must_use]
    pub fn token_requests(&self) -> usize {
        self.shared.tokens.load(Ordering::SeqCst)
    }

    /// How many requests for the key set came.
    #[must_use]
    pub fn key_requests(&self) -> usize {
        self.shared.keys.load(Ordering::SeqCst)
    }

    /// How many requests for the metadata came.
    #[must_use]
    pub fn metadata_requests(&self) -> usize {
        self.shared.metadata.load(Ordering::SeqCst)
    }

    /// The forms that the token endpoint was sent.
    #[must_use]
    pub fn forms(&self) -> Vec<BTreeMap<String, String>> {
        let all = self.peer.requests();
        all.iter().filter(|request| request.target == "/token").map(form).collect()
    }

    /// What came over the wire.
    #[must_use]
    pub fn wire(&self) -> &WireRecorder {
        &self.peer
    }
}

impl fmt::Debug for MisbehavingSts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MisbehavingSts({})", self.issuer())
    }
}

impl Shared {
    fn issuer(&self) -> String {
        self.issuer.lock().unwrap().clone()
    }

    fn answer(&self, request: &WireRequest) -> WireAnswer {
        let issuer = self.issuer();
        match request.target.as_str() {
            "/.well-known/oauth-authorization-server" => {
                self.metadata.fetch_add(1, Ordering::SeqCst);
                WireAnswer::json(
                    200,
                    &json!({
                        "issuer": issuer,
                        "token_endpoint": format!("{issuer}/token"),
                        "jwks_uri": format!("{issuer}/jwks"),
                        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
                        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic"],
                        "response_types_supported": [],
                    }),
                )
            }
            "/jwks" => {
                self.keys.fetch_add(1, Ordering::SeqCst);
                WireAnswer::new(200, "application/jwk-set+json", jwks(&[&self.key]).as_bytes())
            }
            "/token" => {
                self.tokens.fetch_add(1, Ordering::SeqCst);
                let how = {
                    let mut plan = self.now.lock().unwrap();
                    if plan.next.is_empty() { plan.always } else { plan.next.remove(0) }
                };
                self.exchange(request, how)
            }
            _ => WireAnswer::text(404, "nothing here"),
        }
    }

    fn exchange(&self, request: &WireRequest, how: Misbehaviour) -> WireAnswer {
        use Misbehaviour as M;
        let refusal = |status, error: &str| {
            WireAnswer::json(status, &json!({"error": error, "error_description": "told to say so"}))
        };
        let good =
            || WireAnswer::json(200, &self.grant(request, how)).with_header("cache-control", "no-store");
        match how {
            M::Slow => good().held_by(self.gate.clone()),
            M::HalfAnswer => good().cut_short(),
            M::WrongContentType => {
                WireAnswer::new(200, "text/html", self.grant(request, how).to_string().as_bytes())
            }
            M::Huge => {
                let space = " ".repeat(4 << 20);
                let body = format!("{space}{}{space}", self.grant(request, how));
                WireAnswer::new(200, "application/json", body.as_bytes())
            }
            M::Redirect => WireAnswer::redirect(307, &format!("{}/elsewhere", self.issuer())),
            M::Http500 => WireAnswer::text(500, "stack trace"),
            M::InvalidRequest => refusal(400, "invalid_request"),
            M::InvalidGrant => refusal(400, "invalid_grant"),
            M::InvalidClient => refusal(401, "invalid_client"),
            M::InvalidTarget => refusal(400, "invalid_target"),
            M::InvalidScope => refusal(400, "invalid_scope"),
            M::InvalidToken => refusal(400, "invalid_token"),
            M::Busy => WireAnswer::text(429, "go away").with_header("retry-after", "30"),
            M::StepUp => WireAnswer::json(
                400,
                &json!({
                    "error": "insufficient_user_authentication",
                    "error_description": "told to say so",
                    "acr_values": "phr",
                    "max_age": 60,
                    "claims": "{\"access_token\":{\"acrs\":{\"essential\":true,\"value\":\"c1\"}}}",
                }),
            ),
            M::Empty => WireAnswer::json(200, &json!({})),
            M::HangUp => WireAnswer::raw(""),
            _ => good(),
        }
    }

    /// The token response (RFC 8693 section 2.2.1), wrong in one point if told so.
    fn grant(&self, request: &WireRequest, how: Misbehaviour) -> Value {
        use Misbehaviour as M;
        let form = form(request);
        if form.get("grant_type").map(String::as_str) == Some("client_credentials") {
            return self.own_grant(request, &form, how);
        }
        let asked = |name: &str| form.get(name).cloned().unwrap_or_default();
        let parent_token = asked("subject_token");
        let parent = claims_of(&parent_token);
        let now = self.clock.now();
        let parent_expires = parent.get("exp").and_then(Value::as_u64).unwrap_or(0);
        let mut expires = parent_expires.min(now.as_secs() + GRANT_SECONDS);
        let mut scope = asked("scope");
        let client = client_of(request, &form);
        let subject = parent.get("sub").and_then(Value::as_str).unwrap_or_default();
        let mut token = Token::access(&self.issuer(), &asked("audience"), subject, now)
            .claim("client_id", client.as_str())
            .claim("act", actor(&client, parent.get("act")));
        match how {
            M::WiderScope => scope.push_str(" everything:write"),
            M::LaterExpiry => expires = parent_expires + 30,
            M::OtherAudience => token = token.claim("aud", "https://elsewhere.internal"),
            M::TwoAudiences => {
                token = token.claim("aud", json!([asked("audience"), "https://elsewhere.internal"]));
            }
            M::OtherSubject => token = token.claim("sub", "mallory"),
            M::NoActor => token = token.without("act"),
            M::TwoLevelsLonger => {
                let second = actor("second-else", parent.get("act"));
                let first = actor("first-else", Some(&second));
                token = token.claim("act", actor(&client, Some(&first)));
            }
            M::LongerChain => {
                let between = actor("somebody-else", parent.get("act"));
                token = token.claim("act", actor(&client, Some(&between)));
            }
            M::OtherActor => token = token.claim("act", actor("somebody-else", parent.get("act"))),
            M::OtherHolder => {
                token = token.claim("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}));
            }
            M::OtherIssuer => token = token.claim("iss", "https://elsewhere.internal"),
            M::IdToken => token = token.header("typ", "JWT"),
            _ => {}
        }
        token = token.claim("exp", expires).claim("scope", scope.as_str());
        let access_token = match how {
            M::Opaque => "2YotnFZFEjr1zCsicMWpAA-2YotnFZFEjr1zCsicMWpAA".to_owned(),
            M::Echo => parent_token,
            M::OtherKey => token.sign(&self.key.impostor()),
            _ => token.sign(&self.key),
        };
        let token_type = if how == M::WrongTokenType { "N_A" } else { "Bearer" };
        let issued = if how == M::WrongIssuedTokenType { "refresh_token" } else { "access_token" };
        json!({
            "access_token": access_token,
            "issued_token_type": format!("urn:ietf:params:oauth:token-type:{issued}"),
            "token_type": token_type,
            "expires_in": expires.saturating_sub(now.as_secs()),
            "scope": scope,
        })
    }
}

impl Shared {
    /// The answer to the client credentials grant (RFC 6749 section 4.4.3).
    fn own_grant(&self, request: &WireRequest, form: &BTreeMap<String, String>, how: Misbehaviour) -> Value {
        use Misbehaviour as M;
        let asked = |name: &str| form.get(name).cloned().unwrap_or_default();
        let (now, client) = (self.clock.now(), client_of(request, form));
        let audience = if form.contains_key("audience") { asked("audience") } else { asked("resource") };
        let mut token = Token::access(&self.issuer(), &audience, &client, now)
            .claim("client_id", client.as_str())
            .claim("exp", now.as_secs() + GRANT_SECONDS)
            .claim("scope", asked("scope"));
        match how {
            M::OtherSubject => token = token.claim("sub", "mallory"),
            M::OtherAudience => token = token.claim("aud", "https://elsewhere.internal"),
            M::WiderScope => token = token.claim("scope", "everything:write"),
            M::OtherActor => token = token.claim("act", actor("somebody-else", None)),
            _ => {}
        }
        json!({ "access_token": token.sign(&self.key), "token_type": "Bearer", "expires_in": GRANT_SECONDS })
    }
}

/// `act` with `subject` as the current actor and `parent` below it (RFC 8693 section 4.1).
fn actor(subject: &str, parent: Option<&Value>) -> Value {
    let mut act = Map::new();
    act.insert("sub".to_owned(), subject.into());
    if let Some(parent) = parent {
        act.insert("act".to_owned(), parent.clone());
    }
    Value::Object(act)
}

/// Who asks, believed without proof.
fn client_of(request: &WireRequest, form: &BTreeMap<String, String>) -> String {
    if let Some(assertion) = form.get("client_assertion") {
        return claims_of(assertion).get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    if let Some(pair) = basic.and_then(|text| STANDARD.decode(text).ok()) {
        let text = String::from_utf8_lossy(&pair).into_owned();
        return decoded(text.split(':').next().unwrap_or_default());
    }
    form.get("client_id").cloned().unwrap_or_default()
}

/// The form in the body (RFC 6749 appendix B).
fn form(request: &WireRequest) -> BTreeMap<String, String> {
    let pairs = request.text().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hopguard_client::{HttpTransport, Transport, TransportError};
    use hopguard_core::{RawToken, TokenForm, seconds};

    use super::*;
    use crate::FakeClock;

    fn transport() -> HttpTransport {
        HttpTransport::builder().timeout(seconds(20)).build().unwrap()
    }

    fn exchange(sts: &MisbehavingSts, token: &str) -> http::Request<Bytes> {
        let mut form = TokenForm::new();
        form.append("audience", "https://inventory.internal");
        form.append("scope", "stock:read");
        form.append("client_id", "orders");
        form.append_token("subject_token", &RawToken::new(token));
        http::Request::post(sts.token_endpoint()).body(form.into_bytes()).unwrap()
    }

    /// The status, and the claims of the grant where there is one.
    async fn answer(
        sts: &MisbehavingSts,
        token: &str,
    ) -> Result<(u16, Value, Map<String, Value>), TransportError> {
        let response = transport().send(exchange(sts, token)).await?;
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let grant = body["access_token"].as_str().filter(|token| token.contains('.'));
        Ok((response.status().as_u16(), body.clone(), grant.map(claims_of).unwrap_or_default()))
    }

    async fn sts() -> (MisbehavingSts, String) {
        let sts = MisbehavingSts::start(FakeClock::somewhen()).await;
        let token = sts
            .token("https://orders.internal", "alice", "orders:read")
            .claim("act", json!({"sub": "gateway"}))
            .sign(sts.key());
        (sts, token)
    }

    #[tokio::test]
    async fn an_honest_grant_narrows() {
        let (sts, token) = sts().await;
        let (status, body, grant) = answer(&sts, &token).await.unwrap();
        assert_eq!((status, body["token_type"].as_str()), (200, Some("Bearer")));
        assert_eq!(grant["aud"], "https://inventory.internal");
        assert_eq!(grant["scope"], "stock:read");
        assert_eq!(grant["sub"], "alice");
        assert_eq!(grant["act"], json!({"sub": "orders", "act": {"sub": "gateway"}}));
        assert!(grant["exp"].as_u64() <= claims_of(&token)["exp"].as_u64());
        assert_eq!((sts.token_requests(), sts.forms()[0]["client_id"].as_str()), (1, "orders"));
        assert!(sts.wire().saw(&token));
    }

    #[tokio::test]
    async fn each_misbehaviour_is_wrong_in_its_own_point() {
        use Misbehaviour as M;
        let (sts, token) = sts().await;
        let (_, _, honest) = answer(&sts, &token).await.unwrap();
        let claims = [
            (M::WiderScope, "scope"),
            (M::OtherAudience, "aud"),
            (M::TwoAudiences, "aud"),
            (M::LaterExpiry, "exp"),
            (M::OtherSubject, "sub"),
            (M::NoActor, "act"),
            (M::LongerChain, "act"),
            (M::TwoLevelsLonger, "act"),
            (M::OtherActor, "act"),
            (M::OtherHolder, "cnf"),
            (M::OtherIssuer, "iss"),
        ];
        for (how, claim) in claims {
            sts.misbehave_next([how]);
            let (_, _, grant) = answer(&sts, &token).await.unwrap();
            let names = honest.keys().chain(grant.keys()).filter(|name| *name != "jti");
            let changed: std::collections::BTreeSet<_> =
                names.filter(|name| honest.get(*name) != grant.get(*name)).collect();
            assert_eq!(changed.into_iter().collect::<Vec<_>>(), [claim], "{how:?}");
        }
        for (how, status) in [
            (M::Redirect, 307),
            (M::Http500, 500),
            (M::InvalidRequest, 400),
            (M::InvalidGrant, 400),
            (M::InvalidTarget, 400),
            (M::InvalidScope, 400),
            (M::InvalidToken, 400),
            (M::StepUp, 400),
            (M::Busy, 429),
            (M::InvalidClient, 401),
            (M::Opaque, 200),
            (M::Empty, 200),
        ] {
            sts.misbehave_next([how]);
            let (found, _, grant) = answer(&sts, &token).await.unwrap();
            assert_eq!((found, grant.len()), (status, 0), "{how:?}");
        }
        for (how, error) in [
            (M::HalfAnswer, TransportError::Broken),
            (M::HangUp, TransportError::Broken),
            (M::Huge, TransportError::TooLarge),
        ] {
            sts.misbehave_next([how]);
            assert_eq!(answer(&sts, &token).await.unwrap_err(), error, "{how:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_answer_waits_and_a_server_that_is_down_refuses() {
        let (sts, token) = sts().await;
        sts.misbehave(Misbehaviour::Slow);
        let release = async {
            while sts.token_requests() == 0 {
                tokio::task::yield_now().await;
            }
            sts.release();
        };
        let (answered, ()) = tokio::join!(answer(&sts, &token), release);
        assert_eq!(answered.unwrap().0, 200);
        sts.down().await;
        assert_eq!(answer(&sts, &token).await.unwrap_err(), TransportError::Connect);
    }

    #[tokio::test]
    async fn it_publishes_what_a_client_needs() {
        let (sts, _) = sts().await;
        let url = format!("{}/.well-known/oauth-authorization-server", sts.issuer());
        let get = |url: &str| http::Request::get(url).body(Bytes::new()).unwrap();
        let metadata = transport().send(get(&url)).await.unwrap();
        let metadata: Value = serde_json::from_slice(metadata.body()).unwrap();
        assert_eq!(metadata["issuer"], sts.issuer());
        let keys = transport().send(get(metadata["jwks_uri"].as_str().unwrap())).await.unwrap();
        let keys: Value = serde_json::from_slice(keys.body()).unwrap();
        assert_eq!(keys["keys"][0], sts.key().jwk());
        assert_eq!((sts.metadata_requests(), sts.key_requests(), sts.token_requests()), (1, 1, 0));
    }
}
