//! Layers that stand alone under a sink that promises to write before anything is allowed: they wait as the complete
//! stacks do (`before_allow.rs`), on the one thread that there is, and judge again what they let pass.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hopguard::{
    Admitted, Anonymous, AudienceGuard, ClientAuth, Clock, Egress, GuardExt, Hop, OnBehalfOf,
    PassthroughLayer, ScannedBody, StsEndpoint, Ttl, UnixTime, VerifyLayer, Waiver, Withdrawal, minutes,
    seconds,
};
use hopguard_core::Acknowledger;
use hopguard_testkit::ready;
use http::{Request, Response};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::before_allow::{Seen, Slow, awaited, beside, ended, transaction, waited_for, world};
use crate::probes::{exchanging, verifier};
use crate::waits::Meanwhile;
use crate::world::{ORDERS, SECRET, World};

const PEER: &str = "https://peer.internal";

/// A handler or a client that counts how often it is reached.
#[derive(Clone, Default)]
struct Reached(Arc<AtomicUsize>);

impl Reached {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn answering<B>(
        &self,
    ) -> impl Service<Request<B>, Response = Response<String>, Error = Infallible, Future: Send> + Clone + use<B>
    {
        let count = self.0.clone();
        service_fn(move |_: Request<B>| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(Response::new(String::new())))
        })
    }
}

fn acknowledge(waiting: Vec<Acknowledger>) {
    waiting.into_iter().for_each(Acknowledger::acknowledge);
}

fn hop(world: &World) -> Hop {
    Hop::new(&world.ledger, &world.audit, world.clock.clone())
}

/// What goes on while a gate's event is being written.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Nothing,
    NotWritten,
    Withdrawn,
    Expired,
    Older,
}

/// Were the thread blocked, nobody could acknowledge, and each of these would end with 503 after five seconds.
#[tokio::test]
async fn a_gate_waits_and_judges_again() {
    for (happens, status, code) in [
        (Happens::Nothing, 200, None),
        (Happens::NotWritten, 503, Some("audit_unavailable")),
        (Happens::Withdrawn, 401, Some("token_withdrawn")),
        (Happens::Expired, 401, Some("token_expired")),
        (Happens::Older, 401, Some("token_too_old")),
    ] {
        let (world, slow) = world().await;
        let (hop, reached) = (hop(&world), Reached::default());
        let service = ServiceBuilder::new()
            .layer(VerifyLayer::new(&hop, verifier(&world)))
            .layer(Ttl::age_at_most(minutes(1)).layer(&hop))
            .service(reached.answering::<String>());
        let life = if matches!(happens, Happens::Expired) { 30 } else { 300 };
        let token = world.signed(world.token().claim("exp", world.clock.now().as_secs() + life));
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(String::new()).unwrap();
        let answer = beside(async move { service.oneshot(request).await.unwrap().status().as_u16() });
        acknowledge(waited_for(&slow, "passed").await);
        let waiting = waited_for(&slow, "passed").await;
        assert_eq!(reached.count(), 0, "the handler waits for the disk");
        match happens {
            Happens::Nothing | Happens::NotWritten => {}
            Happens::Withdrawn => {
                let which = world.sink.with_code("passed").pop().unwrap().token.unwrap().fingerprint;
                hop.withdraw(Withdrawal::Token(which), world.clock.now().after(minutes(10))).unwrap();
            }
            Happens::Expired => world.clock.advance(seconds(30)),
            Happens::Older => world.clock.advance(seconds(61)),
        }
        if matches!(happens, Happens::NotWritten) {
            drop(waiting);
        } else {
            acknowledge(waiting);
        }
        assert_eq!(ended(answer).await, status, "{happens:?}");
        assert_eq!(reached.count(), usize::from(status == 200), "{happens:?}");
        if let Some(code) = code {
            assert_eq!(world.sink.sole(code).gate, "ttl", "{happens:?}");
        }
    }
}

