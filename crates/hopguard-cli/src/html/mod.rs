//! `hopguard audit trace --html`: one page with the tree, a timeline and filters, to open and to share.
//!
//! Everything from a log goes through [`esc`]; the page forbids itself the network and any script but its own,
//! by a policy that names the script's digest. It works without the script, except for the filters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hopguard_audit::lineage::{Lineage, Node, Record, Suspicion, TokenSeen};

use crate::show::{plain, time};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// More events than this make a page that no browser opens in time; the page says what it leaves out.
const MOST_EVENTS: usize = 20_000;

/// The page about `query`.
pub(crate) fn page(query: &str, lineage: &Lineage, trees: &[Node], suspicions: &[Suspicion]) -> String {
    let mut tokens = BTreeMap::new();
    trees.iter().for_each(|tree| members(tree, &mut tokens));
    let all: Vec<&Record> = lineage.records().iter().filter(|record| is_about(record, &tokens)).collect();
    let events = all.get(..MOST_EVENTS).unwrap_or(&all);
    let odd = Odd::of(suspicions);
    let mut page = String::with_capacity(events.len() * 700 + 16_384);
    let title = esc(query);
    let sha = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    page.push_str(&format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; \
         script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>hopguard audit: {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Who exchanged what for what: <code>{title}</code></h1>\n",
        sha(STYLE),
        sha(SCRIPT)
    ));
    page.push_str(&format!(
        "<p>{} tokens, {} events, {} suspicions, from the logs of {}. A suspicion is a reason to look, no \
         verdict: a log that was not given, or lost events, can be the cause.</p>\n",
        tokens.len(),
        all.len(),
        suspicions.len(),
        esc(&services(&all).into_iter().collect::<Vec<_>>().join(", "))
    ));
    if events.len() < all.len() {
        page.push_str(&format!(
            "<p class=\"mark\">Only the first {} events are on this page.</p>\n",
            events.len()
        ));
    }
    suspected(suspicions, &mut page);
    page.push_str(
        "<h2>Tokens</h2>\n<p><button type=\"button\" id=\"expand\">expand all</button> \
         <button type=\"button\" id=\"collapse\">collapse all</button></p>\n<div id=\"tree\">\n",
    );
    trees.iter().for_each(|tree| node(tree, &odd, 0, &mut page));
    page.push_str("</div>\n");
    timeline(events, &odd, &mut page);
    table(events, &odd, &mut page);
    page.push_str(&format!("<script>{SCRIPT}</script>\n</body>\n</html>"));
    page
}

/// What is suspected, by token and by event.
struct Odd<'a> {
    tokens: BTreeMap<&'a str, BTreeSet<&'static str>>,
    events: BTreeSet<&'a str>,
}

impl<'a> Odd<'a> {
    fn of(suspicions: &'a [Suspicion]) -> Self {
        let mut odd = Self { tokens: BTreeMap::new(), events: BTreeSet::new() };
        for suspicion in suspicions {
            odd.tokens.entry(&suspicion.fingerprint).or_default().insert(suspicion.kind.name());
            odd.events.insert(&suspicion.event_id);
        }
        odd
    }

    fn mark(&self, token: &TokenSeen) -> String {
        let kinds = self.tokens.get(token.fingerprint.as_str()).into_iter().flatten();
        let kinds: Vec<_> = kinds.copied().collect();
        if kinds.is_empty() {
            return String::new();
        }
        format!(" <span class=\"mark\">! {}</span>", kinds.join(", "))
    }
}

fn members<'a>(node: &'a Node, into: &mut BTreeMap<&'a str, &'a TokenSeen>) {
    into.insert(&node.token.fingerprint, &node.token);
    node.children.iter().for_each(|child| members(child, into));
}

fn is_about(record: &Record, tokens: &BTreeMap<&str, &TokenSeen>) -> bool {
    let named = [&record.token, &record.grant].into_iter().flatten().map(|token| token.fingerprint.as_str());
    named.chain(record.found.as_deref()).any(|fingerprint| tokens.contains_key(fingerprint))
}

fn services<'a>(events: &[&'a Record]) -> BTreeSet<&'a str> {
    events.iter().map(|record| record.service.as_str()).collect()
}

fn suspected(suspicions: &[Suspicion], page: &mut String) {
    if suspicions.is_empty() {
        page.push_str("<p id=\"suspicions\">Nothing here contradicts anything else.</p>\n");
        return;
    }
    page.push_str(
        "<h2>Suspicions</h2>\n<table id=\"suspicions\"><thead><tr><th>what<th>token<th>when (UTC)<th>log\
         <th>why<th>event</tr></thead><tbody>\n",
    );
    for suspicion in suspicions {
        page.push_str(&format!(
            "<tr><td class=\"mark\">{}<td class=\"mono\">{}<td>{}<td>{}<td>{}<td class=\"mono\">\
             <a href=\"#e-{id}\">{id}</a></tr>\n",
            suspicion.kind.name(),
            esc(short(&suspicion.fingerprint)),
            time(suspicion.time_ms),
            esc(&suspicion.service),
            esc(&suspicion.reason),
            id = esc(&suspicion.event_id),
        ));
    }
    page.push_str("</tbody></table>\n");
}

