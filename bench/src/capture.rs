//! Audit on the request path: what the event costs whoever is served meanwhile.

use std::sync::Arc;
use std::time::Duration;

use hopguard_audit::JsonLines;
use hopguard_client::SystemClock;
use hopguard_core::{Audit, Clock, Decision, Direction, Event, EventKind, Facts, Id, Ledger, TraceContext};

use crate::clock::Whose;
use crate::egress::admit;
use crate::harness::{Group, Lane, Pace};
use crate::inbound::floors;
use crate::world::{Key, audit};

/// So many events are enqueued in one go; there is a place for each, as there is for a service's peak.
const EVENTS: usize = 4096;

/// Capture and enqueue; the writer's thread serialises meanwhile, at nobody's cost but its own.
pub(crate) fn captured(_: Pace) -> Group {
    let (es256, rs256) = (Key::es256(), Key::rs256());
    let mut group = Group::new(Whose::Thread);
    let floors = floors(&mut group, &es256, &rs256);

    let facts = admit(&es256, &Ledger::bounded()).facts().clone();
    let write = move |audit: &Audit| audit.write(decision(audit, &facts)).expect("a place");

    let lines = JsonLines::to(std::io::sink()).places(4 * EVENTS).open().expect("a sink");
    let lines = Arc::new(lines);
    let log = Audit::new("orders", "1", lines.clone());
    let drain = move || assert!(lines.flush(Duration::from_secs(10)), "the writer keeps up");
    let enqueue = write.clone();
    let enqueued = group.lane(Lane::new("JSON lines", move || enqueue(&log)).after(drain).fixed(EVENTS));
    let nowhere = audit();
    let dropped = group.lane(Lane::new("a sink that keeps nothing", move || write(&nowhere)));

    group.compare("audit capture", enqueued, floors.rs256, 1.0 / 30.0).allocations(3.0);
    group.compare("audit capture: nowhere", dropped, floors.rs256, None).allocations(None);
    group
}

/// An event as the inbound stack writes it for each request that it lets in.
pub(crate) fn decision(audit: &Audit, facts: &Arc<Facts>) -> Event {
    let started = SystemClock.monotonic();
    let admitted = Decision::Allow("admitted");
    let millis = SystemClock.unix_millis();
    let mut event = audit.event(millis, Direction::Inbound, EventKind::Decision, "inbound", admitted);
    event.request_id = Some(Id::fresh());
    event.trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    event.token = Some(facts.clone());
    event.peer = Some(([127, 0, 0, 1], 40_000).into());
    event.latency = Some(SystemClock.monotonic().since(started));
    event
}
