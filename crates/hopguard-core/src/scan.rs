//! Does an outgoing request carry a credential that was not granted for its destination?
//!
//! Every header value and the request target are looked through, as they stand and, where they could hide
//! one, percent-decoded, with JSON escapes undone, base64-decoded (either alphabet, any alignment) and
//! hex-decoded, both also where they are wrapped into lines, one inside the other up to three times. In
//! `Authorization`, `Proxy-Authorization` and the places that are listed beside them any JWT is refused whose
//! `aud` the matched route does not declare, even one that this process has never seen.
//!
//! In `Txn-Token` stands the transaction token that was verified for this request, where the destination is inside
//! its trust domain, and nothing else.
//!
//! In the request target any JWT is refused, because URLs are logged: in the path, and in the query except as
//! the value of a parameter by which a specification sends one on purpose (`state`, `id_token_hint`, `request`).
//! A live credential is refused there like anywhere else. The signature of a presigned URL is no JWT.
//!
//! # Security
//!
//! A credential is found when it is whole. Code that means to smuggle one out can split, encrypt or rename
//! it: this catches accidents and confused deputies, not hostile code in the same process. Bodies are for
//! [`BodyScanner`](crate::BodyScanner).

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::ledger::has_one_dot;
use crate::scan_text::without_json_escapes;
use crate::{Destination, Facts, Fingerprint, Ledger, UnixTime};

/// How many encodings inside each other are undone.
const DEPTH: usize = 3;
/// A header value or target longer than this is refused unread; no server takes one.
const LONGEST: usize = 65_536;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Parameters of a query by which a JWT is sent on purpose: OpenID Connect Core section 3.1.2.1, RP-Initiated
/// Logout section 2, RFC 9101 section 5.
const JWT_PARAMETERS: [&[u8]; 3] = [b"state", b"id_token_hint", b"request"];

/// Where a credential was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the value of this header.
    Header(HeaderName),
    /// In the path or query.
    Target,
    /// In the body.
    Body,
    /// In the value of this trailer.
    Trailer(HeaderName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => f.write_str(name.as_str()),
            Self::Target => f.write_str("target"),
            Self::Body => f.write_str("body"),
            Self::Trailer(name) => write!(f, "trailer {name}"),
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A live credential that is not granted for this destination.
    LiveCredential(Fingerprint),
    /// A JWT in an authorization header whose audience the route does not declare.
    UndeclaredAudience,
    /// A transaction token that was not verified for this request, or whose trust domain the destination is
    /// outside of.
    UnverifiedTransaction,
    /// A JWT in the request target, where no parameter asks for one.
    TokenInTarget,
    /// More than is looked through.
    TooLong,
    /// A body whose compression cannot be undone.
    Unreadable,
}

/// A credential where none may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub kind: FindingKind,
}

/// Looks through one outgoing request.
#[derive(Clone, Copy, Debug)]
pub struct Scanner<'a> {
    ledger: &'a Ledger,
    destination: Option<&'a Destination>,
    now: UnixTime,
    own: Option<&'a Facts>,
    attached: Option<(&'a HeaderName, &'a HeaderValue)>,
    transaction: Option<&'a HeaderValue>,
    audience: Option<&'a str>,
    places: &'a [HeaderName],
}

impl<'a> Scanner<'a> {
    /// A scanner for a request to `destination`.
    #[must_use]
    pub const fn new(ledger: &'a Ledger, destination: &'a Destination, now: UnixTime) -> Self {
        let destination = Some(destination);
        Self { destination, ..Self::toward_caller(ledger, now) }
    }

    /// A scanner for an answer to the caller, which no credential of this process may be in.
    #[must_use]
    pub const fn toward_caller(ledger: &'a Ledger, now: UnixTime) -> Self {
        let (destination, own, attached, transaction, audience) = (None, None, None, None, None);
        Self { ledger, destination, now, own, attached, transaction, audience, places: &[] }
    }

    /// Headers beside `Authorization` and `Proxy-Authorization` in which any JWT must be for the audience that
    /// the route declares.
    #[must_use]
    pub const fn with_places(mut self, places: &'a [HeaderName]) -> Self {
        self.places = places;
        self
    }

