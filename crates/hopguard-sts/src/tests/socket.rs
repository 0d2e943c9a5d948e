//! The server over a real socket, its clients and verifiers the ones that services use.

use std::sync::Arc;

use bytes::Bytes;
use hopguard_client::{ClientAuth, HttpTransport, SigningKey, Spawn, SystemClock, Transport};
use hopguard_core::{Ledger, RawToken, minutes};
use hopguard_verify::{Issuer, Verifier};
use http::{Method, Request};
use serde_json::Value;
use tokio::net::TcpListener;

use super::world::{Ask, GATEWAY, ORDERS};
use crate::{Client, Rule, Sts, UserToken};

#[tokio::test]
async fn a_service_finds_the_server_and_trusts_what_it_issues() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let key = Arc::new(SigningKey::generate_es256().unwrap());
    let clock = SystemClock::shared();
    let rule = Rule::for_client("gateway")
        .subject_audience(GATEWAY)
        .audience(ORDERS)
        .scope("orders:read", "shop:read");
    let sts = Sts::builder(&issuer, clock.clone())
        .publish_ahead(std::time::Duration::ZERO)
        .client(Client::private_key_jwt("gateway", &key.public_jwk()))
        .rule(rule)
        .build()
        .unwrap();
    let router = sts.router();
    Spawn::current().spawn(async move { axum::serve(listener, router).await.unwrap() });

    let transport: Arc<dyn Transport> = Arc::new(HttpTransport::builder().build().unwrap());
    let subject =
        sts.issue(&UserToken::new("alice", GATEWAY).scope("shop:read").lifetime(minutes(1))).unwrap();
    let auth = ClientAuth::private_key_jwt("gateway", key);
    let ask = Ask::new(&auth, &issuer, clock.now(), &subject, ORDERS, "orders:read");
    let (head, body) = ask.into_request(sts.token_endpoint()).into_parts();
    assert_eq!(head.method, Method::POST);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let answer = transport.send(Request::from_parts(head, Bytes::from(body.to_vec()))).await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_slice(answer.body()).unwrap();

    let verifier =
        Verifier::builder(transport, clock, Spawn::current()).issuer(Issuer::at(&issuer)).build().unwrap();
    let grant = RawToken::new(answer["access_token"].as_str().unwrap());
    let facts = verifier.verify(&grant, Ledger::bounded().withdrawals()).await.unwrap();
    assert_eq!((&*facts.subject, facts.audiences[0].as_ref()), ("alice", ORDERS));
    assert_eq!(facts.actors.current().unwrap().subject.as_ref(), "gateway");
    sts.rotate_key().unwrap();
    let later = RawToken::new(&sts.issue(&UserToken::new("bob", ORDERS)).unwrap());
    let facts = verifier.verify(&later, Ledger::bounded().withdrawals()).await.unwrap();
    assert_eq!(&*facts.subject, "bob");
}
