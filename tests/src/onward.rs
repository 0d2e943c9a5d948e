//! A service that calls onwards: an authorization server that can misbehave, an admitted caller, and a peer that
//! keeps what it was sent.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hopguard_client::{ClientAuth, HttpTransport, Spawn, Transport};
use hopguard_core::{
    Admitted, Anonymous, Audit, Deny, Exchange, Ledger, Route, RouteMap, RouteRule, ScopeGuard, TokenForm,
    Ttl, minutes,
};
use hopguard_exchange::Exchanger;
use hopguard_testkit::corpus::{Attack, Stage};
use hopguard_testkit::{FakeClock, MemorySink, MisbehavingSts};
use hopguard_tower::{
    Egress, EgressError, ExchangeLayer, Hop, Inbound, OnBehalfOf, PassthroughLayer, StsEndpoint, Upload,
    admitted,
};
use hopguard_verify::{Issuer, Verifier};
use http::{Request, Response};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

use crate::ALL_SINGLY;

/// The peer that most attacks are about.
pub const PEER: &str = "https://inventory.internal";
/// A peer that gets no credential.
pub const STATUS: &str = "https://status.example";

/// A request as the peer got it.
pub type Sent = Request<String>;

/// The peer could not be reached.
#[derive(Debug)]
pub struct Down;

type Answered = Result<Response<Full<Bytes>>, Down>;

/// A peer, and the client in front of it: it keeps what it was sent, and answers as it is told.
#[derive(Clone)]
pub struct Peer {
    sent: Arc<Mutex<Vec<Sent>>>,
    answer: Arc<dyn Fn(&Sent) -> Answered + Send + Sync>,
}

impl Peer {
    /// A peer that answers 200.
    pub fn good() -> Self {
        Self::answering(|_| Ok(Response::new(Full::from("stock"))))
    }

    /// A peer that answers as `answer` says.
    pub fn answering(answer: impl Fn(&Sent) -> Answered + Send + Sync + 'static) -> Self {
        Self { sent: Arc::default(), answer: Arc::new(answer) }
    }

    /// What it was sent.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({} requests)", self.sent.lock().unwrap().len())
    }
}

impl<B> Service<Request<B>> for Peer {
    type Response = Response<Full<Bytes>>;
    type Error = Down;
    type Future = Ready<Answered>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(|_| String::new());
        let answer = (self.answer)(&request);
        self.sent.lock().unwrap().push(request);
        ready(answer)
    }
}

/// Any egress stack, its types forgotten: the peer's status, or why there is none.
pub type Onwards = BoxCloneSyncService<Sent, u16, EgressError<Down>>;

/// Orders, which calls inventory.
#[derive(Debug)]
pub struct Onward {
    /// The clock that everybody shares.
    pub clock: Arc<FakeClock>,
    /// The authorization server.
    pub sts: MisbehavingSts,
    /// The live credentials.
    pub ledger: Ledger,
    /// What was audited.
    pub sink: Arc<MemorySink>,
    /// The audit over it.
    pub audit: Audit,
    /// The stack in front of the service.
    pub guard: Inbound,
    transport: Arc<dyn Transport>,
}

