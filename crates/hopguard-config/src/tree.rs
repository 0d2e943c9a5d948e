//! The file and the environment as one tree, each value with the place it came from.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use toml::value::Datetime;
use zeroize::Zeroizing;

use crate::notes::Notes;

/// What variables that are meant for us begin with.
pub(crate) const PREFIX: &str = "HOPGUARD_";

/// Names and values of one table.
pub(crate) type Table = BTreeMap<String, Node>;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Line(usize),
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A value, as far as any setting wants it.
pub(crate) enum Value {
    Text(Zeroizing<String>),
    Integer(i64),
    Boolean(bool),
    Date(Datetime),
    List(Vec<Node>),
    Table(Table),
    /// No setting is one.
    Other,
    /// From the environment: text, or to be read as TOML where something else is wanted.
    Raw(Zeroizing<String>),
}

impl fmt::Debug for Value {
    // It may hold a secret that somebody put there although it does not belong there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value")
    }
}

impl Node {
    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
}

/// Reads the file. What is no TOML is noted, all of it, and makes an empty table.
pub(crate) fn of_toml(text: &str, notes: &Notes) -> Table {
    let (document, mut errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Reading { lines: Lines::of(text) }.table(document.get_ref());
    }
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let lines = Lines::of(text);
    for error in errors {
        let line = error.span().map_or(1, |span| lines.at(span.start));
        notes.add(format!("line {line}"), format!("is no TOML: {}", error.message()));
    }
    Table::new()
}

/// A value as TOML writes it.
pub(crate) fn of_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut node = Reading { lines: Lines::of(text) }.node(&value);
    node.place(origin);
    Some(node)
}

impl Node {
    fn place(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.place(origin)),
            Value::Table(table) => table.values_mut().for_each(|item| item.place(origin)),
            _ => {}
        }
    }
}

/// Where lines end, so that the line of a place is found without counting from the beginning each time.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let end = |(at, byte): (usize, u8)| (byte == b'\n').then_some(at);
        Self(text.bytes().enumerate().filter_map(end).collect())
    }

    fn at(&self, place: usize) -> usize {
        self.0.partition_point(|end| *end < place) + 1
    }
}

struct Reading {
    lines: Lines,
}

impl Reading {
    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let mut node = self.node(value);
            node.origin = Origin::Line(self.lines.at(key.span().start));
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            (key.to_string(), node)
        };
        table.iter().map(entry).collect()
    }

    fn list(&self, list: &DeArray<'_>) -> Vec<Node> {
        list.iter().map(|item| self.node(item)).collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let origin = Origin::Line(self.lines.at(value.span().start));
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(Zeroizing::new(text.to_string())),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other, Value::Integer)
            }
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Datetime(date) => Value::Date(*date),
            DeValue::Array(list) => Value::List(self.list(list)),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other,
        };
        Node { origin, value }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Item(usize),
    Name(String),
}

/// Lays what the environment says over what the file says.
///
/// `HOPGUARD_INBOUND__ISSUER__0__URL` is `inbound.issuer[0].url`. Every variable that begins so is meant for us: one
/// that names no setting is a problem, because a misspelled one would otherwise do nothing, unseen.
pub(crate) fn overlay(
    root: &mut Table,
    variables: impl IntoIterator<Item = (String, Result<String, ()>)>,
    notes: &Notes,
) {
    let mut sorted = BTreeMap::new();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let steps: Vec<Step> = path.split("__").map(step).collect();
        if steps.iter().any(|step| matches!(step, Step::Name(name) if !is_name(name))) {
            notes.add(name, "names no setting: a variable is HOPGUARD_, then names in capitals between __");
            continue;
        }
        match value {
            // By place, so that the second item of a list comes after the first.
            Ok(value) => _ = sorted.insert(steps, (name, Zeroizing::new(value))),
            Err(()) => notes.add(name, "is not UTF-8"),
        }
    }
    for (steps, (name, value)) in sorted {
        let origin = Origin::Variable(name.clone());
        let leaf = Node { origin: origin.clone(), value: Value::Raw(value) };
        let Some((Step::Name(first), rest)) = steps.split_first() else {
            notes.add(name, "names no setting: it begins with a number");
            continue;
        };
        let node = root.entry(first.clone()).or_insert_with(|| empty(rest, &origin));
        if let Err(problem) = put(node, rest, leaf, &origin) {
            notes.add(name, problem);
        }
    }
}

fn step(text: &str) -> Step {
    // `usize` would also take `+1` and leading zeros, two names for one place.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(number) if plain => Step::Item(number),
        _ => Step::Name(text.to_ascii_lowercase()).checked(text),
    }
}

impl Step {
    /// Small letters in the variable make a name that is none.
    fn checked(self, text: &str) -> Self {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) { Self::Name(String::new()) } else { self }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What has to stand where `rest` goes on.
fn empty(rest: &[Step], origin: &Origin) -> Node {
    let value = match rest.first() {
        Some(Step::Item(_)) => Value::List(Vec::new()),
        Some(Step::Name(_)) => Value::Table(Table::new()),
        None => Value::Other,
    };
    Node { origin: origin.clone(), value }
}

fn put(node: &mut Node, steps: &[Step], leaf: Node, origin: &Origin) -> Result<(), &'static str> {
    let Some((first, rest)) = steps.split_first() else {
        if matches!(node.value, Value::Table(_) | Value::List(_)) && !is_list_of_values(node) {
            return Err("names a group of settings: name one of them");
        }
        *node = leaf;
        return Ok(());
    };
    let inner = match (first, &mut node.value) {
        (Step::Name(name), Value::Table(table)) => {
            table.entry(name.clone()).or_insert_with(|| empty(rest, origin))
        }
        (Step::Item(index), Value::List(items)) => {
            if *index == items.len() {
                items.push(empty(rest, origin));
            }
            items.get_mut(*index).ok_or("counts past the end of a list: the next item is missing")?
        }
        (Step::Item(_), _) => return Err("counts in what is no list"),
        (Step::Name(_), _) => return Err("goes on below what is no group of settings"),
    };
    put(inner, rest, leaf, origin)
}

/// True for lists that one variable can replace as a whole.
fn is_list_of_values(node: &Node) -> bool {
    node.items().is_some_and(|items| items.iter().all(|item| item.table().is_none()))
}
