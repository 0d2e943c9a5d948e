//! Attacks on the running services, and what must become of each.

use hopguard_core::EventKind;
use http::StatusCode;
use serde_json::{Value, json};

use crate::rogue::Wrong;
use crate::services::{GATEWAY, INVENTORY, ORDERS};
use crate::system::{Failure, Running, System};
use crate::tokens;

/// One attack and its outcome.
pub struct Attack {
    pub name: &'static str,
    pub target: &'static str,
    pub expected: &'static str,
    pub expected_status: u16,
    /// The code that the audit holds for the event that the answer names.
    pub code: String,
    pub status: u16,
    /// Beside status and code: nothing reached the service behind.
    pub nothing_sent: bool,
}

impl Attack {
    pub fn held(&self) -> bool {
        self.code == self.expected && self.status == self.expected_status && self.nothing_sent
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "target": self.target,
            "expected": self.expected,
            "code": self.code,
            "status": self.status,
            "held": self.held(),
        })
    }
}

/// Makes requests by hand, as an attacker would, and reads the audit.
struct Tour<'a> {
    system: &'a System,
    client: reqwest::Client,
    attacks: Vec<Attack>,
}

/// Where a request goes and what must come back.
struct Aim<'a> {
    name: &'static str,
    target: &'static str,
    at: &'a Running,
    path: &'a str,
    expected: (&'static str, u16),
}

impl Tour<'_> {
    async fn send(&mut self, aim: Aim<'_>, credentials: &[String]) -> Result<(), Failure> {
        let before = self.reached(&aim);
        let mut request = self.client.get(format!("{}{}", aim.at.url, aim.path));
        for credential in credentials {
            request = request.header("authorization", credential);
        }
        let response = request.send().await?;
        let status = response.status();
        let event = response.headers().get("hopguard-event").and_then(|id| id.to_str().ok());
        let event = event.and_then(|id| self.system.event(id));
        let code = event.map_or("no event", |event| event.decision.code()).to_owned();
        let nothing_sent = self.reached(&aim) == before;
        self.attacks.push(Attack {
            name: aim.name,
            target: aim.target,
            expected: aim.expected.0,
            expected_status: aim.expected.1,
            code,
            status: status.as_u16(),
            nothing_sent,
        });
        Ok(())
    }

    async fn bearer(&mut self, aim: Aim<'_>, token: &str) -> Result<(), Failure> {
        self.send(aim, &[format!("Bearer {token}")]).await
    }

    /// How often the services behind the target have decided anything so far: the attack must not add to it.
    fn reached(&self, aim: &Aim<'_>) -> usize {
        let decisions =
            |running: &Running| running.kept.find(|event| event.kind == EventKind::Decision).len();
        match aim.target {
            "gateway" => decisions(&self.system.orders) + decisions(&self.system.inventory),
            "orders" => decisions(&self.system.inventory),
            _ => 0,
        }
    }
}

/// Runs every attack.
pub async fn run(system: &System) -> Result<Vec<Attack>, Failure> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let mut tour = Tour { system, client, attacks: Vec::new() };
    tokens_of_others(&mut tour).await?;
    tokens_gone_wrong(&mut tour).await?;
    requests_gone_wrong(&mut tour).await?;
    handlers_gone_wrong(&mut tour).await?;
    servers_gone_wrong(&mut tour).await?;
    Ok(tour.attacks)
}

fn at<'a>(
    running: &'a Running,
    target: &'static str,
    path: &'a str,
    name: &'static str,
    expected: (&'static str, u16),
) -> Aim<'a> {
    Aim { name, target, at: running, path, expected }
}

/// Genuine tokens at the wrong door.
async fn tokens_of_others(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let system = tour.system;
    let user = system.user_token()?;
    let mismatch = ("audience_mismatch", 401);
    let aim = at(
        &system.inventory,
        "inventory",
        "/stock/42",
        "the gateway's token, replayed at inventory",
        mismatch,
    );
    tour.bearer(aim, &user).await?;
    // What orders holds for inventory, made by the same two exchanges and stolen on its way.
    let at_orders = system.exchange(&system.gateway_auth, &user, ORDERS, "orders:read").await?;
    let stolen = system.exchange(&system.orders_auth, &at_orders, INVENTORY, "stock:read").await?;
    let aim = at(&system.orders, "orders", "/orders/42", "inventory's grant, replayed at orders", mismatch);
    tour.bearer(aim, &stolen).await?;
    let aim =
        at(&system.gateway, "gateway", "/orders/42", "inventory's grant, replayed at the gateway", mismatch);
    tour.bearer(aim, &stolen).await?;
    let weak = system.user_token_for(GATEWAY, "profile")?;
    let lacking = ("insufficient_scope", 403);
    let aim = at(&system.gateway, "gateway", "/orders/42", "a token without the scope", lacking);
    tour.bearer(aim, &weak).await
}

