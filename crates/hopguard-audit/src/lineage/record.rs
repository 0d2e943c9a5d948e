//! Events read back from logs. Unknown members are ignored, so that a newer log can be read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json_lines::file::{self, LONGEST_LINE};

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
    /// `kid` of the key that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `cnf`: to which key it is bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Value>,
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

/// One event. See the schema of audit events for its members; what an unverified token claimed (`unverified`) is not
/// read.
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
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenSeen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
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
    pub waiver: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_until: Option<u64>,
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

/// Of more lines that are no events a log is none.
const MOST_UNREADABLE: usize = 10_000;

/// How many lines are read between two words about it.
const WORD_EVERY: u64 = 4096;

/// Reads the events of one file, each with its line; `progress` learns how many bytes of it are read.
pub(crate) fn read(
    path: &Path,
    at_most: u64,
    mut each: impl FnMut(u64, Record),
    unreadable: &mut Vec<Unreadable>,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    file::regular(path)?;
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
    let (mut line, mut number, mut bytes) = (Vec::new(), 0, 0);
    while number < at_most {
        line.clear();
        let length = Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut line)?;
        bytes += u64::try_from(length).unwrap_or(0);
        if length == 0 {
            break;
        }
        if number % WORD_EVERY == 0 {
            progress(bytes);
        }
        number += 1;
        let is_whole = line.ends_with(b"\n") || is_at_end(&mut reader)?;
        match serde_json::from_slice(&line) {
            Ok(record) if is_whole => each(number, record),
            _ if unreadable.len() < MOST_UNREADABLE => {
                unreadable.push(Unreadable { file: path.to_owned(), line: number });
            }
            _ => return Err(io::Error::other("too many of its lines are no events")),
        }
        if !is_whole {
            bytes += u64::try_from(reader.skip_until(b'\n')?).unwrap_or(0);
        }
    }
    progress(bytes);
    Ok(())
}

fn is_at_end(reader: &mut impl BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.is_empty())
}
