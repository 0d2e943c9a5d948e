//! Can this published key serve, and for which algorithms? (RFC 7517, RFC 7518 section 6, RFC 8037)

use std::borrow::Cow;

use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::algorithm::{Algorithm, Curve, Family};
use crate::json::{self, Claim, Malformed, Object, Value, names};
use crate::keys::Key;
use crate::point;
use crate::roca;

/// How many keys of one set are looked at.
pub(crate) const KEYS: usize = 64;

/// The longest RSA modulus that is taken, in bits.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

names!(SetMember { Keys = b"keys" });

names!(Member {
    Kty = b"kty",
    Kid = b"kid",
    Alg = b"alg",
    Use = b"use",
    KeyOps = b"key_ops",
    Crv = b"crv",
    X = b"x",
    Y = b"y",
    N = b"n",
    E = b"e",
    D = b"d",
    P = b"p",
    Q = b"q",
    Dp = b"dp",
    Dq = b"dq",
    Qi = b"qi",
    Oth = b"oth",
    K = b"k",
});

/// A JWK set as it stands there.
#[derive(Default)]
pub(crate) struct Set<'a> {
    pub(crate) keys: Vec<Jwk<'a>>,
    /// How many were not looked at.
    pub(crate) beyond: usize,
}

impl<'a> Set<'a> {
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut set = Self::default();
        let list = json::read(text)?.of(SetMember::Keys).each(|key| {
            if set.keys.len() == KEYS {
                set.beyond += 1;
            } else {
                set.keys.push(Jwk::of(key));
            }
        });
        if list == Claim::Is(()) { Ok(set) } else { Err(Malformed) }
    }
}

/// One JWK as it stands there; none if it is no object.
pub(crate) struct Jwk<'a>(Option<Object<'a, Member>>);

/// Why a key is skipped, for people.
pub(crate) type Why = &'static str;

impl<'a> Jwk<'a> {
    fn of(value: Value<'a>) -> Self {
        Self(value.object().is())
    }

    /// `kid`, if it is one.
    pub(crate) fn id(&self) -> Option<Cow<'a, str>> {
        self.text(Member::Kid).ok().flatten()
    }

    fn of_member(&self, name: Member) -> Value<'a> {
        self.0.as_ref().map(|jwk| jwk.of(name)).unwrap_or_default()
    }

    fn text(&self, name: Member) -> Result<Option<Cow<'a, str>>, Why> {
        match self.of_member(name).text() {
            Claim::Is(text) => Ok(Some(text)),
            Claim::Absent => Ok(None),
            Claim::Wrong => Err("a member is not a string"),
        }
    }

    fn bytes(&self, name: Member) -> Result<Vec<u8>, Why> {
        let text = self.text(name)?.ok_or("a member is missing")?;
        URL_SAFE_NO_PAD.decode(&*text).map_err(|_| "a member is not base64url")
    }

    /// The keys that this JWK makes: one per algorithm that it serves.
    pub(crate) fn keys(&self, allowed: Option<&[Algorithm]>) -> Result<Vec<Key>, Why> {
        if self.0.is_none() {
            return Err("it is not an object");
        }
        let kty = self.text(Member::Kty)?.ok_or("it has no kty")?;
        let kty = &*kty;
        if kty == "oct" {
            return Err("a symmetric key has no place in a public set");
        }
        let private =
            [Member::D, Member::P, Member::Q, Member::Dp, Member::Dq, Member::Qi, Member::Oth, Member::K];
        if private.into_iter().any(|name| !self.of_member(name).is_absent()) {
            return Err("it publishes private members");
        }
        if self.text(Member::Use)?.is_some_and(|usage| usage != "sig") {
            return Err("its use is not sig");
        }
        match self.of_member(Member::KeyOps).texts() {
            Claim::Absent => {}
            Claim::Is(operations) if operations.iter().any(|one| one == "verify") => {}
            Claim::Is(_) | Claim::Wrong => return Err("its key_ops lack verify"),
        }
        let crv = self.text(Member::Crv)?;
        let crv = crv.as_deref();
        let id = self.text(Member::Kid)?;
        let algorithms = match self.text(Member::Alg)? {
            Some(name) => vec![Algorithm::of(&name).ok_or("its alg is not accepted")?],
            None => match allowed {
                Some(allowed) => allowed.iter().copied().filter(|one| one.fits(kty, crv)).collect(),
                None => Algorithm::default_of(kty, crv).into_iter().collect(),
            },
        };
        let serves =
            |one: &Algorithm| one.fits(kty, crv) && allowed.is_none_or(|allowed| allowed.contains(one));
        if algorithms.is_empty() || !algorithms.iter().all(serves) {
            return Err("its type, curve or alg fits no accepted algorithm");
        }
        let key = |algorithm: Algorithm| {
            let parsed = match algorithm.family() {
                Family::Rsa(parameters) => {
                    let (n, e) = self.rsa_components()?;
                    let components = RsaPublicKeyComponents { n, e };
                    components
                        .to_parsed_public_key(parameters)
                        .map_err(|_| "its modulus or exponent is no RSA key's")
                }
                Family::Ec(curve) => self.ec_point(curve),
                Family::Ed25519 => self.ed25519_point(),
            }?;
            Ok(Key::new(id.as_deref(), algorithm, parsed))
        };
        algorithms.into_iter().map(key).collect()
    }

    fn rsa_components(&self) -> Result<(Vec<u8>, Vec<u8>), Why> {
        let (n, e) = (self.bytes(Member::N)?, self.bytes(Member::E)?);
        // A leading zero byte is not the one spelling that RFC 7518 section 2 (Base64urlUInt) allows.
        let bits = |number: &[u8]| match number.first() {
            Some(&first) if first != 0 => Ok(number.len() * 8 - first.leading_zeros() as usize),
            _ => Err("its modulus or exponent is empty or begins with a zero byte"),
        };
        if !MODULUS_BITS.contains(&bits(&n)?) {
            return Err("its modulus has less than 2048 or more than 8192 bits");
        }
        // At least 65537 (NIST SP 800-56B), at most what the library computes with.
        let in_range =
            bits(&e)? <= 33 && e.iter().fold(0, |sum: u64, &byte| (sum << 8) + u64::from(byte)) >= 65537;
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        if !in_range || !odd(&e) || !odd(&n) {
            return Err("its exponent is below 65537 or too large, or one of its numbers is even");
        }
        if roca::is_marked(&n) {
            return Err("its modulus bears the mark of keys that can be factored (CVE-2017-15361)");
        }
        Ok((n, e))
    }

    fn ec_point(&self, curve: Curve) -> Result<ParsedPublicKey, Why> {
        let (x, y) = (self.bytes(Member::X)?, self.bytes(Member::Y)?);
        if x.len() != curve.coordinate || y.len() != curve.coordinate {
            return Err("its coordinates have the wrong length");
        }
        let point = [&[4], &*x, &*y].concat();
        ParsedPublicKey::new(curve.verification, point).map_err(|_| "its point is not on the curve")
    }

    fn ed25519_point(&self) -> Result<ParsedPublicKey, Why> {
        let x: [u8; 32] = self.bytes(Member::X)?.try_into().map_err(|_| "its point has the wrong length")?;
        if !point::is_canonical(&x) || point::has_small_order(&x) {
            return Err("its point is of small order or not canonical");
        }
        ParsedPublicKey::new(&ED25519, x).map_err(|_| "its point is not on the curve")
    }
}
