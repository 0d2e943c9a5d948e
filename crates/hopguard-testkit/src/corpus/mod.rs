//! The attacks as data: one TOML file each, read strictly and made into requests.
//!
//! The format is described in `tests/corpus/README.md`. [`load`] reads a folder and refuses whatever it does
//! not know: a field, a code, a placeholder. [`Stage`] holds the keys and names that a service under attack is
//! configured with, and [`Stage::prepare`] makes an attack's requests.
//!
//! ```
//! use hopguard_testkit::FakeClock;
//! use hopguard_testkit::corpus::{Attack, Stage};
//!
//! let attack = Attack::parse(
//!     "A5-other",
//!     r#"
//!     id = "A5-other"
//!     threat = "A5"
//!     source = "RFC 9068 section 4"
//!     description = "a token for somebody else"
//!     target = "inbound"
//!     removed_guard = "audience"
//!     token.claims.aud = "https://other.internal"
//!     expect = { code = "audience_mismatch", status = 401 }
//!     "#,
//! )?;
//! let prepared = Stage::new(FakeClock::somewhen()).prepare(&attack);
//! assert!(prepared.request.headers().contains_key("authorization"));
//! # Ok::<(), String>(())
//! ```

mod stage;
mod placeholder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hopguard_core::codes;
use serde::Deserialize;
use serde_json::Value;

pub use stage::{Prepared, Stage};

use crate::misbehave::Misbehaviour;

/// What may be left out of an inbound stack, one at a time, to see which attack then gets through.
pub const GUARDS: &[&str] = &["extract", "verify", "bind", "audience", "ttl", "scope", "route_scope"];

/// What may be left out of an egress stack: the route map with its default deny, what a route requires of the
/// caller, the proof that the grant is narrower, the passthrough block.
pub const EGRESS_GUARDS: &[&str] = &["routes", "requires", "narrowing", "passthrough"];

/// One attack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// Threat, dash, what is done; the file's name without `.toml`.
    pub id: String,
    /// The row of THREATS.md, such as `A5`, or the invariant of ARCHITECTURE, such as `I14`.
    pub threat: String,
    /// The clause or advisory that it breaks.
    pub source: String,
    /// What is done, for people.
    pub description: String,
    /// What is attacked.
    pub target: Target,
    /// The token that is shown.
    #[serde(default)]
    pub token: TokenSpec,
    /// The request that shows it.
    #[serde(default)]
    pub request: RequestSpec,
    /// What the service does then, for attacks on the way out.
    #[serde(default)]
    pub egress: EgressSpec,
    /// What must come of it.
    pub expect: Expect,
    /// The guard without which it gets through: one of [`GUARDS`], on the way out one of [`EGRESS_GUARDS`].
    /// Absent where it is meant to get through.
    pub removed_guard: Option<String>,
    /// Why it is not run.
    pub disabled: Option<String>,
}

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The inbound stack of one service.
    Inbound,
    /// Its egress stack.
    Egress,
    /// A whole chain of services.
    Chain,
}

/// How the token differs from a good one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Who signs it.
    #[serde(default)]
    pub key: KeyName,
    /// Claims that are set. `{ now = 60 }` is the time a minute from now; texts may hold placeholders.
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
    /// Claims that are left out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Header members that are set.
    #[serde(default)]
    pub header: BTreeMap<String, Value>,
    /// Header members that are left out.
    #[serde(default)]
    pub without_header: Vec<String>,
    /// The payload's text in place of the claims; `<claims>` stands for them, without braces.
    pub payload: Option<String>,
    /// The header's text in place of its members; `<members>` stands for them, without braces.
    pub header_text: Option<String>,
    /// How it is signed.
    #[serde(default)]
    pub signature: SignatureName,
}

/// Who signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyName {
    /// The issuer, with ES256.
    #[default]
    Es256,
    /// The issuer, with RS256.
    Rs256,
    /// The second trusted issuer, with a key of its own under the first one's `kid`.
    SecondIssuer,
    /// A key of the issuer whose `kid` another of its keys has as well.
    Twin,
    /// The issuer whose tokens say `typ: JWT`, or no `typ` at all.
    Lax,
    /// A key that nobody trusts, under a `kid` that nobody knows.
    Stranger,
}

