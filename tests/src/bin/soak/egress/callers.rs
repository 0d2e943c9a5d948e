//! Users who call the service, which calls its peers for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hopguard_core::{Clock, UnixTime, seconds};
use hopguard_sts::{Sts, UserToken};
use serde::Deserialize;
use serde_json::{Value, json};

use super::peer::Peers;
use super::{ORDERS, PEERS, SCOPE};
use crate::line::{Line, Reply};
use crate::promises::Promises;

/// Between two calls of one worker.
const BREATH: Duration = Duration::from_millis(3);
const SUBJECTS: u64 = 10;
/// What a user's token lives.
const LIFE: Duration = seconds(60);
/// It is replaced when so much is left of it.
const LEFT: Duration = seconds(6);
/// A machine may stand still for so long, beside what a grant is served no more before its end.
const SLACK: u64 = 2;

/// What everyone shares.
pub(super) struct World {
    service: SocketAddr,
    clock: Arc<dyn Clock>,
    sts: Sts,
    pub(super) peers: Arc<Peers>,
    promises: Promises,
    pub(super) stop: AtomicBool,
    /// The authorization server has been back for long enough.
    pub(super) settled: AtomicBool,
    calls: AtomicU64,
    refused: AtomicU64,
    spared: AtomicU64,
    tokens: AtomicU64,
    /// Connecting to the authorization server is refused.
    pub(super) down: AtomicBool,
}

impl World {
    pub(super) fn new(
        service: SocketAddr,
        clock: Arc<dyn Clock>,
        sts: Sts,
        peers: Arc<Peers>,
        promises: &Promises,
    ) -> Self {
        let promises = promises.clone();
        let count = AtomicU64::default;
        Self {
            service,
            clock,
            sts,
            peers,
            promises,
            stop: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            calls: count(),
            refused: count(),
            spared: count(),
            tokens: count(),
            down: AtomicBool::new(false),
        }
    }

    /// How many grants there may be at all: one for each token and route.
    pub(super) fn pairs(&self) -> u64 {
        self.tokens.load(Ordering::SeqCst) * PEERS.len() as u64
    }

    /// Calls that succeeded while the authorization server was down.
    pub(super) fn spared(&self) -> u64 {
        self.spared.load(Ordering::SeqCst)
    }

    pub(super) fn figures(&self) -> Value {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        json!({
            "calls": read(&self.calls),
            "user_tokens": read(&self.tokens),
            "refused_without_a_grant": read(&self.refused),
            "served_in_outages": read(&self.spared),
        })
    }
}

/// What the peer says of the grant that it was shown.
#[derive(Deserialize)]
struct Told {
    iat: u64,
    exp: u64,
}

/// One user.
struct User {
    name: String,
    token: String,
    until: UnixTime,
    /// For each route: up to when its grant must serve, in seconds.
    granted: [u64; PEERS.len()],
}

/// Calls until told to stop.
pub(super) async fn call(world: Arc<World>, number: u64) {
    let mut line = Line::to(world.service);
    let names = (0..SUBJECTS).map(|subject| format!("user-{number}-{subject}"));
    let mut users: Vec<_> = names
        .map(|name| User {
            name,
            token: String::new(),
            until: UnixTime::from_secs(0),
            granted: Default::default(),
        })
        .collect();
    for turn in 0_usize.. {
        if world.stop.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(BREATH).await;
        let at = turn % users.len();
        if let Some(user) = users.get_mut(at) {
            user.call(&world, &mut line, turn / SUBJECTS as usize % PEERS.len()).await;
        }
    }
}

impl User {
    async fn call(&mut self, world: &World, line: &mut Line, route: usize) {
        let now = world.clock.now();
        if now >= self.until {
            let token = UserToken::new(&self.name, ORDERS).scope(SCOPE).lifetime(LIFE);
            self.token = world.sts.issue(&token).expect("a token");
            world.peers.shown(&self.name, &self.token);
            world.tokens.fetch_add(1, Ordering::SeqCst);
            self.until = now.after(LIFE - LEFT);
            self.granted = Default::default();
        }
        let (settled, down) = (world.settled.load(Ordering::SeqCst), world.down.load(Ordering::SeqCst));
        let headers = format!("authorization: Bearer {}\r\n", self.token);
        let answer = line.get(&format!("/call/{route}"), &headers).await;
        let settled = settled && world.settled.load(Ordering::SeqCst);
        let down = down && world.down.load(Ordering::SeqCst);
        world.calls.fetch_add(1, Ordering::SeqCst);
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => {
                return world
                    .promises
                    .broke("every request is answered", || format!("{}: {error}", self.name));
            }
        };
        if reply.status != 200 {
            return self.refused(world, route, &reply, now, settled);
        }
        let Ok(told) = serde_json::from_str::<Told>(&reply.body) else {
            return world.promises.broke("every request is answered", || reply.body.clone());
        };
        let life = told.exp.saturating_sub(told.iat);
        let margin = (life / 10).min(30) + SLACK;
        if let Some(granted) = self.granted.get_mut(route) {
            *granted = told.exp.saturating_sub(margin);
        }
        world.peers.succeeded(&self.name, route);
        world.spared.fetch_add(u64::from(down), Ordering::SeqCst);
    }

    fn refused(&self, world: &World, route: usize, reply: &Reply, now: UnixTime, settled: bool) {
        world.refused.fetch_add(1, Ordering::SeqCst);
        let told = || format!("{} at route {route}: {} {}", self.name, reply.status, reply.body);
        let rejected = world.peers.was_rejected(&self.name, route);
        let until = self.granted.get(route).copied().unwrap_or(0);
        world.promises.hold("a call with a live grant works", rejected || now.as_secs() >= until, told);
        world.promises.hold("a server that is back is used", rejected || !settled, told);
        // Never the caller's fault, and never an answer that the peer did not give.
        let fitting = matches!(reply.status, 502..=504) || (reply.status == 424 && rejected);
        world.promises.hold("a call without a grant fails as the server's trouble", fitting, told);
    }
}
