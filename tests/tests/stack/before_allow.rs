//! A sink that promises to write before anything is allowed: the handler and the peer see nothing until the event is
//! safe, no thread is blocked meanwhile, and what is not written does not happen.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hopguard::{Admitted, AuditSink};
use hopguard_core::{Acknowledgement, Acknowledger, AuditFull, Event};
use hopguard_testkit::mint::{MintKey, Token, jwks};
use hopguard_testkit::{MemorySink, WireAnswer, WireRecorder};
use http::{Request, Response};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};

use crate::waits::Meanwhile;
use crate::world::World;

/// Keeps events at once, and says that they are safe when told to.
#[derive(Debug)]
pub struct Slow {
    kept: Arc<MemorySink>,
    waiting: Mutex<Vec<(&'static str, Acknowledger)>>,
}

impl Slow {
    /// The codes of the events that somebody waits for; what becomes of them is up to the caller.
    pub fn take(&self) -> Vec<(&'static str, Acknowledger)> {
        std::mem::take(&mut self.waiting.lock().unwrap())
    }
}

impl AuditSink for Slow {
    fn reserve(&self) -> Result<(), AuditFull> {
        self.kept.reserve()
    }

    fn release(&self) {
        self.kept.release();
    }

    fn commit(&self, event: Event) {
        self.kept.commit(event);
    }

    fn commit_durably(&self, event: Event) -> Acknowledgement {
        let (acknowledger, acknowledgement) = Acknowledgement::pair();
        self.waiting.lock().unwrap().push((event.decision.code(), acknowledger));
        self.kept.commit(event);
        acknowledgement
    }

    fn offer(&self, event: Event) {
        self.kept.offer(event);
    }
}

pub async fn world() -> (World, Arc<Slow>) {
    let mut slow = None;
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "7 in stock")).await;
    let world = World::audited(peer, |kept| {
        let made = Arc::new(Slow { kept, waiting: Mutex::default() });
        slow = Some(made.clone());
        made
    });
    (world.await, slow.unwrap())
}

/// Waits, on the one thread that there is, until somebody waits for an event.
pub async fn awaited(slow: &Slow) -> Vec<(&'static str, Acknowledger)> {
    loop {
        let waiting = slow.take();
        if !waiting.is_empty() {
            return waiting;
        }
        tokio::task::yield_now().await;
    }
}

struct Front {
    reached: Arc<AtomicUsize>,
    seen: Arc<Mutex<Option<Admitted>>>,
    answer: JoinSet<Response<()>>,
}

/// One task beside the test's own, on the same thread.
pub fn beside<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
    let mut set = JoinSet::new();
    set.spawn(task);
    set
}

pub async fn ended<T: 'static>(mut set: JoinSet<T>) -> T {
    set.join_next().await.unwrap().unwrap()
}

/// Shows a good token at the front door.
fn show(world: &World) -> Front {
    let (reached, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let (count, keep) = (reached.clone(), seen.clone());
    let service = world.inbound.around(service_fn(move |request: Request<hopguard::Upload<String>>| {
        count.fetch_add(1, Ordering::SeqCst);
        *keep.lock().unwrap() = hopguard_tower::admitted(request.extensions()).cloned();
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    }));
    let token = world.signed(world.token());
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new());
    let answer = async move { service.oneshot(request.unwrap()).await.unwrap().map(drop) };
    Front { reached, seen, answer: beside(answer) }
}

#[tokio::test]
async fn the_handler_runs_once_its_admission_is_safe() {
    let (world, slow) = world().await;
    let front = show(&world);
    // That this task runs at all shows that the only thread is not blocked.
    let waiting = awaited(&slow).await;
    assert_eq!(waiting.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["admitted"]);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(front.reached.load(Ordering::SeqCst), 0);
    waiting.into_iter().for_each(|(_, one)| one.acknowledge());
    assert_eq!(ended(front.answer).await.status(), 200);
    assert_eq!(front.reached.load(Ordering::SeqCst), 1);
    let codes = world.sink.codes();
    assert!(
        codes
            .iter()
            .map(|code| code.to_string())
            .collect::<Vec<_>>()
            .ends_with(&["admitted".to_owned(), "completed".to_owned()]),
        "{codes:?}"
    );
}

