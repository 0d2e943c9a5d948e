//! What a text costs, and what it keeps: told exactly, because less would be found no worse.

use super::*;
use crate::evidence_for_tests::{opaque_token, verified_token};

const NOW: UnixTime = UnixTime::from_secs(1000);
const OPAQUE: &str = "opaque-7Qm2ZkV9xT4bLw8RnYc5Jd1H";
/// Forty bytes in front of the signature's dot.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJhYmMifQ.c2lnbmF0dXJlc2lnbmF0dXJl";
const SIZES: [usize; 4] = [usize::MAX, 1, 7, 64];

fn structured() -> Ledger {
    let ledger = Ledger::bounded();
    ledger.remember_received(&verified_token(TOKEN, 2000), NOW).unwrap();
    ledger
}

fn opaque() -> Ledger {
    let ledger = Ledger::bounded();
    ledger.remember_received(&opaque_token(OPAQUE, 2000), NOW).unwrap();
    ledger
}

/// How often a text of these bytes, fed by so many, does that.
fn cost(cost: Cost, ledger: &Ledger, bytes: &str, size: usize) -> usize {
    let looking = Looking::new(ledger, None, None, NOW).unwrap();
    let mut text = Text::new(1, 1);
    let times = costs::of(cost, || {
        bytes.as_bytes().chunks(size).for_each(|chunk| text.feed(&looking, chunk));
    });
    assert!(looking.into_found().is_empty(), "{bytes}");
    times
}

/// Four digits hide three bytes, or two of hexadecimal one.
#[test]
fn so_many_digits_hide_so_many_bytes() {
    for (bytes, base64, hex) in [(0, 1, 1), (1, 1, 2), (16, 21, 32), (20, 26, 40), (300, 400, 600)] {
        assert_eq!((Code::Base64.digits(bytes), Code::Hex.digits(bytes)), (base64, hex));
    }
}

#[test]
fn what_is_looked_for_says_how_much_is_kept() {
    let own = verified_token(TOKEN, 2000).facts().clone();
    let shown = own.fingerprinted_len + 17;
    for (ledger, own) in [(structured(), None), (Ledger::bounded(), Some(own.as_ref()))] {
        let looking = Looking::new(&ledger, None, own, NOW).unwrap();
        assert_eq!((looking.begin, looking.keep), (shown, 4 * shown));
    }
    let ledger = opaque();
    let looking = Looking::new(&ledger, None, None, NOW).unwrap();
    assert_eq!((looking.begin, looking.keep), (16, 4 * OPAQUE.len()));
    // However long a token is, its window is bounded.
    let long = format!("a.{}.{}", "b".repeat(70_000), "c".repeat(40));
    ledger.remember_received(&verified_token(&long, 2000), NOW).unwrap();
    assert_eq!(Looking::new(&ledger, None, None, NOW).unwrap().keep, 4 * 65_536);
}

#[test]
fn a_buffer_is_made_once_and_cut_when_it_must_be() {
    let ledger = opaque();
    let looking = Looking::new(&ledger, None, None, NOW).unwrap();
    let mut short = Text::new(1, 1);
    short.feed(&looking, &[b' '; 100]);
    assert!(short.buffer.capacity() < 1000, "{}", short.buffer.capacity());
    let mut long = Text::new(1, 1);
    for _ in 0..20 {
        long.feed(&looking, &[b' '; BLOCK]);
        assert_eq!(long.buffer.capacity(), looking.keep + 3 * BLOCK);
    }
    let mut text = Text::new(1, 1);
    text.feed(&looking, &vec![b' '; looking.keep + 2 * BLOCK]);
    assert_eq!((text.base, text.buffer.len()), (0, looking.keep + 2 * BLOCK));
    text.feed(&looking, b" ");
    assert_eq!((text.base, text.buffer.len()), (2 * BLOCK as u64 + 1, looking.keep));
}

