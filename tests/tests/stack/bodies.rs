//! Row E7 for bodies: place x encoding x compression x kind of credential, whole and as a stream.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use futures_util::stream;
use hopguard::{
    Admitted, BodyScan, EgressError, Facts, Fingerprint, Hop, OnBehalfOf, PassthroughLayer, ScannedBody,
    SendError,
};
use hopguard_core::{BodyScanner, Clock, Destination, Granted, RawToken, Waiver, minutes};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{ORDERS, World};

fn encodings(token: &str) -> Vec<String> {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    vec![
        token.to_owned(),
        percent(token),
        BASE64_STANDARD.encode(token),
        BASE64_STANDARD.encode(format!("u:{token}")),
        BASE64_URL_SAFE_NO_PAD.encode(format!("us:{token}")),
        hex(token),
        token.replace('.', "\\u002e"),
        BASE64_STANDARD.encode(token).replace('/', "\\/"),
    ]
}

fn places(value: &str) -> [(&'static str, String); 4] {
    let part = "--b\r\ncontent-disposition: form-data; name=\"t\"\r\n\r\n";
    [
        ("application/x-www-form-urlencoded", format!("a=1&t={}&b=2", value.replace('+', "%2B"))),
        ("application/json", format!("{{\"n\":[1,2],\"t\":\"{value}\",\"m\":\"x\\ny\"}}")),
        ("multipart/form-data; boundary=b", format!("{part}{value}\r\n--b--\r\n")),
        ("text/plain", format!("see {value}")),
    ]
}

fn compressed(coding: Option<&str>, bare: bool, text: &str) -> Vec<u8> {
    let (level, text) = (Compression::default(), text.as_bytes());
    match (coding, bare) {
        (Some("gzip"), _) => {
            let mut writer = GzEncoder::new(Vec::new(), level);
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        }
        (Some(_), false) => {
            let mut writer = ZlibEncoder::new(Vec::new(), level);
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        }
        (Some(_), true) => {
            let mut writer = DeflateEncoder::new(Vec::new(), level);
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        }
        (None, _) => text.to_vec(),
    }
}

const CODINGS: [(Option<&str>, bool); 4] =
    [(None, false), (Some("gzip"), false), (Some("deflate"), false), (Some("deflate"), true)];

async fn post(
    world: &World,
    caller: &Admitted,
    content_type: &str,
    coding: Option<&str>,
    body: Vec<u8>,
    chunk: Option<usize>,
) -> Result<reqwest::Response, EgressError<SendError>> {
    let calls = world.client.on_behalf_of(caller);
    let mut request = calls.post(&world.peer.url("/stock/42")).header("content-type", content_type);
    if let Some(coding) = coding {
        request = request.header("content-encoding", coding);
    }
    match chunk {
        None => request.body(body).send().await,
        Some(size) => {
            let chunks: Vec<_> =
                body.chunks(size).map(|part| Ok::<_, Infallible>(Bytes::copy_from_slice(part))).collect();
            request.body(reqwest::Body::wrap_stream(stream::iter(chunks))).send().await
        }
    }
}

/// A grant that was obtained for somewhere else.
fn grant_for_elsewhere(world: &World, caller: &Admitted) -> String {
    let text = world.signed(world.sts.token("https://elsewhere.internal", "alice", "x"));
    let facts = Facts {
        fingerprint: Fingerprint::of_token(&text),
        fingerprinted_len: text.rfind('.').unwrap(),
        ..caller.facts().as_ref().clone()
    };
    let (raw, parent, now) = (RawToken::new(&text), caller.facts().fingerprint, world.clock.now());
    let grant = Granted::assert_narrowed(raw, facts.into(), parent, now);
    let elsewhere = Destination::of(&"https://elsewhere.internal".parse().unwrap()).unwrap();
    world.ledger.remember_granted(&grant, &elsewhere, now).unwrap();
    text
}

#[tokio::test]
async fn every_cell_is_blocked() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let caller = world.admit(&own).await;
    let theirs = world.signed(world.sts.token(ORDERS, "bob", "orders:read"));
    world.admit(&theirs).await;
    let grant = grant_for_elsewhere(&world, &caller);
    world.call(&caller).await.unwrap();
    let before = world.peer.bytes().len();
    let mut cells = 0;
    for token in [&own, &theirs, &grant] {
        for encoded in encodings(token) {
            for (content_type, text) in places(&encoded) {
                for (coding, bare) in CODINGS {
                    let body = compressed(coding, bare, &text);
                    let outcome = post(&world, &caller, content_type, coding, body, None).await;
                    world.refused(outcome, "passthrough_blocked");
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, 3 * 8 * 4 * 4);
    assert_eq!(
        world.peer.bytes().len(),
        before,
        "a body that is there whole is judged before anything is sent"
    );
    assert!(world.sink.with_code("passthrough_blocked").iter().all(|e| e.place.as_deref() == Some("body")));
}

#[tokio::test]
async fn a_streamed_body_ends_before_the_credential_is_whole() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let caller = world.admit(&token).await;
    world.call(&caller).await.unwrap();
    for encoded in encodings(&token) {
        for (coding, bare) in CODINGS {
            for size in [11, 300, 100_000] {
                let text = format!("{}see {encoded} there", "some text before. ".repeat(40));
                let body = compressed(coding, bare, &text);
                let outcome = post(&world, &caller, "text/plain", coding, body, Some(size)).await;
                world.refused(outcome, "passthrough_blocked");
            }
        }
    }
    // What is on the wire holds no credential in any dress, chunk framing taken out, but the grant for this peer.
    let here = Destination::of(&world.peer.url("/").parse().unwrap()).unwrap();
    for bytes in world.peer.per_connection() {
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text: Vec<u8> = String::from_utf8_lossy(&bytes[head..])
            .split("\r\n")
            .filter(|line| line.len() > 4 || !line.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .collect::<String>()
            .into_bytes();
        assert!(BodyScanner::new(&world.ledger, Some(&here)).push(&text, world.clock.now()).is_ok());
    }
}

#[tokio::test]
async fn what_cannot_be_looked_through_is_refused() {
    let world = World::new().await;
    let caller = world.caller().await;
    let bomb = compressed(Some("gzip"), false, &"0".repeat(70 * 1024 * 1024));
    assert!(bomb.len() < 200_000);
    for (coding, body) in
        [("gzip", bomb), ("gzip", b"this is no gzip, whatever it says".to_vec()), ("br", b"x".to_vec())]
    {
        let outcome = post(&world, &caller, "text/plain", Some(coding), body, None).await;
        world.refused(outcome, "body_unscannable");
    }
    let gzip = compressed(Some("gzip"), false, "in stock?");
    let outcome = post(&world, &caller, "text/plain", Some("gzip"), gzip.clone(), None).await;
    assert_eq!(outcome.unwrap().status(), 200);
    assert_eq!(world.peer.requests().last().unwrap().body, gzip, "it leaves as it was");
}

type Frames = StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, Frames) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let frames = stream::poll_fn(move |context| receiver.poll_recv(context).map(|frame| frame.map(Ok)));
    (sender, StreamBody::new(Box::pin(frames)))
}

/// The body as the client gets it.
async fn taken<B>(layer: &PassthroughLayer, request: Request<B>) -> Result<ScannedBody<B>, &'static str>
where
    B: Body + 'static,
{
    let client = service_fn(|request: Request<ScannedBody<B>>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let answer = layer.layer(client).oneshot(request).await;
    answer.map(Response::into_body).map_err(|error| error.code())
}

fn outgoing<B>(caller: &Admitted, body: B) -> Request<B> {
    let mut request = Request::post("https://peer.internal/x").body(body).unwrap();
    request.extensions_mut().insert(OnBehalfOf::caller(caller));
    request
}

#[tokio::test]
async fn a_stream_in_both_directions_does_not_stall() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let caller = world.admit(&token).await;
    let layer = PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    let (sender, body) = channel();
    let mut body = taken(&layer, outgoing(&caller, body)).await.unwrap();
    // All of the token up to the place where it shows itself, and no more: each piece arrives at once.
    let shows = token.rfind('.').unwrap() + 16;
    for piece in ["ping", "e", "ey", "{\"t\":\"%65\\u0065", &token[..shows]] {
        sender.send(Frame::data(Bytes::copy_from_slice(piece.as_bytes()))).unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece.as_bytes());
    }
    sender.send(Frame::data(Bytes::copy_from_slice(&token.as_bytes()[shows..]))).unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
    let event = world.sink.sole("passthrough_blocked");
    assert_eq!((event.found, event.place.as_deref()), (Some(caller.facts().fingerprint), Some("body")));
}

