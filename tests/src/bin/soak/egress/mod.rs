//! The way out: callers for many subjects over a few routes, while the authorization server is killed and started
//! again every 20 s and peers now and then take a good grant for a bad one.
//!
//! It goes by the system's clock. A user's token lives a minute and a grant half of that, so that the grants that
//! were fetched before an outage of eight seconds are good throughout.

mod peer;
mod callers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hopguard_axum::{Caller, EgressRejection, Protect};
use hopguard_client::{ClientAuth, SigningKey, SystemClock};
use hopguard_core::{Audit, Exchange, Ledger, ScopeGuard, Ttl, minutes, seconds};
use hopguard_reqwest::GuardedClient;
use hopguard_sts::{Client, Rule, Sts};
use hopguard_tower::{Egress, Inbound, OpenPaths, StsEndpoint};
use hopguard_verify::Issuer;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::util::MapRequestLayer;

use crate::door::{self, Door};
use crate::gauge::Gauge;
use crate::line::Line;
use crate::plan::{Plan, Sabotage};
use crate::promises::Promises;
use crate::sink::Counting;
use callers::World;
use peer::{Peer, Peers};

pub(crate) const ORDERS: &str = "https://orders.internal";
pub(crate) const SCOPE: &str = "orders:read";
/// The service's name at the authorization server.
const CLIENT: &str = "orders";
const PEERS: [&str; 3] = ["https://stock.internal", "https://prices.internal", "https://ships.internal"];
const GRANT_LIFE: Duration = seconds(30);
const WORKERS: u64 = 6;
/// From one killing of the server to the next.
const CYCLE: Duration = seconds(20);
/// After so long the server must be in use again: the circuit stays open for ten seconds at most.
const RECOVERY: Duration = seconds(11);
/// Exchanges for one token and route: a minute's worth of grants, each renewed in its second half.
const EXCHANGES: u64 = 6;

