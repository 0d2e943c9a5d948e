//! Signed checkpoints: `c2sp.org/tlog-checkpoint` inside `c2sp.org/signed-note`, with Ed25519.
//!
//! ```text
//! orders.internal/audit                         who logs
//! 20852                                         how many records
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=  the root of their tree
//!
//! — orders.internal/audit Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hopguard_core::{ConfigErrors, Problems, redacted};
use zeroize::Zeroizing;

use super::tree::Hash;

/// The identifier of Ed25519 in keys and key ids.
const ED25519_NOTE: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";
/// No key file of ours is longer.
const LONGEST_KEY: usize = 4096;

/// The private key that signs a log's checkpoints, and the log's name (its *origin*).
///
/// What stands behind `#` in the name are the services that the log speaks for, commas between: `audit/7#orders`. The
/// name is a part of the key and of each checkpoint, so that nobody else's records become theirs by standing in it.
///
/// It is written as Go's `note` package writes signing keys:
/// `PRIVATE+KEY+<origin>+<key id>+<base64>`, one line.
///
/// ```
/// use hopguard_audit::{LogKey, LogVerifier};
///
/// let key = LogKey::generate("orders.internal/audit#orders")?;
/// let verifier: LogVerifier = key.verifier();
/// assert_eq!(LogVerifier::parse(&verifier.to_string())?, verifier);
/// assert!(verifier.services().eq(["orders"]));
/// # Ok::<(), hopguard_core::ConfigErrors>(())
/// ```
pub struct LogKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    verifier: LogVerifier,
}

/// The public half: all that is needed to verify a log. Written as `<origin>+<key id>+<base64>`.
#[derive(Clone, PartialEq, Eq)]
pub struct LogVerifier {
    origin: Box<str>,
    public: [u8; 32],
}

impl LogKey {
    /// A new key for the log named `origin`; by convention a URL without its scheme, `#`, and the service's name.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the name is empty, holds spaces or `+`, or names an empty service, or the system
    /// has no randomness.
    pub fn generate(origin: &str) -> Result<Self, ConfigErrors> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(&mut *seed).map_err(|_| problem("cannot be made: the system has no randomness"))?;
        Self::new(origin, seed)
    }

    /// Reads the key from a file.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the file cannot be read or holds no such key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| problem(&format!("`{}` cannot be read: {error}", path.display())))?;
        Self::parse(&text)
    }

    /// Reads the key from its text.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if it is no such key.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let wrong = || problem("is no signing key: it must read `PRIVATE+KEY+<origin>+<key id>+<base64>`");
        let text = text.trim();
        let rest = text.strip_prefix(PRIVATE).filter(|_| text.len() < LONGEST_KEY).ok_or_else(wrong)?;
        let (origin, id, data) = split(rest).ok_or_else(wrong)?;
        let data = Zeroizing::new(BASE64_STANDARD.decode(data).map_err(|_| wrong())?);
        let seed = data.strip_prefix(&[ED25519_NOTE]).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        let key = Self::new(origin, Zeroizing::new(seed.ok_or_else(wrong)?))?;
        if key.verifier.id() == id { Ok(key) } else { Err(wrong()) }
    }

    fn new(origin: &str, seed: Zeroizing<[u8; 32]>) -> Result<Self, ConfigErrors> {
        if !is_name(origin) {
            return Err(problem(
                "has a name that is empty, too long, holds spaces or `+`, names a service that is empty, or looks like a token",
            ));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| problem("is no Ed25519 key"))?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref());
        let public = public.map_err(|_| problem("is no Ed25519 key"))?;
        Ok(Self { pair, seed, verifier: LogVerifier { origin: origin.into(), public } })
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> LogVerifier {
        self.verifier.clone()
    }

    /// The private key's text, to be written to a file that nobody else reads.
    #[must_use]
    pub fn dangerous_expose(&self) -> Zeroizing<String> {
        let mut data = Zeroizing::new([ED25519_NOTE; 33]);
        for (to, from) in data.iter_mut().skip(1).zip(self.seed.iter()) {
            *to = *from;
        }
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(data.as_slice()));
        let id = self.verifier.id();
        Zeroizing::new(format!("{PRIVATE}{}+{id:08x}+{}", self.verifier.origin, &*encoded))
    }

    pub(crate) fn sign(&self, size: u64, root: Hash) -> String {
        let text = body(&self.verifier.origin, size, &root);
        let mut signature = self.verifier.id().to_be_bytes().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {} {}\n", self.verifier.origin, BASE64_STANDARD.encode(signature))
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl LogVerifier {
    /// Reads a verifier key, `<origin>+<key id>+<base64>`.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if it is none.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let wrong = || problem("is no verifier key: it must read `<origin>+<key id>+<base64>`");
        let text = text.trim();
        let (origin, id, data) = split(text).filter(|_| text.len() < LONGEST_KEY).ok_or_else(wrong)?;
        let data = BASE64_STANDARD.decode(data).map_err(|_| wrong())?;
        let public = data.strip_prefix(&[ED25519_NOTE]).and_then(|key| <[u8; 32]>::try_from(key).ok());
        let verifier = Self { origin: origin.into(), public: public.ok_or_else(wrong)? };
        if is_name(origin) && verifier.id() == id { Ok(verifier) } else { Err(wrong()) }
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The services that the log speaks for, as its name says. If there are none, nothing is known of whose word its
    /// records are.
    pub fn services(&self) -> impl Iterator<Item = &str> + Clone {
        services(&self.origin)
    }

    /// True if the log speaks for `service`.
    #[must_use]
    pub fn speaks_for(&self, service: &str) -> bool {
        self.services().any(|own| own == service)
    }

    /// Why nobody would believe what this log tells in the name of `service`. A key that names no service binds none.
    pub(crate) fn problem(&self, service: &str) -> Option<String> {
        let is_bound = self.services().next().is_some();
        (is_bound && !self.speaks_for(service)).then(|| {
            format!(
                "is written by `{service}` to a log whose key speaks for {}: name the service as the key does, or make a \
                 key with `hopguard audit key --service`",
                self.services().collect::<Vec<_>>().join(", ")
            )
        })
    }

    /// The first four bytes of SHA-256 over name, line break, algorithm and key.
    fn id(&self) -> u32 {
        let mut named = self.origin.as_bytes().to_vec();
        named.extend_from_slice(&[b'\n', ED25519_NOTE]);
        named.extend_from_slice(&self.public);
        digest(&SHA256, &named).as_ref().iter().take(4).fold(0, |id, byte| (id << 8) | u32::from(*byte))
    }

    /// The checkpoint that `note` is, if this key signed it.
    pub(crate) fn open(&self, note: &str) -> Option<Checkpoint> {
        let (text, signatures) = note.split_once("\n\n")?;
        let signed = format!("{text}\n");
        let key = UnparsedPublicKey::new(&ED25519, self.public);
        let id = self.id().to_be_bytes();
        let genuine = signatures.lines().any(|line| {
            let named = line.strip_prefix("— ").and_then(|line| line.split_once(' '));
            let Some((name, encoded)) = named else { return false };
            let Ok(signature) = BASE64_STANDARD.decode(encoded) else { return false };
            let signature = signature.strip_prefix(&id);
            name == &*self.origin && signature.is_some_and(|s| key.verify(signed.as_bytes(), s).is_ok())
        });
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let size_is_plain = size == "0" || !size.starts_with(['0', '+']);
        let root = Hash::try_from(BASE64_STANDARD.decode(root).ok()?).ok()?;
        let size = size.parse().ok().filter(|_| size_is_plain)?;
        (genuine && origin == &*self.origin).then_some(Checkpoint { size, root })
    }
}

impl fmt::Display for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = vec![ED25519_NOTE];
        data.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.origin, self.id(), BASE64_STANDARD.encode(data))
    }
}

