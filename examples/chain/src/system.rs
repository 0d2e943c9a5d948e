//! Starts the authorization server and the services, each on its own loopback port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use hopguard::{Audit, ClientAuth, Clock as _, SigningKey, SystemClock, minutes, seconds};
use hopguard_core::{Event, TokenForm};
use hopguard_sts::{Client, Rule, Sts, UserToken};
use tokio::net::TcpListener;

use crate::kept::Kept;
use crate::rogue::{self, Wrong};
use crate::services::{Audits, GATEWAY, INVENTORY, ORDERS, gateway, inventory, orders};

/// What went wrong at start, as a sentence.
pub type Failure = Box<dyn std::error::Error>;

/// A service that is up.
pub struct Running {
    pub url: String,
    pub kept: Arc<Kept>,
}

/// Everything that is up.
pub struct System {
    pub audits: Audits,
    pub sts: Sts,
    pub sts_url: String,
    pub gateway_auth: ClientAuth,
    pub orders_auth: ClientAuth,
    pub key: Arc<SigningKey>,
    pub gateway: Running,
    pub orders: Running,
    pub inventory: Running,
    /// Gateways whose authorization server does something wrong, and one whose server is down.
    pub rogues: Vec<(Wrong, Running)>,
    pub stranded: Running,
}

/// How the system is started.
#[derive(Debug, Default)]
pub struct Options {
    pub sts_port: u16,
    pub gateway_port: u16,
    pub audit: Option<PathBuf>,
}

impl System {
    pub async fn start(options: &Options) -> Result<Self, Failure> {
        let key = Arc::new(SigningKey::generate_es256()?);
        let (listener, sts_url) = bind(options.sts_port, "the authorization server").await?;
        let auth = |name| -> Result<(ClientAuth, Client), Failure> {
            let key = Arc::new(SigningKey::generate_es256()?);
            let client = Client::private_key_jwt(name, &key.public_jwk());
            Ok((ClientAuth::private_key_jwt(name, key), client))
        };
        let (gateway_auth, gateway_client) = auth("gateway")?;
        let (orders_auth, orders_client) = auth("orders")?;
        let mut audits = Audits::new(options.audit.clone());
        let audit = audits.of("sts", &Kept::new())?;
        let sts = honest_sts(&sts_url, key.clone(), &audit, gateway_client, orders_client)?;
        serve(listener, sts.router());

        let kept = Kept::new();
        let service = inventory::service(&sts_url, &audits.of("inventory", &kept)?)?;
        let (listener, url) = bind(0, "inventory").await?;
        serve_protected(listener, service);
        let inventory = Running { url, kept };

        let kept = Kept::new();
        let settings = orders::Settings {
            issuer: sts_url.clone(),
            inventory: inventory.url.clone(),
            auth: orders_auth.clone(),
        };
        let service = orders::service(settings, &audits.of("orders", &kept)?)?;
        let (listener, url) = bind(0, "orders").await?;
        serve_protected(listener, service);
        let orders = Running { url, kept };

        let one_gateway = async |port, token_endpoint: Option<String>, audits: &mut Audits| {
            let kept = Kept::new();
            let settings = gateway::Settings {
                issuer: sts_url.clone(),
                orders: orders.url.clone(),
                unlisted: inventory.url.clone(),
                token_endpoint,
                auth: gateway_auth.clone(),
            };
            let service = gateway::service(settings, &audits.of("gateway", &kept)?)?;
            let (listener, url) = bind(port, "gateway").await?;
            serve_protected(listener, service);
            Ok::<_, Failure>(Running { url, kept })
        };
        let gateway = one_gateway(options.gateway_port, None, &mut audits).await?;
        // What they write is for the tour only.
        let mut aside = Audits::default();
        let mut rogues = Vec::new();
        for wrong in
            [Wrong::WiderScope, Wrong::LaterExpiry, Wrong::OtherAudience, Wrong::OtherSubject, Wrong::NoActor]
        {
            let (listener, url) = bind(0, "the rogue authorization server").await?;
            serve(listener, rogue::router(format!("{sts_url}/token"), key.clone(), wrong));
            rogues.push((wrong, one_gateway(0, Some(format!("{url}/token")), &mut aside).await?));
        }
        // Bound and dropped: nobody listens there.
        let (_, nowhere) = bind(0, "a port to leave empty").await?;
        let stranded = one_gateway(0, Some(format!("{nowhere}/token")), &mut aside).await?;
        Ok(Self {
            audits,
            sts,
            sts_url,
            gateway_auth,
            orders_auth,
            key,
            gateway,
            orders,
            inventory,
            rogues,
            stranded,
        })
    }

