//! The seeds of `fuzz/`, and what becomes of them in a short while: `cargo xtask fuzz` takes longer and sees more.

use std::fs;
use std::path::Path;

use super::*;
use crate::fuzzing;

/// Changes per seed. Each seed costs about as much as a test of its own.
const CHANGES: u64 = 300;

/// What changes put in: bytes that mean something in JSON, base64url or a compact token.
const PIECES: [&str; 16] =
    ["\"", "\\", "{", "}", "[", "]", ":", ",", "null", "1e999", "\\u0000", "\\ud800", ".", "=", "\n", "é"];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    assert!(paths.len() >= 5, "{target} has hardly a seed");
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Calls `judge` for each seed, then for what many small changes make of it.
fn changed(target: &str, mut judge: impl FnMut(&[u8])) {
    let all = seeds(target);
    for (number, seed) in (0..).zip(&all) {
        judge(seed);
        let mut dice = differential::Dice::new(number);
        for _ in 0..CHANGES {
            let mut text = seed.clone();
            for _ in 0..=dice.below(3) {
                let at = dice.below(text.len() + 1);
                match dice.below(6) {
                    0 if at < text.len() => text[at] ^= 1 << dice.below(8),
                    1 if at < text.len() => drop(text.remove(at)),
                    2 => text.truncate(at),
                    3 => {
                        let other = dice.of(&all);
                        let from = dice.below(other.len() + 1);
                        text.truncate(at);
                        text.extend_from_slice(&other[from..]);
                    }
                    _ => drop(text.splice(at..at, dice.of(&PIECES).bytes())),
                }
            }
            judge(&text);
        }
    }
}

/// What ours reads, a general reader reads too; and some seeds are read, some not.
#[track_caller]
fn reads(target: &str, read: impl Fn(&[u8]) -> bool) {
    let (mut good, mut bad) = (0, 0);
    changed(target, |text| {
        if read(text) {
            good += 1;
            let found = serde_json::from_slice::<serde_json::Map<String, Value>>(text);
            assert!(found.is_ok(), "{target}: {:?}", String::from_utf8_lossy(text));
        } else {
            bad += 1;
        }
    });
    assert!(good > 50 && bad > 50, "{target}: {good} were read, {bad} refused");
}

#[test]
fn headers() {
    reads("header", fuzzing::header);
}

#[test]
fn claim_sets() {
    reads("claims", fuzzing::claims);
}

#[test]
fn key_sets() {
    reads("jwks", fuzzing::jwks);
}

#[test]
fn discovery_documents() {
    reads("metadata", fuzzing::metadata);
}

#[test]
fn whole_tokens() {
    changed("token", |text| {
        let text = String::from_utf8_lossy(text);
        assert!(!fuzzing::token(&text), "{text}");
    });
}