/// A body whose length is known, in frames that are at hand: a peer may make each as small as it likes.
struct Pieces(std::collections::VecDeque<Bytes>);

impl Pieces {
    fn of(text: &str, size: usize) -> Self {
        Self(text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|bytes| bytes.len() as u64).sum())
    }
}

/// What is at hand, withheld or still to come, is what is left, at each step.
#[tokio::test]
async fn a_body_says_how_much_of_it_is_left() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let caller = world.admit(&token).await;
    let layer = PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    // What could become a token is withheld for a while; both more and less than what is judged at once.
    let held = &token[..token.rfind('.').unwrap()];
    for text in
        [format!("a{held} b"), format!("{held}{}", "c".repeat(1_200_000)), "d".repeat(70_000), "e".into()]
    {
        for size in [1, 7, 4096, 2_000_000] {
            if text.len() / size > 100_000 {
                continue;
            }
            let mut body = taken(&layer, outgoing(&caller, Pieces::of(&text, size))).await.unwrap();
            let mut left = text.len() as u64;
            while left > 0 {
                assert_eq!(body.size_hint().exact(), Some(left), "{size} bytes each");
                let frame = body.frame().await.unwrap().unwrap();
                left -= frame.into_data().unwrap().len() as u64;
            }
            assert!(body.frame().await.is_none() && body.size_hint().exact() == Some(0));
        }
    }
    let leak = format!("a{token}b");
    for size in [1, 7] {
        assert_eq!(
            taken(&layer, outgoing(&caller, Pieces::of(&leak, size))).await.unwrap_err(),
            "passthrough_blocked"
        );
    }
    let mut body = taken(&layer, outgoing(&caller, Pieces::of("whole", 9))).await.unwrap();
    assert_eq!(body.take_whole().as_deref(), Some(&b"whole"[..]));
    assert_eq!(body.size_hint().exact(), Some(0));
    // Longer than what is judged at once: it breaks off, and what was withheld is not there any more.
    let opaque = "an-opaque-credential-of-somebody-else";
    let facts = Facts {
        fingerprint: Fingerprint::of_token(opaque),
        fingerprinted_len: opaque.len(),
        structured: false,
        ..caller.facts().as_ref().clone()
    };
    let (raw, parent, now) = (RawToken::new(opaque), caller.facts().fingerprint, world.clock.now());
    let elsewhere = Destination::of(&"https://elsewhere.internal".parse().unwrap()).unwrap();
    let grant = Granted::assert_narrowed(raw, facts.into(), parent, now);
    world.ledger.remember_granted(&grant, &elsewhere, now).unwrap();
    let long = format!("{}{opaque}", "f ".repeat(600_000));
    let mut body = taken(&layer, outgoing(&caller, Pieces::of(&long, 8))).await.unwrap();
    let mut left = long.len() as u64;
    while let Some(Ok(frame)) = body.frame().await {
        left -= frame.into_data().unwrap().len() as u64;
    }
    assert!(left > 8, "a tail was withheld: {left}");
    assert_eq!((body.size_hint().lower(), body.is_end_stream()), (0, true));
}

