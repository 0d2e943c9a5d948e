//! Readiness and cancellation: every layer is driven by the shared probe and dropped at every poll.

use std::convert::Infallible;
use std::sync::Arc;

use hopguard::{
    AudienceGuard, AuditLayer, ExchangeLayer, Exchanger, GuardExt, Hop, OnBehalfOf, PassthroughLayer, Route,
    RouteMap, ScopeGuard, Spawn, Ttl, Upload, Verifier, VerifyLayer, minutes,
};
use hopguard::{ClientAuth, Exchange, HttpTransport, Issuer};
use hopguard_testkit::{cancel, ready};
use http::{Request, Response};
use tower::layer::layer_fn;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::world::{INVENTORY, ORDERS, SECRET, World};

fn get(token: &str) -> Request<String> {
    let request = Request::get("https://peer.internal/x").header("authorization", format!("Bearer {token}"));
    request.body(String::new()).unwrap()
}

pub fn verifier(world: &World) -> Verifier {
    let transport = Arc::new(HttpTransport::builder().build().unwrap());
    let builder = Verifier::builder(transport, world.clock.clone(), Spawn::current());
    builder.issuer(Issuer::at(&world.sts.issuer())).build().unwrap()
}

pub fn exchanging(world: &World, hop: &Hop, peer: &str) -> ExchangeLayer {
    let auth = ClientAuth::client_secret_basic("orders", SECRET);
    let transport = Arc::new(HttpTransport::builder().build().unwrap());
    let exchanger = Exchanger::builder(
        &world.sts.issuer(),
        auth,
        verifier(world),
        transport,
        world.clock.clone(),
        Spawn::current(),
        &world.ledger,
    );
    let target = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let routes = RouteMap::new(vec![Route::new(peer, target.into()).unwrap()]).unwrap();
    ExchangeLayer::new(hop, routes, exchanger.build().unwrap())
}

#[tokio::test]
async fn every_layer_of_the_way_in_respects_readiness() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let hop = Hop::new(&world.ledger, &world.audit, world.clock.clone());
    let (_, calls) = ready::drive(VerifyLayer::new(&hop, verifier(&world)), || get(&token)).await;
    assert_eq!(calls, 7);
    let (_, calls) = ready::drive(AuditLayer::new(&hop), || get(&token)).await;
    assert_eq!(calls, 7);
    // A gate alone finds no evidence and calls nobody; behind the verifier it lets all through.
    let audience = AudienceGuard::exactly(ORDERS).layer(&hop);
    let (answers, calls): (Vec<Response<String>>, _) = ready::drive(audience.clone(), || get(&token)).await;
    assert_eq!((calls, answers[0].status().as_u16()), (0, 500));
    let stack = ServiceBuilder::new()
        .layer(VerifyLayer::new(&hop, verifier(&world)))
        .layer(audience)
        .layer(Ttl::lifetime_at_most(minutes(10)).layer(&hop))
        .layer(ScopeGuard::all_of(["orders:read"]).layer(&hop))
        .layer(AuditLayer::new(&hop));
    assert_eq!(ready::drive(stack, || get(&token)).await.1, 7);
    let guard = layer_fn(|service| world.inbound.around(service));
    assert_eq!(ready::drive(guard, || get(&token)).await.1, 7);
    let open = world.inbound.clone().open(hopguard::OpenPaths::paths(["/x"]));
    assert_eq!(ready::drive(layer_fn(|service| open.around(service)), || get(&token)).await.1, 7);
}

/// A peer in the same process gets the request with its extensions; the caller's evidence is not among them, even
/// where no complete stack takes it out.
#[tokio::test]
async fn the_evidence_goes_no_further_than_the_exchange() {
    let world = World::new().await;
    let caller = world.caller().await;
    let hop = Hop::new(&world.ledger, &world.audit, world.clock.clone());
    let exchange = exchanging(&world, &hop, "https://peer.internal");
    let client = exchange.layer(service_fn(|request: Request<String>| async move {
        assert!(request.headers().contains_key("authorization"));
        assert!(request.extensions().get::<OnBehalfOf>().is_none());
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let mut request = Request::get("https://peer.internal/x").body(String::new()).unwrap();
    request.extensions_mut().insert(OnBehalfOf::caller(&caller));
    assert_eq!(client.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_layer_of_the_way_out_respects_readiness() {
    let world = World::new().await;
    let caller = world.caller().await;
    let hop = Hop::new(&world.ledger, &world.audit, world.clock.clone());
    let outgoing = || {
        let mut request = Request::get("https://peer.internal/x").body(String::new()).unwrap();
        request.extensions_mut().insert(OnBehalfOf::caller(&caller));
        request
    };
    assert_eq!(ready::drive(PassthroughLayer::new(&hop), outgoing).await.1, 7);
    let exchange = exchanging(&world, &hop, "https://peer.internal");
    assert_eq!(ready::drive(exchange, outgoing).await.1, 7);
    let endpoint =
        hopguard::StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
    let target = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let egress = hopguard::Egress::builder(&world.ledger, &world.audit, endpoint)
        .route("https://peer.internal", target)
        .clock(world.clock.clone())
        .build()
        .unwrap();
    assert_eq!(ready::drive(egress, outgoing).await.1, 7);
}

#[tokio::test]
async fn a_request_dropped_at_any_poll_leaves_nothing_behind() {
    let world = World::new().await;
    let text = world.signed(world.token());
    let slow = service_fn(|_: Request<Upload<String>>| async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(String::from("x")))
    });
    let polls = cancel::at_every_poll(
        || world.inbound.around(slow).oneshot(get(&text)),
        async |_| {
            // Every admission has its outcome, and no place is held.
            let (admitted, outcomes) = (world.sink.with_code("admitted").len(), outcomes(&world));
            assert_eq!(admitted, outcomes);
            assert_eq!(world.sink.reserved(), 0);
        },
    )
    .await;
    assert!(polls >= 3, "{polls}");
    assert!(world.sink.with_code("abandoned").len() >= 2);
}

fn outcomes(world: &World) -> usize {
    world.sink.with_code("completed").len() + world.sink.with_code("abandoned").len()
}

#[tokio::test]
async fn a_call_dropped_at_any_poll_strands_nobody() {
    let world = World::new().await;
    let caller = world.caller().await;
    let _first = outcomes(&world);
    cancel::at_every_poll(
        || async { world.call(&caller).await.map(|answer| answer.status()) },
        async |_| assert_eq!(world.sink.reserved(), 0),
    )
    .await;
    assert_eq!(world.call(&caller).await.unwrap().status(), 200);
    assert_eq!(world.sts.token_requests(), 1, "the first caller's exchange served all");
}
