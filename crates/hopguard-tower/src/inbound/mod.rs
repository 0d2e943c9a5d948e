//! The stack in front of a service.
//!
//! ```text
//! extract -> verify -> bind -> audience -> ttl -> scope [-> actor] -> admit -> service
//! ```
//!
//! In a complete stack these are one service, [`Front`]; alone, each is a layer but the first and the last. What was
//! admitted runs no longer than its token lives (see [`LongStream`] for the exception), so that the service within
//! reads its request's body as an [`Upload`] and takes a connection of its own by [`Upgrading`]. Modules stand in the
//! order in which a request meets them.

mod stage;
mod front;
mod extract;
mod verify;
mod gate;
mod admit;
mod called;
mod lifetime;
mod transaction;
mod response;
mod metadata;
mod stated;
mod builder;

pub(crate) use builder::own_transport;
pub use builder::{Inbound, InboundBuilder};
#[cfg(any(test, fuzzing))]
pub(crate) use extract::{extract, why_unreadable};
pub use front::{Front, OpenPaths};
pub use gate::{BindLayer, Gate, GateLayer, GuardExt, GuardStep};
pub use lifetime::{
    Duplex, Hangup, LongStream, StreamError, TimedBody, TimedConnection, TimedIo, TimedUpgrade,
    UpgradeFailed, Upgrading, Upload,
};
pub(crate) use lifetime::{LastWord, Sending, Uploading};
pub use metadata::{PublishedMetadata, ResourceMetadata};
pub use response::{ResponseRule, Shield, ShieldLayer};
pub(crate) use stage::Stage;
pub use stage::{PeerAddress, RouteTemplate, Step, admitted, evidence_missing};
pub use stated::{AudienceStated, IssuerStated, Missing, ScopeStated, Set, TtlStated};
pub use transaction::{TransactionLayer, VerifyTransaction};
pub use verify::{Verify, VerifyLayer};
