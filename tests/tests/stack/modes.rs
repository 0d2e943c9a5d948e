//! The block's settings: what a waiver lets pass is all written down, what is not undone is not let pass unread,
//! and it stands alone in front of a client that is not ours.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use hopguard::{Admitted, BodyScan, Hop, OnBehalfOf, OpenPaths, PassthroughLayer, ScannedBody};
use hopguard_core::{Clock, Waiver, minutes};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{ORDERS, World};

fn layer(world: &World) -> PassthroughLayer {
    PassthroughLayer::new(&Hop::new(&world.ledger, &world.audit, world.clock.clone()))
}

/// All that arrives below the block, or the code of what it did about the request.
async fn arrived<B>(
    layer: &PassthroughLayer,
    mut request: Request<B>,
    caller: &Admitted,
) -> Result<Bytes, String>
where
    B: Body + 'static,
    B::Error: std::fmt::Debug + std::fmt::Display,
{
    request.extensions_mut().insert(OnBehalfOf::caller(caller));
    let client = service_fn(|request: Request<ScannedBody<B>>| async {
        let collected = request.into_body().collect().await;
        Ok::<_, Infallible>(Response::new(collected.map(http_body_util::Collected::to_bytes)))
    });
    let answer = layer.layer(client).oneshot(request).await.map_err(|error| error.code().to_owned())?;
    answer.into_body().map_err(|error| error.to_string())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::default());
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap()
}

#[tokio::test]
async fn under_a_waiver_every_finding_is_written_down() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let caller = world.admit(&own).await;
    let theirs: Vec<String> = ["bob", "carol", "dave"]
        .into_iter()
        .map(|name| world.signed(world.sts.token(ORDERS, name, "orders:read")))
        .collect();
    let mut fingerprints = vec![caller.facts().fingerprint];
    for token in &theirs {
        fingerprints.push(world.admit(token).await.facts().fingerprint);
    }
    let until = world.clock.now().after(minutes(2));
    let reporting = layer(&world).dangerous_report_only(Waiver::new("ticket 4711", "payments team", until));

    // Two headers, two credentials in one chunk of the body, one later on, one in a trailer.
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", theirs[2].parse().unwrap());
    let chunks = [
        format!("{{\"a\":\"{own}\",\"\\u0062\":\"{}\",", theirs[0]),
        format!("\"c\":\"{own}\",\"d\":\"x\","),
        format!("\"e\":\"{}\"}}", theirs[1]),
    ];
    let sent: String = chunks.concat();
    let frames = chunks.into_iter().map(|chunk| Frame::data(Bytes::from(chunk)));
    let frames: Vec<_> = frames.chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>).collect();
    let request = Request::post("https://peer.internal/x").header("x-a", &own).header("x-b", &theirs[0]);
    let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
    assert_eq!(arrived(&reporting, request, &caller).await.unwrap(), sent);
    let told = |world: &World| -> Vec<_> {
        let uses = world.sink.with_code("waiver_used").into_iter();
        uses.map(|event| (event.place.unwrap().to_string(), event.found.unwrap())).collect()
    };
    let expected = [("x-a", 0), ("x-b", 1), ("body", 0), ("body", 1), ("body", 2), ("trailer x-sum", 3)]
        .map(|(place, whose)| (place.to_owned(), fingerprints[whose]));
    assert_eq!(told(&world), expected, "each credential once for a body");

    // The same in a compressed body, and in one that is there whole.
    for (coding, body) in [("gzip", gzip(&sent)), ("identity", sent.clone().into_bytes())] {
        let before = told(&world).len();
        let request = Request::post("https://peer.internal/x").header("content-encoding", coding);
        let request = request.body(Full::new(Bytes::from(body.clone()))).unwrap();
        assert_eq!(arrived(&reporting, request, &caller).await.unwrap(), body);
        assert_eq!(told(&world)[before..], expected[2..5], "{coding}");
    }
    // Once it has ended, the first of them refuses.
    world.clock.advance(minutes(2));
    let request = Request::post("https://peer.internal/x").body(sent).unwrap();
    assert_eq!(arrived(&reporting, request, &caller).await, Err("passthrough_blocked".to_owned()));
}

/// A body that nobody can read is let pass by a waiver; its trailers can be read all the same.
#[tokio::test]
async fn what_cannot_be_read_still_has_trailers() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let caller = world.admit(&own).await;
    let until = world.clock.now().after(minutes(2));
    let reporting = layer(&world).dangerous_report_only(Waiver::new("ticket 4711", "payments team", until));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", own.parse().unwrap());
    let frames = [Frame::data(Bytes::from_static(b"?")), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    let request = Request::post("https://peer.internal/x").header("content-encoding", "br");
    let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
    assert_eq!(arrived(&reporting, request, &caller).await.unwrap(), "?");
    let places: Vec<_> =
        world.sink.with_code("waiver_used").into_iter().map(|event| event.place.unwrap()).collect();
    assert_eq!(places, ["body".into(), "trailer x-sum".into()]);
}

