//! A body that is looked through while it is sent, and ends where a credential would leave.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hopguard_core::{Beyond, BodyScanner, Finding, FindingKind, Place, ScanLimits};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::Hop;
use crate::answer::Refused;
use crate::inflate::{Coding, Inflating};

/// How bodies are looked through.
///
/// ```
/// use hopguard_tower::BodyScan;
///
/// let scan = BodyScan::default().at_most(1024 * 1024).audit_beyond();
/// # let _ = scan;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BodyScan {
    limits: ScanLimits,
    decompress: bool,
}

impl Default for BodyScan {
    /// 64 MiB of it, decompressed; what is longer, or compressed in a way that cannot be undone, is refused.
    fn default() -> Self {
        Self { limits: ScanLimits::default(), decompress: true }
    }
}

impl BodyScan {
    /// Looks through so many bytes. A compressed body that holds more is refused whatever is set.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.limits.at_most = bytes;
        self
    }

    /// Lets pass, with an event, what is not looked through: bytes past the limit, and compressions that are
    /// unknown or not undone.
    #[must_use]
    pub fn audit_beyond(mut self) -> Self {
        self.limits.beyond = Beyond::Audit;
        self
    }

    /// What is wrong with it: a limit so low that nearly every body would pass unread is a block that was switched
    /// off under another name.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        (self.limits.beyond == Beyond::Audit && self.limits.at_most < Self::LEAST).then_some(
            "lets nearly everything pass unread: look through at least 64 KiB, or refuse what is longer",
        )
    }

    /// The lowest limit beyond which anything may pass: 64 KiB.
    pub const LEAST: u64 = 64 * 1024;

    /// Undoes no compression: a compressed body is one that cannot be looked through, and is refused unless
    /// [`audit_beyond`](Self::audit_beyond) says otherwise.
    #[must_use]
    pub fn without_decompression(mut self) -> Self {
        self.decompress = false;
        self
    }
}

/// What is told about a body, and decides.
pub(crate) trait Watcher: Send + Sync {
    /// Something was found: `Err` ends the body, `Ok` lets it pass.
    fn found(&self, finding: &Finding) -> Result<(), Refused>;
    /// Bytes pass that are not looked through.
    fn beyond(&self) -> Result<(), Refused>;
    /// What is found in these trailers: `Err` ends the body.
    fn trailers(&self, trailers: &HeaderMap) -> Result<(), Refused>;
}

/// How a body is judged; what costs anything is made only once it is needed.
pub(crate) struct Judge<'a, C, M> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) scan: &'a BodyScan,
    pub(crate) hop: &'a Hop,
    /// True if a body that is there whole holds nothing that needs a closer look.
    pub(crate) clear: C,
    /// The scanner of this body, and whoever is told about it.
    pub(crate) make: M,
}

/// Why a body ended early.
#[derive(Debug)]
pub enum BodyError<E> {
    /// A credential would have left with it.
    Blocked(Refused),
    /// The body itself failed.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(refused) => write!(f, "{} (event {})", refused.refusal, refused.event),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for BodyError<E> {}

struct Watch {
    /// What may not leave yet.
    waiting: VecDeque<Bytes>,
    /// None for a body that passes unread.
    scanner: Option<Inflating>,
    watcher: Box<dyn Watcher>,
    hop: Hop,
    told_beyond: bool,
    /// Bytes of the body seen, and how many of them may leave.
    seen: u64,
    released: u64,
}

enum End<E> {
    Blocked(Refused),
    Broken(E),
    Trailers(HeaderMap),
}

/// A body that is looked through while it is sent.
///
/// Backpressure is the inner body's: nothing is read ahead of what is asked for, but the first bytes of a body
/// whose length is known, so that a small one is judged whole before anything leaves.
pub struct ScannedBody<B: Body> {
    // Boxed, because the bytes at hand are looked at before the body is pinned; an ended body needs none.
    inner: Option<Pin<Box<B>>>,
    watch: Option<Box<Watch>>,
    /// The first of what may leave; the others queue behind it.
    first: Option<Bytes>,
    ready: VecDeque<Bytes>,
    /// How many bytes were taken in and not given out yet. Counted, because a peer can send each in a frame of its own.
    at_hand: u64,
    // Boxed, because requests are moved about and few bodies end in any other way than by being over.
    end: Option<Box<End<B::Error>>>,
}

impl<B: Body> ScannedBody<B> {
    /// A body that nobody looks through.
    pub(crate) fn unwatched(inner: B) -> Self {
        let inner = (!inner.is_end_stream()).then(|| Box::pin(inner));
        Self { inner, ..Self::default() }
    }

