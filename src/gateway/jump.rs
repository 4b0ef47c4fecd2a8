//! The stream inside a jump channel, as the inner server reads and writes it.
//!
//! The outer connection's loop waits when a channel's queue is full, and the inner connection's loop does not read while
//! it writes. Were the one to wait for the other, both would wait for ever: the window adjustment that the inner write
//! needs comes in over the outer connection. So a task of its own empties the jump channel into an intake, always. An
//! honest client has at most the inner windows in flight; one that sends without end is cut off at the cap.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use futures_util::task::AtomicWaker;
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::limits::{BACKLOG_CAP, BACKLOG_ITEMS_CAP};

#[derive(Default)]
struct Waiting {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

/// What came in and was not read yet.
#[derive(Default)]
struct Intake {
    waiting: Mutex<Waiting>,
    reader: AtomicWaker,
}

impl Intake {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the cap is reached.
    fn push(&self, piece: Bytes) -> bool {
        let mut waiting = self.waiting();
        waiting.bytes += piece.len();
        waiting.pieces.push_back(piece);
        let fits = waiting.bytes <= BACKLOG_CAP && waiting.pieces.len() <= BACKLOG_ITEMS_CAP;
        drop(waiting);
        self.reader.wake();
        fits
    }

    fn end(&self) {
        self.waiting().ended = true;
        self.reader.wake();
    }
}

/// The stream: reads from the intake, writes into the jump channel within the client's window.
pub(super) struct JumpStream {
    intake: Arc<Intake>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
}

impl JumpStream {
    /// A stream over the two halves of a jump channel, and the task that must run for it: it ends when the client ends
    /// the channel, and cancels `kill` when the client sends without end.
    pub(super) fn over(
        read: ChannelReadHalf,
        write: &ChannelWriteHalf<Msg>,
        kill: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let intake = Arc::new(Intake::default());
        let stream = Self { intake: Arc::clone(&intake), writer: Box::pin(write.make_writer()) };
        (stream, take_in(read, intake, kill))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "russh's list of messages is open; what is not named goes nowhere"
)]
async fn take_in(mut read: ChannelReadHalf, intake: Arc<Intake>, kill: CancellationToken) {
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } if intake.push(data.clone()) => {}
            ChannelMsg::Data { .. } => {
                tracing::warn!("a jump channel sends without end; it is cut off");
                kill.cancel();
                break;
            }
            ChannelMsg::Eof | ChannelMsg::Close => break,
            _ => {}
        }
    }
    intake.end();
}

impl AsyncRead for JumpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.intake.reader.register(cx.waker());
        let mut waiting = self.intake.waiting();
        let Some(first) = waiting.pieces.front_mut() else {
            return if waiting.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let count = first.len().min(buf.remaining());
        buf.put_slice(&first.split_to(count));
        if !first.has_remaining() {
            waiting.pieces.pop_front();
        }
        waiting.bytes = waiting.bytes.saturating_sub(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for JumpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}
