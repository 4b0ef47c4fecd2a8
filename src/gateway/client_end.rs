//! The client's side of a channel: what it sends waits in a backlog, whatever the other side does, and it gets one last
//! line. What passes in between is the relay's matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, server};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backlog::{Backlog, Overflow};
use super::limits::{FAREWELL, ITEM_WEIGHT, SIGNAL_NAME_MAX, UNAUTHORISED_CAP, WEIGHTLESS_MAX};
use super::pressure::{Gauge, Pressure};
use super::relay::STDERR;

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
    /// Set when what was asked for is allowed: until then less may wait.
    pub(super) authorised: Arc<AtomicBool>,
    /// Ends the reader when this end is dropped.
    pub(super) _done: DropGuard,
}

impl ClientEnd {
    /// One line for the user on stderr, an exit status, and the end of the channel. Never waits long.
    pub(super) async fn farewell(&self, text: &str, exit_status: u32) {
        // Parts of the text can come from a target or from the client itself.
        let plain = crate::plain::shown(text);
        let line = Bytes::from(format!("\r\ncaponier: {plain}\r\n"));
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
    authorised: Arc<AtomicBool>,
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
            ChannelMsg::Data { data } => FromClient::Bytes(data),
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
        let fits = fits && (authorised.load(Ordering::Relaxed) || gauge.bytes() <= UNAUTHORISED_CAP);
        if backlog.push(item, weight) == Err(Overflow) || !fits {
            overflowed.cancel();
            break;
        }
    }
    gone.cancel();
    backlog.close();
}
