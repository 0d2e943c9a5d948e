//! Rows E7, E8 and E13 in full: place x encoding x compression x whose credential x how it is cut.
//!
//! Each cell goes through the block in this process; what the client below it got is looked through by means
//! that know nothing of the scanner. `bodies.rs` and `passthrough.rs` send a part of them over sockets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use futures_util::stream;
use hopguard::{Admitted, Facts, Fingerprint, Hop, OnBehalfOf, PassthroughLayer, ScannedBody};
use hopguard_core::{Clock, Destination, Granted, Presented, RawToken, StackId, Verified};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{ORDERS, World};

const OPAQUE: [&str; 2] = ["at-7Qm2ZkV9xT4bLw8RnYc5Jd1HsUo3Gf6E", "gt_1Z9mK2vX7bT5wL0nR4cY8dJ3sH6uO_f-q~"];
const PEER: &str = "https://peer.internal";

/// The credentials that may not leave towards the peer, by whose they are.
fn credentials(world: &World, own: &str, caller: &Admitted) -> Vec<(&'static str, String)> {
    let other = world.signed(world.sts.token(ORDERS, "bob", "orders:read"));
    let grant = world.signed(world.sts.token("https://elsewhere.internal", "alice", "x"));
    let now = world.clock.now();
    let facts = |text: &str, structured: bool| {
        let fingerprint =
            if structured { Fingerprint::of_token(text) } else { Fingerprint::of_bytes(text.as_bytes()) };
        let fingerprinted_len = if structured { text.rfind('.').unwrap() } else { text.len() };
        Arc::new(Facts { fingerprint, fingerprinted_len, structured, ..caller.facts().as_ref().clone() })
    };
    for (text, structured) in [(other.as_str(), true), (OPAQUE[0], false)] {
        let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(text), None);
        let verified = Verified::assert_genuine(presented, facts(text, structured));
        world.ledger.remember_received(&verified, now).unwrap();
    }
    let elsewhere = Destination::of(&"https://elsewhere.internal".parse().unwrap()).unwrap();
    for (text, structured) in [(grant.as_str(), true), (OPAQUE[1], false)] {
        let parent = caller.facts().fingerprint;
        let granted = Granted::assert_narrowed(RawToken::new(text), facts(text, structured), parent, now);
        world.ledger.remember_granted(&granted, &elsewhere, now).unwrap();
    }
    vec![
        ("own", own.to_owned()),
        ("another request's", other),
        ("a grant for elsewhere", grant),
        ("another request's, opaque", OPAQUE[0].to_owned()),
        ("an opaque grant for elsewhere", OPAQUE[1].to_owned()),
    ]
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<_> =
        text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\r\n")
}

fn encodings(token: &str) -> Vec<(&'static str, String)> {
    let basic = |prefix: &str| BASE64_STANDARD.encode(format!("{prefix}{token}"));
    let unicode = |text: &str| text.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<String>();
    vec![
        ("plain", token.to_owned()),
        ("percent", percent(token)),
        ("percent twice", percent(&percent(token))),
        ("percent, in part", token.replace('.', "%2e")),
        ("base64", basic("")),
        ("base64, one byte before", basic("u")),
        ("base64, two bytes before", basic("u:")),
        ("base64, user and password", basic("usr:")),
        ("base64url", BASE64_URL_SAFE_NO_PAD.encode(format!("x{token}"))),
        ("base64 twice", BASE64_STANDARD.encode(basic(""))),
        ("base64 in lines", wrapped(&basic(""), 76)),
        ("base64url in lines", wrapped(&BASE64_URL_SAFE_NO_PAD.encode(token), 64)),
        ("base64, percent", percent(&basic(""))),
        ("hex", hex(token)),
        ("HEX", hex(token).to_uppercase()),
        ("hex in lines", wrapped(&hex(token), 60)),
        ("JSON escapes", unicode(token)),
        ("base64 with JSON escapes", basic("").replace('/', "\\/").replace('+', "\\u002b")),
    ]
    .into_iter()
    // An opaque value has no dot to escape.
    .filter(|(name, text)| *name != "percent, in part" || text != token)
    .collect()
}

/// What the client below the block got: the head, and the body as far as it came.
#[derive(Default)]
struct Wire {
    head: String,
    body: Vec<u8>,
}

