//! The three services. Each is an ordinary axum service with a guard in front and a guarded client behind.

pub mod gateway;
pub mod orders;
pub mod inventory;

use std::path::PathBuf;
use std::sync::Arc;

use hopguard::{Audit, AuditSink, ConfigErrors, Fanout, JsonLines, TracingSink, seconds};

use crate::kept::Kept;
use crate::measured::Measured;

/// The names under which the services know each other; tokens are made out to these, not to addresses.
pub const GATEWAY: &str = "https://gateway.chain.example";
pub const ORDERS: &str = "https://orders.chain.example";
pub const INVENTORY: &str = "https://inventory.chain.example";

/// Where the audits of all services go: to `tracing`, to memory, and to a file each if a folder is named.
#[derive(Default)]
pub struct Audits {
    folder: Option<PathBuf>,
    files: Vec<Arc<JsonLines>>,
}

impl Audits {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, files: Vec::new() }
    }

    /// The audit of one service.
    pub fn of(&mut self, service: &str, kept: &Arc<Kept>) -> Result<Audit, ConfigErrors> {
        Ok(Audit::new(service, "1", self.sink(service, kept)?))
    }

    /// The audit of one service, and what counts its events.
    pub fn measured(&mut self, service: &str, kept: &Arc<Kept>) -> Result<(Audit, Measured), ConfigErrors> {
        let measured = Measured::new();
        let sink = measured.counted(self.sink(service, kept)?);
        Ok((Audit::new(service, "1", sink), measured))
    }

    fn sink(&mut self, service: &str, kept: &Arc<Kept>) -> Result<Arc<dyn AuditSink>, ConfigErrors> {
        let mut sinks: Vec<Arc<dyn AuditSink>> = vec![kept.clone(), Arc::new(TracingSink)];
        if let Some(folder) = &self.folder {
            let file = Arc::new(JsonLines::at(folder.join(format!("{service}.jsonl"))).open()?);
            self.files.push(file.clone());
            sinks.push(file);
        }
        Ok(Arc::new(Fanout::new(sinks)))
    }

    /// Waits until everything that was queued stands in the files; false if a disk hangs.
    pub fn flush(&self) -> bool {
        self.files.iter().all(|file| file.flush(seconds(5)))
    }
}