#[tokio::test]
async fn trailers_are_looked_through() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let caller = world.admit(&token).await;
    let layer = PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    for value in encodings(&token).iter().take(6).map(String::as_str).chain(["17"]) {
        let (sender, body) = channel();
        let mut body = taken(&layer, outgoing(&caller, body)).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", value.parse().unwrap());
        sender.send(Frame::data(Bytes::from_static(b"data"))).unwrap();
        sender.send(Frame::trailers(trailers)).unwrap();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(body.frame().await.unwrap().is_ok(), value == "17");
        assert!(body.frame().await.is_none());
    }
    let blocked = world.sink.with_code("passthrough_blocked");
    assert!(blocked.len() == 6 && blocked.iter().all(|e| e.place.as_deref() == Some("trailer x-sum")));
}

#[tokio::test]
async fn past_the_limit_the_rule_decides() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let caller = world.admit(&token).await;
    let block = PassthroughLayer::builder(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    let body = format!("{}{token}", "x".repeat(64 * 1024));
    let refusing = block.clone().bodies(BodyScan::default().at_most(BodyScan::LEAST)).build().unwrap();
    assert_eq!(taken(&refusing, outgoing(&caller, body.clone())).await.unwrap_err(), "body_unscannable");
    let lenient = block.bodies(BodyScan::default().at_most(BodyScan::LEAST).audit_beyond()).build().unwrap();
    assert!(taken(&lenient, outgoing(&caller, body)).await.is_ok());
    assert_eq!(world.sink.with_code("body_unscanned").len(), 1);
}

#[tokio::test]
async fn a_waiver_lets_pass_until_it_ends_and_each_use_is_written_down() {
    let world = World::new().await;
    let token = world.signed(world.token());
    let caller = world.admit(&token).await;
    let block = PassthroughLayer::builder(&Hop::new(&world.ledger, &world.audit, world.clock.clone()));
    let until = world.clock.now().after(minutes(2));
    let waiver = || Waiver::new("ticket 4711", "payments team", until);
    let leaks = || {
        let mut header = outgoing(&caller, String::new());
        header.headers_mut().insert("x-api-key", token.parse().unwrap());
        [header, outgoing(&caller, format!("t={token}"))]
    };
    let modes = [
        block.clone().dangerous_report_only(waiver()),
        block.clone().dangerous_except("https://peer.internal", waiver()),
    ]
    .map(|block| block.build().unwrap());
    for mode in &modes {
        for leak in leaks() {
            assert!(taken(mode, leak).await.is_ok());
            let event = world.sink.with_code("waiver_used").pop().unwrap();
            let waived = event.waiver.expect("on what grounds");
            assert_eq!((waived.relaxation.name(), waived.waiver), ("passthrough", waiver()));
            assert_eq!(event.found, Some(caller.facts().fingerprint));
        }
    }
    assert_eq!(world.sink.with_code("waiver_used").len(), 4);
    let other = block.dangerous_except("https://other.internal", waiver()).build().unwrap();
    for leak in leaks() {
        assert_eq!(taken(&other, leak).await.unwrap_err(), "passthrough_blocked");
    }
    world.clock.advance(minutes(2));
    for mode in &modes {
        for leak in leaks() {
            assert_eq!(taken(mode, leak).await.unwrap_err(), "passthrough_blocked");
        }
    }
    assert_eq!(world.sink.with_code("waiver_used").len(), 4);
}
