//! What the manifests of the workspace say, as `cargo metadata` reads them.

use std::path::Path;

use serde_json::Value;

use crate::command;

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The first folder on the way from the root: `crates`, `examples`, `tests`, `bench`, `xtask`.
    pub(crate) folder: String,
    pub(crate) features: Vec<String>,
    pub(crate) binaries: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a package's dependencies.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package's own name, whatever it was renamed to.
    pub(crate) name: String,
    /// Whether only tests, examples and benches see it.
    pub(crate) dev: bool,
}

/// Every package of the workspace, sorted by name.
pub(crate) fn members() -> Result<Vec<Member>, String> {
    let text =
        command::output(command::cargo(["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_slice(&text)
        .map_err(|error| format!("`cargo metadata` printed no JSON: {error}"))?;
    let root = Path::new(string(&metadata, "workspace_root")?);
    let mut members: Vec<Member> =
        list(&metadata, "packages")?.iter().map(|package| member(package, root)).collect::<Result<_, _>>()?;
    members.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(members)
}

fn member(package: &Value, root: &Path) -> Result<Member, String> {
    let name = string(package, "name")?.to_owned();
    let folder = Path::new(string(package, "manifest_path")?)
        .strip_prefix(root)
        .ok()
        .and_then(|path| path.components().next())
        .ok_or_else(|| format!("{name} lies outside the workspace"))?
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    let features = package
        .get("features")
        .and_then(Value::as_object)
        .ok_or("`features` is missing in `cargo metadata`")?;
    let mut binaries = Vec::new();
    for target in list(package, "targets")? {
        if list(target, "kind")?.iter().any(|kind| kind.as_str() == Some("bin")) {
            binaries.push(string(target, "name")?.to_owned());
        }
    }
    let dependencies = list(package, "dependencies")?
        .iter()
        .map(|dependency| {
            let dev = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            Ok(Dependency { name: string(dependency, "name")?.to_owned(), dev })
        })
        .collect::<Result<_, String>>()?;
    Ok(Member { name, folder, features: features.keys().cloned().collect(), binaries, dependencies })
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("`{key}` is missing in `cargo metadata`"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], String> {
    let list = value.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| format!("`{key}` is missing in `cargo metadata`"))
}
