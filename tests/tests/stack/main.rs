//! The complete stacks over real sockets: malicious authorization servers, the passthrough block, probes, leaks.

mod world;
mod malicious_sts;
mod routes;
mod passthrough;
mod bodies;
mod answers;
mod innocent;
mod renewal;
mod withdrawal;
mod before_allow;
mod waivers;
mod crowd;
mod configuration;
mod probes;
mod leak;
mod schema;
