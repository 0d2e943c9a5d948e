//! Which crate of the workspace may depend on which; an edge that the table does not know must never pass.
//!
//! Crates are split by what each may do (open sockets, read the clock, write files): a new edge is a permission.

use crate::metadata::Member;

/// Each place of the workspace and all the places that it may use, written out: no edge is implied by another.
///
/// A place is a crate without its `hopguard-`, or the folder for what is not a library.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("client", &["core"]),
    ("bind", &["core"]),
    ("policy", &["core"]),
    ("audit", &["core"]),
    ("verify", &["core", "client"]),
    ("exchange", &["core", "client", "verify"]),
    ("tower", &["core", "client", "bind", "policy", "audit", "verify", "exchange"]),
    ("config", &["core", "client", "bind", "policy", "audit", "verify", "exchange", "tower"]),
    ("metrics", &["core", "client", "bind", "policy", "audit", "verify", "exchange", "tower"]),
    ("axum", &["core", "client", "bind", "policy", "audit", "verify", "exchange", "tower"]),
    ("reqwest", &["core", "client", "bind", "policy", "audit", "verify", "exchange", "tower"]),
    (
        "hopguard",
        &[
            "core", "client", "bind", "policy", "audit", "verify", "exchange", "tower", "axum", "reqwest",
            "config", "metrics",
        ],
    ),
    ("sts", &["core", "client", "verify", "audit"]),
    (
        "cli",
        &[
            "core", "client", "bind", "policy", "audit", "verify", "exchange", "tower", "axum", "reqwest",
            "config", "metrics", "hopguard", "sts",
        ],
    ),
    (
        "examples",
        &[
            "core", "client", "bind", "policy", "audit", "verify", "exchange", "tower", "axum", "reqwest",
            "config", "metrics", "hopguard", "sts",
        ],
    ),
    (
        "testkit",
        &[
            "core", "client", "bind", "policy", "audit", "verify", "exchange", "tower", "axum", "reqwest",
            "config", "metrics", "hopguard", "sts",
        ],
    ),
    (
        "tests",
        &[
            "core", "client", "bind", "policy", "audit", "verify", "exchange", "tower", "axum", "reqwest",
            "config", "metrics", "hopguard", "sts", "cli", "examples", "testkit",
        ],
    ),
    (
        "bench",
        &[
            "core", "client", "bind", "policy", "audit", "verify", "exchange", "tower", "axum", "reqwest",
            "config", "metrics", "hopguard", "sts", "cli", "examples", "testkit",
        ],
    ),
    // It must build in seconds, and run while the rest does not compile.
    ("xtask", &[]),
];

/// One package's dependency on another package of the workspace.
#[derive(Clone, Debug)]
struct Edge {
    from: Node,
    to: Node,
    dev: bool,
}

#[derive(Clone, Debug)]
struct Node {
    package: String,
    place: String,
}

impl Node {
    fn new(package: &str, folder: &str) -> Self {
        let place =
            if folder == "crates" { package.strip_prefix("hopguard-").unwrap_or(package) } else { folder };
        Self { package: package.to_owned(), place: place.to_owned() }
    }
}

/// Finds every edge of the workspace that the design does not know.
pub(crate) fn check(members: &[Member]) -> Result<(), String> {
    let nodes: Vec<Node> = members.iter().map(|member| Node::new(&member.name, &member.folder)).collect();
    let mut problems = unknown(&nodes);
    let edges: Vec<Edge> = members
        .iter()
        .zip(&nodes)
        .flat_map(|(member, from)| member.dependencies.iter().map(move |dependency| (dependency, from)))
        .filter_map(|(dependency, from)| {
            let to = nodes.iter().find(|node| node.package == dependency.name)?;
            Some(Edge { from: from.clone(), to: to.clone(), dev: dependency.dev })
        })
        .collect();
    problems.extend(forbidden(&edges));
    if problems.is_empty() {
        println!("   {} packages, {} edges between them, all allowed", nodes.len(), edges.len());
        return Ok(());
    }
    Err(problems.join("; "))
}

/// A package that stands nowhere in the table could depend on anything, so it is a problem by itself.
fn unknown(nodes: &[Node]) -> Vec<String> {
    nodes
        .iter()
        .filter(|node| uses(&node.place).is_none())
        .map(|node| format!("{} has no row in the table of xtask/src/edges.rs", node.package))
        .collect()
}