/// Sends a request through the block. The code that refused it, and what had left by then.
async fn send<B>(layer: &PassthroughLayer, request: Request<B>) -> (Option<&'static str>, Wire)
where
    B: http_body::Body + 'static,
    B::Error: std::fmt::Debug,
{
    let wire = Arc::new(Mutex::new(Wire::default()));
    let seen = wire.clone();
    let client = service_fn(move |request: Request<ScannedBody<B>>| {
        let seen = seen.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            seen.lock().unwrap().head = format!("{} {:?}", parts.uri, parts.headers);
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(trailers) = frame.trailers_ref() {
                    let mut wire = seen.lock().unwrap();
                    wire.body.extend(format!("{trailers:?}").into_bytes());
                } else if let Ok(data) = frame.into_data() {
                    seen.lock().unwrap().body.extend_from_slice(&data);
                }
            }
            Ok::<_, Infallible>(Response::new(()))
        }
    });
    let code = layer.layer(client).oneshot(request).await.err().map(|error| error.code());
    let wire = std::mem::take(&mut *wire.lock().unwrap());
    (code, wire)
}

struct Matrix {
    layer: PassthroughLayer,
    caller: Admitted,
    cells: BTreeMap<&'static str, usize>,
}

impl Matrix {
    /// One cell: refused with its code, and what has left holds no complete credential in the cell's dress.
    async fn blocked<B>(
        &mut self,
        place: &'static str,
        request: Request<B>,
        dressed: &[u8],
        cell: &str,
        undo: Undo,
    ) where
        B: http_body::Body + 'static,
        B::Error: std::fmt::Debug,
    {
        let mut request = request;
        request.extensions_mut().insert(OnBehalfOf::caller(&self.caller));
        let (code, wire) = send(&self.layer, request).await;
        assert_eq!(code, Some("passthrough_blocked"), "{place}: {cell}");
        let body = undo(&wire.body);
        // Padding is not part of what it hides.
        let dressed = dressed.trim_ascii_end().strip_suffix(b"=").unwrap_or(dressed);
        assert!(!body.windows(dressed.len()).any(|part| part == dressed), "{place}: {cell} left whole");
        assert!(!wire.head.contains(std::str::from_utf8(dressed).unwrap()), "{place}: {cell} left whole");
        *self.cells.entry(place).or_default() += 1;
    }
}

type Undo = fn(&[u8]) -> Vec<u8>;

/// As much as comes out of a body that ends early.
fn inflated<W: Write>(mut decoder: W, bytes: &[u8], out: impl Fn(&mut W) -> Vec<u8>) -> Vec<u8> {
    let _ends_early = decoder.write_all(bytes).and_then(|()| decoder.flush());
    out(&mut decoder)
}

fn compressions(text: &[u8]) -> [(Option<&'static str>, Vec<u8>, Undo); 4] {
    let level = Compression::default();
    let mut gzip = GzEncoder::new(Vec::new(), level);
    let mut zlib = ZlibEncoder::new(Vec::new(), level);
    let mut bare = DeflateEncoder::new(Vec::new(), level);
    for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut bare] {
        writer.write_all(text).unwrap();
    }
    [
        (None, text.to_vec(), |bytes| bytes.to_vec()),
        (Some("gzip"), gzip.finish().unwrap(), |bytes| {
            inflated(GzDecoder::new(Vec::new()), bytes, |decoder| decoder.get_ref().clone())
        }),
        (Some("deflate"), zlib.finish().unwrap(), |bytes| {
            inflated(ZlibDecoder::new(Vec::new()), bytes, |decoder| decoder.get_ref().clone())
        }),
        (Some("deflate"), bare.finish().unwrap(), |bytes| {
            inflated(DeflateDecoder::new(Vec::new()), bytes, |decoder| decoder.get_ref().clone())
        }),
    ]
}

fn stream_of(
    body: &[u8],
    size: usize,
    trailers: Option<HeaderMap>,
) -> impl http_body::Body<Error = Infallible> + use<> {
    let mut frames: Vec<Result<Frame<Bytes>, Infallible>> =
        body.chunks(size).map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect();
    frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    StreamBody::new(stream::iter(frames))
}

/// Place, content type, the body, and how the value stands in it.
fn bodies(value: &str) -> [(&'static str, &'static str, String, String); 4] {
    let part = "--b\r\ncontent-disposition: form-data; name=\"t\"\r\n\r\n";
    let form = value.replace('+', "%2B").replace('\r', "%0D").replace('\n', "%0A");
    let json = value.replace('\r', "\\r").replace('\n', "\\n");
    [
        ("form", "application/x-www-form-urlencoded", format!("a=1&t={form}&b=2"), form),
        ("JSON", "application/json", format!("{{\"n\":[1,2],\"t\":\"{json}\",\"m\":\"x\\ny\"}}"), json),
        (
            "multipart",
            "multipart/form-data; boundary=b",
            format!("{part}{value}\r\n--b--\r\n"),
            value.to_owned(),
        ),
        ("plain", "text/plain", format!("see {value} there"), value.to_owned()),
    ]
}

