//! Does the JOSE header ask only for what this verifier does? (RFC 7515 section 4, RFC 8725 section 3)

use std::borrow::Cow;

use hopguard_core::Denial;

use crate::algorithm::Algorithm;
use crate::json::{self, Claim, Object, names};

names!(Member {
    Alg = b"alg",
    Typ = b"typ",
    Kid = b"kid",
    Crit = b"crit",
    B64 = b"b64",
    Jwk = b"jwk",
    Jku = b"jku",
    X5u = b"x5u",
    X5c = b"x5c",
    X5t = b"x5t",
    X5tS256 = b"x5t#S256",
    Cty = b"cty",
    Enc = b"enc",
    Zip = b"zip",
    Url = b"url",
    Nonce = b"nonce",
});

/// What a header says, as far as it matters.
#[derive(Debug)]
pub(crate) struct Header<'a>(Object<'a, Member>);

impl<'a> Header<'a> {
    /// Reads a decoded header.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Denial> {
        let header = Self(json::read(text).map_err(|_| Denial::TokenMalformed)?);
        // A registered parameter of the wrong type is one that another reader stumbles over or reads otherwise.
        let texts =
            [Member::X5t, Member::X5tS256, Member::Cty, Member::Enc, Member::Zip, Member::Url, Member::Nonce];
        let is_odd = texts.into_iter().any(|name| header.0.of(name).text() == Claim::Wrong);
        if is_odd { Err(Denial::TokenMalformed) } else { Ok(header) }
    }

    fn has_any(&self, names: &[Member]) -> bool {
        names.iter().any(|&name| !self.0.of(name).is_absent())
    }

    fn text(&self, name: Member) -> Claim<Cow<'a, str>> {
        self.0.of(name).text()
    }

    /// What it asks for, if an issuer may.
    pub(crate) fn asks(&self) -> Result<Asked<'a>, Denial> {
        let (algorithm, key_id, typ) = (self.algorithm()?, self.key_id()?, self.text(Member::Typ));
        // Media types have no case, and `application/` may be left out (RFC 7515 section 4.1.9).
        let accepted = ["at+jwt", "application/at+jwt"];
        let is = |typ: &str| accepted.iter().any(|one| typ.eq_ignore_ascii_case(one));
        let is_access_token = matches!(&typ, Claim::Is(typ) if is(typ));
        Ok(Asked { algorithm, key_id, typ, is_access_token })
    }

    fn algorithm(&self) -> Result<Algorithm, Denial> {
        // `b64` without `crit` is as unreadable as with it (RFC 7797 section 6).
        if self.has_any(&[Member::Crit, Member::B64]) {
            return Err(Denial::CriticalHeader);
        }
        // INVARIANT: I8 — the key comes from the issuer's set, never from the token.
        if self.has_any(&[Member::Jwk, Member::Jku, Member::X5u, Member::X5c]) {
            return Err(Denial::KeyInHeader);
        }
        match self.text(Member::Alg) {
            Claim::Is(name) => Algorithm::of(&name).ok_or(Denial::AlgorithmRefused),
            Claim::Absent | Claim::Wrong => Err(Denial::AlgorithmRefused),
        }
    }

    /// `kid`, if there is one.
    pub(crate) fn key_id(&self) -> Result<Option<Cow<'a, str>>, Denial> {
        match self.text(Member::Kid) {
            Claim::Is(id) => Ok(Some(id)),
            Claim::Absent => Ok(None),
            Claim::Wrong => Err(Denial::TokenMalformed),
        }
    }
}

/// What a header asks for. It follows from the header's text, and from nothing else.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<Cow<'a, str>>,
    typ: Claim<Cow<'a, str>>,
    /// Its type is an access token's (RFC 9068 section 4).
    is_access_token: bool,
}

