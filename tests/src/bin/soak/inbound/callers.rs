//! Who calls: the good, and four kinds of bad.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hopguard_core::{Clock, UnixTime, minutes, seconds};
use hopguard_sts::{Sts, UserToken};
use hopguard_testkit::mint::{MintKey, Token};
use hopguard_tower::Hop;
use serde_json::{Value, json};

use super::streams::Ended;
use super::{ORDERS, SCOPE};
use crate::line::Line;
use crate::pace::Paced;
use crate::promises::Promises;
use crate::random::Random;

/// Between two calls of one caller.
const BREATH: Duration = Duration::from_millis(3);
/// What a good caller's token lives, and what must be left of it for a call: a machine may stand still for a while.
const LIFE: Duration = minutes(4);
const LEFT: Duration = minutes(2);
/// Tokens that a good caller has at a time: the older ones are of older keys.
const TOKENS: usize = 6;
/// Calls of a good caller between two new tokens.
const CALLS: u64 = 10;

/// What everyone shares.
pub(super) struct World {
    pub(super) service: SocketAddr,
    pub(super) clock: Arc<Paced>,
    pub(super) pace: u32,
    pub(super) hop: Hop,
    pub(super) sts: Sts,
    pub(super) promises: Promises,
    pub(super) counts: Counts,
    pub(super) ended: Ended,
    pub(super) stop: AtomicBool,
    pub(super) flood: AtomicBool,
}

/// A kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Shows what it was issued.
    Good,
    /// Shows what is no credential, or half of one.
    Garbage,
    /// Shows genuine tokens that are not for here: of another audience, without the scope, expired.
    Genuine,
    /// Shows tokens of keys that nobody publishes.
    UnknownKey,
    /// Shows good claims under the signature of another token.
    WrongSignature,
}

/// How many calls of each kind were answered.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; 5]);

impl Counts {
    fn of(&self, kind: Kind) -> &AtomicU64 {
        let [good, garbage, genuine, unknown_key, wrong_signature] = &self.0;
        match kind {
            Kind::Good => good,
            Kind::Garbage => garbage,
            Kind::Genuine => genuine,
            Kind::UnknownKey => unknown_key,
            Kind::WrongSignature => wrong_signature,
        }
    }

    pub(super) fn all_called(&self) -> bool {
        self.0.iter().all(|count| count.load(Ordering::SeqCst) > 0)
    }

    pub(super) fn figures(&self) -> Value {
        let read = |kind| self.of(kind).load(Ordering::SeqCst);
        json!({
            "good": read(Kind::Good),
            "garbage": read(Kind::Garbage),
            "not_for_here": read(Kind::Genuine),
            "unknown_kid": read(Kind::UnknownKey),
            "wrong_signature": read(Kind::WrongSignature),
        })
    }
}

/// Calls until it is told to stop.
pub(super) async fn call(world: Arc<World>, kind: Kind, number: u64) {
    let mut caller = Caller::new(&world, number);
    while !world.stop.load(Ordering::SeqCst) {
        tokio::time::sleep(BREATH).await;
        let quiet = !world.flood.load(Ordering::SeqCst);
        if quiet && matches!(kind, Kind::UnknownKey | Kind::WrongSignature) {
            continue;
        }
        if kind == Kind::Good { caller.good().await } else { caller.bad(kind).await }
    }
}

struct Caller<'a> {
    world: &'a World,
    number: u64,
    calls: u64,
    line: Line,
    random: Random,
    rogue: MintKey,
    tokens: VecDeque<(String, UnixTime)>,
    expiring: Option<(String, UnixTime)>,
}

impl<'a> Caller<'a> {
    fn new(world: &'a World, number: u64) -> Self {
        Self {
            world,
            number,
            calls: 0,
            line: Line::to(world.service),
            random: Random::of(number + 1),
            rogue: MintKey::es256("rogue"),
            tokens: VecDeque::new(),
            expiring: None,
        }
    }

    fn issue(&self, token: &UserToken) -> String {
        self.world.sts.issue(token).expect("a token")
    }

