//! `hopguard audit trace`, `find` and `stats`: what the logs of one or many services say together.

use std::collections::{BTreeMap, BTreeSet};

use hopguard_audit::lineage::{Node, Record, Suspicion, TokenSeen};
use hopguard_core::{Fingerprint, redacted};
use serde_json::{json, to_value};

use crate::show::{plain, table, time};
use crate::sources::Logs;
use crate::{Ended, html, print, print_json};

/// What both end with, as people know it of `grep`.
const EXIT_CODES: &str = "Exit code 0: found. 1: nothing is named by the query. 2: it could not be done.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Trace {
    /// The beginning of a fingerprint, a token id, trace id, subject, request or event id, or a JWT itself
    query: String,
    #[command(flatten)]
    logs: Logs,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["dot", "html"])]
    json: bool,
    /// Print a graph for Graphviz
    #[arg(long, conflicts_with = "html")]
    dot: bool,
    /// Print one page of HTML, with a timeline and filters, to open and to share
    #[arg(long)]
    html: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Find {
    /// The beginning of a fingerprint, a token id, trace id, subject, request or event id, or a JWT itself
    query: String,
    #[command(flatten)]
    logs: Logs,
    /// Print the events as JSON, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    logs: Logs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is looked for. Somebody who has the token itself need not work out its fingerprint; it is used and not shown.
fn query(text: &str) -> String {
    if redacted(text) == text { text.to_owned() } else { Fingerprint::of_token(text.trim()).to_string() }
}

// === trace ===

pub(crate) fn trace(arguments: &Trace) -> Result<Ended, String> {
    let lineage = arguments.logs.read()?;
    let query = query(&arguments.query);
    let trees = lineage.trace(&query);
    let mut tokens = BTreeMap::new();
    trees.iter().for_each(|tree| members(tree, &mut tokens));
    let mut suspicions = lineage.suspicions();
    suspicions.retain(|suspicion| tokens.contains_key(suspicion.fingerprint.as_str()));
    if trees.is_empty() && !arguments.json {
        return Ok(nothing("verified token", &query));
    }
    if arguments.json {
        print_json(&json!({ "query": query, "trees": trees, "suspicions": suspicions }))?;
    } else if arguments.dot {
        print(&dot(&trees, &suspicions))?;
    } else if arguments.html {
        print(&html::page(&query, &lineage, &trees, &suspicions))?;
    } else {
        print(&told(&trees, &suspicions))?;
    }
    Ok(if trees.is_empty() { nothing("verified token", &query) } else { Ended::Well })
}

/// As `grep` ends that has found nothing.
fn nothing(what: &str, query: &str) -> Ended {
    eprintln!("hopguard: no {what} is named by `{}`", plain(query));
    Ended::Nothing
}

fn members<'a>(node: &'a Node, into: &mut BTreeMap<&'a str, &'a TokenSeen>) {
    into.insert(&node.token.fingerprint, &node.token);
    node.children.iter().for_each(|child| members(child, into));
}

fn told(trees: &[Node], suspicions: &[Suspicion]) -> String {
    let suspected: BTreeSet<&str> = suspicions.iter().map(|s| s.fingerprint.as_str()).collect();
    let mut tokens = table(&[
        "token", "held by", "subject", "audience", "scopes", "actors", "expires", "says", "shown to",
    ]);
    trees.iter().for_each(|tree| rows(tree, "", "", &suspected, &mut tokens));
    let mut text = tokens.to_string();
    if suspicions.is_empty() {
        text.push_str("\n\nNothing here contradicts anything else.");
        return text;
    }
    let mut table = table(&["suspicion", "token", "when", "log", "why", "event"]);
    for suspicion in suspicions {
        table.add_row([
            suspicion.kind.name().to_owned(),
            plain(suspicion.fingerprint.get(..12).unwrap_or(&suspicion.fingerprint)),
            time(suspicion.time_ms),
            plain(&suspicion.service),
            plain(&suspicion.reason),
            plain(&suspicion.event_id),
        ]);
    }
    text.push_str(&format!("\n\n! marks what does not fit:\n\n{table}"));
    text
}

fn rows(node: &Node, before: &str, below: &str, suspected: &BTreeSet<&str>, table: &mut comfy_table::Table) {
    let token = &node.token;
    let mark = if suspected.contains(token.fingerprint.as_str()) { " !" } else { "" };
    let mut shown: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for presentation in &node.presentations {
        *shown.entry((&presentation.service, &presentation.code)).or_default() += 1;
    }
    let shown = shown.iter().map(|((service, code), count)| {
        let times = if *count > 1 { format!(" x{count}") } else { String::new() };
        plain(&format!("{service}: {code}{times}"))
    });
    let actors: Vec<_> = token.actors.iter().map(|actor| actor.subject.as_str()).collect();
    // What it was shown to, and what was made of it, stands at its other row.
    let elsewhere = if node.told_elsewhere { " (see its own row)" } else { "" };
    table.add_row([
        format!("{before}{}{mark}{elsewhere}", plain(token.short())),
        plain(token.holder().unwrap_or("-")),
        plain(&token.subject),
        plain(&token.audiences.join(" ")),
        plain(&token.scopes.join(" ")),
        if actors.is_empty() { "-".to_owned() } else { plain(&actors.join(" < ")) },
        time(token.expires.saturating_mul(1000)),
        if node.said_by.is_empty() { "-".to_owned() } else { plain(&node.said_by.join(", ")) },
        shown.collect::<Vec<_>>().join("\n"),
    ]);
    let last = node.children.len().saturating_sub(1);
    for (at, child) in node.children.iter().enumerate() {
        let (branch, trunk) = if at == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        rows(child, &format!("{below}{branch}"), &format!("{below}{trunk}"), suspected, table);
    }
}

