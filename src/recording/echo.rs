//! Which typed bytes may be kept, pure. A typed byte is kept only after the terminal showed it: it waits here, in
//! memory, and is let go when the very next visible output repeats it; anything else drops all that waits.
//! So every byte let go stands in the recorded output as well, and a password typed without echo goes nowhere.
//! What is dropped besides (editing keys, commands of full-screen programs) is the price.

use std::collections::VecDeque;

/// Typed bytes that may wait at most; more than this is no typing.
const HELD_MAX: usize = 4096;
/// How long an echo may take. Output that happens to repeat a byte typed long ago is no echo.
const ECHO_WITHIN_MICROS: u64 = 2_000_000;

/// Holds typed bytes until their echo is seen.
#[derive(Debug)]
pub(super) struct EchoGate {
    held: VecDeque<u8>,
    oldest_micros: u64,
    echo: bool,
    hiding: bool,
    escape: Escape,
}

impl EchoGate {
    pub(super) fn new() -> Self {
        Self { held: VecDeque::new(), oldest_micros: 0, echo: true, hiding: false, escape: Escape::No }
    }

    /// Whether the terminal echoes, where that is known. Off drops everything, echo seen or not.
    /// True when a hidden stretch begins.
    pub(super) fn set_echo(&mut self, on: bool) -> bool {
        self.echo = on;
        !on && self.drop_held()
    }

    /// Bytes were typed. True when a hidden stretch begins.
    pub(super) fn typed(&mut self, bytes: &[u8], at_micros: u64) -> bool {
        if bytes.is_empty() {
            return false;
        }
        let late = self.is_late(at_micros);
        let mut began = late && self.drop_held();
        if !self.echo || self.held.len() + bytes.len() > HELD_MAX {
            self.held.clear();
            began |= self.hide();
        } else {
            if self.held.is_empty() {
                self.oldest_micros = at_micros;
                self.escape = Escape::No;
            }
            self.held.extend(bytes);
        }
        began
    }

    /// Bytes were shown. Those typed bytes that they echo go to `kept`. True when a hidden stretch begins.
    pub(super) fn shown(&mut self, bytes: &[u8], at_micros: u64, kept: &mut Vec<u8>) -> bool {
        if self.is_late(at_micros) {
            return self.drop_held();
        }
        for byte in bytes {
            let Some(typed) = self.held.front().copied() else { break };
            if self.escape.hides(*byte) {
                continue;
            }
            match (typed, *byte) {
                // Enter is shown as CR LF.
                (b'\r' | b'\n', b'\r') => continue,
                (b'\r' | b'\n', b'\n') => {}
                (typed, shown) if typed == shown => {}
                _ => return self.drop_held(),
            }
            self.held.pop_front();
            self.oldest_micros = at_micros;
            self.hiding = false;
            kept.push(typed);
        }
        false
    }

    /// The end. True when a hidden stretch begins.
    pub(super) fn finish(&mut self) -> bool {
        self.drop_held()
    }

    fn is_late(&self, at_micros: u64) -> bool {
        !self.held.is_empty() && at_micros.saturating_sub(self.oldest_micros) > ECHO_WITHIN_MICROS
    }

    fn drop_held(&mut self) -> bool {
        let any = !self.held.is_empty();
        self.held.clear();
        any && self.hide()
    }

    fn hide(&mut self) -> bool {
        !std::mem::replace(&mut self.hiding, true)
    }
}

/// Where we are in an escape sequence; shells colour what they echo, and colours take no room on the screen.
#[derive(Debug, Clone, Copy)]
enum Escape {
    No,
    Begun,
    Csi,
    Osc,
    OscBegun,
}

