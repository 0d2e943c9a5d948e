//! Who acts, and who may: `act` and `may_act` (RFC 8693 sections 4.1 and 4.4).

use hopguard_core::{Actor, ActorChain, Denial, MayAct};

use super::{Text, filled, optional};
use crate::alike::Alike;
use crate::json::{Claim, Malformed, Shape, Skip, Source, list_of, names};

names!(PartyMember { Sub = "sub", Iss = "iss", Act = "act" });

/// One `act` or `may_act` object.
#[derive(Clone, Debug, Default)]
pub(super) struct Party<'a> {
    subject: Claim<Text<'a>>,
    issuer: Claim<Text<'a>>,
}

/// `act` with all that is nested in it, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Actors<'a> {
    links: Vec<Party<'a>>,
    wrong: bool,
}

impl Actors<'_> {
    pub(super) fn into_chain(self, at_most: usize, alike: &Alike) -> Result<ActorChain, Denial> {
        if self.wrong || self.links.len() > at_most {
            return Err(Denial::ClaimInvalid);
        }
        if self.links.is_empty() {
            return Ok(ActorChain::empty());
        }
        let is = |known: &ActorChain| {
            known.depth() == self.links.len()
                && known.actors().iter().zip(&self.links).all(|(actor, link)| link.is(actor))
        };
        let actor = |link: &Party<'_>| {
            // An actor without a name is no actor: the claim is there, and it is not what it must be.
            let subject = optional(link.subject.clone())?.ok_or(Denial::ClaimInvalid)?;
            let issuer = optional(link.issuer.clone())?.map(filled).transpose()?;
            Ok(Actor { subject: filled(subject)?, issuer })
        };
        let read = || self.links.iter().map(actor).collect::<Result<_, _>>().map(ActorChain::from_outermost);
        alike.actors(is, read)
    }
}

impl Party<'_> {
    /// True if this link, read in full, is `actor`.
    fn is(&self, actor: &Actor) -> bool {
        matches!(&self.subject, Claim::Is(subject) if **subject == *actor.subject)
            && match (&self.issuer, &actor.issuer) {
                (Claim::Is(issuer), Some(known)) => **issuer == **known,
                (Claim::Absent, None) => true,
                _ => false,
            }
    }
}

impl<'de> Shape<'de> for Actors<'de> {
    fn wrong(&mut self) {
        self.wrong = true;
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        // Its place comes before those of the links that are nested in it.
        let (mut link, at) = (Party::default(), self.links.len());
        self.links.push(Party::default());
        source.members(|name, source| match name {
            PartyMember::Sub => source.value(&mut link.subject),
            PartyMember::Iss => source.value(&mut link.issuer),
            PartyMember::Act => source.value(self),
        })?;
        if let Some(place) = self.links.get_mut(at) {
            *place = link;
        }
        Ok(())
    }
}

impl<'de> Shape<'de> for Claim<Party<'de>> {
    fn wrong(&mut self) {
        *self = Self::Wrong;
    }

    fn text(&mut self, text: Text<'de>) {
        *self = Self::Is(Party { subject: Claim::Is(text), issuer: Claim::Absent });
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        let mut party = Party::default();
        source.members(|name, source| match name {
            PartyMember::Sub => source.value(&mut party.subject),
            PartyMember::Iss => source.value(&mut party.issuer),
            PartyMember::Act => source.value(&mut Skip),
        })?;
        *self = Self::Is(party);
        Ok(())
    }
}

impl<'de> Shape<'de> for Claim<Vec<Party<'de>>> {
    fn wrong(&mut self) {
        *self = Self::Wrong;
    }

    fn text(&mut self, text: Text<'de>) {
        *self = Self::Is(vec![Party { subject: Claim::Is(text), issuer: Claim::Absent }]);
    }

    fn list(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        *self = list_of(source)?;
        Ok(())
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        let mut party = Claim::<Party<'de>>::Absent;
        party.object(source)?;
        if let Claim::Is(party) = party {
            *self = Self::Is(vec![party]);
        }
        Ok(())
    }
}

/// An empty `may_act`, in whatever spelling, allows nobody (I14). So does an object that names no `sub`: what
/// else it says cannot be compared with anything that is known of an actor.
pub(super) fn may_act(parties: Vec<Party<'_>>) -> Result<MayAct, Denial> {
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
    Ok(MayAct { parties: listed })
}
