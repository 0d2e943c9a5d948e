//! Where is the issuer's token endpoint? Configured, or read from the issuer's own metadata (RFC 8414).

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hopguard_client::Transport;
use hopguard_core::{Clock, Fault, Monotonic, parse_absolute};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serde::Deserialize;

use crate::answer::{is_json, transport_fault};
use crate::flight::{Boarding, Flights};

/// The shortest time between two attempts at discovery.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// Inserted between host and path of the issuer (RFC 8414 section 3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// The one token endpoint that an exchanger ever sends to.
#[derive(Debug)]
pub(crate) enum TokenEndpoint {
    /// From configuration.
    Fixed(Uri),
    /// From the issuer's metadata, at first use.
    Discovered(Discovery),
}

impl TokenEndpoint {
    /// The endpoint, asking the issuer for it if it is not known yet.
    ///
    /// # Errors
    ///
    /// [`Fault::StsUnavailable`] or [`Fault::StsAnswerInvalid`], as the metadata could not be had or read.
    pub(crate) async fn find(&self, transport: &dyn Transport, clock: &dyn Clock) -> Result<Uri, Fault> {
        match self {
            Self::Fixed(endpoint) => Ok(endpoint.clone()),
            Self::Discovered(discovery) => discovery.find(transport, clock).await,
        }
    }
}

/// Discovery of one issuer, shared by all who wait for it.
#[derive(Debug)]
pub(crate) struct Discovery {
    issuer: Arc<str>,
    metadata: Uri,
    found: OnceLock<Uri>,
    flights: Arc<Flights<(), Result<Uri, Fault>>>,
    // When the last attempt began, and how it failed.
    failed: Mutex<Option<(Monotonic, Fault)>>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
}

impl Discovery {
    /// Discovery of `issuer`, a URL that was read by [`parse_absolute`] and has neither query nor fragment;
    /// `None` if no metadata URL can be made of it.
    pub(crate) fn of(issuer: &str, parsed: &Uri) -> Option<Self> {
        let (scheme, authority) = (parsed.scheme_str()?, parsed.authority()?);
        let path = parsed.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let metadata = format!("{scheme}://{authority}{WELL_KNOWN}{path}").parse().ok()?;
        Some(Self {
            issuer: issuer.into(),
            metadata,
            found: OnceLock::new(),
            // Whoever waits here leads an exchange, and those are bounded already.
            flights: Flights::new(1, usize::MAX),
            failed: Mutex::default(),
        })
    }

    async fn find(&self, transport: &dyn Transport, clock: &dyn Clock) -> Result<Uri, Fault> {
        if let Some(endpoint) = self.found.get() {
            return Ok(endpoint.clone());
        }
        let at = clock.monotonic();
        let known = || self.found.get().cloned().map(Ok).or_else(|| self.just_failed(at).map(Err));
        match self.flights.board((), known) {
            Boarding::Landed(known) => known,
            Boarding::Follows(passenger) => passenger.await.unwrap_or(Err(Fault::StsUnavailable)),
            Boarding::Leads(pilot, _passenger) => {
                let outcome = self.ask(transport).await;
                match &outcome {
                    // Nobody else can have set it: this is the one flight.
                    Ok(endpoint) => drop(self.found.set(endpoint.clone())),
                    Err(fault) => *self.last_failure() = Some((at, *fault)),
                }
                pilot.land(outcome.clone());
                outcome
            }
            Boarding::Full => Err(Fault::ExchangeOverloaded),
        }
    }

    fn last_failure(&self) -> std::sync::MutexGuard<'_, Option<(Monotonic, Fault)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn just_failed(&self, now: Monotonic) -> Option<Fault> {
        self.last_failure().filter(|(at, _)| now.since(*at) < BETWEEN_ATTEMPTS).map(|(_, fault)| fault)
    }

    async fn ask(&self, transport: &dyn Transport) -> Result<Uri, Fault> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.metadata.clone();
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let response = transport.send(request).await.map_err(transport_fault)?;
        read_metadata(&response, &self.issuer)
    }
}

