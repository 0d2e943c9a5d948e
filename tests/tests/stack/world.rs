//! One service with a guard in front and a guarded client behind, an authorization server that can be told to
//! misbehave, and a peer whose every received byte is kept.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hopguard::{
    Admitted, Audit, AuditSink, ClientAuth, Egress, EgressError, Exchange, GuardedClient, Inbound, Issuer,
    Ledger, ScopeGuard, SendError, StsEndpoint, Ttl, Upload, minutes,
};
use hopguard_testkit::mint::Token;
use hopguard_testkit::{FakeClock, MemorySink, MisbehavingSts, WireAnswer, WireRecorder};
use hopguard_tower::EgressBuilder;
use http::{Request, Response};
use tower::{ServiceExt, service_fn};

pub const ORDERS: &str = "https://orders.internal";
pub const INVENTORY: &str = "https://inventory.internal";
pub const SECRET: &str = "a-secret-of-more-than-sixteen-bytes";

pub struct World {
    pub clock: Arc<FakeClock>,
    pub sts: MisbehavingSts,
    pub peer: WireRecorder,
    pub ledger: Ledger,
    pub sink: Arc<MemorySink>,
    pub audit: Audit,
    pub inbound: Inbound,
    pub egress: Egress,
    pub client: GuardedClient,
}

impl World {
    /// A peer that answers 200.
    pub async fn new() -> Self {
        Self::with_peer(WireRecorder::answering(|_| WireAnswer::text(200, "7 in stock")).await).await
    }

    pub async fn with_peer(peer: WireRecorder) -> Self {
        Self::built(peer, |endpoint, _| endpoint, |egress, _| egress).await
    }

    /// A world whose audit goes to what `sink` makes of the sink that is looked at.
    pub async fn audited(peer: WireRecorder, to: impl FnOnce(Arc<MemorySink>) -> Arc<dyn AuditSink>) -> Self {
        Self::whole(peer, to, |endpoint, _| endpoint, |egress, _| egress).await
    }

    /// A world with further routes, or other settings.
    pub async fn with_routes(
        peer: WireRecorder,
        settings: impl FnOnce(EgressBuilder, &WireRecorder) -> EgressBuilder,
    ) -> Self {
        Self::built(peer, |endpoint, _| endpoint, settings).await
    }

    pub async fn built(
        peer: WireRecorder,
        endpoint: impl FnOnce(StsEndpoint, &str) -> StsEndpoint,
        settings: impl FnOnce(EgressBuilder, &WireRecorder) -> EgressBuilder,
    ) -> Self {
        Self::whole(peer, |sink| sink, endpoint, settings).await
    }

    async fn whole(
        peer: WireRecorder,
        to: impl FnOnce(Arc<MemorySink>) -> Arc<dyn AuditSink>,
        endpoint: impl FnOnce(StsEndpoint, &str) -> StsEndpoint,
        settings: impl FnOnce(EgressBuilder, &WireRecorder) -> EgressBuilder,
    ) -> Self {
        let clock = FakeClock::somewhen();
        let sts = MisbehavingSts::start(clock.clone()).await;
        let (ledger, sink) = (Ledger::bounded(), MemorySink::new());
        let audit = Audit::new("orders", "1", to(sink.clone()));
        let inbound = Inbound::builder(&ledger, &audit)
            .issuer(Issuer::at(&sts.issuer()))
            .audience(ORDERS)
            .ttl(Ttl::lifetime_at_most(minutes(10)))
            .scope(ScopeGuard::any_scope())
            .clock(clock.clone())
            .build()
            .unwrap();
        let auth = ClientAuth::client_secret_basic("orders", SECRET);
        let sts_endpoint = endpoint(StsEndpoint::at(&sts.issuer(), auth), &sts.issuer());
        let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
        let builder = Egress::builder(&ledger, &audit, sts_endpoint)
            .route(&peer.url(""), stock)
            .route(&peer.url("/open"), hopguard::Anonymous)
            .route(&peer.url("/closed"), hopguard::Deny)
            .clock(clock.clone());
        let egress = settings(builder, &peer).build().unwrap();
        let client = GuardedClient::builder().build(&egress).unwrap();
        Self { clock, sts, peer, ledger, sink, audit, inbound, egress, client }
    }

    /// A token for this service, not yet signed.
    pub fn token(&self) -> Token {
        self.sts.token(ORDERS, "alice", "orders:read")
    }

    pub fn signed(&self, token: Token) -> String {
        token.sign(self.sts.key())
    }

    /// Shows a token at the front door and returns the evidence that the handler gets.
    pub async fn admit(&self, token: &str) -> Admitted {
        let seen = Arc::new(Mutex::new(None));
        let keep = seen.clone();
        let service = self.inbound.around(service_fn(move |request: Request<Upload<String>>| {
            *keep.lock().unwrap() = hopguard_tower::admitted(request.extensions()).cloned();
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        }));
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let response = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", self.sink.codes());
        seen.lock().unwrap().take().expect("the handler got evidence")
    }

    /// The evidence for an ordinary caller.
    pub async fn caller(&self) -> Admitted {
        self.admit(&self.signed(self.token())).await
    }

    /// Calls the peer on the caller's behalf.
    pub async fn call(&self, caller: &Admitted) -> Result<reqwest::Response, EgressError<SendError>> {
        self.client.on_behalf_of(caller).get(&self.peer.url("/stock/42")).send().await
    }

    /// How many requests have reached the peer.
    pub fn reached(&self) -> usize {
        self.peer.requests().len()
    }

    /// Fails unless the call was refused with this code, the audit says so, and nothing was sent.
    #[track_caller]
    pub fn refused<T: std::fmt::Debug>(&self, outcome: Result<T, EgressError<SendError>>, code: &str) {
        let EgressError::Refused(refused) = outcome.expect_err("the call was refused") else {
            panic!("the client failed instead of being refused")
        };
        assert_eq!(refused.refusal.code(), code);
        let event = self.sink.events().into_iter().find(|event| event.id == refused.event);
        assert_eq!(event.expect("the audit holds the event").decision.code(), code);
    }
}
