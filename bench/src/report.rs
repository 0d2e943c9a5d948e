//! What a run shows: a table for people, JSON for programs, and the table in `PERFORMANCE.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use crate::harness::Row;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";
const PAPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../PERFORMANCE.md");

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
            format!("{:.3} / {:.3}", row.subject_micros, row.floor_micros),
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
pub(crate) fn json(rows: &[Measured]) -> String {
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
            "subject_us": rounded(row.subject_micros),
            "floor_us": rounded(row.floor_micros),
            "rounds": row.rounds,
            "command": command(group),
        });
        if let (Some(allocations), Some(all)) = (row.allocations, value.as_object_mut()) {
            all.insert("allocations".to_owned(), json!(allocations));
            all.insert("allocations_budget".to_owned(), json!(row.allocations_budget));
        }
        value.to_string()
    };
    format!("[\n{}\n]", rows.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

/// Puts the rows between the markers of `PERFORMANCE.md`.
pub(crate) fn write_paper(rows: &[Measured], noise: &str) -> Result<(), String> {
    let paper = std::fs::read_to_string(PAPER).map_err(|error| format!("PERFORMANCE.md: {error}"))?;
    let written = between_markers(&paper, &section(rows, noise))
        .ok_or_else(|| format!("PERFORMANCE.md lacks the line `{BEGIN}` or `{END}`"))?;
    std::fs::write(PAPER, written).map_err(|error| format!("PERFORMANCE.md: {error}"))
}

fn between_markers(paper: &str, section: &str) -> Option<String> {
    let (before, rest) = paper.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

fn section(rows: &[Measured], noise: &str) -> String {
    let mut text = format!(
        "Measured on {}, {}. {noise}\n\n\
         | path | against | us | ratio | 95% | budget | allocations | held | command |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |\n",
        today(),
        machine(),
    );
    for Measured { group, row } in rows {
        text.push_str(&format!(
            "| {} | {} | {:.2} / {:.2} | {} | {:.3} to {:.3} | {} | {} | {} | `{}` |\n",
            row.path,
            row.floor,
            row.subject_micros,
            row.floor_micros,
            ratio(row.ratio),
            row.low,
            row.high,
            row.budget.map_or_else(String::new, ratio),
            allocations(row),
            verdict(row),
            command(group),
        ));
    }
    text
}

fn command(group: &str) -> String {
    format!("cargo xtask bench \"{group}\"")
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
        let paper = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        let written = between_markers(&paper, "new\n").unwrap();
        assert_eq!(written, format!("head\n{BEGIN}\nnew\n{END}\ntail\n"));
        assert_eq!(between_markers(&written, "new\n"), Some(written.clone()));
        assert!(between_markers("no markers", "new\n").is_none());
    }
}
