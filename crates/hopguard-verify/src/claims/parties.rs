//! Who acts, and who may: `act` and `may_act` (RFC 8693 sections 4.1 and 4.4).

use hopguard_core::{Actor, ActorChain, Denial, MayAct};

use super::{Text, filled, optional};
use crate::json::{Claim, Value, names};

names!(PartyMember { Sub = b"sub", Iss = b"iss", Act = b"act" });

/// One `act` or `may_act` object.
struct Party<'a> {
    subject: Claim<Text<'a>>,
    issuer: Claim<Text<'a>>,
}

/// `act` with all that is nested in it, the outermost first.
pub(super) fn actors(act: Value<'_>, at_most: usize) -> Result<ActorChain, Denial> {
    let (mut links, mut next) = (Vec::new(), act);
    while let Some(link) = optional(next.object())? {
        if links.len() == at_most {
            return Err(Denial::ClaimInvalid);
        }
        // An actor without a name is no actor: the claim is there, and it is not what it must be.
        let subject = optional(link.of(PartyMember::Sub).text())?.ok_or(Denial::ClaimInvalid)?;
        let issuer = optional(link.of(PartyMember::Iss).text())?.map(filled).transpose()?;
        links.push(Actor { subject: filled(subject)?, issuer });
        next = link.of(PartyMember::Act);
    }
    Ok(ActorChain::from_outermost(links))
}

/// An empty `may_act`, in whatever spelling, allows nobody (I14). So does an object that names no `sub`: what
/// else it says cannot be compared with anything that is known of an actor.
pub(super) fn may_act(claim: Value<'_>) -> Result<Option<MayAct>, Denial> {
    let parties = match party(claim) {
        Claim::Is(party) => Claim::Is(vec![party]),
        Claim::Absent => Claim::Absent,
        Claim::Wrong => claim.list(party),
    };
    let Some(parties) = optional(parties)? else { return Ok(None) };
    let mut listed = Vec::with_capacity(parties.len());
    for party in parties {
        let issuer = optional(party.issuer)?.map(filled).transpose()?;
        match optional(party.subject)? {
            Some(subject) if !subject.is_empty() => {
                listed.push(Actor { subject: Box::from(&*subject), issuer });
            }
            Some(_) | None => {}
        }
    }
    Ok(Some(MayAct { parties: listed }))
}

/// An object, or a string that names a subject.
fn party(value: Value<'_>) -> Claim<Party<'_>> {
    match value.text() {
        Claim::Is(subject) => Claim::Is(Party { subject: Claim::Is(subject), issuer: Claim::Absent }),
        Claim::Absent => Claim::Absent,
        Claim::Wrong => match value.object() {
            Claim::Is(party) => Claim::Is(Party {
                subject: party.of(PartyMember::Sub).text(),
                issuer: party.of(PartyMember::Iss).text(),
            }),
            Claim::Absent | Claim::Wrong => Claim::Wrong,
        },
    }
}