/// A value as it can stand in a header: line breaks become those of JSON.
fn on_one_line(value: &str) -> String {
    value.replace('\r', "\\r").replace('\n', "\\n")
}

#[tokio::test]
async fn every_cell_is_blocked_and_nothing_whole_leaves() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let caller = world.admit(&own).await;
    let layer = PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    let whose = credentials(&world, &own, &caller);
    let mut matrix = Matrix { layer, caller, cells: BTreeMap::new() };
    let as_it_is: Undo = |bytes| bytes.to_vec();
    let mut dresses = 0;
    for (owner, token) in &whose {
        for (encoding, value) in encodings(token) {
            dresses += 1;
            let cell = format!("{owner}, {encoding}");
            let line = on_one_line(&value);
            for (place, name, shown) in [
                ("header", "x-anything", line.clone()),
                ("authorization header", "x-forwarded-authorization", format!("Bearer {line}")),
                ("cookie", "cookie", format!("a=b; session={line}; c=d")),
            ] {
                let request = Request::get(PEER).header(name, shown).body(String::new()).unwrap();
                matrix.blocked(place, request, line.as_bytes(), &cell, as_it_is).await;
            }
            // What may not stand in a URL is percent-encoded there, as any client does it.
            let in_url = line.replace('\\', "%5C");
            for (place, url) in [
                ("path", format!("{PEER}/x/{in_url}/y")),
                ("query", format!("{PEER}/x?a=1&state={in_url}&b=2")),
            ] {
                let request = Request::get(url).body(String::new()).unwrap();
                matrix.blocked(place, request, in_url.as_bytes(), &cell, as_it_is).await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", line.parse().unwrap());
            let request = Request::post(PEER).body(stream_of(b"data", 2, Some(trailers))).unwrap();
            matrix.blocked("trailer", request, line.as_bytes(), &cell, as_it_is).await;
            for (place, content_type, text, shown) in bodies(&value) {
                for (coding, body, undo) in compressions(text.as_bytes()) {
                    let cell = format!("{cell}, {coding:?}");
                    let request = || {
                        let request = Request::post(PEER).header("content-type", content_type);
                        coding
                            .into_iter()
                            .fold(request, |request, coding| request.header("content-encoding", coding))
                    };
                    let dressed = shown.as_bytes();
                    let whole = request().body(http_body_util::Full::new(Bytes::from(body.clone()))).unwrap();
                    matrix.blocked(place, whole, dressed, &cell, undo).await;
                    for size in [1, 7, 64] {
                        let cut = request().body(stream_of(&body, size, None)).unwrap();
                        matrix.blocked(place, cut, dressed, &format!("{cell}, {size} at a time"), undo).await;
                    }
                }
            }
        }
    }
    // Eighteen for each JWT, seventeen for each opaque value.
    assert_eq!(dresses, 3 * 18 + 2 * 17);
    for place in ["header", "authorization header", "cookie", "path", "query", "trailer"] {
        assert_eq!(matrix.cells.get(place), Some(&dresses), "{place}");
    }
    for place in ["form", "JSON", "multipart", "plain"] {
        assert_eq!(matrix.cells.get(place), Some(&(dresses * 4 * 4)), "{place}");
    }
    let found = world.sink.with_code("passthrough_blocked");
    assert_eq!(found.len(), dresses * 6 + dresses * 4 * 4 * 4);
    assert!(found.iter().all(|event| event.found.is_some() && event.place.is_some()));
}

/// What was granted for this destination may go there, in every dress and place but where no credential belongs.
#[tokio::test]
async fn a_grant_for_this_destination_passes_in_the_same_cells() {
    let world = World::new().await;
    let caller = world.caller().await;
    let now = world.clock.now();
    let here = Destination::of(&PEER.parse().unwrap()).unwrap();
    let facts = Facts {
        fingerprint: Fingerprint::of_bytes(OPAQUE[1].as_bytes()),
        fingerprinted_len: OPAQUE[1].len(),
        structured: false,
        ..caller.facts().as_ref().clone()
    };
    let parent = caller.facts().fingerprint;
    let grant = Granted::assert_narrowed(RawToken::new(OPAQUE[1]), facts.into(), parent, now);
    world.ledger.remember_granted(&grant, &here, now).unwrap();
    let layer = PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    for (encoding, value) in encodings(OPAQUE[1]) {
        let header = Request::post(PEER).header("x-anything", on_one_line(&value));
        let (code, wire) = send(&layer, header.body(value.clone()).unwrap()).await;
        assert_eq!((code, wire.body), (None, value.into_bytes()), "{encoding}");
    }
}
