//! Runs the benchmark harness, optimised; what it measures and writes is its own.

use crate::command;

/// Other people's layers beside ours: a workspace of its own, so that what they bring is in nobody's tree.
const PEERS: &str = "peers";

/// Hands the arguments to the package `bench`, or to `peers` if that is the first one. Standard output stays theirs.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let mut bench = command::cargo(["run", "--quiet", "--profile", "bench"]);
    match arguments.split_first() {
        // Its lock file follows the crates of this workspace, which it depends on by path.
        Some((first, rest)) if first == PEERS => {
            bench
                .args(["--manifest-path", "bench/peers/Cargo.toml", "--target-dir", "target", "--"])
                .args(rest);
        }
        _ => {
            bench.args(["--locked", "--package", "bench", "--"]).args(arguments);
        }
    }
    command::run(bench)
}
