//! The way out: a call with a grant in the cache, and the block that every call passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hopguard_client::{ClientAuth, SystemClock};
use hopguard_core::{
    Admitted, Anonymous, Audit, Clock, Destination, Exchange, Facts, Fingerprint, Ledger, Monotonic,
    Presented, RawToken, Scanner, StackId, UnixTime, Verified, minutes,
};
use hopguard_tower::{Egress, EgressBuilder, EgressService, Hop, OnBehalfOf, PassthroughLayer, StsEndpoint};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Whose;
use crate::harness::{Group, Lane, Pace};
use crate::inbound::floors;
use crate::world::{Bare, INVENTORY, ISSUER, Key, Sts, TOKEN_ENDPOINT, audit, claims, drive, guard, request};

/// The length of a live credential, in bytes; no access token is much shorter.
pub(crate) const TOKEN: usize = 600;

/// A call on behalf of a caller for whom a grant is there.
pub(crate) fn cached(pace: Pace) -> Group {
    let (es256, rs256) = (Arc::new(Key::es256()), Key::rs256());
    let mut group = Group::new(Whose::Thread);
    let floors = floors(&mut group, &es256, &rs256);
    let many = if pace.rounds < Pace::FULL.rounds { 1000 } else { 10_000 };

    let runtime = Arc::new(runtime());
    let mut lane = |live: usize, called: usize| {
        let (mut service, callers) = warm(&runtime, &es256, live);
        let callers: Vec<_> = (0..called).map(|at| call(Some(&callers[at * (live / called)]))).collect();
        // A cache that is full to the brim has let some go; these are in it from here on.
        for caller in &callers {
            assert!(runtime.block_on(service.call(caller.clone())).is_ok());
        }
        let (entered, mut next) = (runtime.clone(), 0);
        group.lane(Lane::new(format!("hopguard, {live} live grants"), move || {
            let _entered = entered.enter();
            next = (next + 1) % callers.len();
            assert_eq!(drive(&mut service, callers[next].clone()), StatusCode::OK);
        }))
    };
    // The same number of callers takes turns in both, so that only the number of grants differs.
    let (few, lots) = (lane(100, 100), lane(many, 100));
    // Its requests come from as many callers, so that they are as warm or cold as those above.
    let (guard, tokens) = (guard(&Ledger::bounded(), &audit(), &es256), es256.tokens(100));
    let calls: Vec<_> = tokens.iter().map(|token| call(Some(&admitted(&guard, token)))).collect();
    let (entered, mut next) = (runtime.clone(), 0);
    let bare = group.lane(Lane::new("the bare client", move || {
        let _entered = entered.enter();
        next = (next + 1) % calls.len();
        assert_eq!(drive(&mut Bare, calls[next].clone()), StatusCode::OK);
    }));

    group.compare("egress cached", few, floors.rs256, 1.0 / 8.0).over(bare).allocations(20.0);
    group.compare("egress cached: the bare client", bare, floors.rs256, None).allocations(None);
    group.compare(format!("egress cached: {many} live grants, against 100"), lots, few, 1.25);
    group
}