impl fmt::Debug for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogVerifier({self})")
    }
}

/// What a genuine checkpoint says: so many records have this root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

fn body(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode(root))
}

/// The notes of a file that holds one after the other, each with the line on which it begins, and where a last one
/// begins that has no end.
///
/// What is followed by an empty line that is not within a note was torn when it was written, by a full disk, and is left
/// out: whoever can change the file could take it away as well.
pub(crate) fn notes(text: &str) -> (Vec<(usize, &str)>, Option<Torn>) {
    #[derive(PartialEq)]
    enum Within {
        Text,
        Empty,
        Signatures,
    }
    let (mut notes, mut within, mut at) = (Vec::new(), Within::Text, 0);
    let mut note = Torn { line: 1, at: 0 };
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let (is_empty, is_signature) = (line == "\n", line.starts_with('—'));
        let after = at + line.len();
        within = match within {
            _ if is_signature && !line.ends_with('\n') => within,
            _ if is_signature => Within::Signatures,
            Within::Text if is_empty && at > note.at => Within::Empty,
            Within::Text if !is_empty => Within::Text,
            _ if is_empty => {
                note = Torn { line: number + 2, at: after };
                Within::Text
            }
            whole => {
                if whole == Within::Signatures {
                    notes.extend(text.get(note.at..at).map(|whole| (note.line, whole)));
                }
                note = Torn { line: number + 1, at };
                Within::Text
            }
        };
        at = after;
    }
    if within == Within::Signatures {
        notes.extend(text.get(note.at..).map(|whole| (note.line, whole)));
        return (notes, None);
    }
    (notes, (note.at < text.len()).then_some(note))
}

/// Where a note begins that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) line: usize,
    /// Bytes before it.
    pub(crate) at: usize,
}

