//! The stack behind a service.
//!
//! ```text
//! request of the handler -> Exchanging (route map, requires, exchange, attach) -> Passthrough -> Dispatch -> client
//! ```
//!
//! The passthrough block is the innermost decision: it sees the request as it will leave. `Dispatch` below it
//! decides nothing about credentials; it writes the event and refuses redirects.

mod subject;
mod outgoing;
mod error;
mod exchange;
mod ticket;
mod sending;
mod waiting;
mod attachment;
mod explain;
mod renewal;
mod again;
mod redirect;
mod passthrough;
mod passthrough_builder;
mod dispatch;
mod sts;
mod builder;

pub use builder::{Egress, EgressBuilder, EgressService};
pub use dispatch::Dispatch;
pub use error::{EgressError, Flat};
pub use exchange::{ExchangeLayer, Exchanging};
pub use explain::Explained;
pub use passthrough::{Passthrough, PassthroughLayer};
pub use passthrough_builder::PassthroughBuilder;
pub use renewal::{Once, Replayable};
pub use sts::StsEndpoint;
pub use subject::OnBehalfOf;
