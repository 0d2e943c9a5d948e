//! Mutation tests of the crates that decide, by those crates' own unit tests. `.cargo/mutants.toml` says what is left
//! alone; `docs/MUTANTS.md` what survived and why.

use crate::{command, tools};

/// Where a survivor would be a hole in a decision.
const MUTATED: [&str; 3] = ["hopguard-core", "hopguard-verify", "hopguard-exchange"];
/// What makes a mutant cheap: nothing for a debugger, fewer generated cases, and a failing one is not made smaller,
/// which takes minutes and would end as a timeout.
const CHEAP: [(&str, &str); 3] =
    [("CARGO_PROFILE_DEV_DEBUG", "0"), ("PROPTEST_CASES", "16"), ("PROPTEST_MAX_SHRINK_ITERS", "1")];

/// Runs all mutants, or shard K of N; anything after that goes to `cargo mutants` as it is (`--in-diff FILE`).
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (shard, rest) = match arguments.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (Some(shard(first)?), rest),
        _ => (None, arguments),
    };
    let mut mutants = command::program(tools::MUTANTS.installed()?);
    mutants.args(["mutants", "--output", "target", "--cargo-arg=--locked", "--sharding", "round-robin"]);
    mutants.args(["--timeout", "60", "--cargo-test-arg=--lib"]).envs(CHEAP);
    for package in MUTATED {
        mutants.args(["--package", package]);
    }
    if let Some(shard) = shard {
        mutants.args(["--shard", shard]);
    }
    mutants.args(rest);
    command::run(mutants)
}

/// A shard that is wrong must not cost the minutes that building the tool takes.
fn shard(text: &str) -> Result<&str, String> {
    let numbers =
        text.split_once('/').and_then(|(k, n)| Some((k.parse::<u32>().ok()?, n.parse::<u32>().ok()?)));
    match numbers {
        Some((k, n)) if k < n => Ok(text),
        Some(_) => Err(format!("the shard `{text}` must have K below N; K counts from 0")),
        None => Err(format!("`{text}` is no shard; write K/N, such as 0/4")),
    }
}
