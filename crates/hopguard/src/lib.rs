//! Every service hop revalidates what it receives and narrows what it sends. This crate is the face of
//! hopguard: it re-exports the others and must hold no logic of its own.
//!
//! | to | take |
//! | --- | --- |
//! | guard a service | [`Inbound`], with [`Issuer`], [`Ttl`], [`ScopeGuard`] |
//! | guard its calls onwards | [`Egress`], with [`StsEndpoint`], [`Exchange`], [`AsOurselves`], [`Static`], [`Anonymous`] |
//! | share what is known between both | [`Ledger`] |
//! | write every decision down | [`Audit`], over [`TracingSink`] or [`JsonLines`] |
//! | use one layer alone | [`VerifyLayer`], [`GuardExt::layer`], [`ExchangeLayer`], [`PassthroughLayer`], [`AuditLayer`], tied together by a [`Hop`] |
//!
//! With the feature `axum` come `Protect` and `Caller`, with `reqwest` comes `GuardedClient`, with `config` comes
//! `Config`, which makes all of it from one TOML file, and with `metrics` come `Metered` and `Observer`.

pub use hopguard_audit::{DurableLog, Fanout, JsonLines, LogKey, LogVerifier, Promise, TracingSink, verify};
#[cfg(feature = "axum")]
pub use hopguard_axum::{
    Caller, CallerMissing, EgressRejection, NameRoutes, Protect, Protected, TimedListener, ready,
};
pub use hopguard_client::{
    Algorithm as SigningAlgorithm, BoxFuture, ClientAuth, HttpTransport, SigningKey, Spawn, SystemClock,
    TokenFile, Transport, TransportError,
};
#[cfg(feature = "config")]
pub use hopguard_config::{Config, Parts};
pub use hopguard_core::{
    Actor, ActorChain, ActorGuard, Admitted, Anonymous, AsOurselves, AudienceGuard, Audit, AuditFull,
    AuditSink, Clock, ConfigErrors, Decision, Denial, Deny, Destination, Direction, Event, EventKind,
    Exchange, Facts, Fault, Fingerprint, Guard, Id, Ledger, Monotonic, Origin, Overflow, PeerIdentity,
    RawToken, Refusal, Route, RouteMap, RouteRule, ScopeGuard, ScopeSet, Static, StepUp, StrangerLimits, Ttl,
    TtlGuard, UnixTime, Verified, Waiver, Withdrawal, Withdrawals, codes, minutes, seconds,
};
pub use hopguard_exchange::{ActorToken, Exchanger, StsProfile};
#[cfg(feature = "metrics")]
pub use hopguard_metrics::{METRICS, Metered, Metric, Observer};
#[cfg(feature = "reqwest")]
pub use hopguard_reqwest::{Calls, GuardedClient, Payload, RequestBuilder, SendError};
pub use hopguard_tower::{
    AuditLayer, BindLayer, BodyError, BodyScan, Egress, EgressError, ExchangeLayer, Explained, GuardExt, Hop,
    Inbound, LongStream, OnBehalfOf, Once, OpenPaths, PassthroughBuilder, PassthroughLayer, PeerAddress,
    PublishedMetadata, Refused, Replayable, ResourceMetadata, ResponseRule, ScannedBody, ShieldLayer,
    StreamError, StsEndpoint, TimedUpgrade, TransactionLayer, UpgradeFailed, Upgrading, Upload, VerifyLayer,
    admitted,
};
pub use hopguard_verify::{Algorithm, Issuer, Profile, Verifier};

/// The examples of the README, so that they compile.
#[cfg(all(doctest, feature = "axum", feature = "reqwest", feature = "config"))]
#[doc = include_str!("../../../README.md")]
pub struct Readme;

/// The way through the audit, so that its example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/AUDIT.md")]
pub struct AuditGuide;

/// The recipes for authorization servers of others, so that they compile.
#[cfg(doctest)]
pub mod recipes {
    #[doc = include_str!("../../../docs/recipes/README.md")]
    pub struct Overview;
    #[doc = include_str!("../../../docs/recipes/keycloak.md")]
    pub struct Keycloak;
    #[doc = include_str!("../../../docs/recipes/entra.md")]
    pub struct Entra;
    #[doc = include_str!("../../../docs/recipes/okta.md")]
    pub struct Okta;
    #[doc = include_str!("../../../docs/recipes/auth0.md")]
    pub struct Auth0;
    #[doc = include_str!("../../../docs/recipes/zitadel.md")]
    pub struct Zitadel;
}
