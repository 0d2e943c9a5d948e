//! What the claims say, read strictly (RFC 9068 section 2.2, RFC 8693 section 4, RFC 7800).
//!
//! Reading notes what is there and of which kind; nothing is judged before the signature is.

mod parties;
mod confirmation;

use std::borrow::Cow;
use std::sync::Arc;

use hopguard_core::{ActorChain, Denial, Facts, Fingerprint, ScopeSet, UnixTime};

use self::confirmation::confirmation;
use self::parties::{actors, may_act};
use crate::alike::Alike;
use crate::json::{self, Claim, Object, Value, names};
use crate::profile::Named;

/// The last second of the year 9999: later than any honest claim, early enough for any arithmetic.
const LATEST: u64 = 253_402_300_799;

names!(Member {
    Iss = b"iss",
    Sub = b"sub",
    Aud = b"aud",
    Exp = b"exp",
    Nbf = b"nbf",
    Iat = b"iat",
    Jti = b"jti",
    ClientId = b"client_id",
    Scope = b"scope",
    Act = b"act",
    MayAct = b"may_act",
    Cnf = b"cnf",
});

type Text<'a> = Cow<'a, str>;

/// The claims of one token, as they stand there.
#[derive(Debug)]
pub(crate) struct Claims<'a>(Object<'a, Member>);

/// What identifies a token whose signature was checked.
pub(crate) struct Origin<'a> {
    pub(crate) issuer: &'a Arc<str>,
    pub(crate) key_id: Option<&'a Arc<str>>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) fingerprinted_len: usize,
    pub(crate) alike: &'a Alike,
}

impl<'a> Claims<'a> {
    /// Reads a decoded payload.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Denial> {
        json::read(text).map(Self).map_err(|_| Denial::TokenMalformed)
    }

    /// `iss`, unverified: good for choosing whose keys to try, and for nothing else.
    pub(crate) fn unverified_issuer(&self) -> Result<Text<'a>, Denial> {
        present(required(self.text(Member::Iss))?)
    }

    fn text(&self, name: Member) -> Claim<Text<'a>> {
        self.of(name).text()
    }

    fn of(&self, name: Member) -> Value<'a> {
        self.0.of(name)
    }

    /// The facts, if every claim that RFC 9068 requires is there and each is what it must be. `named` is what another
    /// profile found under names of its own.
    pub(crate) fn facts(
        &self,
        origin: &Origin<'_>,
        named: Option<Named>,
        actors_at_most: usize,
    ) -> Result<Facts, Denial> {
        let alike = origin.alike;
        let (aud, act) = (self.of(Member::Aud), self.of(Member::Act));
        // INVARIANT: I14 — what is absent is never taken for something.
        let audiences = alike.audiences.of(aud.raw(), || audiences(aud))?;
        let actors = match act.is_absent() {
            true => ActorChain::empty(),
            false => alike.actors.of(act.raw(), || actors(act, actors_at_most))?,
        };
        let named = match named {
            Some(named) => {
                // Named otherwise or not, what RFC 9068 has a name for is of its type, or the token is not
                // what it seems.
                optional(self.text(Member::ClientId))?.map(present).transpose()?;
                optional(self.text(Member::Jti))?.map(present).transpose()?;
                if !named.in_scope {
                    optional(self.text(Member::Scope))?;
                }
                named
            }
            None => Named {
                in_scope: true,
                client: client(&present(required(self.text(Member::ClientId))?)?, alike)?,
                token_id: Some(filled(required(self.text(Member::Jti))?)?),
                scopes: match optional(self.text(Member::Scope))? {
                    Some(list) => {
                        alike.scopes.of(&list, || ScopeSet::parse(&list).map_err(|_| Denial::ClaimInvalid))?
                    }
                    None => ScopeSet::empty(),
                },
            },
        };
        Ok(Facts {
            fingerprint: origin.fingerprint,
            issuer: origin.issuer.clone(),
            subject: filled(required(self.text(Member::Sub))?)?,
            client: Some(named.client),
            audiences,
            expires: instant(required(self.of(Member::Exp).integer())?)?,
            not_before: optional(self.of(Member::Nbf).integer())?.map(instant).transpose()?,
            issued_at: Some(instant(required(self.of(Member::Iat).integer())?)?),
            token_id: named.token_id,
            scopes: named.scopes,
            actors,
            may_act: may_act(self.of(Member::MayAct))?,
            confirmation: confirmation(self.of(Member::Cnf))?,
            key_id: origin.key_id.cloned(),
            fingerprinted_len: origin.fingerprinted_len,
            structured: true,
        })
    }
}

