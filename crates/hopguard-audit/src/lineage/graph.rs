//! Which token was made from which, as a graph. Logs can be forged: it may have circles, chains of any length
//! and tokens with many parents, so that everything here walks without recursion and visits each token and
//! edge once.

use std::collections::{BTreeMap, BTreeSet};

/// Tokens by fingerprint, and what was made from each.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// `tokens`, such that each stands after those it was made from, bar circles: of one, the token that comes first in
/// `tokens` does. Edges to other tokens count for nothing.
pub(super) fn sources_first<'a>(tokens: &[&'a str], children: &'a Edges) -> Vec<&'a str> {
    let mut fresh: BTreeSet<&str> = tokens.iter().copied().collect();
    let mut finished = Vec::with_capacity(tokens.len());
    for &token in tokens {
        walk(token, children, &mut fresh, &mut finished);
    }
    finished.reverse();
    finished
}

/// The tokens that are their own ancestors, each circle by itself, in the order of `tokens`.
pub(super) fn circles<'a>(tokens: &[&'a str], children: &'a Edges, parents: &'a Edges) -> Vec<Vec<&'a str>> {
    // S. R. Kosaraju's two walks: along the edges, then against them in the order of the first.
    let mut fresh: BTreeSet<&str> = tokens.iter().copied().collect();
    let mut found = Vec::new();
    for token in sources_first(tokens, children) {
        let mut circle = Vec::new();
        walk(token, parents, &mut fresh, &mut circle);
        let of_itself = children.get(token).is_some_and(|below| below.contains(token));
        if circle.len() > 1 || of_itself {
            found.push(circle);
        }
    }
    found
}

/// Takes out of `fresh` whatever can be reached, and adds it to `finished`, each token after those beyond it.
fn walk<'a>(from: &'a str, edges: &'a Edges, fresh: &mut BTreeSet<&'a str>, finished: &mut Vec<&'a str>) {
    let beyond = |token: &str| edges.get(token).into_iter().flatten();
    if !fresh.remove(from) {
        return;
    }
    let mut path = vec![(from, beyond(from))];
    while let Some((token, rest)) = path.last_mut() {
        match rest.find(|next| fresh.remove(next.as_str())) {
            Some(next) => path.push((next, beyond(next))),
            None => {
                finished.push(token);
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(text: &str) -> (Edges, Edges) {
        let (mut children, mut parents) = (Edges::new(), Edges::new());
        for (parent, child) in text.split_whitespace().filter_map(|edge| edge.split_once('>')) {
            children.entry(parent.into()).or_default().insert(child.into());
            parents.entry(child.into()).or_default().insert(parent.into());
        }
        (children, parents)
    }

    #[track_caller]
    fn ordered(text: &str, tokens: &[&str], order: &str, expected: &[&[&str]]) {
        let (children, parents) = edges(text);
        assert_eq!(sources_first(tokens, &children).join(" "), order, "{text}");
        let mut found = circles(tokens, &children, &parents);
        found.iter_mut().for_each(|circle| circle.sort_unstable());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn circles_are_told_from_what_they_hang_together_with() {
        ordered("", &["a", "b"], "b a", &[]);
        ordered("a>b b>c", &["c", "b", "a"], "a b c", &[]);
        ordered("a>a", &["a"], "a", &[&["a"]]);
        ordered("a>b b>a", &["a", "b"], "a b", &[&["a", "b"]]);
        ordered("a>b b>a", &["b", "a"], "b a", &[&["a", "b"]]);
        // A circle above, one below, and a diamond between.
        let between = "a>b b>a b>c b>d c>e d>e e>f f>e";
        ordered(between, &["f", "e", "d", "c", "b", "a"], "b a c d f e", &[&["a", "b"], &["e", "f"]]);
    }
}
