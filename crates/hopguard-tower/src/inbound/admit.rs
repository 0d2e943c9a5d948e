//! The last step of a complete stack: everything has passed, so the request is admitted, written down, and
//! room for its outcome is set aside. A guard that stands alone admits nobody.

use hopguard_core::{Admitted, Bound, Decision, Direction, EventKind, Fault, Refusal};

use super::stage::Stage;
use crate::Hop;
use crate::answer::Refused;
use crate::audited::OutcomeGuard;
use crate::hop::{Passage, Record};

/// Admits what every guard has passed: what the handler gets, and what writes the outcome.
pub(super) fn admit(hop: &Hop, record: &Record, bound: Bound) -> Result<(Passage, OutcomeGuard), Refused> {
    match outcome(hop, record, &bound) {
        Ok(outcome) => {
            let (ledger, trace) = (hop.ledger().id(), record.trace);
            let admitted = Admitted::assert_all_guards_passed(bound, ledger, record.request, trace);
            let mut passage = Passage::begun(hop, *record);
            passage.stage = Some(Stage::Admitted(admitted));
            Ok((passage, outcome))
        }
        Err(fault) => {
            let decision = Decision::Fault(fault);
            let mut event = hop.event(record, Direction::Inbound, EventKind::Decision, "inbound", decision);
            event.status = Some(fault.status());
            let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
            hop.audit().refusal(event);
            Err(refused)
        }
    }
}

fn outcome(hop: &Hop, record: &Record, bound: &Bound) -> Result<OutcomeGuard, Fault> {
    let remembered = hop.ledger().remember_received(bound.verified(), record.now)?;
    hop.note(remembered, record);
    // INVARIANT: I11 — room for the outcome is set aside before the handler runs.
    let room = hop.audit().reserve()?;
    let admitted = Decision::Allow("admitted");
    let mut event = hop.event(record, Direction::Inbound, EventKind::Decision, "inbound", admitted);
    let facts = bound.verified().facts();
    event.token = Some(facts.clone());
    event.peer = bound.verified().presented().peer();
    hop.audit().write(event)?;
    let facts = Some(facts.clone());
    Ok(OutcomeGuard::new(hop.clone(), *record, Direction::Inbound, "inbound", room, facts, None))
}
