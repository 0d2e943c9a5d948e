//! The scanners at their edges: opaque values of odd bytes, exact lengths, long texts, many credentials at once.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::evidence_for_tests::{opaque_token, verified_token};
use crate::*;

const NOW: UnixTime = UnixTime::from_secs(1000);

fn here() -> Destination {
    Destination::of(&Uri::from_static("https://peer.internal/")).unwrap()
}

fn jwt(jti: &str) -> String {
    let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
    let signature =
        BASE64_URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, jti.as_bytes()));
    format!(
        "{}.{}.{signature}",
        part(r#"{"alg":"ES256","typ":"at+jwt"}"#),
        part(&format!(r#"{{"jti":"{jti}"}}"#))
    )
}

fn kept(values: &[&str]) -> Ledger {
    let ledger = Ledger::bounded();
    for value in values {
        let evidence = if value.split('.').count() == 3 {
            verified_token(value, 2000)
        } else {
            opaque_token(value, 2000)
        };
        ledger.remember_received(&evidence, NOW).unwrap();
    }
    ledger
}

fn in_header(ledger: &Ledger, value: &[u8]) -> Option<FindingKind> {
    let value = HeaderValue::from_bytes(value).unwrap();
    let here = here();
    let scanner = Scanner::new(ledger, &here, NOW);
    scanner.header(&HeaderName::from_static("x-note"), &value).err().map(|finding| finding.kind)
}

fn in_body(ledger: &Ledger, text: &[u8], size: usize) -> bool {
    let mut scanner = BodyScanner::new(ledger, Some(&here()));
    text.chunks(size).any(|chunk| scanner.push(chunk, NOW).is_err())
}

fn each(value: &str, byte: impl Fn(u8) -> String) -> String {
    value.bytes().map(byte).collect()
}

/// A bearer token may hold `~`, `+`, `/` and `=`; a value that somebody else calls a credential may hold anything.
#[test]
fn opaque_values_of_any_bytes_are_found_in_bodies() {
    for value in [
        "opaque~7Qm2~kV9xT4bLw8RnYc5Jd1H",
        "opaque=7Qm2=kV9xT4bLw8RnYc5Jd1H",
        "u9Zk:7Qm2ZkV9xT4bLw8RnYc5Jd1H-x",
        "api:\"\n7Qm2ZkV9xT4\"bLw8RnYc5Jd1",
        "a b c:d e f:g h i:j k l:m n o:p",
    ] {
        let ledger = kept(&[value]);
        let odd = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
        let json = |byte: u8| match byte {
            b'"' => "\\\"".to_owned(),
            b'\n' => "\\n".to_owned(),
            other => char::from(other).to_string(),
        };
        let percent =
            |byte: u8| if odd(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() };
        let unicode =
            |byte: u8| if odd(byte) { format!("\\u{byte:04x}") } else { char::from(byte).to_string() };
        for dress in [
            value.to_owned(),
            each(value, json),
            each(value, percent),
            each(value, unicode),
            each(value, |byte| format!("{byte:02x}")),
            BASE64_STANDARD.encode(value),
            // Behind an escape, what only looks like the beginning of another one.
            format!("\\u0041 \\{}", value.replace('-', "\\u002d")),
            format!("%41 %{}", value.replace('-', "%2d")),
        ] {
            for text in [dress.clone(), format!("{{\"a\":\"{dress}\"}}"), format!("x%zz\\x {dress} \\y")] {
                for size in [usize::MAX, 1, 5] {
                    assert!(in_body(&ledger, text.as_bytes(), size), "{text} by {size}");
                }
                assert!(!BodyScanner::is_clear(&ledger, None, text.as_bytes()), "{text}");
            }
        }
        let other = value.replace('Q', "q").replace('b', "B");
        assert!(!in_body(&ledger, other.as_bytes(), 5));
    }
}

#[test]
fn opaque_values_are_found_in_headers_and_targets() {
    let value = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
    let ledger = kept(&[value]);
    let live = Some(FindingKind::LiveCredential(Fingerprint::of_bytes(value.as_bytes())));
    // The first is exactly as long as the shortest that is kept.
    for dress in [
        value.to_owned(),
        format!("Bearer {value}"),
        each(value, |byte| format!("%{byte:02x}")),
        BASE64_STANDARD.encode(value),
        each(value, |byte| format!("{byte:02X}")),
    ] {
        assert_eq!(in_header(&ledger, dress.as_bytes()), live, "{dress}");
        let uri: Uri = format!("https://peer.internal/p?q={dress}").parse::<Uri>().unwrap_or_default();
        if uri.host().is_some() {
            let found = Scanner::new(&ledger, &here(), NOW).scan(&uri, &HeaderMap::new());
            assert_eq!(
                found.map_err(|finding| (finding.place, finding.kind)).err(),
                live.map(|kind| (Place::Target, kind))
            );
        }
    }
    assert_eq!(in_header(&ledger, &value.as_bytes()[1..]), None);
}

/// The two digits by which the alphabets differ count as digits of either.
#[test]
fn every_digit_of_either_alphabet_is_decoded() {
    let value = "api>>>>>-????????-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
    let ledger = kept(&[value]);
    let (standard, url) = (BASE64_STANDARD.encode(value), BASE64_URL_SAFE_NO_PAD.encode(value));
    assert!(['+', '/'].iter().all(|digit| standard.contains(*digit)));
    assert!(['-', '_'].iter().all(|digit| url.contains(*digit)));
    for text in [standard, url] {
        assert!(in_header(&ledger, text.as_bytes()).is_some(), "{text}");
        for size in [usize::MAX, 1] {
            assert!(in_body(&ledger, text.as_bytes(), size), "{text}");
        }
    }
}

/// A run of digits may be followed by as many others as it likes.
#[test]
fn what_follows_base64_hides_nothing() {
    let token = jwt("1");
    let ledger = kept(&[&token]);
    for before in ["", "x", "xx", "xxx", "xxxx"] {
        for after in ["", "y", "yy", "yyy", "yyyy"] {
            let text = format!("{before}{}{after}", BASE64_URL_SAFE_NO_PAD.encode(&token));
            assert!(in_header(&ledger, text.as_bytes()).is_some(), "{text}");
            assert!(in_body(&ledger, text.as_bytes(), 7), "{text}");
        }
    }
}

#[test]
fn a_value_is_looked_through_up_to_a_length() {
    let ledger = kept(&[&jwt("1")]);
    assert_eq!(in_header(&ledger, "x".repeat(64 * 1024).as_bytes()), None);
    assert_eq!(in_header(&ledger, "x".repeat(64 * 1024 + 1).as_bytes()), Some(FindingKind::TooLong));
    assert_eq!(in_header(&Ledger::bounded(), "x".repeat(64 * 1024 + 1).as_bytes()), None, "nothing is kept");
}

#[test]
fn a_value_that_is_too_short_needs_no_scanner() {
    let (opaque, token) = ("opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H", jwt("1"));
    let ledger = kept(&[opaque]);
    let could = |own: Option<&Facts>, length: usize| {
        Scanner::could_hold_one(&ledger, own, &"x".repeat(length).parse().unwrap())
    };
    assert!(could(None, opaque.len()) && !could(None, opaque.len() - 1));
    let mut own = verified_token(&token, 2000).facts().as_ref().clone();
    assert!(!could(Some(&own), opaque.len() - 1));
    own.fingerprinted_len = 5;
    assert!(could(Some(&own), 5) && !could(Some(&own), 4));
    let nothing = Ledger::bounded();
    assert!(!Scanner::could_hold_one(&nothing, None, &"x".repeat(9000).parse().unwrap()));
}

#[test]
fn trailers_are_looked_through_one_by_one() {
    let token = jwt("1");
    let ledger = kept(&[&token]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-a", "nothing".parse().unwrap());
    trailers.insert("x-b", token.parse().unwrap());
    trailers.insert("x-c", format!("t={token}").parse().unwrap());
    let here = here();
    let found: Vec<_> = Scanner::new(&ledger, &here, NOW).trailers(&trailers).collect();
    let kind = FindingKind::LiveCredential(Fingerprint::of_token(&token));
    let at = |name| Finding { place: Place::Trailer(HeaderName::from_static(name)), kind };
    assert_eq!(found, [at("x-b"), at("x-c")]);
}

/// The caller's own token may go where it was granted for, though it is no ledger entry of another kind.
#[test]
fn an_own_token_that_was_granted_may_go_there() {
    let token = jwt("1");
    let facts = verified_token(&token, 2000).facts().clone();
    let grant = Granted::assert_narrowed(RawToken::new(&token), facts.clone(), facts.fingerprint, NOW);
    let (here, other) = (here(), Destination::of(&Uri::from_static("https://other.internal/")).unwrap());
    let ledger = Ledger::bounded();
    ledger.remember_granted(&grant, &here, NOW).unwrap();
    let (name, value) = (HeaderName::from_static("x-note"), token.parse().unwrap());
    let to = |destination| Scanner::new(&ledger, destination, NOW).with_own(&facts).header(&name, &value);
    assert!(to(&here).is_ok());
    assert!(to(&other).is_err());
}

/// Past a window's length what was looked at is let go, and nothing that spans the cut is lost.
#[test]
fn long_bodies_hide_nothing() {
    let (token, long) = (jwt("1"), jwt(&"claims ".repeat(500)));
    let opaque = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
    let filler = "{\"name\":\"v\\n1.4.2\",\"q\":\"100%25\"} ".repeat(1000);
    for values in [&[&*token][..], &[&token, opaque], &[&long]] {
        let (ledger, value) = (kept(values), values[values.len() - 1]);
        for dress in [
            value.to_owned(),
            value.replace('.', "\\u002e").replace('-', "\\u002d"),
            value.replace('.', "%2e").replace('-', "%2D"),
            BASE64_STANDARD.encode(value),
            each(value, |byte| format!("{byte:02x}")),
        ] {
            let text = format!("{filler}{dress} and more");
            for size in [1000, 8192, 100_000] {
                assert!(in_body(&ledger, text.as_bytes(), size), "{dress} by {size}");
            }
        }
        assert!(!in_body(&ledger, filler.as_bytes(), 1000));
    }
}

#[test]
fn so_many_credentials_are_told_apart() {
    let tokens: Vec<String> = (0..70).map(|n| jwt(&n.to_string())).collect();
    let ledger = kept(&tokens.iter().map(String::as_str).collect::<Vec<_>>());
    let live = |n: usize| FindingKind::LiveCredential(Fingerprint::of_token(&tokens[n]));
    // In one chunk, each of them twice: 64 are told, each once.
    let mut scanner = BodyScanner::new(&ledger, None);
    let all = format!("{0} {0}", tokens.join(" "));
    assert_eq!(scanner.push(all.as_bytes(), NOW), Err(live(0)));
    for n in 1..64 {
        assert_eq!(scanner.pass(), Some(live(n)));
    }
    assert_eq!(scanner.pass(), None);
    // One by one: 64 are remembered as passed, and the next is told again.
    let mut scanner = BodyScanner::new(&ledger, None);
    for (n, token) in tokens.iter().enumerate().take(66) {
        assert_eq!(scanner.push(format!("{token} ").as_bytes(), NOW), Err(live(n)));
        assert_eq!(scanner.pass(), None);
    }
    for n in [0, 63] {
        assert!(scanner.push(format!("{} ", tokens[n]).as_bytes(), NOW).is_ok(), "{n}");
    }
    for n in [64, 65] {
        assert_eq!(scanner.push(format!("{} ", tokens[n]).as_bytes(), NOW), Err(live(n)));
        assert_eq!(scanner.pass(), None);
    }
}

#[test]
fn what_is_withheld_can_be_asked_for() {
    let value = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
    let mut scanner = BodyScanner::new(&kept(&[value]), None);
    let (beginning, last) = value.split_at(value.len() - 1);
    let released = scanner.push(beginning.as_bytes(), NOW).unwrap();
    assert_eq!(scanner.held(), beginning.len() as u64 - released);
    assert!(scanner.held() >= 15, "{}", scanner.held());
    assert!(scanner.push(last.as_bytes(), NOW).is_err());
}

/// The tail stands for more of the body, where it is encoded; of its first byte a part may leave. Whether
/// other digits stand before it, or it begins the run.
#[test]
fn the_tail_is_withheld_in_every_code() {
    let value = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
    let ledger = kept(&[value]);
    for before in ["before ".repeat(12), "b".to_owned(), String::new()] {
        let behind = format!("{before}{value}");
        let hex = each(&behind, |byte| format!("{byte:02x}"));
        for (dress, tail) in [
            (value.to_owned(), 14),
            (each(value, |byte| format!("%{byte:02x}")), 14 * 3),
            (each(value, |byte| format!("\\u{byte:04x}")), 14 * 6),
            (hex.clone(), 14 * 2),
            (BASE64_STANDARD.encode(&behind), 14 * 4 / 3),
            (BASE64_STANDARD.encode(&hex), 14 * 2 * 4 / 3),
            (each(&hex, |byte| format!("%{byte:02x}")), 14 * 2 * 3),
        ] {
            let (mut scanner, mut left) = (BodyScanner::new(&ledger, None), 0);
            let shows =
                dress.bytes().position(|byte| scanner.push(&[byte], NOW).map(|all| left = all).is_err());
            let withheld = shows.unwrap() as u64 + 1 - left;
            assert!(withheld >= tail, "{withheld} of {dress}");
        }
    }
}

/// JSON's short escapes stand for the bytes that they are.
#[test]
fn a_value_with_control_characters_is_found_as_json_writes_it() {
    for (byte, escape) in [('\u{8}', "\\b"), ('\u{c}', "\\f"), ('\t', "\\t"), ('\n', "\\n"), ('\r', "\\r")] {
        let value = format!("opaque{byte}7Qm2ZkV9xT4bLw8RnYc5Jd1H");
        let ledger = kept(&[&value]);
        let written = value.replace(byte, escape);
        assert!(BodyScanner::new(&ledger, None).push(written.as_bytes(), NOW).is_err(), "{escape}");
    }
}

#[test]
fn a_body_that_ends_where_a_token_shows_is_not_clear() {
    let token = jwt("1");
    let shows = token.rfind('.').unwrap() + 17;
    let own = verified_token(&token, 2000).facts().clone();
    for (ledger, own) in [(kept(&[&token]), None), (Ledger::bounded(), Some(own.as_ref()))] {
        assert!(!BodyScanner::is_clear(&ledger, own, &token.as_bytes()[..shows]));
        assert!(BodyScanner::is_clear(&ledger, own, &token.as_bytes()[..shows - 1]));
    }
}

/// What a signed token is without its signature is no credential, and a sentence may follow it.
#[test]
fn an_own_token_without_its_signature_passes() {
    let token = jwt("1");
    let own = verified_token(&token, 2000).facts().clone();
    let (unsigned, signature) = token.rsplit_once('.').unwrap();
    let found = |text: &str| {
        BodyScanner::new(&Ledger::bounded(), None).with_own(&own).push(text.as_bytes(), NOW).is_err()
    };
    assert!(!found(&format!("{unsigned}. And then a sentence.")));
    assert!(!found(&format!("{unsigned}.{}, say", &signature[..15])));
    assert!(found(&format!("{unsigned}.{}, say", &signature[..16])));
}

/// What was attached is known by its bytes, wherever they lie.
#[test]
fn what_was_attached_passes_in_its_place_alone() {
    let token = jwt("1");
    let (ledger, here) = (kept(&[&token]), here());
    let [attached, same]: [HeaderValue; 2] = [(); 2].map(|()| token.parse().unwrap());
    let scanner = Scanner::new(&ledger, &here, NOW).with_attached_in(&http::header::COOKIE, &attached);
    for value in [&attached, &same] {
        assert!(scanner.header(&http::header::COOKIE, value).is_ok());
        assert!(scanner.header(&http::header::FROM, value).is_err());
    }
}
