//! Orders: takes the gateway's grant and calls inventory on behalf of the same user.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Redirect;
use axum::routing::get;
use hopguard::{
    Audit, Caller, ClientAuth, ConfigErrors, Egress, EgressRejection, Exchange, GuardedClient, Inbound,
    Issuer, Ledger, OpenPaths, Protect, Protected, ScopeGuard, StsEndpoint, Ttl, minutes,
};

use super::{INVENTORY, ORDERS};

pub struct Settings {
    pub issuer: String,
    pub inventory: String,
    pub auth: ClientAuth,
}

#[derive(Clone)]
struct App {
    client: GuardedClient,
    inventory: String,
}

pub fn service(settings: Settings, audit: &Audit) -> Result<Protected, ConfigErrors> {
    let ledger = Ledger::bounded();
    let guard = Inbound::builder(&ledger, audit)
        .issuer(Issuer::at(&settings.issuer))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(2)))
        .scope(ScopeGuard::all_of(["orders:read"]))
        .build()?;

    let sts = StsEndpoint::at(&settings.issuer, settings.auth);
    let stock = Exchange::audience(INVENTORY).scope("stock:read").requires("orders:read");
    let egress = Egress::builder(&ledger, audit, sts).route(&settings.inventory, stock).build()?;
    let client = GuardedClient::builder().build(&egress)?;

    let router = Router::new()
        .route("/orders/{id}", get(order))
        .route("/moved", get(|| async { Redirect::temporary("http://127.0.0.1:9/elsewhere") }))
        .with_state(App { client, inventory: settings.inventory });
    Ok(guard.protect(router, OpenPaths::none()))
}

async fn order(
    caller: Caller,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<String, EgressRejection> {
    let url = format!("{}/stock", app.inventory);
    let stock = app.client.on_behalf_of(&caller).get(&url).segment(&id).text().await?;
    Ok(format!("order {id} of {}: {stock}", caller.facts().subject))
}
