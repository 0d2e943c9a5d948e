//! The same stack over other clients than `reqwest`'s, and what a guarded client offers and never does (row E12).

use std::time::Duration;

use bytes::Bytes;
use hopguard::{EgressError, OnBehalfOf, ScannedBody, Spawn};
use hopguard_testkit::{WireAnswer, WireRecorder};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tower::{Layer, ServiceExt, service_fn};

use crate::world::{INVENTORY, World};

type Outgoing = ScannedBody<Full<Bytes>>;

fn call(world: &World, path: &str, whom: Option<OnBehalfOf>) -> Request<Full<Bytes>> {
    let request = Request::post(world.peer.url(path)).body(Full::new(Bytes::from("seven")));
    let mut request = request.unwrap();
    whom.map(|whom| request.extensions_mut().insert(whom));
    request
}

/// What holds whatever client is at the end of the stack.
async fn guards<S, R, E>(world: &World, client: S)
where
    S: tower::Service<Request<Full<Bytes>>, Response = Response<R>, Error = EgressError<E>> + Clone,
    R: http_body::Body,
    E: std::fmt::Debug,
    R::Error: std::fmt::Debug,
{
    let caller = world.caller().await;
    let whom = || Some(OnBehalfOf::caller(&caller));
    let answer = client.clone().oneshot(call(world, "/stock/42", whom())).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "7 in stock");
    let requests = world.peer.requests();
    let shown = requests[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(hopguard_testkit::mint::claims_of(shown)["aud"], INVENTORY);
    assert_eq!((requests[0].method.as_str(), requests[0].text()), ("POST", "seven"));
    for (path, whom, code) in [
        ("/stock/42", None, "evidence_missing"),
        ("/stock/42", Some(OnBehalfOf::ourselves()), "evidence_missing"),
        ("/closed", whom(), "destination_unlisted"),
        ("//open", whom(), "target_unreadable"),
    ] {
        let outcome = client.clone().oneshot(call(world, path, whom)).await;
        assert_eq!(outcome.err().map(|error| error.code()), Some(code), "{path}");
    }
    let mut leak = call(world, "/open", whom());
    let text = caller.subject_token().dangerous_expose().to_owned();
    *leak.body_mut() = Full::new(Bytes::from(text.clone()));
    let outcome = client.clone().oneshot(leak).await;
    assert_eq!(outcome.err().map(|error| error.code()), Some("passthrough_blocked"));
    assert!(!world.peer.saw(&text));
    assert_eq!(world.reached(), 1);
}

#[tokio::test]
async fn the_stack_stands_over_hyper_utils_client() {
    let world = World::new().await;
    let pool: Client<HttpConnector, Outgoing> = Client::builder(Spawn::current()).build_http();
    guards(&world, world.egress.layer(pool)).await;
}

/// One connection for one request, driven beside it.
async fn send(request: Request<Outgoing>) -> std::io::Result<Response<Full<Bytes>>> {
    let other = std::io::Error::other;
    let address = request.uri().authority().unwrap().as_str().to_owned();
    let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(other)?;
    let exchange = async move {
        let response: Response<Incoming> = sender.send_request(request).await.map_err(other)?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(other)?.to_bytes();
        Ok(Response::from_parts(parts, Full::new(body)))
    };
    let (answer, _closed) = tokio::join!(exchange, connection);
    answer
}

#[tokio::test]
async fn the_stack_stands_over_any_service() {
    let world = World::new().await;
    guards(&world, world.egress.layer(service_fn(send))).await;
}

#[tokio::test]
async fn what_a_reqwest_user_expects_is_there() {
    let world = World::new().await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    let url = world.peer.url("/stock");
    for request in [calls.get(&url), calls.post(&url), calls.put(&url), calls.patch(&url), calls.delete(&url)]
    {
        assert_eq!(request.text().await.unwrap(), "7 in stock");
    }
    assert_eq!(calls.head(&url).send().await.unwrap().status(), 200);
    calls.post(&url).form(&[("name", "a & b=c"), ("x", "ä")]).send().await.unwrap();
    calls.post(&url).json(&serde_json::json!({"n": 7})).send().await.unwrap();
    let stream = futures_util::stream::iter(["se", "ven"].map(Ok::<_, std::io::Error>));
    calls.put(&url).body(reqwest::Body::wrap_stream(stream)).send().await.unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("x-mine", http::HeaderValue::from_static("1"));
    calls.get(&url).segment("a b").query(&[("q", "a b")]).headers(headers).send().await.unwrap();
    let requests = world.peer.requests();
    let methods: Vec<_> = requests.iter().map(|request| request.method.as_str()).collect();
    let expected = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "POST", "POST", "PUT", "GET"];
    assert_eq!(methods, expected);
    assert_eq!(requests[6].text(), "name=a%20%26%20b%3Dc&x=%C3%A4");
    assert_eq!(requests[6].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        (requests[7].text(), requests[7].header("content-type")),
        (r#"{"n":7}"#, Some("application/json"))
    );
    assert_eq!(requests[8].text(), "seven");
    assert_eq!(
        (requests[9].target.as_str(), requests[9].header("x-mine")),
        ("/stock/a%20b?q=a%20b", Some("1"))
    );
}

