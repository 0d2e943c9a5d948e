//! What a passthrough block is set to, judged all at once.

use std::sync::Arc;

use hopguard_core::{ConfigErrors, Destination, Problems, Relaxation, Waived, Waiver};
use http::HeaderName;

use super::passthrough::PassthroughLayer;
use crate::Hop;
use crate::scanned::BodyScan;

/// Collects the settings of a [`PassthroughLayer`] that stands alone.
///
/// ```
/// # use hopguard_tower::{Hop, PassthroughLayer};
/// # fn of(hop: &Hop) -> Result<PassthroughLayer, hopguard_core::ConfigErrors> {
/// PassthroughLayer::builder(hop)
///     .declare("https://orders.internal", "https://orders.internal")
///     .judge_header("x-forwarded-authorization")
///     .build()
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PassthroughBuilder {
    hop: Hop,
    written: Written,
}

impl PassthroughBuilder {
    pub(super) fn of(hop: &Hop) -> Self {
        Self { hop: hop.clone(), written: Written::default() }
    }

    pub(super) fn unlinked(hop: &Hop, waiver: Waiver) -> Self {
        Self { hop: hop.clone(), written: Written { unlinked: Some(waiver), ..Written::default() } }
    }

    /// Also in the header `name` a JWT must be for the audience that the route declares.
    pub fn judge_header(mut self, name: &str) -> Self {
        self.written.judged.push(name.to_owned());
        self
    }

    /// How bodies are looked through.
    pub fn bodies(mut self, scan: BodyScan) -> Self {
        self.written.bodies = scan;
        self
    }

    /// Lets what is found pass to the origin of `url` until the waiver ends, each time with an event.
    pub fn dangerous_except(mut self, url: &str, waiver: Waiver) -> Self {
        self.written.exceptions.push((url.to_owned(), waiver));
        self
    }

    /// Lets whatever is found pass until the waiver ends, each time with an event.
    pub fn dangerous_report_only(mut self, waiver: Waiver) -> Self {
        self.written.report_only = Some(waiver);
        self
    }

    /// Calls to the origin of `url` may carry, in an authorization header, a JWT whose audience is `audience` and
    /// nothing else. For credentials that are attached above this layer by something other than an
    /// [`ExchangeLayer`](crate::ExchangeLayer), whose routes declare their own. An origin that is declared for nothing
    /// may carry no JWT there.
    pub fn declare(mut self, url: &str, audience: &str) -> Self {
        self.written.declared.push((url.to_owned(), audience.to_owned()));
        self
    }

    /// The origin of `url` is inside the trust domain `domain`: calls there carry on the transaction token that was
    /// verified for the caller's request, in the header `Txn-Token`.
    pub fn trust_domain(mut self, url: &str, domain: &str) -> Self {
        self.written.domains.push((url.to_owned(), domain.to_owned()));
        self
    }

    /// The layer. No I/O.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every setting that is wrong.
    pub fn build(self) -> Result<PassthroughLayer, ConfigErrors> {
        let mut problems = Problems::new();
        self.hop.audit().check(&mut problems);
        let read = self.written.read("passthrough", &mut problems);
        problems.into_result(PassthroughLayer::of(&self.hop, read))
    }
}

/// The settings as they were written down.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) declared: Vec<(String, String)>,
    pub(super) domains: Vec<(String, String)>,
    pub(super) judged: Vec<String>,
    pub(super) bodies: BodyScan,
    pub(super) exceptions: Vec<(String, Waiver)>,
    pub(super) report_only: Option<Waiver>,
    pub(super) unlinked: Option<Waiver>,
}

/// The settings as they are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) declared: Vec<(Destination, Arc<str>)>,
    pub(super) domains: Vec<(Destination, Arc<str>)>,
    pub(super) places: Vec<HeaderName>,
    pub(super) bodies: BodyScan,
    pub(super) exceptions: Vec<(Destination, Waiver)>,
    pub(super) report_only: Option<Waiver>,
    /// What every call relies on, whatever it holds.
    pub(super) waived: Vec<Waived>,
}

impl Written {
    /// Reads each setting; what is wrong goes to `problems`, below `parent`.
    pub(super) fn read(&self, parent: &str, problems: &mut Problems) -> Read {
        let mut read = Read { bodies: self.bodies, ..Read::default() };
        if let Some(problem) = self.bodies.problem() {
            problems.add(format!("{parent}.bodies"), problem);
        }
        for (at, name) in self.judged.iter().enumerate() {
            match name.parse() {
                Ok(name) => read.places.push(name),
                Err(_) => problems.add(
                    format!("{parent}.judge_header[{at}]"),
                    "is no header name: write one such as x-forwarded-authorization",
                ),
            }
        }
        for (setting, what, written, places) in [
            (
                "declare",
                "names no audience: say whom tokens there are for",
                &self.declared,
                &mut read.declared,
            ),
            (
                "trust_domain",
                "names no domain: write it as transaction tokens do",
                &self.domains,
                &mut read.domains,
            ),
        ] {
            for (at, (url, value)) in written.iter().enumerate() {
                let setting = format!("{parent}.{setting}[{at}]");
                let origin = origin(url, &setting, problems);
                if value.trim().is_empty() {
                    problems.add(setting, what);
                }
                places.extend(origin.map(|origin| (origin, value.as_str().into())));
            }
        }
        for (at, (url, waiver)) in self.exceptions.iter().enumerate() {
            let setting = format!("{parent}.dangerous_except[{at}]");
            let origin = origin(url, &setting, problems);
            complete(waiver, setting, problems);
            read.exceptions.extend(origin.map(|origin| (origin, waiver.clone())));
        }
        if let Some(waiver) = &self.report_only {
            complete(waiver, format!("{parent}.dangerous_report_only"), problems);
            read.report_only = Some(waiver.clone());
        }
        if let Some(waiver) = &self.unlinked {
            complete(waiver, format!("{parent}.dangerous_unlinked"), problems);
            read.waived.push(Waived { relaxation: Relaxation::Unlinked, waiver: waiver.clone() });
        }
        read
    }
}

// INVARIANT: I10 — the URL is not shown: it may hold a password, or be a secret in the wrong setting.
fn origin(url: &str, setting: &str, problems: &mut Problems) -> Option<Destination> {
    let origin = url.parse().ok().as_ref().and_then(Destination::of);
    if origin.is_none() {
        problems.add(setting, "names no origin: write one such as https://peer.internal");
    }
    origin
}

fn complete(waiver: &Waiver, setting: String, problems: &mut Problems) {
    if waiver.reason().trim().is_empty() || waiver.owner().trim().is_empty() {
        problems.add(setting, "has a waiver without reason or owner");
    }
}
