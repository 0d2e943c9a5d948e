//! Where may a call go, and with what? The route map of the way out; default deny.
//!
//! A route names an origin (scheme, host, port) and a path prefix, and what is done for calls there. The most
//! specific prefix wins; a call that no route lists is refused, and so is one whose path could be read in two
//! ways where that would choose between routes.

mod destination;
mod target;
mod exchange;
mod map;

pub use destination::{Destination, parse_absolute};
pub use exchange::{Exchange, Requires, Unstated};
pub use map::{Anonymous, Deny, InvalidRoute, Route, RouteChoice, RouteMap, RouteRule};
pub use target::{is_ambiguous_path, request_target_rejects};
