//! Bodies on their way out: what looking through them costs beside the plainest search there is.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};
use hopguard_client::SystemClock;
use hopguard_core::{
    BodyScanner, Clock, Destination, Facts, Fingerprint, Ledger, Presented, RawToken, StackId, UnixTime,
    Verified, minutes,
};
use hopguard_tower::{Hop, PassthroughLayer};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use tower_layer::Layer;

use crate::clock::Whose;
use crate::egress::{TOKEN, admit, fill, spread};
use crate::harness::{Group, Lane, Pace};
use crate::world::{Bare, INVENTORY, Key, audit, drive};

/// How much a client writes at once.
const CHUNK: usize = 16 * 1024;
/// A body that fits the nearer caches, so that the memory's speed is nobody's excuse.
const BODY: usize = 256 * 1024;
/// Credentials of other callers.
const LIVE: usize = 100_000;

/// Bodies of every kind past a hundred thousand live credentials.
pub(crate) fn bodies(_: Pace) -> Group {
    let mut group = Group::new(Whose::Thread);
    let key = Key::es256();
    let ledger = Ledger::bounded();
    admit(&key, &ledger);
    fill(&ledger, LIVE, TOKEN);

    for (name, body) in [("JSON", json()), ("text", prose())] {
        let hopguard = group.lane(scan(format!("hopguard, {name}"), &ledger, body.clone()));
        let teddy = group.lane(markers(format!("one packed search, {name}"), body));
        group.compare(format!("bodies: {name}"), hopguard, teddy, 2.0);
    }

    let image = image();
    let hopguard = group.lane(scan("hopguard, base64".to_owned(), &ledger, image.clone()));
    let floor = image.clone();
    let decode = group.lane(Lane::new("base64 decoding, once", move || {
        // At one alignment, and nothing is looked for in what comes out.
        let digits = &floor[IMAGE_HEAD.len()..floor.len() - IMAGE_TAIL.len()];
        black_box(BASE64_STANDARD.decode(black_box(digits)).is_ok());
    }));
    group.compare("bodies: base64 and little else", hopguard, decode, None);

    for (name, body) in [("JSON", json()), ("base64", image)] {
        let mut writer = GzEncoder::new(Vec::new(), Compression::default());
        writer.write_all(&body).expect("memory");
        let packed = Bytes::from(writer.finish().expect("memory"));
        let mut service =
            PassthroughLayer::new(&Hop::new(&ledger, &audit(), SystemClock::shared())).layer(Bare);
        let sent = packed.clone();
        let hopguard = group.lane(Lane::new(format!("hopguard, gzip of {name}"), move || {
            let request = Request::post(INVENTORY).header("content-encoding", "gzip");
            let request = request.body(Full::new(sent.clone())).expect("a request");
            assert_eq!(drive(&mut service, request), StatusCode::OK);
        }));
        let inflate = group.lane(Lane::new(format!("decompression alone, {name}"), move || {
            let mut decoder = MultiGzDecoder::new(std::io::sink());
            decoder.write_all(&packed).and_then(|()| decoder.finish().map(drop)).expect("gzip");
        }));
        // Of base64 the scan is the larger part, which has its own row.
        let budget = (name == "JSON").then_some(1.3);
        group.compare(format!("bodies: gzip of {name}"), hopguard, inflate, budget);
    }

    let opaque = Ledger::bounded();
    admit(&key, &opaque);
    fill(&opaque, LIVE / 2, TOKEN);
    fill_opaque(&opaque, &key, LIVE / 2);
    for (name, body) in [("JSON", json()), ("text", prose())] {
        let hopguard = group.lane(scan(format!("hopguard, {name}, opaque live"), &opaque, body.clone()));
        let rolling = group.lane(Lane::new(format!("one rolling hash, {name}"), move || {
            black_box(roll(black_box(&body)));
        }));
        group.compare(format!("bodies: {name}, opaque live"), hopguard, rolling, 2.0);
    }
    group
}

fn scan(name: String, ledger: &Ledger, body: Bytes) -> Lane {
    let (ledger, now) = (ledger.clone(), SystemClock.now());
    let here = Destination::of(&Uri::from_static(INVENTORY)).expect("an origin");
    Lane::new(name, move || {
        let mut scanner = BodyScanner::new(&ledger, Some(&here));
        for chunk in body.chunks(CHUNK) {
            assert!(scanner.push(chunk, now).is_ok());
        }
    })
}

