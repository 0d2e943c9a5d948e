//! I13, I18: after each wait on the way out, what is attached and whom it is for are judged again before anything is
//! sent. The waits: for the authorization server, for a client that is busy, for the disk (`before_allow.rs`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use hopguard::{
    Admitted, AsOurselves, ClientAuth, Clock, Egress, Exchange, OnBehalfOf, RawToken, Static, StsEndpoint,
    Withdrawal, minutes, seconds,
};
use hopguard_core::Waiver;
use hopguard_testkit::{Misbehaviour, WireAnswer, WireRecorder};
use http::{Request, Response};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};

use crate::world::{INVENTORY, SECRET, World};

const KEY: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
const STOCK: &str = "/stock/42";

/// What happens to a call while it waits.
#[derive(Clone, Copy, Debug)]
pub enum Meanwhile {
    CallerExpires,
    CallerIsWithdrawn,
    GrantExpires,
    GrantIsWithdrawn,
}

impl Meanwhile {
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::CallerExpires, "subject_expired"),
        (Self::CallerIsWithdrawn, "token_withdrawn"),
        (Self::GrantExpires, "grant_expired"),
        (Self::GrantIsWithdrawn, "grant_withdrawn"),
    ];

    /// A caller whose token outlives the grants of a minute, unless it is to expire first.
    pub async fn caller(self, world: &World) -> Admitted {
        let life = if matches!(self, Self::CallerExpires) { 30 } else { 300 };
        let expires = world.clock.now().as_secs() + life;
        world.admit(&world.signed(world.token().claim("exp", expires))).await
    }

    pub fn happens(self, world: &World, caller: &Admitted) {
        let withdraw = |token| {
            let until = world.clock.now().after(minutes(10));
            world.egress.hop().withdraw(Withdrawal::Token(token), until).unwrap();
        };
        let grant = || world.sink.events().into_iter().rev().find_map(|event| event.grant);
        match self {
            // The grant ends with its parent, and the caller's end is the one that is told.
            Self::CallerExpires => world.clock.advance(seconds(30)),
            Self::CallerIsWithdrawn => withdraw(caller.facts().fingerprint),
            Self::GrantExpires => world.clock.advance(seconds(60)),
            Self::GrantIsWithdrawn => withdraw(grant().expect("an event of the grant").fingerprint),
        }
    }
}

/// A client in the same process that is busy until told otherwise.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    busy: bool,
    waiting: Option<Waker>,
    answers: VecDeque<Response<String>>,
    calls: usize,
}

impl Busy {
    fn set(&self, busy: bool) {
        let mut line = self.0.lock().unwrap();
        line.busy = busy;
        if let Some(waiting) = line.waiting.take() {
            waiting.wake();
        }
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// Lets other tasks run until a call waits for this client.
    async fn is_waited_for(&self) {
        while self.0.lock().unwrap().waiting.is_none() {
            tokio::task::yield_now().await;
        }
    }
}

impl<B> Service<Request<B>> for Busy {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let mut line = self.0.lock().unwrap();
        if line.busy {
            line.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut line = self.0.lock().unwrap();
        line.calls += 1;
        let answer = line.answers.pop_front().unwrap_or_default();
        // Whoever answers with a 401 is busy with something else from then on.
        line.busy = answer.status() == 401;
        ready(Ok(answer))
    }
}

/// A call by `service`, in a task of its own; the code it ends with.
fn calling<S, T, E>(service: S, request: Request<String>) -> JoinSet<&'static str>
where
    S: Service<Request<String>, Response = T, Error = hopguard::EgressError<E>> + Send + 'static,
    S::Future: Send,
    T: Send,
    E: Send,
{
    let mut set = JoinSet::new();
    set.spawn(async move { service.oneshot(request).await.map_or_else(|error| error.code(), |_| "sent") });
    set
}

fn request(world: &World, path: &str, whom: OnBehalfOf) -> Request<String> {
    let mut request = Request::get(world.peer.url(path)).body(String::new()).unwrap();
    request.extensions_mut().insert(whom);
    request
}

#[tokio::test]
async fn a_busy_client_is_given_nothing_that_is_over() {
    for (meanwhile, code) in Meanwhile::ALL {
        let (world, client) = (World::new().await, Busy::default());
        let caller = meanwhile.caller(&world).await;
        let service = world.egress.layer(client.clone());
        let call = || calling(service.clone(), request(&world, STOCK, OnBehalfOf::caller(&caller)));
        assert_eq!(call().join_next().await.unwrap().unwrap(), "sent");
        client.set(true);
        let mut waiting = call();
        client.is_waited_for().await;
        meanwhile.happens(&world, &caller);
        client.set(false);
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), code, "{meanwhile:?}");
        assert_eq!(client.calls(), 1, "{meanwhile:?}");
        assert_eq!(world.sink.with_code("sent").len(), 1, "what is not sent is not written down as sent");
        world.sink.sole(code);
    }
}