fn node(node: &Node, odd: &Odd<'_>, depth: usize, page: &mut String) {
    let token = &node.token;
    let mark = odd.mark(token);
    // Deep trees begin folded, except along what is suspected.
    let open = if depth < 2 || !mark.is_empty() { " open" } else { "" };
    let class = if mark.is_empty() { "" } else { " class=\"suspect\"" };
    // Each token is told once; the first mention of one that is told elsewhere leads there.
    let place = format!("t-{}", esc(&token.fingerprint));
    let (id, elsewhere) = match node.told_elsewhere {
        true => (String::new(), format!(" <a href=\"#{place}\">told elsewhere</a>")),
        false => (format!(" id=\"{place}\""), String::new()),
    };
    page.push_str(&format!(
        "<details{id}{open}{class}><summary><span class=\"id\">{}</span> {} may {} at {}, held by {}{mark}{elsewhere}</summary>\n<dl>",
        esc(token.short()),
        esc(&token.subject),
        esc(&token.scopes.join(" ")),
        esc(&token.audiences.join(" ")),
        esc(token.holder().unwrap_or("nobody named")),
    ));
    let actors: Vec<_> = token.actors.iter().map(|actor| actor.subject.as_str()).collect();
    let facts = [
        ("fingerprint", token.fingerprint.clone()),
        ("issuer", token.issuer.clone()),
        ("token id", token.token_id.clone().unwrap_or_default()),
        ("client", token.client.clone().unwrap_or_default()),
        ("actors", actors.join(" < ")),
        ("issued", token.issued_at.map(|at| time(at.saturating_mul(1000))).unwrap_or_default()),
        ("expires", time(token.expires.saturating_mul(1000))),
        ("made from its parent, say", node.said_by.join(", ")),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        page.push_str(&format!("<dt>{name}<dd>{}", esc(value)));
    }
    for shown in &node.presentations {
        let from = shown.peer.as_deref().map(|peer| format!(" from {peer}")).unwrap_or_default();
        page.push_str(&format!(
            "<dt>shown<dd>{} to {}{}: <a href=\"#e-{}\">{}</a>",
            time(shown.time_ms),
            esc(&shown.service),
            esc(&from),
            esc(&shown.event_id),
            esc(&shown.code),
        ));
    }
    page.push_str("</dl>\n");
    node.children.iter().for_each(|child| self::node(child, odd, depth + 1, page));
    page.push_str("</details>\n");
}

const LEFT: u64 = 140;
const WIDTH: u64 = 1000;
const LANE: u64 = 26;

/// One lane for each service, one mark for each event; a mark leads to its event.
fn timeline(events: &[&Record], odd: &Odd<'_>, page: &mut String) {
    let lanes: Vec<&str> = services(events).into_iter().collect();
    let (first, last) = (events.first().map_or(0, |e| e.time_ms), events.last().map_or(0, |e| e.time_ms));
    let span = last.saturating_sub(first).max(1);
    let height = lanes.len() as u64 * LANE + 30;
    page.push_str(&format!(
        "<h2>Timeline</h2>\n<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"timeline\">\n",
        LEFT + WIDTH + 20
    ));
    let mut of_service = BTreeMap::new();
    for (at, service) in (0_u64..).zip(&lanes) {
        let y = at * LANE + 16;
        of_service.insert(*service, y);
        let _ = writeln!(
            page,
            "<text x=\"4\" y=\"{}\">{}</text><line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>",
            y + 4,
            esc(service),
            LEFT + WIDTH
        );
    }
    for event in events {
        let (Some(y), since) = (of_service.get(event.service.as_str()), event.time_ms.saturating_sub(first))
        else {
            continue;
        };
        let x = LEFT + u64::try_from(u128::from(since) * u128::from(WIDTH) / u128::from(span)).unwrap_or(0);
        let suspect = if odd.events.contains(event.event_id.as_str()) { " suspect" } else { "" };
        let _ = writeln!(
            page,
            "<a href=\"#e-{id}\" data-event=\"{id}\"><circle cx=\"{x}\" cy=\"{y}\" r=\"5\" class=\"{}{suspect}\">\
             <title>{} {}: {}</title></circle></a>",
            class(event),
            time(event.time_ms),
            esc(&event.service),
            esc(&event.code),
            id = esc(&event.event_id),
        );
    }
    let _ = writeln!(
        page,
        "<text x=\"{LEFT}\" y=\"{y}\">{}</text><text x=\"{}\" y=\"{y}\" text-anchor=\"end\">+{span} ms</text>\n</svg>",
        time(first),
        LEFT + WIDTH,
        y = height - 4,
    );
}