#[tokio::test]
async fn a_handler_brings_no_credential_of_its_own() {
    let world = World::new().await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    for name in ["authorization", "proxy-authorization"] {
        for path in ["/stock", "/open"] {
            let outcome = calls.get(&world.peer.url(path)).header(name, "Bearer mine").send().await;
            world.refused(outcome, "credential_unexpected");
        }
    }
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

/// `CONNECT` sends no path, and so another target than the one that was judged.
#[tokio::test]
async fn a_handler_that_hands_on_its_callers_method_opens_no_tunnel() {
    let world = World::new().await;
    let caller = world.caller().await;
    for method in [http::Method::CONNECT, http::Method::TRACE] {
        for path in ["/stock/42", "/open"] {
            let calls = world.client.on_behalf_of(&caller);
            let outcome = calls.request(method.clone(), &world.peer.url(path)).send().await;
            world.refused(outcome, "request_unsendable");
        }
    }
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

/// A broken answer may be a token, and whoever logs the error does not write it down.
#[tokio::test]
async fn an_answer_that_is_no_such_json_is_not_repeated() {
    let peer =
        WireRecorder::answering(|_| WireAnswer::text(200, "[1,\n\"eyJhbGciOiJub25lIn0.e30.c2lnbmVk\"]"))
            .await;
    let world = World::with_peer(peer).await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    let error = calls.get(&world.peer.url("/stock")).read_json::<Vec<u32>>().await.unwrap_err();
    let mut shown = format!("{error:?} {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        shown.push_str(&format!(" {cause:?} {cause}"));
        source = cause.source();
    }
    assert!(!shown.contains("eyJ") && shown.contains("line 2, column 34"), "{shown}");
    let payload = hopguard::Payload::Whole("eyJhbGciOiJub25lIn0.e30.c2lnbmVk".into());
    assert_eq!(format!("{payload:?}"), "Payload(32 bytes)");
    let numbers = calls.get(&world.peer.url("/stock")).read_json::<serde_json::Value>().await.unwrap();
    assert_eq!(numbers[0], 1);
    assert_eq!(error.code(), "peer_answer_unexpected");
}

/// What will be the same next time is not called unavailable: whoever waits and asks again would never stop.
#[tokio::test]
async fn an_answer_that_is_no_success_is_repeated_only_if_that_may_help() {
    use axum::response::IntoResponse;

    for (status, code, retry) in [
        (404, "peer_answer_unexpected", false),
        (400, "peer_answer_unexpected", false),
        (500, "peer_answer_unexpected", false),
        (304, "peer_answer_unexpected", false),
        (408, "peer_unavailable", true),
        (425, "peer_unavailable", true),
        (429, "peer_unavailable", true),
        (502, "peer_unavailable", true),
        (503, "peer_unavailable", true),
        (504, "peer_unavailable", true),
    ] {
        let peer = WireRecorder::answering(move |_| WireAnswer::text(status, "no")).await;
        let world = World::with_peer(peer).await;
        let caller = world.caller().await;
        let call = world.client.on_behalf_of(&caller).get(&world.peer.url("/stock"));
        let error = call.text().await.unwrap_err();
        assert_eq!((error.code(), error.retry_after().is_some()), (code, retry), "{status}");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some(&*format!("the peer answered {status}")));
        let answer = hopguard::EgressRejection::from(error).into_response();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (502, retry));
    }
}

#[tokio::test]
async fn a_request_may_be_given_less_time_than_the_client() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let peer = WireRecorder::answering(move |_| WireAnswer::text(200, "late").held_by(held.clone())).await;
    let world = World::with_peer(peer).await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    let outcome = calls.get(&world.peer.url("/stock")).timeout(Duration::from_millis(200)).send().await;
    assert_eq!(outcome.err().map(|error| error.code()), Some("peer_unavailable"));
    assert_eq!(world.reached(), 1);
}

/// A peer that takes the request and hangs up is not asked again, on a new connection or on one in use: whoever
/// repeats a request below the stack repeats its credential, and perhaps what it did.
#[tokio::test]
async fn nothing_below_the_stack_asks_twice() {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let peer =
        WireRecorder::answering(move |_| match seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => WireAnswer::text(200, "once"),
            _ => WireAnswer::raw(""),
        })
        .await;
    let world = World::with_peer(peer).await;
    let caller = world.caller().await;
    assert_eq!(world.call(&caller).await.unwrap().text().await.unwrap(), "once");
    for expected in [2, 3] {
        let outcome = world.call(&caller).await;
        assert_eq!(outcome.err().map(|error| error.code()), Some("peer_unavailable"));
        assert_eq!(world.reached(), expected);
    }
}

/// The caller goes into a task by value, and only so.
#[tokio::test]
async fn a_caller_crosses_into_a_task_by_being_handed_over() {
    let world = std::sync::Arc::new(World::new().await);
    let caller = world.caller().await;
    let (client, url) = (world.client.clone(), world.peer.url("/stock"));
    let mut tasks = tokio::task::JoinSet::new();
    let handed = caller.clone();
    let (with, to) = (client.clone(), url.clone());
    tasks
        .spawn(async move { with.on_behalf_of(&handed).get(&to).send().await.map(|answer| answer.status()) });
    assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap(), 200);
    tasks.spawn(async move { client.as_nobody().get(&url).send().await.map(|answer| answer.status()) });
    let outcome = tasks.join_next().await.unwrap().unwrap();
    world.refused(outcome, "evidence_missing");
    assert_eq!(world.reached(), 1);
}
