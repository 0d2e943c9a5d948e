//! `[audit]` and `[ledger]`: where events go, and how many credentials are remembered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hopguard_audit::{DurableLog, Fanout, JsonLines, LogKey, Promise, TracingSink};
use hopguard_core::{Audit, AuditSink, ConfigErrors, Ledger, Overflow, Problems, StrangerLimits};

use crate::section::Section;

/// Where events go.
#[derive(Debug, Default)]
pub(crate) struct AuditPlan {
    tracing: bool,
    lines: Option<Lines>,
    durable: Option<Durable>,
    strangers: StrangerLimits,
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    queue: QueuePlan,
}

#[derive(Debug)]
struct Durable {
    folder: PathBuf,
    /// Taken when the log is opened.
    key: LogKey,
    queue: QueuePlan,
    checkpoint_every: Option<Duration>,
    rotate_at: Option<u64>,
    ship_to: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct QueuePlan {
    places: Option<usize>,
    stranger_places: Option<usize>,
    promise: Option<Promise>,
}

/// The logs that were opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs {
    pub(crate) lines: Option<Arc<JsonLines>>,
    pub(crate) durable: Option<Arc<DurableLog>>,
}

/// Makes of the sinks what events are handed to.
pub(crate) type MakesFront = Box<dyn FnOnce(Arc<dyn AuditSink>) -> Arc<dyn AuditSink> + Send>;

impl AuditPlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let plan = Self {
            tracing: section.flag("tracing") == Some(true),
            lines: section.section("json_lines").and_then(lines),
            durable: section.section("durable_log").and_then(durable),
            strangers: section.section("strangers").map(strangers).unwrap_or_default(),
        };
        if !(plan.tracing || section.has("json_lines") || section.has("durable_log")) {
            section.notes.add("audit", "names no sink: set tracing = true, json_lines or durable_log");
        }
        plan
    }

    /// Opens what was named.
    pub(crate) fn open(
        self,
        service: &str,
        instance: &str,
        front: Option<MakesFront>,
    ) -> Result<(Audit, Logs), ConfigErrors> {
        let mut problems = Problems::new();
        let mut sinks: Vec<Arc<dyn AuditSink>> = Vec::new();
        let mut logs = Logs::default();
        if self.tracing {
            sinks.push(Arc::new(TracingSink));
        }
        if let Some(Lines { path, queue }) = self.lines {
            let mut builder = JsonLines::at(&path);
            builder = given(builder, queue.places, |builder, places| builder.places(places));
            builder =
                given(builder, queue.stranger_places, |builder, places| builder.stranger_places(places));
            builder = given(builder, queue.promise, |builder, promise| builder.promise(promise));
            match builder.open() {
                Ok(log) => {
                    let log = Arc::new(log);
                    sinks.push(log.clone());
                    logs.lines = Some(log);
                }
                Err(errors) => move_below("audit.json_lines", &[&path], &errors, &mut problems),
            }
        }
        if let Some(Durable { folder, key, queue, checkpoint_every, rotate_at, ship_to }) = self.durable {
            let verifier = key.verifier();
            if verifier.services().next().is_some() && !verifier.speaks_for(service) {
                let what = "is the key of a log that speaks for other services: `hopguard audit key --service` names them";
                problems.add("audit.durable_log.key_file", what);
                return Err(problems.into_errors());
            }
            let mut builder = DurableLog::at(&folder, key);
            builder = given(builder, queue.places, |builder, places| builder.places(places));
            builder =
                given(builder, queue.stranger_places, |builder, places| builder.stranger_places(places));
            builder = given(builder, queue.promise, |builder, promise| builder.promise(promise));
            builder = given(builder, checkpoint_every, |builder, every| builder.checkpoint_every(every));
            builder = given(builder, rotate_at, |builder, bytes| builder.rotate_at(bytes));
            builder = given(builder, ship_to.as_ref(), |builder, path| builder.ship_to(path));
            match builder.open() {
                Ok(log) => {
                    let log = Arc::new(log);
                    sinks.push(log.clone());
                    logs.durable = Some(log);
                }
                Err(errors) => {
                    let places: Vec<_> = [Some(&folder), ship_to.as_ref()].into_iter().flatten().collect();
                    move_below("audit.durable_log", &places, &errors, &mut problems);
                }
            }
        }
        problems.into_result(())?;
        let sink: Arc<dyn AuditSink> = match <[_; 1]>::try_from(sinks) {
            Ok([sole]) => sole,
            Err(several) => Arc::new(Fanout::new(several)),
        };
        let sink = match front {
            Some(front) => front(sink),
            None => sink,
        };
        Ok((Audit::with_limits(service, instance, sink, self.strangers), logs))
    }
}

