//! How much of what passes without a terminal is kept, pure. Decides where keeping stops (too much, or it is no
//! text); counts and hashes all of it either way. Leaves the lines to the transcript.

use sha2::{Digest as _, Sha256};

use super::asciicast::Source;
use super::utf8::Utf8Carry;

/// How far into a stream we look for signs that it is no text.
const LOOK_AT: usize = 8 * 1024;

/// Why keeping stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A NUL byte or invalid UTF-8 near the beginning.
    Binary,
    /// More bytes than the configuration keeps.
    TooMuch,
}

/// Counts, hashes and cuts.
#[derive(Debug)]
pub(super) struct Budget {
    /// What it is about: output or input.
    name: &'static str,
    /// Whether keeping stops at what is no text. Where people can type, a NUL byte must not hide the rest.
    text_only: bool,
    max: u64,
    left: u64,
    stopped: bool,
    output: Stream,
    errors: Stream,
}

#[derive(Debug)]
struct Stream {
    bytes: u64,
    kept: u64,
    hash: Sha256,
    look: usize,
    carry: Utf8Carry,
    keep: bool,
}

impl Budget {
    /// Of output: keeps at most `max` bytes, stdout and stderr together.
    pub(super) fn of_output(max: u64, text_only: bool) -> Self {
        Self::new("output", max, text_only)
    }

    /// Of input: keeps at most `max` bytes.
    pub(super) fn of_input(max: u64, text_only: bool) -> Self {
        Self::new("input", max, text_only)
    }

    fn new(name: &'static str, max: u64, text_only: bool) -> Self {
        let (output, errors) = (Stream::new(), Stream::new());
        Self { name, text_only, max, left: max, stopped: false, output, errors }
    }

    /// Takes `bytes` into account: the part to keep, and why keeping stops after it, said once.
    pub(super) fn take<'b>(&mut self, source: Source, bytes: &'b [u8]) -> (&'b [u8], Option<Stop>) {
        let stream = if source == Source::Errors { &mut self.errors } else { &mut self.output };
        stream.hash.update(bytes);
        stream.bytes = stream.bytes.saturating_add(bytes.len() as u64);
        if !stream.keep {
            return (&[], None);
        }
        if self.text_only && stream.looks_binary(bytes) {
            stream.keep = false;
            self.stopped = true;
            return (&[], Some(Stop::Binary));
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            self.left -= bytes.len() as u64;
            stream.kept += bytes.len() as u64;
            return (bytes, None);
        }
        stream.kept += self.left;
        self.left = 0;
        self.output.keep = false;
        self.errors.keep = false;
        self.stopped = true;
        (bytes.get(..room).unwrap_or_default(), Some(Stop::TooMuch))
    }

    /// The label of the marker where keeping stops.
    pub(super) fn stop_label(&self, source: Source, stop: Stop) -> String {
        match (stop, source) {
            (Stop::TooMuch, _) => format!("{} not kept from here: more than {} bytes", self.name, self.max),
            (Stop::Binary, Source::Errors) => "standard error not kept from here: not text".to_owned(),
            (Stop::Binary, Source::Output | Source::Input) => {
                format!("{} not kept from here: not text", self.name)
            }
        }
    }

    /// What passed in all: the name of each stream, its bytes, their SHA-256 in hex, and whether all of it was kept.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&'static str, u64, String, bool)> {
        let errors = (self.errors.bytes > 0).then_some(("errors", &self.errors));
        [Some((self.name, &self.output)), errors]
            .into_iter()
            .flatten()
            .map(|(name, stream)| (name, stream.bytes, hex(stream.hash.clone()), stream.kept == stream.bytes))
    }

    /// The label of the last marker, when not everything was kept.
    pub(super) fn total_label(&self) -> Option<String> {
        let said = |name: &str, stream: &Stream| {
            let digest = hex(stream.hash.clone());
            format!("{name}: {} bytes in all, sha256 {digest}", stream.bytes)
        };
        if !self.stopped {
            return None;
        }
        let mut label = said(self.name, &self.output);
        if self.errors.bytes > 0 {
            label.push_str("; ");
            label.push_str(&said("standard error", &self.errors));
        }
        Some(label)
    }
}

