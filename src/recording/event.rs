//! The lines of `events.ndjson`: what happened in a session beside the screen, each with its time and its place in the
//! cast. A closed list with stable names; adding a field is fine, renaming is not. Pure.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Number in its file, from 1, without gaps.
    pub n: u64,
    /// Seconds since the session's recording began.
    pub t: f64,
    /// The cast that was written when it happened (`0001.cast`); none in sessions without a screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cast: Option<String>,
    /// Bytes of that cast that stood in front of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A command was judged and is about to be sent to the target.
    Command {
        /// The command line, as the client sent it; lossy UTF-8.
        command: String,
        /// The line that the target gets, where it is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<String>,
        /// SHA-256, in hex, of the bytes that the target gets.
        sha256: String,
        /// `allow`: what is denied opens no session.
        verdict: String,
        /// The command rule that spoke, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
        /// How sure that verdict is: `enforced` or `detected`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assurance: Option<String>,
        /// The files that an old copying program moves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transfer: Option<String>,
    },
    /// In an sftp session something is about to be done to a file, or was refused. See `AuditEvent::FileOperation`.
    File {
        /// `read`, `write`, `create`, `remove`, `rename`, `setattr`, `symlink`, `mkdir`, `list`, `extended`.
        op: String,
        /// The path.
        path: String,
        /// The second path of `rename`, `symlink`, hard links and copies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        second: Option<String>,
        /// Whether it is sent to the target.
        allowed: bool,
        /// The path rule that spoke.
        rule: String,
    },
    /// In an sftp session content passed, and the file was closed. See `AuditEvent::FileTransferred`.
    Transfer {
        /// The path.
        path: String,
        /// `read` (from the target) or `write`.
        direction: String,
        /// Bytes of content.
        bytes: u64,
        /// SHA-256 of the content in hex, where the whole of it passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// A forward, or the use of agent or display, was permitted. See `AuditEvent::ForwardOpened`.
    ForwardOpened {
        /// Which.
        number: u64,
        /// `local`, `listen`, `remote`.
        direction: String,
        /// `tcp`, `socket`, `agent`, `x11`.
        kind: String,
        /// Endpoint as asked for.
        what: String,
        /// Addresses.
        addresses: Vec<String>,
    },
    /// It ended.
    ForwardClosed {
        /// Which.
        number: u64,
        /// Why.
        reason: String,
        /// Bytes from client to target.
        bytes_in: u64,
        /// Bytes from target to client.
        bytes_out: u64,
        /// How long it was open, in milliseconds.
        lasted_ms: u64,
    },
    /// The user was told something, or the session was marked: the text of a marker in the cast.
    Note {
        /// The text.
        text: String,
    },
    /// A stream of a command without terminal, at its end.
    Stream {
        /// `output`, `errors` or `input`.
        stream: String,
        /// All of its bytes.
        bytes: u64,
        /// SHA-256 of all of them, in hex.
        sha256: String,
        /// Whether the cast has all of them. If not, it was too much, or no text.
        kept: bool,
    },
    /// The cast goes on in another file.
    Part {
        /// Its name.
        file: String,
    },
    /// The session ended, in order.
    Closed {
        /// See `AuditEvent::SessionClosed`.
        reason: String,
        /// Exit status, when there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_status: Option<u32>,
        /// Bytes from client to target.
        bytes_in: u64,
        /// Bytes from target to client.
        bytes_out: u64,
    },
    /// From here on nothing was recorded, though the session went on: the disk was full, and its role allows that.
    Lost {
        /// What was wrong.
        why: String,
    },
    /// The bastion stopped without an end of the session: this line was written when it started again.
    Interrupted {},
}
