//! The last step of a complete stack: everything has passed, so the request is admitted, written down, and
//! room for its outcome is set aside. A guard that stands alone admits nobody.

use std::hint::cold_path;
use std::sync::Arc;

use hopguard_core::{Acknowledgement, Admitted, Bound, Decision, Direction, EventKind, Fault, Refusal};
use http::Request;

use super::lifetime::{Life, Streams};
use super::stage::Stage;
use crate::Hop;
use crate::answer::Refused;
use crate::audited::{Of, OutcomeGuard};
use crate::hop::{Passage, Record};

/// What an admitted request goes on with.
pub(super) struct Admission {
    /// What writes the outcome.
    pub(super) outcome: OutcomeGuard,
    /// The time that it has.
    pub(super) life: Life,
    /// Done once the admission is as safe as the sink promises; nobody goes on before it is.
    pub(super) safe: Acknowledgement,
}

impl Admission {
    /// The admission could not be written: the request does not go on, and this is its outcome.
    pub(super) fn unwritten(mut self, hop: &Hop, record: &Record, fault: Fault) -> Refused {
        self.outcome.status(fault.status());
        self.outcome.failed(fault);
        refused(hop, record, fault)
    }
}

/// Admits what every guard has passed, and leaves it in the request for the handler.
pub(super) fn admit<B>(
    streams: &Arc<Streams>,
    record: &Record,
    bound: Bound,
    request: &mut Request<B>,
) -> Result<Admission, Refused> {
    let hop = &streams.hop;
    match written(streams, record, &bound, request) {
        Ok((outcome, life, safe)) => {
            let (ledger, trace) = (hop.ledger().id(), record.trace);
            let admitted = Admitted::assert_all_guards_passed(bound, ledger, record.request, trace);
            // INVARIANT: I1 — takes the place of whatever evidence was there before the stack.
            let stage = Some(Stage::Admitted(admitted));
            request.extensions_mut().insert(Passage { hop: None, record: *record, stage });
            Ok(Admission { outcome, life, safe })
        }
        Err(fault) => {
            cold_path();
            Err(refused(hop, record, fault))
        }
    }
}

fn refused(hop: &Hop, record: &Record, fault: Fault) -> Refused {
    let mut event =
        hop.event(record, Direction::Inbound, EventKind::Decision, "inbound", Decision::Fault(fault));
    event.status = Some(fault.status());
    let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
    hop.audit().refusal(event);
    refused
}

fn written<B>(
    streams: &Arc<Streams>,
    record: &Record,
    bound: &Bound,
    request: &Request<B>,
) -> Result<(OutcomeGuard, Life, Acknowledgement), Fault> {
    let hop = &streams.hop;
    let remembered = hop.ledger().remember_received(bound.verified(), record.now)?;
    hop.note(remembered, record);
    // INVARIANT: I11 — room for the outcome is set aside before the handler runs.
    let room = hop.audit().reserve()?;
    let admitted = Decision::Allow("admitted");
    let (id, kind) = (record.request.of_request(0), EventKind::Decision);
    let mut event = hop.event_with_id(id, record, Direction::Inbound, kind, "inbound", admitted);
    let facts = bound.verified().facts();
    event.token = Some(facts.clone());
    event.peer = bound.verified().presented().peer();
    let longer = streams.outlives(request, facts, record.now);
    if let Some((stream, until)) = longer {
        cold_path();
        (event.route, event.lasts_until) = (Some(stream.path().into()), Some(until));
    }
    let safe = hop.audit().write_durably(event)?;
    let life = Life::new(streams, facts, longer.map_or_else(|| streams.ends(facts), |(_, until)| until));
    let of = Of { token: Some(facts.clone()), peer: bound.verified().presented().peer(), ..Of::default() };
    let (id, direction) = (record.request.of_request(1), Direction::Inbound);
    let outcome = OutcomeGuard::new(id, hop.clone(), *record, direction, "inbound", room, of);
    Ok((outcome, life, safe))
}