pub(crate) async fn run(plan: &Plan, promises: &Promises) -> Value {
    let mut gauge = Gauge::cold();
    let clock = SystemClock::shared();
    let mut servers = JoinSet::new();
    let mut door = Door::hung().expect("a port");
    let issuer = door.url();
    let key = Arc::new(SigningKey::generate_es256().expect("randomness"));
    let client = Client::private_key_jwt(CLIENT, &key.public_jwk());
    let rule = |audience: &&str| {
        let rule = Rule::for_client(CLIENT).subject_audience(ORDERS).audience(audience);
        rule.scope("stock:read", SCOPE).lifetime_at_most(GRANT_LIFE)
    };
    let builder = PEERS
        .iter()
        .map(rule)
        .fold(Sts::builder(&issuer, clock.clone()).client(client), hopguard_sts::StsBuilder::rule);
    let sts = builder.build().expect("an authorization server");
    let exchanges = Arc::new(AtomicU64::new(0));
    let count = exchanges.clone();
    let counting = MapRequestLayer::new(move |request: Request<Body>| {
        count.fetch_add(u64::from(request.uri().path() == "/token"), Ordering::SeqCst);
        request
    });
    door.lead_to(door::serve(&mut servers, sts.router().layer(counting)).await.expect("a port"));
    door.open().expect("the door");

    let peers = Arc::new(Peers::new(&sts, promises));
    let mut addresses = Vec::new();
    for (route, audience) in PEERS.iter().enumerate() {
        addresses.push(Peer::serve(&mut servers, &peers, route, audience).await.expect("a port"));
    }

    let sink = Counting::new();
    let audit = Audit::new("orders", "soak", sink.clone());
    let ledger = Ledger::bounded();
    let guard = Inbound::builder(&ledger, &audit)
        .issuer(Issuer::at(&issuer))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(2)))
        .scope(ScopeGuard::all_of([SCOPE]))
        .build()
        .expect("a stack");
    let endpoint = StsEndpoint::at(&issuer, ClientAuth::private_key_jwt(CLIENT, key));
    let route = |audience: &str| {
        Exchange::audience(audience).scope("stock:read").lifetime_at_most(GRANT_LIFE).requires(SCOPE)
    };
    let egress = PEERS
        .iter()
        .zip(&addresses)
        .fold(Egress::builder(&ledger, &audit, endpoint), |builder, (audience, address)| {
            builder.route(&format!("http://{address}"), route(audience))
        });
    let client = GuardedClient::builder().build(&egress.build().expect("a stack")).expect("a client");
    let app = App {
        client,
        peers: addresses.iter().map(ToString::to_string).collect(),
        passes_on: plan.sabotage == Some(Sabotage::PassedOn),
    };
    let router = Router::new().route("/call/{route}", get(order)).with_state(app);
    let guarded = guard.protect(router, OpenPaths::none());
    drop(guard);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let service = listener.local_addr().expect("an address");
    servers.spawn(async move { _ = axum::serve(listener, guarded).await });

    let world = Arc::new(World::new(service, clock, sts, peers, promises));
    let mut load = JoinSet::new();
    for number in 0..WORKERS {
        load.spawn(callers::call(world.clone(), number));
    }

    // A short run has shorter cycles, and no time for the circuit to close.
    let cycle = CYCLE.min(plan.length / 2);
    let mut outages = 0_u64;
    let script = async {
        loop {
            door.close().await;
            world.down.store(true, Ordering::SeqCst);
            outages += 1;
            tokio::time::sleep(cycle * 2 / 5).await;
            world.down.store(false, Ordering::SeqCst);
            door.open().expect("the port is kept");
            let rest = cycle * 3 / 5;
            tokio::time::sleep(rest.min(RECOVERY)).await;
            world.settled.store(rest > RECOVERY, Ordering::SeqCst);
            tokio::time::sleep(rest.saturating_sub(RECOVERY)).await;
            world.settled.store(false, Ordering::SeqCst);
        }
    };
    // Everyone has grants before the first outage.
    tokio::time::sleep(cycle / 2).await;
    let length = plan.length.saturating_sub(cycle / 2);
    let watch = async {
        tokio::time::sleep(length * 2 / 5).await;
        gauge.warm();
        tokio::time::sleep(length * 3 / 5).await;
        gauge.hot(promises);
    };
    tokio::select! {
        () = script => {}
        () = watch => {}
    }
    world.settled.store(false, Ordering::SeqCst);
    world.stop.store(true, Ordering::SeqCst);
    while load.join_next().await.is_some() {}

    let exchanges = exchanges.load(Ordering::SeqCst);
    let may = world.pairs() * EXCHANGES + world.peers.rejections();
    promises.hold("exchanges are bounded", exchanges <= may, || format!("{exchanges} of {may} exchanges"));
    promises.hold("every peer was called", world.peers.all_called(), || world.peers.figures().to_string());
    let mut figures = world.figures();
    figures["peers"] = world.peers.figures();
    promises.hold("calls go through the outages", world.spared() > 0, || figures.to_string());
    drop(world);
    door.close().await;
    drop(door);
    servers.shutdown().await;
    figures["process"] = gauge.ended(promises).await;
    sink.judge(promises);
    figures["outages"] = outages.into();
    figures["exchanges"] = json!({ "done": exchanges, "budget": may });
    figures["events"] = sink.written().into();
    figures
}

#[derive(Clone)]
struct App {
    client: GuardedClient,
    peers: Arc<[String]>,
    passes_on: bool,
}

/// Calls the peer on the caller's behalf, and says what it said.
async fn order(
    State(app): State<App>,
    Path(route): Path<usize>,
    caller: Caller,
) -> Result<Response, EgressRejection> {
    let Some(peer) = app.peers.get(route) else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let subject = caller.facts().subject.to_string();
    if app.passes_on {
        let mut line = Line::to(peer.parse().expect("an address"));
        let token = caller.subject_token().dangerous_expose();
        let headers = format!("authorization: Bearer {token}\r\nx-subject: {subject}\r\n");
        let reply = line.get("/stock", &headers).await.expect("an answer");
        return Ok(reply.body.into_response());
    }
    let call = app.client.on_behalf_of(&caller).get(&format!("http://{peer}/stock"));
    let answer = call.header("x-subject", &subject).send().await?;
    let status = answer.status();
    if status != StatusCode::OK {
        // Whose 401 it is must be told apart from the service's own.
        return Ok((StatusCode::FAILED_DEPENDENCY, status.to_string()).into_response());
    }
    Ok(answer.text().await.map_or(StatusCode::BAD_GATEWAY.into_response(), IntoResponse::into_response))
}
