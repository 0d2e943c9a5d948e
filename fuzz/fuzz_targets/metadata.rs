//! A discovery document.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    // What our reader takes for a document, a general one takes for the same kind of document.
    if hopguard_verify::fuzzing::metadata(text) {
        let read = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text);
        assert!(read.is_ok(), "ours alone reads it: {read:?}");
    }
});