fn table(events: &[&Record], odd: &Odd<'_>, page: &mut String) {
    page.push_str(
        "<h2>Events</h2>\n<div class=\"bar\" id=\"filters\" hidden>\
         <label>find <input type=\"search\" id=\"text\" autocomplete=\"off\"></label>\
         <label>log <select id=\"service\"><option value=\"\">all</option>",
    );
    for service in services(events) {
        let service = esc(service);
        page.push_str(&format!("<option value=\"{service}\">{service}</option>"));
    }
    page.push_str(
        "</select></label><label>decision <select id=\"decision\"><option value=\"\">all</option>\
         <option>allow</option><option>deny</option><option>fault</option></select></label>\
         <label><input type=\"checkbox\" id=\"odd\"> only what is suspected</label>\
         <span id=\"shown\"></span></div>\n\
         <table id=\"events\"><thead><tr><th>when (UTC)<th>log<th>way<th>verdict<th>token<th>grant<th>from or to\
         <th>trace<th>event</tr></thead><tbody>\n",
    );
    let fingerprint = |token: Option<&TokenSeen>| token.map(|token| esc(token.short())).unwrap_or_default();
    for event in events {
        let suspect = if odd.events.contains(event.event_id.as_str()) { " data-suspect" } else { "" };
        let mark = if suspect.is_empty() { "" } else { " !" };
        let _ = writeln!(
            page,
            "<tr id=\"e-{id}\" data-event=\"{id}\" data-service=\"{service}\" data-decision=\"{class}\"{suspect}>\
             <td>{}<td>{service}<td>{}<td class=\"{class}\">{}{mark}<td class=\"mono\">{}<td class=\"mono\">{}\
             <td>{}<td class=\"mono\">{}<td class=\"mono\">{id}</tr>",
            time(event.time_ms),
            esc(&event.direction),
            esc(&event.code),
            fingerprint(event.token.as_ref()),
            fingerprint(event.grant.as_ref()),
            esc(event.destination.as_deref().or(event.peer.as_deref()).unwrap_or("")),
            esc(event.trace_id.as_deref().unwrap_or("")),
            id = esc(&event.event_id),
            service = esc(&event.service),
            class = class(event),
        );
    }
    page.push_str("</tbody></table>\n");
}

/// Known names only: what a log says is never a class.
fn class(event: &Record) -> &'static str {
    match event.decision.as_str() {
        "allow" => "allow",
        "deny" => "deny",
        _ => "fault",
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

/// `text` as the content of an element or of a quoted attribute, without anything that turns text around.
fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACK: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}&lt;";

    fn hostile() -> Lineage {
        let token = serde_json::json!({ "fingerprint": "f".repeat(64), "issuer": ATTACK, "subject": ATTACK,
            "client": ATTACK, "audiences": [ATTACK], "scopes": [ATTACK], "actors": [{ "subject": ATTACK }],
            "expires": 9, "token_id": ATTACK });
        let record = serde_json::json!({ "version": 1, "time_ms": 5, "event_id": ATTACK, "service": ATTACK,
            "instance": ATTACK, "direction": ATTACK, "kind": "decision", "gate": ATTACK, "decision": ATTACK,
            "code": ATTACK, "token": token, "destination": ATTACK, "trace_id": ATTACK, "peer": ATTACK });
        let mut shown = record.clone();
        (shown["direction"], shown["decision"]) = ("inbound".into(), "allow".into());
        (shown["time_ms"], shown["code"]) = (20_000.into(), "token_withdrawn".into());
        let mut grant = record.clone();
        grant["decision"] = "allow".into();
        grant["grant"] = grant["token"].clone();
        grant["grant"]["fingerprint"] = "a".repeat(64).into();
        Lineage::of([record, shown, grant].map(|one| serde_json::from_value(one).unwrap()).into())
    }

    /// Every place of an event holds an attack; none of it may become markup.
    #[test]
    fn nothing_from_a_log_becomes_markup() {
        let lineage = hostile();
        let (trees, suspicions) = (lineage.trace(&"f".repeat(64)), lineage.suspicions());
        assert!(!trees.is_empty() && !suspicions.is_empty());
        let page = page(ATTACK, &lineage, &trees, &suspicions);
        assert!(page.contains("&lt;img src=x onerror"));
        for wrong in ["<img", "<script>alert", "\u{202e}", "'><", "\"'"] {
            assert!(!page.contains(wrong), "{wrong} in {page}");
        }
        // One script, one style, and both are those that the policy names.
        assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (1, 1));
        assert_eq!(page.matches("<style").count(), 1);
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" style="));
    }

    #[test]
    fn quotes_and_brackets_end_nothing() {
        assert_eq!(esc("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(esc("\u{1b}[2J"), "\\u{1b}[2J");
    }
}
