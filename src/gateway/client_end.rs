//! The client's side of a channel: what it sends waits in a backlog, whatever the other side does, and it gets one last
//! line. What passes in between is the relay's matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, server};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backlog::{Backlog, Overflow};
use super::limits::{FAREWELL, HELD_PIECE, ITEM_WEIGHT, SIGNAL_NAME_MAX, UNAUTHORISED_CAP, WEIGHTLESS_MAX};
use super::pressure::{Gauge, Pressure};
use super::relay::STDERR;
use crate::plain;

/// What a target sends.
pub(super) enum FromTarget {
    Bytes(Bytes),
    Stderr(Bytes),
    Eof,
    ExitStatus(u32),
    ExitSignal { signal: Sig, core_dumped: bool, message: String, language: String },
}

/// What a client sends in a channel once it runs.
pub(super) enum FromClient {
    Bytes(Bytes),
    Eof,
    Resize { columns: u32, rows: u32, width: u32, height: u32 },
    Signal(Sig),
}

impl FromClient {
    /// Bytes of what a client chose the length of.
    fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Signal(signal) => name(signal).len(),
            Self::Eof | Self::Resize { .. } => 0,
        }
    }

    /// Not passed on: no bytes at all, or a signal of no known kind of name.
    fn means_nothing(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Signal(signal) => name(signal).len() > SIGNAL_NAME_MAX,
            Self::Eof | Self::Resize { .. } => false,
        }
    }
}

/// What a signal that SSH does not know is called; empty for one that it does.
pub(super) fn name(signal: &Sig) -> &str {
    if let Sig::Custom(name) = signal { name } else { "" }
}

/// The client's side of a channel: what it has sent so far waits in `backlog`.
pub(super) struct ClientEnd {
    pub(super) id: ChannelId,
    pub(super) handle: server::Handle,
    pub(super) write: ChannelWriteHalf<server::Msg>,
    pub(super) backlog: Arc<Backlog<FromClient>>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) pressure: Arc<Pressure>,
    /// Cancelled when the client closed the channel, vanished, or sent more than the cap.
    pub(super) gone: CancellationToken,
    pub(super) overflowed: CancellationToken,
    pub(super) gate: Arc<Gate>,
    /// Ends the reader when this end is dropped.
    pub(super) _done: DropGuard,
}

/// What stands between a client and its program until that is allowed.
#[derive(Default)]
pub(super) struct Gate {
    /// Set when what was asked for is allowed: until then less may wait.
    pub(super) open: AtomicBool,
    /// The client has a terminal in raw mode, so Ctrl-C comes as a byte.
    pub(super) terminal: AtomicBool,
    /// Cancelled when Ctrl-C was typed before the gate was open.
    pub(super) interrupted: CancellationToken,
}

impl Gate {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Looks at what a client sends before the gate is open.
    fn look_at(&self, bytes: &[u8]) {
        if self.terminal.load(Ordering::Relaxed) && bytes.contains(&CTRL_C) {
            self.interrupted.cancel();
        }
    }
}

/// ETX, what a terminal in raw mode sends for Ctrl-C.
const CTRL_C: u8 = 3;

impl ClientEnd {
    /// One line for the user on stderr while the session goes on, unless its window stays full for so long.
    pub(super) async fn say(&self, text: &str, terminal: bool, patience: Duration) {
        let (before, after) = if terminal { ("\r\n", "\r\n") } else { ("", "\n") };
        let line = Bytes::from(format!("{before}caponier: {}{after}", plain::shown(text)));
        let said = timeout(patience, self.write.extended_data_bytes(STDERR, line)).await;
        if !matches!(said, Ok(Ok(()))) {
            tracing::debug!(channel = ?self.id, "the client did not take a line");
        }
    }

