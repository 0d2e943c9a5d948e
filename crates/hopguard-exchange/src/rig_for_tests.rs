//! An authorization server that says what a test tells it to, a clock that stands still, and callers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use hopguard_client::{BoxFuture, ClientAuth, SigningKey, Spawn, Timer, Transport, TransportError};
use hopguard_core::{
    ActorChain, Admitted, Bound, Clock, Confirmation, Destination, Exchange, Facts, Fingerprint, Granted, Id,
    Ledger, Monotonic, Presented, RawToken, Refusal, ScopeSet, StackId, UnixTime, Verified, minutes,
};
use hopguard_verify::{Issuer, Verifier};
use http::{Request, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::patience::PATIENCE;
use crate::{Exchanger, ExchangerBuilder};

pub(crate) const ISSUER: &str = "https://sts.internal";
pub(crate) const OTHER_ISSUER: &str = "https://other.internal";
pub(crate) const US: &str = "https://orders.internal";
pub(crate) const PEER: &str = "https://inventory.internal";
/// When tests begin.
pub(crate) const START: u64 = 1_700_000_000;

pub(crate) static KEY: LazyLock<Arc<SigningKey>> =
    LazyLock::new(|| Arc::new(SigningKey::generate_es256().unwrap()));
pub(crate) static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate_es256().unwrap());

pub(crate) fn facts() -> Facts {
    Facts {
        fingerprint: Fingerprint::of_token("a.b.c"),
        issuer: ISSUER.into(),
        subject: "alice".into(),
        client: None,
        audiences: [US.into()].into(),
        expires: UnixTime::from_secs(START + 300),
        not_before: None,
        issued_at: None,
        token_id: None,
        scopes: ScopeSet::empty(),
        actors: ActorChain::empty(),
        may_act: None,
        confirmation: Confirmation::None,
        key_id: None,
        fingerprinted_len: 3,
        structured: true,
    }
}

/// Stands still until it is told to move on; to wait by it takes no time and moves it on.
#[derive(Debug)]
pub(crate) struct FakeClock {
    millis: AtomicU64,
    pub(crate) waited: Mutex<Vec<Duration>>,
    pub(crate) impatient: AtomicBool,
}

impl FakeClock {
    pub(crate) fn at(second: u64) -> Arc<Self> {
        Arc::new(Self {
            millis: AtomicU64::new(second * 1000),
            waited: Mutex::default(),
            impatient: AtomicBool::new(false),
        })
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.millis.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn unix_millis(&self) -> u64 {
        self.millis.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(self.unix_millis()))
    }
}

impl Timer for FakeClock {
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        // The longest that the server may take passes in the tests that wait for it, and in no other.
        if span == PATIENCE && !self.impatient.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        self.waited.lock().unwrap().push(span);
        self.advance(span);
        Box::pin(std::future::ready(()))
    }
}

/// One request as the authorization server got it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) uri: Uri,
    pub(crate) form: BTreeMap<String, String>,
    /// How many came before.
    pub(crate) number: usize,
    pub(crate) now: u64,
}

impl Ask {
    /// The claims that an honest server would grant, with an actor chain grown by us.
    pub(crate) fn claims(&self) -> Value {
        let subject = claims_of(&self.form["subject_token"]);
        let exp = subject["exp"].as_u64().unwrap().min(self.now + 120);
        let mut act = json!({ "sub": "orders" });
        if let Some(before) = subject.get("act") {
            act["act"] = before.clone();
        }
        json!({
            "iss": ISSUER, "sub": subject["sub"], "aud": self.form["audience"], "scope": self.form.get("scope").cloned().unwrap_or_default(),
            "iat": self.now, "exp": exp, "jti": format!("grant-{}", self.number), "client_id": "orders", "act": act,
        })
    }
}

pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub(crate) type Reply = Result<Response<Bytes>, TransportError>;

pub(crate) fn reply(status: u16, body: &Value) -> Reply {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    Ok(response)
}

pub(crate) fn error(status: u16, error: &str) -> Reply {
    reply(status, &json!({ "error": error, "error_description": "do not repeat this" }))
}

pub(crate) fn mint(claims: &Value) -> String {
    KEY.sign_jwt("at+jwt", claims).unwrap().to_string()
}

/// The token response for `token`.
pub(crate) fn response(token: &str) -> Value {
    json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 120,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    })
}

pub(crate) fn honest(ask: &Ask) -> Reply {
    reply(200, &response(&mint(&ask.claims())))
}

type Behaviour = Box<dyn Fn(Ask) -> BoxFuture<'static, Reply> + Send + Sync>;

/// The other end of the exchanger's transport.
pub(crate) struct FakeSts {
    behaviour: Behaviour,
    clock: Arc<FakeClock>,
    asked: AtomicUsize,
    pub(crate) seen: Mutex<Vec<Ask>>,
}

impl fmt::Debug for FakeSts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSts")
    }
}

impl Transport for FakeSts {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Reply> {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let ask = Ask {
            uri: request.uri().clone(),
            form: pairs.map(|(name, value)| (decoded(name), decoded(value))).collect(),
            number: self.asked.fetch_add(1, Ordering::SeqCst),
            now: self.clock.now().as_secs(),
        };
        self.seen.lock().unwrap().push(ask.clone());
        (self.behaviour)(ask)
    }
}

/// An exchanger and all that is around it.
pub(crate) struct Rig {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) sts: Arc<FakeSts>,
    pub(crate) ledger: Ledger,
    pub(crate) verifier: Verifier,
    pub(crate) exchanger: Exchanger,
}