    /// A fresh token of the user `alice` for the gateway.
    pub fn user_token(&self) -> Result<String, Failure> {
        self.user_token_for(GATEWAY, "orders:read")
    }

    /// A fresh token of the user `alice`.
    pub fn user_token_for(&self, audience: &str, scopes: &str) -> Result<String, Failure> {
        user_token(&self.sts, audience, scopes)
    }

    /// Exchanges a token by hand, as the service with this credential would: the tour needs to hold what a
    /// service never shows.
    pub async fn exchange(
        &self,
        auth: &ClientAuth,
        subject_token: &str,
        audience: &str,
        scope: &str,
    ) -> Result<String, Failure> {
        let (mut headers, mut form) = (http::HeaderMap::new(), TokenForm::new());
        form.append("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
        form.append("subject_token", subject_token);
        form.append("subject_token_type", "urn:ietf:params:oauth:token-type:access_token");
        form.append("audience", audience);
        form.append("scope", scope);
        auth.authenticate(&self.sts_url, SystemClock.now(), &mut headers, &mut form)?;
        let request = reqwest::Client::new().post(self.sts.token_endpoint()).headers(headers);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: serde_json::Value = request.body(form.into_bytes()).send().await?.json().await?;
        let token = answer["access_token"].as_str();
        Ok(token.ok_or_else(|| format!("the authorization server refused: {answer}"))?.to_owned())
    }

    /// The event with this id, in whichever audit holds it.
    pub fn event(&self, id: &str) -> Option<Event> {
        let rogues = self.rogues.iter().map(|(_, running)| &running.kept);
        let all = [&self.gateway, &self.orders, &self.inventory, &self.stranded];
        let mut logs = all.map(|running| &running.kept).into_iter().chain(rogues);
        logs.find_map(|kept| kept.find(|event| event.id.to_string() == id).pop())
    }
}

/// The authorization server, with what each client may do.
pub fn honest_sts(
    url: &str,
    key: Arc<SigningKey>,
    audit: &Audit,
    gateway: Client,
    orders: Client,
) -> Result<Sts, Failure> {
    let sts = Sts::builder(url, SystemClock::shared())
        .signing_key(key)
        .audit(audit)
        .client(gateway)
        .client(orders)
        .rule(
            Rule::for_client("gateway")
                .subject_audience(GATEWAY)
                .audience(ORDERS)
                .scope("orders:read", "orders:read")
                .lifetime_at_most(minutes(2)),
        )
        .rule(
            Rule::for_client("orders")
                .subject_audience(ORDERS)
                .audience(INVENTORY)
                .scope("stock:read", "orders:read")
                .lifetime_at_most(minutes(1)),
        );
    Ok(sts.build()?)
}

/// A fresh token of the user `alice`.
pub fn user_token(sts: &Sts, audience: &str, scopes: &str) -> Result<String, Failure> {
    let token = UserToken::new("alice", audience).client_id("web-app").scope(scopes).lifetime(seconds(300));
    Ok(sts.issue(&token)?)
}

pub async fn bind(port: u16, what: &str) -> Result<(TcpListener, String), Failure> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("{what} cannot listen on {address}: {error}; name other ports with --port")
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

pub fn serve(listener: TcpListener, router: Router) {
    hopguard::Spawn::current().spawn(async move {
        // It ends with the process; an accept error is retried by axum.
        let _ended = axum::serve(listener, router).await;
    });
}

pub fn serve_protected(listener: TcpListener, service: hopguard::Protected) {
    hopguard::Spawn::current().spawn(async move {
        let _ended = axum::serve(listener, service).await;
    });
}
