//! Runs the benchmark harness, optimised; what it measures and writes is its own.

use crate::command;

/// Hands the arguments to the package `bench`, whose standard output stays its own.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let mut bench = command::cargo(["run", "--quiet", "--release", "--locked", "--package", "bench", "--"]);
    bench.args(arguments);
    command::run(bench)
}