    /// `inner`, looked through as `judge` says. If it is not longer than `whole`, it is judged now as far as it
    /// is at hand.
    pub(crate) fn judged<C, M>(
        inner: B,
        judge: Judge<'_, C, M>,
        whole: u64,
        context: &mut Context<'_>,
    ) -> Result<Self, Refused>
    where
        C: Fn(&[u8]) -> bool,
        M: FnOnce() -> (BodyScanner, Box<dyn Watcher>),
    {
        let mut body = Self::unwatched(inner);
        let (Some(inner), coding) = (&mut body.inner, Coding::of(judge.headers)) else { return Ok(body) };
        let length =
            inner.size_hint().exact().filter(|length| *length <= whole.min(judge.scan.limits.at_most));
        let mut begun = None;
        if let (Some(length), Some(Coding::Identity)) = (length, coding)
            && let Poll::Ready(frame) = inner.as_mut().poll_frame(context)
        {
            match frame.map(|frame| frame.map(Frame::into_data)) {
                // All of it in one piece, as bodies are that were made in memory; nothing can follow.
                Some(Ok(Ok(mut data))) if data.remaining() as u64 == length && inner.is_end_stream() => {
                    let bytes = data.copy_to_bytes(data.remaining());
                    if (judge.clear)(&bytes) {
                        body.inner = None;
                        body.at_hand = length;
                        body.push_ready(bytes);
                        return Ok(body);
                    }
                    begun = Some(Some(Ok(Frame::data(bytes))));
                }
                frame => {
                    begun = Some(frame.map(|frame| {
                        frame.map(|frame| match frame {
                            Ok(mut data) => Frame::data(data.copy_to_bytes(data.remaining())),
                            Err(other) => other
                                .into_trailers()
                                .map_or_else(|_| Frame::data(Bytes::new()), Frame::trailers),
                        })
                    }));
                }
            }
        }
        body.watch(coding, judge)?;
        if let Some(frame) = begun {
            body.take_in(frame);
        }
        Ok(body)
    }

    fn watch<C, M>(&mut self, coding: Option<Coding>, judge: Judge<'_, C, M>) -> Result<(), Refused>
    where
        M: FnOnce() -> (BodyScanner, Box<dyn Watcher>),
    {
        let (scan, (scanner, watcher)) = (judge.scan, (judge.make)());
        let readable = |coding: &Coding| *coding == Coding::Identity || scan.decompress;
        let mut told_beyond = false;
        let coding = coding.filter(readable);
        if coding.is_none() {
            if scan.limits.beyond == Beyond::Audit {
                watcher.beyond()?;
                told_beyond = true;
            } else {
                watcher.found(&Finding { place: Place::Body, kind: FindingKind::Unreadable })?;
            }
        }
        let scanner = coding.map(|coding| {
            let mut limits = scan.limits;
            if coding != Coding::Identity {
                // A compressed body that grows past the limit is a bomb, not a long text.
                limits.beyond = Beyond::Refuse;
            }
            Inflating::new(coding, scanner.with_limits(limits))
        });
        let hop = judge.hop.clone();
        let waiting = VecDeque::new();
        self.watch =
            Some(Box::new(Watch { waiting, scanner, watcher, hop, told_beyond, seen: 0, released: 0 }));
        Ok(())
    }

    /// Reads what is at hand, up to about `most` bytes. Returns what was found in it.
    pub(crate) fn peek(&mut self, context: &mut Context<'_>, most: usize) -> Option<Refused> {
        if self.inner.is_none() && self.end.is_none() {
            return None;
        }
        while self.at_hand < most as u64
            && let Poll::Ready(true) = self.advance(context)
        {}
        match self.end.as_deref() {
            Some(End::Blocked(refused)) => Some(refused.clone()),
            _ => None,
        }
    }

    fn push_ready(&mut self, bytes: Bytes) {
        if self.first.is_none() && self.ready.is_empty() {
            self.first = Some(bytes);
        } else {
            self.ready.push_back(bytes);
        }
    }

    /// Takes the bytes of a body that was read to its end and has no trailers; `None` if it is on its way.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let whole = self.inner.is_none() && self.end.is_none() && self.ready.is_empty();
        whole.then(|| {
            self.at_hand = 0;
            self.first.take().unwrap_or_default()
        })
    }

    /// True if all of it was read.
    pub(crate) fn is_read(&self) -> bool {
        self.inner.is_none()
    }

    /// Takes one frame of the inner body in. `false` at its end.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(false) };
        let frame = ready!(inner.as_mut().poll_frame(context));
        self.take_in(
            frame.map(|frame| {
                frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            }),
        );
        Poll::Ready(self.inner.is_some())
    }