impl Stream {
    fn new() -> Self {
        Self {
            bytes: 0,
            kept: 0,
            hash: Sha256::new(),
            look: LOOK_AT,
            carry: Utf8Carry::default(),
            keep: true,
        }
    }

    fn looks_binary(&mut self, bytes: &[u8]) -> bool {
        let seen = bytes.get(..self.look).unwrap_or(bytes);
        self.look -= seen.len();
        // A character cut by the end of the window or of a chunk waits in the carry and proves nothing.
        seen.contains(&0) || self.carry.feed(seen, &mut |_| ()) > 0
    }
}

/// A finished digest in hex.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = (&'static str, u64, &'a [&'a [u8]], &'a [u8], Option<Stop>);

    #[test]
    fn rows() {
        let long = "x".repeat(LOOK_AT);
        let late = [long.as_bytes(), b"\0\xff"].concat();
        let early = [&long.as_bytes()[1..], b"\0"].concat();
        let rows: &[Row<'_>] = &[
            ("all", 10, &[b"abc", b"def"], b"abcdef", None),
            ("exactly", 6, &[b"abc", b"def"], b"abcdef", None),
            ("one more", 5, &[b"abc", b"def", b"ghi"], b"abcde", Some(Stop::TooMuch)),
            ("none", 0, &[b"a"], b"", Some(Stop::TooMuch)),
            ("nul", 10, &[b"ab", b"c\0d", b"e"], b"ab", Some(Stop::Binary)),
            ("latin 1", 10, &[b"ab\xe9 c"], b"", Some(Stop::Binary)),
            ("cut character", 10, &[b"a\xe2", b"\x82\xac"], b"a\xe2\x82\xac", None),
            ("bad continuation", 10, &[b"a\xe2", b"bc"], b"a\xe2", Some(Stop::Binary)),
            ("cut at the end", 10, &[b"a\xe2"], b"a\xe2", None),
            ("nul in the window", 9999, &[&early], b"", Some(Stop::Binary)),
            ("nul after the window", 9999, &[&late], &late, None),
        ];
        for (name, max, chunks, kept, stop) in rows {
            let (mut budget, mut got, mut why) = (Budget::of_output(*max, true), Vec::new(), None);
            for chunk in *chunks {
                let (keep, stop) = budget.take(Source::Output, chunk);
                got.extend_from_slice(keep);
                assert!(why.is_none() || stop.is_none(), "{name}: said twice");
                why = why.or(stop);
            }
            assert_eq!((got.as_slice(), why), (*kept, *stop), "{name}");
            let total = budget.total_label();
            assert_eq!(total.is_some(), stop.is_some(), "{name}");
            if let Some(label) = total {
                let all = chunks.concat();
                assert!(label.contains(&hex(Sha256::new_with_prefix(&all))), "{name}: {label}");
                assert!(label.contains(&format!(" {} bytes in all", all.len())), "{name}: {label}");
            }
        }
    }

    #[test]
    fn where_people_type_no_byte_hides_the_rest() {
        let mut budget = Budget::of_output(10, false);
        assert_eq!(budget.take(Source::Output, b"\0\xff"), (&b"\0\xff"[..], None));
        assert_eq!(budget.take(Source::Output, b"ls\n"), (&b"ls\n"[..], None));
    }

    #[test]
    fn streams_are_judged_apart_and_share_the_room() {
        let mut budget = Budget::of_output(6, true);
        assert_eq!(budget.take(Source::Output, b"\0"), (&b""[..], Some(Stop::Binary)));
        assert_eq!(budget.take(Source::Errors, b"warn"), (&b"warn"[..], None));
        assert_eq!(budget.take(Source::Errors, b"ing"), (&b"in"[..], Some(Stop::TooMuch)));
        assert!(budget.total_label().is_some_and(|l| l.contains("standard error: 7 bytes in all")));
    }
}
