//! Scopes as a set (RFC 6749 section 3.3).

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A set of scope tokens, sorted and without repetition. Cloning it copies no text.
///
/// It is kept as the text that it prints: one piece of memory, whatever the number of scopes, and equal texts are
/// equal sets.
///
/// ```
/// use hopguard_core::ScopeSet;
///
/// let held = ScopeSet::parse("orders:read orders:write")?;
/// assert!(ScopeSet::parse("orders:read")?.is_subset_of(&held));
/// # Ok::<(), hopguard_core::InvalidScope>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Arc<str>);

/// A scope token with a character that RFC 6749 section 3.3 does not allow, or an empty one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is printable ASCII without space, quote or backslash, and not empty")]
pub struct InvalidScope;

impl ScopeSet {
    /// The set that grants nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a space-delimited list. An empty text is the empty set.
    ///
    /// # Errors
    ///
    /// [`InvalidScope`] on any character outside RFC 6749's `scope-token`, so that a tab or a line break
    /// can neither join nor split two scopes.
    pub fn parse(list: &str) -> Result<Self, InvalidScope> {
        // Most issuers write a list in order, each scope once: then it is the text that is kept.
        if is_in_order(list) {
            return if list.bytes().all(|byte| is_allowed(byte) || byte == b' ') {
                Ok(Self(list.into()))
            } else {
                Err(InvalidScope)
            };
        }
        Self::from_tokens(list.split(' ').filter(|token| !token.is_empty()))
    }

    /// Collects single scope tokens.
    ///
    /// # Errors
    ///
    /// [`InvalidScope`] if one is empty or has a character that is not allowed.
    pub fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidScope> {
        let mut all = Vec::new();
        for token in tokens {
            if token.is_empty() || !token.bytes().all(is_allowed) {
                return Err(InvalidScope);
            }
            all.push(token);
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self::joined(&all))
    }

    fn joined(sorted: &[&str]) -> Self {
        if sorted.is_empty() { Self::default() } else { Self(sorted.join(" ").into()) }
    }

    /// True if nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        words(&self.0).filter(|scope| !scope.is_empty())
    }

    /// True if `scope` is in the set, letter by letter.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.iter().any(|held| held == scope)
    }

    /// True if every scope of this set is in `other`.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        // Both are sorted: each is walked once, so that two long sets cost no more than their lengths.
        let mut held = other.0.as_bytes();
        self.iter().all(|scope| {
            while !held.is_empty() {
                // What ends where the scope does, and spells it, is the scope; its letters hold no space.
                if let Some((same, rest)) = held.split_at_checked(scope.len())
                    && same == scope.as_bytes()
                    && matches!(rest.first(), None | Some(b' '))
                {
                    held = rest.get(1..).unwrap_or_default();
                    return true;
                }
                let end = word_end(held);
                held = held.get(end + 1..).unwrap_or_default();
            }
            false
        })
    }

    /// The scopes that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::joined(&self.iter().filter(|scope| other.contains(scope)).collect::<Vec<_>>())
    }

    /// True if at least one scope is in both; the empty set shares nothing.
    #[must_use]
    pub fn shares_any(&self, other: &Self) -> bool {
        self.iter().any(|scope| other.contains(scope))
    }
}

/// RFC 6749's `scope-token`.
fn is_allowed(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

/// Where the first space is, or the end. Eight bytes at once: scopes are too short for a vector's worth.
fn word_end(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (chunks, rest) = text.as_chunks();
    for (at, chunk) in chunks.iter().enumerate() {
        let other = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b' '));
        // The lowest byte that is zero has the lowest high bit set.
        let zeros = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if zeros != 0 {
            return at * 8 + zeros.trailing_zeros() as usize / 8;
        }
    }
    let whole = text.len() - rest.len();
    whole + rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len())
}

/// What stands between single spaces, as `split` finds it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = word_end(text.as_bytes());
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

/// True if it is the text of a set as it is kept.
fn is_in_order(list: &str) -> bool {
    let mut last = "";
    words(list).all(|word| std::mem::replace(&mut last, word) < word)
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({})", crate::redacted(&self.to_string()))
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = ScopeSet> {
        proptest::collection::vec("[a-d]", 0..5)
            .prop_map(|tokens| ScopeSet::from_tokens(tokens.iter().map(String::as_str)).unwrap())
    }

    #[test]
    fn a_word_ends_at_the_first_space() {
        for length in 0..40 {
            for first in 0..=length {
                for second in first..=length {
                    // Bytes beside a space in value, and with the high bit set, must not pass for one.
                    let mut text: Vec<u8> = (0..length).map(|at| [b'!', 0x1f, 0xa0, b'x'][at % 4]).collect();
                    for at in [first, second] {
                        text.get_mut(at).into_iter().for_each(|byte| *byte = b' ');
                    }
                    assert_eq!(word_end(&text), first, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn intersection_is_the_greatest_lower_bound(a in set(), b in set(), c in set()) {
            let meet = a.intersection(&b);
            prop_assert!(meet.is_subset_of(&a) && meet.is_subset_of(&b));
            prop_assert_eq!(c.is_subset_of(&a) && c.is_subset_of(&b), c.is_subset_of(&meet));
            prop_assert_eq!(meet, b.intersection(&a));
        }

        #[test]
        fn subset_is_a_partial_order(a in set(), b in set(), c in set()) {
            prop_assert!(a.is_subset_of(&a));
            prop_assert!(!(a.is_subset_of(&b) && b.is_subset_of(&c)) || a.is_subset_of(&c));
            prop_assert_eq!(a.is_subset_of(&b) && b.is_subset_of(&a), a == b);
        }

        #[test]
        fn printing_and_reading_is_the_identity(a in set()) {
            prop_assert_eq!(ScopeSet::parse(&a.to_string()).unwrap(), a);
        }
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for text in ["a\tb", "a\nb", "a\"b", "a\\b", "ä", "a\u{a0}b"] {
            assert_eq!(ScopeSet::parse(text), Err(InvalidScope), "{text:?}");
        }
        assert_eq!(ScopeSet::from_tokens([""]), Err(InvalidScope));
        assert_eq!(ScopeSet::from_tokens(["a b"]), Err(InvalidScope));
    }

    #[test]
    fn a_list_in_any_shape_is_one_set() {
        let set = ScopeSet::from_tokens(["a", "ab", "b"]).unwrap();
        for list in ["a ab b", "b a ab", " a  ab b ", "a ab ab b", "ab a b"] {
            assert_eq!(ScopeSet::parse(list).unwrap(), set, "{list:?}");
            assert_eq!(ScopeSet::parse(list).unwrap().to_string(), "a ab b");
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), ["a", "ab", "b"]);
        assert!(ScopeSet::parse(" ").unwrap().is_empty());
    }

    #[test]
    fn the_empty_set_holds_nothing() {
        assert!(ScopeSet::parse("").unwrap().is_empty());
        assert!(!ScopeSet::empty().contains(""));
        assert!(!ScopeSet::empty().shares_any(&ScopeSet::empty()));
    }

    #[test]
    fn what_is_in_order_is_kept_as_it_is() {
        for (list, expected) in [
            ("", false),
            ("a", true),
            ("a ab b", true),
            ("b a", false),
            ("a a", false),
            (" a", false),
            ("a ", false),
        ] {
            assert_eq!(is_in_order(list), expected, "{list:?}");
        }
    }
}
