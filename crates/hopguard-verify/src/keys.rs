//! Which key must have signed this token? (RFC 7517 section 5, RFC 8725 section 3.8)
//!
//! A key is parsed once, when its set arrives. One that cannot serve, or must not, is skipped with a warning: a
//! set is shared by everything its issuer does, and one odd key is no reason to do without the others.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest;
use aws_lc_rs::signature::ParsedPublicKey;
use hopguard_core::Fingerprint;

use crate::algorithm::Algorithm;
use crate::json::Malformed;
use crate::jwk::Set;

/// One key for one algorithm.
pub(crate) struct Key {
    id: Option<Arc<str>>,
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
    // Set once, when the issuer no longer publishes the key; whatever it verified is then forgotten.
    retired: AtomicBool,
}

impl Key {
    pub(crate) fn new(id: Option<&str>, algorithm: Algorithm, parsed: ParsedPublicKey) -> Self {
        Self { id: id.map(Arc::from), algorithm, parsed, retired: AtomicBool::new(false) }
    }

    /// `kid`.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// `kid`, to be shared.
    pub(crate) fn shared_id(&self) -> Option<&Arc<str>> {
        self.id.as_ref()
    }

    /// True once the issuer has published a set without this key.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Checks a signature; the one expensive step. On success, the fingerprint of what was signed.
    pub(crate) fn verify(&self, signing_input: &[u8], signature: &[u8]) -> Option<Fingerprint> {
        if self.algorithm.hashes_with_sha256() {
            // The digest that the signature covers is the fingerprint: computed once, used twice.
            let digest = digest::digest(&digest::SHA256, signing_input);
            self.parsed.verify_digest_sig(&digest, signature).ok()?;
            return digest.as_ref().try_into().ok().map(Fingerprint::from_sha256);
        }
        self.parsed.verify_sig(signing_input, signature).ok()?;
        Some(Fingerprint::of_bytes(signing_input))
    }

    fn is_named_like(&self, other: &Self) -> bool {
        self.id == other.id && self.algorithm == other.algorithm
    }

    fn is_same(&self, other: &Self) -> bool {
        self.is_named_like(other) && self.parsed.as_ref() == other.parsed.as_ref()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// What a set has to say about a token's `kid` and `alg`.
#[derive(Debug)]
pub(crate) enum Lookup<'a> {
    /// This key, and no other, is to be tried.
    Found(&'a Arc<Key>),
    /// No key has this `kid`, or none fits a token that names none.
    Unknown,
    /// The key of this `kid` is for another algorithm.
    OtherAlgorithm,
    /// The token names no key, and several would fit.
    Ambiguous,
}

/// The keys that serve one issuer.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 section 5). `allowed` are the algorithms that the issuer's configuration names;
    /// keys that `before` held already are taken over from it.
    pub(crate) fn read(
        text: &[u8],
        issuer: &str,
        allowed: Option<&[Algorithm]>,
        before: Option<&Self>,
    ) -> Result<Self, Malformed> {
        let set = Set::read(text)?;
        let skip = |id: Option<&str>, why: &'static str| {
            tracing::warn!(issuer, key_id = id.unwrap_or("none"), why, "a key of the set is skipped");
        };
        if set.beyond > 0 {
            skip(None, "the set has more keys than are looked at");
        }
        let mut distinct: Vec<Key> = Vec::new();
        for jwk in &set.keys {
            match jwk.keys(allowed) {
                Ok(keys) => {
                    for key in keys {
                        if !distinct.iter().any(|known| known.is_same(&key)) {
                            distinct.push(key);
                        }
                    }
                }
                Err(why) => skip(jwk.id().as_deref(), why),
            }
        }
        // A token cannot tell two keys of one name apart, unless their algorithms differ.
        let twins = |key: &Key| distinct.iter().filter(|other| other.is_named_like(key)).count();
        let confusable: Vec<bool> = distinct.iter().map(|key| key.id.is_some() && twins(key) > 1).collect();
        let mut keys = Vec::with_capacity(distinct.len());
        for (key, confusable) in distinct.into_iter().zip(confusable) {
            if confusable {
                skip(key.id(), "another key has the same kid and algorithm");
                continue;
            }
            let known = before.and_then(|set| set.keys.iter().find(|known| known.is_same(&key)));
            keys.push(known.cloned().unwrap_or_else(|| Arc::new(key)));
        }
        Ok(Self { keys })
    }