#[tokio::test]
async fn what_could_not_be_written_does_not_happen() {
    let (world, slow) = world().await;
    let front = show(&world);
    drop(awaited(&slow).await);
    assert_eq!(ended(front.answer).await.status(), 503);
    assert_eq!(front.reached.load(Ordering::SeqCst), 0);
    let outcomes = world.sink.events().into_iter().filter(|e| e.kind == hopguard_core::EventKind::Outcome);
    assert_eq!(outcomes.map(|e| e.decision.code()).collect::<Vec<_>>(), ["audit_unavailable"]);

    // The caller who goes away while the disk is slow leaves an outcome behind, too.
    let mut front = show(&world);
    let waiting = awaited(&slow).await;
    front.answer.shutdown().await;
    drop(waiting);
    assert_eq!(front.reached.load(Ordering::SeqCst), 0);
    assert_eq!(world.sink.codes().last().map(|code| code.to_string()).as_deref(), Some("abandoned"));
}

#[tokio::test]
async fn the_peer_is_called_once_it_is_safe_that_it_was() {
    let (world, slow) = world().await;
    let front = show(&world);
    awaited(&slow).await.into_iter().for_each(|(_, one)| one.acknowledge());
    ended(front.answer).await;
    let caller = front.seen.lock().unwrap().take().unwrap();
    let calls = world.client.on_behalf_of(&caller);
    let url = world.peer.url("/stock/42");
    let call = || {
        let call = calls.get(&url);
        beside(async move { call.send().await.map(|answer| answer.status()) })
    };
    let answer = call();
    let waiting = awaited(&slow).await;
    assert_eq!(waiting.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["sent"]);
    assert_eq!(world.reached(), 0);
    waiting.into_iter().for_each(|(_, one)| one.acknowledge());
    assert_eq!(ended(answer).await.unwrap(), 200);
    assert_eq!(world.reached(), 1);

    let answer = call();
    drop(awaited(&slow).await);
    world.refused(ended(answer).await, "audit_unavailable");
    assert_eq!(world.reached(), 1);
}

/// Whom the handler sees.
pub type Seen = Arc<Mutex<Option<Admitted>>>;

/// A stack with a layer for transaction tokens, and a request that brings one.
pub fn transaction(
    world: &World,
    reached: &Arc<AtomicUsize>,
    seen: &Seen,
) -> impl Future<Output = Response<String>> + Send + 'static {
    let key = MintKey::es256("tts");
    let issuer = hopguard::Issuer::at("https://tts.internal")
        .keys_fixed(&jwks(&[&key]))
        .profile(hopguard::Profile::transaction_token());
    let transport = hopguard_testkit::ScriptedTransport::json(|_| String::new());
    let verifier =
        hopguard::Verifier::builder(transport, world.clock.clone(), hopguard_client::Spawn::current());
    let verifier = verifier.issuer(issuer).build().unwrap();
    let ttl = hopguard::Ttl::lifetime_at_most(hopguard::minutes(10));
    let layer = hopguard::TransactionLayer::new(world.inbound.hop(), verifier, "shop.internal", ttl).unwrap();
    let (reached, seen) = (reached.clone(), seen.clone());
    let handler = service_fn(move |request: Request<hopguard::Upload<String>>| {
        reached.fetch_add(1, Ordering::Relaxed);
        *seen.lock().unwrap() = hopguard_tower::admitted(request.extensions()).cloned();
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    });
    let service = world.inbound.around(layer.layer(handler));
    let now = hopguard::Clock::now(&*world.clock);
    let transaction = Token::access("https://tts.internal", "shop.internal", "alice", now)
        .header("typ", "txntoken+jwt")
        .without("client_id")
        .without("jti")
        .claim("txn", "1")
        .claim("req_wl", "gateway")
        .sign(&key);
    let token = world.signed(world.token());
    let request = Request::get("/")
        .header("authorization", format!("Bearer {token}"))
        .header("txn-token", transaction)
        .body(String::new())
        .unwrap();
    async move { service.oneshot(request).await.unwrap().map(|_| String::new()) }
}

/// The codes that somebody waits for now, and what lets them go on.
pub async fn waited_for(slow: &Slow, code: &str) -> Vec<Acknowledger> {
    let waiting = awaited(slow).await;
    assert_eq!(waiting.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [code]);
    waiting.into_iter().map(|(_, acknowledger)| acknowledger).collect()
}

/// On the one thread that there is: were it blocked, nobody could acknowledge, and the wait would end in a refusal.
#[tokio::test]
async fn a_transaction_token_blocks_no_thread() {
    let (world, slow) = world().await;
    let reached = Arc::new(AtomicUsize::new(0));
    let answer = beside(transaction(&world, &reached, &Seen::default()));
    waited_for(&slow, "admitted").await.into_iter().for_each(Acknowledger::acknowledge);
    let passed = waited_for(&slow, "passed").await;
    assert_eq!(reached.load(Ordering::Relaxed), 0, "the handler waits for the disk");
    passed.into_iter().for_each(Acknowledger::acknowledge);
    assert_eq!((ended(answer).await.status().as_u16(), reached.load(Ordering::Relaxed)), (200, 1));
}

