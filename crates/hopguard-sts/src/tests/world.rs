//! A server with three clients, and requests to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use hopguard_client::{ClientAuth, SigningKey};
use hopguard_core::{
    Audit, AuditFull, AuditSink, Clock, Event, Monotonic, Refusal, TokenForm, UnixTime, minutes, seconds,
};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{Client, Rule, Sts, StsBuilder, UserToken};

pub(super) const ISSUER: &str = "https://sts.internal";
pub(super) const GATEWAY: &str = "https://gateway.internal";
pub(super) const ORDERS: &str = "https://orders.internal";
pub(super) const INVENTORY: &str = "https://inventory.internal";
pub(super) const SECRET: &str = "a secret of the batch job: 100%";
pub(super) const NOW: u64 = 1_800_000_000;

#[derive(Debug)]
pub(super) struct TestClock(AtomicU64);

impl TestClock {
    pub(super) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn unix_millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(std::time::Duration::from_millis(self.unix_millis()))
    }
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) full: AtomicBool,
}

impl AuditSink for Memory {
    fn reserve(&self) -> Result<(), AuditFull> {
        if self.full.load(Ordering::SeqCst) { Err(AuditFull) } else { Ok(()) }
    }

    fn release(&self) {}

    fn commit(&self, event: Event) {
        self.offer(event);
    }

    fn offer(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

pub(super) struct World {
    pub(super) sts: Sts,
    pub(super) clock: Arc<TestClock>,
    pub(super) written: Arc<Memory>,
    pub(super) gateway: Arc<SigningKey>,
    pub(super) orders: Arc<SigningKey>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(super) fn with(change: impl FnOnce(StsBuilder) -> StsBuilder) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(NOW * 1000)));
        let written = Arc::new(Memory::default());
        let [gateway, orders] = [(); 2].map(|()| Arc::new(SigningKey::generate_es256().unwrap()));
        let to_orders = Rule::for_client("gateway")
            .subject_audience(GATEWAY)
            .audience(ORDERS)
            .scope("orders:read", "shop:read")
            .scope("orders:write", "shop:read shop:write")
            .lifetime_at_most(minutes(5));
        let to_inventory = Rule::for_client("orders")
            .subject_audience(ORDERS)
            .audience(INVENTORY)
            .scope("stock:read", "orders:read")
            .lifetime_at_most(minutes(2));
        let batch = Rule::for_client("batch").subject_audience(GATEWAY).audience(INVENTORY);
        let builder = Sts::builder(ISSUER, clock.clone())
            .client(Client::private_key_jwt("gateway", &gateway.public_jwk()))
            .client(Client::private_key_jwt("orders", &orders.public_jwk()))
            .client(Client::client_secret_basic("batch", SECRET))
            .client(Client::client_secret_basic("idle", SECRET))
            .rule(to_orders)
            .rule(to_inventory)
            .rule(batch)
            .audit(&Audit::new("sts", "1", written.clone()));
        Self { sts: change(builder).build().unwrap(), clock, written, gateway, orders }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// A person's token for the gateway, ten minutes long.
    pub(super) fn user_token(&self) -> String {
        let token = UserToken::new("alice", GATEWAY).scope("shop:read").lifetime(minutes(10));
        self.sts.issue(&token).unwrap()
    }

    /// A token of this server for the gateway, its claims changed.
    pub(super) fn token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let now = self.now().as_secs();
        let mut claims = json!({
            "iss": ISSUER, "sub": "alice", "aud": GATEWAY, "client_id": "login", "iat": now, "exp": now + 600,
            "jti": "one", "scope": "shop:read",
        });
        change(&mut claims);
        self.sts.0.ring().sign(&claims, self.now().after(seconds(600))).unwrap().to_string()
    }

    pub(super) fn gateway_auth(&self) -> ClientAuth {
        ClientAuth::private_key_jwt("gateway", self.gateway.clone())
    }

    /// The request by which the gateway turns `subject_token` into one for orders.
    pub(super) fn ask(&self, subject_token: &str) -> Ask {
        Ask::new(&self.gateway_auth(), ISSUER, self.now(), subject_token, ORDERS, "orders:read")
    }

    pub(super) fn send(&self, ask: Ask) -> Answer {
        self.call(ask.into_request("/token"))
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap())
    }

    pub(super) fn call(&self, request: Request<Body>) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let response = self.sts.router().oneshot(request).await.unwrap();
            Answer::read(response).await
        })
    }

    /// Sends a request that must be refused; the audit must hold the same code.
    #[track_caller]
    pub(super) fn refused(&self, ask: Ask, status: u16, error: &str, code: &str) {
        self.written.events.lock().unwrap().clear();
        let answer = self.send(ask);
        let found = (answer.status, answer.body["error"].as_str().unwrap_or("-"), answer.code.unwrap_or("-"));
        assert_eq!(found, (status, error, code));
        let described = (error != "invalid_client").then_some(code);
        assert_eq!(answer.body["error_description"].as_str(), described);
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.body.get("access_token").is_none());
        let events = self.written.events.lock().unwrap();
        let event = events.iter().find(|event| event.decision.code() == code).expect("no such event");
        assert_eq!(event.status, Some(status));
        assert!(event.grant.is_none());
    }

    /// Shows `subject_token`, which must be refused.
    #[track_caller]
    pub(super) fn subject_refused(&self, subject_token: &str, code: &str) {
        self.refused(self.ask(subject_token), 400, "invalid_request", code);
    }

    #[track_caller]
    pub(super) fn exchanged(&self, ask: Ask) -> Value {
        let answer = self.send(ask);
        assert_eq!((answer.status, answer.code), (200, None), "{}", answer.body);
        answer.body
    }
}

/// A token request in the making.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) fields: Vec<(String, String)>,
    pub(super) raw: Option<Vec<u8>>,
}

impl Ask {
    pub(super) fn new(
        auth: &ClientAuth,
        issuer: &str,
        now: UnixTime,
        subject_token: &str,
        audience: &str,
        scope: &str,
    ) -> Self {
        let (mut headers, mut form) = (HeaderMap::new(), TokenForm::new());
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        auth.authenticate(issuer, now, &mut headers, &mut form).unwrap();
        let mut ask = Self { method: Method::POST, headers, fields: Vec::new(), raw: None };
        for pair in
            String::from_utf8(form.into_bytes().to_vec()).unwrap().split('&').filter(|it| !it.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap();
            let value = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
            ask.fields.push((name.to_owned(), value.into_owned()));
        }
        ask.set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .set("subject_token", subject_token)
            .set("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
            .set("audience", audience)
            .set("scope", scope)
    }

    pub(super) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).also(name, value)
    }

    pub(super) fn also(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub(super) fn raw(mut self, body: &[u8]) -> Self {
        self.raw = Some(body.to_vec());
        self
    }

    pub(super) fn into_request(self, uri: &str) -> Request<Body> {
        let mut form = TokenForm::new();
        for (name, value) in &self.fields {
            form.append(name, value);
        }
        let body = self.raw.map_or_else(|| Body::from(form.into_bytes()), Body::from);
        let mut request = Request::builder().method(self.method).uri(uri).body(body).unwrap();
        *request.headers_mut() = self.headers;
        request
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    /// The code of the refusal in the extensions.
    pub(super) code: Option<&'static str>,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            code: head.extensions.get::<Refusal>().map(Refusal::code),
        }
    }
}

/// The claims of a token, unverified.
pub(super) fn claims(token: &str) -> Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
