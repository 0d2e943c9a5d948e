//! What the process holds: memory, tasks, file descriptors.

use std::time::Duration;

use serde_json::{Value, json};

use crate::promises::Promises;

/// So much more than after the warm-up may be held: what the allocator keeps for later moves by that.
const MEMORY: u64 = 24 * 1024 * 1024;
/// Connections and tasks that come and go while one looks.
const FEW: u64 = 32;
/// How long everything may take to end once it is told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// One look at the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) resident: u64,
    pub(crate) tasks: u64,
    pub(crate) files: u64,
}

impl Reading {
    pub(crate) fn now() -> Self {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let resident =
            pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096;
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64);
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64;
        Self { resident, tasks, files }
    }
}

/// The readings of one run: at its begin, once it is warm, and at the end of the load.
#[derive(Debug)]
pub(crate) struct Gauge {
    cold: Reading,
    warm: Reading,
    hot: Option<Reading>,
}

impl Gauge {
    pub(crate) fn cold() -> Self {
        let cold = Reading::now();
        Self { cold, warm: cold, hot: None }
    }

    /// The load is on, and caches have had time to fill.
    pub(crate) fn warm(&mut self) {
        self.warm = Reading::now();
    }

    /// The load is still on, and about to end.
    pub(crate) fn hot(&mut self, promises: &Promises) {
        let (warm, hot) = (self.warm, Reading::now());
        self.hot = Some(hot);
        promises.hold("memory is flat", hot.resident <= warm.resident + MEMORY, || {
            format!("{} bytes resident after the warm-up, {} at the end", warm.resident, hot.resident)
        });
        promises.hold("no task is leaked", hot.tasks <= warm.tasks + FEW, || {
            format!("{} tasks after the warm-up, {} at the end", warm.tasks, hot.tasks)
        });
        promises.hold("no connection is leaked", hot.files <= warm.files + FEW, || {
            format!("{} files open after the warm-up, {} at the end", warm.files, hot.files)
        });
    }

    /// Everything was told to end: does it?
    pub(crate) async fn ended(self, promises: &Promises) -> Value {
        let mut end = Reading::now();
        let over = |end: Reading| end.tasks <= self.cold.tasks && end.files <= self.cold.files + 2;
        let waits = PATIENCE.as_millis() / 20;
        for _ in 0..waits {
            if over(end) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            end = Reading::now();
        }
        promises.hold("everything ends", over(end), || {
            let Reading { tasks, files, .. } = self.cold;
            format!(
                "{tasks} tasks and {files} files at the begin, {} and {} at the end",
                end.tasks, end.files
            )
        });
        let hot = self.hot.unwrap_or(end);
        json!({
            "resident_warm": self.warm.resident, "resident_end": hot.resident,
            "tasks_warm": self.warm.tasks, "tasks_end": hot.tasks, "tasks_after": end.tasks,
            "files_warm": self.warm.files, "files_end": hot.files, "files_after": end.files,
        })
    }
}