    /// Also looks for the caller's own token, should the ledger have let it go.
    #[must_use]
    pub const fn with_own(mut self, own: &'a Facts) -> Self {
        self.own = Some(own);
        self
    }

    /// The `Authorization` value that the route itself attached; it alone is not looked at.
    #[must_use]
    pub fn with_attached(self, value: &'a HeaderValue) -> Self {
        static AUTHORIZATION: HeaderName = header::AUTHORIZATION;
        self.with_attached_in(&AUTHORIZATION, value)
    }

    /// The header that the route itself attached; its value, there alone, is not looked at.
    #[must_use]
    pub const fn with_attached_in(mut self, name: &'a HeaderName, value: &'a HeaderValue) -> Self {
        self.attached = Some((name, value));
        self
    }

    /// The `Txn-Token` value that passes to this destination; any other is refused.
    #[must_use]
    pub const fn with_transaction(mut self, value: &'a HeaderValue) -> Self {
        self.transaction = Some(value);
        self
    }

    /// The audience that the route declares for JWTs in authorization headers.
    #[must_use]
    pub const fn with_audience(mut self, audience: &'a str) -> Self {
        self.audience = Some(audience);
        self
    }

    /// Looks through target and headers.
    ///
    /// # Errors
    ///
    /// The first [`Finding`].
    pub fn scan(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Finding> {
        self.findings(uri, headers).next().map_or(Ok(()), Err)
    }

    /// What is found in target and headers, one finding for each; the next is looked for when it is asked for.
    pub fn findings(&self, uri: &Uri, headers: &HeaderMap) -> impl Iterator<Item = Finding> {
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let verdict = self.value(target.as_bytes()).and_then(|()| no_jwt_in(uri));
        let target = verdict.err().map(|kind| Finding { place: Place::Target, kind });
        let headers = headers.iter().filter_map(|(name, value)| self.header(name, value).err());
        target.into_iter().chain(headers)
    }

    /// False if this value is too short to hold anything, so that no scanner need be made for it.
    #[must_use]
    pub fn could_hold_one(ledger: &Ledger, own: Option<&Facts>, value: &HeaderValue) -> bool {
        value.len() >= ledger.shortest().min(own.map_or(usize::MAX, |own| own.fingerprinted_len))
    }

    /// Looks through one header.
    ///
    /// # Errors
    ///
    /// The first [`Finding`].
    pub fn header(&self, name: &HeaderName, value: &HeaderValue) -> Result<(), Finding> {
        let (is_transaction, judged) = match name.as_str() {
            "txn-token" => (true, false),
            "authorization" | "proxy-authorization" => (false, true),
            _ => (false, self.places.contains(name)),
        };
        let special = is_transaction || judged;
        // Most values are too short to hold anything, and stand where that is all there is to say.
        if !special && value.len() < self.shortest() {
            return Ok(());
        }
        // INVARIANT: I3 — values are compared, not names; one value is exempt, and only where it belongs.
        if self.attached.is_some_and(|(place, attached)| place == name && is_same(attached, value)) {
            return Ok(());
        }
        if is_transaction && self.transaction.is_some_and(|transaction| is_same(transaction, value)) {
            return Ok(());
        }
        let mut verdict = self.value(value.as_bytes());
        if verdict.is_ok() && is_transaction {
            verdict = Err(FindingKind::UnverifiedTransaction);
        }
        if verdict.is_ok() && judged {
            verdict = self.declared(value.as_bytes());
        }
        verdict.map_err(|kind| Finding { place: Place::Header(name.clone()), kind })
    }

    /// What is found in the trailers of a body, one finding for each.
    pub fn trailers(&self, trailers: &HeaderMap) -> impl Iterator<Item = Finding> {
        trailers.iter().filter_map(|(name, value)| {
            let kind = self.value(value.as_bytes()).err()?;
            Some(Finding { place: Place::Trailer(name.clone()), kind })
        })
    }

    /// The length below which no value holds a credential.
    fn shortest(&self) -> usize {
        self.ledger.shortest().min(self.own.map_or(usize::MAX, |own| own.fingerprinted_len))
    }

    fn value(&self, text: &[u8]) -> Result<(), FindingKind> {
        let shortest = self.shortest();
        if text.len() < shortest {
            return Ok(());
        }
        if text.len() > LONGEST {
            return Err(FindingKind::TooLong);
        }
        self.layers(text, shortest, DEPTH)
    }

    fn layers(&self, text: &[u8], shortest: usize, depth: usize) -> Result<(), FindingKind> {
        for dot in memchr::memchr_iter(b'.', text) {
            if let Some(fingerprint) = self.foreign_at(text, dot) {
                return Err(FindingKind::LiveCredential(fingerprint));
            }
        }
        self.opaque(text)?;
        let Some(deeper) = depth.checked_sub(1) else { return Ok(()) };
        if memchr::memchr(b'%', text).is_some()
            && let Cow::Owned(decoded) = Cow::from(percent_encoding::percent_decode(text))
        {
            self.layers(&decoded, shortest, deeper)?;
        }
        if memchr::memchr(b'\\', text).is_some() {
            self.layers(&without_json_escapes(text), shortest, deeper)?;
        }
        for run in long_runs(text, shortest.div_ceil(3).saturating_mul(4).saturating_sub(4), is_base64) {
            let plain: Vec<u8> = run
                .iter()
                .filter(|byte| !is_line_break(**byte))
                .map(|byte| match byte {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => *other,
                })
                .collect();
            for alignment in 0..4 {
                let Some(rest) = plain.get(alignment..) else { break };
                // A single character left over encodes nothing.
                let whole = if rest.len() % 4 == 1 { rest.len() - 1 } else { rest.len() };
                if let Some(Ok(decoded)) = rest.get(..whole).map(|rest| LENIENT.decode(rest)) {
                    self.layers(&decoded, shortest, deeper)?;
                }
            }
        }
        let is_hex = |byte: u8| byte.is_ascii_hexdigit() || is_line_break(byte);
        for run in long_runs(text, shortest.saturating_mul(2), is_hex) {
            let digits: Vec<u8> = run.iter().copied().filter(|byte| !is_line_break(*byte)).collect();
            for alignment in 0..2 {
                let decoded: Vec<u8> =
                    digits.get(alignment..).unwrap_or_default().chunks_exact(2).map(hex).collect();
                self.layers(&decoded, shortest, deeper)?;
            }
        }
        Ok(())
    }

    fn foreign_at(&self, text: &[u8], dot: usize) -> Option<Fingerprint> {
        credential_at(self.ledger, self.own, self.destination, self.now, text, dot)
    }

    fn opaque(&self, text: &[u8]) -> Result<(), FindingKind> {
        let Some(index) = self.ledger.opaque() else { return Ok(()) };
        let mut found = None;
        index.nominate(text, |start, length| {
            let value = text.get(start..).and_then(|rest| rest.get(..length));
            let verdict = |value| self.ledger.foreign_opaque(&index, value, self.destination, self.now);
            found = found.or_else(|| value.and_then(verdict));
        });
        found.map_or(Ok(()), |found| Err(FindingKind::LiveCredential(found)))
    }

    /// Refuses any JWT whose audiences are not all declared by the route.
    fn declared(&self, value: &[u8]) -> Result<(), FindingKind> {
        for (_, body) in jwts(value) {
            let claims = json(body);
            let audiences =
                claims.as_ref().and_then(|claims| claims.get("aud")).map(audiences).unwrap_or_default();
            if audiences.is_empty() || !audiences.iter().all(|&found| Some(found) == self.audience) {
                return Err(FindingKind::UndeclaredAudience);
            }
        }
        Ok(())
    }
}

/// The same bytes; those of one clone and another lie in one place, and nobody needs to read them.
fn is_same(one: &HeaderValue, other: &HeaderValue) -> bool {
    std::ptr::eq(one.as_bytes(), other.as_bytes()) || one == other
}

/// The credential whose second dot stands at `dot` in `text`: one of the ledger, or the caller's own.
pub(crate) fn credential_at(
    ledger: &Ledger,
    own: Option<&Facts>,
    destination: Option<&Destination>,
    now: UnixTime,
    text: &[u8],
    dot: usize,
) -> Option<Fingerprint> {
    if let Some(found) = ledger.foreign_at(text, dot, destination, now) {
        return Some(found);
    }
    let own = own?;
    let part = text.get(dot.checked_sub(own.fingerprinted_len)?..dot)?;
    // Most dots stand elsewhere; the hash is taken only where a JWT of this length could end.
    let granted = || ledger.granted_for(own.fingerprint, text, dot, destination);
    let plausible = own.structured && has_one_dot(part);
    (plausible && Fingerprint::of_bytes(part) == own.fingerprint && !granted()).then_some(own.fingerprint)
}

/// The JWTs in `text`, as header and payload: three segments, the first of which is JSON that names an `alg`.
fn jwts(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let is_part_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.split(move |&byte| !is_part_of_token(byte)).filter_map(|word| {
        let mut segments = word.split(|&byte| byte == b'.');
        let (head, body, _) = (segments.next()?, segments.next()?, segments.next()?);
        json(head)?.get("alg").is_some().then_some((head, body))
    })
}

/// Refuses any JWT in the target but those that a parameter is there for.
fn no_jwt_in(uri: &Uri) -> Result<(), FindingKind> {
    // Fewer than two dots, no JWT: the usual case needs no decoding, nor a look at each parameter.
    let dotted = |text: &[u8]| {
        let escaped = |mark: usize| matches!(text.get(mark + 1..mark + 3), Some(b"2e" | b"2E"));
        let dots =
            memchr::memchr_iter(b'.', text).chain(memchr::memchr_iter(b'%', text).filter(|at| escaped(*at)));
        dots.take(2).count() == 2
    };
    let clear = |text: &[u8]| {
        if dotted(text) && jwts(&Cow::from(percent_encoding::percent_decode(text))).next().is_some() {
            return Err(FindingKind::TokenInTarget);
        }
        Ok(())
    };
    if !uri.path_and_query().is_some_and(|target| dotted(target.as_str().as_bytes())) {
        return Ok(());
    }
    clear(uri.path().as_bytes())?;
    uri.query().unwrap_or_default().as_bytes().split(|&byte| byte == b'&').try_for_each(|pair| {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        if JWT_PARAMETERS.contains(&name) { Ok(()) } else { clear(pair) }
    })
}

fn audiences(claim: &serde_json::Value) -> Vec<&str> {
    match claim {
        serde_json::Value::String(one) => vec![one],
        serde_json::Value::Array(many) => many.iter().map(|one| one.as_str().unwrap_or("")).collect(),
        _ => Vec::new(),
    }
}

fn json(segment: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(&LENIENT.decode(segment).ok()?).ok()
}

/// Of either alphabet, or a line break inside (RFC 2045 section 6.8).
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_\r\n".contains(&byte)
}

