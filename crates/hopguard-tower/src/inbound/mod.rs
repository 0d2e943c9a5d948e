//! The stack in front of a service.
//!
//! ```text
//! extract -> verify -> bind -> audience -> ttl -> scope [-> actor] -> admit -> service
//! ```
//!
//! In a complete stack all but the last two are one service, [`Front`]; alone, each is a layer but the first and
//! `admit`. Modules stand in the order in which a request meets them.

mod stage;
mod front;
mod extract;
mod verify;
mod gate;
mod admit;
mod response;
mod metadata;
mod builder;

pub use admit::Admit;
pub(crate) use builder::own_transport;
pub use builder::{Guarded, Inbound, InboundBuilder, Missing, Set};
pub use front::{Front, OpenPaths};
pub use gate::{BindLayer, Gate, GateLayer, GuardExt, GuardStep};
pub use metadata::{PublishedMetadata, ResourceMetadata};
pub use response::{ResponseRule, Shield, ShieldLayer};
pub(crate) use stage::Stage;
pub use stage::{PeerAddress, Step, admitted, evidence_missing};
pub use verify::{Verify, VerifyLayer};
