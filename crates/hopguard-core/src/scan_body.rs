//! Does a body carry a credential that may not leave? Judged while it streams, without I/O.
//!
//! Found are live credentials of the ledger and the caller's own token, wherever chunks end: plain,
//! percent-encoded, in JSON escapes, in base64 of either alphabet at any alignment, in hexadecimal (both also
//! wrapped into lines), and these inside each other up to three deep. Form and multipart bodies are text like
//! any other.
//!
//! ```
//! use hopguard_core::{BodyScanner, Destination, Ledger, UnixTime};
//!
//! let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
//! let mut scanner = BodyScanner::new(&Ledger::bounded(), Some(&here));
//! assert_eq!(scanner.push(b"{\"id\":17}", UnixTime::from_secs(0)), Ok(9));
//! ```
//!
//! # Withholding
//!
//! A signed token shows itself by the first 16 characters of its signature, so that nothing need be withheld:
//! what left before is not the token. An opaque credential shows itself by its last byte; once all but its last
//! 16 bytes has matched, and only then, [`push`](BodyScanner::push) does not release what follows.
//!
//! # Security
//!
//! Code that means to smuggle a credential out can split, encrypt or rename it: this catches accidents and
//! confused deputies, not hostile code in the same process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::scan_text::{self, Looking, Text};
use crate::{Destination, Facts, FindingKind, Fingerprint, Ledger, UnixTime};

/// How many encodings inside each other are undone.
const DEPTH: u8 = 3;
/// So many credentials that were let pass are told once for a body; past them, each time.
const MOST_PASSED: usize = 64;

/// What happens to the part of a body that is not looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The body is refused.
    Refuse,
    /// It passes, and an event says so.
    Audit,
}

/// How much of a body is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Bytes that are looked through; decompressed ones, if the body is compressed.
    pub at_most: u64,
    /// What happens past them.
    pub beyond: Beyond,
}

impl Default for ScanLimits {
    /// 64 MiB; a longer body is refused.
    fn default() -> Self {
        Self { at_most: 64 * 1024 * 1024, beyond: Beyond::Refuse }
    }
}

/// Looks through one body; see the module docs.
pub struct BodyScanner {
    ledger: Ledger,
    destination: Option<Destination>,
    own: Option<Arc<Facts>>,
    limits: ScanLimits,
    text: Text,
    seen: u64,
    released: u64,
    beyond: bool,
    /// What was found and not let pass.
    found: VecDeque<FindingKind>,
    passed: Vec<Fingerprint>,
}

impl BodyScanner {
    /// For a body to `destination`, where what was granted for it may go; `None` for an answer to the caller,
    /// which no credential of this process may be in.
    #[must_use]
    pub fn new(ledger: &Ledger, destination: Option<&Destination>) -> Self {
        Self {
            ledger: ledger.clone(),
            destination: destination.cloned(),
            own: None,
            limits: ScanLimits::default(),
            text: Text::new(DEPTH, 1),
            seen: 0,
            released: 0,
            beyond: false,
            found: VecDeque::new(),
            passed: Vec::new(),
        }
    }

    /// True if these bytes, which are all of a body, hold nothing that needs a closer look: no clock, no memory.
    /// False says nothing.
    ///
    /// ```
    /// use hopguard_core::{BodyScanner, Ledger};
    ///
    /// assert!(BodyScanner::is_clear(&Ledger::bounded(), None, b"{\"id\":17}"));
    /// ```
    #[must_use]
    pub fn is_clear(ledger: &Ledger, own: Option<&Facts>, body: &[u8]) -> bool {
        scan_text::is_clear(ledger, own, body)
    }

    /// Also looks for the caller's own token, should the ledger have let it go.
    #[must_use]
    pub fn with_own(mut self, own: &Arc<Facts>) -> Self {
        self.own = Some(own.clone());
        self
    }

