//! Whole requests against the router, over a clock that stands still.

mod world;
mod exchanges;
mod clients;
mod policy;
mod keys;
mod socket;