fn dot(trees: &[Node], suspicions: &[Suspicion]) -> String {
    let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for suspicion in suspicions {
        reasons.entry(&suspicion.fingerprint).or_default().insert(suspicion.kind.name());
    }
    let mut lines = BTreeSet::new();
    trees.iter().for_each(|tree| dot_lines(tree, &reasons, &mut lines));
    let lines: Vec<_> = lines.into_iter().collect();
    format!(
        "digraph lineage {{\n  rankdir=LR; node [shape=box, fontname=\"sans-serif\"];\n{}\n}}",
        lines.join("\n")
    )
}

fn dot_lines(node: &Node, reasons: &BTreeMap<&str, BTreeSet<&str>>, lines: &mut BTreeSet<String>) {
    let token = &node.token;
    let mut label = format!(
        "{}\n{} held by {}\n{}",
        token.short(),
        token.subject,
        token.holder().unwrap_or("-"),
        token.audiences.join(" ")
    );
    let mut colour = "";
    if let Some(kinds) = reasons.get(token.fingerprint.as_str()) {
        label = format!("{label}\n! {}", kinds.iter().copied().collect::<Vec<_>>().join(", "));
        colour = ", color=red";
    }
    lines.insert(format!("  {} [label={}{colour}];", quoted(&token.fingerprint), quoted(&label)));
    for child in &node.children {
        let (from, to) = (quoted(&token.fingerprint), quoted(&child.token.fingerprint));
        lines.insert(format!("  {from} -> {to} [label={}];", quoted(&child.said_by.join(", "))));
        dot_lines(child, reasons, lines);
    }
}

/// A string of the DOT language; line breaks are its own, everything else that steers is made harmless.
fn quoted(text: &str) -> String {
    let lines = text.split('\n').map(|line| plain(line).replace('\\', "\\\\").replace('"', "\\\""));
    format!("\"{}\"", lines.collect::<Vec<_>>().join("\\n"))
}

// === find ===

pub(crate) fn find(arguments: &Find) -> Result<Ended, String> {
    let lineage = arguments.logs.read()?;
    let query = query(&arguments.query);
    let found = lineage.find(&query);
    if found.is_empty() {
        return Ok(nothing("event", &query));
    }
    if arguments.json {
        found.iter().try_for_each(print_json)?;
        return Ok(Ended::Well);
    }
    let mut events = table(&[
        "when",
        "service",
        "way",
        "verdict",
        "token",
        "subject",
        "grant",
        "peer or destination",
        "trace",
        "event",
    ]);
    for record in &found {
        events.add_row(row(record));
    }
    print(&format!("{events}\n{} events", found.len()))?;
    Ok(Ended::Well)
}

fn row(record: &Record) -> [String; 10] {
    let short =
        |token: Option<&TokenSeen>| token.map_or_else(|| "-".to_owned(), |token| plain(token.short()));
    let text = |value: Option<&str>| plain(value.unwrap_or("-"));
    [
        time(record.time_ms),
        plain(&record.service),
        plain(&record.direction),
        plain(&record.code),
        short(record.token.as_ref()),
        text(record.token.as_ref().map(|token| token.subject.as_str())),
        short(record.grant.as_ref()),
        text(record.destination.as_deref().or(record.peer.as_deref())),
        text(record.trace_id.as_deref()),
        plain(&record.event_id),
    ]
}

// === stats ===

pub(crate) fn stats(arguments: &Stats) -> Result<Ended, String> {
    let lineage = arguments.logs.read()?;
    let mut counts: BTreeMap<[&str; 5], (u64, u64, u64)> = BTreeMap::new();
    for record in lineage.records() {
        let key: [&str; 5] =
            [&record.service, &record.direction, &record.kind, &record.decision, &record.code];
        let (count, first, last) = counts.entry(key).or_insert((0, record.time_ms, record.time_ms));
        // A count of refusals, or of lost events, stands for as many as it counted; of a mended end, for itself.
        let more = record.count.filter(|_| record.kind == "count").unwrap_or(1);
        *count = count.saturating_add(more);
        (*first, *last) = ((*first).min(record.time_ms), (*last).max(record.time_ms));
    }
    let suspicions = lineage.suspicions();
    let mut suspected: BTreeMap<&str, u64> = BTreeMap::new();
    for suspicion in &suspicions {
        *suspected.entry(suspicion.kind.name()).or_default() += 1;
    }
    if arguments.json {
        let counts: Vec<_> = counts
            .iter()
            .map(|([service, direction, kind, decision, code], (count, first, last))| {
                json!({ "service": service, "direction": direction, "kind": kind, "decision": decision,
                    "code": code, "count": count, "first_ms": first, "last_ms": last })
            })
            .collect();
        let unreadable = to_value(lineage.unreadable()).map_err(|error| error.to_string())?;
        let all = json!({ "events": lineage.records().len(), "counts": counts, "suspicions": suspected,
            "unreadable": unreadable, "foreign": lineage.foreign().len() });
        print_json(&all)?;
        return Ok(Ended::Well);
    }
    let mut all = table(&["service", "way", "kind", "decision", "code", "count", "first", "last"]);
    for (key, (count, first, last)) in counts {
        let texts = key.map(plain);
        all.add_row(texts.into_iter().chain([count.to_string(), time(first), time(last)]));
    }
    let mut text = format!("{all}\n{} events", lineage.records().len());
    for (kind, count) in suspected {
        text.push_str(&format!("\nsuspicion {kind}: {count}"));
    }
    print(&text)?;
    Ok(Ended::Well)
}
