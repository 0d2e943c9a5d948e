//! What a person sees.

use comfy_table::{ContentArrangement, Table, presets};
use hopguard_core::Fingerprint;
use serde_json::{Value, json};

use crate::hops::Hop;
use crate::tour::Attack;

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

/// The hops of one request.
pub fn hops(hops: &[Hop]) -> String {
    let mut table = table(&[
        "service", "issuer", "audience", "scopes", "lives", "actors", "in", "out", "verdict", "took",
    ]);
    for hop in hops {
        let token = hop.admitted.token.as_ref();
        let out = hop.sent.as_ref().and_then(|sent| sent.grant.as_ref());
        table.add_row([
            hop.admitted.origin.service.to_string(),
            token.map(|token| token.issuer.to_string()).unwrap_or_default(),
            hop.audience(),
            hop.scopes(),
            format!("{} s", hop.expires_in()),
            if hop.actors().is_empty() { "the user".into() } else { hop.actors().join(" < ") },
            token.map(|token| token.fingerprint.short()).unwrap_or_default(),
            out.map_or_else(|| "-".into(), |grant| Fingerprint::short(&grant.fingerprint)),
            format!("{}, {}", hop.admitted.decision.code(), hop.status()),
            format!("{:.1} ms", hop.took_micros() as f64 / 1000.0),
        ]);
    }
    table.to_string()
}

/// The tour's lines.
pub fn attacks(attacks: &[Attack]) -> String {
    let mut table = table(&["held", "what was tried", "at", "answer", "the audit says"]);
    for attack in attacks {
        table.add_row([
            if attack.held() { "yes" } else { "NO" }.to_owned(),
            attack.name.to_owned(),
            attack.target.to_owned(),
            attack.status.to_string(),
            if attack.held() {
                attack.code.clone()
            } else {
                format!("{} (expected {} {})", attack.code, attack.expected_status, attack.expected)
            },
        ]);
    }
    table.to_string()
}

/// Who exchanged what for what, for one request.
pub fn lineage(hops: &[Hop]) -> String {
    let mut lines = Vec::new();
    for (depth, hop) in hops.iter().enumerate() {
        let Some(token) = &hop.admitted.token else { continue };
        let indent = "   ".repeat(depth);
        let link = if depth == 0 { "" } else { "└─ " };
        lines.push(format!(
            "{indent}{link}{}  {} may {} at {} until {}{}",
            token.fingerprint.short(),
            token.subject,
            token.scopes,
            hop.audience(),
            token.expires,
            token.actors.current().map(|actor| format!(", held by {}", actor.subject)).unwrap_or_default(),
        ));
    }
    lines.join("\n")
}

/// The one object that `--json` prints.
pub fn json(hops: &[Hop], attacks: &[Attack], problems: &[String]) -> Value {
    let parents = std::iter::once(None).chain(hops.iter().map(|hop| Some(hop.fingerprint())));
    json!({
        "hops": hops.iter().zip(parents).map(|(hop, parent)| hop.json(parent.as_deref())).collect::<Vec<_>>(),
        "attacks": attacks.iter().map(Attack::json).collect::<Vec<_>>(),
        "problems": problems,
    })
}
