//! The endpoints over HTTP: reads a bounded request, asks, answers, and has it written down.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::routing::{get, post};
use hopguard_client::Durably;
use hopguard_core::{Audit, Decision, Denial, Direction, EventKind, Fault, Id, Monotonic, Refusal, seconds};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::answer::{granted, oauth, refused};
use crate::exchange::{Exchanged, Trail};
use crate::form::Form;
use crate::sts::{Inner, Sts};

const LARGEST_BODY: usize = 64 * 1024;
const SLOWEST_BODY: Duration = seconds(10);
const GATE: &str = "sts";

pub(crate) fn router(sts: Sts) -> Router {
    Router::new()
        .route(&sts.0.token_path(), post(token))
        .route(&sts.0.jwks_path(), get(jwks))
        .route(&sts.0.metadata_path(), get(metadata))
        .with_state(sts)
}

async fn jwks(State(sts): State<Sts>) -> Response<Body> {
    document(sts.jwks())
}

async fn metadata(State(sts): State<Sts>) -> Response<Body> {
    document(sts.0.metadata().to_string())
}

fn document(json: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(json));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A minute bounds how long a cache in between can hide a rotation.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    answer
}

async fn token(State(sts): State<Sts>, request: Request) -> Response<Body> {
    let arrived = Arrived {
        id: Id::fresh(),
        at: sts.0.clock.monotonic(),
        peer: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer),
    };
    let mut trail = Trail::default();
    let outcome = match read(request).await {
        Ok((headers, form)) => sts.0.exchange(&headers, &form, &mut trail),
        Err(denial) => Err(denial.into()),
    };
    let written = sts.0.write_down(&arrived, trail, outcome).await;
    written.and_then(|exchanged| Ok(granted(&exchanged)?)).unwrap_or_else(refused)
}

/// Reads the form, within its bounds.
async fn read(request: Request) -> Result<(HeaderMap, Form), Denial> {
    let (head, body) = request.into_parts();
    // Parameters of a token request stand in its body only: a URL is written to logs.
    if head.uri.query().is_some() || !is_form(&head.headers) {
        return Err(Denial::RequestMalformed);
    }
    let body = tokio::time::timeout(SLOWEST_BODY, to_bytes(body, LARGEST_BODY)).await;
    let body = body.map_err(|_| Denial::RequestMalformed)?.map_err(|_| Denial::RequestTooLarge)?;
    Ok((head.headers, Form::read(&body)?))
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return false };
    let media_type = one.to_str().ok().and_then(|value| value.split(';').next());
    media_type.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

struct Arrived {
    id: Id,
    at: Monotonic,
    peer: Option<SocketAddr>,
}

impl Inner {
    /// INVARIANT: I11 — one event per request; without it, no token.
    async fn write_down(
        &self,
        arrived: &Arrived,
        trail: Trail,
        outcome: Result<Exchanged, Refusal>,
    ) -> Result<Exchanged, Refusal> {
        let Some(audit) = &self.audit else { return outcome };
        let (decision, status) = match &outcome {
            Ok(_) => (Decision::Allow("exchanged"), StatusCode::OK),
            Err(refusal) => (refusal.clone().into(), oauth(refusal).0),
        };
        let is_stranger = trail.client.is_none();
        let now = self.clock.unix_millis();
        let mut event = audit.event(now, Direction::Inbound, EventKind::Decision, GATE, decision);
        event.request_id = Some(arrived.id);
        // The route is for this one, and no other gets as far as an event.
        event.method = Some("POST");
        event.status = Some(status.as_u16());
        event.peer = arrived.peer;
        event.client = trail.client;
        event.requested = trail.requested;
        event.unverified = trail.unverified;
        event.token = trail.token;
        event.grant = outcome.as_ref().ok().map(|exchanged| exchanged.token.facts.clone());
        event.latency = Some(self.clock.monotonic().since(arrived.at));
        if is_stranger {
            audit.stranger(event);
            return outcome;
        }
        write(audit, event, outcome).await
    }
}

async fn write(
    audit: &Audit,
    event: hopguard_core::Event,
    outcome: Result<Exchanged, Refusal>,
) -> Result<Exchanged, Refusal> {
    if outcome.is_err() {
        // Nothing is allowed, so nothing has to be safe first; what finds no room is counted.
        audit.refusal(event);
        return outcome;
    }
    let written = match audit.write_durably(event) {
        Ok(acknowledgement) => Durably::new(acknowledgement).await,
        Err(full) => Err(full),
    };
    if written.is_err() { Err(Fault::AuditUnavailable.into()) } else { outcome }
}
