//! The gateway: takes the user's token and calls orders on the user's behalf.
//!
//! Beside its one real route it has a few that a careless or curious colleague might write; the tour shows
//! what becomes of them.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use hopguard::{
    Audit, Caller, ClientAuth, ConfigErrors, Egress, EgressRejection, Exchange, GuardedClient, Inbound,
    Issuer, Ledger, OpenPaths, Protect, Protected, ScopeGuard, StsEndpoint, Ttl, minutes,
};

use super::{GATEWAY, ORDERS};

/// Where the gateway finds the others.
pub struct Settings {
    pub issuer: String,
    pub orders: String,
    pub unlisted: String,
    /// In place of the one that the issuer's metadata names.
    pub token_endpoint: Option<String>,
    pub auth: ClientAuth,
}

#[derive(Clone)]
struct App {
    client: GuardedClient,
    orders: String,
    unlisted: String,
}

pub fn service(settings: Settings, audit: &Audit) -> Result<Protected, ConfigErrors> {
    let ledger = Ledger::bounded();
    let guard = Inbound::builder(&ledger, audit)
        .issuer(Issuer::at(&settings.issuer))
        .audience(GATEWAY)
        .ttl(Ttl::lifetime_at_most(minutes(5)))
        .scope(ScopeGuard::all_of(["orders:read"]))
        .build()?;

    let mut sts = StsEndpoint::at(&settings.issuer, settings.auth);
    if let Some(url) = &settings.token_endpoint {
        sts = sts.token_endpoint(url);
    }
    let orders = &settings.orders;
    let egress = Egress::builder(&ledger, audit, sts)
        .route(orders, Exchange::audience(ORDERS).scope("orders:read").requires("orders:read"))
        .route(
            &format!("{orders}/admin"),
            Exchange::audience(ORDERS).scope("orders:admin").requires("orders:admin"),
        )
        .build()?;
    let client = GuardedClient::builder().build(&egress)?;

    let app = App { client, orders: settings.orders, unlisted: settings.unlisted };
    let router = Router::new()
        .route("/orders/{id}", get(order))
        .route("/admin", get(admin))
        .route("/leak/{place}", get(leak))
        .route("/unlisted", get(unlisted))
        .route("/moved", get(moved))
        .route("/careless", get(|| async { "this handler never asks who calls" }))
        .route("/health", get(|| async { "ok" }))
        .with_state(app);
    Ok(guard.protect(router, OpenPaths::paths(["/health"])))
}

async fn order(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<String, EgressRejection> {
    let url = format!("{}/orders", app.orders);
    Ok(app.client.on_behalf_of(&caller).get(&url).segment(&id).text().await?)
}

/// A route onwards that only callers with `orders:admin` may use.
async fn admin(caller: Caller, State(app): State<App>) -> Result<String, EgressRejection> {
    Ok(app.client.on_behalf_of(&caller).get(&format!("{}/admin", app.orders)).text().await?)
}

/// The mistake that this library exists for: passing the caller's token on.
async fn leak(
    caller: Caller,
    State(app): State<App>,
    Path(place): Path<String>,
) -> Result<String, EgressRejection> {
    let token = caller.subject_token().dangerous_expose();
    let request = app.client.on_behalf_of(&caller).get(&format!("{}/orders/42", app.orders));
    let request = match place.as_str() {
        "header" => request.header("x-api-key", token),
        "query" => request.query(&[("access_token", token)]),
        "authorization" => request.header("authorization", &format!("Bearer {token}")),
        _ => request.header("cookie", &format!("session={}", token.replace('.', "%2E"))),
    };
    Ok(request.text().await?)
}

/// A call to a host that no route lists.
async fn unlisted(caller: Caller, State(app): State<App>) -> Result<String, EgressRejection> {
    Ok(app.client.on_behalf_of(&caller).get(&app.unlisted).text().await?)
}

/// A call whose answer sends us elsewhere.
async fn moved(caller: Caller, State(app): State<App>) -> Result<String, EgressRejection> {
    Ok(app.client.on_behalf_of(&caller).get(&format!("{}/moved", app.orders)).text().await?)
}