    /// One line for the user on stderr, an exit status, and the end of the channel. Never waits long.
    pub(super) async fn farewell(&self, text: &str, exit_status: u32) {
        // Parts of the text can come from a target or from the client itself.
        let line = Bytes::from(format!("\r\ncaponier: {}\r\n", plain::shown(text)));
        let say = async {
            self.write.extended_data_bytes(STDERR, line).await?;
            self.write.exit_status(exit_status).await?;
            self.write.eof().await?;
            self.write.close().await
        };
        if !matches!(timeout(FAREWELL, say).await, Ok(Ok(()))) {
            tracing::debug!(channel = ?self.id, "the client did not take the last message");
        }
    }
}

/// Adds a small piece to the one before it, where that is small too: a client that has filled its window sends two bytes at
/// a time, perhaps for hours. None when it must go by itself; else whether there was room.
fn joined(backlog: &Backlog<FromClient>, gauge: &Gauge, data: &[u8]) -> Option<bool> {
    // Counted before it can be taken out, and counted back.
    let fits = gauge.add(data.len()) && gauge.bytes() <= UNAUTHORISED_CAP;
    let grown = backlog.grow_last(data.len(), |last| match last {
        FromClient::Bytes(bytes) if bytes.len() + data.len() <= HELD_PIECE => {
            let mut both = BytesMut::with_capacity(bytes.len() + data.len());
            both.extend_from_slice(bytes);
            both.extend_from_slice(data);
            *bytes = both.freeze();
            true
        }
        FromClient::Bytes(_) | FromClient::Eof | FromClient::Resize { .. } | FromClient::Signal(_) => false,
    });
    if !grown {
        gauge.sub(data.len());
    }
    grown.then_some(fits)
}

/// Empties the client's channel into its backlog, until the client closes it or is gone.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "russh's list of messages is open; what is not named goes nowhere"
)]
pub(super) async fn read_client(
    mut read: ChannelReadHalf,
    backlog: Arc<Backlog<FromClient>>,
    gauge: Arc<Gauge>,
    gone: CancellationToken,
    overflowed: CancellationToken,
    done: CancellationToken,
    gate: Arc<Gate>,
) {
    let mut weightless = 0;
    loop {
        let next = tokio::select! {
            next = read.wait() => next,
            // Nobody takes what comes any more; russh drops it once this end is gone.
            () = done.cancelled() => return,
        };
        let Some(message) = next else { break };
        let item = match message {
            ChannelMsg::Data { data } => {
                if !gate.is_open() {
                    gate.look_at(&data);
                    match joined(&backlog, &gauge, &data) {
                        Some(true) => continue,
                        Some(false) => {
                            overflowed.cancel();
                            break;
                        }
                        None => {}
                    }
                }
                FromClient::Bytes(data)
            }
            ChannelMsg::Eof => FromClient::Eof,
            ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height } => FromClient::Resize {
                columns: col_width,
                rows: row_height,
                width: pix_width,
                height: pix_height,
            },
            ChannelMsg::Signal { signal } => FromClient::Signal(signal),
            ChannelMsg::Close => break,
            // Requests are answered in the door's callbacks, where replies keep their order; what is left means nothing
            // from a client (extended data, exit status) and goes nowhere.
            _ => continue,
        };
        let bytes = item.bytes();
        weightless = if bytes > 0 || gauge.bytes() == 0 { 0 } else { weightless + 1 };
        if weightless <= WEIGHTLESS_MAX && item.means_nothing() {
            continue;
        }
        let item = match item {
            // Only the newest size matters.
            resize @ FromClient::Resize { .. } => {
                backlog.replace_last(resize, |last| matches!(last, FromClient::Resize { .. }))
            }
            other => Some(other),
        };
        let Some(item) = item else { continue };
        let weight = bytes + ITEM_WEIGHT;
        let fits = gauge.add(weight) && weightless <= WEIGHTLESS_MAX;
        let fits = fits && (gate.is_open() || gauge.bytes() <= UNAUTHORISED_CAP);
        if backlog.push(item, weight) == Err(Overflow) || !fits {
            overflowed.cancel();
            break;
        }
    }
    gone.cancel();
    backlog.close();
}
