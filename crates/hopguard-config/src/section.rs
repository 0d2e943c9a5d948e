//! Reads one table: what a setting must be, what is missing, and what nobody asked for.

use std::path::PathBuf;
use std::time::Duration;

use hopguard_core::{UnixTime, minutes, seconds};
use toml::value::{Datetime, Offset};

use crate::notes::Notes;
use crate::tree::{Node, Origin, Table, Value, of_value};

/// One table while it is read. When it goes, whatever nobody read is a problem.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    path: String,
    table: &'a Table,
    known: Vec<&'static str>,
    /// Something is so wrong that the rest cannot be judged.
    lenient: bool,
    pub(crate) notes: &'a Notes,
}

impl<'a> Section<'a> {
    pub(crate) fn new(path: &str, table: &'a Table, notes: &'a Notes) -> Self {
        Self { path: path.to_owned(), table, known: Vec::new(), lenient: false, notes }
    }

    /// The path of `key`.
    pub(crate) fn setting(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn problem(&self, key: &str, problem: impl Into<String>) {
        self.notes.add(self.setting(key), problem);
    }

    /// Says nothing about settings that were not read: a choice that decides about them is missing.
    pub(crate) fn be_lenient(&mut self) {
        self.lenient = true;
    }

    /// True if `key` is there, whatever it is.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True if there is nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The value of `key`, if there is one.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.table.get(key)
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let node = self.node(key)?;
        let text = text_of(node);
        if text.is_none() {
            self.problem(key, "must be a text");
        }
        text
    }

    /// `key` must be there; `right` says what it is.
    pub(crate) fn demand(&self, key: &str, right: &str) {
        if !self.has(key) {
            self.problem(key, format!("is missing: {right}"));
        }
    }

    /// A text that must be there.
    pub(crate) fn needed(&mut self, key: &'static str, right: &str) -> Option<&'a str> {
        self.demand(key, right);
        self.text(key)
    }

    /// A path; in the file it begins where the file is.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() {
            self.problem(key, "is empty: name a file");
            return None;
        }
        Some(match self.table.get(key).map(|node| &node.origin) {
            Some(Origin::Line(_)) => self.notes.base.join(text),
            _ => text.into(),
        })
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let found = self
            .shaped(key, |node| node.items()?.iter().map(|item| text_of(item).map(str::to_owned)).collect());
        self.or_problem(key, found, "must be a list of texts, such as [\"a\", \"b\"]")
    }

    /// A list of scopes.
    pub(crate) fn scopes(&mut self, key: &'static str) -> Option<Vec<String>> {
        let scopes = self.texts(key)?;
        if scopes.iter().any(|scope| scope.contains(char::is_whitespace) || scope.is_empty()) {
            self.problem(key, "has a scope that is empty or holds a space: name each by itself");
            return None;
        }
        Some(scopes)
    }

    /// A yes or no.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let found = self.shaped(key, |node| match node.value {
            Value::Boolean(flag) => Some(flag),
            _ => None,
        });
        self.or_problem(key, found, "must be true or false")
    }

    /// A number, not below zero.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<u64> {
        let found = self.shaped(key, |node| match node.value {
            Value::Integer(number) => u64::try_from(number).ok(),
            _ => None,
        });
        self.or_problem(key, found, "must be a whole number that is not negative")
    }

    /// As [`Section::number`], for counts of things in memory.
    pub(crate) fn count(&mut self, key: &'static str) -> Option<usize> {
        let number = self.number(key)?;
        let count = usize::try_from(number).ok();
        self.or_problem(key, Some(count), "is more than this machine can count")
    }

    /// A time span, such as `90s`.
    pub(crate) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let found = self.shaped(key, |node| text_of(node).and_then(duration));
        self.or_problem(key, found, "must be a time such as \"90s\", \"5m\" or \"1h\"")
    }

    /// A day, which begins at midnight UTC, or a point in time with its offset.
    pub(crate) fn date(&mut self, key: &'static str) -> Option<UnixTime> {
        let found = self.shaped(key, |node| match node.value {
            Value::Date(date) => point(&date),
            _ => None,
        });
        self.or_problem(
            key,
            found,
            "must be a day such as 2027-03-01, or a time with its offset, without quotes",
        )
    }

    /// One of a few names.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.problem(key, format!("must be one of: {}", names.join(", ")));
        }
        chosen
    }

    /// A table below this one.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Self> {
        let node = self.node(key)?;
        let Some(table) = node.table() else {
            self.problem(key, "must be a table");
            return None;
        };
        Some(Section::new(&self.setting(key), table, self.notes))
    }

    /// A list of tables below this one.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let tables = node.items().and_then(|items| items.iter().map(Node::table).collect::<Option<Vec<_>>>());
        let tables = tables.filter(|tables| !tables.is_empty());
        let Some(tables) = tables else {
            self.problem(key, "must be a list of tables: write it in double brackets");
            return Vec::new();
        };
        let of = |(at, table)| Section::new(&format!("{}[{at}]", self.setting(key)), table, self.notes);
        tables.into_iter().enumerate().map(of).collect()
    }

    /// What `read` makes of the value: `None` if there is none, `Some(None)` if it has not the right shape.
    fn shaped<T>(&mut self, key: &'static str, read: impl Fn(&Node) -> Option<T>) -> Option<Option<T>> {
        let node = self.node(key)?;
        Some(match &node.value {
            // From the environment comes text; where it does not do, it is read as TOML.
            Value::Raw(text) => {
                read(node).or_else(|| of_value(text, &node.origin).and_then(|node| read(&node)))
            }
            _ => read(node),
        })
    }

    fn or_problem<T>(&self, key: &str, found: Option<Option<T>>, problem: &str) -> Option<T> {
        match found? {
            None => {
                self.problem(key, problem);
                None
            }
            some => some,
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if self.lenient {
            return;
        }
        for (key, node) in self.table.iter().filter(|(key, _)| !self.known.contains(&key.as_str())) {
            let known = self.known.join(", ");
            let meant = self.known.iter().find(|known| is_near(key, known));
            let meant = meant.map(|name| format!(" did you mean {name}?")).unwrap_or_default();
            match &node.origin {
                // INVARIANT: I10 — a secret may stand where a name belongs: the line says which is meant.
                Origin::Line(line) => {
                    let of = if self.path.is_empty() { "the file" } else { &self.path };
                    let problem = format!("names no setting of {of}:{meant} there are: {known}");
                    self.notes.add(format!("line {line}"), problem);
                }
                Origin::Variable(_) => {
                    self.problem(key, format!("is no setting here:{meant} there are: {known}"));
                }
            }
        }
    }
}

