//! Events read back from logs. Unknown members are ignored, so that a newer log can be read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A verified token as events show it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TokenSeen {
    /// Its fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `aud`.
    pub audiences: Vec<String>,
    /// `scope`.
    pub scopes: Vec<String>,
    /// `act`, the current actor first.
    pub actors: Vec<ActorSeen>,
    /// `exp`, in seconds.
    pub expires: u64,
    /// `iat`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<u64>,
    /// `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
}

impl TokenSeen {
    /// The first 12 digits of the fingerprint, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.fingerprint.get(..12).unwrap_or(&self.fingerprint)
    }

    /// Who holds the token: the current actor, else the client.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.actors.first().map(|actor| actor.subject.as_str()).or(self.client.as_deref())
    }
}

/// One link of an actor chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ActorSeen {
    /// `sub`.
    pub subject: String,
    /// `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// What was asked of the authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RequestedSeen {
    /// `audience`.
    pub audience: String,
    /// `scope`.
    pub scopes: Vec<String>,
}

/// One event. See the schema of audit events for its members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the members are those of the schema, which describes them")]
pub struct Record {
    pub version: u16,
    pub time_ms: u64,
    pub event_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    pub service: String,
    pub instance: String,
    pub direction: String,
    pub kind: String,
    pub gate: String,
    pub decision: String,
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenSeen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<RequestedSeen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<TokenSeen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
}

impl Record {
    /// True if it was written by an authorization server about an exchange.
    pub(crate) fn is_exchange(&self) -> bool {
        self.gate == "sts"
    }

    /// True if the event decided something, rather than telling how it ended.
    pub(crate) fn is_decision(&self) -> bool {
        self.kind == "decision"
    }

    pub(crate) fn allowed(&self) -> bool {
        self.decision == "allow"
    }

    /// The transport's other end without its port, which changes with each connection.
    pub(crate) fn peer_address(&self) -> Option<String> {
        let peer: std::net::SocketAddr = self.peer.as_deref()?.parse().ok()?;
        Some(peer.ip().to_string())
    }
}

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
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

/// How many lines are read between two words about it.
const WORD_EVERY: u64 = 4096;

/// Reads the events of one file; `progress` learns how many bytes of it are read.
pub(crate) fn read(
    path: &Path,
    records: &mut Vec<Record>,
    unreadable: &mut Vec<Unreadable>,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
    let (mut line, mut number, mut bytes) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        bytes += u64::try_from(length).unwrap_or(0);
        if length == 0 || number % WORD_EVERY == 0 {
            progress(bytes);
        }
        if length == 0 {
            return Ok(());
        }
        number += 1;
        match serde_json::from_slice(&line) {
            Ok(record) => records.push(record),
            Err(_) => unreadable.push(Unreadable { file: path.to_owned(), line: number }),
        }
    }
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
