//! The lines of `chain.ndjson`: checkpoints that tie what a recording has so far to all that it had before. The digest of
//! the newest goes to the audit log every few seconds, so that whoever alters a recording while it runs, root of the
//! bastion included, has to alter copies of that log as well. Pure.

use serde::{Deserialize, Serialize};

use super::tally::{Sum, digest};

/// What the first line says is before it.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number, from 0, without gaps.
    pub n: u64,
    /// Seconds since the recording began.
    pub t: f64,
    /// The files that are being written, as far as they go.
    pub files: Vec<Sum>,
    /// SHA-256 of the line before, its newline included.
    pub previous: String,
}

/// The newest checkpoint: what the audit log is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub n: u64,
    /// SHA-256 of its line, in hex.
    pub sha256: String,
}

/// Makes the lines, one after the other.
#[derive(Debug)]
pub(super) struct Chain {
    next: u64,
    previous: String,
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { next: 0, previous: NOTHING.to_owned() }
    }

    /// Goes on behind `head`.
    pub(super) fn after(head: Option<&Head>) -> Self {
        head.map_or_else(Self::new, |head| Self { next: head.n + 1, previous: head.sha256.clone() })
    }

    /// The next line, with its newline, is appended to `lines`.
    pub(super) fn add(&mut self, at_micros: u64, files: Vec<Sum>, lines: &mut String) -> Head {
        let n = self.next;
        let previous = std::mem::take(&mut self.previous);
        let checkpoint = Checkpoint { n, t: seconds(at_micros), files, previous };
        // A struct of numbers and texts cannot fail to become JSON; an empty line would be refused by whoever reads it.
        let line = serde_json::to_string(&checkpoint).unwrap_or_default() + "\n";
        lines.push_str(&line);
        let sha256 = digest(line.as_bytes());
        self.previous.clone_from(&sha256);
        self.next += 1;
        Head { n, sha256 }
    }
}

/// Reads the lines back, each in its place.
#[derive(Debug)]
pub(super) struct Reading {
    head: Option<Head>,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self { head: None }
    }

    /// Takes the next line, without its newline; none when it does not follow the one before.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<Checkpoint> {
        let checkpoint: Checkpoint = serde_json::from_slice(line).ok()?;
        let (n, previous) = match &self.head {
            None => (0, NOTHING),
            Some(head) => (head.n + 1, head.sha256.as_str()),
        };
        if checkpoint.n != n || checkpoint.previous != previous {
            return None;
        }
        let sha256 = digest(&[line, b"\n"].concat());
        self.head = Some(Head { n, sha256 });
        Some(checkpoint)
    }

    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }
}

/// Microseconds as seconds.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hang_on_each_other() {
        let (mut chain, mut lines) = (Chain::new(), String::new());
        let sum = |bytes| Sum { name: "0001.cast".into(), bytes, sha256: "aa".into() };
        let heads: Vec<Head> = (1..4).map(|n| chain.add(n * 1_000_000, vec![sum(n)], &mut lines)).collect();
        let read = |lines: &[&str]| {
            let mut reading = Reading::new();
            lines.iter().all(|line| reading.take(line.as_bytes()).is_some()).then(|| reading.head().cloned())
        };
        let all: Vec<&str> = lines.lines().collect();
        assert_eq!(read(&all), Some(Some(heads[2].clone())));
        assert_eq!(
            read(&all[..2]),
            Some(Some(heads[1].clone())),
            "the end can be cut: the audit log knows more"
        );
        assert_eq!(read(&[all[0], all[2]]), None, "dropped");
        assert_eq!(read(&[all[1], all[2]]), None, "beginning cut");
        assert_eq!(read(&[all[0], all[2], all[1]]), None, "swapped");
        let edited = all[1].replace("\"bytes\":2", "\"bytes\":3");
        assert_eq!(read(&[all[0], &edited, all[2]]), None, "edited");
        let mut more = Chain::after(Some(&heads[2]));
        let mut rest = String::new();
        more.add(9, Vec::new(), &mut rest);
        assert!(read(&[all[0], all[1], all[2], rest.trim_end()]).is_some());
    }
}