fn split(key: &str) -> Option<(&str, u32, &str)> {
    // Base64 has a `+` of its own, so the key is the third part and not the last.
    let (origin, rest) = key.split_once('+')?;
    let (id, data) = rest.split_once('+')?;
    let id = (id.len() == 8).then(|| u32::from_str_radix(id, 16).ok()).flatten()?;
    Some((origin, id, data))
}

fn services(origin: &str) -> impl Iterator<Item = &str> + Clone {
    origin.split_once('#').into_iter().flat_map(|(_, services)| services.split(','))
}

fn is_name(origin: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    // The name is shown with every checkpoint.
    let is_short = !origin.is_empty() && origin.len() <= 256;
    let names_all = services(origin).all(|service| !service.is_empty() && !service.contains('#'));
    is_short && names_all && origin.chars().all(plain) && redacted(origin) == origin
}

fn problem(what: &str) -> ConfigErrors {
    let mut problems = Problems::new();
    problems.add("audit.key", what);
    problems.into_errors()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the note of Go's `golang.org/x/mod/sumdb/note` documentation.
    const GO_KEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn keys_are_those_of_other_tools() {
        let key = LogKey::parse(GO_KEY).unwrap();
        assert_eq!(key.verifier().to_string(), GO_VERIFIER);
        assert_eq!(&*key.dangerous_expose(), GO_KEY);
        assert_eq!(LogVerifier::parse(GO_VERIFIER).unwrap(), key.verifier());
    }

    #[test]
    fn a_foreign_signature_of_the_same_scheme_is_verified() {
        // Signed by that package; not a checkpoint, so only the signature can be judged.
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signature =
            "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let bytes = BASE64_STANDARD.decode(signature).unwrap();
        let verifier = LogVerifier::parse(GO_VERIFIER).unwrap();
        let (id, signature) = bytes.split_at(4);
        assert_eq!(id, verifier.id().to_be_bytes());
        UnparsedPublicKey::new(&ED25519, verifier.public).verify(text.as_bytes(), signature).unwrap();
        assert_eq!(LogKey::parse(GO_KEY).unwrap().pair.sign(text.as_bytes()).as_ref(), signature);
    }

    #[test]
    fn a_changed_note_is_not_opened() {
        let key = LogKey::generate("orders.internal/audit").unwrap();
        let note = key.sign(7, [9; 32]);
        let verifier = key.verifier();
        assert_eq!(verifier.open(&note), Some(Checkpoint { size: 7, root: [9; 32] }));
        assert_eq!(LogKey::generate("orders.internal/audit").unwrap().verifier().open(&note), None);
        for at in 0..note.len() - 1 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(std::str::from_utf8(&bytes).ok().and_then(|note| verifier.open(note)), None, "{at}");
        }
    }

    #[test]
    fn notes_stand_one_after_the_other() {
        let key = LogKey::generate("o").unwrap();
        let (one, other) = (key.sign(1, [1; 32]), key.sign(2, [2; 32]));
        let both = format!("{one}{other}");
        assert_eq!(notes(&both), (vec![(1, &*one), (6, &*other)], None));
        assert_eq!(notes(""), (vec![], None));
        let torn = &both[..both.len() - 1];
        assert_eq!(notes(torn), (vec![(1, &*one)], Some(Torn { line: 6, at: one.len() })));
    }

    /// Wherever the disk was full, the next note begins apart, and is read.
    #[test]
    fn a_note_behind_a_torn_one_is_read() {
        let key = LogKey::generate("o").unwrap();
        let (one, other, third) = (key.sign(1, [1; 32]), key.sign(2, [2; 32]), key.sign(3, [3; 32]));
        for cut in (0..other.len()).filter(|cut| other.is_char_boundary(*cut)) {
            let torn = &other[..cut];
            let apart = if cut == 0 { "" } else { "\n\n" };
            let text = format!("{one}{torn}{apart}{third}{third}");
            let (found, rest) = notes(&text);
            let found: Vec<&str> = found.into_iter().map(|(_, note)| note).collect();
            assert_eq!((found, rest), (vec![&*one, &*third, &*third], None), "{cut}");
            let twice = format!("{torn}{apart}{torn}{apart}{third}{torn}");
            let (found, rest) = notes(&twice);
            assert_eq!(found.iter().map(|(_, note)| *note).collect::<Vec<_>>(), [&*third], "{cut}");
            assert_eq!(rest.map(|rest| &twice[rest.at..]), (cut > 0).then_some(torn), "{cut}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for wrong in ["", "PRIVATE+KEY+", "a+b+c", "a b+c74f20a3+AA==", &GO_KEY.replace("c74f", "c74e")] {
            assert!(LogKey::parse(wrong).is_err(), "{wrong}");
            assert!(LogVerifier::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["two words", "log#", "log#orders,", "log#orders#billing"] {
            assert!(LogKey::generate(wrong).is_err(), "{wrong}");
        }
        assert!(LogKey::generate("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln").is_err());
    }
}
