//! How much memory does a remembered verdict take?
//!
//! An estimate that errs upwards: of every piece of text it counts what an allocator hands out for it, not what was
//! asked for. The benchmarks hold it against the bytes that are really allocated.

use hopguard_core::{Actor, Confirmation, Facts};

use crate::memory::Verdict;

/// The memory's own share of an entry: its place in the table, its tag, its counters.
const PLACE: usize = 128;

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
const fn piece(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let whole = (bytes + 8).next_multiple_of(16);
    if whole < 32 { 32 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_what_an_allocator_hands_out() {
        for (asked, handed) in [(0, 0), (1, 32), (24, 32), (25, 48), (40, 48), (41, 64), (1000, 1008)] {
            assert_eq!(piece(asked), handed, "{asked}");
        }
    }
}