/// How it is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureName {
    /// As it should be.
    #[default]
    Good,
    /// Not at all, with `alg: none`.
    None,
    /// By another key under the same `kid`.
    Other,
    /// HS256 with the public key's PEM as the secret.
    HmacPublicKey,
    /// HS256 with the public key's DER as the secret.
    HmacPublicKeyDer,
    /// HS256 with the public key's JWK as the secret.
    HmacPublicKeyJwk,
    /// `(r, n - s)`; the token with `(r, s)` is shown first.
    Malleated,
    /// ES256 in DER.
    Der,
    /// Zeros.
    Zero,
    /// By another key, after the good token was shown and is remembered.
    RememberedOtherSignature,
}

/// The request. Texts may hold placeholders.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSpec {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The values of `Authorization`, one header each; empty for none.
    pub authorization: Vec<String>,
    /// Other headers, as pairs, so that a name can stand twice.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Default for RequestSpec {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/orders/42".to_owned(),
            authorization: vec!["Bearer <token>".to_owned()],
            headers: Vec::new(),
            body: String::new(),
        }
    }
}

/// What happens on the way out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressSpec {
    /// What the authorization server does.
    pub sts: Misbehaviour,
    /// The URL that the handler calls in place of its usual one.
    pub url: Option<String>,
    /// Headers that the handler adds; `<token>` is the token that it was shown.
    pub headers: Vec<(String, String)>,
}

/// What must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The code in the audit, from the registry of `hopguard-core`.
    pub code: String,
    /// The status on the wire.
    pub status: u16,
}

impl Attack {
    /// Reads one attack from the file `name`.toml.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a sentence for each problem.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let attack: Self = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
        let problems = attack.problems(name);
        if problems.is_empty() {
            return Ok(attack);
        }
        Err(problems.iter().map(|problem| format!("{name}: {problem}")).collect::<Vec<_>>().join("\n"))
    }

    fn problems(&self, name: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        check(self.id == name, "`id` is not the file's name");
        let row = self.threat.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or_default();
        check(row.parse::<u8>().is_ok(), "`threat` is no row such as A5");
        check(
            self.id.strip_prefix(&self.threat).is_some_and(|rest| rest.starts_with('-')),
            "`id` does not begin with `threat`",
        );
        check(!self.source.trim().is_empty(), "`source` is empty");
        check(!self.description.trim().is_empty(), "`description` is empty");
        check(self.disabled.as_ref().is_none_or(|why| why.len() > 10), "`disabled` gives no reason");
        let guards = if self.target == Target::Egress { EGRESS_GUARDS } else { GUARDS };
        let known = self.removed_guard.as_deref().is_none_or(|guard| guards.contains(&guard));
        check(known, "`removed_guard` is none of the guards");
        let Expect { code, status } = &self.expect;
        match codes().find(|entry| entry.code == code) {
            None => check(false, &format!("`expect.code`: the registry has no code `{code}`")),
            Some(entry) => match entry.status {
                Some(registered) => {
                    check(registered == *status, &format!("`expect.status`: {code} answers {registered}"));
                    let guarded = self.target == Target::Chain || self.removed_guard.is_some();
                    check(guarded, "`removed_guard` is missing: what refuses this?");
                }
                None => {
                    check((200..300).contains(status), "`expect.status`: what is let through answers 2xx");
                    check(self.removed_guard.is_none(), "`removed_guard`: nothing is to refuse this");
                }
            },
        }
        if problems.is_empty() {
            problems.extend(placeholder::problems(self));
        }
        problems
    }
}

/// Reads every `*.toml` in `folder`, sorted by name.
///
/// # Errors
///
/// Everything that is wrong with any of them, one sentence a line. An empty folder is wrong as well.
pub fn load(folder: &Path) -> Result<Vec<Attack>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths: BTreeSet<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    let (mut attacks, mut problems) = (Vec::new(), Vec::new());
    for path in &paths {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let read = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"));
        match read.and_then(|text| Attack::parse(name, &text)) {
            Ok(attack) => attacks.push(attack),
            Err(problem) => problems.push(problem),
        }
    }
    if paths.is_empty() {
        problems.push(format!("{}: holds no attack", folder.display()));
    }
    if problems.is_empty() { Ok(attacks) } else { Err(problems.join("\n")) }
}

#[cfg(test)]
mod tests;
