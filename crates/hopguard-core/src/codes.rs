//! The closed registry of codes: what logs, metrics, audit, tests and THREATS name a verdict by.

use crate::{Denial, Fault};

/// Whose verdict a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// Allowed, or done.
    Outcome,
    /// Refused, the caller's fault.
    Denial,
    /// Failed, ours or an upstream's fault.
    Fault,
}

/// One code of the registry.
#[derive(Clone, Copy, Debug)]
pub struct CodeEntry {
    /// The stable name, snake_case.
    pub code: &'static str,
    /// Whose verdict it is.
    pub kind: CodeKind,
    /// The HTTP status that goes with it; `None` for outcomes.
    pub status: Option<u16>,
    /// What it means, one line.
    pub meaning: &'static str,
}

const OUTCOMES: &[CodeEntry] = &[
    outcome("admitted", " Every guard of the stack admitted the request."),
    outcome("passed", " One layer, standing alone, let the request pass."),
    outcome("sent", " The outgoing request was allowed to leave."),
    outcome("exchanged", " The authorization server exchanged a token for a narrower one."),
    outcome("completed", " The response was delivered to its end."),
    outcome("abandoned", " The caller went away, or the response ended early."),
    outcome("suppressed", " Refusals of strangers beyond the limit, as one count."),
    outcome("audit_lost", " Events that the audit log had no place for, as one count."),
    outcome(
        "audit_mended",
        " The audit log ended in a torn line, as after a crash; it was cut off and is continued.",
    ),
    outcome("ledger_overflow", " The ledger was full and let its oldest entry go."),
    outcome("withdrawal", " A key, issuer, subject or token was withdrawn."),
    outcome("keys_refreshed", " An issuer's key set was fetched and taken into use."),
    outcome("keys_refresh_failed", " An issuer's key set could not be fetched."),
    outcome(
        "waiver_used",
        " A check was relaxed by a waiver: a grant needed it, or the passthrough block let pass what it found.",
    ),
    outcome("body_unscanned", " Part of a body passed without being looked through."),
    outcome("response_scrubbed", " A header with a credential was taken out of an answer to the caller."),
    outcome(
        "redirect_followed",
        " A peer answered with a redirect, and the call was judged anew for where it leads.",
    ),
    outcome("grant_renewed", " A peer refused a grant, and it was exchanged once more."),
];

const fn outcome(code: &'static str, meaning: &'static str) -> CodeEntry {
    CodeEntry { code, kind: CodeKind::Outcome, status: None, meaning }
}

/// Every code there is.
///
/// ```
/// assert!(hopguard_core::codes().any(|entry| entry.code == "audience_mismatch"));
/// ```
pub fn codes() -> impl Iterator<Item = &'static CodeEntry> {
    OUTCOMES.iter().chain(Denial::REGISTRY).chain(Fault::REGISTRY)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_snake_case_and_unique() {
        let mut seen = HashSet::new();
        for entry in codes() {
            assert!(entry.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", entry.code);
            assert!(seen.insert(entry.code), "{} stands twice", entry.code);
            assert!(entry.meaning.trim().len() > 10, "{} says nothing", entry.code);
        }
    }

    #[test]
    fn denials_are_4xx_and_faults_5xx() {
        for entry in codes() {
            match entry.kind {
                CodeKind::Denial => assert!(entry.status.is_some_and(|s| (400..500).contains(&s))),
                CodeKind::Fault => assert!(entry.status.is_some_and(|s| (500..600).contains(&s))),
                CodeKind::Outcome => assert_eq!(entry.status, None),
            }
        }
    }

    /// The table of docs/CODES.md is this list, written out. If they differ, the failure holds the text to paste.
    #[test]
    fn the_published_table_is_this_list() {
        let mut table = String::from("| code | kind | status | meaning |\n| --- | --- | --- | --- |\n");
        for entry in codes() {
            let kind = match entry.kind {
                CodeKind::Outcome => "outcome",
                CodeKind::Denial => "denial",
                CodeKind::Fault => "fault",
            };
            let status = entry.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            let meaning = entry.meaning.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            table.push_str(&format!("| `{}` | {kind} | {status} | {meaning} |\n", entry.code));
        }
        let published = include_str!("../../../docs/CODES.md");
        let at = published.find("| code |").expect("docs/CODES.md has a table");
        assert_eq!(published.get(at..), Some(table.as_str()), "paste this into docs/CODES.md:\n\n{table}");
    }
}
