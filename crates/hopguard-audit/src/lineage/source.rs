//! Logs to read, and whose word each of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Record;

/// A log to read: a file of JSON Lines, or a folder of them.
///
/// What a record says of its own service is believed, unless whoever reads knows better: a log that is said to speak
/// for a service speaks for no other, and no other log speaks for that service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    path: PathBuf,
    services: BTreeSet<String>,
    at_most: u64,
}

impl LogSource {
    /// The log at `path`, of which it is not known who writes there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), services: BTreeSet::new(), at_most: u64::MAX }
    }

    /// Only this service writes there; of several, only they do.
    #[must_use]
    pub fn speaks_for(mut self, service: impl Into<String>) -> Self {
        self.services.insert(service.into());
        self
    }

    /// Only the first lines of each file are read: as many as somebody vouches for
    /// ([`Verification::signed_files`](crate::Verification::signed_files)).
    #[must_use]
    pub const fn lines_at_most(mut self, lines: u64) -> Self {
        self.at_most = lines;
        self
    }
}

/// A record in the name of a service that its log does not speak for. It is no part of the lineage.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Foreign {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// Whom the log speaks for; nobody that is known, if another log speaks for the record's service.
    pub speaks_for: Vec<String>,
    /// What stands there.
    pub record: Record,
}

/// Who speaks in a file, and in how many lines of it.
pub(super) struct Voice {
    pub(super) speakers: BTreeSet<String>,
    pub(super) at_most: u64,
}

/// The files of several logs, and who speaks where.
pub(super) struct Voices {
    pub(super) files: BTreeMap<PathBuf, Voice>,
    pub(super) bound: BTreeSet<String>,
}

impl Voices {
    /// The error names the path.
    pub(super) fn of(sources: &[LogSource]) -> io::Result<Self> {
        let mut voices = Self { files: BTreeMap::new(), bound: BTreeSet::new() };
        for LogSource { path, services, at_most } in sources {
            for file in log_files(path).map_err(|error| named(path, &error))? {
                let unknown = || Voice { speakers: BTreeSet::new(), at_most: u64::MAX };
                let voice = voices.files.entry(file).or_insert_with(unknown);
                voice.speakers.extend(services.iter().cloned());
                voice.at_most = voice.at_most.min(*at_most);
            }
            voices.bound.extend(services.iter().cloned());
        }
        Ok(voices)
    }

    /// True if `service` may speak in a file that speaks for `speakers`.
    pub(super) fn believes(&self, speakers: &BTreeSet<String>, service: &str) -> bool {
        if speakers.is_empty() { !self.bound.contains(service) } else { speakers.contains(service) }
    }
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The log files that `path` stands for: itself, or the `.jsonl` files in a folder, which may be that of a
/// durable log or one with a folder or file for each service.
///
/// # Errors
///
/// If the path cannot be read or holds no log.
pub fn log_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(path, 2, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no .jsonl file is there"));
    }
    Ok(files)
}

fn collect(path: &Path, depth: u8, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.metadata()?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in path.read_dir()? {
        let below = entry?.path();
        if below.is_dir() {
            if depth > 0 {
                collect(&below, depth - 1, files)?;
            }
        } else if below.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(below);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The logs of several services stand in folders of their own; what is deeper than that is not looked for.
    #[test]
    fn a_folder_that_is_too_deep_is_left_out_whatever_its_name() {
        let root = std::env::temp_dir().join(format!("hopguard-deep-{}", std::process::id()));
        let deep = root.join("a/b/c/d.jsonl/e.jsonl");
        std::fs::create_dir_all(&deep).unwrap();
        for file in ["one.jsonl", "a/two.jsonl", "a/b/three.jsonl", "a/b/c/four.jsonl"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::fs::write(deep.join("five.jsonl"), "").unwrap();
        let found = log_files(&root);
        // One step nearer, the depth is at its end where a file stands and not a folder.
        let nearer = log_files(&root.join("a"));
        std::fs::remove_dir_all(&root).unwrap();
        let names = |files: Vec<PathBuf>, root: &Path| -> Vec<String> {
            files.iter().map(|f| f.strip_prefix(root).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(found.unwrap(), &root), ["a/b/three.jsonl", "a/two.jsonl", "one.jsonl"]);
        let nearer = names(nearer.unwrap(), &root.join("a"));
        assert_eq!(nearer, ["b/c/four.jsonl", "b/three.jsonl", "two.jsonl"]);
    }
}