/// Each place is hashed once, a beginning nominated once, and what is withheld is the tail and no more than two
/// bytes.
#[test]
fn an_opaque_credential_is_followed_once() {
    let ledger = opaque();
    let text = format!("before {} and after", &OPAQUE[..30]);
    let looking = Looking::new(&ledger, None, None, NOW).unwrap();
    for size in SIZES {
        let mut whole = Text::new(0, 1);
        let feed = || text.as_bytes().chunks(size).for_each(|chunk| whole.feed(&looking, chunk));
        assert_eq!(costs::of(Cost::Window, feed), text.len() - 15, "by {size}");
    }
    for factor in [1, 3] {
        let mut text = Text::new(1, factor);
        for (place, byte) in OPAQUE.bytes().take(30).enumerate() {
            text.feed(&looking, &[byte]);
            assert_eq!(text.nominees.len(), usize::from(place >= 15));
            let tail = (place as u64 + 1).saturating_sub(16);
            let held = if tail == 0 { 0 } else { (tail + 2) * factor };
            assert_eq!(text.held(&looking), held, "{place}");
        }
    }
}

/// What a sentence ends with is no credential, and is not hashed to learn that.
#[test]
fn dots_are_hashed_where_a_token_could_end() {
    let mut own = verified_token(TOKEN, 2000).facts().as_ref().clone();
    let ledger = Ledger::bounded();
    let hashes = |own: &Facts, text: &str| {
        let looking = Looking::new(&ledger, None, Some(own), NOW).unwrap();
        costs::of(Cost::Hash, || Text::new(1, 1).feed(&looking, text.as_bytes()))
    };
    let words = "words ".repeat(20);
    let (dotless, dotted) = (format!("{words}.{words}"), format!("{words}.abc.defghijklmnopqrstuvw"));
    assert_eq!(hashes(&own, &dotless), 0);
    assert_eq!(hashes(&own, &format!("{words}.defghijklmnopqrstuvw")), 0);
    assert_eq!(hashes(&own, &dotted), 1);
    own.structured = false;
    assert_eq!(hashes(&own, &dotted), 0);
}

#[test]
fn only_what_hides_something_matters() {
    for byte in 0..=u8::MAX {
        let hides = byte.is_ascii_alphanumeric() || b".%\\+/-_".contains(&byte);
        assert_eq!(Care::Structured.matters(byte), hides, "{byte}");
        assert_eq!(Care::Bearer.matters(byte), hides || byte == b'~' || byte == b'=', "{byte}");
        assert!(Care::Anything.matters(byte));
    }
    // A line break, behind a line of digits.
    for (line, care, matters) in [
        ("abcd1234", Care::Bearer, true),
        ("/abcd1234", Care::Structured, true),
        ("abcd123", Care::Bearer, false),
        ("abcd 234", Care::Bearer, false),
        ("\nabcd123", Care::Bearer, false),
        ("abcd 234", Care::Anything, true),
    ] {
        for sign in ["\\n", "\\r", "\\u000a"] {
            let found = what(b'\\', care, format!("{line}{sign}").as_bytes(), line.len());
            assert_eq!(matches!(found, Mark::Matters), matters, "{line}");
        }
        let found = what(b'%', care, format!("{line}%0D").as_bytes(), line.len());
        assert_eq!(matches!(found, Mark::Matters), matters, "{line}");
    }
}

/// A decoded text is kept for a window behind the last escape, to the byte.
#[test]
fn escapes_are_followed_as_far_as_a_credential_reaches() {
    let ledger = structured();
    let looking = Looking::new(&ledger, None, None, NOW).unwrap();
    let keep = looking.keep;
    for escape in ["%41", "\\u0041"] {
        let gap = " ".repeat(keep - escape.len());
        for size in SIZES {
            let texts = |text: &str| cost(Cost::Text, &ledger, text, size);
            assert_eq!(texts(&format!("{gap}{gap}")), 0, "nothing is decoded");
            assert_eq!(texts(&format!("{escape}{gap}{escape}{gap}{escape}")), 1, "by {size}");
            assert_eq!(texts(&format!("{escape}{gap} {escape}{gap} {escape}")), 3, "by {size}");
        }
        let mut text = Text::new(1, 1);
        let opened = |text: &Text| text.percent.text.is_some() || text.json.text.is_some();
        text.feed(&looking, format!("{escape}{gap}").as_bytes());
        assert!(opened(&text));
        text.feed(&looking, b" ");
        assert!(!opened(&text));
    }
}

