//! A whole token, as it stands in the Authorization header. The key that would verify it is in no corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    assert!(!hopguard_verify::fuzzing::token(text), "a token was accepted that nobody signed");
});
