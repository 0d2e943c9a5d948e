//! What a run shows: a table for people, JSON for programs, and a table in `PERFORMANCE.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use crate::harness::Row;

/// Where a table stands, and how its rows are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// `PERFORMANCE.md`.
    pub(crate) paper: &'static str,
    /// The lines between which the table stands.
    pub(crate) begin: &'static str,
    pub(crate) end: &'static str,
    /// What is typed, before the group's name.
    pub(crate) command: &'static str,
}

/// One row, and the name that measures it alone.
pub(crate) struct Measured {
    pub(crate) group: &'static str,
    pub(crate) row: Row,
}

/// The table for people.
pub(crate) fn table(rows: &[Measured]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["path", "against", "us", "ratio", "95%", "budget", "allocs", "held"]);
    for Measured { row, .. } in rows {
        table.add_row([
            row.path.clone(),
            row.floor.clone(),
            values(row, 3),
            ratio(row.ratio),
            format!("{:.4} to {:.4}", row.low, row.high),
            row.budget.map_or_else(String::new, ratio),
            allocations(row),
            verdict(row).to_owned(),
        ]);
    }
    for column in [2, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The rows as one JSON array, a row a line.
pub(crate) fn json(rows: &[Measured], place: Place) -> String {
    let line = |Measured { group, row }: &Measured| {
        let mut value = json!({
            "path": row.path,
            "ratio": rounded(row.ratio),
            "budget": row.budget.map(rounded),
            "held": row.held(),
            "spread": rounded(row.high - row.low),
            "low": rounded(row.low),
            "high": rounded(row.high),
            "subject": row.subject,
            "floor": row.floor,
            "rounds": row.rounds,
            "command": place.command(group),
        });
        if let Some(all) = value.as_object_mut() {
            all.insert(format!("subject_{}", row.unit), json!(rounded(row.subject_value)));
            all.insert(format!("floor_{}", row.unit), json!(rounded(row.floor_value)));
            if let Some(allocations) = row.allocations {
                all.insert("allocations".to_owned(), json!(allocations));
                all.insert("allocations_budget".to_owned(), json!(row.allocations_budget));
            }
        }
        value.to_string()
    };
    format!("[\n{}\n]", rows.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

impl Place {
    /// Puts the rows between the markers.
    pub(crate) fn write(self, rows: &[Measured], noise: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("PERFORMANCE.md: {error}");
        let paper = std::fs::read_to_string(self.paper).map_err(failed)?;
        let written = self
            .filled(&paper, &section(rows, noise, self))
            .ok_or_else(|| format!("PERFORMANCE.md lacks the line `{}` or `{}`", self.begin, self.end))?;
        std::fs::write(self.paper, written).map_err(failed)
    }

    fn filled(self, paper: &str, section: &str) -> Option<String> {
        let (before, rest) = paper.split_once(self.begin)?;
        let (_, after) = rest.split_once(self.end)?;
        Some(format!("{before}{}\n{section}{}{after}", self.begin, self.end))
    }

    fn command(self, group: &str) -> String {
        format!("{} \"{group}\"", self.command)
    }
}

fn section(rows: &[Measured], noise: &str, place: Place) -> String {
    let mut text = format!(
        "Measured on {}, {}. {noise}\n\n\
         | path | against | us | ratio | 95% | budget | allocations | held | command |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |\n",
        today(),
        machine(),
    );
    for Measured { group, row } in rows {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {:.3} to {:.3} | {} | {} | {} | `{}` |\n",
            row.path,
            row.floor,
            values(row, 2),
            ratio(row.ratio),
            row.low,
            row.high,
            row.budget.map_or_else(String::new, ratio),
            allocations(row),
            verdict(row),
            place.command(group),
        ));
    }
    text
}

/// What was measured of both sides; the unit is named where it is not the column's own.
fn values(row: &Row, digits: usize) -> String {
    match row.unit.as_str() {
        "us" => format!("{:.digits$} / {:.digits$}", row.subject_value, row.floor_value),
        unit => format!("{:.0} / {:.0} {unit}", row.subject_value, row.floor_value),
    }
}

fn verdict(row: &Row) -> &'static str {
    match row.held() {
        None => "",
        Some(true) => "yes",
        Some(false) => "**no**",
    }
}

fn allocations(row: &Row) -> String {
    match (row.allocations, row.allocations_budget) {
        (None, _) => String::new(),
        (Some(made), None) => made.to_string(),
        (Some(made), Some(budget)) => format!("{made} of {budget}"),
    }
}

/// A small ratio is read more easily from the other end.
fn ratio(value: f64) -> String {
    if value < 0.5 { format!("1/{:.1}", 1.0 / value) } else { format!("{value:.3}") }
}

fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

/// What the machine is, without saying which one.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("a processor that does not say its name", |(_, name)| name.trim());
    format!("{cores} cores of {model}")
}

fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (year, month, day) = civil(since.as_secs() / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The date of a day after 1970-01-01 in the Gregorian calendar, by Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_819, (2027, 1, 1))]
        {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let place = Place { paper: "", begin: "<begin>", end: "<end>", command: "measure" };
        let written = place.filled("head\n<begin>\nold\n<end>\ntail\n", "new\n").unwrap();
        assert_eq!(written, "head\n<begin>\nnew\n<end>\ntail\n");
        assert_eq!(place.filled(&written, "new\n"), Some(written.clone()));
        assert!(place.filled("no markers", "new\n").is_none());
        assert_eq!(place.command("it all"), "measure \"it all\"");
    }
}