impl Onward {
    /// Starts the authorization server, which behaves.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub async fn start() -> Self {
        let clock = FakeClock::somewhen();
        let sts = MisbehavingSts::start(clock.clone()).await;
        let transport: Arc<dyn Transport> = Arc::new(HttpTransport::builder().build().expect("a transport"));
        let (ledger, sink) = (Ledger::bounded(), MemorySink::new());
        let audit = Audit::with_limits("orders", "1", sink.clone(), ALL_SINGLY);
        let guard = Inbound::builder(&ledger, &audit)
            .issuer(Issuer::at(&sts.issuer()))
            .audience(Stage::AUDIENCE)
            .ttl(Ttl::lifetime_at_most(minutes(5)))
            .scope(ScopeGuard::all_of([Stage::SCOPE]))
            .clock(clock.clone())
            .transport(transport.clone())
            .build()
            .expect("a stack");
        Self { clock, sts, ledger, sink, audit, guard, transport }
    }

    /// A user's token for this service.
    pub fn token(&self) -> String {
        self.sts.token(Stage::AUDIENCE, "alice", Stage::SCOPE).sign(self.sts.key())
    }

    /// The evidence that this service's own stack makes of `token`.
    pub async fn admit(&self, token: &str) -> Admitted {
        admit(&self.guard, token).await
    }

    fn auth() -> ClientAuth {
        ClientAuth::client_secret_basic("orders", "a secret of sufficient length")
    }

    /// The routes of the service. Below `/admin` of the peer more is required, unless `requiring` is false.
    fn routes(requiring: bool) -> Vec<(String, RouteRule)> {
        let inventory = || Exchange::audience(PEER).scope("stock:read");
        let admin =
            if requiring { inventory().requires("orders:admin") } else { inventory().requires_none() };
        vec![
            (PEER.to_owned(), inventory().requires(Stage::SCOPE).into()),
            (format!("{PEER}/admin"), admin.into()),
            (format!("{PEER}/internal"), Deny.into()),
            (STATUS.to_owned(), Anonymous.into()),
        ]
    }

    /// The complete stack.
    ///
    /// # Panics
    ///
    /// If a setting is wrong.
    pub fn egress(&self) -> Egress {
        self.egress_over(&self.ledger)
    }

    /// The complete stack over a ledger that may be another.
    ///
    /// # Panics
    ///
    /// If a setting is wrong.
    pub fn egress_over(&self, ledger: &Ledger) -> Egress {
        let sts = StsEndpoint::at(&self.sts.issuer(), Self::auth());
        let builder = Egress::builder(ledger, &self.audit, sts).clock(self.clock.clone());
        let routes = Self::routes(true).into_iter();
        let builder = routes.fold(builder, |builder, (url, rule)| builder.route(&url, rule));
        builder.transport(self.transport.clone()).build().expect("a stack")
    }

    /// What ties layers together that stand alone.
    pub fn hop(&self) -> Hop {
        Hop::new(&self.ledger, &self.audit, self.clock.clone())
    }

    /// The exchange as a layer alone.
    ///
    /// # Panics
    ///
    /// If a setting is wrong.
    pub fn exchange(&self, hop: &Hop, requiring: bool) -> ExchangeLayer {
        let verifier = Verifier::builder(self.transport.clone(), self.clock.clone(), Spawn::current())
            .issuer(Issuer::at(&self.sts.issuer()))
            .build()
            .expect("a verifier");
        let exchanger = Exchanger::builder(
            &self.sts.issuer(),
            Self::auth(),
            verifier,
            self.transport.clone(),
            self.clock.clone(),
            Spawn::current(),
            &self.ledger,
        );
        let routes = Self::routes(requiring).into_iter();
        let routes = routes.map(|(url, rule)| Route::new(&url, rule).expect("a route")).collect();
        let routes = RouteMap::new(routes).expect("routes that differ");
        ExchangeLayer::new(hop, routes, exchanger.build().expect("an exchanger"))
    }

    /// The stack put together by hand, but for `guard`; whole without one.
    ///
    /// | left out | what is there instead |
    /// | --- | --- |
    /// | `routes` | nothing: the client is called as it is, behind the passthrough block |
    /// | `requires` | a route that says `requires_none()` |
    /// | `narrowing` | an exchange that believes the answer, and sends without a token if there is none |
    /// | `passthrough` | nothing |
    ///
    /// # Panics
    ///
    /// If there is no such guard.
    pub fn without(&self, guard: Option<&str>, peer: &Peer) -> Onwards {
        let hop = self.hop();
        let block = PassthroughLayer::new(&hop);
        match guard {
            None => boxed(self.exchange(&hop, true).layer(block.layer(peer.clone())), EgressError::flatten),
            Some("routes") => boxed(block.layer(peer.clone()), |error| error),
            Some("requires") => {
                boxed(self.exchange(&hop, false).layer(block.layer(peer.clone())), EgressError::flatten)
            }
            Some("narrowing") => self.believing(peer),
            Some("passthrough") => boxed(self.exchange(&hop, true).layer(peer.clone()), |error| error),
            Some(other) => panic!("no guard is named {other}"),
        }
    }

    /// What a service does that takes the authorization server at its word, and goes on without.
    fn believing(&self, peer: &Peer) -> Onwards {
        let (transport, endpoint, peer) = (self.transport.clone(), self.sts.token_endpoint(), peer.clone());
        let exchanging = service_fn(move |mut request: Sent| {
            let (transport, endpoint, peer) = (transport.clone(), endpoint.clone(), peer.clone());
            async move {
                let caller = request.extensions_mut().remove::<Caller>().expect("a caller").0;
                let mut form = TokenForm::new();
                form.append("audience", PEER);
                form.append("scope", "stock:read");
                form.append("client_id", "orders");
                form.append_token("subject_token", caller.subject_token());
                let asked = Request::post(endpoint).body(form.into_bytes()).expect("a request");
                let granted = transport.send(asked).await.ok().and_then(|response| {
                    let answer: serde_json::Value = serde_json::from_slice(response.body()).ok()?;
                    Some(format!("Bearer {}", answer.get("access_token")?.as_str()?))
                });
                if let Some(value) = granted {
                    request.headers_mut().insert("authorization", value.parse().expect("a value"));
                }
                peer.oneshot(request).await.map_err(EgressError::Peer)
            }
        });
        boxed(exchanging, |error| error)
    }

    /// The call that `attack` makes, on behalf of the admitted holder of `token`.
    ///
    /// # Panics
    ///
    /// If its texts make no request.
    pub fn call(&self, stage: &Stage, attack: &Attack, caller: &Admitted, token: &str) -> Sent {
        let usual = format!("{PEER}/stock/42");
        let url = attack.egress.url.as_ref().unwrap_or(&usual);
        let mut request = call(&stage.filled(url, token), Some(caller));
        for (name, value) in &attack.egress.headers {
            let name: http::HeaderName = name.parse().expect("a header's name");
            request.headers_mut().append(name, stage.filled(value, token).parse().expect("a header's value"));
        }
        request
    }
}

