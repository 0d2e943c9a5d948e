//! The timer that a stack is given is the one by which everything in it waits.

use std::cell::OnceCell;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hopguard::{Clock, Inbound, Issuer, Ledger, OpenPaths, Protect, ScopeGuard, Ttl, minutes, seconds};
use hopguard_client::{BoxFuture, Timer, Transport, TransportError};
use hopguard_testkit::mint::{MintKey, Token};
use hopguard_testkit::{FakeClock, WireAnswer, WireRecorder};
use http::{Request, Response};
use serde_json::json;
use tower::ServiceExt;

use crate::world::{ORDERS, World};

/// Every wait is over at once; keeps how long each was meant to be.
#[derive(Debug, Default)]
struct Noted(Mutex<Vec<Duration>>);

impl Noted {
    fn spans(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

impl Timer for Noted {
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().push(span);
        Box::pin(ready(()))
    }
}

/// Answers the second request to a token endpoint, and nothing else, ever.
#[derive(Debug, Default)]
struct Silent {
    grant: String,
    asked: Mutex<usize>,
}

impl Transport for Silent {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        if !request.uri().path().ends_with("/token") {
            return Box::pin(pending());
        }
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked == 1 {
            return Box::pin(ready(Err(TransportError::Connect)));
        }
        let response = Response::builder().header("content-type", "application/json");
        Box::pin(ready(Ok(response.body(Bytes::from(self.grant.clone())).unwrap())))
    }
}

#[tokio::test]
async fn the_way_in_gives_up_an_issuer_by_its_own_timer() {
    let world = World::new().await;
    let timer = Arc::new(Noted::default());
    let guard = Inbound::builder(&Ledger::bounded(), &world.audit)
        .issuer(Issuer::at(&world.sts.issuer()))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(10)))
        .scope(ScopeGuard::any_scope())
        .clock(world.clock.clone())
        .transport(Arc::new(Silent::default()))
        .timer(timer.clone())
        .build()
        .unwrap();
    let app = guard.protect(axum::Router::new(), OpenPaths::none());
    let request =
        Request::get("/").header("authorization", format!("Bearer {}", world.signed(world.token())));
    let Ok(response) = app.oneshot(request.body(Body::empty()).unwrap()).await;
    let refused = response.extensions().get::<hopguard::Refused>().unwrap();
    assert_eq!(refused.refusal.code(), "keys_unavailable");
    assert_eq!(timer.spans(), [seconds(30)]);
}

#[tokio::test]
async fn the_way_out_waits_for_its_server_by_its_own_timer() {
    let timer = Arc::new(Noted::default());
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "7 in stock")).await;
    let name = OnceCell::new();
    let (given, keys) = (timer.clone(), MintKey::es256("grants"));
    let world = World::built(
        peer,
        |endpoint, issuer| {
            name.set(issuer.to_owned()).unwrap();
            endpoint.token_endpoint(&format!("{issuer}/token"))
        },
        |egress, _| {
            let token = Token::access(name.get().unwrap(), "a", "alice", FakeClock::somewhen().now());
            let grant = json!({
                "access_token": token.sign(&keys), "token_type": "Bearer", "expires_in": 60,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            });
            let silent = Silent { grant: grant.to_string(), asked: Mutex::default() };
            egress.transport(Arc::new(silent)).timer(given)
        },
    )
    .await;
    let caller = world.caller().await;
    world.refused(world.call(&caller).await, "keys_unavailable");
    let spans = timer.spans();
    assert_eq!((spans.len(), spans.last()), (2, Some(&seconds(30))), "{spans:?}");
}
