//! Which logs are read, and whose word each of them is: by the keys that signed them, or by what the caller says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hopguard_audit::lineage::{Lineage, LogSource, log_files};
use hopguard_audit::{FindingKind, LogVerifier, Verification, verify};

use crate::progress;
use crate::show::plain;
use crate::verify::{is_durable, read_keys};

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
            format!("{} is told by {service}, for whom this log does not speak", place(&one.file, one.line))
        }));
        Ok(lineage)
    }

    fn sources(&self) -> Result<Vec<LogSource>, String> {
        let keys = self.key.iter().map(|key| read_keys(key)).collect::<Result<Vec<_>, _>>()?.concat();
        if keys.is_empty() {
            let plain = self.logs.iter().map(|log| {
                let (service, path) = spoken(log);
                service.into_iter().fold(LogSource::at(path), LogSource::speaks_for)
            });
            return Ok(plain.collect());
        }
        let mut sources = Vec::new();
        for log in &self.logs {
            let (service, path) = spoken(log);
            let files = log_files(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let folders: BTreeSet<_> = files.iter().map(|file| folder_of(file)).collect();
            for folder in folders {
                if is_durable(folder) {
                    sources.extend(signed(folder, &keys, service)?);
                } else {
                    let service = service.ok_or_else(|| unsigned(folder))?;
                    sources.extend(tied(folder, &files, &keys, service)?);
                }
            }
        }
        Ok(sources)
    }
}

/// The records of a durable log that a checkpoint covers, and nothing else of its folder.
fn signed(folder: &Path, keys: &[LogVerifier], service: Option<&str>) -> Result<Vec<LogSource>, String> {
    let at = folder.display();
    let (key, found) = signer(folder, keys)?;
    if let Some(service) = service
        && key.services().next().is_some()
        && !key.services().any(|own| own == service)
    {
        return Err(format!("{at}: its key does not name {service}"));
    }
    if found.signed < found.records {
        let left = found.records - found.signed;
        eprintln!("hopguard: {at}: the last {left} records are not signed yet, and left out");
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

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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

/// What `SERVICE=LOG` says. A log whose name has a `=` is just that.
fn spoken(log: &Path) -> (Option<&str>, &Path) {
    let pair = log.to_str().filter(|_| !log.exists()).and_then(|text| text.split_once('='));
    pair.map_or((None, log), |(service, path)| (Some(service), Path::new(path)))
}

/// The key that signed the log, all of which it verifies.
fn signer<'a>(folder: &Path, keys: &'a [LogVerifier]) -> Result<(&'a LogVerifier, Verification), String> {
    let at = folder.display();
    let name = ["checkpoint", "checkpoints"].iter().find_map(|file| {
        let note = std::fs::read_to_string(folder.join(file)).ok()?;
        note.lines().next().map(str::to_owned)
    });
    let Some(name) = name else { return Err(format!("{at} has lost its checkpoints: it does not verify")) };
    for key in keys.iter().filter(|key| key.origin() == name) {
        let found = verify(folder, key, &[]).map_err(|error| format!("cannot read {at}: {error}"))?;
        // Those are left out, each by itself.
        if found.findings.iter().all(|finding| finding.kind == FindingKind::ServiceForeign) {
            return Ok((key, found));
        }
    }
    Err(format!("{at} does not verify by any of these keys: `hopguard audit verify` tells why"))
}
