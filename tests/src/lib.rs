//! What the integration tests of the workspace share; it holds no test of its own and is never published.

use std::path::Path;

use hopguard_core::{Event, EventKind, StrangerLimits};
use hopguard_testkit::MemorySink;
use hopguard_testkit::corpus::{Attack, Target, load};

pub mod alone;
pub mod answer;
pub mod inbound;
pub mod onward;

/// Every attack of the corpus.
///
/// # Panics
///
/// If one of the files is wrong.
pub fn corpus() -> Vec<Attack> {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// The attacks on `target` that are run. Those that are not are printed, each with its reason.
///
/// # Panics
///
/// If there is none.
pub fn enabled(target: Target) -> Vec<Attack> {
    let (disabled, enabled): (Vec<_>, Vec<_>) =
        corpus().into_iter().filter(|attack| attack.target == target).partition(|one| one.disabled.is_some());
    for Attack { id, disabled, .. } in &disabled {
        println!("not run: {id}: {}", disabled.as_deref().unwrap_or_default());
    }
    assert!(!enabled.is_empty(), "no attack on {target:?}");
    enabled
}

/// Strangers' refusals are written singly, however many a test makes.
pub const ALL_SINGLY: StrangerLimits = StrangerLimits { singly: u64::MAX, window_millis: 10_000 };

/// The event that an answer names.
///
/// # Panics
///
/// If the audit has none of that id, or several.
#[track_caller]
pub fn event_named(sink: &MemorySink, id: &str) -> Event {
    let mut found: Vec<_> = sink.events().into_iter().filter(|event| event.id.to_string() == id).collect();
    assert_eq!(found.len(), 1, "events of the id that the answer names, among {:?}", sink.codes());
    found.remove(0)
}

/// What was decided about requests and what became of them, in order; notices about keys and the like aside.
pub fn events_of_requests(sink: &MemorySink) -> Vec<Event> {
    let of_requests = |event: &Event| matches!(event.kind, EventKind::Decision | EventKind::Outcome);
    sink.events().into_iter().filter(of_requests).collect()
}

/// The codes of [`events_of_requests`].
pub fn codes_of_requests(sink: &MemorySink) -> Vec<&'static str> {
    events_of_requests(sink).iter().map(|event| event.decision.code()).collect()
}
