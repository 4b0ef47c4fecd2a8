//! How entries of the audit log look at a terminal. Text of others is made harmless.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::table::printable;
use crate::time::Timestamp;

/// One entry on one line: number, time, kind, fields.
pub(super) fn entry(seq: u64, at: Timestamp, kind: &str, json: &str) -> String {
    let fields = match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => {
            fields.iter().filter_map(|(name, value)| pair(name, value)).collect::<Vec<_>>().join(" ")
        }
        // Shown as it stands: somebody altered it.
        Ok(_) | Err(_) => printable(json),
    };
    format!("{seq} {at} {} {fields}", printable(kind)).trim_end().to_owned()
}

/// A field; none for what is not known.
fn pair(name: &str, value: &Value) -> Option<String> {
    let shown = match value {
        Value::Null => return None,
        Value::String(text) => word(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            word(&items.join(","))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            printable(&value.to_string())
        }
    };
    Some(format!("{}={shown}", printable(name)))
}

/// As it is when it is one word, else quoted.
fn word(text: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(is_plain) {
        return printable(text);
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", printable(&quoted))
}

/// A file that only we may read, and that was not there.
pub(super) fn new_file(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(BufWriter::new(file.with_context(|| format!("cannot create {}", path.display()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_on_one_line() {
        let json = r#"{"a":"one","b":"two words","c":null,"d":["x","y"],"e":7,"f":"","g":"say \"no\"\n\u001b[2J","h":{"i":1}}"#;
        assert_eq!(
            entry(7, Timestamp::from_secs(0), "k", json),
            "7 1970-01-01T00:00:00Z k a=one b=\"two words\" d=x,y e=7 f=\"\" g=\"say \\\"no\\\"\u{fffd}\u{fffd}[2J\" h={\"i\":1}"
        );
        assert_eq!(entry(7, Timestamp::from_secs(0), "k", "{}"), "7 1970-01-01T00:00:00Z k");
    }
}
