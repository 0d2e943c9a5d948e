//! Rows G3 and G4 over real sockets: many callers at once.

use std::sync::Arc;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_for_one_key_exchange_once() {
    let world = Arc::new(World::new().await);
    let caller = world.caller().await;
    let calls = (0..1000).map(|_| {
        let (world, caller) = (world.clone(), caller.clone());
        async move { world.call(&caller).await.map(|answer| answer.status().as_u16()) }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(200))));
    assert_eq!(world.sts.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_grant_crosses_a_thousand_subjects() {
    let world = Arc::new(World::new().await);
    let calls = (0..1000).map(|n| {
        let world = world.clone();
        async move {
            let subject = format!("user-{n}");
            let text = world.signed(world.sts.token(crate::world::ORDERS, &subject, "orders:read"));
            let caller = world.admit(&text).await;
            let calls = world.client.on_behalf_of(&caller);
            calls.get(&world.peer.url("/stock/42")).header("x-who", &subject).send().await.unwrap();
        }
    });
    futures_util::future::join_all(calls).await;
    let requests = world.peer.requests();
    assert_eq!(requests.len(), 1000);
    assert_eq!(world.sts.token_requests(), 1000);
    for request in requests {
        let shown = request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
        assert_eq!(hopguard_testkit::mint::claims_of(shown)["sub"], request.header("x-who").unwrap());
    }
}