/// The floor: Teddy, over the marks at which the scanner stops as well.
fn markers(name: String, body: Bytes) -> Lane {
    let mut builder = Config::new().match_kind(MatchKind::LeftmostFirst).builder();
    builder.extend([".", "%", "\\"]);
    let searcher: Searcher = builder.build().expect("a processor with vectors");
    Lane::new(name, move || {
        for chunk in body.chunks(CHUNK) {
            black_box(searcher.find_iter(black_box(chunk)).count());
        }
    })
}

/// The floor where opaque tokens are live: a hash of 16 bytes rolled over the body, with nothing looked up.
fn roll(body: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let leaves = (0..16).fold(1_u64, |power, _| power.wrapping_mul(MULTIPLIER));
    let (mut hash, mut hits) = (0_u64, 0_u64);
    for (&gone, &come) in body.iter().zip(body.iter().skip(16)) {
        hash = hash.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(come));
        hash = hash.wrapping_sub(u64::from(gone).wrapping_mul(leaves));
        hits += u64::from(hash >> 44 == 0);
    }
    hits
}

/// Opaque credentials as authorization servers make them.
fn fill_opaque(ledger: &Ledger, key: &Key, live: usize) {
    let now = SystemClock.now();
    let pattern = admit(key, &Ledger::bounded()).facts().clone();
    for n in 0..live {
        remember(ledger, &pattern, &format!("at_{:016x}{:016x}", spread(n), spread(n + 1)), now);
    }
}

fn remember(ledger: &Ledger, pattern: &Facts, text: &str, now: UnixTime) {
    let facts = Facts {
        fingerprint: Fingerprint::of_bytes(text.as_bytes()),
        fingerprinted_len: text.len(),
        structured: false,
        expires: now.after(minutes(60)),
        ..pattern.clone()
    };
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(text), None);
    ledger.remember_received(&Verified::assert_genuine(presented, Arc::new(facts)), now).expect("room");
}

/// A page of orders as services exchange them: names, numbers, times, addresses, now and then an escape.
fn json() -> Bytes {
    let mut text = String::from("{\"orders\":[");
    for n in 0_usize.. {
        if text.len() > BODY {
            break;
        }
        let id = format!("{:016x}", spread(n));
        text.push_str(&format!(
            "{{\"id\":\"{}-{}-4{}\",\"customer\":{{\"name\":\"Wilhelmina Example\",\"city\":\"Groningen\"}},\
             \"placed_at\":\"2026-11-22T18:{:02}:04Z\",\"lines\":[{{\"article\":\"A-{n}\",\"count\":{},\
             \"price\":{}.{:02},\"currency\":\"EUR\"}}],\"status\":\"shipped\",\"note\":\"leave at the door{}\",\
             \"links\":{{\"self\":\"https://orders.internal/orders/{n}\"}},\"tags\":[\"gift\",\"express\"]}},",
            &id[..8],
            &id[8..12],
            &id[12..],
            n % 60,
            n % 7 + 1,
            n % 90 + 10,
            n % 100,
            if n % 20 == 0 { ",\\nplease" } else { "" },
        ));
    }
    text.push_str("{}]}");
    text.into()
}

/// Sentences of ordinary length.
fn prose() -> Bytes {
    let sentence = "The warehouse keeps what was ordered on the second floor until somebody asks for it. Whoever \
                    comes before noon, and most do, waits for ten minutes at most; later in the day it takes \
                    longer, because the lift is shared with the bakery.\n";
    sentence.repeat(BODY / sentence.len()).into()
}

const IMAGE_HEAD: &str = "{\"image\":\"data:image/png;base64,";
const IMAGE_TAIL: &str = "\"}";

/// A picture in a JSON document.
fn image() -> Bytes {
    let bytes: Vec<u8> = (0..BODY / 4 * 3).map(|n| (spread(n) >> 32).to_le_bytes()[0]).collect();
    format!("{IMAGE_HEAD}{}{IMAGE_TAIL}", BASE64_STANDARD.encode(bytes)).into()
}