/// The caller, for the stand-in that is no layer of hopguard.
#[derive(Clone, Debug)]
struct Caller(Admitted);

/// A call to `url` on behalf of `caller`.
///
/// # Panics
///
/// If `url` is none.
pub fn call(url: &str, caller: Option<&Admitted>) -> Sent {
    let mut request = Request::get(url).body(String::new()).expect("a request");
    if let Some(caller) = caller {
        request.extensions_mut().insert(OnBehalfOf::caller(caller));
        request.extensions_mut().insert(Caller(caller.clone()));
    }
    request
}

/// The evidence that `guard` makes of `token`.
///
/// # Panics
///
/// If the token is refused.
pub async fn admit(guard: &Inbound, token: &str) -> Admitted {
    let kept: Arc<Mutex<Option<Admitted>>> = Arc::default();
    let keep = kept.clone();
    let keeping = service_fn(move |request: Request<Upload<String>>| {
        *keep.lock().unwrap() = admitted(request.extensions()).cloned();
        ready(Ok::<_, std::convert::Infallible>(Response::new(String::new())))
    });
    let request =
        Request::get("/orders/42").header("authorization", format!("Bearer {token}")).body(String::new());
    let Ok(response) = guard.around(keeping).oneshot(request.expect("a request")).await;
    assert_eq!(response.status(), 200);
    let admitted = kept.lock().unwrap().take();
    admitted.expect("the caller was admitted")
}

/// `service` with its types forgotten.
pub fn boxed<S, R, E>(
    service: S,
    error: impl FnOnce(E) -> EgressError<Down> + Clone + Send + Sync + 'static,
) -> Onwards
where
    S: Service<Sent, Response = Response<R>, Error = E> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    R: 'static,
    E: 'static,
{
    BoxCloneSyncService::new(
        service.map_response(|response: Response<R>| response.status().as_u16()).map_err(error),
    )
}