#[tokio::test]
async fn without_decompression_a_compressed_body_is_unreadable() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let caller = world.admit(&own).await;
    let without = BodyScan::default().without_decompression();
    let request = |text: &str| {
        let request = Request::post("https://peer.internal/x").header("content-encoding", "gzip");
        request.body(Full::new(Bytes::from(gzip(text)))).unwrap()
    };
    let refusing = layer(&world).bodies(without);
    assert_eq!(arrived(&refusing, request("harmless"), &caller).await, Err("body_unscannable".to_owned()));
    let auditing = layer(&world).bodies(without.audit_beyond());
    assert!(arrived(&auditing, request(&own), &caller).await.is_ok());
    assert_eq!(world.sink.sole("body_unscanned").place.as_deref(), Some("body"));
    // What is not compressed is looked through as ever.
    let plain = Request::post("https://peer.internal/x").body(own.clone()).unwrap();
    assert_eq!(arrived(&auditing, plain, &caller).await, Err("passthrough_blocked".to_owned()));
}

/// Nobody is checked on an open path, and yet no credential of this process may be in its answer.
#[tokio::test]
async fn answers_of_open_paths_are_looked_through() {
    let world = World::new().await;
    let theirs = world.signed(world.token());
    world.admit(&theirs).await;
    let inbound = world.inbound.clone().open(OpenPaths::paths(["/health"]));
    let status = async |text: &str, header: &str| {
        let (text, header) = (text.to_owned(), header.to_owned());
        let service = inbound.around(service_fn(move |_: Request<hopguard::Upload<String>>| {
            let response = Response::builder().header("x-debug", &header).body(text.clone());
            async { Ok::<_, Infallible>(response.unwrap()) }
        }));
        let request = Request::get("/health").body(String::new()).unwrap();
        service.oneshot(request).await.unwrap().status()
    };
    assert_eq!(status("fine", "17").await, StatusCode::OK);
    assert_eq!(status(&format!("last caller: {theirs}"), "17").await, StatusCode::BAD_GATEWAY);
    assert_eq!(status("fine", &theirs).await, StatusCode::BAD_GATEWAY);
    assert_eq!(world.sink.with_code("response_leak").len(), 2);
}

/// A reverse proxy as others write it: hyper in front, hyper behind, and the block between them.
async fn proxy(world: &World) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<ScannedBody<hyper::body::Incoming>>();
    let (guarded, peer) = (layer(world).layer(client), world.peer.url(""));
    let spawn = hopguard_client::Spawn::current();
    spawn.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (guarded, peer) = (guarded.clone(), peer.clone());
            let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
                let (guarded, path) = (guarded.clone(), request.uri().to_string());
                *request.uri_mut() = format!("{}{path}", peer.trim_end_matches('/')).parse::<Uri>().unwrap();
                request.headers_mut().remove("host");
                async move {
                    Ok::<_, Infallible>(match guarded.oneshot(request).await {
                        Ok(answer) => {
                            let through = Response::builder().status(answer.status());
                            through.body(Full::new(Bytes::from_static(b"through"))).unwrap()
                        }
                        Err(error) => {
                            let refused = Response::builder().status(502).header("x-code", error.code());
                            refused.body(Full::default()).unwrap()
                        }
                    })
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            spawn.spawn(async move {
                // A client may go away at any time; the test looks at what it got.
                connection.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    address
}

#[tokio::test]
async fn it_stands_alone_in_a_reverse_proxy_of_hypers() {
    let world = World::new().await;
    let token = world.signed(world.token());
    world.admit(&token).await;
    let address = proxy(&world).await;
    let exchange = async |request: String| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).to_ascii_lowercase()
    };
    let head = "host: proxy.internal\r\nconnection: close\r\n";
    let answer = exchange(format!("GET /stock HTTP/1.1\r\n{head}\r\n")).await;
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("through"), "{answer}");
    let chunked = |text: &str| {
        let (first, second) = text.split_at(text.len() / 2);
        let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
        format!(
            "POST /stock HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunk(first),
            chunk(second)
        )
    };
    assert!(exchange(chunked("an ordinary body in two parts")).await.starts_with("http/1.1 200"));
    let reached = world.reached();
    for leak in [
        format!("GET /stock HTTP/1.1\r\n{head}authorization: Bearer {token}\r\n\r\n"),
        format!("GET /stock?q={token} HTTP/1.1\r\n{head}\r\n"),
        format!("POST /stock HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{token}", token.len()),
        chunked(&format!("{{\"token\":\"{token}\"}}")),
    ] {
        let answer = exchange(leak).await;
        assert!(
            answer.starts_with("http/1.1 502") && answer.contains("x-code: passthrough_blocked"),
            "{answer}"
        );
    }
    assert!(!world.peer.saw(&token));
    assert!(world.reached() <= reached + 1, "of a stream the beginning may have left, and nothing else");
    assert_eq!(world.sink.with_code("passthrough_blocked").len(), 4);
}
