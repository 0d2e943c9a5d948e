//! The `Authorization` headers of a request, one in each line.
#![no_main]

libfuzzer_sys::fuzz_target!(|lines: &[u8]| {
    let Some(Ok(token)) = hopguard_tower::fuzzing::authorization(lines) else { return };
    // One header, one scheme, one token of RFC 9110's alphabet, and nothing else beside spaces.
    assert!(!lines.contains(&b'\n'), "a token out of two headers");
    let text = std::str::from_utf8(lines).expect("a token out of what is no text");
    let (scheme, rest) = text.split_once(' ').expect("a token without a scheme");
    assert!(scheme.eq_ignore_ascii_case("bearer") && *rest.trim_matches(' ') == *token, "another token");
    let body = token.trim_end_matches('=');
    let listed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    assert!(!body.is_empty() && body.chars().all(listed), "a token of other characters");
});
