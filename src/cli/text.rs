//! Text for people: columns, sizes, and strangers' strings made harmless.

use std::fmt::Write;

use serde::Serialize;

use crate::base::text::steers;

/// Makes a string that came from packets or file names safe for a terminal: what steers it is shown as escapes.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) && character != '\n' {
            // Writing to a String does not fail.
            let _ = write!(cleaned, "{}", character.escape_unicode());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

/// A value as JSON in one line, for standard output: all JSON that goes there is made here. Programs read the
/// same from it as from any other; a terminal is not steered by what strangers wrote (RFC 8259 section 7 leaves
/// all from U+007F on as it is).
pub(super) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// The same over several lines, for people.
pub(super) fn json_in_lines(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escaped)
}

/// What steers is only in strings here, where an escape stands for the same; line ends are the layout's.
fn escaped(json: String) -> String {
    if !json.chars().any(|character| steers(character) && character != '\n') {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if steers(character) && character != '\n' {
            // All of them are below U+10000. Writing to a String does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Lays out rows in columns. The first row is the heading.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1:02:03` or `2:03`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Makes a string harmless that must not leave its line.
pub(super) fn clean_line(text: &str) -> String {
    clean(text).replace('\n', "\\n")
}

/// `1.2 TB`: powers of 1000.
pub(super) fn bytes(count: u64) -> String {
    match scaled(count as f64) {
        (number, "") => format!("{number:.0} B"),
        (number, unit) => format!("{number:.1} {unit}B"),
    }
}

/// `98.7 Mbit/s`.
pub(super) fn bits_per_s(rate: f64) -> String {
    match scaled(rate) {
        (number, "") => format!("{number:.0} bit/s"),
        (number, unit) => format!("{number:.1} {unit}bit/s"),
    }
}

fn scaled(number: f64) -> (f64, &'static str) {
    let units = ["", "k", "M", "G", "T", "P"];
    let mut number = number.max(0.0);
    for unit in units {
        // What would be shown as 1000.0 is shown in the next unit.
        if number < 999.95 || unit == "P" {
            return (number, unit);
        }
        number /= 1_000.0;
    }
    (number, "P")
}

/// `31 d`, `4 h`, `12 min`, `40 s`: one word of how long.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        0.0..120.0 => format!("{seconds:.0} s"),
        120.0..7_200.0 => format!("{:.0} min", seconds / 60.0),
        7_200.0..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\rd"), "a\\u{1b}[2Jb\\u{202e}c\\u{d}d");
        assert_eq!(clean("a\u{2028}b\u{61c}c\u{9b}d"), "a\\u{2028}b\\u{61c}c\\u{9b}d");
        assert_eq!(clean("zażółć 通話"), "zażółć 通話");
    }

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let steering: String = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| steers(*c)).collect();
        for character in
            "\u{7f}\u{80}\u{9b}\u{9f}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars()
        {
            assert!(steering.contains(character), "{character:?}");
        }
        let value = serde_json::json!({ "zażółć 通話 \u{1f4de}": [steering, "\u{9b}2J", "\\u009b", "\\\u{9b}", "\"\n"] });
        for json in [json(&value).unwrap(), json_in_lines(&value).unwrap()] {
            assert!(!json.chars().any(|character| steers(character) && character != '\n'), "{json}");
            assert!(json.contains("\\u009b2J") && json.contains("zażółć 通話 \u{1f4de}"), "{json}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        }
        assert!(!json(&value).unwrap().contains('\n'));
    }

    #[test]
    fn numbers_are_grouped_and_columns_aligned() {
        assert_eq!((grouped(7), grouped(1_234_567)), ("7".into(), "1,234,567".into()));
        assert_eq!((clock(3_723.4), clock(63.0)), ("1:02:03".into(), "1:03".into()));
        let rows = [vec!["A".into(), "B".into()], vec!["long".into(), "x".into()]];
        assert_eq!(columns(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(
            [bytes(999), bytes(1_000), bytes(999_999), bytes(1_234_567_890_123)],
            ["999 B", "1.0 kB", "1.0 MB", "1.2 TB"]
        );
        assert_eq!([bits_per_s(0.0), bits_per_s(98_700_000.0)], ["0 bit/s", "98.7 Mbit/s"]);
        assert_eq!([span(5.4), span(600.0), span(9_000.0), span(9e6)], ["5 s", "10 min", "2 h", "104 d"]);
        assert_eq!(clean_line("a\nb\u{7}"), "a\\nb\\u{7}");
    }
}
