//! A command line, read once. What the strict literal grammar accepts is known word for word and has a text of our
//! own, which is what goes to the target: what was checked is what is sent. Everything else is opaque, and says why.
//! Whether a command may run is `policy`'s; what an opaque line probably does, `classify` says.

mod character;
pub mod classify;
mod grammar;
mod quote;
mod reserved;
#[cfg(test)]
mod tests;

use std::fmt;

use sha2::{Digest as _, Sha256};

pub use classify::{Classified, Word, classify, runs_others};
pub use grammar::Join;
pub use quote::quote;

/// Longest command line that is read, in bytes. A longer one is opaque.
pub const COMMAND_BYTES_MAX: usize = 16 << 10;

/// What a target makes of the text of an `exec` request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// It is handed to a login shell with `-c`: dash, bash, zsh, ksh, busybox, fish or tcsh.
    #[default]
    Posix,
    /// Something else (cmd.exe, PowerShell, the command line of a switch): nothing is known about its words, so every
    /// line is opaque and only pinned texts can be allowed for certain.
    None,
}

/// A command line and what was understood of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    raw: Vec<u8>,
    read: Result<Line, Opaque>,
    /// For whom an opaque line is looked into.
    party: String,
}

/// What the grammar made of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    argvs: Vec<Vec<String>>,
    joins: Vec<Join>,
    text: String,
}

/// Why a line cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// The character, from 1, at which reading ended; 0 when it is the line as a whole.
    pub column: usize,
    /// What stands there, such as `redirection`.
    pub reason: String,
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => f.write_str(&self.reason),
            column => write!(f, "{} at column {column}", self.reason),
        }
    }
}

impl Reading {
    /// Reads the bytes of an `exec` request (RFC 4254 section 6.5) for a target that speaks `dialect`. Linear in
    /// their number; never fails: what is not understood is opaque.
    pub fn of(command: &[u8], dialect: Dialect) -> Self {
        let read = match dialect {
            Dialect::Posix => grammar::read(command),
            Dialect::None => {
                let reason = "this target has no shell whose words are known (dialect \"none\")".to_owned();
                Err(Opaque { column: 0, reason })
            }
        };
        let read = read.map(|(argvs, joins)| {
            let text = quote::text(&argvs, &joins);
            Line { argvs, joins, text }
        });
        Self { raw: command.to_vec(), read, party: String::new() }
    }

    /// The same, for somebody: whose lines are looked into is counted by this name.
    #[must_use]
    pub fn of_party(self, party: String) -> Self {
        Self { party, ..self }
    }

    /// Who that is; nobody in particular when nobody was named.
    pub fn party(&self) -> &str {
        &self.party
    }

    /// The words of every command of the line, in its order, the program first; `None` when the line is opaque.
    /// There is at least one command, and each has at least its program.
    pub fn argvs(&self) -> Option<&[Vec<String>]> {
        self.read.as_ref().ok().map(|line| line.argvs.as_slice())
    }

    /// What stands between the commands: one fewer than [`Self::argvs`]. `None` when the line is opaque.
    pub fn joins(&self) -> Option<&[Join]> {
        self.read.as_ref().ok().map(|line| line.joins.as_slice())
    }

    /// Why the line is opaque; `None` when it is not.
    pub fn opaque(&self) -> Option<&Opaque> {
        self.read.as_ref().err()
    }

    /// The line in our own quoting, which every login shell of the dialect reads as [`Self::argvs`]: this is what is
    /// sent. `None` when the line is opaque.
    pub fn text(&self) -> Option<&str> {
        self.read.as_ref().ok().map(|line| line.text.as_str())
    }

    /// The bytes as they came.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// SHA-256 of the bytes as they came, in hex.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.raw).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