/// I16: a grant that was taken by a waiver is good for as long as the waiver, and not for as long as the wait.
#[tokio::test]
async fn a_busy_client_is_given_nothing_whose_waiver_has_ended() {
    let (world, client) = (World::new().await, Busy::default());
    let waiver =
        Waiver::new("the old server writes no act", "payments", world.clock.now().after(seconds(30)));
    let endpoint = StsEndpoint::at(&world.sts.issuer(), ClientAuth::client_secret_basic("orders", SECRET));
    let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let egress = Egress::builder(&world.ledger, &world.audit, endpoint)
        .route(&world.peer.url(""), stock.dangerous_without_actor(waiver))
        .clock(world.clock.clone())
        .build()
        .unwrap();
    world.sts.misbehave(Misbehaviour::NoActor);
    let (caller, service) = (world.caller().await, egress.layer(client.clone()));
    let call = || calling(service.clone(), request(&world, STOCK, OnBehalfOf::caller(&caller)));
    assert_eq!(call().join_next().await.unwrap().unwrap(), "sent");
    client.set(true);
    let mut waiting = call();
    client.is_waited_for().await;
    world.clock.advance(seconds(30));
    client.set(false);
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), "waiver_expired");
    assert_eq!(client.calls(), 1);
}

/// After the peer's 401 the client is busy as well. Nobody can name the new grant yet, to withdraw it.
#[tokio::test]
async fn what_is_sent_once_more_is_judged_once_more() {
    let [first, second, third, _] = Meanwhile::ALL;
    for (meanwhile, code) in [first, second, third] {
        let (world, client) = (World::new().await, Busy::default());
        let caller = meanwhile.caller(&world).await;
        let service = world.egress.layer(client.clone());
        let call = || calling(service.clone(), request(&world, STOCK, OnBehalfOf::caller(&caller)));
        assert_eq!(call().join_next().await.unwrap().unwrap(), "sent");
        world.clock.advance(seconds(6));
        let refusal =
            Response::builder().status(401).header("www-authenticate", "Bearer error=\"invalid_token\"");
        client.0.lock().unwrap().answers.push_back(refusal.body(String::new()).unwrap());
        let mut waiting = call();
        client.is_waited_for().await;
        assert_eq!(world.sts.token_requests(), 2, "there is a new grant");
        meanwhile.happens(&world, &caller);
        client.set(false);
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), code, "{meanwhile:?}");
        assert_eq!(client.calls(), 2, "{meanwhile:?}");
    }
}

#[tokio::test]
async fn a_busy_client_is_given_no_secret_that_is_withdrawn() {
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
    let world = World::with_routes(peer, |egress, peer| {
        egress.route(&peer.url("/free"), Static::bearer(RawToken::new(KEY)).requires_none())
    })
    .await;
    let client = Busy::default();
    client.set(true);
    let mut waiting =
        calling(world.egress.layer(client.clone()), request(&world, "/free", OnBehalfOf::ourselves()));
    client.is_waited_for().await;
    let until = world.clock.now().after(minutes(10));
    world.egress.hop().withdraw(Withdrawal::Token(RawToken::new(KEY).fingerprint()), until).unwrap();
    client.set(false);
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), "grant_withdrawn");
    assert_eq!(client.calls(), 0);
}

/// A token of our own is not made from the caller's, so nothing but this ties the two.
#[tokio::test]
async fn a_token_of_ours_is_not_attached_for_a_caller_who_has_gone() {
    let [expires, withdrawn, ..] = Meanwhile::ALL;
    for (meanwhile, code) in [expires, withdrawn] {
        let peer = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
        let entries = AsOurselves::audience("https://ledger.internal").requires("orders:read");
        let world =
            World::with_routes(peer, |egress, peer| egress.route(&peer.url("/entries"), entries)).await;
        let caller = meanwhile.caller(&world).await;
        world.sts.misbehave(Misbehaviour::Slow);
        let service = world.egress.layer(Busy::default());
        let mut waiting = calling(service, request(&world, "/entries", OnBehalfOf::caller(&caller)));
        while world.sts.token_requests() == 0 {
            tokio::task::yield_now().await;
        }
        meanwhile.happens(&world, &caller);
        world.sts.release();
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), code, "{meanwhile:?}");
        world.sink.sole(code);
        assert!(world.sink.with_code("sent").is_empty());
    }
}
