//! Which logs are read, and whose word each of them is: by the keys that signed them, or by what the caller says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hopguard_audit::lineage::{Lineage, LogSource, log_files};
use hopguard_audit::{Finding, FindingKind, LogVerifier, Verification, verify};

use crate::progress;
use crate::show::plain;
use crate::verify::{folder_of, is_durable, read_keys};

/// More lines than this that are left out are counted.
const SINGLY: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Log files, or folders of them; one for each service that is to be heard. `SERVICE=LOG`: only SERVICE writes
    /// there, and nowhere else
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// A verifier key, or a file of them, one a line. Only what they signed is read, all of which must verify; a log
    /// speaks for the services that its key names and for no other
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// A file of checkpoints of one log, held elsewhere: with it, a log that was cut or set back is found
    #[arg(long, value_name = "FILE", requires = "key")]
    against: Vec<PathBuf>,
    /// Read a log of which only the empty log's checkpoint is left: it says nothing, and nothing can be matched with it.
    /// One whose later checkpoints were deleted looks the same
    #[arg(long, requires = "key")]
    dangerous_unsigned: bool,
}

impl Logs {
    /// Reads the logs. What is left out is told on standard error.
    pub(crate) fn read(&self) -> Result<Lineage, String> {
        let sources = self.sources()?;
        let bar = progress::Bar::new();
        let lineage = Lineage::read_sources(&sources, |done, all| bar.at(done, all));
        drop(bar);
        let lineage = lineage.map_err(|error| error.to_string())?;
        let place = |file: &Path, line| format!("{} line {line}", plain(&file.display().to_string()));
        left_out(
            lineage.unreadable().iter().map(|one| format!("{} is no event", place(&one.file, one.line))),
        );
        left_out(lineage.foreign().iter().map(|one| {
            let service = plain(&one.record.service);
            format!(
                "{} is told by {service:.100}, for whom this log does not speak",
                place(&one.file, one.line)
            )
        }));
        Ok(lineage)
    }