impl Rig {
    /// An exchanger whose authorization server behaves like this.
    pub(crate) fn new(behaviour: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(
            FakeClock::at(START),
            move |ask| Box::pin(std::future::ready(behaviour(&ask))),
            fixed_endpoint,
        )
    }

    pub(crate) fn with(
        clock: Arc<FakeClock>,
        behaviour: impl Fn(Ask) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
        settings: impl FnOnce(ExchangerBuilder) -> ExchangerBuilder,
    ) -> Self {
        let sts = Arc::new(FakeSts {
            behaviour: Box::new(behaviour),
            clock: Arc::clone(&clock),
            asked: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let ledger = Ledger::bounded();
        let verifier = verifier(&clock, &sts);
        let builder = builder(ISSUER, &verifier, &clock, &sts, &ledger);
        let exchanger = settings(builder).build().unwrap();
        Self { clock, sts, ledger, verifier, exchanger }
    }

    /// How often the authorization server was asked.
    pub(crate) fn asked(&self) -> usize {
        self.sts.asked.load(Ordering::SeqCst)
    }

    /// A caller called `subject`, through the gateway, good for five minutes.
    pub(crate) async fn caller(&self, subject: &str) -> Admitted {
        self.caller_with(subject, |_| ()).await
    }

    pub(crate) async fn caller_with(&self, subject: &str, change: impl FnOnce(&mut Value)) -> Admitted {
        let now = self.clock.now().as_secs();
        let mut claims = json!({
            "iss": ISSUER, "sub": subject, "aud": US, "scope": "orders:read", "iat": now, "exp": now + 300,
            "jti": format!("parent-{subject}"), "client_id": "gateway", "act": { "sub": "gateway" },
        });
        change(&mut claims);
        self.admit(&mint(&claims), &self.ledger).await
    }

    pub(crate) async fn admit(&self, token: &str, ledger: &Ledger) -> Admitted {
        let facts = self.verifier.verify(&RawToken::new(token), ledger.withdrawals()).await.unwrap();
        admitted(token, facts, ledger)
    }

    /// The usual target, made ready for the usual exchanger.
    pub(crate) fn prepared(&self) -> crate::Prepared {
        self.exchanger.prepare(&target(), &peer())
    }

    /// Asks for the usual grant; the outcome as the grant's `jti` and where it came from, or the code.
    pub(crate) async fn ask(&self, caller: &Admitted) -> Result<(String, String), &'static str> {
        told(self.exchanger.grant(caller, &self.prepared()).await)
    }
}

/// A caller with these claims, as an inbound stack of `ledger` would hand it over.
pub(crate) fn admitted(token: &str, facts: Arc<Facts>, ledger: &Ledger) -> Admitted {
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(token), None);
    let bound = Bound::assert_held(Verified::assert_genuine(presented, facts));
    Admitted::assert_all_guards_passed(bound, ledger.id(), Id::fresh(), None)
}

pub(crate) fn told<S: fmt::Debug>(
    outcome: Result<(Granted, S), Refusal>,
) -> Result<(String, String), &'static str> {
    let (granted, state) = outcome.map_err(|refusal| refusal.code())?;
    let name = granted.facts().token_id.as_deref().unwrap_or_default().to_owned();
    Ok((name, format!("{state:?}")))
}

pub(crate) fn fixed_endpoint(builder: ExchangerBuilder) -> ExchangerBuilder {
    builder.token_endpoint("https://sts.internal/token")
}

pub(crate) fn builder(
    issuer: &str,
    verifier: &Verifier,
    clock: &Arc<FakeClock>,
    sts: &Arc<FakeSts>,
    ledger: &Ledger,
) -> ExchangerBuilder {
    let auth = ClientAuth::private_key_jwt("orders", Arc::clone(&KEY));
    let timer = Arc::clone(clock) as Arc<dyn Timer>;
    let (transport, clock) = (Arc::clone(sts) as Arc<dyn Transport>, Arc::clone(clock) as Arc<dyn Clock>);
    Exchanger::builder(issuer, auth, verifier.clone(), transport, clock, Spawn::current(), ledger)
        .timer(timer)
}

/// Has to ask the issuer for its keys.
pub(crate) fn verifier_without_keys(clock: &Arc<FakeClock>, sts: &Arc<FakeSts>) -> Verifier {
    let (transport, clock) = (Arc::clone(sts) as Arc<dyn Transport>, Arc::clone(clock) as Arc<dyn Clock>);
    Verifier::builder(transport, clock, Spawn::current()).issuer(Issuer::at(ISSUER)).build().unwrap()
}

/// Trusts one key for two issuers, so that another issuer's token gets as far as the narrowing proof.
fn verifier(clock: &Arc<FakeClock>, sts: &Arc<FakeSts>) -> Verifier {
    let keys = json!({ "keys": [KEY.public_jwk()] }).to_string();
    let (transport, clock) = (Arc::clone(sts) as Arc<dyn Transport>, Arc::clone(clock) as Arc<dyn Clock>);
    Verifier::builder(transport, clock, Spawn::current())
        .issuer(Issuer::at(ISSUER).keys_fixed(&keys))
        .issuer(Issuer::at(OTHER_ISSUER).keys_fixed(&keys))
        .build()
        .unwrap()
}

pub(crate) fn target() -> Exchange {
    Exchange::audience(PEER).scope("stock:read").lifetime_at_most(minutes(3)).requires("orders:read")
}

pub(crate) fn peer() -> Destination {
    Destination::of(&Uri::from_static(PEER)).unwrap()
}

/// Waits until it holds; what never comes fails the test instead of holding it up.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), held).await.is_ok(), "it never came to pass");
}