fn given<B, T>(builder: B, value: Option<T>, set: impl FnOnce(B, T) -> B) -> B {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

/// The sinks name their settings below `audit`; here each has a table of its own.
fn move_below(table: &str, places: &[&PathBuf], errors: &ConfigErrors, problems: &mut Problems) {
    for one in errors.problems() {
        let setting = one.setting.strip_prefix("audit").unwrap_or(&one.setting);
        // INVARIANT: I10 — a secret may stand where a path belongs.
        let hide = |text: String, place: &&PathBuf| text.replace(&*place.to_string_lossy(), "...");
        problems.add(format!("{table}{setting}"), places.iter().fold(one.problem.clone(), hide));
    }
}

fn queue(section: &mut Section<'_>) -> QueuePlan {
    let promises = [
        ("before_allow", Promise::BeforeAllow),
        ("acknowledged", Promise::Acknowledged),
        ("best_effort", Promise::BestEffort),
    ];
    QueuePlan {
        places: section.count("places"),
        stranger_places: section.count("stranger_places"),
        promise: section.choice("promise", &promises),
    }
}

fn lines(mut section: Section<'_>) -> Option<Lines> {
    section.demand("path", "the file that events are appended to");
    let (path, queue) = (section.path("path"), queue(&mut section));
    Some(Lines { path: path?, queue })
}

fn durable(mut section: Section<'_>) -> Option<Durable> {
    section.demand("folder", "the folder of the log");
    let folder = section.path("folder");
    let text = section.secret_text("key", "key_file");
    if text.is_none() && !section.has("key") && !section.has("key_file") {
        section.problem("key_file", "is missing: `hopguard audit key` makes one");
    }
    let key = text.and_then(|text| match LogKey::parse(&text) {
        Ok(key) => Some(key),
        Err(errors) => {
            errors.problems().iter().for_each(|one| section.problem("key_file", &one.problem));
            None
        }
    });
    let queue = queue(&mut section);
    let checkpoint_every = section.duration("checkpoint_every");
    let (rotate_at, ship_to) = (section.number("rotate_at"), section.path("ship_to"));
    Some(Durable { folder: folder?, key: key?, queue, checkpoint_every, rotate_at, ship_to })
}

fn strangers(mut section: Section<'_>) -> StrangerLimits {
    let usual = StrangerLimits::default();
    let millis = |window: Duration| u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    let window = section.duration("window");
    if window.is_some_and(|window| window.is_zero()) {
        section.problem("window", "is no time at all: name at least one second");
    }
    StrangerLimits {
        singly: section.number("singly").unwrap_or(usual.singly),
        window_millis: window.map_or(usual.window_millis, millis),
    }
}

/// The ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LedgerPlan {
    at_most: usize,
    overflow: Overflow,
}

impl Default for LedgerPlan {
    fn default() -> Self {
        Self { at_most: Ledger::DEFAULT_MOST, overflow: Overflow::EvictWithEvent }
    }
}

impl LedgerPlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let usual = Self::default();
        let at_most = section.count("at_most").unwrap_or(usual.at_most);
        if at_most == 0 {
            section.problem("at_most", "is zero: at least one credential must be remembered");
        }
        let choices = [("evict", Overflow::EvictWithEvent), ("refuse", Overflow::Refuse)];
        Self { at_most, overflow: section.choice("overflow", &choices).unwrap_or(usual.overflow) }
    }

    pub(crate) fn make(self) -> Ledger {
        Ledger::with_bound(self.at_most, self.overflow)
    }
}
