//! The way out without a grant in the cache: everything of an exchange but the wire and the other side's work.

use std::collections::VecDeque;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use hopguard_client::{BoxFuture, ClientAuth, SigningKey, SystemClock, Transport, TransportError};
use hopguard_core::{Clock, Exchange, Id, Ledger, minutes};
use hopguard_tower::{Egress, Inbound, StsEndpoint};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Whose;
use crate::egress::{admitted, call};
use crate::harness::{Group, Lane, Pace};
use crate::world::{Bare, INVENTORY, ISSUER, Key, Signed, Sts, TOKEN_ENDPOINT, audit, claims, drive, guard};

/// How many calls each lane makes in a round.
const CALLS: usize = 100;
const CLIENT: &str = "orders";

/// Calls on behalf of callers for whom nothing was ever exchanged, with and without an assertion of ours.
pub(crate) fn exchanged(pace: Pace) -> Group {
    let key = Arc::new(Key::es256());
    let mut group = Group::new(Whose::Process);
    let calls = if pace.rounds < Pace::FULL.rounds { CALLS / 5 } else { CALLS };

    let own = SigningKey::generate_es256().expect("a key");
    let secret = lane(
        &mut group,
        "hopguard, client secret",
        &key,
        calls,
        ClientAuth::client_secret_basic(CLIENT, "s"),
    );
    let auth = ClientAuth::private_key_jwt(CLIENT, own);
    let assertion = lane(&mut group, "hopguard, private_key_jwt", &key, calls, auth);

    let bare = bare(&mut group, &key, calls);
    let raw = key.raw.clone();
    let signed: Vec<_> = key.tokens(16).iter().map(|token| Signed::of(token)).collect();
    let mut next = 0;
    let verified = group.lane(Lane::new("aws-lc-rs ES256, verified once", {
        let (raw, signed) = (raw.clone(), signed.clone());
        move || {
            next = (next + 1) % signed.len();
            signed[next].verify(&raw);
        }
    }));
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let (random, mut next) = (SystemRandom::new(), 0);
    let both = group.lane(Lane::new("aws-lc-rs ES256, verified and signed once", move || {
        next = (next + 1) % signed.len();
        signed[next].verify(&raw);
        std::hint::black_box(pair.sign(&random, signed[next].input.as_bytes()).expect("a signature"));
    }));

    group.compare("egress miss: client secret", secret, verified, 1.3).over(bare).allocations(None);
    group.compare("egress miss: private_key_jwt", assertion, both, 1.3).over(bare).allocations(None);
    group
}

/// The same calls without a stack: the same requests, which nobody has touched since they were made, and the same
/// transport asked as often for the same answers, which nobody reads.
fn bare(group: &mut Group, key: &Arc<Key>, calls: usize) -> usize {
    let script = Arc::new(Script { answers: Mutex::default(), keys: Sts::of(key) });
    let (guard, key, answers) = (guard(&Ledger::bounded(), &audit(), key), key.clone(), script.clone());
    let runtime = runtime();
    let lane =
        Lane::over_input("the bare client", caller(guard, key, answers), move |request: &Request<_>| {
            runtime.block_on(async {
                let asked = Request::post(TOKEN_ENDPOINT).body(Bytes::new()).expect("a request");
                drop(script.send(asked).await.expect("an answer"));
                assert_eq!(drive(&mut Bare, request.clone()), StatusCode::OK);
            });
            assert!(script.asked_once());
        });
    group.lane(lane.fixed(calls))
}

/// Calls of callers whom nobody has seen before; what the server will answer to each is thought of beforehand.
fn caller(guard: Inbound, key: Arc<Key>, answers: Arc<Script>) -> impl FnMut() -> Request<Full<Bytes>> {
    move || {
        let subject = claims();
        answers.is_to_say(&key, &subject);
        call(Some(&admitted(&guard, &key.token(&subject))))
    }
}

/// A stack whose every call has a new caller, and whose authorization server has each answer ready.
fn lane(group: &mut Group, name: &str, key: &Arc<Key>, calls: usize, auth: ClientAuth) -> usize {
    let script = Arc::new(Script { answers: Mutex::default(), keys: Sts::of(key) });
    let ledger = Ledger::bounded();
    let target = Exchange::audience(INVENTORY).scope("stock:read").lifetime_at_most(minutes(61));
    let egress =
        Egress::builder(&ledger, &audit(), StsEndpoint::at(ISSUER, auth).token_endpoint(TOKEN_ENDPOINT))
            .route(INVENTORY, target.requires("stock:read"))
            .transport(script.clone())
            .build()
            .expect("a stack");
    let (mut service, runtime) = (egress.layer(Bare), runtime());
    let (guard, key, answers) = (guard(&ledger, &audit(), key), key.clone(), script.clone());
    let lane = Lane::over_input(name, caller(guard, key, answers), move |request: &Request<_>| {
        runtime.block_on(async {
            let response = service.call(request.clone()).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::OK);
        });
        // One round trip for each call, and none besides.
        assert!(script.asked_once());
    });
    group.lane(lane.fixed(calls))
}

/// Nothing here goes over a wire, so that nobody is asked for news of one: each call is a `block_on` of its own, and
/// would pay alone for what a server asks once for sixty tasks.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// An authorization server that thought of its answers before anybody asked.
struct Script {
    answers: Mutex<(VecDeque<Bytes>, usize)>,
    keys: Sts,
}

impl Script {
    fn is_to_say(&self, key: &Key, subject: &Value) {
        let mut granted = subject.clone();
        granted["aud"] = INVENTORY.into();
        granted["scope"] = "stock:read".into();
        granted["client_id"] = CLIENT.into();
        granted["act"] = json!({ "sub": CLIENT, "act": subject["act"] });
        granted["jti"] = Id::fresh().to_string().into();
        let lifetime = granted["exp"].as_u64().expect("exp") - SystemClock.now().as_secs();
        let answer = json!({
            "access_token": key.token(&granted),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": lifetime,
        });
        self.answers.lock().expect("the script").0.push_back(answer.to_string().into());
    }

    /// Whether exactly one answer was given since this was last asked.
    fn asked_once(&self) -> bool {
        std::mem::take(&mut self.answers.lock().expect("the script").1) == 1
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Transport for Script {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        if request.uri().path() != "/token" {
            return self.keys.send(request);
        }
        let mut answers = self.answers.lock().expect("the script");
        answers.1 += 1;
        let body = answers.0.pop_front().expect("one answer for each call");
        let answer = Response::builder().header("content-type", "application/json").body(body);
        Box::pin(ready(Ok(answer.expect("a response"))))
    }
}
