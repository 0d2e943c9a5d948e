//! Row E9: no answer to the caller carries a credential of this process.

use std::convert::Infallible;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream;
use hopguard::{Inbound, Issuer, ResponseRule, ScopeGuard, Ttl, minutes};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::{ServiceExt, service_fn};

use crate::world::{ORDERS, World};

fn scrubbing(world: &World) -> Inbound {
    Inbound::builder(&world.ledger, &world.audit)
        .issuer(Issuer::at(&world.sts.issuer()))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(10)))
        .scope(ScopeGuard::any_scope())
        .clock(world.clock.clone())
        .responses(ResponseRule::default().scrub_headers())
        .build()
        .unwrap()
}

/// What the caller gets when the handler answers so.
async fn answer(inbound: &Inbound, token: &str, header: &str, body: &str) -> (u16, bool, String) {
    let (header, body) = (header.to_owned(), body.to_owned());
    let service = inbound.around(service_fn(move |_: Request<hopguard::Upload<String>>| {
        let response = Response::builder().header("x-debug", &header).body(body.clone()).unwrap();
        async { Ok::<_, Infallible>(response) }
    }));
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    let response = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
    let (status, kept) = (response.status().as_u16(), response.headers().contains_key("x-debug"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kept, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_answer_with_a_credential_becomes_502() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let caller = world.admit(&own).await;
    let theirs = world.signed(world.sts.token(ORDERS, "bob", "orders:read"));
    world.admit(&theirs).await;
    world.call(&caller).await.unwrap();
    let grant = world.peer.requests()[0].header("authorization").unwrap().replace("Bearer ", "");
    assert_eq!(answer(&world.inbound, &own, "17", "in stock").await, (200, true, "in stock".to_owned()));
    for token in [&own, &theirs, &grant] {
        let basic = BASE64_STANDARD.encode(format!("u:{token}"));
        for (header, body) in [(token.as_str(), ""), (&basic, ""), ("17", token), ("17", &basic)] {
            let (status, kept, text) = answer(&world.inbound, &own, header, &format!("{{{body}}}")).await;
            assert_eq!((status, kept, text.as_str()), (502, false, ""));
        }
    }
    let events = world.sink.with_code("response_leak");
    assert_eq!(events.len(), 12);
    assert_eq!(events[0].found, Some(caller.facts().fingerprint));
    assert_eq!(events[0].place.as_deref(), Some("x-debug"));
    assert_eq!(events[2].place.as_deref(), Some("body"));
}

#[tokio::test]
async fn headers_are_scrubbed_if_that_is_set_and_bodies_are_not() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let inbound = scrubbing(&world);
    assert_eq!(answer(&inbound, &own, &own, "in stock").await, (200, false, "in stock".to_owned()));
    assert_eq!(world.sink.sole("response_scrubbed").place.as_deref(), Some("x-debug"));
    assert_eq!(answer(&inbound, &own, "17", &own).await.0, 502);
}

#[tokio::test]
async fn a_later_hit_ends_the_stream() {
    let world = World::new().await;
    let own = world.signed(world.token());
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let mut receiver = Some(receiver);
    let service = world.inbound.around(tower::util::service_fn({
        let parts = std::sync::Arc::new(std::sync::Mutex::new(receiver.take()));
        move |_: Request<hopguard::Upload<String>>| {
            let mut receiver = parts.lock().unwrap().take().expect("called once");
            let frames = stream::poll_fn(move |context| {
                receiver
                    .poll_recv(context)
                    .map(|bytes| bytes.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))))
            });
            async move { Ok::<_, Infallible>(Response::new(Defaulted(Some(StreamBody::new(frames))))) }
        }
    }));
    let request = Request::get("/").header("authorization", format!("Bearer {own}"));
    let mut response = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200, "nothing of the body was at hand, and its head is not kept back");
    sender.send(Bytes::from_static(b"first")).unwrap();
    assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    sender.send(Bytes::from(own.clone())).unwrap();
    assert!(response.body_mut().frame().await.unwrap().is_err());
    assert_eq!(world.sink.sole("response_leak").place.as_deref(), Some("body"));
}

/// A stream has no default; a refusal needs one.
struct Defaulted<B>(Option<B>);

impl<B> Default for Defaulted<B> {
    fn default() -> Self {
        Self(None)
    }
}

impl<B: http_body::Body + Unpin> http_body::Body for Defaulted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.0 {
            Some(body) => std::pin::Pin::new(body).poll_frame(context),
            None => std::task::Poll::Ready(None),
        }
    }
}
