//! Every `tower::Service` of hopguard: the stack in front of a service, the stack behind it, and audit around
//! both. It must make no decision of its own: those are pure functions in `hopguard-core`, the signature is
//! `hopguard-verify`'s and the grant is `hopguard-exchange`'s.
//!
//! ```text
//! request -> Front: extract, verify, bind, audience, ttl, scope, admit -> handler
//! peer <- client <- Dispatch <- Passthrough <- Exchanging <- request of the handler
//! ```
//!
//! [`Inbound`] and [`Egress`] put the layers together in the one right order. Each layer also stands alone in
//! a `tower::ServiceBuilder`; then a [`Hop`] ties them together:
//!
//! | layer | alone |
//! | --- | --- |
//! | audience guard, TTL guard, scope guard | [`GuardExt::layer`] behind a [`VerifyLayer`] |
//! | holder check | [`BindLayer`] behind a [`VerifyLayer`] |
//! | exchange on egress | [`ExchangeLayer`] |
//! | passthrough blocker | [`PassthroughLayer`] |
//! | the same for answers to the caller | [`ShieldLayer`] |
//! | audit logger | [`AuditLayer`] |

mod hop;
mod answer;
mod audited;
mod kept;
mod inflate;
mod scanned;
pub mod inbound;
pub mod egress;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

pub use answer::{RealmOfStack, Refused};
pub use audited::{AuditLayer, Audited, AuditedBody};
pub use egress::{
    Egress, EgressBuilder, EgressError, EgressService, ExchangeLayer, Explained, OnBehalfOf, Once,
    PassthroughBuilder, PassthroughLayer, Replayable, StsEndpoint,
};
pub use hop::Hop;
pub use inbound::{
    BindLayer, GuardExt, Inbound, InboundBuilder, LongStream, OpenPaths, PeerAddress, PublishedMetadata,
    ResourceMetadata, ResponseRule, RouteTemplate, ShieldLayer, StreamError, TimedBody, TimedConnection,
    TimedIo, TimedUpgrade, TransactionLayer, UpgradeFailed, Upgrading, Upload, VerifyLayer, admitted,
    evidence_missing,
};
pub use scanned::{BodyError, BodyScan, ScannedBody};