/// Tokens that no service may take, all at the gateway's own audience.
async fn tokens_gone_wrong(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let system = tour.system;
    let good = system.user_token()?;
    let key = &system.key;
    let now = good_now(&good);
    let mut cases: Vec<(&'static str, String, &'static str)> = vec![
        (
            "a token that expired a minute ago",
            tokens::changed(&good, key, "at+jwt", |c| {
                (c["iat"], c["exp"]) = (json!(now - 120), json!(now - 60))
            }),
            "token_expired",
        ),
        (
            "a token that lives for a year",
            tokens::changed(&good, key, "at+jwt", |c| c["exp"] = json!(now + 31_536_000)),
            "lifetime_too_long",
        ),
        (
            "a token for two audiences",
            tokens::changed(&good, key, "at+jwt", |c| c["aud"] = json!([GATEWAY, ORDERS])),
            "audience_not_sole",
        ),
        ("an unsigned token", tokens::unsigned(&good), "token_malformed"),
        (
            "a token signed by HMAC with the public key",
            tokens::hmac_with_public_key(&good, key),
            "algorithm_refused",
        ),
        ("an ID token", tokens::changed(&good, key, "JWT", |_| ()), "token_type_mismatch"),
        (
            "a token of an issuer that nobody trusts",
            tokens::changed(&good, key, "at+jwt", |c| c["iss"] = json!("https://evil.example")),
            "issuer_unknown",
        ),
        (
            "a token bound to a key, shown without proof",
            tokens::changed(&good, key, "at+jwt", |c| {
                c["cnf"] = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })
            }),
            "holder_unproven",
        ),
        (
            "a token without an audience",
            tokens::changed(&good, key, "at+jwt", |c| drop(c.as_object_mut().and_then(|c| c.remove("aud")))),
            "claim_missing",
        ),
    ];
    // Remembered first, so that a cache that forgets the signature would let the copy in.
    let response =
        tour.client.get(format!("{}/careless", system.gateway.url)).bearer_auth(&good).send().await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the good token was answered {}", response.status()).into());
    }
    let other = system.user_token()?;
    cases.push((
        "a remembered token with another signature",
        tokens::resigned(&good, &other),
        "signature_invalid",
    ));
    for (name, token, code) in cases {
        tour.bearer(at(&system.gateway, "gateway", "/orders/42", name, (code, 401)), &token).await?;
    }
    Ok(())
}

/// Requests that leave something out, or say it twice.
async fn requests_gone_wrong(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let gateway = &tour.system.gateway;
    let token = tour.system.user_token()?;
    let missing = ("token_missing", 401);
    let name = "a handler that asks for no evidence, without a token";
    tour.send(at(gateway, "gateway", "/careless", name, missing), &[]).await?;
    tour.send(at(gateway, "gateway", "/no/such/path", "the fallback, without a token", missing), &[]).await?;
    let name = "an open path by another spelling";
    tour.send(at(gateway, "gateway", "//health", name, missing), &[]).await?;
    let query = format!("/orders/42?access_token={token}");
    tour.send(at(gateway, "gateway", &query, "a token in the query", missing), &[]).await?;
    let twice = [format!("Bearer {token}"), format!("Bearer {token}")];
    let aim =
        at(gateway, "gateway", "/orders/42", "two Authorization headers", ("credential_ambiguous", 400));
    tour.send(aim, &twice).await
}

/// Handlers that try what they must not.
async fn handlers_gone_wrong(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let gateway = &tour.system.gateway;
    let token = tour.system.user_token()?;
    let blocked = ("passthrough_blocked", 500);
    for (name, path, expected) in [
        ("a handler copies the inbound token into x-api-key", "/leak/header", blocked),
        ("a handler copies it into the query", "/leak/query", blocked),
        ("a handler copies it into a cookie, percent-encoded", "/leak/cookie", blocked),
        ("a handler sets Authorization itself", "/leak/authorization", ("credential_unexpected", 500)),
        ("a handler calls a host that no route lists", "/unlisted", ("destination_unlisted", 500)),
        ("a caller climbs out of a path by its parameter", "/orders/..%2Fmoved", ("target_unreadable", 500)),
        ("a route whose `requires` the caller lacks", "/admin", ("route_requires_scope", 403)),
    ] {
        tour.bearer(at(gateway, "gateway", path, name, expected), &token).await?;
    }
    // Here the peer is reached, and its answer is what is refused.
    let aim = at(gateway, "orders", "/moved", "a peer that redirects elsewhere", ("redirect_refused", 502));
    tour.bearer(aim, &token).await
}

/// Authorization servers that give too much, or nothing.
async fn servers_gone_wrong(tour: &mut Tour<'_>) -> Result<(), Failure> {
    let system = tour.system;
    let token = system.user_token()?;
    for (wrong, running) in &system.rogues {
        let (name, code) = match wrong {
            Wrong::WiderScope => ("an STS that answers with a wider scope", "grant_scope_wider"),
            Wrong::LaterExpiry => ("an STS that answers with a later expiry", "grant_outlives_parent"),
            Wrong::OtherAudience => ("an STS that answers with another audience", "grant_audience_wider"),
            Wrong::OtherSubject => ("an STS that answers with another subject", "grant_subject_changed"),
            Wrong::NoActor => ("an STS that forgets who acts", "grant_actor_missing"),
        };
        tour.bearer(at(running, "gateway", "/orders/42", name, (code, 502)), &token).await?;
    }
    let name = "an STS that is down";
    let aim = at(&system.stranded, "gateway", "/orders/42", name, ("sts_unavailable", 503));
    tour.bearer(aim, &token).await
}

/// The time by the token's own issuer.
fn good_now(token: &str) -> u64 {
    tokens::claims_of(token).and_then(|claims| claims["iat"].as_u64()).unwrap_or(0)
}
