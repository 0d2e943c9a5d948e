//! Which route does a call take, and may its caller use it? Everything that is judged before anything is fetched.

use std::sync::Arc;

use hopguard_core::{AsOurselves, Demand, Destination, Fault, Refusal, RouteRule};
use hopguard_exchange::Prepared;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Request, Uri};

use super::attachment::Attachment;
use super::exchange::Inner;
use super::outgoing::{Matched, still_good};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The words of a request.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// On behalf of nobody else, which was said by name.
    pub(super) as_ourselves: bool,
}

impl<'a> Call<'a> {
    pub(super) fn of<B>(request: &'a Request<B>, as_ourselves: bool) -> Self {
        Self { method: request.method(), uri: request.uri(), headers: request.headers(), as_ourselves }
    }
}

/// What is to be attached.
pub(super) enum Need<'a> {
    Nothing,
    /// For the caller.
    Grant(&'a Prepared),
    Own(&'a AsOurselves, &'a Destination),
    Secret(&'a Demand, Result<&'a Arc<Attachment>, Fault>),
}

impl Inner {
    /// Which route, and may this caller use it? Everything that is judged before anything is fetched.
    pub(super) fn ticket(&self, call: Call<'_>, matched: &mut Matched) -> Result<usize, Refusal> {
        let Call { method, uri, headers, as_ourselves } = call;
        let choice = self.routes.judge(method, uri, headers);
        // A route is for one destination, whose text is there already.
        matched.destination = match &choice {
            Ok(choice) => Some(choice.route.destination().clone()),
            Err(_) => Destination::of(uri),
        };
        let choice = choice?;
        matched.rule = Some(choice.route.rule().name());
        not_ours_to_send(headers)?;
        if matched.subject.as_ref().is_some_and(|caller| caller.ledger() != self.hop.ledger().id()) {
            return Err(Fault::EvidenceForeign.into());
        }
        let index = choice.index;
        match self.need(index)? {
            Need::Grant(prepared) => {
                // INVARIANT: I4 — without a caller there is no grant, and without a grant no call.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                matched.requested = self.requested.get(index).cloned().flatten();
                prepared.target().check_open_to(subject.facts())?;
                still_good(&self.hop, subject, matched.record.now)?;
            }
            Need::Own(target, _) => {
                self.demanded(target.demand(), matched, as_ourselves)?;
                matched.requested = self.requested.get(index).cloned().flatten();
            }
            Need::Secret(demand, attachment) => {
                self.demanded(demand, matched, as_ourselves)?;
                attachment?.check(&self.hop, headers)?;
            }
            Need::Nothing => {}
        }
        Ok(index)
    }

    /// What the route of this number attaches.
    pub(super) fn need(&self, index: usize) -> Result<Need<'_>, Fault> {
        let route = self.routes.routes().get(index).ok_or(Fault::DestinationUnlisted)?;
        match route.rule() {
            RouteRule::Exchange(_) => {
                let prepared = self.prepared.get(index).and_then(Option::as_ref);
                Ok(Need::Grant(prepared.ok_or(Fault::EvidenceMissing)?))
            }
            RouteRule::AsOurselves(target) => Ok(Need::Own(target, route.destination())),
            RouteRule::Static(fixed) => {
                let entered = self.attachments.get(index).and_then(Option::as_ref);
                let entered = entered.ok_or(Fault::EvidenceMissing)?.as_ref();
                Ok(Need::Secret(fixed.demand(), entered.map_err(|fault| *fault)))
            }
            RouteRule::Anonymous => Ok(Need::Nothing),
            _ => Err(Fault::DestinationUnlisted),
        }
    }

    /// May this call have a credential of ours?
    fn demanded(&self, demand: &Demand, matched: &Matched, as_ourselves: bool) -> Result<(), Refusal> {
        // INVARIANT: I6 — judged before anything is fetched, for callers and for calls that nobody asked for.
        match &matched.subject {
            Some(subject) => {
                demand.required().check_open_to(subject.facts())?;
                Ok(still_good(&self.hop, subject, matched.record.now)?)
            }
            None if as_ourselves && demand.admits_ourselves() => Ok(()),
            None => Err(Fault::EvidenceMissing.into()),
        }
    }
}

/// May the handler set all of these headers? One look at each costs less than a search for every name.
fn not_ours_to_send(headers: &HeaderMap) -> Result<(), Fault> {
    let mut framed = false;
    for name in headers.keys() {
        // INVARIANT: I2 — a credential that no route attached is not ours to send.
        if *name == header::AUTHORIZATION || *name == header::PROXY_AUTHORIZATION {
            return Err(Fault::CredentialUnexpected);
        }
        // Framing and what is meant for one connection only is the client's own to write: a length that lies would
        // make the start of the next request its body, and `Connection` names headers to drop (RFC 9110 section
        // 7.6.1, RFC 9112 section 6).
        framed |= *name == header::CONNECTION
            || *name == header::CONTENT_LENGTH
            || *name == header::TRANSFER_ENCODING
            || *name == header::TRAILER
            || *name == header::UPGRADE
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION;
    }
    if framed { Err(Fault::RequestUnsendable) } else { Ok(()) }
}