    fn take_in(&mut self, frame: Option<Result<Frame<Bytes>, B::Error>>) {
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(bytes))) => self.accept(bytes),
            Some(Ok(Err(frame))) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.trailers(trailers);
                }
            }
            Some(Err(error)) => {
                self.finish();
                self.end = Some(Box::new(End::Broken(error)));
            }
            None => self.finish(),
        }
    }

    fn accept(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len() as u64;
        let Some(watch) = &mut self.watch else {
            self.at_hand += length;
            self.push_ready(bytes);
            return;
        };
        let before = watch.released;
        match watch.judge(&bytes) {
            Ok(released) => {
                self.at_hand += length;
                let mut free = usize::try_from(released - before).unwrap_or(usize::MAX);
                if watch.waiting.is_empty() && bytes.len() <= free {
                    self.push_ready(bytes);
                    return;
                }
                watch.waiting.push_back(bytes);
                while let Some(part) = self.watch.as_mut().and_then(|watch| watch.freed(&mut free)) {
                    self.push_ready(part);
                }
            }
            Err(refused) => self.block(refused),
        }
    }

    fn trailers(&mut self, trailers: HeaderMap) {
        let verdict = match &self.watch {
            Some(watch) => watch.watcher.trailers(&trailers),
            None => Ok(()),
        };
        match verdict {
            Ok(()) => {
                self.finish();
                self.end = Some(Box::new(End::Trailers(trailers)));
            }
            Err(refused) => self.block(refused),
        }
    }

    /// No more comes: what was withheld did not become a credential.
    fn finish(&mut self) {
        self.inner = None;
        for bytes in self.watch.take().map(|watch| watch.waiting).unwrap_or_default() {
            self.push_ready(bytes);
        }
    }

    fn block(&mut self, refused: Refused) {
        self.inner = None;
        let lost = self.watch.take().map(|watch| watch.waiting).unwrap_or_default();
        self.at_hand -= lost.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        // What was judged before may be on its way already; the body must not look complete.
        self.end = Some(Box::new(End::Blocked(refused)));
    }
}

impl Watch {
    /// The next of what waits, as far as `free` bytes go.
    fn freed(&mut self, free: &mut usize) -> Option<Bytes> {
        let mut first = self.waiting.pop_front()?;
        if first.len() <= *free {
            *free -= first.len();
            return Some(first);
        }
        let part = first.split_to(std::mem::take(free));
        self.waiting.push_front(first);
        (!part.is_empty()).then_some(part)
    }

    /// How many bytes may leave.
    fn judge(&mut self, bytes: &Bytes) -> Result<u64, Refused> {
        self.seen += bytes.len() as u64;
        let Some(scanner) = &mut self.scanner else {
            self.released = self.seen;
            return Ok(self.released);
        };
        match scanner.push(bytes, self.hop.tick()) {
            Ok(held) => {
                if scanner.is_beyond() && !self.told_beyond {
                    self.watcher.beyond()?;
                    self.told_beyond = true;
                }
                self.released = self.released.max(self.seen.saturating_sub(held));
            }
            Err(kind) => {
                let mut found = Some(kind);
                while let Some(kind) = found {
                    self.watcher.found(&Finding { place: Place::Body, kind })?;
                    found = scanner.pass();
                }
                // What was let pass may be followed by what nobody was told of, unless nothing more can be read.
                if scanner.is_broken() {
                    self.scanner = None;
                }
                self.released = self.seen;
            }
        }
        Ok(self.released)
    }
}

impl<B: Body> Default for ScannedBody<B> {
    fn default() -> Self {
        Self { inner: None, watch: None, first: None, ready: VecDeque::new(), at_hand: 0, end: None }
    }
}

impl<B: Body> fmt::Debug for ScannedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScannedBody").field("watched", &self.watch.is_some()).finish_non_exhaustive()
    }
}

// Nothing in it is pinned but the inner body, in its box.
impl<B: Body> Unpin for ScannedBody<B> {}

impl<B: Body> Body for ScannedBody<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(bytes) = self.first.take().or_else(|| self.ready.pop_front()) {
                self.at_hand -= bytes.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.inner.is_some() {
                ready!(self.advance(context));
                continue;
            }
            return Poll::Ready(self.end.take().map(|end| match *end {
                End::Blocked(refused) => Err(BodyError::Blocked(refused)),
                End::Broken(error) => Err(BodyError::Inner(error)),
                End::Trailers(trailers) => Ok(Frame::trailers(trailers)),
            }));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none() && self.first.is_none() && self.ready.is_empty() && self.end.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let at_hand = self.at_hand;
        let rest = self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(at_hand));
        if self.end.is_some() {
            // An error or trailers are to come: nobody may take the last byte for the end.
            return hint;
        }
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(at_hand)) {
            hint.set_upper(upper);
        }
        hint
    }
}