impl Escape {
    /// Takes one byte of output; true when it belongs to an escape sequence.
    fn hides(&mut self, byte: u8) -> bool {
        let (next, hidden) = match (*self, byte) {
            (Self::No, 0x1b) | (Self::Begun | Self::Csi, 0x1b) => (Self::Begun, true),
            (Self::No, _) => (Self::No, false),
            (Self::Begun, b'[') => (Self::Csi, true),
            (Self::Begun, b']') => (Self::Osc, true),
            (Self::Begun, 0x20..=0x2f) => (Self::Begun, true),
            (Self::Begun, _) | (Self::Csi, 0x40..=0x7e) => (Self::No, true),
            (Self::Csi, _) => (Self::Csi, true),
            (Self::Osc | Self::OscBegun, 0x07) | (Self::OscBegun, b'\\') => (Self::No, true),
            (Self::Osc | Self::OscBegun, 0x1b) => (Self::OscBegun, true),
            (Self::Osc | Self::OscBegun, _) => (Self::Osc, true),
        };
        *self = next;
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Typed(&'static str),
        Shown(&'static str),
        Echo(bool),
        Wait(u64),
    }
    use Step::{Echo, Shown, Typed, Wait};

    /// What was kept, and how many hidden stretches there were.
    fn play(steps: &[Step]) -> (String, usize) {
        let (mut gate, mut kept, mut hidden, mut at) = (EchoGate::new(), Vec::new(), 0, 0);
        for step in steps {
            at += 1000;
            let began = match step {
                Typed(text) => gate.typed(text.as_bytes(), at),
                Shown(text) => gate.shown(text.as_bytes(), at, &mut kept),
                Echo(on) => gate.set_echo(*on),
                Wait(secs) => {
                    at += secs * 1_000_000;
                    false
                }
            };
            hidden += usize::from(began);
        }
        hidden += usize::from(gate.finish());
        (String::from_utf8(kept).unwrap(), hidden)
    }

    #[test]
    fn rows() {
        let rows: &[(&str, &[Step], &str, usize)] = &[
            (
                "echoed",
                &[Typed("l"), Shown("l"), Typed("s"), Shown("s"), Typed("\r"), Shown("\r\nfile")],
                "ls\r",
                0,
            ),
            ("echo in one piece", &[Typed("ls\r"), Shown("ls\r\nfile")], "ls\r", 0),
            ("echo in pieces", &[Typed("ls"), Shown("l"), Shown("s")], "ls", 0),
            ("coloured echo", &[Typed("ls"), Shown("\x1b[4ml\x1b[24m\x1b]0;t\x07s")], "ls", 0),
            ("escape cut by a chunk", &[Typed("m"), Shown("\x1b[4"), Shown("mm")], "m", 0),
            ("no echo", &[Typed("hunter2\r"), Shown("\r\nWelcome")], "", 1),
            ("no echo, key by key", &[Typed("h"), Typed("u"), Typed("\r"), Shown("\r\n")], "", 1),
            ("no echo, no output", &[Typed("hunter2")], "", 1),
            ("stars", &[Typed("a"), Shown("*"), Typed("b"), Shown("*")], "", 1),
            ("known to be off", &[Echo(false), Typed("abc"), Shown("abc")], "", 1),
            ("off with bytes waiting", &[Typed("abc"), Echo(false), Shown("abc")], "", 1),
            ("off and on", &[Echo(false), Typed("a"), Echo(true), Typed("b"), Shown("b")], "b", 1),
            (
                "two stretches",
                &[Typed("a"), Shown("*"), Typed("b"), Shown("b"), Typed("c"), Shown("*")],
                "b",
                2,
            ),
            ("late", &[Typed("p"), Wait(3), Shown("permission")], "", 1),
            ("late, typing on", &[Typed("p"), Wait(3), Typed("q"), Shown("q")], "q", 1),
            ("other output first", &[Typed("ls"), Shown("done\r\n$ ls")], "", 1),
        ];
        for (name, steps, kept, hidden) in rows {
            assert_eq!(play(steps), ((*kept).to_owned(), *hidden), "{name}");
        }
    }

    #[test]
    fn too_much_is_dropped_not_hoarded() {
        let mut gate = EchoGate::new();
        assert!(gate.typed(&[b'x'; HELD_MAX + 1], 0));
        assert!(!gate.typed(&[b'x'; HELD_MAX + 1], 0));
        let mut kept = Vec::new();
        gate.shown(b"xxxx", 0, &mut kept);
        assert!(kept.is_empty());
    }
}
