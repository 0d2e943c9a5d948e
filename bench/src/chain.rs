//! Over sockets: what a hop, and a chain of three, cost more than the same services without hopguard.
//!
//! Services, clients and whoever calls them share one thread, and what is counted is the processor time of the whole
//! process: the caller writes bytes that were made before, so that it adds as little as can be.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::routing::get;
use hopguard_audit::JsonLines;
use hopguard_axum::{Caller, EgressRejection, Protect};
use hopguard_core::{Audit, Ledger};
use hopguard_reqwest::GuardedClient;
use hopguard_tower::{Inbound, OpenPaths};
use hopguard_verify::Issuer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::clock::Whose;
use crate::egress::{egress_to, runtime};
use crate::harness::{Group, Lane, Pace};
use crate::peers::JsonWebToken;
use crate::world::{GATEWAY, INVENTORY, Key, ORDERS, audit, claims, guard_for};

const PATH: &str = "/orders/4711?expand=lines";

/// Three hops, each of which calls the next.
pub(crate) fn tax(_: Pace) -> Group {
    let key = Arc::new(Key::es256());
    let runtime = Rc::new(runtime());
    let mut group = Group::new(Whose::Process);
    let token = key.token(&claims_for(GATEWAY));

    let unchecked = runtime.block_on(forwarding_chain(None));
    let unchecked = group.lane(called("passed through unchecked", &runtime, unchecked, &token));
    let checked = runtime.block_on(forwarding_chain(Some(key.jwk().clone())));
    let checked = group.lane(called("jsonwebtoken at every hop", &runtime, checked, &token));
    let captured = runtime.block_on(guarded_chain(&key, &audit()));
    let captured = group.lane(called("hopguard, events captured", &runtime, captured, &token));
    let written = runtime.block_on(guarded_chain(&key, &written()));
    let written = group.lane(called("hopguard, events written", &runtime, written, &token));

    group.compare("chain tax", captured, unchecked, 1.06);
    group.compare("chain tax: against jsonwebtoken at every hop", captured, checked, 0.70);
    group.compare("chain tax: with the writing of JSON lines", written, unchecked, None);
    group.compare("chain tax: jsonwebtoken at every hop", checked, unchecked, None);
    group
}

/// One service, called again and again with a token that it remembers.
pub(crate) fn socket(_: Pace) -> Group {
    let key = Arc::new(Key::es256());
    let runtime = Rc::new(runtime());
    let mut group = Group::new(Whose::Process);
    let token = key.token(&claims());

    let bare = runtime.block_on(served(Router::new().route("/orders/{id}", get(async || "stock: 12"))));
    let bare = group.lane(called("axum", &runtime, bare, &token));
    let captured = runtime.block_on(guarded_service(&key, &audit()));
    let captured = group.lane(called("hopguard, events captured", &runtime, captured, &token));
    let written = runtime.block_on(guarded_service(&key, &written()));
    let written = group.lane(called("hopguard, events written", &runtime, written, &token));

    group.compare("over a socket", captured, bare, 1.05);
    group.compare("over a socket: with the writing of JSON lines", written, bare, None);
    group
}

/// An audit whose writer turns every event into a line, which goes nowhere.
fn written() -> Audit {
    let lines = JsonLines::to(std::io::sink()).places(65_536).open().expect("a sink");
    Audit::new("orders", "1", Arc::new(lines))
}

fn claims_for(audience: &str) -> Value {
    let mut claims = claims();
    claims["aud"] = audience.into();
    claims
}

async fn guarded_service(key: &Arc<Key>, audit: &Audit) -> SocketAddr {
    let guard = hop(key, audit, &Ledger::bounded(), ORDERS);
    let router = Router::new().route("/orders/{id}", get(async |_: Caller| "stock: 12"));
    served_guarded(&guard, router).await
}

fn hop(key: &Key, audit: &Audit, ledger: &Ledger, audience: &str) -> Inbound {
    let issuer = Issuer::at(crate::world::ISSUER).keys_fixed(&key.jwks());
    guard_for(Inbound::builder(ledger, audit).issuer(issuer), audience)
}

