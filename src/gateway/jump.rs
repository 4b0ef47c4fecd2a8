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
use super::pressure::Budget;

#[derive(Default)]
struct Waiting {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

/// What came in and was not read yet.
struct Intake {
    waiting: Mutex<Waiting>,
    reader: AtomicWaker,
    budget: Budget,
}

impl Intake {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the cap is reached.
    fn push(&self, piece: Bytes) -> bool {
        let all_fit = self.budget.add(piece.len());
        let mut waiting = self.waiting();
        waiting.bytes += piece.len();
        waiting.pieces.push_back(piece);
        let fits = all_fit && waiting.bytes <= BACKLOG_CAP && waiting.pieces.len() <= BACKLOG_ITEMS_CAP;
        drop(waiting);
        self.reader.wake();
        fits
    }

    fn end(&self) {
        self.waiting().ended = true;
        self.reader.wake();
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.budget.sub(self.waiting().bytes);
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
        budget: Budget,
        kill: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let intake = Arc::new(Intake { waiting: Mutex::default(), reader: AtomicWaker::new(), budget });
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
            // An empty piece would read as the end of the stream.
            ChannelMsg::Data { data } if data.is_empty() => {}
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
        self.intake.budget.sub(count);
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn intake(budget: &Budget) -> Arc<Intake> {
        Arc::new(Intake { waiting: Mutex::default(), reader: AtomicWaker::new(), budget: budget.clone() })
    }

    #[tokio::test]
    async fn pieces_are_read_in_order_and_the_end_is_an_end() {
        let intake = intake(&Budget::default());
        assert!(intake.push(Bytes::from_static(b"ab")) && intake.push(Bytes::from_static(b"cde")));
        intake.end();
        let mut stream = JumpStream { intake, writer: Box::pin(tokio::io::sink()) };
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&first[..], &rest[..]), (&b"abc"[..], &b"de"[..]));
    }

    #[test]
    fn one_channel_and_one_connection_have_caps() {
        let budget = Budget::default();
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        let (one, two, three) = (intake(&budget), intake(&budget), intake(&budget));
        let fill = |intake: &Intake| (0..1000).take_while(|_| intake.push(mebibyte.clone())).count() << 20;
        assert_eq!(fill(&one), BACKLOG_CAP);
        assert!(fill(&two) < BACKLOG_CAP, "the first one's last piece counts");
        assert_eq!(fill(&three), 0, "the connection is full");
        drop((one, two, three));
        assert!(intake(&budget).push(mebibyte), "what is gone counts no more");
    }
}
