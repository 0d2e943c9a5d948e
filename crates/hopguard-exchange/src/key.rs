//! Which requests may share a grant: those that are equal in every dimension (I7).

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use hopguard_core::{AsOurselves, Asked, Destination, Exchange, Facts, Fingerprint, Waived};

use crate::request::{ACCESS_TOKEN, GRANT_TYPE, OWN_GRANT_TYPE};

/// What a grant is kept under: what is asked where, as 128 bits of a hash whose key was drawn when the process
/// started, and the fingerprint of the token that it is asked for, all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrantKey {
    route: [u64; 2],
    subject: Option<Fingerprint>,
}

impl Hash for GrantKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A fingerprint is as good as random, and whoever has tokens made does not know how it is mixed; equality
        // compares everything.
        let [one, other] = self.route;
        let [a, b, c, d, e, f, g, h, ..] = self.subject.map_or([0; 32], |subject| *subject.as_bytes());
        let mixed = (u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ one).wrapping_mul(other | 1);
        state.write_u64(mixed ^ mixed.rotate_left(32));
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        write!(f, "GrantKey({:08x})", hasher.finish() >> 32)
    }
}

/// Makes keys. What is equal for every request of one exchanger is hashed once, here.
#[derive(Clone, Debug)]
pub(crate) struct GrantKeys(Dimensions);

impl GrantKeys {
    /// `actor` is what tells the actor apart: the name it is expected under, the type and place of its token.
    pub(crate) fn new(issuer: &str, token_endpoint: Option<&str>, client_id: &str, actor: &[&str]) -> Self {
        Self::seeded(Dimensions::new(), issuer, token_endpoint, client_id, actor)
    }

    fn seeded(
        mut fixed: Dimensions,
        issuer: &str,
        token_endpoint: Option<&str>,
        client_id: &str,
        actor: &[&str],
    ) -> Self {
        fixed.text(issuer);
        fixed.maybe(token_endpoint);
        fixed.text(client_id);
        fixed.count(actor.len());
        actor.iter().for_each(|part| fixed.text(part));
        // The type of the subject token, no holder key, no authorization details: each is written even where
        // there is only one value today, so that adding a second one cannot be forgotten here without a hole
        // being visible.
        fixed.text(ACCESS_TOKEN);
        fixed.maybe(None);
        fixed.maybe(None);
        fixed.hash_waiting();
        Self(fixed)
    }

    /// The keys of one route: what is equal for each of its callers is hashed once, here.
    pub(crate) fn of_route(&self, target: &Exchange, destination: &Destination) -> RouteKeys {
        let mut all = self.0.clone();
        all.text(GRANT_TYPE);
        all.number(u64::from(target.asks_for_jwt()));
        all.asked(target.asked());
        all.text(destination.as_str());
        RouteKeys(all.finish())
    }

    /// The key for a token of our own: it has no subject.
    pub(crate) fn own_key(&self, target: &AsOurselves, destination: &Destination) -> GrantKey {
        // INVARIANT: I7 — the grant type comes first, so that no caller's request has this key.
        let mut all = self.0.clone();
        all.text(OWN_GRANT_TYPE);
        all.maybe(target.expected_subject().map(|subject| &**subject));
        all.asked(target.asked());
        all.text(destination.as_str());
        GrantKey { route: all.finish(), subject: None }
    }
}

/// Makes the keys of one route.
#[derive(Clone, Copy)]
pub(crate) struct RouteKeys([u64; 2]);

impl RouteKeys {
    /// The key for exchanging the token that `subject` describes.
    ///
    /// Issuer and subject stand in what the fingerprint is made of, and nobody else's tokens come here: each is of the
    /// exchanger's own issuer. The fingerprint leaves the signature out, and may: the token was verified, so whoever
    /// holds another signature over the same claims holds the same authority.
    pub(crate) const fn key(&self, subject: &Facts) -> GrantKey {
        // INVARIANT: I7 — every dimension of the request.
        GrantKey { route: self.0, subject: Some(subject.fingerprint) }
    }
}

/// So much is hashed at a time: a hash is slow at many short pieces.
const PIECE: usize = 256;

/// Two keyed hashes over the same bytes; neither key is known outside the process.
#[derive(Clone)]
struct Dimensions {
    hashers: [DefaultHasher; 2],
    /// What was written and is not hashed yet: the first `waiting` bytes.
    piece: [u8; PIECE],
    waiting: usize,
}