/// The chain as it should be: each hop verifies what it gets and exchanges it for what it sends.
async fn guarded_chain(key: &Arc<Key>, audit: &Audit) -> SocketAddr {
    let router = Router::new().route("/orders/{id}", get(async |_: Caller| "stock: 12"));
    let mut next = served_guarded(&hop(key, audit, &Ledger::bounded(), INVENTORY), router).await;
    for (name, audience, onward) in [("orders", ORDERS, INVENTORY), ("gateway", GATEWAY, ORDERS)] {
        let ledger = Ledger::bounded();
        let egress = egress_to(&ledger, audit, key, name, (&format!("http://{next}"), onward));
        let client = GuardedClient::builder().build(&egress).expect("a client");
        let router = Router::new().route("/orders/{id}", get(call_guarded)).with_state((client, url(next)));
        next = served_guarded(&hop(key, audit, &ledger, audience), router).await;
    }
    next
}

async fn call_guarded(
    caller: Caller,
    State((client, url)): State<(GuardedClient, Arc<str>)>,
) -> Result<String, EgressRejection> {
    let answer = client.on_behalf_of(&caller).get(&url).send().await?;
    assert_eq!(answer.status(), 200);
    Ok(answer.text().await.expect("a text"))
}

/// The chain as it is often found: each hop passes on what it was given, perhaps after a look at it.
async fn forwarding_chain(jwk: Option<Value>) -> SocketAddr {
    // One token for all: a gateway that passes it on has no other.
    let check = jwk.map(|jwk| Arc::new(JsonWebToken::for_audience(&jwk, GATEWAY)));
    let last = Router::new().route("/orders/{id}", get(answer_last)).with_state(check.clone());
    let mut next = served(last).await;
    for _ in 0..2 {
        // As the guarded client's own.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .timeout(std::time::Duration::from_secs(30))
            .build()
            .expect("a client");
        let state = (check.clone(), client, url(next));
        next = served(Router::new().route("/orders/{id}", get(forward)).with_state(state)).await;
    }
    next
}

type Check = Option<Arc<JsonWebToken>>;

fn look(check: &Check, headers: &HeaderMap) {
    if let Some(check) = check {
        let value = headers[AUTHORIZATION].to_str().expect("text");
        check.validate(value.strip_prefix("Bearer ").expect("a bearer token"));
    }
}

async fn answer_last(State(check): State<Check>, headers: HeaderMap) -> &'static str {
    look(&check, &headers);
    "stock: 12"
}

async fn forward(
    State((check, client, url)): State<(Check, reqwest::Client, Arc<str>)>,
    headers: HeaderMap,
) -> String {
    look(&check, &headers);
    let request = client.get(&*url).header(AUTHORIZATION, headers[AUTHORIZATION].clone());
    let request = request.header("traceparent", headers["traceparent"].clone());
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.text().await.expect("a text")
}

fn url(next: SocketAddr) -> Arc<str> {
    format!("http://{next}{PATH}").into()
}

async fn served(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn served_guarded(guard: &Inbound, router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = guard.protect(router, OpenPaths::none());
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// A caller with one connection that is kept.
fn called(name: &str, runtime: &Rc<Runtime>, address: SocketAddr, token: &str) -> Lane {
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nhost: {address}\r\nuser-agent: bench\r\naccept: application/json\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let mut connection = runtime.block_on(TcpStream::connect(address)).expect("a connection");
    connection.set_nodelay(true).expect("a socket");
    let runtime = runtime.clone();
    let mut buffer = vec![0; 4096];
    Lane::whole(name, move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                connection.write_all(request.as_bytes()).await.expect("a request sent");
                let mut length = 0;
                // The body is known; what comes before it is the server's affair.
                while !buffer[..length].ends_with(b"stock: 12") {
                    let read = connection.read(&mut buffer[length..]).await.expect("an answer");
                    assert!(read > 0, "{}", String::from_utf8_lossy(&buffer[..length]));
                    length += read;
                }
                assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        });
    })
}