/// True for names that differ by one letter: another, one more, one less.
fn is_near(name: &str, known: &str) -> bool {
    let same = |(a, b): &(u8, u8)| a == b;
    let ahead = name.bytes().zip(known.bytes()).take_while(same).count();
    let behind = name.bytes().rev().zip(known.bytes().rev()).take_while(same).count();
    name.len().abs_diff(known.len()) <= 1 && ahead + behind + 1 >= name.len().max(known.len())
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Raw(text) => Some(text),
        _ => None,
    }
}

/// `90s`, `5m`, `1h`, `7d`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let count = text.strip_suffix(unit)?;
    let count: u64 = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
    // A year is more than any of these times may be, and keeps sums far from overflow.
    let span = match unit {
        's' => seconds(count),
        'm' => minutes(count.min(u64::MAX / 60)),
        'h' => seconds(count.checked_mul(3600)?),
        'd' => seconds(count.checked_mul(86_400)?),
        _ => return None,
    };
    (span <= seconds(366 * 86_400)).then_some(span)
}

/// The point in time, if one is meant: a time without its offset is not.
fn point(date: &Datetime) -> Option<UnixTime> {
    let day = date.date?;
    let (seconds_of_day, offset_minutes) = match (date.time, date.offset) {
        (None, None) => (0, 0),
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes),
            };
            let of_day = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60;
            (of_day + i64::from(time.second.unwrap_or_default()), minutes)
        }
        _ => return None,
    };
    let at = days(i64::from(day.year), i64::from(day.month), i64::from(day.day)) * 86_400;
    u64::try_from(at + seconds_of_day - offset_minutes * 60).ok().map(UnixTime::from_secs)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, whose parts TOML has checked: years begin in March, so
/// that the leap day is a year's last, and five months have 153 days.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("7d", Some(604_800)),
            ("366d", Some(31_622_400)),
            ("367d", None),
            ("18446744073709551615m", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text), seconds.map(super::seconds), "{text}");
        }
        for text in
            ["", "s", "5", "5 m", "+5m", "-5m", "5M", "1.5h", "5ms", "m5", "5ä", "99999999999999999999s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn days_begin_at_midnight_utc_and_times_have_an_offset() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(951_782_400)),
            ("2028-01-01", Some(1_830_297_600)),
            ("2100-03-01", Some(4_107_542_400)),
            ("2028-01-01T00:00:01Z", Some(1_830_297_601)),
            ("2028-01-01T01:00:00+01:00", Some(1_830_297_600)),
            ("2027-12-31T18:30:00-05:30", Some(1_830_297_600)),
            ("2028-01-01T00:00:00", None),
            ("12:00:00", None),
            ("1969-12-31", None),
        ] {
            let date = text.parse().unwrap();
            assert_eq!(point(&date), seconds.map(UnixTime::from_secs), "{text}");
        }
    }
}
