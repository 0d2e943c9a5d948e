//! A body past the scanner, cut in two ways: where its chunks end changes no verdict, and a body that is clear at
//! a glance holds nothing.
//!
//! The first line's bytes say how the body behind it is cut. `JWT` and `OPAQUE` in it stand for the live
//! credentials, plain or in a dress, so that the fuzzer need not guess 64 random characters.
#![no_main]

use std::sync::{Arc, LazyLock};

use hopguard_core::{
    ActorChain, BodyScanner, Confirmation, Facts, Fingerprint, Ledger, Presented, RawToken, ScopeSet, StackId, UnixTime,
    Verified,
};

const NOW: UnixTime = UnixTime::from_secs(1000);
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiIxIn0.3q2-7wAR_tCkFzIXb9Yw0sQeVnJm5LpU8aGh1TdRkNcXoE4vWyBfZ6iKjMlOuSrP";
const OPAQUE: &str = "at-7Qm2ZkV9xT4bLw8RnYc5Jd1HsUo3Gf6E";

static LEDGERS: LazyLock<[Ledger; 2]> = LazyLock::new(|| {
    let ledgers = [Ledger::bounded(), Ledger::bounded()];
    for (at, ledger) in ledgers.iter().enumerate() {
        for (text, structured) in [(JWT, true), (OPAQUE, false)].into_iter().take(1 + at) {
            let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(text), None);
            let verified = Verified::assert_genuine(presented, Arc::new(facts(text, structured)));
            ledger.remember_received(&verified, NOW).expect("room");
        }
    }
    ledgers
});

fn facts(text: &str, structured: bool) -> Facts {
    Facts {
        fingerprint: if structured { Fingerprint::of_token(text) } else { Fingerprint::of_bytes(text.as_bytes()) },
        issuer: "https://sts.internal".into(),
        subject: "alice".into(),
        client: None,
        audiences: ["https://orders.internal".into()].into(),
        expires: UnixTime::from_secs(2000),
        not_before: None,
        issued_at: None,
        token_id: None,
        scopes: ScopeSet::empty(),
        actors: ActorChain::empty(),
        may_act: None,
        confirmation: Confirmation::None,
        key_id: None,
        fingerprinted_len: if structured { text.rfind('.').unwrap_or(0) } else { text.len() },
        structured,
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        (0..=three.len()).map(move |at| char::from(DIGITS[bits >> (18 - 6 * at) & 63])).collect::<String>()
    };
    text.as_bytes().chunks(3).map(digits).collect()
}

/// What the placeholders stand for.
fn dressed(body: &str) -> String {
    let lines = |text: String| {
        text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\r\n")
    };
    body.replace("JWT64", &base64(JWT))
        .replace("JWTLINES", &lines(base64(JWT)))
        .replace("JWTHEX", &hex(JWT))
        .replace("JWTESCAPED", &JWT.replace('.', "\\u002e"))
        .replace("JWT", JWT)
        .replace("OPAQUE64", &base64(OPAQUE))
        .replace("OPAQUEPERCENT", &OPAQUE.replace('-', "%2d"))
        .replace("OPAQUE", OPAQUE)
}

/// Where the scanner refuses, and what may have left by then.
fn verdict(ledger: &Ledger, body: &[u8], sizes: &[usize]) -> (bool, u64) {
    let mut scanner = BodyScanner::new(ledger, None);
    let (mut rest, mut left, mut sizes) = (body, 0, sizes.iter().cycle());
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((*sizes.next().unwrap_or(&1)).clamp(1, rest.len()));
        match scanner.push(chunk, NOW) {
            Ok(released) => left = released,
            Err(_) => return (true, left),
        }
        rest = after;
    }
    (false, body.len() as u64)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (sizes, body) = data.split_at(data.iter().position(|&byte| byte == b'\n').unwrap_or(0));
    let sizes: Vec<usize> = sizes.iter().take(16).copied().map(usize::from).collect();
    let body = dressed(&String::from_utf8_lossy(body)).into_bytes();
    for ledger in &*LEDGERS {
        let (whole, _) = verdict(ledger, &body, &[usize::MAX]);
        let (cut, left) = verdict(ledger, &body, &sizes);
        assert_eq!(whole, cut, "where the chunks end changed the verdict");
        assert!(!(whole && BodyScanner::is_clear(ledger, None, &body)), "clear at a glance, and yet it holds one");
        if cut {
            let left = usize::try_from(left).expect("as long as a body");
            assert!(!verdict(ledger, &body[..left], &[usize::MAX]).0, "what left is a credential");
        }
    }
});