impl Asked<'_> {
    /// The same, for whoever keeps it longer than the text.
    pub(crate) fn to_owned(&self) -> Asked<'static> {
        let owned = |text: &Cow<'_, str>| Cow::Owned(text.to_string());
        Asked {
            algorithm: self.algorithm,
            key_id: self.key_id.as_ref().map(owned),
            typ: match &self.typ {
                Claim::Is(typ) => Claim::Is(owned(typ)),
                Claim::Absent => Claim::Absent,
                Claim::Wrong => Claim::Wrong,
            },
            is_access_token: self.is_access_token,
        }
    }

    /// `typ`, if there is one; what is there and no text is no access token's.
    pub(crate) fn typ(&self) -> Result<Option<&str>, Denial> {
        match &self.typ {
            Claim::Is(typ) => Ok(Some(typ)),
            Claim::Absent => Ok(None),
            Claim::Wrong => Err(Denial::TokenTypeMismatch),
        }
    }

    /// Refuses any type but an access token's (RFC 9068 section 4).
    pub(crate) fn is_access_token(&self) -> Result<(), Denial> {
        if self.is_access_token { Ok(()) } else { Err(Denial::TokenTypeMismatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn header(text: &str, expected: Result<Algorithm, &str>) {
        let found = Header::read(text.as_bytes()).and_then(|header| {
            let asked = header.asks()?;
            asked.is_access_token()?;
            Ok(asked.algorithm)
        });
        assert_eq!(found.as_ref().map_err(Denial::code), expected.as_ref().map_err(|code| *code), "{text}");
    }

    #[test]
    fn only_access_tokens() {
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            header(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), Ok(Algorithm::Es256));
        }
        for typ in [
            r#""JWT""#,
            r#""jwt""#,
            r#""logout+jwt""#,
            r#""dpop+jwt""#,
            r#""client-authentication+jwt""#,
            r#""txntoken+jwt""#,
            r#""at+jwt ""#,
            r#""text/at+jwt""#,
            r#""""#,
            "null",
            "1",
            r#"["at+jwt"]"#,
        ] {
            header(&format!(r#"{{"alg":"ES256","typ":{typ}}}"#), Err("token_type_mismatch"));
        }
        header(r#"{"alg":"ES256"}"#, Err("token_type_mismatch"));
    }

    #[test]
    fn only_known_signatures() {
        for (name, algorithm) in [
            ("ES384", Algorithm::Es384),
            ("ES512", Algorithm::Es512),
            ("RS256", Algorithm::Rs256),
            ("RS384", Algorithm::Rs384),
            ("RS512", Algorithm::Rs512),
            ("PS256", Algorithm::Ps256),
            ("PS384", Algorithm::Ps384),
            ("PS512", Algorithm::Ps512),
            ("EdDSA", Algorithm::EdDsa),
            ("Ed25519", Algorithm::EdDsa),
        ] {
            header(&format!(r#"{{"alg":"{name}","typ":"at+jwt"}}"#), Ok(algorithm));
        }
        for alg in [
            r#""none""#,
            r#""None""#,
            r#""nOnE""#,
            r#""NONE""#,
            r#""HS256""#,
            r#""HS512""#,
            r#""es256""#,
            r#""ES256K""#,
            r#""RSA-OAEP""#,
            r#""dir""#,
            r#""Ed448""#,
            r#""ES256 ""#,
            r#""""#,
            "null",
            "256",
            r#"["ES256"]"#,
        ] {
            header(&format!(r#"{{"alg":{alg},"typ":"at+jwt"}}"#), Err("algorithm_refused"));
        }
        header(r#"{"typ":"at+jwt"}"#, Err("algorithm_refused"));
    }

    #[test]
    fn nothing_critical_and_no_key_of_its_own() {
        for member in
            [r#""crit":["b64"]"#, r#""crit":[]"#, r#""crit":null"#, r#""b64":false"#, r#""b64":true"#]
        {
            header(&format!(r#"{{"alg":"ES256","typ":"at+jwt",{member}}}"#), Err("critical_header"));
        }
        for member in
            [r#""jwk":{}"#, r#""jku":"https://x""#, r#""x5u":"https://x""#, r#""x5c":[]"#, r#""jwk":null"#]
        {
            header(&format!(r#"{{"alg":"ES256","typ":"at+jwt",{member}}}"#), Err("key_in_header"));
        }
        header(r#"{"alg":"ES256","typ":"at+jwt","cr\u0069t":["x"]}"#, Err("critical_header"));
        header(r#"{"alg":"ES256","typ":"at+jwt","x5t":"abc","private":{"a":[1]}}"#, Ok(Algorithm::Es256));
    }

    #[test]
    fn what_is_not_strict_json_is_malformed() {
        header(r#"{"alg":"none","alg":"ES256","typ":"at+jwt"}"#, Err("token_malformed"));
        header(r#"{"alg":"ES256","typ":"at+jwt","kid":7}"#, Err("token_malformed"));
        for name in ["cty", "x5t", "x5t#S256", "enc", "zip", "url", "nonce"] {
            header(&format!(r#"{{"alg":"ES256","typ":"at+jwt","{name}":"a"}}"#), Ok(Algorithm::Es256));
            for value in ["1", "true", "null", "[]", r#"{"a":"b"}"#] {
                let text = format!(r#"{{"alg":"ES256","typ":"at+jwt","{name}":{value}}}"#);
                header(&text, Err("token_malformed"));
            }
        }
        header(r#"["ES256"]"#, Err("token_malformed"));
        header("", Err("token_malformed"));
    }
}
