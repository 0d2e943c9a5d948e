//! Runs the benchmark harness, optimised; what it measures and writes is its own.

use crate::command;

/// Other people's layers beside ours: a workspace of its own, so that what they bring is in nobody's tree.
const PEERS: &str = "peers";

/// Hands the arguments to the package `bench`, or to `peers` if that is the first one. Standard output stays theirs.
///
/// Each is two programs, of which the one that takes time asks the one beside it, which counts allocations.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (program, place, arguments) = match arguments.split_first() {
        // Its lock file follows the crates of this workspace, which it depends on by path.
        Some((first, rest)) if first == PEERS => {
            (PEERS, ["--manifest-path", "bench/peers/Cargo.toml", "--target-dir", "target"].as_slice(), rest)
        }
        _ => ("bench", ["--locked", "--package", "bench"].as_slice(), arguments),
    };
    let quiet = |subcommand| {
        let mut cargo = command::cargo([subcommand, "--quiet", "--profile", "bench"]);
        cargo.args(place);
        cargo
    };
    let mut both = quiet("build");
    both.arg("--bins");
    command::run(both)?;
    let mut bench = quiet("run");
    bench.args(["--bin", program, "--"]).args(arguments);
    command::run(bench)
}
