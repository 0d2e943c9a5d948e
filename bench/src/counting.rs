//! Allocations and bytes, which nobody counts while time is taken: counting takes up to a tenth of a short path, and
//! touches memory that no service has. A second program of this package, whose allocator counts, runs the same lanes
//! beforehand and tells the first what it found.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What was allocated while something ran.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// How often something was.
    pub allocations: u64,
    /// How many bytes of it were not given back.
    pub bytes_kept: i64,
}

/// Runs something and counts; only a program whose allocator counts has one.
pub type Counter = fn(&mut dyn FnMut()) -> Counted;

static COUNTER: OnceLock<Counter> = OnceLock::new();
static TOLD: OnceLock<HashMap<String, f64>> = OnceLock::new();

/// From here on this program counts.
pub(crate) fn by(counter: Counter) {
    // Whoever came first counts as well.
    let _ = COUNTER.set(counter);
}

/// Whether this is the program that counts.
pub(crate) fn counting() -> bool {
    COUNTER.get().is_some()
}

/// Runs this once, and counts if this program can.
pub(crate) fn counted(run: impl FnOnce()) -> Option<Counted> {
    let mut run = Some(run);
    let mut once = || run.take().into_iter().for_each(|run| run());
    match COUNTER.get() {
        Some(counter) => Some(counter(&mut once)),
        None => {
            once();
            None
        }
    }
}

/// What the other program counted for the row of this path.
pub(crate) fn told(path: &str) -> Option<f64> {
    TOLD.get()?.get(path).copied()
}

/// Has the other program, which is built beside this one, count the groups whose names contain `name`.
pub(crate) fn ask(program: &str, name: &str) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.parent().unwrap_or(Path::new("")).join(program);
    let output = Command::new(&beside).arg(name).stderr(Stdio::inherit()).output().map_err(|error| {
        format!("`{program}`, which counts allocations, is not beside this program ({error}): build both")
    })?;
    if !output.status.success() {
        return Err(format!("`{program}` ended with {}", output.status));
    }
    let counts = serde_json::from_slice(&output.stdout).map_err(|error| format!("`{program}`: {error}"))?;
    let _ = TOLD.set(counts);
    Ok(())
}