    /// Looks through so much and no more.
    #[must_use]
    pub fn with_limits(mut self, limits: ScanLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Looks through the next bytes. Returns how many bytes of the body, counted from its beginning, may leave.
    /// At the body's end all that were pushed may.
    ///
    /// # Errors
    ///
    /// [`FindingKind::LiveCredential`] if a credential stands there, [`FindingKind::TooLong`] past the limit if
    /// that refuses. From then on nothing may leave, whatever is pushed, unless [`pass`](Self::pass) says so.
    pub fn push(&mut self, chunk: &[u8], now: UnixTime) -> Result<u64, FindingKind> {
        if let Some(&found) = self.found.front() {
            return Err(found);
        }
        let room = usize::try_from(self.limits.at_most.saturating_sub(self.seen)).unwrap_or(usize::MAX);
        let (inside, outside) = chunk.split_at_checked(room).unwrap_or((chunk, &[]));
        self.seen += chunk.len() as u64;
        let looking = Looking::new(&self.ledger, self.destination.as_ref(), self.own.as_deref(), now);
        let mut held = 0;
        if let Some(looking) = looking {
            self.text.feed(&looking, inside);
            held = self.text.held(&looking);
            for found in looking.into_found() {
                if !self.passed.contains(&found) {
                    self.found.push_back(FindingKind::LiveCredential(found));
                }
            }
        }
        if !outside.is_empty() {
            if self.limits.beyond == Beyond::Refuse {
                self.found.push_back(FindingKind::TooLong);
            }
            self.beyond = true;
            held = 0;
        }
        if let Some(&found) = self.found.front() {
            return Err(found);
        }
        // What was released stays so.
        self.released = self.released.max(self.seen.saturating_sub(held));
        Ok(self.released)
    }

    /// Lets pass what [`push`](Self::push) returned last, and returns what else was found in the same bytes.
    /// With `None` the scanner goes on looking; the same credential is not told again for this body.
    pub fn pass(&mut self) -> Option<FindingKind> {
        if let Some(FindingKind::LiveCredential(passed)) = self.found.pop_front()
            && self.passed.len() < MOST_PASSED
        {
            self.passed.push(passed);
        }
        if self.found.is_empty() {
            self.released = self.seen;
        }
        self.found.front().copied()
    }

    /// How many of the bytes that were pushed may not leave yet.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.seen - self.released
    }

    /// True once bytes have passed that were not looked through.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.beyond
    }
}