/// Acknowledges whatever is waited for, until the set is dropped.
fn acknowledging(slow: &Arc<Slow>) -> JoinSet<()> {
    let slow = slow.clone();
    beside(async move {
        loop {
            awaited(&slow).await.into_iter().for_each(|(_, one)| one.acknowledge());
        }
    })
}

/// While it waits, the service that was ready is kept, and its place is taken by one that is asked anew.
#[tokio::test]
async fn what_waits_calls_only_what_was_ready() {
    let (world, slow) = world().await;
    let (hop, _acknowledging) = (hop(&world), acknowledging(&slow));
    let token = world.signed(world.token());
    let incoming = || {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        request.body(String::new()).unwrap()
    };
    let stack = ServiceBuilder::new()
        .layer(VerifyLayer::new(&hop, verifier(&world)))
        .layer(AudienceGuard::exactly(ORDERS).layer(&hop));
    assert_eq!(ready::drive(stack, incoming).await.1, 7);

    let caller = world.caller().await;
    assert_eq!(ready::drive(PassthroughLayer::new(&hop), || outgoing(&caller)).await.1, 7);
    assert_eq!(ready::drive(exchanging(&world, &hop, PEER), || outgoing(&caller)).await.1, 7);
}

fn outgoing(caller: &Admitted) -> Request<String> {
    calling(PEER, caller)
}

fn calling(url: &str, caller: &Admitted) -> Request<String> {
    let mut request = Request::get(url).body("an innocent body".to_owned()).unwrap();
    request.extensions_mut().insert(OnBehalfOf::caller(caller));
    request
}

/// An ordinary caller, or one whose token ends first.
async fn caller(world: &World, slow: &Arc<Slow>, meanwhile: Option<Meanwhile>) -> Admitted {
    let _acknowledging = acknowledging(slow);
    match meanwhile {
        Some(meanwhile) => meanwhile.caller(world).await,
        None => world.caller().await,
    }
}

