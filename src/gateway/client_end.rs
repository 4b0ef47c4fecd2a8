//! The client's side of a channel: what it sends waits in a backlog, whatever the other side does, and it gets one last
//! line. What passes in between is the relay's matter.

use std::sync::Arc;

use bytes::Bytes;
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, server};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backlog::{Backlog, Overflow};
use super::limits::FAREWELL;
use super::pressure::{Gauge, Pressure};
use super::relay::STDERR;

/// What a client sends in a channel once it runs.
pub(super) enum FromClient {
    Bytes(Bytes),
    Eof,
    Resize { columns: u32, rows: u32, width: u32, height: u32 },
    Signal(Sig),
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
    /// Ends the reader when this end is dropped.
    pub(super) _done: DropGuard,
}

impl ClientEnd {
    /// One line for the user on stderr, an exit status, and the end of the channel. Never waits long.
    pub(super) async fn farewell(&self, text: &str, exit_status: u32) {
        // Parts of the text can come from a target or from the client itself.
        let plain: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
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
) {
    loop {
        let next = tokio::select! {
            next = read.wait() => next,
            // Nobody takes what comes any more; russh drops it once this end is gone.
            () = done.cancelled() => return,
        };
        let Some(message) = next else { break };
        let pushed = match message {
            ChannelMsg::Data { data } => {
                let bytes = data.len();
                let fits = gauge.add(bytes);
                backlog
                    .push(FromClient::Bytes(data), bytes)
                    .and_then(|held| fits.then_some(held).ok_or(Overflow))
            }
            ChannelMsg::Eof => backlog.push(FromClient::Eof, 0),
            ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height } => backlog.push(
                FromClient::Resize {
                    columns: col_width,
                    rows: row_height,
                    width: pix_width,
                    height: pix_height,
                },
                0,
            ),
            ChannelMsg::Signal { signal } => backlog.push(FromClient::Signal(signal), 0),
            ChannelMsg::Close => break,
            // Requests are answered in the door's callbacks, where replies keep their order; what is left means nothing
            // from a client (extended data, exit status) and goes nowhere.
            _ => Ok(0),
        };
        if pushed == Err(Overflow) {
            overflowed.cancel();
            break;
        }
    }
    gone.cancel();
    backlog.close();
}
