//! Lists as CSV (RFC 4180), for spreadsheets: text of other people stays text there too.

/// Rows of the same length under a head.
pub fn csv<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = line(head);
    for row in rows {
        text.push_str(&line(row));
    }
    text
}

fn line<C: AsRef<str>>(cells: impl IntoIterator<Item = C>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|text| cell(text.as_ref())).collect();
    format!("{}\r\n", cells.join(","))
}

/// One cell. A spreadsheet takes what begins with one of `=+-@` for a formula; an apostrophe before it makes it text.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_cells() {
        let rows = [["a,b".into(), "say \"x\"".into()], ["=1+1".into(), "two\nlines".into()]];
        let expect = "X,Y\r\n\"a,b\",\"say \"\"x\"\"\"\r\n'=1+1,\"two\nlines\"\r\n";
        assert_eq!(csv(["X", "Y"], rows), expect);
    }
}