/// The block over an ordinary request, whatever the number of live credentials.
pub(crate) fn passthrough(_: Pace) -> Group {
    let (es256, rs256) = (Key::es256(), Key::rs256());
    let mut group = Group::new(Whose::Thread);
    let floors = floors(&mut group, &es256, &rs256);

    let mut layers = Vec::new();
    for live in [100, 10_000, 100_000] {
        let ledger = Ledger::bounded();
        let caller = admit(&es256, &ledger);
        fill(&ledger, live, TOKEN);
        assert_eq!(ledger.len(), live + 1);
        let hop = Hop::new(&ledger, &audit(), SystemClock::shared());
        let mut service = PassthroughLayer::new(&hop).layer(Bare);
        let template = call(Some(&caller));
        layers.push(group.lane(Lane::new(format!("hopguard, {live} live"), move || {
            assert_eq!(drive(&mut service, template.clone()), StatusCode::OK);
        })));
    }
    let bare = group.lane(Lane::new("the bare client", bare_client()));

    // The decision alone, without the layer around it and its event; and the same where a live credential is so
    // short that no header can be passed over for its length.
    let here = Destination::of(&Uri::from_static(INVENTORY)).expect("an origin");
    let mut scan = |name: &str, length: usize| {
        let (ledger, here) = (Ledger::bounded(), here.clone());
        let caller = admit(&es256, &ledger);
        fill(&ledger, 100_000, length);
        let request = call(None);
        group.lane(Lane::new(name, move || {
            let scanner = Scanner::new(&ledger, &here, SystemClock.now()).with_own(caller.facts());
            assert!(scanner.scan(request.uri(), request.headers()).is_ok());
        }))
    };
    let (scan, short) = (scan("the scan alone", TOKEN), scan("the scan alone, short credentials", 150));

    for (lane, live) in layers.iter().zip(["100", "10 000", "100 000"]) {
        let path = format!("passthrough: {live} live credentials");
        group.compare(path, *lane, floors.rs256, 1.0 / 20.0).over(bare).allocations(None);
    }
    group.compare("passthrough: growth from 100 to 100 000", layers[2], layers[0], 1.25);
    group.compare("passthrough: the scan alone, 100 000 live", scan, floors.rs256, None).allocations(None);
    group.compare("passthrough: the scan alone, short credentials live", short, floors.rs256, None);
    group.compare("passthrough: the bare client", bare, floors.rs256, None).allocations(None);
    group
}