fn read_metadata(response: &Response<Bytes>, issuer: &str) -> Result<Uri, Fault> {
    let status = response.status();
    let invalid = |problem: &'static str| {
        tracing::warn!(status = status.as_u16(), problem, "the authorization server's metadata is unusable");
        Fault::StsAnswerInvalid
    };
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(Fault::StsUnavailable);
    }
    if status != StatusCode::OK || !is_json(response.headers()) {
        return Err(invalid("it is no JSON document"));
    }
    let metadata: Metadata = serde_json::from_slice(response.body())
        .map_err(|_| invalid("issuer or token_endpoint is unreadable"))?;
    // RFC 8414 section 3.3: another name, however alike, is another server.
    if metadata.issuer != issuer {
        return Err(invalid("it names another issuer"));
    }
    let url = endpoint_url(&metadata.token_endpoint).map_err(invalid)?;
    // An issuer that is asked over https cannot send us to plain http, be it on this machine.
    if metadata.issuer.starts_with("https:") && url.scheme_str() != Some("https") {
        return Err(invalid("is plain http, and the issuer is not"));
    }
    Ok(url)
}

/// Reads the URL of a token endpoint (RFC 6749 section 3.2: no fragment).
///
/// # Errors
///
/// A sentence that reads on from the setting's name.
pub(crate) fn endpoint_url(url: &str) -> Result<Uri, &'static str> {
    if url.contains('#') {
        return Err("has a fragment");
    }
    parse_absolute(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://sts.internal";

    #[track_caller]
    fn metadata_url(issuer: &str, expected: &str) {
        let found = Discovery::of(issuer, &parse_absolute(issuer).unwrap()).unwrap();
        assert_eq!(found.metadata, expected);
    }

    #[test]
    fn the_well_known_part_stands_between_host_and_path() {
        metadata_url(ISSUER, "https://sts.internal/.well-known/oauth-authorization-server");
        metadata_url("https://sts.internal/", "https://sts.internal/.well-known/oauth-authorization-server");
        metadata_url(
            "http://127.0.0.1:8080/realms/a",
            "http://127.0.0.1:8080/.well-known/oauth-authorization-server/realms/a",
        );
    }

    #[track_caller]
    fn metadata(status: u16, body: &str, expected: Result<&str, &str>) {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let found = read_metadata(&response, ISSUER).map(|uri| uri.to_string()).map_err(Fault::code);
        assert_eq!(found.as_deref().map_err(|code| *code), expected, "{body}");
    }

    #[test]
    fn metadata_is_read_strictly() {
        let good =
            r#"{"issuer":"https://sts.internal","token_endpoint":"https://sts.internal/token","x":null}"#;
        metadata(200, good, Ok("https://sts.internal/token"));
        for (from, to) in [
            ("https://sts.internal\"", "https://sts.internal/\""),
            ("https://sts.internal\"", "https://STS.internal\""),
            ("https://sts.internal\"", "https://evil.internal\""),
            ("https://sts.internal/token", "http://sts.internal/token"),
            ("https://sts.internal/token", "https://u:p@sts.internal/token"),
            ("https://sts.internal/token", "https://sts.internal/token#x"),
            ("https://sts.internal/token", "/token"),
            ("token_endpoint", "endpoint"),
            ("\"x\":null", "\"issuer\":\"https://sts.internal\""),
        ] {
            assert!(good.contains(from));
            metadata(200, &good.replacen(from, to, 1), Err("sts_answer_invalid"));
        }
        for status in [201, 301, 302, 400, 404] {
            metadata(status, good, Err("sts_answer_invalid"));
        }
        for status in [429, 500, 503] {
            metadata(status, good, Err("sts_unavailable"));
        }
        metadata(200, "<html>", Err("sts_answer_invalid"));
    }
}
