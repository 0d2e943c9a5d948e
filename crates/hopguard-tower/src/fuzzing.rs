//! Entries for `fuzz/`, and for the test that keeps its seeds in order. Built with `--cfg fuzzing` only, and no part of
//! what this crate offers.

use std::sync::{Arc, OnceLock};

use hopguard_client::SystemClock;
use hopguard_core::{Acknowledgement, Audit, AuditFull, AuditSink, Denial, Event, Ledger};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};

use crate::Hop;
use crate::inbound::{extract, why_unreadable};

/// The token that a request with these lines as its `Authorization` headers shows, or the code of its refusal; `None`
/// for what no client can send.
#[must_use]
pub fn authorization(lines: &[u8]) -> Option<Result<Box<str>, &'static str>> {
    static HOP: OnceLock<Hop> = OnceLock::new();
    let hop = HOP.get_or_init(|| {
        let audit = Audit::new("fuzzed", "1", Arc::new(Nowhere));
        Hop::new(&Ledger::bounded(), &audit, SystemClock::shared())
    });
    let mut request = Request::new(());
    for line in lines.split(|byte| *byte == b'\n').take(8) {
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_bytes(line).ok()?);
    }
    let extracted = extract(hop, &mut request, None);
    // INVARIANT: I15 — whatever it was, no handler can pass it on.
    assert!(!request.headers().contains_key(AUTHORIZATION), "the credential is still there");
    Some(match extracted {
        Ok(presented) => match why_unreadable(presented.token()) {
            Denial::TokenMalformed => Ok(presented.token().dangerous_expose().into()),
            denial => Err(denial.code()),
        },
        Err(not_shown) => Err(not_shown.denial.code()),
    })
}

/// Nothing is written here.
#[derive(Debug)]
struct Nowhere;

impl AuditSink for Nowhere {
    fn reserve(&self) -> Result<(), AuditFull> {
        Ok(())
    }

    fn release(&self) {}

    fn commit(&self, _event: Event) {}

    fn commit_durably(&self, _event: Event) -> Acknowledgement {
        Acknowledgement::done()
    }

    fn offer(&self, _event: Event) {}
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What RFC 6750 section 2.1 and RFC 9110 section 11.2 say, written without regard to speed.
    fn by_the_book(line: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(line).ok()?;
        let (scheme, rest) = text.split_once(' ')?;
        let token = rest.trim_matches(' ');
        let (body, padding) = token.split_at(token.trim_end_matches('=').len());
        let listed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let is_token = !body.is_empty() && body.chars().all(listed) && padding.chars().all(|c| c == '=');
        (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
    }

    #[test]
    fn the_seeds_are_read_by_the_book() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/authorization");
        let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.is_file());
        assert!(paths.len() >= 10, "hardly a seed");
        let (mut taken, mut refused) = (0, 0);
        for seed in paths.iter().map(|path| fs::read(path).unwrap()) {
            // Each seed, and each with a byte taken away, doubled or changed.
            let mut all = vec![seed.clone()];
            for at in 0..seed.len() {
                let (head, tail) = seed.split_at(at);
                all.push([head, &tail[1..]].concat());
                all.push([head, &tail[..1], tail].concat());
                for byte in [b' ', b',', b'=', b'\n', 0x80, tail[0] ^ 0x20] {
                    all.push([head, &[byte], &tail[1..]].concat());
                }
            }
            for lines in all {
                let Some(found) = authorization(&lines) else { continue };
                let expected = if lines.contains(&b'\n') { None } else { by_the_book(&lines) };
                assert_eq!(found.as_deref().ok(), expected, "{:?}", String::from_utf8_lossy(&lines));
                if found.is_ok() { taken += 1 } else { refused += 1 }
            }
        }
        assert!(taken > 100 && refused > 100, "{taken} were taken, {refused} refused");
    }
}
