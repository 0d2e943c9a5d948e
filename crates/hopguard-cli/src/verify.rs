//! `hopguard audit verify`: was a log changed?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hopguard_audit::lineage::log_files;
use hopguard_audit::{Finding, FindingKind, LogVerifier, Verification};
use serde_json::{Value, json, to_value};

use crate::show::{plain, table};
use crate::{Ended, print, print_json};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The last checkpoint is signed when the log is dropped, by a service that ends in good order. Records \
                  after the newest checkpoint are not covered; of a log without one over any record nothing is \
                  proven (exit 1)."
)]
pub(crate) struct Arguments {
    /// Folders of durable logs; in plain JSON Lines there is nothing to verify
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The verifier key, `<origin>+<key id>+<base64>`, or a file that holds it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A file of checkpoints held elsewhere; with it, a log that was cut or set back is found
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Let a log pass of which only the empty log's checkpoint is left: it was begun seconds ago, and is open or was
    /// killed before the next one. One whose later checkpoints were deleted looks the same
    #[arg(long)]
    dangerous_unsigned: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Ended, String> {
    let key = arguments.key.as_deref().map(read_key).transpose()?;
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let held = arguments.against.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let held: Vec<&str> = held.iter().map(String::as_str).collect();
    let (mut ended, mut all) = (Ended::Well, Vec::new());
    for log in &arguments.logs {
        if !is_durable(log) {
            return Err(not_durable(log, key.is_some() || !held.is_empty())?);
        }
        let what = "is a durable log, or was one: name its verifier key by --key KEY";
        let key = key.as_ref().ok_or_else(|| format!("{} {what}", log.display()))?;
        let found = hopguard_audit::verify(log, key, &held);
        let mut found = found.map_err(|error| format!("cannot read {}: {error}", log.display()))?;
        if key.services().next().is_none() {
            found.notes.push("the key names no service: whose word the records are is not known".to_owned());
        }
        let passes = |found: &Verification| {
            found.is_sound() || arguments.dangerous_unsigned && found.is_sound_or_young()
        };
        if !passes(&found) {
            ended = Ended::Changed;
        }
        all.push((log, found));
    }
    if arguments.json {
        let all = all.iter().map(|(log, found)| json(log, found)).collect::<Result<Vec<_>, _>>();
        print_json(&all.map_err(|error| error.to_string())?)?;
    } else {
        print(&all.iter().map(|(log, found)| told(log, found)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ended)
}

const WRONG: &str =
    "this is no verifier key: it must read `<origin>+<key id>+<base64>`, as `audit key` printed it";

fn read_key(key: &str) -> Result<LogVerifier, String> {
    match <[_; 1]>::try_from(read_keys(key)?) {
        Ok([sole]) => Ok(sole),
        Err(_) => Err(WRONG.to_owned()),
    }
}

/// The verifier keys in `key` or in the file of that name, one a line.
pub(crate) fn read_keys(key: &str) -> Result<Vec<LogVerifier>, String> {
    // A key is a key, whatever files there are: one of that name must not take its place.
    let text = if LogVerifier::parse(key).is_ok() || key.contains('+') && !Path::new(key).exists() {
        key.to_owned()
    } else {
        std::fs::read_to_string(key).map_err(|error| format!("cannot read {key}: {error}"))?
    };
    // The text is a secret if it is the wrong one: it is not repeated.
    if text.trim_start().starts_with("PRIVATE+KEY+") {
        return Err("this is the signing key; name the verifier key that `audit key` printed".to_owned());
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Vec<_> =
        lines.map(|line| LogVerifier::parse(line).map_err(|_| WRONG.to_owned())).collect::<Result<_, _>>()?;
    // A file that was emptied would otherwise ask for nothing.
    if keys.is_empty() { Err(format!("{key} holds no verifier key")) } else { Ok(keys) }
}

/// Where a file stands.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// True if anything is left of a durable log: the files of its records, too, have names as no other's.
pub(crate) fn is_durable(folder: &Path) -> bool {
    let is_segment = |name: &str| {
        name.strip_suffix(".jsonl").is_some_and(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    ["leaves", "checkpoint", "checkpoints"].iter().any(|file| folder.join(file).is_file())
        || folder.read_dir().is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_segment)))
        })
}

/// Why what is no folder of a durable log is not verified. It may have been one: whoever deletes its hashes and
/// checkpoints, or puts another file in its place, must not end well.
fn not_durable(log: &Path, is_held: bool) -> Result<String, String> {
    let nothing = format!("{} is no durable log: there is nothing to verify", log.display());
    if is_held {
        return Ok(nothing);
    }
    let files = log_files(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let folders: BTreeSet<&Path> = files.iter().map(|file| folder_of(file)).collect();
    let durable = folders.into_iter().find(|at| is_durable(at));
    Ok(durable.map_or(nothing, |durable| {
        let what = "holds durable logs, or is a part of one: name each one's folder, and its key";
        format!("{} {what}; the first is {}", log.display(), durable.display())
    }))
}

/// An error for a path that is not UTF-8.
fn json(log: &Path, found: &Verification) -> serde_json::Result<Value> {
    let (log, verification) = (to_value(log)?, to_value(found)?);
    Ok(json!({ "log": log, "sound": found.is_sound(), "verification": verification }))
}

fn told(log: &Path, found: &Verification) -> String {
    let log = plain(&log.display().to_string());
    let is_unproven = found.findings.iter().all(|finding| finding.kind == FindingKind::Unsigned);
    let is_foreign = |finding: &Finding| finding.kind == FindingKind::ServiceForeign;
    let verdict = match found.is_sound() {
        true => "sound",
        false if is_unproven && found.checkpoints > 0 => "NOT PROVEN",
        false if found.findings.iter().all(is_foreign) => "NOT ALL ITS OWN",
        false => "CHANGED",
    };
    let mut text = format!(
        "{log}: {verdict}, {} records, {} of them signed, {} checkpoints of its own, {} held",
        found.records, found.signed, found.checkpoints, found.held
    );
    for note in &found.notes {
        text.push_str(&format!("\n  note: {}", plain(note)));
    }
    if !found.is_sound() {
        let mut findings = table(&["what", "records", "file", "line", "why"]);
        for finding in &found.findings {
            let (from, to) = (finding.records.start, finding.records.end.saturating_sub(1));
            findings.add_row([
                finding.kind.name().to_owned(),
                if to > from { format!("{from} to {to}") } else { from.to_string() },
                plain(&finding.file.display().to_string()),
                finding.line.to_string(),
                plain(&finding.detail),
            ]);
        }
        text.push_str(&format!("\n{findings}"));
    }
    text
}
