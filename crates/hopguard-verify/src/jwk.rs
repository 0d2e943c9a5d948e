//! Can this published key serve, and for which algorithms? (RFC 7517, RFC 7518 section 6, RFC 8037)

use std::borrow::Cow;

use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::algorithm::{Algorithm, Curve, Family};
use crate::json::{Claim, Malformed, Shape, Skip, Source, names};
use crate::keys::Key;
use crate::point;
use crate::roca;

/// How many keys of one set are looked at.
pub(crate) const KEYS: usize = 64;

/// The longest RSA modulus that is taken, in bits.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

names!(SetMember { Keys = "keys" });

names!(Member {
    Kty = "kty",
    Kid = "kid",
    Alg = "alg",
    Use = "use",
    KeyOps = "key_ops",
    Crv = "crv",
    X = "x",
    Y = "y",
    N = "n",
    E = "e",
    D = "d",
    P = "p",
    Q = "q",
    Dp = "dp",
    Dq = "dq",
    Qi = "qi",
    Oth = "oth",
    K = "k",
});

/// A JWK set as it stands there.
#[derive(Default)]
pub(crate) struct Set<'a> {
    pub(crate) keys: Vec<Jwk<'a>>,
    /// How many were not looked at.
    pub(crate) beyond: usize,
    pub(crate) wrong: bool,
}

impl<'de> Shape<'de> for Set<'de> {
    fn wrong(&mut self) {
        self.wrong = true;
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        self.wrong = true;
        source
            .members(|name, source| match name {
                SetMember::Keys => {
                    self.wrong = false;
                    source.value(&mut List(self))
                }
            })
            .map(|_| ())
    }
}

struct List<'s, 'a>(&'s mut Set<'a>);

impl<'de> Shape<'de> for List<'_, 'de> {
    fn wrong(&mut self) {
        self.0.wrong = true;
    }

    fn list(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        source.items(|source| {
            if self.0.keys.len() == KEYS {
                self.0.beyond += 1;
                return source.value(&mut Skip);
            }
            let mut jwk = Jwk::default();
            source.value(&mut jwk)?;
            self.0.keys.push(jwk);
            Ok(())
        })
    }
}

/// One JWK as it stands there.
#[derive(Default)]
pub(crate) struct Jwk<'a> {
    kty: Claim<Cow<'a, str>>,
    kid: Claim<Cow<'a, str>>,
    alg: Claim<Cow<'a, str>>,
    usage: Claim<Cow<'a, str>>,
    operations: Claim<Vec<Cow<'a, str>>>,
    crv: Claim<Cow<'a, str>>,
    x: Claim<Cow<'a, str>>,
    y: Claim<Cow<'a, str>>,
    n: Claim<Cow<'a, str>>,
    e: Claim<Cow<'a, str>>,
    private: bool,
    wrong: bool,
}

impl<'de> Shape<'de> for Jwk<'de> {
    fn wrong(&mut self) {
        self.wrong = true;
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        source
            .members(|name, source| {
                let target = match name {
                    Member::Kty => &mut self.kty,
                    Member::Kid => &mut self.kid,
                    Member::Alg => &mut self.alg,
                    Member::Use => &mut self.usage,
                    Member::KeyOps => return source.value(&mut self.operations),
                    Member::Crv => &mut self.crv,
                    Member::X => &mut self.x,
                    Member::Y => &mut self.y,
                    Member::N => &mut self.n,
                    Member::E => &mut self.e,
                    Member::D
                    | Member::P
                    | Member::Q
                    | Member::Dp
                    | Member::Dq
                    | Member::Qi
                    | Member::Oth
                    | Member::K => {
                        self.private = true;
                        return source.value(&mut Skip);
                    }
                };
                source.value(target)
            })
            .map(|_| ())
    }
}

/// Why a key is skipped, for people.
pub(crate) type Why = &'static str;

impl Jwk<'_> {
    /// `kid`, if it is one.
    pub(crate) fn id(&self) -> Option<&str> {
        text(&self.kid).ok().flatten()
    }

    /// The keys that this JWK makes: one per algorithm that it serves.
    pub(crate) fn keys(&self, allowed: Option<&[Algorithm]>) -> Result<Vec<Key>, Why> {
        if self.wrong {
            return Err("it is not an object");
        }
        let kty = text(&self.kty)?.ok_or("it has no kty")?;
        if kty == "oct" {
            return Err("a symmetric key has no place in a public set");
        }
        if self.private {
            return Err("it publishes private members");
        }
        if text(&self.usage)?.is_some_and(|usage| usage != "sig") {
            return Err("its use is not sig");
        }
        match &self.operations {
            Claim::Absent => {}
            Claim::Is(operations) if operations.iter().any(|one| one == "verify") => {}
            Claim::Is(_) | Claim::Wrong => return Err("its key_ops lack verify"),
        }
        let crv = text(&self.crv)?;
        let id = text(&self.kid)?;
        let algorithms = match text(&self.alg)? {
            Some(name) => vec![Algorithm::of(name).ok_or("its alg is not accepted")?],
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
            Ok(Key::new(id, algorithm, parsed))
        };
        algorithms.into_iter().map(key).collect()
    }

    fn rsa_components(&self) -> Result<(Vec<u8>, Vec<u8>), Why> {
        let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
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
        let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
        if x.len() != curve.coordinate || y.len() != curve.coordinate {
            return Err("its coordinates have the wrong length");
        }
        let point = [&[4], &*x, &*y].concat();
        ParsedPublicKey::new(curve.verification, point).map_err(|_| "its point is not on the curve")
    }

    fn ed25519_point(&self) -> Result<ParsedPublicKey, Why> {
        let x: [u8; 32] = bytes(&self.x)?.try_into().map_err(|_| "its point has the wrong length")?;
        if !point::is_canonical(&x) || point::has_small_order(&x) {
            return Err("its point is of small order or not canonical");
        }
        ParsedPublicKey::new(&ED25519, x).map_err(|_| "its point is not on the curve")
    }
}

fn text<'a>(claim: &'a Claim<Cow<'_, str>>) -> Result<Option<&'a str>, Why> {
    match claim {
        Claim::Is(text) => Ok(Some(text)),
        Claim::Absent => Ok(None),
        Claim::Wrong => Err("a member is not a string"),
    }
}

fn bytes(claim: &Claim<Cow<'_, str>>) -> Result<Vec<u8>, Why> {
    let text = text(claim)?.ok_or("a member is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member is not base64url")
}