/// What a call costs that nothing is done about.
fn bare_client() -> impl Fn() {
    let ledger = Ledger::bounded();
    let template = call(Some(&admit(&Key::es256(), &ledger)));
    move || assert_eq!(drive(&mut Bare, template.clone()), StatusCode::OK)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The egress stack of the client `name` with one route, exchanging with an authorization server in memory.
pub(crate) fn egress_to(
    ledger: &Ledger,
    audit: &Audit,
    key: &Arc<Key>,
    name: &str,
    route: (&str, &str),
) -> Egress {
    egress_builder(ledger, audit, key, name, route).build().expect("a stack")
}

fn egress_builder(
    ledger: &Ledger,
    audit: &Audit,
    key: &Arc<Key>,
    name: &str,
    (destination, audience): (&str, &str),
) -> EgressBuilder {
    let auth = ClientAuth::client_secret_basic(name, "secret");
    let target = Exchange::audience(audience).scope("stock:read").lifetime_at_most(minutes(61));
    Egress::builder(ledger, audit, StsEndpoint::at(ISSUER, auth).token_endpoint(TOKEN_ENDPOINT))
        .route("https://status.internal", Anonymous)
        .route(destination, target.requires("stock:read"))
        .transport(Arc::new(Sts::of(key)))
}

/// A stack with a grant for each of so many callers.
fn warm(
    runtime: &tokio::runtime::Runtime,
    key: &Arc<Key>,
    live: usize,
) -> (EgressService<Bare>, Vec<Admitted>) {
    let ledger = Ledger::bounded();
    // Most grants in use were not obtained just now, and of those a call keeps what it takes to be made once more.
    let clock = Arc::new(Ahead(AtomicU64::new(0)));
    let egress =
        egress_builder(&ledger, &audit(), key, "orders", (INVENTORY, INVENTORY)).clock(clock.clone());
    let mut service = egress.build().expect("a stack").layer(Bare);
    let guard = guard(&ledger, &audit(), key);
    let tokens = key.tokens(live);
    let callers: Vec<_> = tokens.iter().map(|token| admitted(&guard, token)).collect();
    runtime.block_on(async {
        for caller in &callers {
            assert!(service.call(call(Some(caller))).await.is_ok());
        }
    });
    clock.0.store(60_000, Ordering::Relaxed);
    (service, callers)
}

/// The system's clock, so many milliseconds ahead.
#[derive(Debug)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn unix_millis(&self) -> u64 {
        SystemClock.unix_millis() + self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Monotonic {
        SystemClock.monotonic().after(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn tick(&self) -> UnixTime {
        SystemClock.tick().after(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn both(&self) -> (u64, Monotonic) {
        let (ahead, (wall, monotonic)) = (self.0.load(Ordering::Relaxed), SystemClock.both());
        (wall + ahead, monotonic.after(Duration::from_millis(ahead)))
    }
}

pub(crate) fn admit(key: &Key, ledger: &Ledger) -> Admitted {
    admitted(&guard(ledger, &audit(), key), &key.token(&claims()))
}

/// The evidence that the inbound stack leaves for the handler.
pub(crate) fn admitted(guard: &hopguard_tower::Inbound, token: &str) -> Admitted {
    use futures_util::FutureExt;
    let mut service = guard.around(Witness);
    let response = service.call(request(token)).now_or_never().expect("no waiting").expect("an answer");
    response.extensions().get::<Admitted>().expect("an admitted request").clone()
}

/// Hands the evidence back in its answer.
#[derive(Clone, Copy)]
struct Witness;

impl<B> Service<Request<B>> for Witness {
    type Response = http::Response<Full<Bytes>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut response = http::Response::new(Full::default());
        if let Some(admitted) = hopguard_tower::admitted(request.extensions()) {
            response.extensions_mut().insert(admitted.clone());
        }
        std::future::ready(Ok(response))
    }
}

/// Live credentials of other callers. Nobody verified these, which the ledger cannot know.
pub(crate) fn fill(ledger: &Ledger, live: usize, length: usize) {
    let now = SystemClock.now();
    let key = Key::es256();
    let guard = guard(&Ledger::bounded(), &audit(), &key);
    let pattern = admitted(&guard, &key.token(&claims())).facts().clone();
    let header = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9";
    let payload = "A".repeat(length.saturating_sub(130));
    for n in 0..live {
        // An anchor is the first 16 bytes of the signature.
        let text = format!("{header}.{payload}{n:06}.{:016x}{}", spread(n), "-signature-".repeat(6));
        let facts = Facts {
            fingerprint: Fingerprint::of_token(&text),
            fingerprinted_len: text.rfind('.').unwrap_or_default(),
            expires: now.after(minutes(60)),
            ..Facts::clone(&pattern)
        };
        let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(&text), None);
        let verified = Verified::assert_genuine(presented, Arc::new(facts));
        ledger.remember_received(&verified, now).expect("room");
    }
}

pub(crate) fn spread(n: usize) -> u64 {
    (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// An ordinary call: 12 headers, one KiB of them and the URL together, no credential.
pub(crate) fn call(caller: Option<&Admitted>) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .uri(
            "https://inventory.internal/stock/4711/lines/12?expand=supplier,warehouse&from=2026-11-01T00%3A00%3A00Z\
             &page=2&page_size=50&sort=-updated_at",
        )
        .header("accept", "application/json, application/problem+json;q=0.9")
        .header("accept-encoding", "gzip, br, zstd")
        .header("accept-language", "en-GB,en;q=0.8,de;q=0.5")
        .header("cache-control", "no-cache")
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "orders/2.14.0 (linux; x86_64) reqwest/0.13.5 hyper/1.12")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
        .header("baggage", "tenant=emea-prod,deployment=orders-7d4f5b9c6d-x2x8k,experiment=checkout-v3,locale=en_GB")
        .header("if-none-match", "W/\"5d8c72a5edda8d6a5b1f0c3e9a7b4d21-gzip\"")
        .header("x-request-id", "3f2b8c1e-9d47-4a6b-8f10-2c5d7e9a1b34")
        .header(
            "cookie",
            "theme=dark; cart=6f1c2f1e8a534c1b9d4e; consent=analytics.no.marketing.no.functional.yes; \
             _ga=GA1.2.1234567890.1700000000; region=eu-central-1; ab=checkout.v3.blue.2026-11; \
             last_seen=2026-11-22T18.04.11Z; session_hint=returning.customer.tier.gold.since.2019.06",
        )
        .body(Full::default())
        .expect("a request");
    debug_assert_eq!(request.headers().len(), 12);
    if let Some(caller) = caller {
        request.extensions_mut().insert(OnBehalfOf::caller(caller));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinary_request_is_as_large_as_it_says() {
        let request = call(None);
        let headers: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let size = headers + request.uri().to_string().len();
        assert!((950..1100).contains(&size), "{size}");
    }
}