#[tokio::test]
async fn a_transaction_that_is_not_written_goes_no_further() {
    let (world, slow) = world().await;
    let reached = Arc::new(AtomicUsize::new(0));
    let answer = beside(transaction(&world, &reached, &Seen::default()));
    waited_for(&slow, "admitted").await.into_iter().for_each(Acknowledger::acknowledge);
    drop(waited_for(&slow, "passed").await);
    assert_eq!((ended(answer).await.status().as_u16(), reached.load(Ordering::Relaxed)), (503, 0));
    assert_eq!(world.sink.sole("audit_unavailable").gate, "transaction");
}

/// I13: the transaction alone is withdrawn, then the caller's own token is, while the disk is slow.
#[tokio::test]
async fn a_transaction_is_judged_again_after_the_disk() {
    for own in [false, true] {
        let (world, slow) = world().await;
        let reached = Arc::new(AtomicUsize::new(0));
        let answer = beside(transaction(&world, &reached, &Seen::default()));
        waited_for(&slow, "admitted").await.into_iter().for_each(Acknowledger::acknowledge);
        let passed = waited_for(&slow, "passed").await;
        let event = world.sink.with_code("passed").pop().unwrap();
        let which = if own { event.token.unwrap().fingerprint } else { event.found.unwrap() };
        let until = hopguard::Clock::now(&*world.clock).after(hopguard::minutes(10));
        world.inbound.hop().withdraw(hopguard::Withdrawal::Token(which), until).unwrap();
        passed.into_iter().for_each(Acknowledger::acknowledge);
        assert_eq!((ended(answer).await.status().as_u16(), reached.load(Ordering::Relaxed)), (401, 0));
        assert_eq!(world.sink.sole("token_withdrawn").gate, "transaction");
    }
}

/// The verifier's layer that stands alone waits in the same way.
#[tokio::test]
async fn a_layer_that_stands_alone_blocks_no_thread() {
    for (acknowledged, withdrawn, status) in [(true, false, 200), (true, true, 401), (false, false, 503)] {
        let (world, slow) = world().await;
        let reached = Arc::new(AtomicUsize::new(0));
        let inside = reached.clone();
        let handler = service_fn(move |_: Request<String>| {
            inside.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        });
        let hop = world.inbound.hop();
        let service = hopguard::VerifyLayer::new(hop, world.inbound.verifier().clone()).layer(handler);
        let token = world.signed(world.token());
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(String::new()).unwrap();
        let answer = beside(async move { service.oneshot(request).await.unwrap().status().as_u16() });
        let waiting = waited_for(&slow, "passed").await;
        assert_eq!(reached.load(Ordering::Relaxed), 0, "the handler waits for the disk");
        if withdrawn {
            let which = world.sink.with_code("passed").pop().unwrap().token.unwrap().fingerprint;
            let until = hopguard::Clock::now(&*world.clock).after(hopguard::minutes(10));
            hop.withdraw(hopguard::Withdrawal::Token(which), until).unwrap();
        }
        waiting.into_iter().filter(|_| acknowledged).for_each(Acknowledger::acknowledge);
        assert_eq!(ended(answer).await, status);
        assert_eq!(reached.load(Ordering::Relaxed), usize::from(status == 200));
    }
}

/// I13, I18: the disk is one of the waits of `waits.rs`.
#[tokio::test]
async fn what_is_over_once_the_disk_is_done_is_not_sent() {
    for (meanwhile, code) in Meanwhile::ALL {
        let (world, slow) = world().await;
        let caller = {
            let caller = meanwhile.caller(&world);
            tokio::pin!(caller);
            loop {
                tokio::select! {
                    caller = &mut caller => break caller,
                    waiting = awaited(&slow) => waiting.into_iter().for_each(|(_, one)| one.acknowledge()),
                }
            }
        };
        let (client, url, by) = (world.client.clone(), world.peer.url("/stock/42"), caller.clone());
        let call = beside(async move { client.on_behalf_of(&by).get(&url).send().await.map(drop) });
        let sent = waited_for(&slow, "sent").await;
        meanwhile.happens(&world, &caller);
        sent.into_iter().for_each(Acknowledger::acknowledge);
        world.refused(ended(call).await, code);
        assert_eq!(world.reached(), 0, "{meanwhile:?}");
        // It was written down as sent, so that its outcome is, too.
        let outcome =
            world.sink.events().into_iter().rev().find(|e| e.kind == hopguard_core::EventKind::Outcome);
        assert_eq!(outcome.map(|event| event.decision.code()), Some(code));
    }
}
