//! The peers: they look at every byte that they are sent.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hopguard_client::SystemClock;
use hopguard_core::Clock;
use hopguard_sts::Sts;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{CLIENT, PEERS};
use crate::promises::Promises;
use crate::random::Random;

/// Grants that were verified already; beyond it all are verified again.
const REMEMBERED: usize = 20_000;
/// The longest request.
const LONGEST: usize = 64 * 1024;
/// Younger grants are not rejected, because nobody would renew them.
const YOUNGEST: u64 = 6;
/// One in so many requests is rejected.
const REJECTED: u64 = 150;

/// What a grant says.
#[derive(Clone, Debug, Deserialize)]
struct Grant {
    sub: String,
    aud: String,
    act: Value,
    iat: u64,
    exp: u64,
}

/// What the peers know together.
pub(super) struct Peers {
    sts: Sts,
    promises: Promises,
    verified: Mutex<HashMap<String, Grant>>,
    /// Signatures of the tokens that each subject shows to the service: none of them may come here.
    inbound: Mutex<HashMap<String, [String; 2]>>,
    /// Who was told that a good grant is bad, and where.
    rejected: Mutex<HashSet<(String, usize)>>,
    rejections: AtomicU64,
    served: [AtomicU64; PEERS.len()],
}

impl Peers {
    pub(super) fn new(sts: &Sts, promises: &Promises) -> Self {
        Self {
            sts: sts.clone(),
            promises: promises.clone(),
            verified: Mutex::default(),
            inbound: Mutex::default(),
            rejected: Mutex::default(),
            rejections: AtomicU64::new(0),
            served: Default::default(),
        }
    }

    /// `subject` shows this token to the service from now on.
    pub(super) fn shown(&self, subject: &str, token: &str) {
        let signature = token.rsplit('.').next().unwrap_or_default().to_owned();
        let mut inbound = self.inbound.lock().unwrap();
        let kept = inbound.entry(subject.to_owned()).or_default();
        kept.swap(0, 1);
        kept[0] = signature;
    }

    /// True if the grant of `subject` was rejected since its last success.
    pub(super) fn was_rejected(&self, subject: &str, route: usize) -> bool {
        self.rejected.lock().unwrap().contains(&(subject.to_owned(), route))
    }

    /// `subject` has a grant that was taken.
    pub(super) fn succeeded(&self, subject: &str, route: usize) {
        self.rejected.lock().unwrap().remove(&(subject.to_owned(), route));
    }

    pub(super) fn rejections(&self) -> u64 {
        self.rejections.load(Ordering::SeqCst)
    }

    pub(super) fn all_called(&self) -> bool {
        self.served.iter().all(|count| count.load(Ordering::SeqCst) > 0)
    }

    pub(super) fn figures(&self) -> Value {
        let served: Vec<_> = self.served.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        json!({ "served": served, "rejections": self.rejections() })
    }

    /// The grant in this request, if everything about the request is right.
    fn judge(&self, head: &str, route: usize) -> Result<Grant, String> {
        let values = |name: &'static str| {
            head.split("\r\n").filter_map(move |line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then_some(value.trim())
            })
        };
        let mut credentials = values("authorization");
        let credential = credentials.next().ok_or("no credential")?;
        if credentials.next().is_some() {
            return Err("two credentials".to_owned());
        }
        let token = credential.strip_prefix("Bearer ").ok_or("no bearer token")?;
        let subject = values("x-subject").next().ok_or("no subject")?;
        if let Some(inbound) = self.inbound.lock().unwrap().get(subject)
            && inbound.iter().any(|signature| !signature.is_empty() && head.contains(signature.as_str()))
        {
            return Err(format!("the inbound token of {subject}"));
        }
        if head.matches("eyJ").count() != token.matches("eyJ").count() {
            return Err("a token beside the grant".to_owned());
        }
        let grant = self.verified(token)?;
        let audience = PEERS.get(route).copied().unwrap_or_default();
        let actor = grant.act.get("sub").and_then(Value::as_str);
        if grant.aud != audience || grant.sub != subject || actor != Some(CLIENT) {
            return Err(format!("a grant for {} at {} in a call for {subject}", grant.sub, grant.aud));
        }
        if SystemClock.now().as_secs() >= grant.exp {
            return Err(format!("an expired grant for {subject}"));
        }
        Ok(grant)
    }

    /// By the other implementation, and once.
    fn verified(&self, token: &str) -> Result<Grant, String> {
        if let Some(grant) = self.verified.lock().unwrap().get(token) {
            return Ok(grant.clone());
        }
        let wrong = |error: jsonwebtoken::errors::Error| format!("a token that does not verify: {error}");
        let keys: JwkSet = serde_json::from_str(&self.sts.jwks()).map_err(|error| error.to_string())?;
        let kid = decode_header(token).map_err(wrong)?.kid.unwrap_or_default();
        let key = keys.find(&kid).ok_or_else(|| "a token of an unknown key".to_owned())?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_aud = false;
        validation.leeway = 0;
        let key = DecodingKey::from_jwk(key).map_err(wrong)?;
        let grant = decode::<Grant>(token, &key, &validation).map_err(wrong)?.claims;
        let mut verified = self.verified.lock().unwrap();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(token.to_owned(), grant.clone());
        Ok(grant)
    }

    fn answer(&self, head: &str, route: usize, random: &mut Random) -> String {
        self.served[route].fetch_add(1, Ordering::SeqCst);
        let body = match self.judge(head, route) {
            Ok(grant) => {
                let old = SystemClock.now().as_secs() >= grant.iat + YOUNGEST;
                if old && random.below(REJECTED) == 0 {
                    // Noted before the caller can know.
                    self.rejected.lock().unwrap().insert((grant.sub, route));
                    self.rejections.fetch_add(1, Ordering::SeqCst);
                    return "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"\r\n\
                            content-length: 0\r\n\r\n"
                        .to_owned();
                }
                json!({ "iat": grant.iat, "exp": grant.exp }).to_string()
            }
            Err(problem) => {
                self.promises.broke("no call is sent without its grant", || problem.clone());
                problem
            }
        };
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }
}

/// One peer.
pub(super) struct Peer;

impl Peer {
    /// Serves until `tasks` ends.
    pub(super) async fn serve(
        tasks: &mut JoinSet<()>,
        peers: &Arc<Peers>,
        route: usize,
        audience: &str,
    ) -> io::Result<SocketAddr> {
        assert_eq!(PEERS.get(route), Some(&audience), "the routes are in their order");
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let peers = peers.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0_u64.. {
                let accepted = loop {
                    tokio::select! {
                        accepted = listener.accept() => break accepted,
                        Some(_ended) = connections.join_next() => {}
                    }
                };
                let (Ok((stream, _)), peers) = (accepted, peers.clone()) else { continue };
                let random = Random::of(number * 7 + route as u64 + 1);
                connections.spawn(async move {
                    let _closed = talk(stream, peers, route, random).await;
                });
            }
        });
        Ok(address)
    }
}

async fn talk(mut stream: TcpStream, peers: Arc<Peers>, route: usize, mut random: Random) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            read.drain(..end + 4);
            stream.write_all(peers.answer(&head, route, &mut random).as_bytes()).await?;
        }
        if stream.read_buf(&mut read).await? == 0 || read.len() > LONGEST {
            return Ok(());
        }
    }
}
