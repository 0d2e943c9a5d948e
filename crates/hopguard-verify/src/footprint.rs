//! How much memory does a remembered verdict take?
//!
//! An estimate that errs upwards: of every piece of text it counts what an allocator hands out for it, not what was
//! asked for. The benchmarks hold it against the bytes that are really allocated.

use hopguard_core::{Actor, Confirmation, Facts};

use crate::memory::Verdict;

/// The memory's own share of an entry: its place in the table, its tag, its counters.
const PLACE: usize = 160;

/// The bytes that `verdict` keeps alive for itself alone. The key and the names of it and of the issuer are
/// shared with others.
pub(crate) fn footprint(verdict: &Verdict) -> usize {
    let Facts {
        fingerprint: _,
        issuer: _,
        subject,
        client,
        audiences,
        expires: _,
        not_before: _,
        issued_at: _,
        token_id,
        scopes,
        actors,
        may_act,
        confirmation,
        key_id: _,
        fingerprinted_len: _,
        structured: _,
    } = &*verdict.facts;
    let parties = may_act.as_ref().map_or(&[][..], |named| &named.parties);
    let bound = match confirmation {
        Confirmation::None => 0,
        Confirmation::Jkt(one) | Confirmation::Certificate(one) => piece(one.len()),
        Confirmation::Both { jkt, certificate } => piece(jkt.len()) + piece(certificate.len()),
    };
    PLACE
        + size_of::<Verdict>()
        + shared::<Facts>(0)
        + shared::<()>(subject.len())
        + client.as_ref().map_or(0, |text| shared::<()>(text.len()))
        + token_id.as_ref().map_or(0, |text| piece(text.len()))
        + shared::<()>(size_of_val(&**audiences))
        + audiences.iter().map(|audience| piece(audience.len())).sum::<usize>()
        + shared::<()>(scopes.iter().map(|scope| scope.len() + 1).sum())
        + list(actors.actors(), actor)
        + list(parties, actor)
        + bound
}

fn actor(actor: &Actor) -> usize {
    piece(actor.subject.len()) + actor.issuer.as_ref().map_or(0, |issuer| piece(issuer.len()))
}

/// A list that grew by doubling may hold twice the places that it uses.
fn list<T>(items: &[T], each: impl FnMut(&T) -> usize) -> usize {
    piece(2 * size_of_val(items)) + items.iter().map(each).sum::<usize>()
}

/// Something behind two counters, as an `Arc` keeps it, and text after it.
fn shared<T>(text: usize) -> usize {
    piece(2 * size_of::<usize>() + size_of::<T>() + text)
}

/// What an allocator hands out: a header before it, in steps of 16 bytes, and never less than 32.
fn piece(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    (bytes + 8).next_multiple_of(16).max(32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hopguard_core::{ActorChain, MayAct, ScopeSet};

    use super::*;
    use crate::keys::{KeySet, Lookup};
    use crate::tests::{ISSUER, Rig, Signer, claims, set_of};

    #[test]
    fn a_piece_is_what_an_allocator_hands_out() {
        for (asked, handed) in [(0, 0), (1, 32), (24, 32), (25, 48), (40, 48), (41, 64), (1000, 1008)] {
            assert_eq!(piece(asked), handed, "{asked}");
        }
    }

    /// Facts without any text, of a key that is not counted.
    fn bare() -> Verdict {
        let signer = Signer::es256("k1");
        let mut facts = Facts::clone(&Rig::fixed(&[&signer]).check(&signer.token(&claims())).unwrap());
        (facts.subject, facts.client, facts.token_id) = ("".into(), None, None);
        (facts.audiences, facts.scopes, facts.actors) =
            (Arc::new([]), ScopeSet::empty(), ActorChain::empty());
        (facts.may_act, facts.confirmation) = (None, Confirmation::None);
        let set = KeySet::read(set_of(&[&signer]).as_bytes(), ISSUER, None, None).unwrap();
        let Lookup::Found(key) = set.find(Some("k1"), signer.algorithm) else { panic!("no key") };
        Verdict { facts: Arc::new(facts), key: key.clone(), issuer: 0 }
    }

    #[track_caller]
    fn adds(change: impl FnOnce(&mut Facts), expected: usize) {
        let mut verdict = bare();
        let before = footprint(&verdict);
        change(Arc::make_mut(&mut verdict.facts));
        assert_eq!(footprint(&verdict) - before, expected);
    }

    /// Written down as numbers: what one text costs, a list of texts, two counters before a text.
    #[test]
    fn everything_that_a_token_brings_is_counted() {
        // The subject, the audiences and the scopes are a piece each, though there is nothing in them.
        let itself = 160 + size_of::<Verdict>() + (16 + size_of::<Facts>() + 8).next_multiple_of(16);
        assert_eq!(footprint(&bare()), itself + 3 * 32);
        let text = |length: usize| "x".repeat(length);
        let actor = |subject, issuer: Option<usize>| Actor {
            subject: text(subject).into(),
            issuer: issuer.map(|length| text(length).into()),
        };
        adds(|facts| facts.subject = text(100).into(), 128 - 32);
        adds(|facts| facts.client = Some(text(100).into()), 128);
        adds(|facts| facts.token_id = Some(text(100).into()), 112);
        adds(|facts| facts.audiences = Arc::new([text(100).into(), text(40).into()]), 64 - 32 + 112 + 48);
        let scopes = format!("{} {}", text(19), text(20));
        adds(|facts| facts.scopes = ScopeSet::parse(&scopes).unwrap(), 80 - 32);
        let chain = vec![actor(100, Some(40)), actor(40, None)];
        adds(|facts| facts.actors = ActorChain::from_outermost(chain), 144 + 112 + 48 + 48);
        adds(|facts| facts.may_act = Some(MayAct { parties: vec![actor(60, Some(100))] }), 80 + 80 + 112);
        adds(|facts| facts.confirmation = Confirmation::Jkt(text(43).into()), 64);
        adds(|facts| facts.confirmation = Confirmation::Certificate(text(100).into()), 112);
        let both = || Confirmation::Both { jkt: text(43).into(), certificate: text(100).into() };
        adds(|facts| facts.confirmation = both(), 64 + 112);
    }
}
