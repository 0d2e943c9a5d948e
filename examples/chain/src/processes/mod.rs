//! The same chain as four processes, each with its own durable log and key; then the logs are merged, to tell a
//! theft from delegation.
//!
//! The parent starts itself four times with `--role`, sends one honest request through, and then steals: a careless
//! [`tap`] in front of inventory kept what orders sent, and the thief uses it from another address. Inventory
//! cannot know better, it is a bearer token; the logs together do.

mod parent;
mod role;
mod tap;

use std::path::{Path, PathBuf};

use hopguard_audit::lineage::{Lineage, LogSource, Node, Suspicion, SuspicionKind};
use hopguard_audit::{LogVerifier, verify};
use serde_json::{Value, json};

pub use self::role::run as role;

use self::parent::Children;
use crate::system::Failure;

/// The trace of the honest request, and the one that the thief makes up.
const HONEST: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const THIEF: &str = "badbadbadbadbadbadbadbadbadbadba";

/// What the logs said together.
struct Report {
    folder: PathBuf,
    answer: String,
    stolen: Vec<(&'static str, u16)>,
    /// The thief has an address of its own.
    apart: bool,
    logs: Vec<Value>,
    trees: Vec<Node>,
    suspicions: Vec<Suspicion>,
    problems: Vec<String>,
}

/// Runs it all; true if everything came out as it must. The logs stay in `folder` if one is named.
pub async fn run(folder: Option<&Path>, as_json: bool) -> Result<bool, Failure> {
    let own = std::env::temp_dir().join(format!("hopguard-chain-{}", std::process::id()));
    let root = folder.unwrap_or(&own);
    std::fs::create_dir_all(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let report = observe(root).await;
    if folder.is_none() {
        std::fs::remove_dir_all(&own)?;
    }
    let report = report?;
    say!("{}", if as_json { report.json().to_string() } else { report.told(folder.is_some()) });
    Ok(report.problems.is_empty())
}

async fn observe(root: &Path) -> Result<Report, Failure> {
    let mut children = Children::start(root).await?;
    let answer = children.honest(HONEST).await?;
    let (stolen, apart) = children.theft(THIEF).await?;
    let verifiers = children.end()?;

    let mut problems = Vec::new();
    let (logs, sources) = judge(root, &verifiers, &mut problems)?;
    let lineage = Lineage::read_sources(&sources, |_, _| ())?;
    let trees = lineage.trace(HONEST);
    let suspicions = lineage.suspicions();
    if !lineage.unreadable().is_empty() {
        problems.push("a log holds lines that are no event".into());
    }
    let mut report =
        Report { folder: root.to_owned(), answer, stolen, apart, logs, trees, suspicions, problems };
    report.judge();
    Ok(report)
}

/// Was any log changed? Each is held against the checkpoints that were shipped elsewhere. What they cover is read on.
fn judge(
    root: &Path,
    verifiers: &[(&'static str, LogVerifier)],
    problems: &mut Vec<String>,
) -> Result<(Vec<Value>, Vec<LogSource>), Failure> {
    let (mut logs, mut sources) = (Vec::new(), Vec::new());
    for (name, verifier) in verifiers {
        let shipped = std::fs::read_to_string(root.join("shipped").join(name))?;
        let found = verify(root.join("logs").join(name), verifier, &[&shipped])?;
        if !found.is_sound() || found.signed != found.records {
            problems.push(format!("the log of {name} is not sound and signed to its end"));
        }
        logs.push(json!({ "service": name, "key": verifier.to_string(), "sound": found.is_sound(),
            "records": found.records, "signed": found.signed }));
        let source =
            |(file, lines): (PathBuf, u64)| LogSource::at(file).lines_at_most(lines).speaks_for(*name);
        sources.extend(found.signed_files.into_iter().map(source));
    }
    Ok((logs, sources))
}

impl Report {
    /// The token that was stolen: the last of the honest request's chain.
    fn grant(&self) -> Option<&Node> {
        self.trees.first()?.children.first()?.children.first()
    }

    fn judge(&mut self) {
        let mut problems = Vec::new();
        let said: Vec<_> = self.answer.split("says inventory to ").collect();
        if said.len() != 2 {
            problems.push(format!("the honest request was answered `{}`", self.answer));
        }
        let expected: &[(&str, u16)] = &[("inventory", 200), ("orders", 401)];
        if self.stolen != expected {
            problems.push(format!("the thief was answered {:?}", self.stolen));
        }
        let Some(grant) = self.grant() else {
            problems.push("the tree of the honest request is not three tokens deep".into());
            self.problems.extend(problems);
            return;
        };
        if self.trees.len() != 1 || !grant.children.is_empty() || grant.said_by != ["orders", "sts"] {
            problems.push("the tree of the honest request is not what was exchanged".into());
        }
        let mut kinds = vec![SuspicionKind::PresentationUnmatched, SuspicionKind::UsedElsewhere];
        if self.apart {
            kinds.push(SuspicionKind::TwoPeers);
        }
        // The thief's two uses are both unmatched: no log of orders has such a call.
        let found: std::collections::BTreeSet<_> = self.suspicions.iter().map(|s| s.kind).collect();
        if found != kinds.into_iter().collect() {
            problems.push(format!("suspected is {found:?}"));
        }
        if self.suspicions.iter().any(|s| s.fingerprint != grant.token.fingerprint) {
            problems.push("a token is suspected that was not stolen".into());
        }
        self.problems.extend(problems);
    }

    fn json(&self) -> Value {
        json!({ "answer": self.answer, "stolen": self.stolen, "apart": self.apart, "logs": self.logs,
            "trees": self.trees, "suspicions": self.suspicions, "problems": self.problems })
    }

    fn told(&self, kept: bool) -> String {
        let mut text = format!(
            "Four processes: the authorization server, gateway, orders, inventory.\n\n\
             One good request: GET /orders/42 at the gateway.\nanswer: {}\n\n\
             Then what orders had sent to inventory is copied, and used again from elsewhere:\n",
            self.answer
        );
        for (service, status) in &self.stolen {
            text.push_str(&format!("  {service} answers {status}\n"));
        }
        text.push_str("\nThe four logs, each verified against its shipped checkpoints:\n");
        for log in &self.logs {
            text.push_str(&format!(
                "  {}: {} records, {} of them signed, {}\n",
                log["service"].as_str().unwrap_or_default(),
                log["records"],
                log["signed"],
                if log["sound"] == true { "sound" } else { "CHANGED" }
            ));
        }
        text.push_str("\nMerged, the tree of the good request:\n");
        self.trees.iter().for_each(|tree| branch(tree, 0, &mut text));
        text.push_str("\nWhat does not fit:\n");
        for suspicion in &self.suspicions {
            let token = suspicion.fingerprint.get(..12).unwrap_or_default();
            text.push_str(&format!("  {} {token}: {}\n", suspicion.kind.name(), suspicion.reason));
        }
        if kept {
            let logs = self.folder.join("logs");
            text.push_str(&format!(
                "\nLook for yourself: cargo run -p hopguard-cli -- audit trace {HONEST} {} --html > chain.html\n",
                logs.display()
            ));
        }
        text.push_str(&match self.problems.as_slice() {
            [] => "\nThe theft was told from delegation.".to_owned(),
            problems => format!("\nNOT as it must be:\n  {}", problems.join("\n  ")),
        });
        text
    }
}

fn branch(node: &Node, depth: usize, text: &mut String) {
    let token = &node.token;
    let shown: Vec<_> = node.presentations.iter().map(|p| format!("{}: {}", p.service, p.code)).collect();
    text.push_str(&format!(
        "  {}{} {} at {}, held by {}; shown to {}\n",
        "   ".repeat(depth),
        token.short(),
        token.subject,
        token.audiences.join(" "),
        token.holder().unwrap_or("nobody"),
        shown.join(", ")
    ));
    node.children.iter().for_each(|child| branch(child, depth + 1, text));
}
