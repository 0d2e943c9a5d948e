//! The way in: extract to admitted through the whole stack, against nothing but the signature check.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hopguard_axum::{Caller, Protect};
use hopguard_core::Ledger;
use hopguard_tower::OpenPaths;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::clock::Whose;
use crate::harness::{Group, Lane, Pace};
use crate::peers::{JsonWebToken, Minimal};
use crate::world::{Bare, ISSUER, Key, Signed, audit, claims, drive, guard, many_claims, request};

/// What is remembered at most unless set: with less, no verdict has to go to make room for the next.
const REMEMBERED: usize = 10_000;

/// The connection's other end, which the axum adapter tells the stack once.
pub(crate) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

pub(crate) fn first_es256(pace: Pace) -> Group {
    first("inbound first ES256", Key::es256(), pace, 100, 1.08, claims)
}

pub(crate) fn first_eddsa(pace: Pace) -> Group {
    first("inbound first EdDSA", Key::eddsa(), pace, 100, 1.08, claims)
}

pub(crate) fn first_large(pace: Pace) -> Group {
    first("inbound first 2 KiB of claims", Key::rs256(), pace, 300, None, many_claims)
}

pub(crate) fn first_rs256(pace: Pace) -> Group {
    first("inbound first RS256", Key::rs256(), pace, 300, 1.20, claims)
}

/// Tokens that this stack has never seen.
fn first(
    name: &str,
    key: Key,
    pace: Pace,
    iterations: usize,
    budget: impl Into<Option<f64>>,
    claims: fn() -> Value,
) -> Group {
    let iterations = if pace.rounds < Pace::FULL.rounds { iterations / 5 } else { iterations };
    // Each token serves the stack once. A full memory is the lasting state; a quick look does without.
    let fill = if pace.rounds < Pace::FULL.rounds { 0 } else { REMEMBERED };
    let tokens: Rc<Vec<Arc<str>>> = Rc::new(key.tokens_with(fill + iterations * pace.batches(), claims));
    let unseen = || {
        let (tokens, mut next) = (tokens.clone(), fill);
        move || {
            next += 1;
            tokens[next - 1].clone()
        }
    };
    let mut group = Group::new(Whose::Thread);

    let stack = guard(&Ledger::bounded(), &audit(), &key);
    let mut service = stack.around(Bare).for_peer(PEER);
    for token in tokens.iter().take(fill) {
        assert_eq!(drive(&mut service, request(token)), StatusCode::OK);
    }
    let mut token = unseen();
    let stack = Lane::new("hopguard", move || {
        assert_eq!(drive(&mut service, request(&token())), StatusCode::OK);
    });
    let stack = group.lane(stack.fixed(iterations));
    let mut token = unseen();
    let bare = Lane::new("the bare service", move || {
        assert_eq!(drive(&mut Bare, request(&token())), StatusCode::OK);
    });
    let bare = group.lane(bare.fixed(iterations));

    let (jwk, raw_key) = (key.jwk().clone(), key.raw.clone());
    let mut token = unseen();
    let raw = Lane::over_input(
        "aws-lc-rs, parsed key",
        move || Signed::of(&token()),
        move |signed| {
            signed.verify(&raw_key);
        },
    );
    let raw = group.lane(raw.fixed(iterations));

    // What stays if nothing were done for a token but what is done again each time: the stack on a token it knows, just
    // after a signature check has taken the caches.
    let known = key.tokens(100);
    let stack_known = guard(&Ledger::bounded(), &audit(), &key);
    let mut service = stack_known.around(Bare).for_peer(PEER);
    for token in &known {
        assert_eq!(drive(&mut service, request(token)), StatusCode::OK);
    }
    let (mut token, mut turn) = (unseen(), 0);
    let behind = Lane::over_input(
        "hopguard, seen before, behind a raw check",
        move || Signed::of(&token()),
        move |signed| {
            signed.verify(&key.raw);
            turn = (turn + 1) % known.len();
            assert_eq!(drive(&mut service, request(&known[turn])), StatusCode::OK);
        },
    );
    let behind = group.lane(behind.fixed(iterations));

    let mut token = unseen();
    let minimal = Minimal::of(&jwk);
    let minimal = Lane::over_input(
        "a minimal validator",
        move || token().to_string(),
        move |token: &String| {
            minimal.validate(token);
        },
    );
    let minimal = group.lane(minimal.fixed(iterations));
    let mut token = unseen();
    let peer = JsonWebToken::of(&jwk);
    let peer = Lane::over_input(
        "jsonwebtoken::decode",
        move || token().to_string(),
        move |token: &String| {
            peer.validate(token);
        },
    );
    let peer = group.lane(peer.fixed(iterations));

    group.compare(name, stack, raw, budget).over(bare).allocations(None);
    group.compare(format!("{name}: what each request takes"), behind, raw, None).over(bare).allocations(None);
    group.compare(format!("{name}: a minimal validator"), minimal, raw, None).allocations(None);
    group.compare(format!("{name}: jsonwebtoken 11"), peer, raw, None).allocations(None);
    group
}

