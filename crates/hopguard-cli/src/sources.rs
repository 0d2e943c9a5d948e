//! Which logs are read, and whose word each of them is: by the keys that signed them, or by what the caller says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hopguard_audit::lineage::{Lineage, LogSource, log_files};
use hopguard_audit::{FindingKind, LogVerifier, verify};

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
    /// A verifier key, or a file of them, one a line. Each durable log must verify by one of them, and speaks for the
    /// services that its key names and for no other
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
        let (mut sources, mut verified) = (Vec::new(), BTreeMap::new());
        for log in &self.logs {
            let (service, path) = spoken(log);
            let tied = |source: LogSource| match service {
                Some(service) => source.speaks_for(service),
                None => source,
            };
            if keys.is_empty() {
                sources.push(tied(LogSource::at(path)));
                continue;
            }
            for file in log_files(path).map_err(|error| format!("{}: {error}", path.display()))? {
                let folder = file.parent().unwrap_or(Path::new("")).to_owned();
                if !verified.contains_key(&folder) {
                    let key = if is_durable(&folder) { Some(signer(&folder, &keys)?) } else { None };
                    verified.insert(folder.clone(), key);
                }
                let key = verified.get(&folder).copied().flatten();
                let services = key.into_iter().flat_map(LogVerifier::services);
                if services.clone().next().is_none() {
                    sources.push(tied(LogSource::at(file)));
                } else if service.is_none_or(|service| services.clone().any(|own| own == service)) {
                    sources.push(services.fold(LogSource::at(file), LogSource::speaks_for));
                } else {
                    let service = service.unwrap_or_default();
                    return Err(format!("{}: its key does not name {service}", folder.display()));
                }
            }
        }
        Ok(sources)
    }
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
fn signer<'a>(folder: &Path, keys: &'a [LogVerifier]) -> Result<&'a LogVerifier, String> {
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
            return Ok(key);
        }
    }
    Err(format!("{at} does not verify by any of these keys: `hopguard audit verify` tells why"))
}
