//! I16: what weakens a check has a reason, an owner and an end, and each use of it is written down.

use hopguard::{
    AudienceGuard, ClientAuth, Clock, Egress, Exchange, Guard, GuardedClient, StsEndpoint, seconds,
};
use hopguard_core::Waiver;
use hopguard_testkit::Misbehaviour;

use crate::world::{INVENTORY, ORDERS, SECRET, World};

#[tokio::test]
async fn a_grant_without_an_actor_passes_until_the_waiver_ends() {
    let world = World::new().await;
    let waiver =
        Waiver::new("the old server writes no act", "payments", world.clock.now().after(seconds(30)));
    let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let endpoint = StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
    let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
        .route(&world.peer.url(""), stock.dangerous_without_actor(waiver))
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let client = GuardedClient::builder().build(&egress).unwrap();
    let url = world.peer.url("/stock/42");
    world.sts.misbehave(Misbehaviour::NoActor);
    let caller = world.caller().await;
    for _ in 0..2 {
        assert_eq!(client.on_behalf_of(&caller).get(&url).send().await.unwrap().status(), 200);
    }
    let uses = world.sink.with_code("waiver_used");
    assert_eq!(uses.len(), 2, "the cached grant needs the waiver too");
    let written = serde_json::to_value(&uses[0]).unwrap();
    assert_eq!(written["waiver"]["owner"], "payments");
    assert_eq!(written["waiver"]["relaxation"], "grant_without_actor");
    // It relaxes this point and no other.
    world.sts.misbehave(Misbehaviour::WiderScope);
    let other = world.admit(&world.signed(world.token().claim("jti", "2"))).await;
    world.refused(client.on_behalf_of(&other).get(&url).send().await, "grant_scope_wider");
    world.sts.misbehave(Misbehaviour::NoActor);
    world.clock.advance(seconds(30));
    for caller in [caller, world.admit(&world.signed(world.token().claim("jti", "3"))).await] {
        world.refused(client.on_behalf_of(&caller).get(&url).send().await, "waiver_expired");
    }
    assert_eq!(world.reached(), 2);
}

#[tokio::test]
async fn a_foreign_audience_passes_until_the_waiver_ends() {
    use tower::ServiceExt;
    let world = World::new().await;
    let until = world.clock.now().after(seconds(30));
    let guard = AudienceGuard::exactly(ORDERS)
        .dangerous_tolerate_foreign("account", Waiver::new("Keycloak adds it", "platform", until))
        .dangerous_tolerate_foreign("profile", Waiver::new("so does its client", "identity", until));
    assert_eq!(guard.name(), "audience");
    let inbound = hopguard::Inbound::builder(&world.ledger, &world.audit)
        .issuer(hopguard::Issuer::at(&world.sts.issuer()))
        .audience_guard(guard)
        .ttl(hopguard::Ttl::lifetime_at_most(hopguard::minutes(10)))
        .scope(hopguard::ScopeGuard::any_scope())
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let status = async |audiences: &[&str]| {
        let token = world.signed(world.token().claim("aud", audiences));
        let service = inbound.around(tower::service_fn(|_: http::Request<hopguard::Upload<String>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));
        let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
        service.oneshot(request.body(String::new()).unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(status(&[ORDERS]).await, 200);
    assert!(world.sink.with_code("waiver_used").is_empty());
    assert_eq!(status(&[ORDERS, "account"]).await, 200);
    world.sink.sole("waiver_used");
    assert_eq!(status(&["profile", ORDERS, "account"]).await, 200);
    let used = world.sink.with_code("waiver_used");
    let owners: Vec<_> = used.iter().map(|event| event.waiver.as_ref().unwrap().waiver.owner()).collect();
    assert_eq!(owners, ["platform", "identity", "platform"], "each waiver that was needed");
    assert_eq!(status(&[ORDERS, "other"]).await, 401);
    world.clock.advance(seconds(30));
    assert_eq!(status(&[ORDERS, "account"]).await, 401);
    assert_eq!(status(&[ORDERS]).await, 200);
    assert_eq!(world.sink.with_code("waiver_used").len(), 3, "an ended one is used by nobody");
}

#[tokio::test]
async fn a_client_made_elsewhere_is_written_down_at_each_call_until_the_waiver_ends() {
    let world = World::new().await;
    let endpoint = StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
    let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
        .route(&world.peer.url(""), hopguard::Anonymous)
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let until = world.clock.now().after(seconds(30));
    let client = |reason: &str| {
        let waiver = Waiver::new(reason, "payments", until);
        GuardedClient::dangerous_from_client(reqwest::Client::new(), &egress, waiver).as_nobody()
    };
    let url = world.peer.url("/stock/42");
    for _ in 0..2 {
        assert_eq!(client("a pool of its own").get(&url).send().await.unwrap().status(), 200);
    }
    let uses = world.sink.with_code("waiver_used");
    assert_eq!(uses.len(), 2);
    let written = serde_json::to_value(&uses[0]).unwrap();
    assert_eq!(written["waiver"]["owner"], "payments");
    assert_eq!(written["waiver"]["relaxation"], "foreign_client");
    // Nobody gave a reason.
    world.refused(client(" ").get(&url).send().await, "waiver_expired");
    world.clock.advance(seconds(30));
    world.refused(client("a pool of its own").get(&url).send().await, "waiver_expired");
    assert_eq!(world.reached(), 2);
    // A client that the stack made needs no waiver.
    let ours = GuardedClient::builder().build(&egress).unwrap();
    assert_eq!(ours.as_nobody().get(&url).send().await.unwrap().status(), 200);
    assert_eq!(world.sink.with_code("waiver_used").len(), 2);
}

#[tokio::test]
async fn a_block_without_an_inbound_side_is_written_down_at_each_call_until_the_waiver_ends() {
    use tower::{Layer, ServiceExt};
    let world = World::new().await;
    let until = world.clock.now().after(seconds(30));
    let layer = |owner: &str| {
        let waiver = Waiver::new("a batch job", owner, until);
        hopguard::PassthroughLayer::dangerous_unlinked(&world.audit, world.clock.clone(), waiver)
    };
    let sent = async |layer: hopguard::PassthroughLayer| {
        let peer = tower::service_fn(|_: http::Request<hopguard::ScannedBody<String>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(()))
        });
        let request = http::Request::get("https://peer.internal/").body(String::new()).unwrap();
        layer.layer(peer).oneshot(request).await.map_err(|error| error.code().to_owned())
    };
    assert!(sent(layer("payments")).await.is_ok());
    let used = world.sink.sole("waiver_used");
    assert_eq!(serde_json::to_value(&used).unwrap()["waiver"]["relaxation"], "unlinked");
    assert_eq!(sent(layer("")).await.unwrap_err(), "waiver_expired");
    world.clock.advance(seconds(30));
    assert_eq!(sent(layer("payments")).await.unwrap_err(), "waiver_expired");
    world.sink.sole("waiver_used");
}