/// One sentence for each edge that is not allowed.
fn forbidden(edges: &[Edge]) -> Vec<String> {
    edges
        .iter()
        .filter_map(|edge| {
            let (from, to) = (&edge.from.package, &edge.to.package);
            if !edge.dev {
                let allowed = uses(&edge.from.place).is_some_and(|row| row.contains(&edge.to.place.as_str()));
                return (!allowed).then(|| format!("{from} must not depend on {to}"));
            }
            // INVARIANT: no library dev-depends on the testkit, nor on any other crate above it: its unit tests
            // would link a second copy of the library, whose types are not those under test. Such tests live in
            // `tests/`.
            let above = uses(&edge.to.place).is_none_or(|row| row.contains(&edge.from.place.as_str()));
            above.then(|| format!("{from} must not dev-depend on {to}, which is built on it"))
        })
        .collect()
}

fn uses(place: &str) -> Option<&'static [&'static str]> {
    MAY_USE.iter().find(|(name, _)| *name == place).map(|(_, row)| *row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: (&str, &str), to: (&str, &str), dev: bool) -> Edge {
        Edge { from: Node::new(from.0, from.1), to: Node::new(to.0, to.1), dev }
    }

    #[track_caller]
    fn judged(from: (&str, &str), to: (&str, &str), dev: bool, expected: Result<(), &str>) {
        let found = forbidden(&[edge(from, to, dev)]);
        match expected {
            Ok(()) => assert!(found.is_empty(), "{found:?}"),
            Err(sentence) => assert_eq!(found, [sentence]),
        }
    }

    const CORE: (&str, &str) = ("hopguard-core", "crates");
    const EXCHANGE: (&str, &str) = ("hopguard-exchange", "crates");
    const TOWER: (&str, &str) = ("hopguard-tower", "crates");
    const FACE: (&str, &str) = ("hopguard", "crates");
    const STS: (&str, &str) = ("hopguard-sts", "crates");
    const TESTKIT: (&str, &str) = ("hopguard-testkit", "crates");
    const CHAIN: (&str, &str) = ("chain", "examples");
    const TESTS: (&str, &str) = ("hopguard-tests", "tests");
    const XTASK: (&str, &str) = ("xtask", "xtask");

    #[test]
    fn forbidden_edges_are_found() {
        judged(EXCHANGE, CORE, false, Ok(()));
        judged(CHAIN, FACE, false, Ok(()));
        judged(CHAIN, STS, false, Ok(()));
        judged(TESTS, TESTKIT, false, Ok(()));

        judged(CORE, TOWER, false, Err("hopguard-core must not depend on hopguard-tower"));
        judged(TOWER, STS, false, Err("hopguard-tower must not depend on hopguard-sts"));
        judged(STS, TOWER, false, Err("hopguard-sts must not depend on hopguard-tower"));
        judged(FACE, TESTKIT, false, Err("hopguard must not depend on hopguard-testkit"));
        judged(CHAIN, TESTKIT, false, Err("chain must not depend on hopguard-testkit"));
        judged(XTASK, CORE, false, Err("xtask must not depend on hopguard-core"));
        judged(("new", "crates"), CORE, false, Err("new must not depend on hopguard-core"));
    }

    #[test]
    fn a_library_keeps_the_testkit_out_of_its_dev_dependencies() {
        judged(TOWER, CORE, true, Ok(()));
        judged(TESTS, TESTKIT, true, Ok(()));

        let sentence = "hopguard-core must not dev-depend on hopguard-testkit, which is built on it";
        judged(CORE, TESTKIT, true, Err(sentence));
        judged(
            FACE,
            TESTKIT,
            true,
            Err("hopguard must not dev-depend on hopguard-testkit, which is built on it"),
        );
        judged(
            CORE,
            TOWER,
            true,
            Err("hopguard-core must not dev-depend on hopguard-tower, which is built on it"),
        );
    }

    #[test]
    fn a_package_without_a_row_is_found() {
        assert_eq!(unknown(&[Node::new(CORE.0, CORE.1), Node::new(CHAIN.0, CHAIN.1)]), Vec::<String>::new());
        assert_eq!(unknown(&[Node::new("hopguard-extra", "crates")]).len(), 1);
    }

    #[test]
    fn the_table_is_closed_and_has_no_cycle() {
        for (place, row) in MAY_USE {
            assert!(!row.contains(place), "{place} uses itself");
            for used in *row {
                for below in uses(used).expect("every place has a row") {
                    assert!(row.contains(below), "{place} uses {used}, which uses {below}");
                }
            }
        }
    }
}
