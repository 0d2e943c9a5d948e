//! Inventory: the end of the chain. It calls nobody, so it has a guard and no client.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use hopguard::{
    Audit, Caller, ConfigErrors, Inbound, Issuer, Ledger, OpenPaths, Protect, Protected, ScopeGuard, Ttl,
    minutes,
};

use super::INVENTORY;

pub fn service(issuer: &str, audit: &Audit) -> Result<Protected, ConfigErrors> {
    let guard = Inbound::builder(&Ledger::bounded(), audit)
        .issuer(Issuer::at(issuer))
        .audience(INVENTORY)
        .ttl(Ttl::lifetime_at_most(minutes(1)))
        .scope(ScopeGuard::all_of(["stock:read"]))
        .build()?;
    let router = Router::new().route("/stock/{id}", get(stock));
    Ok(guard.protect(router, OpenPaths::none()))
}

async fn stock(caller: Caller, Path(id): Path<String>) -> String {
    let by = caller.facts().acting_party().unwrap_or("nobody").to_owned();
    format!("7 of {id} in stock, says inventory to {by}")
}
