//! Tokens whose shape is not the usual one are redacted all the same.

use hopguard_core::redacted;

/// JSON may begin with a space or a line break (RFC 8259 section 2), and the verifier reads such tokens.
const SPACED: &str = "eyAiYWxnIjoiRVMyNTYiLCJraWQiOiJhIn0.eyAiaXNzIjoiaHR0cHM6Ly9zdHMuaW50ZXJuYWwiLCJzdWIiOiJhbGljZSJ9.c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzcw";
/// `Bearer ` and a token, and `a:` and a token, in base64: two of the three alignments.
const ENCODED: [&str; 2] = [
    "QmVhcmVyIGV5SmhiR2NpT2lKRlV6STFOaUlzSW10cFpDSTZJbUVpZlEuZXlKcGMzTWlPaUpvZEhSd2N6b3ZMM04wY3k1cGJuUmxjbTVoYkNJc0luTjFZaUk2SW1Gc2FXTmxJbjAuYzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056Y3c=",
    "YTpleUpoYkdjaU9pSkZVekkxTmlJc0ltdHBaQ0k2SW1FaWZRLmV5SnBjM01pT2lKb2RIUndjem92TDNOMGN5NXBiblJsY201aGJDSXNJbk4xWWlJNkltRnNhV05sSW4wLmMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemMzTnpjM056YzNOemN3",
];

#[test]
fn a_token_whose_json_begins_with_a_space_is_not_shown() {
    assert_ne!(redacted(SPACED), SPACED);
}

#[test]
fn a_token_in_base64_is_not_shown_at_any_alignment() {
    for encoded in ENCODED {
        assert_ne!(redacted(encoded), encoded);
    }
}
