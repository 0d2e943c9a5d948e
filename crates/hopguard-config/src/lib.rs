//! hopguard from one TOML file. It reads files and the environment and fills the same builders that code fills; it
//! must make no decision of its own, and accept nothing that a builder would refuse.
//!
//! ```
//! # fn main() -> Result<(), hopguard_core::ConfigErrors> {
//! use hopguard_config::Config;
//!
//! let file = r#"
//!     service = "orders"
//!     instance = "orders-1"
//!     audit.tracing = true
//!
//!     [inbound]
//!     audience = "https://orders.internal"
//!     ttl.lifetime_at_most = "5m"
//!     scope.all_of = ["orders:read"]
//!     open_paths = ["/health"]
//!     [[inbound.issuer]]
//!     url = "https://sts.internal"
//! "#;
//! let environment = [("HOPGUARD_INBOUND__ISSUER__0__URL", "https://sts.staging.internal")];
//! let parts = Config::read(file, environment)?.build()?; // in earnest: Config::load("hopguard.toml")?
//! assert_eq!(&*parts.inbound.verifier().key_sets()[0].issuer, "https://sts.staging.internal");
//! # Ok(()) }
//! ```
//!
//! `docs/hopguard.toml` of the repository holds every setting there is, each with what it means.
//!
//! # The environment
//!
//! `HOPGUARD_INBOUND__TTL__LIFETIME_AT_MOST` is `inbound.ttl.lifetime_at_most`: two underscores go one table down, a
//! number counts in a list from zero, also to its end to add an item. What is neither text nor a time is written as in
//! TOML: `["a", "b"]`, `true`, `2027-03-01`. The environment goes over the file. A variable that begins with
//! `HOPGUARD_` and names no setting is a problem.
//!
//! # Secrets
//!
//! A secret stands in a file of its own, which `client_secret_file`, `private_key_file` or `key_file` names, or in the
//! environment (`HOPGUARD_EGRESS__STS__CLIENT_SECRET`); in the configuration file it is a problem. Line breaks at its
//! end are not part of it. A file of a secret that everybody can write is a problem, one that everybody can read a
//! [warning](Config::warnings).
//!
//! # Errors
//!
//! Everything that is wrong is told at once, with the setting's path and its line or variable: what the file says,
//! what is missing, what nobody knows, and what the builders say to it. What is no TOML is told alone.

mod tree;
mod notes;
mod section;
mod secret;
mod waiver;
mod profile;
mod inbound;
mod egress;
mod route;
mod sinks;
mod transport;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hopguard_audit::{DurableLog, JsonLines, TracingSink};
use hopguard_client::{SystemClock, Transport};
use hopguard_core::{Audit, AuditSink, Clock, ConfigErrors, Ledger, Problems};
use hopguard_tower::{Egress, Inbound, OpenPaths};

use crate::egress::EgressPlan;
use crate::inbound::InboundPlan;
use crate::notes::Notes;
use crate::section::Section;
use crate::sinks::{AuditPlan, LedgerPlan, Logs, MakesFront};
use crate::transport::TransportPlan;

/// The longest configuration file that is read.
const LONGEST: u64 = 1024 * 1024;

/// The settings of one service, checked; see the crate's docs.
#[derive(Debug)]
pub struct Config {
    service: String,
    instance: String,
    inbound: InboundPlan,
    egress: Option<EgressPlan>,
    audit: AuditPlan,
    ledger: LedgerPlan,
    transport: TransportPlan,
    warnings: Vec<String>,
    clock: Arc<dyn Clock>,
    given_transport: Option<Arc<dyn Transport>>,
    front: Option<Front>,
}

/// What every event passes on its way to the sinks.
struct Front(MakesFront);

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Front")
    }
}

/// What a service is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parts {
    /// Where decisions are written.
    pub audit: Audit,
    /// The live credentials of the process, shared by both stacks.
    pub ledger: Ledger,
    /// The stack in front of the service.
    pub inbound: Inbound,
    /// The stack behind it, if the file has `[egress]`.
    pub egress: Option<Egress>,
    /// What anybody may call; hand it to `protect`.
    pub open: OpenPaths,
    /// The log of `audit.json_lines`.
    pub json_lines: Option<Arc<JsonLines>>,
    /// The log of `audit.durable_log`.
    pub durable_log: Option<Arc<DurableLog>>,
}

