//! Tables for people: aligned columns, and text of others made harmless.

use crate::plain;

/// Rows of the same length under a head, columns aligned, two blanks apart.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Text that other people chose must not steer the reader's terminal: see [`plain::shown`].
pub fn printable(text: &str) -> String {
    plain::shown(text)
}

/// The same as CSV (RFC 4180), for spreadsheets: every cell quoted, and none that they take for a formula.
pub fn csv<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let lines = std::iter::once(head.map(str::to_owned)).chain(rows);
    lines.map(|line| line.map(|cell| plain::csv(&cell)).join(",") + "\r\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers() {
        let rows = [["a".into(), "bb".into()], ["ccc".into(), printable("d\u{1b}[2J\u{202e}")]];
        assert_eq!(table(["X", "Y"], rows), "X    Y\na    bb\nccc  d\u{fffd}[2J\u{fffd}\n");
    }
}