    fn sources(&self) -> Result<Vec<LogSource>, String> {
        let keys = self.key.iter().map(|key| read_keys(key)).collect::<Result<Vec<_>, _>>()?.concat();
        if keys.is_empty() {
            let plain = self.logs.iter().map(|log| {
                let (service, path) = spoken(log)?;
                Ok(service.into_iter().fold(LogSource::at(path), LogSource::speaks_for))
            });
            return plain.collect();
        }
        let held = self.against.iter().map(|file| read_held(file)).collect::<Result<Vec<_>, _>>()?;
        let (mut sources, mut met) = (Vec::new(), Vec::new());
        for log in &self.logs {
            let (service, path) = spoken(log)?;
            let files = log_files(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let folders: BTreeSet<_> = files.iter().map(|file| folder_of(file)).collect();
            for folder in folders {
                if is_durable(folder) {
                    let (key, found) = signer(folder, &keys, &held)?;
                    // INVARIANT: I14 — whoever empties a log, or sets it back to its beginning, has not made it honest.
                    if found.signed == 0 && !self.dangerous_unsigned {
                        return Err(silent(folder));
                    }
                    met.push(key);
                    sources.extend(signed(folder, key, found, service)?);
                } else {
                    let service = service.ok_or_else(|| unsigned(folder))?;
                    sources.extend(tied(folder, &files, &keys, service)?);
                }
            }
        }
        // INVARIANT: I14 — a log that is gone says nothing, and what it would have contradicted stands.
        if let Some(key) = keys.iter().find(|key| !met.contains(key)) {
            return Err(format!("no log here is signed by {}: name it, or leave its key out", key.origin()));
        }
        match self.against.iter().zip(&held).find(|(_, held)| !met.iter().any(|key| is_of(held, key))) {
            None => Ok(sources),
            Some((file, _)) => {
                Err(format!("{} holds no checkpoints of a log that is read here", file.display()))
            }
        }
    }
}

/// The records of a durable log that a checkpoint covers, and nothing else of its folder.
fn signed(
    folder: &Path,
    key: &LogVerifier,
    found: Verification,
    service: Option<&str>,
) -> Result<Vec<LogSource>, String> {
    let at = plain(&folder.display().to_string());
    if let Some(service) = service
        && key.services().next().is_some()
        && !key.services().any(|own| own == service)
    {
        return Err(format!("{at}: its key does not name {service}"));
    }
    if found.signed < found.records {
        let left = found.records - found.signed;
        eprintln!("hopguard: {at}: records at the end that are not signed yet, and left out: {left}");
    }
    let services: Vec<_> = match key.services().next() {
        Some(_) => key.services().collect(),
        None => service.into_iter().collect(),
    };
    let source = |(file, lines): (PathBuf, u64)| {
        let source = LogSource::at(file).lines_at_most(lines);
        services.iter().copied().fold(source, LogSource::speaks_for)
    };
    Ok(found.signed_files.into_iter().map(source).collect())
}

/// Plain files, of which the caller says whose they are: only of a service whose log no key could have signed.
fn tied(
    folder: &Path,
    files: &[PathBuf],
    keys: &[LogVerifier],
    service: &str,
) -> Result<Vec<LogSource>, String> {
    // INVARIANT: I14 — whoever deletes a log's checkpoints has not made a log that needs none.
    if keys.iter().any(|key| key.services().next().is_none() || key.services().any(|own| own == service)) {
        return Err(unsigned(folder));
    }
    let own = files.iter().filter(|file| folder_of(file) == folder);
    Ok(own.map(|file| LogSource::at(file).speaks_for(service)).collect())
}

fn silent(folder: &Path) -> String {
    format!(
        "no checkpoint of {} covers a record, so nothing that its service did or did not do can be told: it was begun \
         seconds ago, or its later checkpoints are gone. --dangerous-unsigned reads the others",
        folder.display()
    )
}

fn read_held(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn is_of(held: &str, key: &LogVerifier) -> bool {
    held.lines().next() == Some(key.origin())
}

fn unsigned(folder: &Path) -> String {
    format!(
        "{} holds records that are not signed: with --key only what a key signed is read. Leave them out, say \
         SERVICE=LOG for a service that no key names, or read everything without --key",
        folder.display()
    )
}

fn left_out(lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(SINGLY);
    lines.take(SINGLY).for_each(|line| eprintln!("hopguard: {line}"));
    if more > 0 {
        eprintln!("hopguard: and {more} lines more");
    }
}

/// What `SERVICE=LOG` says. A log whose name has a `=` is just that, where it can be nothing else.
fn spoken(log: &Path) -> Result<(Option<&str>, &Path), String> {
    // No service is called like a way through folders.
    let is_path = log.is_absolute() || log.starts_with(".") || log.starts_with("..");
    match log.to_str().filter(|_| !is_path).and_then(|text| text.split_once('=')) {
        None => Ok((None, log)),
        Some((service, path)) => match (log.exists(), Path::new(path).exists()) {
            (false, _) => Ok((Some(service), Path::new(path))),
            (true, false) => Ok((None, log)),
            (true, true) => {
                let log = log.display();
                Err(format!("{log} is a log of that name and names one: say ./{log}, or {service}=./{path}"))
            }
        },
    }
}

/// The key that signed the log, all of which it verifies, also by what is held of it.
fn signer<'a>(
    folder: &Path,
    keys: &'a [LogVerifier],
    held: &[String],
) -> Result<(&'a LogVerifier, Verification), String> {
    let at = folder.display();
    let name = ["checkpoint", "checkpoints"].iter().find_map(|file| {
        let note = std::fs::read_to_string(folder.join(file)).ok()?;
        note.lines().next().map(str::to_owned)
    });
    let Some(name) = name else { return Err(format!("{at} has lost its checkpoints: it does not verify")) };
    for key in keys.iter().filter(|key| key.origin() == name) {
        let held: Vec<_> = held.iter().map(String::as_str).filter(|held| is_of(held, key)).collect();
        let found = verify(folder, key, &held).map_err(|error| format!("cannot read {at}: {error}"))?;
        // Those are left out, each by itself.
        let is_left_out = |finding: &Finding| finding.kind == FindingKind::ServiceForeign;
        if found.findings.iter().all(is_left_out) || found.is_sound_or_young() {
            return Ok((key, found));
        }
    }
    Err(format!("{at} does not verify by any of these keys: `hopguard audit verify` tells why"))
}