impl Config {
    /// Reads the file at `path` and this process's environment. Relative paths begin where the file is; those from the
    /// environment, where the process is.
    ///
    /// ```no_run
    /// use hopguard_config::Config;
    ///
    /// let config = Config::load("/etc/orders/hopguard.toml")?;
    /// config.warnings().iter().for_each(|warning| eprintln!("hopguard: {warning}"));
    /// let parts = config.build()?;
    /// # Ok::<(), hopguard_core::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let text = match read(path) {
            Ok(text) => text,
            Err(problem) => {
                let mut problems = Problems::new();
                problems.add(format!("`{}`", path.display()), problem);
                return Err(problems.into_errors());
            }
        };
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.into_string().map_err(|_| ())));
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        Self::of(&text, variables, base, SystemClock::shared())
    }

    /// As [`Config::load`], from text and from these variables alone.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn read<N: Into<String>, V: Into<String>>(
        toml: &str,
        environment: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigErrors> {
        let variables = environment.into_iter().map(|(name, value)| (name.into(), Ok(value.into())));
        Self::of(toml, variables, PathBuf::new(), SystemClock::shared())
    }

    fn of(
        toml: &str,
        variables: impl IntoIterator<Item = (String, Result<String, ()>)>,
        base: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigErrors> {
        let notes = Notes::new(base, clock.now());
        let mut root = tree::of_toml(toml, &notes);
        if !notes.is_empty() {
            // Whatever else could be said would be about a file that nobody has written.
            return Err(notes.into_errors());
        }
        tree::overlay(&mut root, variables, &notes);
        let config = {
            let mut file = Section::new("", &root, &notes);
            let service = file.needed("service", "this service's name in the audit").unwrap_or("?");
            let instance = file.needed("instance", "which process of the service this is").unwrap_or("?");
            for (key, name) in [("service", service), ("instance", instance)] {
                if name.trim().is_empty() {
                    file.problem(key, "is empty: events would not tell who wrote them");
                }
            }
            file.demand("inbound", "every service says whose tokens it takes");
            file.demand("audit", "no decision is made that is not written down");
            let nothing = tree::Table::new();
            // Read before what builds on it, whatever the file's order.
            let transport = file.section("transport").map(TransportPlan::read).unwrap_or_default();
            let ledger = file.section("ledger").map(LedgerPlan::read).unwrap_or_default();
            let audit = file.section("audit").map(AuditPlan::read).unwrap_or_default();
            let inbound = file.section("inbound");
            let has_inbound = inbound.is_some();
            let silent = Notes::new(PathBuf::new(), clock.now());
            let inbound =
                InboundPlan::read(inbound.unwrap_or_else(|| Section::new("inbound", &nothing, &silent)));
            let egress = file.section("egress").map(EgressPlan::read);
            let config = Self {
                service: service.to_owned(),
                instance: instance.to_owned(),
                inbound,
                egress,
                audit,
                ledger,
                transport,
                warnings: Vec::new(),
                clock,
                given_transport: None,
                front: None,
            };
            config.rehearse(has_inbound, &notes);
            config
        };
        let warnings = notes.warnings();
        notes.into_result(&root)?;
        for warning in &warnings {
            tracing::warn!(warning, "the configuration can be better");
        }
        Ok(Self { warnings, ..config })
    }

    /// Builds the stacks once, over nothing, for what the builders have to say.
    fn rehearse(&self, has_inbound: bool, notes: &Notes) {
        let (ledger, audit) = (Ledger::bounded(), Audit::new("?", "?", Arc::new(TracingSink)));
        let transport = self.transport.make().or_else(|errors| {
            notes.absorb(&errors);
            // Any will do: nothing is sent.
            TransportPlan::default().make()
        });
        let Ok(transport) = transport else { return };
        if has_inbound
            && let Err(errors) = self.inbound.build(&ledger, &audit, self.clock.clone(), transport.clone())
        {
            notes.absorb(&errors);
        }
        if let Some(egress) = &self.egress
            && let Err(errors) = egress.build(&ledger, &audit, self.clock.clone(), transport)
        {
            notes.absorb(&errors);
        }
    }

    /// What is no problem and should not stay so: waivers that have ended, files of secrets that everybody can read.
    /// They went to `tracing` too.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes the time from `clock` in place of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reaches authorization servers through `transport`, whatever `[transport]` says.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.given_transport = Some(transport);
        self
    }

    /// Puts what `front` makes of them in front of the sinks that the file names: a counter of events, a sink beside
    /// them.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use hopguard_core::AuditSink;
    /// # fn counted(sink: Arc<dyn AuditSink>) -> Arc<dyn AuditSink> { sink }
    /// use hopguard_config::Config;
    ///
    /// let parts = Config::load("hopguard.toml")?.sinks_behind(|sinks| counted(sinks)).build()?;
    /// # Ok::<(), hopguard_core::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn sinks_behind(
        mut self,
        front: impl FnOnce(Arc<dyn AuditSink>) -> Arc<dyn AuditSink> + Send + 'static,
    ) -> Self {
        self.front = Some(Front(Box::new(front)));
        self
    }

    /// Opens the audit and builds the stacks. No socket is opened.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if a log cannot be opened or written, or the machine lacks what a stack needs.
    pub fn build(self) -> Result<Parts, ConfigErrors> {
        let front = self.front.map(|Front(front)| front);
        let (audit, logs) = self.audit.open(&self.service, &self.instance, front)?;
        let ledger = self.ledger.make();
        let transport = match self.given_transport {
            Some(transport) => transport,
            None => self.transport.make()?,
        };
        let inbound = self.inbound.build(&ledger, &audit, self.clock.clone(), transport.clone())?;
        let egress = match &self.egress {
            Some(egress) => Some(egress.build(&ledger, &audit, self.clock, transport)?),
            None => None,
        };
        let open = OpenPaths::paths(self.inbound.open.iter().map(String::as_str));
        let Logs { lines: json_lines, durable: durable_log } = logs;
        Ok(Parts { audit, ledger, inbound, egress, open, json_lines, durable_log })
    }
}

impl Parts {
    /// Waits until every event handed over so far is written, at most for `at_most` per log. Blocks the thread: for
    /// shutdown, after [`Audit::finish`]. False if a log hangs or has failed.
    #[must_use]
    pub fn flush(&self, at_most: Duration) -> bool {
        let lines = self.json_lines.as_ref().is_none_or(|log| log.flush(at_most));
        self.durable_log.as_ref().is_none_or(|log| log.flush(at_most)) && lines
    }
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    match u64::try_from(read.map_err(cannot)?) {
        Ok(length) if length <= LONGEST => Ok(text),
        _ => Err(format!("is longer than {LONGEST} bytes")),
    }
}
