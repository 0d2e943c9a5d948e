//! Text for people: tables, times, and values from logs made harmless.

use comfy_table::{ContentArrangement, Table, presets};
use hopguard_core::{is_steering, redacted};

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

/// `text` without tokens, and without anything that steers a terminal or turns the reading direction: subjects and
/// paths are chosen by strangers.
pub(crate) fn plain(text: &str) -> String {
    redacted(text).chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_steering(c) || matches!(c, '\u{200b}'..='\u{200d}') {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn time(millis: u64) -> String {
    let (days, rest) = (millis / 86_400_000, millis % 86_400_000);
    // Howard Hinnant's civil_from_days, for days after 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", rest % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_795_375_902_213, "2026-11-22T19:31:42.213Z"),
        ] {
            assert_eq!(time(millis), text);
        }
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("ali\u{1b}[2Jce\n\u{202e}"), "ali\\u{1b}[2Jce\\u{a}\\u{202e}");
        assert_eq!(plain("müller"), "müller");
    }
}