    async fn good(&mut self) {
        let world = self.world;
        let now = world.clock.now();
        self.tokens.retain(|(_, until)| now < *until);
        if self.calls.is_multiple_of(CALLS) || self.tokens.is_empty() {
            let subject = format!("good-{}-{}", self.number, self.calls / CALLS % 50);
            let token = UserToken::new(&subject, ORDERS).scope(SCOPE).lifetime(LIFE);
            self.tokens.push_back((self.issue(&token), now.after(LIFE - LEFT)));
            // The oldest stay: those are of the key before.
            if self.tokens.len() > TOKENS {
                self.tokens.remove(TOKENS / 2);
            }
        }
        self.calls += 1;
        let at = usize::try_from(self.calls).unwrap_or(0) % self.tokens.len();
        let headers = format!("authorization: Bearer {}\r\n", self.tokens[at].0);
        match self.line.get("/orders/1", &headers).await {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => world.promises.broke("no good request is refused", || {
                let newest = at + 1 == self.tokens.len();
                let passed = world.clock.passed().as_secs();
                format!("{} {} after {passed} s, newest token: {newest}", reply.status, reply.body)
            }),
            Err(error) => world.promises.broke("every request is answered", || format!("good: {error}")),
        }
        world.counts.of(Kind::Good).fetch_add(1, Ordering::SeqCst);
    }

    async fn bad(&mut self, kind: Kind) {
        self.calls += 1;
        let Some(headers) = self.bad_headers(kind) else { return };
        let world = self.world;
        match self.line.get("/orders/1", &headers).await {
            Ok(reply) => {
                world.promises.hold("no bad request is admitted", reply.status != 200, || {
                    format!("{kind:?} got {}", reply.status)
                });
                let as_one = matches!(reply.status, 200 | 400 | 401 | 403 | 431 | 503);
                world.promises.hold("a bad request is answered as one", as_one, || {
                    format!("{kind:?} got {} {}", reply.status, reply.body)
                });
            }
            Err(error) => {
                world.promises.broke("every request is answered", || format!("{kind:?}: {error}"));
            }
        }
        world.counts.of(kind).fetch_add(1, Ordering::SeqCst);
    }

    fn bad_headers(&mut self, kind: Kind) -> Option<String> {
        let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
        let now = self.world.clock.now();
        Some(match kind {
            Kind::Good => return None,
            Kind::Garbage => self.garbage(),
            Kind::Genuine => match self.calls % 3 {
                0 => {
                    let elsewhere = UserToken::new("bad", "https://elsewhere.internal").scope(SCOPE);
                    bearer(&self.issue(&elsewhere))
                }
                1 => bearer(&self.issue(&UserToken::new("bad", ORDERS))),
                // Issued now, shown when it is over.
                _ => match self.expiring.take() {
                    Some((token, expires)) if expires <= now => bearer(&token),
                    Some(waiting) => {
                        self.expiring = Some(waiting);
                        return None;
                    }
                    None => {
                        let issued = UserToken::new("bad", ORDERS).scope(SCOPE).lifetime(seconds(30));
                        self.expiring = Some((self.issue(&issued), now.after(seconds(30))));
                        return None;
                    }
                },
            },
            Kind::UnknownKey => {
                let token = Token::access(self.world.sts.issuer(), ORDERS, "bad", now).claim("scope", SCOPE);
                bearer(&token.header("kid", self.random.text(12)).sign(&self.rogue))
            }
            Kind::WrongSignature => {
                let bad = || self.issue(&UserToken::new("bad", ORDERS).scope(SCOPE));
                let (one, other) = (bad(), bad());
                let (input, _) = one.rsplit_once('.')?;
                let (_, signature) = other.rsplit_once('.')?;
                bearer(&format!("{input}.{signature}"))
            }
        })
    }

    fn garbage(&mut self) -> String {
        let kind = self.random.below(8);
        let genuine = || self.issue(&UserToken::new("bad", ORDERS).scope(SCOPE));
        match kind {
            0 => String::new(),
            1 => "authorization: Basic YmFkOmJhZA==\r\n".to_owned(),
            2 => format!("authorization: Bearer {}\r\n", self.random.text(300)),
            3 => {
                let whole = genuine();
                let cut = usize::try_from(self.random.below(whole.len() as u64)).unwrap_or(0);
                format!("authorization: Bearer {}\r\n", &whole[..cut])
            }
            4 => format!("authorization: Bearer {0}\r\nauthorization: Bearer {0}\r\n", genuine()),
            5 => format!("authorization: Bearer {}\r\n", self.random.text(20_000)),
            6 => format!("authorization: DPoP {}\r\n", genuine()),
            _ => format!("authorization: Bearer eyJhbGciOiJub25lIn0.{}.\r\n", self.random.text(100)),
        }
    }
}
