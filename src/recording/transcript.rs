//! What becomes of the bytes of one channel, pure: which are kept, as which lines. Puts together the encoder, the echo
//! gate (input) and the budget (output without a terminal); leaves writing to the recorder.

use super::asciicast::{self, Encoder, Source};
use super::budget::Budget;
use super::echo::EchoGate;
use super::event::Event;

/// One channel's events, as lines.
#[derive(Debug)]
pub(super) struct Transcript {
    encoder: Encoder,
    /// The terminal's size, none without a terminal.
    size: Option<(u32, u32)>,
    /// None when input is not recorded at all, or nothing echoes.
    echo: Option<EchoGate>,
    /// None with a terminal: there everything is kept.
    budget: Option<Budget>,
    /// Of input that nothing echoes, when input is recorded.
    input: Option<Budget>,
}

impl Transcript {
    /// Without a terminal (`size` none) output is kept up to `kept_max` bytes, and with `input` what the program reads, too:
    /// nothing echoes there, so nothing tells passwords from other input. `text_only` is for commands: keeping then stops
    /// at what is no text.
    pub(super) fn new(size: Option<(u32, u32)>, input: bool, kept_max: u64, text_only: bool) -> Self {
        Self {
            encoder: Encoder::new(size.is_some()),
            size: size.map(|said| asciicast::sane_size(said, asciicast::SIZE_DEFAULT)),
            echo: (input && size.is_some()).then(EchoGate::new),
            budget: size.is_none().then(|| Budget::of_output(kept_max, text_only)),
            input: (input && size.is_none()).then(|| Budget::of_input(kept_max, text_only)),
        }
    }

    /// The size the header must say.
    pub(super) fn size(&self) -> (u32, u32) {
        self.size.unwrap_or(asciicast::SIZE_DEFAULT)
    }

    /// The target sent `bytes`.
    pub(super) fn shown(&mut self, source: Source, bytes: &[u8], at_micros: u64, lines: &mut String) {
        let mut hidden = false;
        if let Some(gate) = &mut self.echo {
            let mut kept = Vec::new();
            hidden = gate.shown(bytes, at_micros, &mut kept);
            self.encoder.bytes(Source::Input, &kept, at_micros, lines);
        }
        let Some(budget) = &mut self.budget else {
            self.encoder.bytes(source, bytes, at_micros, lines);
            self.hidden(hidden, at_micros, lines);
            return;
        };
        kept(&mut self.encoder, budget, source, bytes, at_micros, lines);
    }

    /// The client sent `bytes`.
    pub(super) fn typed(&mut self, bytes: &[u8], at_micros: u64, lines: &mut String) {
        let began = self.echo.as_mut().is_some_and(|gate| gate.typed(bytes, at_micros));
        self.hidden(began, at_micros, lines);
        if let Some(budget) = &mut self.input {
            kept(&mut self.encoder, budget, Source::Input, bytes, at_micros, lines);
        }
    }

    /// Whether the terminal echoes.
    pub(super) fn set_echo(&mut self, on: bool, at_micros: u64, lines: &mut String) {
        let began = self.echo.as_mut().is_some_and(|gate| gate.set_echo(on));
        self.hidden(began, at_micros, lines);
    }

    /// The terminal's new size. Nothing without a terminal, or when it is the old one.
    pub(super) fn resize(&mut self, said: (u32, u32), at_micros: u64, lines: &mut String) {
        let Some(before) = self.size else { return };
        let size = asciicast::sane_size(said, before);
        if size != before {
            self.size = Some(size);
            self.encoder.resize(size, at_micros, lines);
        }
    }

    /// A marker.
    pub(super) fn marker(&mut self, label: &str, at_micros: u64, lines: &mut String) {
        self.encoder.marker(label, at_micros, lines);
    }

    /// What follows is for another part.
    pub(super) fn next_part(&mut self, at_micros: u64) {
        self.encoder.next_part(at_micros);
    }

    /// What passed in all without a terminal; nothing with one.
    pub(super) fn streams(&self) -> Vec<Event> {
        let budgets = [&self.budget, &self.input].into_iter().flatten();
        budgets
            .flat_map(Budget::totals)
            .map(|(stream, bytes, sha256, kept)| Event::Stream {
                stream: stream.to_owned(),
                bytes,
                sha256,
                kept,
            })
            .collect()
    }

    /// The end: half characters, and what was not kept.
    pub(super) fn finish(&mut self, at_micros: u64, lines: &mut String) {
        let began = self.echo.as_mut().is_some_and(EchoGate::finish);
        self.hidden(began, at_micros, lines);
        for source in [Source::Output, Source::Errors, Source::Input] {
            self.encoder.finish(source, at_micros, lines);
        }
        for budget in [&self.budget, &self.input] {
            if let Some(label) = budget.as_ref().and_then(Budget::total_label) {
                self.encoder.marker(&label, at_micros, lines);
            }
        }
    }

