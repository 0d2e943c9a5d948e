//! Events for the unit tests of this crate.

use std::sync::Arc;

use hopguard_core::{
    Actor, ActorChain, Confirmation, Decision, Denial, Direction, Event, EventKind, Facts, Fingerprint, Origin,
    ScopeSet, UnixTime,
};

pub(crate) fn decided(decision: Decision) -> Event {
    Event::new(7, &Origin::new("orders", "1"), Direction::Inbound, EventKind::Decision, "inbound", decision)
}

/// A denial that says its number, to be found again in what was written.
pub(crate) fn numbered(number: u64) -> Event {
    let mut event = decided(Decision::Deny(Denial::AudienceMismatch));
    event.time_millis = number;
    event
}

pub(crate) fn admitted() -> Event {
    let mut event = decided(Decision::Allow("admitted"));
    event.status = Some(200);
    event.token = Some(Arc::new(Facts {
        fingerprint: Fingerprint::of_token("a.b.c"),
        issuer: "https://sts.internal".into(),
        subject: "alice".into(),
        client: Some("gateway".into()),
        audiences: ["https://orders.internal".into()].into(),
        expires: UnixTime::from_secs(1300),
        not_before: None,
        issued_at: None,
        token_id: None,
        scopes: ScopeSet::empty(),
        actors: ActorChain::from_outermost(vec![Actor::new("orders"), Actor::new("gateway")]),
        may_act: None,
        confirmation: Confirmation::None,
        key_id: None,
        fingerprinted_len: 3,
        structured: true,
    }));
    event
}

/// An event whose every text tries to begin a line of its own.
pub(crate) fn hostile() -> Event {
    let forged = "x\n{\"version\":1,\"code\":\"admitted\"}\r\n";
    let mut event = admitted();
    let mut facts = event.token.as_deref().unwrap().clone();
    facts.subject = forged.into();
    facts.issuer = forged.into();
    facts.client = Some(forged.into());
    facts.actors = ActorChain::from_outermost(vec![Actor::new(forged)]);
    event.token = Some(Arc::new(facts));
    event.route = Some(forged.into());
    event.destination = Some(forged.into());
    event.place = Some(forged.into());
    event.origin = Origin::new(forged, "1");
    event
}