    /// True if no key can serve.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys can serve.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if there is a key of this name.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id() == Some(id))
    }

    /// The key that a token with this `kid` and `alg` must have been signed with.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Lookup<'_> {
        // INVARIANT: I8 — the token's `alg` must equal the key's and never chooses it.
        let fits = |key: &&Arc<Key>| key.algorithm == algorithm;
        match id {
            Some(_) => {
                let mut named = self.keys.iter().filter(|key| key.id() == id).peekable();
                if named.peek().is_none() {
                    return Lookup::Unknown;
                }
                named.find(fits).map_or(Lookup::OtherAlgorithm, Lookup::Found)
            }
            None => {
                let mut fitting = self.keys.iter().filter(fits);
                match (fitting.next(), fitting.next()) {
                    (Some(key), None) => Lookup::Found(key),
                    (Some(_), Some(_)) => Lookup::Ambiguous,
                    (None, _) => Lookup::Unknown,
                }
            }
        }
    }

    /// Marks every key that `next` no longer holds: verdicts that rest on it are void.
    pub(crate) fn retire_all_but(&self, next: &Self) {
        for key in &self.keys {
            if !next.keys.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.retired.store(true, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::jwk::KEYS;
    use crate::tests::{Signer, encode};

    fn set(keys: &[Value]) -> KeySet {
        KeySet::read(json!({"keys": keys}).to_string().as_bytes(), "https://i", None, None).unwrap()
    }

    #[track_caller]
    fn skipped(jwk: &Value, change: impl FnOnce(&mut Value)) {
        let mut jwk = jwk.clone();
        change(&mut jwk);
        assert!(set(std::slice::from_ref(&jwk)).is_empty(), "{jwk}");
    }

    #[test]
    fn unfit_keys_are_skipped_and_the_others_serve() {
        let (ec, rsa) = (Signer::es256("k1").jwk(), Signer::new(Algorithm::Rs256, Some("k2")).jwk());
        let ed = Signer::new(Algorithm::EdDsa, Some("k3")).jwk();
        for good in [&ec, &rsa, &ed] {
            assert_eq!(set(std::slice::from_ref(good)).len(), 1);
            for (name, value) in [
                ("kty", json!("oct")),
                ("kty", json!("XYZ")),
                ("kty", json!(1)),
                ("use", json!("enc")),
                ("use", json!(1)),
                ("key_ops", json!([])),
                ("key_ops", json!(["sign"])),
                ("key_ops", json!("verify ")),
                ("alg", json!("HS256")),
                ("alg", json!("none")),
                ("alg", json!("RSA-OAEP")),
                ("alg", json!(1)),
                ("alg", json!("ES384")),
                ("kid", json!(1)),
                ("d", json!("AQ")),
                ("d", json!(null)),
                ("k", json!("AQ")),
                ("p", json!("AQ")),
            ] {
                skipped(good, |jwk| jwk[name] = value);
            }
            for fit in [json!(["verify"]), json!(["sign", "verify"])] {
                let mut jwk = good.clone();
                jwk["key_ops"] = fit;
                assert_eq!(set(&[jwk]).len(), 1);
            }
        }
        let odd = json!({"kty": "oct", "k": "AAAA", "kid": "secret"});
        let all = set(&[odd, json!("text"), json!(7), json!({}), ec, rsa, ed]);
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn points_off_the_curve_are_skipped() {
        let ec = Signer::es256("k1").jwk();
        let y = ec["y"].clone();
        skipped(&ec, |jwk| jwk["x"] = y);
        skipped(&ec, |jwk| jwk["crv"] = json!("P-384"));
        skipped(&ec, |jwk| jwk["crv"] = json!("secp256k1"));
        skipped(&ec, |jwk| jwk["x"] = json!(encode(&[0; 32])));
        skipped(&ec, |jwk| jwk["x"] = json!(encode(&[1; 31])));
        skipped(&ec, |jwk| jwk["y"] = json!(null));
        let padded = format!("{}=", ec["x"].as_str().unwrap());
        skipped(&ec, |jwk| jwk["x"] = json!(padded));
    }

    #[test]
    fn weak_rsa_keys_are_skipped() {
        let rsa = Signer::new(Algorithm::Rs256, Some("k2")).jwk();
        for e in
            [&[3][..], &[17], &[0xff, 0xff], &[1, 0, 0], &[0, 1, 0, 1], &[], &[1; 9], &[1, 0, 0, 0, 0, 1]]
        {
            skipped(&rsa, |jwk| jwk["e"] = json!(encode(e)));
        }
        let odd = |bytes: usize, first: u8| {
            let mut n = vec![0x55; bytes];
            n[0] = first;
            json!(encode(&n))
        };
        skipped(&rsa, |jwk| jwk["n"] = odd(128, 0xff));
        skipped(&rsa, |jwk| jwk["n"] = odd(256, 0x7f));
        skipped(&rsa, |jwk| jwk["n"] = odd(257, 0));
        skipped(&rsa, |jwk| jwk["n"] = odd(1025, 1));
        skipped(&rsa, |jwk| jwk["n"] = json!(encode(&[0xfe; 256])));
    }

    /// The library refuses many of these as well. That it does so is not what we rely on.
    #[test]
    fn weak_keys_are_skipped_for_our_own_reason() {
        let (ec, rsa) = (Signer::es256("k1").jwk(), Signer::new(Algorithm::Rs256, Some("k2")).jwk());
        let number = |bytes: usize, first: u8, last: u8| {
            let mut n = vec![0x55; bytes];
            (n[0], n[bytes - 1]) = (first, last);
            json!(encode(&n))
        };
        let (length, zero) = ("2048", "begins with a zero byte");
        let range = "its exponent is below 65537 or too large, or one of its numbers is even";
        let coordinates = "its coordinates have the wrong length";
        for (jwk, name, value, why) in [
            (&rsa, "n", number(256, 0x7f, 1), length),
            (&rsa, "n", number(1025, 1, 1), length),
            (&rsa, "n", number(257, 0, 1), zero),
            (&rsa, "n", number(256, 0xff, 2), range),
            (&rsa, "e", json!(encode(&[0, 1, 0, 1])), zero),
            (&rsa, "e", json!("AQAC"), range),
            (&rsa, "e", json!(encode(&[0xff, 0xff])), range),
            (&rsa, "e", json!(encode(&[4, 0, 0, 0, 1])), range),
            (&ec, "x", json!(encode(&[1; 31])), coordinates),
            (&ec, "y", json!(encode(&[1; 31])), coordinates),
            (&ec, "y", json!(encode(&[1; 33])), coordinates),
        ] {
            let mut jwk = jwk.clone();
            jwk[name] = value;
            let lines = warned(std::slice::from_ref(&jwk));
            assert!(matches!(&*lines, [line] if line.contains(why)), "{jwk}: {lines:?}");
        }
        for other in [json!(7), json!([]), json!("text"), json!(null)] {
            assert!(matches!(&*warned(&[other]), [line] if line.contains("it is not an object")));
        }
        // A curve that nothing is accepted on is no silence either.
        let mut other = ec;
        (other["crv"], other["alg"]) = (json!("secp256k1"), json!(null));
        other.as_object_mut().unwrap().remove("alg");
        assert!(matches!(&*warned(&[other]), [line] if line.contains("fits no accepted algorithm")));
    }

    #[test]
    fn a_key_without_an_algorithm_serves_its_curves_own() {
        for algorithm in
            [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::EdDsa]
        {
            let jwk = Signer::new(algorithm, Some("k")).bare_jwk();
            let found = set(std::slice::from_ref(&jwk));
            assert!(matches!(found.find(Some("k"), algorithm), Lookup::Found(_)), "{jwk}");
            assert_eq!(found.len(), 1);
            for kty in ["RSA", "EC", "OKP"].into_iter().filter(|kty| jwk["kty"] != *kty) {
                skipped(&jwk, |jwk| jwk["kty"] = json!(kty));
            }
        }
    }

    #[test]
    fn ed25519_points_of_small_order_are_skipped() {
        let ed = Signer::new(Algorithm::EdDsa, Some("k3")).jwk();
        let mut one = [0; 32];
        one[0] = 1;
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        for x in [p, [0xff; 32]] {
            skipped(&ed, |jwk| jwk["x"] = json!(encode(&x)));
        }
        let mut last = p;
        last[0] = 0xec;
        // The two of order 8, written down anew: a slip in the list must not be a slip here.
        let eight = [
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ];
        let [low, high] = eight.map(|digits| {
            std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        });
        for mut y in [[0; 32], one, low, high, last] {
            // With either sign of x.
            for sign in [0, 0x80] {
                y[31] = y[31] & 0x7f | sign;
                skipped(&ed, |jwk| jwk["x"] = json!(encode(&y)));
            }
        }
        skipped(&ed, |jwk| jwk["crv"] = json!("Ed448"));
        skipped(&ed, |jwk| jwk["crv"] = json!("X25519"));
    }

    #[test]
    fn two_keys_of_one_name_serve_only_if_a_token_can_tell_them_apart() {
        let (one, two) = (Signer::es256("k").jwk(), Signer::es256("k").jwk());
        let rsa = Signer::new(Algorithm::Rs256, Some("k")).jwk();
        assert!(set(&[one.clone(), two.clone()]).is_empty());
        assert_eq!(set(&[one.clone(), rsa.clone()]).len(), 2);
        assert_eq!(set(&[one.clone(), rsa.clone(), two]).len(), 1);
        assert_eq!(set(&[one.clone(), one.clone()]).len(), 1);
        let both = set(&[one, rsa]);
        assert!(matches!(both.find(Some("k"), Algorithm::Es256), Lookup::Found(_)));
        assert!(matches!(both.find(Some("k"), Algorithm::Rs256), Lookup::Found(_)));
        assert!(matches!(both.find(Some("k"), Algorithm::Ps256), Lookup::OtherAlgorithm));
        assert!(matches!(both.find(Some("K"), Algorithm::Es256), Lookup::Unknown));
        assert!(matches!(both.find(None, Algorithm::Es256), Lookup::Found(_)));
    }

    #[derive(Clone, Debug, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What reading the set says, a line for each warning.
    fn warned(keys: &[Value]) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        // Beside a second one, no other test's thread decides alone, and for good, that nobody listens to a warning.
        let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
        tracing::subscriber::with_default(subscriber, || drop(set(keys)));
        let bytes = captured.0.lock().unwrap();
        String::from_utf8(bytes.clone()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn whoever_looks_after_the_issuer_is_told_which_key_is_skipped_and_why() {
        let ec = |kid| Signer::es256(kid).jwk();
        let (mut weak, mut nameless) = (Signer::new(Algorithm::Rs256, Some("weak")).jwk(), ec("gone"));
        weak["e"] = json!(encode(&[3]));
        nameless["use"] = json!("enc");
        nameless.as_object_mut().unwrap().remove("kid");
        let lines = warned(&[ec("good"), weak, nameless, ec("twin"), ec("twin")]);
        let expected = [
            ("weak", "its exponent is below 65537 or too large, or one of its numbers is even"),
            ("none", "its use is not sig"),
            ("twin", "another key has the same kid and algorithm"),
            ("twin", "another key has the same kid and algorithm"),
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, (kid, why)) in lines.iter().zip(expected) {
            let (kid, why) = (format!("key_id=\"{kid}\""), format!("why=\"{why}\""));
            assert!(line.trim_start().starts_with("WARN") && line.contains("issuer=\"https://i\""), "{line}");
            assert!(line.contains(&kid) && line.contains(&why), "{line}");
        }
        let many: Vec<_> = (0..=KEYS).map(|_| ec("one")).collect();
        let lines = warned(&many);
        assert!(lines.iter().any(|line| line.contains("more keys than are looked at")), "{lines:?}");
        assert_eq!(warned(&[ec("good")]), [""; 0]);
    }

    #[test]
    fn a_set_is_bounded_and_strict() {
        let ec = |n: usize| {
            let mut jwk = Signer::es256("k").jwk();
            jwk["kid"] = json!(n.to_string());
            jwk
        };
        let many: Vec<_> = (0..KEYS + 5).map(ec).collect();
        assert_eq!(set(&many).len(), KEYS);
        for text in
            ["{}", "[]", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"keys":[],"keys":[]}"#, "", "<html>"]
        {
            assert!(KeySet::read(text.as_bytes(), "https://i", None, None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_stays_is_the_same_key() {
        let (one, two) = (Signer::es256("1"), Signer::es256("2"));
        let text = |keys: &[&Signer]| crate::tests::set_of(keys);
        let read = |text: String, before| KeySet::read(text.as_bytes(), "https://i", None, before).unwrap();
        let first = read(text(&[&one, &two]), None);
        let second = read(text(&[&two]), Some(&first));
        first.retire_all_but(&second);
        let retired: Vec<_> = first.keys.iter().map(|key| key.is_retired()).collect();
        assert_eq!(retired, [true, false]);
        assert!(Arc::ptr_eq(&first.keys[1], &second.keys[0]));
    }
}
