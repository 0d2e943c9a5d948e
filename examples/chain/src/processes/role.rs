//! What each of the four processes does. It talks with its parent in lines of JSON:
//!
//! ```text
//! child:  {"jwk":..,"verifier":..}     its client key's public half, and its log's
//! parent: {"issuer":..,"next":..}      where the others are
//! child:  {"url":..}                   it is up
//! parent: "token"                      the authorization server only: a user's token, please
//! parent: (end of input)               end in order
//! ```

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use hopguard::{
    Audit, AuditSink, ClientAuth, DurableLog, Fanout, LogKey, Promise, SigningKey, TracingSink, seconds,
};
use hopguard_sts::Client;
use serde_json::{Value, json};

use crate::services::{GATEWAY, gateway, inventory, orders};
use crate::system::{Failure, bind, honest_sts, serve, serve_protected, user_token};

/// Is one of the four, until its parent ends it.
pub async fn run(role: &str, root: &Path) -> Result<(), Failure> {
    let mut lines = std::io::stdin().lock().lines();
    let key = Arc::new(SigningKey::generate_es256()?);
    let log_key = own_key(role, root)?;
    say(&json!({ "jwk": key.public_jwk(), "verifier": log_key.verifier().to_string() }))?;
    let settings: Value = serde_json::from_str(&lines.next().ok_or("the parent is gone")??)?;
    let text = |name: &str| settings[name].as_str().unwrap_or_default().to_owned();

    std::fs::create_dir_all(root.join("shipped"))?;
    let log = DurableLog::at(root.join("logs").join(role), log_key)
        .promise(Promise::BeforeAllow)
        .checkpoint_every(seconds(1))
        .ship_to(root.join("shipped").join(role))
        .open()?;
    let sinks: Vec<Arc<dyn AuditSink>> = vec![Arc::new(log), Arc::new(TracingSink)];
    let audit = Audit::new(role, "1", Arc::new(Fanout::new(sinks)));
    let auth = ClientAuth::private_key_jwt(role, key.clone());

    let (listener, url) = bind(0, role).await?;
    let mut sts = None;
    match role {
        "sts" => {
            let client = |name: &str| Client::private_key_jwt(name, &settings[name]);
            let server = honest_sts(&url, key, &audit, client("gateway"), client("orders"))?;
            serve(listener, server.router());
            sts = Some(server);
        }
        "gateway" => {
            let settings = gateway::Settings {
                issuer: text("issuer"),
                orders: text("next"),
                unlisted: text("issuer"),
                token_endpoint: None,
                auth,
            };
            serve_protected(listener, gateway::service(settings, &audit)?);
        }
        "orders" => {
            let settings = orders::Settings { issuer: text("issuer"), inventory: text("next"), auth };
            serve_protected(listener, orders::service(settings, &audit)?);
        }
        "inventory" => serve_protected(listener, inventory::service(&text("issuer"), &audit)?),
        other => return Err(format!("there is no role {other}").into()),
    }
    say(&json!({ "url": url }))?;
    for line in lines {
        if let (Some(sts), "\"token\"") = (&sts, line?.as_str()) {
            say(&json!({ "token": user_token(sts, GATEWAY, "orders:read")? }))?;
        }
    }
    Ok(())
}

/// The log's key, from a file that nobody else reads; made at the first start.
fn own_key(role: &str, root: &Path) -> Result<LogKey, Failure> {
    let folder = root.join("keys");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(role);
    if !path.exists() {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let made = LogKey::generate(&format!("chain.example/{role}#{role}"))?;
        options.open(&path)?.write_all(made.dangerous_expose().as_bytes())?;
    }
    let key = LogKey::from_file(&path)?;
    // For whoever verifies the log, who must not have the key itself.
    std::fs::write(folder.join(format!("{role}.pub")), format!("{}\n", key.verifier()))?;
    Ok(key)
}

fn say(value: &Value) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{value}")?;
    Ok(output.flush()?)
}