/// A token that is remembered, ever again.
pub(crate) fn seen(_: Pace) -> Group {
    let (es256, rs256) = (Key::es256(), Key::rs256());
    let mut group = Group::new(Whose::Thread);
    let floors = floors(&mut group, &es256, &rs256);

    // A hundred callers, so that no lookup is more predictable than a busy service's.
    let tokens = es256.tokens(100);
    let stack = guard(&Ledger::bounded(), &audit(), &es256);
    let mut service = stack.around(Bare).for_peer(PEER);
    let mut next = requests(&tokens);
    let seen = group.lane(Lane::new("hopguard", move || {
        assert_eq!(drive(&mut service, next()), StatusCode::OK);
    }));
    let mut next = requests(&tokens);
    let bare = group.lane(Lane::new("the bare service", move || {
        assert_eq!(drive(&mut Bare, next()), StatusCode::OK);
    }));

    let router = Router::new().route("/orders/{id}", get(async |_: Caller| "ok"));
    let mut protected = stack.protect(router, OpenPaths::none()).for_peer(PEER);
    let mut next = requests(&tokens);
    let whole = group.lane(Lane::new("hopguard around axum", move || {
        assert_eq!(drive(&mut protected, next().map(Body::new)), StatusCode::OK);
    }));
    let mut router = Router::new().route("/orders/{id}", get(async || "ok"));
    let mut next = requests(&tokens);
    let alone = group.lane(Lane::new("axum", move || {
        assert_eq!(drive(&mut router, next().map(Body::new)), StatusCode::OK);
    }));

    group.compare("inbound seen", seen, floors.rs256, 1.0 / 16.0).over(bare).allocations(10.0);
    group.compare("inbound seen: against ES256", seen, floors.es256, 1.0 / 50.0).over(bare);
    group.compare("inbound seen: the bare service", bare, floors.rs256, None).allocations(None);
    group.compare("inbound seen: around axum", whole, floors.rs256, None).over(alone).allocations(10.0);
    group.compare("inbound seen: axum alone", alone, floors.rs256, None).allocations(None);
    group
}

/// Tokens that are refused before any signature is looked at.
pub(crate) fn refused(_: Pace) -> Group {
    let (es256, rs256) = (Key::es256(), Key::rs256());
    let mut group = Group::new(Whose::Thread);
    let floors = floors(&mut group, &es256, &rs256);
    let stack = guard(&Ledger::bounded(), &audit(), &es256);

    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let id_token = es256.signing.sign_jwt("JWT", &claims()).expect("a token").to_string();
    let stranger = Key::es256();
    let elsewhere = with("iss", format!("{ISSUER}.example").into());
    let cases = [
        ("an unknown issuer", stranger.token(&elsewhere)),
        ("an unknown issuer, under a header of ours", es256.token(&elsewhere)),
        ("a header of another algorithm", relabelled(&es256.token(&claims()))),
        ("an ID token", id_token),
        ("an unknown key", stranger.token(&claims())),
        ("no JWT at all", "c2VjcmV0.b3BhcXVl".to_owned()),
    ];
    let mut next = requests(&[es256.token(&claims()).into()]);
    let bare = group.lane(Lane::new("the bare service", move || {
        assert_eq!(drive(&mut Bare, next()), StatusCode::OK);
    }));
    for (case, token) in cases {
        let mut service = stack.around(Bare).for_peer(PEER);
        // A stack at work: what good tokens look like is familiar.
        assert_eq!(drive(&mut service, request(&es256.token(&claims()))), StatusCode::OK);
        let mut next = requests(&[token.into()]);
        let lane = group.lane(Lane::new(case, move || {
            assert_eq!(drive(&mut service, next()), StatusCode::UNAUTHORIZED);
        }));
        let path = format!("inbound refused: {case}");
        group.compare(path, lane, floors.rs256, 1.0 / 16.0).over(bare).allocations(None);
    }
    group
}

/// The same token, signed as it says by nobody.
fn relabelled(token: &str) -> String {
    let (_, rest) = token.split_once('.').expect("a header");
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#))
}

pub(crate) struct Floors {
    pub(crate) es256: usize,
    pub(crate) rs256: usize,
}

/// The raw signature checks that short paths are measured in.
pub(crate) fn floors(group: &mut Group, es256: &Key, rs256: &Key) -> Floors {
    let mut floor = |name: &str, key: &Key| {
        let raw = key.raw.clone();
        let tokens = key.tokens(16).iter().map(|token| Signed::of(token)).collect::<Vec<_>>();
        let mut next = 0;
        group.lane(Lane::new(name, move || {
            next = (next + 1) % tokens.len();
            tokens[next].verify(&raw);
        }))
    };
    Floors { es256: floor("aws-lc-rs ES256", es256), rs256: floor("aws-lc-rs RS256", rs256) }
}

/// Requests with each of these tokens in turn, as a server makes them: headers that share the bytes read.
fn requests(tokens: &[Arc<str>]) -> impl FnMut() -> Request<Full<Bytes>> + use<> {
    let (templates, mut next) = (tokens.iter().map(|token| request(token)).collect::<Vec<_>>(), 0);
    move || {
        next = (next + 1) % templates.len();
        templates[next].clone()
    }
}