fn is_line_break(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

fn hex(pair: &[u8]) -> u8 {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    pair.iter().fold(0, |value, byte| value * 16 + digit(byte))
}

fn long_runs(text: &[u8], shortest: usize, belongs: fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    // A text that is shorter need not be read.
    let text = if text.len() < shortest { &[] } else { text };
    text.split(move |&byte| !belongs(byte)).filter(move |run| run.len() >= shortest)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;
    use crate::evidence_for_tests::verified_token;

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn jwt(claims: &str) -> String {
        let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let signature = BASE64_URL_SAFE_NO_PAD
            .encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, claims.as_bytes()));
        format!("{}.{}.{signature}", part(r#"{"alg":"ES256","typ":"at+jwt"}"#), part(claims))
    }

    fn hexed(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02X}")).collect()
    }

    fn wrapped(text: &str, line_break: &str) -> String {
        let lines: Vec<&str> =
            text.as_bytes().chunks(60).map(|line| std::str::from_utf8(line).unwrap()).collect();
        lines.join(line_break)
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    /// Scans one value in a header and, where it can stand there, in the query.
    #[track_caller]
    fn scan(value: &str, expected: Option<&str>) {
        let token = jwt(r#"{"aud":"https://orders.internal","jti":"1"}"#);
        let ledger = Ledger::bounded();
        let verified = verified_token(&token, 2000);
        ledger.remember_received(&verified, NOW).unwrap();
        let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
        let kind = |finding: &Finding| match finding.kind {
            FindingKind::LiveCredential(found) => {
                assert_eq!(found, verified.facts().fingerprint);
                "live"
            }
            FindingKind::UndeclaredAudience => "undeclared",
            FindingKind::TooLong => "too long",
            FindingKind::TokenInTarget => "token",
            FindingKind::UnverifiedTransaction => "transaction",
            FindingKind::Unreadable => "unreadable",
        };
        let value = value.replace("TOKEN", &token);
        for scanner in [
            Scanner::new(&ledger, &here, NOW),
            Scanner::new(&Ledger::bounded(), &here, NOW).with_own(verified.facts()),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-anything", value.parse().unwrap());
            let found = scanner.scan(&"https://peer.internal/".parse().unwrap(), &headers);
            assert_eq!(found.as_ref().err().map(kind), expected, "header {value}");
            if let Ok(uri) = format!("https://peer.internal/p?state={value}").parse::<Uri>() {
                let found = scanner.scan(&uri, &HeaderMap::new());
                assert_eq!(found.as_ref().err().map(kind), expected, "target {value}");
            }
        }
    }

    #[test]
    fn a_live_token_is_found_in_every_dress() {
        let token = jwt(r#"{"aud":"https://orders.internal","jti":"1"}"#);
        let basic = format!("user:{token}");
        for value in [
            "TOKEN".to_owned(),
            "Bearer TOKEN".to_owned(),
            "session=abc; t=TOKEN; x=y".to_owned(),
            "prefix-TOKEN".to_owned(),
            "a.b.TOKEN.c".to_owned(),
            token.replace('.', "%2E"),
            percent(&token),
            percent(&percent(&token)),
            BASE64_STANDARD.encode(&token),
            BASE64_URL_SAFE_NO_PAD.encode(&token),
            format!("Basic {}", BASE64_STANDARD.encode(&basic)),
            format!("x{}", BASE64_STANDARD.encode(&token)),
            format!("xx{}", BASE64_STANDARD.encode(&token)),
            format!("xxx{}y", BASE64_URL_SAFE_NO_PAD.encode(&token)),
            percent(&BASE64_STANDARD.encode(&token)),
            BASE64_STANDARD.encode(BASE64_STANDARD.encode(&token)),
            hexed(&token),
            format!("a{}", hexed(&token)),
            BASE64_STANDARD.encode(hexed(&token)),
            token.replace('.', "\\u002e"),
            BASE64_STANDARD.encode(&token).replace('/', "\\/"),
            BASE64_STANDARD.encode(token.replace('.', "\\u002E")),
            wrapped(&BASE64_STANDARD.encode(&token), "\\n"),
            wrapped(&BASE64_STANDARD.encode(&token), "%0D%0A"),
            wrapped(&hexed(&token), "\\r\\n"),
            BASE64_STANDARD.encode(wrapped(&BASE64_STANDARD.encode(&token), "\r\n")),
        ] {
            scan(&value, Some("live"));
        }
    }

    #[test]
    fn innocent_values_pass() {
        let other = jwt(r#"{"aud":"https://orders.internal","jti":"2"}"#);
        let header_and_payload = jwt(r#"{"aud":"https://orders.internal","jti":"1"}"#);
        let (unsigned, _) = header_and_payload.rsplit_once('.').unwrap();
        for value in ["", "a.b.c", &"x".repeat(4000), &"A.".repeat(2000), &other, unsigned, &hexed(&other)] {
            scan(value, None);
        }
        scan(&"x".repeat(LONGEST + 1), Some("too long"));
    }

    #[track_caller]
    fn target(target: &str, expected: Result<(), FindingKind>) {
        let (ledger, jwt) = (Ledger::bounded(), jwt(r#"{"aud":"x"}"#));
        let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
        let uri = format!(
            "https://peer.internal{}",
            target.replace("JWT", &jwt).replace("DOTLESS", &jwt.replace('.', "%2E"))
        );
        let found = Scanner::new(&ledger, &here, NOW).scan(&uri.parse().unwrap(), &HeaderMap::new());
        assert_eq!(found.map_err(|finding| finding.kind), expected, "{uri}");
    }

    #[test]
    fn no_jwt_stands_in_a_url_but_where_it_was_asked_for() {
        for refused in [
            "/JWT",
            "/x/JWT/y",
            "/?q=JWT",
            "/?a=1&token=JWT",
            "/?access_token=DOTLESS",
            "/?JWT",
            "/?stated=JWT",
        ] {
            target(refused, Err(FindingKind::TokenInTarget));
        }
        for passes in [
            "/?state=JWT",
            "/logout?a=1&id_token_hint=JWT&b=2",
            "/authorize?request=DOTLESS",
            "/v1.2.3/file.tar.gz?x=a.b.c",
            "/o?X-Amz-Signature=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEBEaCXVz",
        ] {
            target(passes, Ok(()));
        }
    }

    #[track_caller]
    fn authorization(name: HeaderName, value: &str, expected: Result<(), FindingKind>) {
        let ledger = Ledger::bounded();
        let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
        let attached = HeaderValue::from_static("Bearer the-attached-one");
        let scanner = Scanner::new(&ledger, &here, NOW).with_audience("peer").with_attached(&attached);
        let places = [HeaderName::from_static("x-access-token")];
        let scanner = scanner.with_places(&places);
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let found = scanner.scan(&"https://peer.internal/".parse().unwrap(), &headers);
        assert_eq!(found.map_err(|finding| finding.kind), expected, "{value}");
    }

    #[test]
    fn a_transaction_token_passes_in_its_own_header_only() {
        let ledger = Ledger::bounded();
        let here = Destination::of(&"https://peer.internal".parse().unwrap()).unwrap();
        let token = jwt(r#"{"aud":"shop.internal"}"#);
        let verified = verified_token(&token, 2000);
        ledger.remember_received(&verified, NOW).unwrap();
        let value: HeaderValue = token.parse().unwrap();
        let other = HeaderValue::from_static("anything else");
        let scanner = Scanner::new(&ledger, &here, NOW);
        let live = Err(FindingKind::LiveCredential(verified.facts().fingerprint));
        let found = |scanner: &Scanner<'_>, name: &str, value| {
            scanner.header(&name.parse().unwrap(), value).map_err(|finding| finding.kind)
        };
        assert_eq!(found(&scanner.with_transaction(&value), "txn-token", &value), Ok(()));
        assert_eq!(found(&scanner.with_transaction(&value), "x-txn-token", &value), live);
        assert_eq!(found(&scanner, "txn-token", &value), live);
        let unverified = Err(FindingKind::UnverifiedTransaction);
        assert_eq!(found(&scanner.with_transaction(&value), "txn-token", &other), unverified);
        assert_eq!(found(&scanner, "txn-token", &other), unverified);
    }

    #[test]
    fn a_jwt_in_an_authorization_header_must_be_for_the_route() {
        let token = |aud: &str| format!("Bearer {}", jwt(&format!(r#"{{"aud":{aud}}}"#)));
        let undeclared = Err(FindingKind::UndeclaredAudience);
        authorization(header::AUTHORIZATION, &token(r#""peer""#), Ok(()));
        authorization(header::AUTHORIZATION, &token(r#"["peer"]"#), Ok(()));
        authorization(header::AUTHORIZATION, "Bearer the-attached-one", Ok(()));
        authorization(header::AUTHORIZATION, "Basic dXNlcjpwYXNz", Ok(()));
        for aud in [r#""other""#, r#"["peer","other"]"#, "[]", "7", r#"[7]"#, r#""""#] {
            authorization(header::AUTHORIZATION, &token(aud), undeclared);
            authorization(header::PROXY_AUTHORIZATION, &token(aud), undeclared);
        }
        authorization(header::AUTHORIZATION, &format!("Bearer {}", jwt("{}")), undeclared);
        authorization(HeaderName::from_static("x-state"), &token(r#""other""#), Ok(()));
        authorization(HeaderName::from_static("x-access-token"), &token(r#""other""#), undeclared);
    }
}