impl fmt::Debug for BodyScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyScanner")
            .field("seen", &self.seen)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::evidence_for_tests::{opaque_token, verified_token};
    use crate::{RawToken, Verified};

    const NOW: UnixTime = UnixTime::from_secs(1000);
    const OPAQUE: &str = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1HsUo3Gf6E";

    fn jwt(jti: &str) -> String {
        let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let claims = format!(r#"{{"aud":"https://orders.internal","jti":"{jti}"}}"#);
        let signature = BASE64_URL_SAFE_NO_PAD
            .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, claims.as_bytes()));
        format!("{}.{}.{signature}", part(r#"{"alg":"ES256","typ":"at+jwt"}"#), part(&claims))
    }

    fn credentials() -> [(String, Verified); 2] {
        let token = jwt("1");
        let verified = verified_token(&token, 2000);
        [(token, verified), (OPAQUE.to_owned(), opaque_token(OPAQUE, 2000))]
    }

    fn hexed(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    fn unicode(text: &str) -> String {
        text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()
    }

    fn json_string(text: &str) -> String {
        text.replace('\\', "\\\\").replace('/', "\\/")
    }

    /// `value` in every dress.
    fn dresses(value: &str) -> Vec<String> {
        let basic = |prefix: &str| BASE64_STANDARD.encode(format!("{prefix}{value}"));
        vec![
            value.to_owned(),
            format!("{{\"token\":\"{value}\",\"x\":\"a\\nb\"}}"),
            percent(value),
            percent(&percent(value)),
            value.replace('.', "%2e").replace('-', "%2D"),
            unicode(value),
            json_string(&unicode(value)),
            value.replace('.', "\\u002e").replace('-', "\\u002D"),
            basic(""),
            basic("u"),
            basic("us"),
            basic("usr:"),
            format!("xy{}", basic("")),
            format!("a/b={}", json_string(&basic(""))),
            BASE64_URL_SAFE_NO_PAD.encode(value),
            BASE64_STANDARD.encode(basic("")),
            percent(&basic("")),
            hexed(value),
            hexed(value).to_uppercase(),
            format!("f{}", hexed(value)),
            BASE64_STANDARD.encode(hexed(value)),
            wrapped(&basic(""), 76, "\r\n"),
            wrapped(&basic("u"), 64, "\n"),
            wrapped(&basic("us"), 20, "\\n"),
            wrapped(&BASE64_URL_SAFE_NO_PAD.encode(value), 76, "\\u000d\\u000a"),
            wrapped(&basic(""), 76, "%0D%0A"),
            wrapped(&hexed(value), 60, "\n"),
        ]
    }

    fn wrapped(text: &str, width: usize, line_break: &str) -> String {
        let lines: Vec<&str> =
            text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        lines.join(line_break)
    }

    /// The verdict, and what had left when it fell.
    fn run(scanner: &mut BodyScanner, chunks: &[&[u8]]) -> (bool, Vec<u8>) {
        let (mut all, mut left) = (Vec::new(), 0);
        for chunk in chunks {
            all.extend_from_slice(chunk);
            match scanner.push(chunk, NOW) {
                Ok(released) => left = usize::try_from(released).unwrap(),
                Err(_) => return (true, all[..left].to_vec()),
            }
        }
        (false, all)
    }

    fn cut(text: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let (mut rest, mut chunks) = (text, Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
            chunks.push(chunk.to_vec());
            rest = after;
        }
        chunks
    }

    #[track_caller]
    fn scan(verified: &Verified, text: &str, sizes: &[usize], blocked: bool) {
        let ledger = Ledger::bounded();
        ledger.remember_received(verified, NOW).unwrap();
        let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
        let chunks = cut(text.as_bytes(), sizes);
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let (found, left) = run(&mut BodyScanner::new(&ledger, Some(&here)), &chunks);
        assert_eq!(found, blocked, "{text} in {sizes:?}");
        if blocked {
            assert!(!BodyScanner::is_clear(&ledger, None, text.as_bytes()), "{text}");
            let own = Some(verified.facts().as_ref()).filter(|facts| facts.structured);
            assert!(own.is_none() || !BodyScanner::is_clear(&Ledger::bounded(), own, text.as_bytes()));
        }
        if blocked {
            // Nobody downstream can finish what has left: it does not scan as a credential either.
            let (again, _) = run(&mut BodyScanner::new(&ledger, Some(&here)), &[&left]);
            assert!(!again, "{text} in {sizes:?} let it go");
        }
    }

    #[test]
    fn every_dress_is_found_wherever_chunks_end() {
        for (value, verified) in credentials() {
            for dress in dresses(&value) {
                for sizes in [&[usize::MAX][..], &[1], &[7], &[64, 3]] {
                    scan(&verified, &format!("before {dress} after"), sizes, true);
                    scan(&verified, &dress, sizes, true);
                }
            }
        }
    }

    #[test]
    fn long_bodies_before_and_between_change_nothing() {
        let filler = "{\"name\":\"v\\n1.4.2\",\"q\":\"100%25\"} ".repeat(3000);
        let image = BASE64_STANDARD.encode([0xA7; 40_000]);
        for (value, verified) in credentials() {
            for dress in dresses(&value) {
                scan(&verified, &format!("{filler}{dress}"), &[4096], true);
                scan(&verified, &format!("{filler}{image}\"{dress}"), &[100_000], true);
            }
            scan(&verified, &format!("{filler}{image}{filler}"), &[1000], false);
        }
    }

    #[test]
    fn what_is_not_the_credential_passes() {
        for (value, verified) in credentials() {
            let other = jwt("2");
            let (unsigned, signature) = value.rsplit_once('.').unwrap_or((&value, ""));
            let short = &value[..value.len() - 1];
            for text in
                [&other, unsigned, signature, &hexed(&other), "", &".".repeat(1000), &"A.".repeat(900)]
            {
                if *text != value {
                    scan(&verified, text, &[5], false);
                }
            }
            if signature.is_empty() {
                scan(&verified, short, &[5], false);
                scan(&verified, &format!("{short}?"), &[5], false);
            }
        }
    }

    #[test]
    fn own_token_is_found_without_a_ledger_entry() {
        let token = jwt("1");
        let verified = verified_token(&token, 2000);
        let mut scanner = BodyScanner::new(&Ledger::bounded(), None).with_own(verified.facts());
        let found = Err(FindingKind::LiveCredential(verified.facts().fingerprint));
        assert_eq!(scanner.push(format!("x={token}").as_bytes(), NOW), found);
        assert_eq!(scanner.push(b"more", NOW), found);
    }

    #[test]
    fn a_grant_may_go_where_it_was_granted_for_and_never_back() {
        let token = jwt("1");
        let facts = verified_token(&token, 2000).facts().clone();
        let fingerprint = facts.fingerprint;
        let grant = crate::Granted::assert_narrowed(RawToken::new(&token), facts, fingerprint, NOW);
        let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
        let ledger = Ledger::bounded();
        ledger.remember_granted(&grant, &here, NOW).unwrap();
        assert!(BodyScanner::new(&ledger, Some(&here)).push(token.as_bytes(), NOW).is_ok());
        assert!(BodyScanner::new(&ledger, None).push(token.as_bytes(), NOW).is_err());
    }

    #[test]
    fn only_the_tail_is_withheld_and_only_then() {
        let ledger = Ledger::bounded();
        ledger.remember_received(&opaque_token(OPAQUE, 2000), NOW).unwrap();
        let mut scanner = BodyScanner::new(&ledger, None);
        let head = OPAQUE.len() - 16;
        for (index, byte) in OPAQUE.bytes().take(OPAQUE.len() - 1).enumerate() {
            let released = scanner.push(&[byte], NOW).unwrap();
            let pushed = index as u64 + 1;
            if index < head {
                assert_eq!(released, pushed);
            } else {
                assert!(released <= head as u64, "{released} of {pushed}");
            }
        }
        // It was something else.
        assert_eq!(scanner.push(b"?", NOW), Ok(OPAQUE.len() as u64));
        assert_eq!(scanner.held(), 0);
    }

    #[test]
    fn a_jwt_never_stalls_a_stream() {
        let (token, verified) = (jwt("1"), verified_token(&jwt("1"), 2000));
        let ledger = Ledger::bounded();
        ledger.remember_received(&verified, NOW).unwrap();
        let mut scanner = BodyScanner::new(&ledger, None);
        let shows = token.rfind('.').unwrap() + 17;
        for (index, byte) in token.bytes().take(shows - 1).enumerate() {
            assert_eq!(scanner.push(&[byte], NOW), Ok(index as u64 + 1));
        }
        assert!(scanner.push(&token.as_bytes()[shows - 1..shows], NOW).is_err());
    }

    #[test]
    fn ordinary_bodies_are_clear_at_a_glance() {
        let [(token, verified), (_, opaque)] = credentials();
        let ledger = Ledger::bounded();
        ledger.remember_received(&verified, NOW).unwrap();
        let ordinary =
            "{\"name\":\"v\\n1.4.2\",\"q\":\"100%25 %zz a%20b \\\"x\\\"\",\"id\":\"4f1c2f1e8a534c1b\"} "
                .repeat(20);
        assert!(BodyScanner::is_clear(&ledger, None, ordinary.replace("%25", "%3A").as_bytes()));
        assert!(!BodyScanner::is_clear(&ledger, None, ordinary.as_bytes()), "a percent sign hides more");
        assert!(!BodyScanner::is_clear(&ledger, None, token.as_bytes()));
        ledger.remember_received(&opaque, NOW).unwrap();
        assert!(!BodyScanner::is_clear(&ledger, None, ordinary.as_bytes()));
        assert!(BodyScanner::is_clear(&ledger, None, b"too short"));
    }

    /// Found by fuzzing: an escape far behind the last one gave up what had not been judged.
    #[test]
    fn a_later_escape_does_not_hide_an_earlier_one() {
        let (token, verified) = (jwt("1"), verified_token(&jwt("1"), 2000));
        let escaped = token.replace('.', "\\u002e");
        for (dress, escape) in [(&escaped, "\\u0041"), (&token.replace('.', "%2E"), "%41")] {
            let text = format!("{dress} {}{escape}", "far away ".repeat(400));
            for sizes in [&[usize::MAX][..], &[1], &[64, 3]] {
                scan(&verified, &text, sizes, true);
            }
        }
    }

    #[test]
    fn what_is_let_pass_does_not_end_the_looking() {
        let ledger = Ledger::bounded();
        for (_, verified) in credentials() {
            ledger.remember_received(&verified, NOW).unwrap();
        }
        let [(token, first), (_, second)] = credentials();
        let live = |verified: &Verified| FindingKind::LiveCredential(verified.facts().fingerprint);
        let mut scanner = BodyScanner::new(&ledger, None);
        let both = format!("{{\"a\":\"{token}\",\"b\":\"\\u0041\",\"c\":\"{OPAQUE}\"}}");
        assert_eq!(scanner.push(both.as_bytes(), NOW), Err(live(&first)));
        assert_eq!(scanner.pass(), Some(live(&second)));
        assert_eq!(scanner.push(b"more", NOW), Err(live(&second)), "one of them was not let pass");
        assert_eq!(scanner.pass(), None);
        assert_eq!(scanner.push(both.as_bytes(), NOW), Ok(2 * both.len() as u64), "each is told once");
        let other = jwt("3");
        ledger.remember_received(&verified_token(&other, 2000), NOW).unwrap();
        assert!(scanner.push(other.as_bytes(), NOW).is_err());
    }

    #[test]
    fn past_the_limit_the_rule_decides() {
        let (token, verified) = (jwt("1"), verified_token(&jwt("1"), 2000));
        let ledger = Ledger::bounded();
        ledger.remember_received(&verified, NOW).unwrap();
        let limited =
            |beyond| BodyScanner::new(&ledger, None).with_limits(ScanLimits { at_most: 10, beyond });
        let mut refusing = limited(Beyond::Refuse);
        assert_eq!(refusing.push(b"0123456789", NOW), Ok(10));
        assert_eq!(refusing.push(b"x", NOW), Err(FindingKind::TooLong));
        let mut lenient = limited(Beyond::Audit);
        assert_eq!(lenient.push(b"0123456789", NOW), Ok(10));
        assert!(!lenient.is_beyond());
        assert_eq!(lenient.push(token.as_bytes(), NOW), Ok(10 + token.len() as u64));
        assert!(lenient.is_beyond());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn chunk_boundaries_never_change_a_verdict(
            which in 0_usize..2,
            dress in 0_usize..27,
            dropped in prop::option::of(0_usize..400),
            before in "[ -~]{0,80}|[A-Za-z0-9+/]{0,300}|(\\\\u00[0-7][0-9a-f]){0,30}|(%[0-9A-F]{2}){0,30}",
            after in "[ -~]{0,40}",
            sizes in prop::collection::vec(1_usize..200, 1..12),
        ) {
            let [first, second] = credentials();
            let (value, _) = if which == 0 { &first } else { &second };
            let mut dressed = dresses(value).swap_remove(dress);
            if let Some(at) = dropped.filter(|at| *at < dressed.len()) {
                dressed.remove(at);
            }
            let text = format!("{before}{dressed}{after}");
            let ledger = Ledger::bounded();
            ledger.remember_received(&first.1, NOW).unwrap();
            ledger.remember_received(&second.1, NOW).unwrap();
            let verdict = |sizes: &[usize]| {
                let chunks = cut(text.as_bytes(), sizes);
                let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
                run(&mut BodyScanner::new(&ledger, None), &chunks).0
            };
            prop_assert_eq!(verdict(&sizes), verdict(&[usize::MAX]));
        }
    }
}
