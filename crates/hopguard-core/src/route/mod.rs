//! Where may a call go, and with what? The route map of the way out; default deny.
//!
//! A route names an origin (scheme, host, port), a path prefix and, if it likes, methods, and what is done for
//! calls there. The most specific prefix decides; a call that no route lists is refused, and so is one whose path
//! could be read in two ways where that would choose between routes.
//!
//! | kind | the call carries |
//! | --- | --- |
//! | [`Exchange`] | the caller's token, exchanged for one that is good there only |
//! | [`AsOurselves`] | a token of our own, by the client credentials grant |
//! | [`Static`] | a secret from the configuration |
//! | [`Anonymous`] | nothing |
//! | [`Deny`] | it is not sent |

mod destination;
mod target;
mod demand;
mod asked;
mod exchange;
mod ourselves;
mod fixed;
mod rule;
mod line;
mod map;
mod explanation;

pub use asked::Asked;
pub use demand::{Demand, Requires, Unstated};
pub use destination::{Destination, parse_absolute};
pub use exchange::Exchange;
pub use explanation::{Considered, Explanation, Fit};
pub use fixed::Static;
pub use line::{InvalidRoute, Route};
pub use map::{RouteChoice, RouteMap};
pub use ourselves::AsOurselves;
pub use rule::{Anonymous, Deny, IntoRule, RouteRule};
pub use target::{is_ambiguous_path, request_target_rejects};