    fn hidden(&mut self, began: bool, at_micros: u64, lines: &mut String) {
        if began {
            // Half a character from before must not join one from after.
            self.encoder.forget(Source::Input);
            self.encoder.marker("input hidden", at_micros, lines);
        }
    }
}

/// Writes what of `bytes` the budget keeps, and where it stops.
fn kept(
    encoder: &mut Encoder,
    budget: &mut Budget,
    source: Source,
    bytes: &[u8],
    at_micros: u64,
    lines: &mut String,
) {
    let (kept, stop) = budget.take(source, bytes);
    encoder.bytes(source, kept, at_micros, lines);
    if let Some(stop) = stop {
        // The other half of a cut character will not come: what is held of it would be shown as damage.
        encoder.forget(source);
        encoder.marker(&budget.stop_label(source, stop), at_micros, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::super::asciicast::parse_event;
    use super::*;

    /// The events as `letter text`.
    fn events(lines: &str) -> Vec<String> {
        lines
            .lines()
            .map(|line| {
                let event = parse_event(line.as_bytes()).unwrap_or_else(|| panic!("bad line {line}"));
                format!("{} {}", event.letter, event.text)
            })
            .collect()
    }

    #[test]
    fn a_password_is_nowhere() {
        let mut transcript = Transcript::new(Some((80, 24)), true, 0, false);
        let mut lines = String::new();
        transcript.shown(Source::Output, b"$ ", 1, &mut lines);
        for (at, key) in (2..).zip(["s", "u", "\r"]) {
            transcript.typed(key.as_bytes(), at, &mut lines);
            let echo = if key == "\r" { "\r\nPassword: " } else { key };
            transcript.shown(Source::Output, echo.as_bytes(), at, &mut lines);
        }
        for key in "canary-77".bytes() {
            transcript.typed(&[key], 10, &mut lines);
        }
        transcript.typed(b"\r", 11, &mut lines);
        transcript.shown(Source::Output, b"\r\n# ", 12, &mut lines);
        transcript.finish(13, &mut lines);
        assert_eq!(
            events(&lines),
            ["o $ ", "i s", "o s", "i u", "o u", "i \r", "o \r\nPassword: ", "o \r\n# ", "m input hidden"]
        );
    }

    #[test]
    fn without_a_terminal() {
        let mut transcript = Transcript::new(None, false, 9, true);
        assert_eq!(transcript.size(), (80, 24));
        let mut lines = String::new();
        transcript.typed(b"secret on stdin\n", 1, &mut lines);
        transcript.resize((100, 30), 1, &mut lines);
        transcript.shown(Source::Output, b"a\n\xe2", 1, &mut lines);
        transcript.shown(Source::Errors, b"b\n", 2, &mut lines);
        transcript.shown(Source::Output, b"\x82\xac\xe2\x82\xac", 3, &mut lines);
        transcript.shown(Source::Output, b"more", 4, &mut lines);
        transcript.finish(5, &mut lines);
        let got = events(&lines);
        assert_eq!(
            got[..4],
            ["o a\r\n", "o b\r\n", "o \u{20ac}", "m output not kept from here: more than 9 bytes"]
        );
        assert!(got[4].starts_with("m output: 12 bytes in all, sha256 "), "{}", got[4]);
        assert!(got[4].contains("; standard error: 2 bytes in all, sha256 "), "{}", got[4]);
        assert_eq!(got.len(), 5);
    }

    #[test]
    fn input_without_a_terminal_is_kept_when_it_must_be() {
        let mut transcript = Transcript::new(None, true, 9, false);
        let mut lines = String::new();
        transcript.typed(b"\0id\n", 1, &mut lines);
        transcript.shown(Source::Output, b"\0root\n", 2, &mut lines);
        transcript.typed(b"whoami\n", 3, &mut lines);
        transcript.finish(4, &mut lines);
        let got = events(&lines);
        assert!(got[0].starts_with("i ") && got[0].contains("id"), "{got:?}");
        assert!(got[1].starts_with("o ") && got[1].contains("root"), "{got:?}");
        assert_eq!(got[2..4], ["i whoam", "m input not kept from here: more than 9 bytes"]);
        assert!(got[4].starts_with("m input: 11 bytes in all, sha256 "), "{got:?}");
        assert_eq!(got.len(), 5);
    }

    #[test]
    fn sizes() {
        let mut transcript = Transcript::new(Some((0, u32::MAX)), false, 0, false);
        assert_eq!(transcript.size(), (80, 500));
        let mut lines = String::new();
        for said in [(80, 500), (0, 0), (100, 0), (u32::MAX, 40)] {
            transcript.resize(said, 7, &mut lines);
        }
        assert_eq!(events(&lines), ["r 100x500", "r 1000x40"]);
    }
}