#[tokio::test]
async fn a_block_waits() {
    for acknowledged in [true, false] {
        let (world, slow) = world().await;
        let caller = caller(&world, &slow, None).await;
        let reached = Reached::default();
        let client = PassthroughLayer::new(&hop(&world)).layer(reached.answering::<ScannedBody<String>>());
        let request = outgoing(&caller);
        let answer =
            beside(async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") });
        let waiting = waited_for(&slow, "passed").await;
        assert_eq!(reached.count(), 0, "the client waits for the disk");
        waiting.into_iter().filter(|_| acknowledged).for_each(Acknowledger::acknowledge);
        assert_eq!(ended(answer).await, if acknowledged { "sent" } else { "audit_unavailable" });
        assert_eq!(reached.count(), usize::from(acknowledged));
        if !acknowledged {
            assert_eq!(world.sink.sole("audit_unavailable").gate, "passthrough");
        }
    }
}

/// I18: what is carried on for the caller, beside what is attached.
#[tokio::test]
async fn a_transaction_that_is_over_is_not_carried_on() {
    for complete in [false, true] {
        let (world, slow) = world().await;
        let seen = Seen::default();
        {
            let _acknowledging = acknowledging(&slow);
            assert_eq!(transaction(&world, &Arc::default(), &seen).await.status(), 200);
        }
        let caller = seen.lock().unwrap().take().unwrap();
        let (url, reached) = (world.peer.url(""), Reached::default());
        let (answer, event) = if complete {
            let endpoint =
                StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
            let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
                .route(&url, Anonymous)
                .trust_domain(&url, "shop.internal")
                .clock(world.clock.clone());
            let client = egress.build().unwrap().layer(reached.answering::<ScannedBody<String>>());
            let request = calling(&url, &caller);
            (
                beside(async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") }),
                "sent",
            )
        } else {
            let block = PassthroughLayer::builder(&hop(&world)).trust_domain(&url, "shop.internal");
            let client = block.build().unwrap().layer(reached.answering::<ScannedBody<String>>());
            let request = calling(&url, &caller);
            (
                beside(async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") }),
                "passed",
            )
        };
        let waiting = waited_for(&slow, event).await;
        let which = world.sink.events().iter().find_map(|event| event.found).unwrap();
        let until = world.clock.now().after(minutes(10));
        world.inbound.hop().withdraw(Withdrawal::Token(which), until).unwrap();
        acknowledge(waiting);
        assert_eq!((ended(answer).await, reached.count()), ("token_withdrawn", 0), "{event}");
    }
}

/// I16: a waiver that ended while the disk was slow waives nothing.
#[tokio::test]
async fn a_block_without_an_inbound_side_asks_its_waiver_again() {
    let (world, slow) = world().await;
    let reached = Reached::default();
    let until = UnixTime::from_secs(world.clock.now().as_secs() + 2);
    let waiver = Waiver::new("ticket 4711", "edge", until);
    let block = PassthroughLayer::dangerous_unlinked(&world.audit, world.clock.clone(), waiver);
    let client = block.build().unwrap().layer(reached.answering::<ScannedBody<String>>());
    let request = Request::get(PEER).body(String::new()).unwrap();
    let answer = beside(async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") });
    let waiting = waited_for(&slow, "passed").await;
    world.clock.advance(seconds(2));
    acknowledge(waiting);
    assert_eq!((ended(answer).await, reached.count()), ("waiver_expired", 0));
    world.sink.sole("waiver_expired");
}

/// I16: what the block let pass by a waiver that ended while the disk was slow does not leave, in a header or
/// in a body.
#[tokio::test]
async fn what_passed_by_a_waiver_does_not_outlive_it() {
    for complete in [false, true] {
        for (in_body, excepted, ends) in
            [(false, false, true), (true, false, true), (true, true, true), (false, false, false)]
        {
            let (world, slow) = world().await;
            let caller = caller(&world, &slow, None).await;
            let own = caller.subject_token().dangerous_expose().to_owned();
            let (url, reached) = (world.peer.url(""), Reached::default());
            let until = UnixTime::from_secs(world.clock.now().as_secs() + 2);
            let waiver = Waiver::new("ticket 4711", "payments team", until);
            let mut request = calling(&url, &caller);
            if in_body {
                *request.body_mut() = format!("{{\"token\":\"{own}\"}}");
            } else {
                request.headers_mut().insert("x-debug", own.parse().unwrap());
            }
            let (call, event) = if complete {
                let endpoint =
                    StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
                let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
                    .route(&url, Anonymous)
                    .clock(world.clock.clone());
                let egress = if excepted {
                    egress.dangerous_except(&url, waiver)
                } else {
                    egress.dangerous_report_only(waiver)
                };
                let client = egress.build().unwrap().layer(reached.answering::<ScannedBody<String>>());
                let call = async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") };
                (beside(call), "sent")
            } else {
                let block = PassthroughLayer::builder(&hop(&world));
                let block = if excepted {
                    block.dangerous_except(&url, waiver)
                } else {
                    block.dangerous_report_only(waiver)
                };
                let client = block.build().unwrap().layer(reached.answering::<ScannedBody<String>>());
                let call = async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") };
                (beside(call), "passed")
            };
            let waiting = waited_for(&slow, event).await;
            assert!(!world.sink.with_code("waiver_used").is_empty());
            world.clock.advance(seconds(if ends { 2 } else { 1 }));
            acknowledge(waiting);
            let expected = if ends { ("waiver_expired", 0) } else { ("sent", 1) };
            assert_eq!((ended(call).await, reached.count()), expected, "{complete} {in_body} {excepted}");
        }
    }
}

/// I16: the same of the waiver for a client that the stack has not made.
#[tokio::test]
async fn a_foreign_client_is_not_called_after_its_waiver() {
    for ends in [true, false] {
        let (world, slow) = world().await;
        let caller = caller(&world, &slow, None).await;
        let (url, reached) = (world.peer.url(""), Reached::default());
        let until = UnixTime::from_secs(world.clock.now().as_secs() + 2);
        let endpoint =
            StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
        let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
            .route(&url, Anonymous)
            .clock(world.clock.clone());
        let waiver = Waiver::new("ticket 4711", "payments team", until);
        let egress = egress.build().unwrap().dangerous_before_foreign_client(waiver);
        let client = egress.layer(reached.answering::<ScannedBody<String>>());
        let request = calling(&url, &caller);
        let call = async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") };
        let call = beside(call);
        let waiting = waited_for(&slow, "sent").await;
        world.clock.advance(seconds(if ends { 2 } else { 1 }));
        acknowledge(waiting);
        let expected = if ends { ("waiver_expired", 0) } else { ("sent", 1) };
        assert_eq!((ended(call).await, reached.count()), expected);
    }
}

/// The exchange and the block by hand, one around the other: whichever of the two waits, what is over then is not sent.
#[tokio::test]
async fn what_is_over_once_the_disk_is_done_is_not_sent() {
    for (meanwhile, code) in Meanwhile::ALL {
        for waits in 0..2 {
            let (world, slow) = world().await;
            let caller = caller(&world, &slow, Some(meanwhile)).await;
            let (hop, reached) = (hop(&world), Reached::default());
            let block = PassthroughLayer::new(&hop).layer(reached.answering::<ScannedBody<String>>());
            let client = exchanging(&world, &hop, PEER).layer(block);
            let request = outgoing(&caller);
            let call = async move { client.oneshot(request).await.map_err(hopguard::EgressError::flatten) };
            let answer = beside(async move { call.await.map_or_else(|e| e.code(), |_| "sent") });
            for _ in 0..waits {
                acknowledge(waited_for(&slow, "passed").await);
            }
            let waiting = waited_for(&slow, "passed").await;
            meanwhile.happens(&world, &caller);
            acknowledge(waiting);
            assert_eq!(ended(answer).await, code, "{meanwhile:?} {waits}");
            assert_eq!(reached.count(), 0, "{meanwhile:?} {waits}");
            let gate = ["egress", "passthrough"][waits];
            assert_eq!(world.sink.sole(code).gate, gate, "{meanwhile:?}");
        }
    }
}

/// The exchange alone says what it attached before the client is called.
#[tokio::test]
async fn an_exchange_writes_and_waits() {
    for acknowledged in [true, false] {
        let (world, slow) = world().await;
        let caller = caller(&world, &slow, None).await;
        let (hop, reached) = (hop(&world), Reached::default());
        let client = exchanging(&world, &hop, PEER).layer(reached.answering::<String>());
        let request = outgoing(&caller);
        let answer =
            beside(async move { client.oneshot(request).await.map_or_else(|e| e.code(), |_| "sent") });
        let waiting = waited_for(&slow, "passed").await;
        assert_eq!(reached.count(), 0, "the client waits for the disk");
        let event = world.sink.sole("passed");
        assert!(event.grant.is_some() && event.token.is_some() && event.gate == "egress");
        waiting.into_iter().filter(|_| acknowledged).for_each(Acknowledger::acknowledge);
        assert_eq!(ended(answer).await, if acknowledged { "sent" } else { "audit_unavailable" });
        assert_eq!(reached.count(), usize::from(acknowledged));
    }
    // Where nobody waits, the event is there all the same.
    let world = World::new().await;
    let (caller, reached) = (world.caller().await, Reached::default());
    let client = exchanging(&world, &hop(&world), PEER).layer(reached.answering::<String>());
    assert!(client.oneshot(outgoing(&caller)).await.is_ok());
    world.sink.sole("passed");
}
