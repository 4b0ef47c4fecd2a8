//! What an opaque command line probably runs, for detection only: the commands that a bash parser finds in it at any
//! depth, behind limits of size, nesting and time. A parser can be wrong and a shell can be another one, so nothing
//! found here allows anything, and "not known" is an answer that callers must treat as the worst.

#[cfg(test)]
mod tests;
mod walk;
mod words;
mod wrapper;

use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

pub use wrapper::runs_others;

/// Longest line that is parsed, in bytes.
const PARSED_BYTES_MAX: usize = 8 << 10;
/// Most constructs that may be open at once, by a rough count: the parser's time doubles with each that is unbalanced.
const OPEN_MAX: usize = 8;
/// Most constructs that nest in one line, closed or not: so much recursion fits the stack many times over.
const OPENERS_MAX: usize = 64;
/// Stack of the thread that parses, in bytes.
const STACK_BYTES: usize = 16 << 20;
/// How long a parse may take. One takes a hundredth of a millisecond; tests, which share the machine with others, are
/// given more.
const DEADLINE: Duration = Duration::from_millis(if cfg!(test) { 20_000 } else { 50 });
/// How long one waits for its turn before.
const TURN_WAIT: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { 50 });
/// Most parses at once, those included that are past their deadline and cannot be stopped.
const PARSES_MAX: usize = 4;
/// Most of them for one party, so that nobody's lines keep those of others from being understood.
const PARSES_OF_ONE_MAX: usize = 1;

/// A word of a command that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Known, after quote removal.
    Literal(String),
    /// Only the shell will know: a variable, a substitution, a wildcard. It may become any number of words.
    Dynamic,
}

/// What was found in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classified {
    /// Every simple command at any depth, those behind `sudo`, `sh -c` and their like included. The program is first
    /// and may be [`Word::Dynamic`].
    Commands(Vec<Vec<Word>>),
    /// It could not be found out, and why.
    Unknown(String),
    /// It was not found out this time, and why: it may be at another time.
    Busy(String),
}

/// Looks for commands in a line, for `party`, whoever that is: each has its own turns. Takes up to
/// `TURN_WAIT` and `DEADLINE` (50 ms each): not for a thread that must not wait.
pub fn classify(command: &[u8], party: &str) -> Classified {
    match prepare(command) {
        Ok(text) => parse_elsewhere(text, party),
        Err(reason) => Classified::Unknown(reason),
    }
}

/// The limits that need no parser.
fn prepare(command: &[u8]) -> Result<String, String> {
    if command.len() > PARSED_BYTES_MAX {
        return Err(format!("it is longer than {PARSED_BYTES_MAX} bytes"));
    }
    let text = str::from_utf8(command).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.contains('\0') {
        return Err("it contains NUL".to_owned());
    }
    let nesting = nesting(text);
    if nesting.open > OPEN_MAX || nesting.openers > OPENERS_MAX {
        return Err(format!("it nests too much (at most {OPEN_MAX} deep and {OPENERS_MAX} in all)"));
    }
    Ok(text.to_owned())
}

struct Nesting {
    /// Most constructs open at once.
    open: usize,
    /// Constructs opened.
    openers: usize,
}

/// Counts what nests without looking at quotes: what stands in quotes may be parsed as well, later.
fn nesting(text: &str) -> Nesting {
    let mut count = Nesting { open: 0, openers: 0 };
    // Open now: what a bracket closes, what a word closes (so that the `)` of a case closes none), and prefixes, which
    // end with their command.
    let (mut brackets, mut blocks, mut prefixes) = (0_usize, 0_usize, 0_usize);
    let mut backquoted = false;
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphabetic() {
            word.push(c);
            continue;
        }
        match word.as_str() {
            "if" | "case" | "for" | "while" | "until" | "select" => blocks += 1,
            "fi" | "esac" | "done" => blocks = blocks.saturating_sub(1),
            "function" | "coproc" | "time" => prefixes += 1,
            _ => {}
        }
        let opens = matches!(word.as_str(), "if" | "case" | "for" | "while" | "until" | "select");
        let prefix = matches!(word.as_str(), "function" | "coproc" | "time") || c == '!';
        count.openers += usize::from(opens) + usize::from(prefix);
        word.clear();
        match c {
            '(' | '{' | '[' => brackets += 1,
            ')' | '}' | ']' => brackets = brackets.saturating_sub(1),
            '`' if backquoted => brackets = brackets.saturating_sub(1),
            '`' => brackets += 1,
            '!' => prefixes += 1,
            ';' | '&' | '|' | '\n' => prefixes = 0,
            _ => {}
        }
        backquoted ^= c == '`';
        count.openers += usize::from(matches!(c, '(' | '{' | '[') || c == '`' && backquoted);
        count.open = count.open.max(brackets + blocks + prefixes);
    }
    count
}

/// Parses in a thread of its own, which has the stack for it and which nobody waits for too long.
fn parse_elsewhere(text: String, party: &str) -> Classified {
    let busy = |reason: &str| Classified::Busy(reason.to_owned());
    let Some(turn) = TURNS.take(party) else {
        return busy("too many lines are being parsed at this moment");
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        let found = walk::commands(text);
        drop(turn);
        // Nobody listens any more when the deadline has passed.
        drop(sender.send(found));
    };
    let started = thread::Builder::new().name("classify".to_owned()).stack_size(STACK_BYTES).spawn(work);
    if started.is_err() {
        return busy("no thread could be started to parse it");
    }
    match receiver.recv_timeout(DEADLINE) {
        Ok(Ok(commands)) => Classified::Commands(commands),
        Ok(Err(reason)) => Classified::Unknown(reason),
        Err(mpsc::RecvTimeoutError::Timeout) => busy("parsing it takes too long"),
        Err(mpsc::RecvTimeoutError::Disconnected) => Classified::Unknown("the parser failed".to_owned()),
    }
}

/// The turns of this process.
static TURNS: Turns = Turns { taken: Mutex::new(Vec::new()), freed: Condvar::new(), patience: TURN_WAIT };

/// Takes a turn, as a line does that is slow to parse.
#[cfg(test)]
pub(crate) fn hold_turn(party: &str) -> impl Drop + use<> {
    TURNS.take(party).unwrap()
}

/// Who parses now: [`PARSES_MAX`] in all, [`PARSES_OF_ONE_MAX`] of one party.
struct Turns {
    taken: Mutex<Vec<String>>,
    freed: Condvar,
    /// How long one waits for a turn.
    patience: Duration,
}

/// A turn; given back when dropped.
struct Turn<'t> {
    turns: &'t Turns,
    party: String,
}

impl Turns {
    fn take(&self, party: &str) -> Option<Turn<'_>> {
        let full = |taken: &Vec<String>| {
            let own = taken.iter().filter(|other| *other == party).count();
            taken.len() >= PARSES_MAX || own >= PARSES_OF_ONE_MAX
        };
        // The list in the lock is right whatever else a panicking thread left behind.
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, _) = self
            .freed
            .wait_timeout_while(taken, self.patience, |taken| full(taken))
            .unwrap_or_else(PoisonError::into_inner);
        if full(&taken) {
            return None;
        }
        taken.push(party.to_owned());
        Some(Turn { turns: self, party: party.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = taken.iter().position(|party| *party == self.party) {
            taken.swap_remove(place);
        }
        // Those who wait do not all wait for the same.
        self.turns.freed.notify_all();
    }
}