/// Each byte is looked at once for each code, and a run decoded once, from where it is long enough.
#[test]
fn runs_are_decoded_where_they_are_long_enough() {
    let ledger = structured();
    let looking = Looking::new(&ledger, None, None, NOW).unwrap();
    // No digit of hexadecimal, and one.
    for (code, digit, texts) in [(Code::Base64, "g", 4), (Code::Hex, "a", 6)] {
        let length = code.digits(looking.begin);
        let (short, enough) = (digit.repeat(length - 1), digit.repeat(length));
        let base64 = Code::Base64.digits(looking.begin);
        for size in SIZES {
            let count = |what: Cost, text: &str| cost(what, &ledger, text, size);
            let apart = format!("!{enough}!{enough} ");
            assert_eq!(count(Cost::Text, &apart), 2 * texts, "by {size}");
            if code == Code::Base64 {
                for text in [&short, &format!("{short}!{short}! {short}"), &format!("!!{short} !! ")] {
                    assert_eq!(count(Cost::Text, text), 0, "by {size}");
                    assert_eq!(count(Cost::Digit, text), 0, "by {size}");
                    assert_eq!(count(Cost::Look, text), 2 * text.len(), "by {size}");
                }
                let after = format!("{enough}!{short}!{short}!");
                assert_eq!(count(Cost::Text, &after), texts, "by {size}");
                assert_eq!(count(Cost::Digit, &after), length, "by {size}");
                // What ended the run that was decoded was seen by then.
                assert_eq!(count(Cost::Look, &after), 2 * after.len() - 1, "by {size}");
            } else {
                // Too short for hexadecimal, and long enough for base64.
                assert_eq!(count(Cost::Text, &short), 4, "by {size}");
                assert_eq!(count(Cost::Digit, &short), length - 1, "by {size}");
                assert_eq!(count(Cost::Digit, &enough), 2 * length, "by {size}");
                assert_eq!(count(Cost::Look, &enough), base64 + length, "by {size}");
            }
        }
    }
}

/// All but what begins or ends a run is decoded by fours or by twos.
#[test]
fn digits_are_decoded_many_at_a_time() {
    let ledger = structured();
    let looking = Looking::new(&ledger, None, None, NOW).unwrap();
    let digits = |code: Code| code.digits(looking.begin);
    let run = "g".repeat(digits(Code::Base64) * 4);
    assert_eq!(cost(Cost::Single, &ledger, &run, usize::MAX), 3 + 2 + 1);
    // What is left of one part waits for what the next begins with.
    assert!(cost(Cost::Single, &ledger, &run, 64) <= run.len().div_ceil(64) * 4 * 6);
    let run = "a".repeat(digits(Code::Hex) * 4);
    assert_eq!(cost(Cost::Single, &ledger, &run, usize::MAX), 3 + 2 + 1 + 1);
}

/// Whether it is or not, so short a body holds no credential.
#[test]
fn what_is_too_short_is_clear_unread() {
    let own = verified_token(TOKEN, 2000).facts().clone();
    for (ledger, own) in [(structured(), None), (Ledger::bounded(), Some(own.as_ref()))] {
        let shown = TOKEN.rfind('.').unwrap() + 17;
        let body = format!("%41{}", " ".repeat(shown - 3));
        assert!(!is_clear(&ledger, own, body.as_bytes()));
        assert!(is_clear(&ledger, own, &body.as_bytes()[..shown - 1]));
    }
}