/// `aud`: at least one, and each with a name.
fn audiences(aud: Value<'_>) -> Result<Arc<[Box<str>]>, Denial> {
    let named = required(aud.texts())?;
    if named.is_empty() { Err(Denial::ClaimInvalid) } else { named.into_iter().map(filled).collect() }
}

/// The name of a client, shared with other tokens.
pub(crate) fn client(name: &str, alike: &Alike) -> Result<Arc<str>, Denial> {
    alike.clients.of(name, || Ok(name.into()))
}

fn required<T>(claim: Claim<T>) -> Result<T, Denial> {
    optional(claim)?.ok_or(Denial::ClaimMissing)
}

fn optional<T>(claim: Claim<T>) -> Result<Option<T>, Denial> {
    match claim {
        Claim::Is(value) => Ok(Some(value)),
        Claim::Absent => Ok(None),
        Claim::Wrong => Err(Denial::ClaimInvalid),
    }
}

fn filled<T: for<'a> From<&'a str>>(text: Text<'_>) -> Result<T, Denial> {
    present(text).map(|text| T::from(&text))
}

fn present(text: Text<'_>) -> Result<Text<'_>, Denial> {
    if text.is_empty() { Err(Denial::ClaimInvalid) } else { Ok(text) }
}

fn instant(seconds: u64) -> Result<UnixTime, Denial> {
    if seconds > LATEST { Err(Denial::ClaimInvalid) } else { Ok(UnixTime::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use hopguard_core::{Actor, Confirmation};
    use serde_json::{Value, json};

    use super::*;

    fn facts_of(text: &str) -> Result<Facts, Denial> {
        let claims = Claims::read(text.as_bytes())?;
        claims.unverified_issuer()?;
        let issuer = Arc::from("https://sts.internal");
        let fingerprint = Fingerprint::of_token("a.b.c");
        let alike = &Alike::default();
        let origin = Origin { issuer: &issuer, key_id: None, fingerprint, fingerprinted_len: 3, alike };
        claims.facts(&origin, None, 8)
    }

    fn good() -> Value {
        json!({
            "iss": "https://sts.internal", "sub": "alice", "aud": "https://orders.internal",
            "client_id": "web", "jti": "1", "iat": 1000, "exp": 1300,
        })
    }

    fn with(name: &str, value: Value) -> Result<Facts, Denial> {
        let mut claims = good();
        claims[name] = value;
        facts_of(&claims.to_string())
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a table of literals reads better")]
    fn refused(name: &str, value: Value, code: &str) {
        assert_eq!(
            with(name, value.clone()).as_ref().map_err(Denial::code).err(),
            Some(code),
            "{name}: {value}"
        );
    }

    #[test]
    fn what_rfc_9068_requires_is_required() {
        facts_of(&good().to_string()).unwrap();
        for name in ["iss", "sub", "aud", "client_id", "jti", "iat", "exp"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(name);
            assert_eq!(facts_of(&claims.to_string()), Err(Denial::ClaimMissing), "{name}");
        }
    }

    #[test]
    fn texts_are_texts_and_not_empty() {
        for name in ["iss", "sub", "client_id", "jti"] {
            for value in [json!(""), json!(1), json!(null), json!(["a"]), json!({"a": 1}), json!(true)] {
                refused(name, value, "claim_invalid");
            }
        }
        for value in [json!(["orders:read"]), json!(1), json!(null), json!("a\tb"), json!("a\"b"), json!("ä")]
        {
            refused("scope", value, "claim_invalid");
        }
        assert!(with("scope", json!("")).unwrap().scopes.is_empty());
        assert_eq!(with("scope", json!("b a a")).unwrap().scopes, ScopeSet::parse("a b").unwrap());
    }

    #[test]
    fn dates_are_integers_within_the_calendar() {
        for name in ["exp", "nbf", "iat"] {
            with(name, json!(0)).unwrap();
            with(name, json!(LATEST)).unwrap();
            for value in [
                json!(LATEST + 1),
                json!(u64::MAX),
                json!(-1),
                json!(1300.0),
                json!(1e10),
                json!("1300"),
                json!(null),
                json!([1300]),
                json!({}),
                json!(true),
            ] {
                refused(name, value, "claim_invalid");
            }
        }
        let huge = good().to_string().replace("1300", "1e400");
        assert_eq!(facts_of(&huge), Err(Denial::TokenMalformed));
    }

    #[test]
    fn audiences_are_one_text_or_several() {
        assert_eq!(*with("aud", json!("a")).unwrap().audiences, ["a".into()]);
        assert_eq!(*with("aud", json!(["a", "b"])).unwrap().audiences, ["a".into(), "b".into()]);
        for value in [
            json!(""),
            json!([]),
            json!([""]),
            json!(["a", 1]),
            json!(["a", ""]),
            json!({"a": 1}),
            json!(1),
            json!(null),
            json!([["a"]]),
        ] {
            refused("aud", value, "claim_invalid");
        }
    }

    #[test]
    fn actors_are_nested_objects() {
        let chain =
            with("act", json!({"sub": "orders", "x": {}, "act": {"iss": "https://i", "sub": "gateway"}}));
        let inner = Actor { subject: "gateway".into(), issuer: Some("https://i".into()) };
        assert_eq!(chain.unwrap().actors.actors(), [Actor::new("orders"), inner]);
        for value in [
            json!("orders"),
            json!(["orders"]),
            json!({}),
            json!({"sub": 1}),
            json!({"sub": ""}),
            json!(null),
            json!({"sub": "a", "act": "b"}),
            json!({"sub": "a", "act": {}}),
            json!({"sub": "a", "iss": 1}),
            json!({"sub": "a", "act": null}),
            json!({"act": {"sub": "a"}}),
            json!({"sub": "a", "iss": ""}),
        ] {
            refused("act", value, "claim_invalid");
        }
        let nested =
            |depth| (1..depth).fold(json!({"sub": "a"}), |inner, _| json!({"sub": "a", "act": inner}));
        assert_eq!(with("act", nested(8)).unwrap().actors.depth(), 8);
        refused("act", nested(9), "claim_invalid");
        refused("act", nested(40), "token_malformed");
    }

    /// What is shared between tokens is what both say, whatever was read before.
    #[test]
    fn a_chain_is_its_own_tokens_and_shared_where_it_is_the_same() {
        let (issuer, alike) = (Arc::from("https://sts.internal"), Alike::default());
        let chain = |act: &Value| {
            let mut claims = good();
            claims["act"] = act.clone();
            let (text, fingerprint) = (claims.to_string(), Fingerprint::of_token("a.b.c"));
            let origin =
                Origin { issuer: &issuer, key_id: None, fingerprint, fingerprinted_len: 3, alike: &alike };
            Claims::read(text.as_bytes()).unwrap().facts(&origin, None, 8).unwrap().actors
        };
        let by = |sub: &str, iss: &str| json!({"sub": sub, "iss": iss});
        let all = [
            json!({"sub": "a"}),
            json!({"sub": "a", "act": {"sub": "b"}}),
            json!({"sub": "b", "act": {"sub": "a"}}),
            json!({"sub": "b"}),
            by("a", "https://i"),
            by("a", "https://j"),
            json!({"sub": "a", "act": by("b", "https://i")}),
        ];
        let first: Vec<_> = all.iter().map(chain).collect();
        for (act, first) in all.iter().zip(&first) {
            let (mut rest, mut said) = (act, Vec::new());
            while let Some(sub) = rest["sub"].as_str() {
                let issuer = rest["iss"].as_str().map(Box::from);
                said.push(Actor { subject: sub.into(), issuer });
                rest = &rest["act"];
            }
            assert_eq!(first.actors(), said, "{act}");
            assert!(std::ptr::eq(first.actors(), chain(act).actors()), "{act}");
        }
    }

    /// What was read before decides nothing about what is written otherwise, however alike it looks.
    #[test]
    fn a_text_is_no_list_though_it_spells_one() {
        let (issuer, alike) = (Arc::from("https://sts.internal"), Alike::default());
        let audiences = |aud: &str| {
            let text = good().to_string().replace("\"https://orders.internal\"", aud);
            let fingerprint = Fingerprint::of_token("a.b.c");
            let origin =
                Origin { issuer: &issuer, key_id: None, fingerprint, fingerprinted_len: 3, alike: &alike };
            let facts = Claims::read(text.as_bytes())?.facts(&origin, None, 8)?;
            Ok::<_, Denial>(facts.audiences.iter().map(|one| one.to_string()).collect::<Vec<_>>())
        };
        for _ in 0..2 {
            assert_eq!(audiences(r#""[1]""#).unwrap(), ["[1]"]);
            assert_eq!(audiences("[1]"), Err(Denial::ClaimInvalid));
            assert_eq!(audiences(r#""1""#).unwrap(), ["1"]);
            assert_eq!(audiences("1"), Err(Denial::ClaimInvalid));
            assert_eq!(audiences(r#""[]""#).unwrap(), ["[]"]);
            assert_eq!(audiences("[]"), Err(Denial::ClaimInvalid));
            assert_eq!(audiences(r#""null""#).unwrap(), ["null"]);
            assert_eq!(audiences("null"), Err(Denial::ClaimInvalid));
            assert_eq!(audiences(r#""\u0061""#).unwrap(), ["a"]);
            assert_eq!(audiences(r#"["a"]"#).unwrap(), ["a"]);
            assert_eq!(audiences(r#"["a","b"]"#).unwrap(), ["a", "b"]);
            assert_eq!(audiences(r#"["b","a"]"#).unwrap(), ["b", "a"]);
        }
    }

    #[test]
    fn may_act_is_enforced_in_every_spelling() {
        let parties = |value| with("may_act", value).unwrap().may_act.unwrap().parties;
        assert_eq!(with("jti", json!("x")).unwrap().may_act, None);
        assert_eq!(parties(json!("gateway")), [Actor::new("gateway")]);
        assert_eq!(parties(json!({"sub": "gateway"})), [Actor::new("gateway")]);
        assert_eq!(parties(json!(["a", {"sub": "b"}])), [Actor::new("a"), Actor::new("b")]);
        for nobody in [json!(""), json!([]), json!({}), json!([""]), json!({"iss": "https://i"})] {
            assert_eq!(parties(nobody), []);
        }
        for value in [json!(1), json!(null), json!([1]), json!([["a"]]), json!({"sub": 1}), json!(true)] {
            refused("may_act", value, "claim_invalid");
        }
    }

    #[test]
    fn a_binding_is_known_or_refused() {
        let confirmation = |value| with("cnf", value).unwrap().confirmation;
        assert_eq!(confirmation(json!({"jkt": "k"})), Confirmation::Jkt("k".into()));
        assert_eq!(confirmation(json!({"x5t#S256": "c"})), Confirmation::Certificate("c".into()));
        let both = Confirmation::Both { jkt: "k".into(), certificate: "c".into() };
        assert_eq!(confirmation(json!({"jkt": "k", "x5t#S256": "c"})), both);
        for value in [
            json!({}),
            json!({"jkt": 1}),
            json!({"jkt": ""}),
            json!({"jwk": {}}),
            json!({"jkt": "k", "jku": "u"}),
            json!("k"),
            json!(null),
            json!([]),
            json!({"jkt": null}),
            json!({"JKT": "k"}),
        ] {
            refused("cnf", value, "claim_invalid");
        }
    }

    #[test]
    fn a_claim_that_stands_twice_is_refused() {
        let text = good().to_string();
        for twice in [r#""sub":"bob""#, r#""s\u0075b":"bob""#, r#""exp":9999"#, r#""x":{"a":1,"a":2}"#] {
            let text = text.replacen('{', &format!("{{{twice},"), 1);
            assert_eq!(facts_of(&text), Err(Denial::TokenMalformed), "{twice}");
        }
    }
}