impl fmt::Debug for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes name subjects.
        f.debug_struct("Dimensions").finish_non_exhaustive()
    }
}

impl Dimensions {
    fn new() -> Self {
        let hashers = [RandomState::new().build_hasher(), RandomState::new().build_hasher()];
        Self { hashers, piece: [0; PIECE], waiting: 0 }
    }

    fn raw(&mut self, bytes: &[u8]) {
        let free = self.waiting..self.waiting.saturating_add(bytes.len());
        if let Some(place) = self.piece.get_mut(free.clone()) {
            place.copy_from_slice(bytes);
            self.waiting = free.end;
            return;
        }
        self.hash_waiting();
        match self.piece.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.waiting = bytes.len();
            }
            None => self.hashers.iter_mut().for_each(|hasher| hasher.write(bytes)),
        }
    }

    fn hash_waiting(&mut self) {
        let waiting = self.piece.get(..self.waiting).unwrap_or_default();
        self.hashers.iter_mut().for_each(|hasher| hasher.write(waiting));
        self.waiting = 0;
    }

    fn number(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.raw(value);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn maybe(&mut self, value: Option<&str>) {
        match value {
            None => self.raw(&[0]),
            Some(value) => {
                self.raw(&[1]);
                self.text(value);
            }
        }
    }

    fn asked(&mut self, asked: &Asked) {
        self.number(u64::from(asked.asked_audience().is_some()));
        self.text(asked.target_audience());
        self.text(asked.expected_audience());
        self.count(asked.resources().len());
        for resource in asked.resources() {
            self.text(resource);
        }
        let scopes = asked.scopes();
        self.count(scopes.iter().count());
        for scope in scopes.iter() {
            self.text(scope);
        }
        let cap = asked.longest_life();
        self.number(cap.as_secs());
        self.number(u64::from(cap.subsec_nanos()));
        // A grant that one route takes by a relaxation must not reach a stricter one.
        self.count(asked.relaxed().len());
        for Waived { relaxation, waiver } in asked.relaxed() {
            self.text(relaxation.name());
            self.maybe(relaxation.audience());
            self.text(waiver.reason());
            self.text(waiver.owner());
            self.number(waiver.until().as_secs());
        }
    }

    fn finish(mut self) -> [u64; 2] {
        self.hash_waiting();
        let [one, other] = &self.hashers;
        [one.finish(), other.finish()]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hopguard_core::{UnixTime, Waiver};
    use proptest::prelude::*;

    use super::*;
    use crate::rig_for_tests::{ISSUER, facts};

    /// One request, as plain values.
    #[derive(Clone, Debug, PartialEq)]
    struct Asked {
        token: String,
        issuer: String,
        subject: String,
        audience: String,
        expected: Option<String>,
        resources: Vec<String>,
        relaxed: Option<(String, String, String, u64)>,
        jwt: bool,
        scopes: Vec<String>,
        lifetime: u64,
        host: String,
    }

    fn key(keys: &GrantKeys, asked: &Asked) -> GrantKey {
        let mut subject = facts();
        // As what is signed tells them apart, whatever they hold.
        let claims = serde_json::json!([asked.token, asked.issuer, asked.subject]).to_string();
        subject.fingerprint = Fingerprint::of_bytes(claims.as_bytes());
        subject.issuer = asked.issuer.as_str().into();
        subject.subject = asked.subject.as_str().into();
        let mut target =
            Exchange::audience(&asked.audience).lifetime_at_most(Duration::from_millis(asked.lifetime));
        if let Some(expected) = &asked.expected {
            target = target.expects_audience(expected);
        }
        for resource in &asked.resources {
            target = target.resource(resource);
        }
        if let Some((audience, reason, owner, until)) = &asked.relaxed {
            let waiver = Waiver::new(reason, owner, UnixTime::from_secs(*until));
            target = target.dangerous_foreign_audience(audience, waiver);
        }
        if asked.jwt {
            target = target.wants_jwt();
        }
        for scope in &asked.scopes {
            target = target.scope(scope);
        }
        let url = format!("https://{}", asked.host).parse().unwrap();
        keys.of_route(&target.requires_none(), &Destination::of(&url).unwrap()).key(&subject)
    }

    /// Few letters, so that joined fields would collide often, with what separators are made of.
    const HOSTILE: &str = "[ab,;|/ \0\u{1}]{0,4}";

    fn asked() -> impl Strategy<Value = Asked> {
        let scopes = proptest::collection::btree_set("[ab,|]{1,3}", 0..3);
        let subject = (HOSTILE, HOSTILE, HOSTILE);
        let audiences =
            (HOSTILE, proptest::option::of("x[ab]{0,2}"), proptest::collection::vec(HOSTILE, 0..3));
        let relaxed = proptest::option::of((HOSTILE, HOSTILE, HOSTILE, 0..2u64));
        let rest = (scopes, 0..2u64, "[ab]{1,3}", relaxed, proptest::bool::ANY);
        (subject, audiences, rest).prop_map(|(subject, audiences, rest)| {
            let ((token, issuer, subject), (audience, expected, resources)) = (subject, audiences);
            let (scopes, lifetime, host, relaxed, jwt) = rest;
            let scopes = scopes.into_iter().collect();
            Asked {
                token,
                issuer,
                subject,
                audience,
                expected,
                resources,
                relaxed,
                jwt,
                scopes,
                lifetime,
                host,
            }
        })
    }

    proptest! {
        #[test]
        fn different_requests_have_different_keys(a in asked(), b in asked()) {
            let keys = GrantKeys::new(ISSUER, None, "orders", &[]);
            prop_assert_eq!(key(&keys, &a) == key(&keys, &b), a == b);
        }

        #[test]
        fn moving_text_from_one_field_to_the_next_changes_the_key(a in asked(), cut in 0..5usize) {
            let keys = GrantKeys::new(ISSUER, None, "orders", &[]);
            let joined = format!("{}{}", a.subject, a.audience);
            let at = joined.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(joined.len());
            let (subject, audience) = joined.split_at(at);
            let moved = Asked { subject: subject.to_owned(), audience: audience.to_owned(), ..a.clone() };
            prop_assert_eq!(key(&keys, &a) == key(&keys, &moved), a == moved);
        }
    }

    #[test]
    fn every_dimension_alone_separates() {
        let base = Asked {
            token: "t".into(),
            issuer: ISSUER.into(),
            subject: "alice".into(),
            audience: "inventory".into(),
            expected: None,
            resources: vec![],
            relaxed: None,
            jwt: false,
            scopes: vec!["a".into(), "b".into()],
            lifetime: 60_000,
            host: "a".into(),
        };
        let keys = GrantKeys::new(ISSUER, None, "orders", &[]);
        let changed = |change: &dyn Fn(&mut Asked)| {
            let mut other = base.clone();
            change(&mut other);
            key(&keys, &other)
        };
        assert_eq!(changed(&|_| ()), key(&keys, &base));
        assert_eq!(changed(&|a| a.scopes = vec!["b a".into()]), key(&keys, &base));
        // What is expected of the usual audience, said or not, is the same request.
        assert_eq!(changed(&|a| a.expected = Some("inventory".into())), key(&keys, &base));
        let others = [
            changed(&|a| a.token = "u".into()),
            changed(&|a| a.issuer = "https://other".into()),
            changed(&|a| a.subject = "bob".into()),
            changed(&|a| a.audience = "stock".into()),
            changed(&|a| a.expected = Some("guid".into())),
            changed(&|a| a.resources = vec![String::new()]),
            changed(&|a| a.resources = vec!["r".into()]),
            changed(&|a| a.resources = vec!["r".into(), "s".into()]),
            changed(&|a| a.resources = vec!["rs".into()]),
            changed(&|a| a.jwt = true),
            changed(&|a| a.relaxed = Some(("x".into(), "r".into(), "o".into(), 1))),
            changed(&|a| a.relaxed = Some(("y".into(), "r".into(), "o".into(), 1))),
            changed(&|a| a.relaxed = Some(("x".into(), "s".into(), "o".into(), 1))),
            changed(&|a| a.relaxed = Some(("x".into(), "r".into(), "p".into(), 1))),
            changed(&|a| a.relaxed = Some(("x".into(), "r".into(), "o".into(), 2))),
            changed(&|a| a.scopes = vec!["a".into()]),
            changed(&|a| a.scopes = vec!["ab".into()]),
            changed(&|a| a.lifetime = 61_000),
            changed(&|a| a.lifetime = 60_001),
            changed(&|a| a.host = "b".into()),
        ];
        for (at, one) in others.iter().enumerate() {
            assert_ne!(*one, key(&keys, &base), "{at}");
            assert!(others.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    /// However the bytes fall into pieces, the same bytes are hashed in the same order.
    #[test]
    fn long_fields_separate_like_short_ones() {
        let keys = GrantKeys::new(ISSUER, None, "orders", &[]);
        let here = Destination::of(&"https://a".parse().unwrap()).unwrap();
        let key = |audience: &str, resource: &str| {
            let target = Exchange::audience(audience).resource(resource).requires_none();
            keys.of_route(&target, &here).key(&facts())
        };
        let mut seen = Vec::new();
        for length in (1..40).chain(PIECE - 80..PIECE + 80).chain([2 * PIECE, 40 * PIECE]) {
            let text = "a".repeat(length);
            for key in [key(&text, "b"), key("b", &text), key(&text, &format!("{text}b"))] {
                assert!(!seen.contains(&key), "{length}");
                seen.push(key);
            }
            assert_eq!(key(&text, "b"), key(&text, "b"));
        }
    }

    #[test]
    fn each_relaxation_is_a_dimension() {
        let keys = GrantKeys::new(ISSUER, None, "orders", &[]);
        let here = Destination::of(&"https://a".parse().unwrap()).unwrap();
        let waiver = || Waiver::new("r", "o", UnixTime::from_secs(9));
        let base = || Exchange::audience("a");
        let all = [
            base(),
            base().dangerous_without_actor(waiver()),
            base().dangerous_later_expiry(waiver()),
            base().dangerous_opaque(waiver()),
            base().dangerous_foreign_audience("", waiver()),
            base().dangerous_later_expiry(waiver()).dangerous_opaque(waiver()),
        ]
        .map(|target| keys.of_route(&target.requires_none(), &here).key(&facts()));
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn what_is_fixed_per_exchanger_separates_too() {
        // Two exchangers draw different hash keys anyway; one seed for all shows that the fields count.
        let seed = Dimensions::new();
        let here = Destination::of(&"https://a".parse().unwrap()).unwrap();
        let target = Exchange::audience("a").requires_none();
        let acting = |issuer: &str, endpoint: Option<&str>, client: &str, actor: &[&str]| {
            GrantKeys::seeded(seed.clone(), issuer, endpoint, client, actor)
                .of_route(&target, &here)
                .key(&facts())
        };
        let with = |issuer: &str, endpoint: Option<&str>, client: &str| acting(issuer, endpoint, client, &[]);
        let base = with("i", None, "c");
        assert_eq!(base, with("i", None, "c"));
        for other in [
            with("ic", None, ""),
            with("i", Some(""), "c"),
            with("i", Some("c"), ""),
            with("i", None, "d"),
            with("j", None, "c"),
            acting("i", None, "c", &[""]),
            acting("i", None, "c", &["a"]),
            acting("i", None, "c", &["a", "b"]),
            acting("i", None, "c", &["ab"]),
        ] {
            assert_ne!(other, base);
        }
        assert_ne!(base, GrantKeys::new("i", None, "c", &[]).of_route(&target, &here).key(&facts()));
    }

    #[test]
    fn a_token_of_our_own_shares_its_key_with_nobody() {
        let keys = GrantKeys::new(ISSUER, None, "orders", &[]);
        let (here, there) = ("https://a", "https://b");
        let at = |url: &str| Destination::of(&url.parse().unwrap()).unwrap();
        let base = || AsOurselves::audience("a").scope("s");
        let own = |target: AsOurselves, url: &str| keys.own_key(&target, &at(url));
        let waiver = || Waiver::new("r", "o", UnixTime::from_secs(9));
        let all = [
            own(base().requires("x"), here),
            own(base().requires("x"), there),
            own(base().scope("t").requires("x"), here),
            own(base().resource("r").requires("x"), here),
            own(base().expects_audience("b").requires("x"), here),
            own(base().expects_subject("svc").requires("x"), here),
            own(base().lifetime_at_most(Duration::from_secs(9)).requires("x"), here),
            own(base().dangerous_opaque(waiver()).requires("x"), here),
            own(AsOurselves::audience("b").scope("s").requires("x"), here),
            own(AsOurselves::for_resource("a").scope("s").requires("x"), here),
            own(AsOurselves::audience("a").resource("a").scope("s").requires("x"), here),
            keys.of_route(&Exchange::audience("a").scope("s").requires("x"), &at(here)).key(&facts()),
            keys.of_route(&Exchange::for_resource("a").scope("s").requires("x"), &at(here)).key(&facts()),
            keys.of_route(&Exchange::audience("a").resource("a").scope("s").requires("x"), &at(here))
                .key(&facts()),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
        // Who may use the route is judged for each call and is no part of the grant.
        assert_eq!(all[0], own(base().requires_none(), here));
    }
}
