//! Flow control between the two SSH connections of a session, inside russh's public API.
//!
//! russh opens windows by itself as data arrives, so a slow reader on one side would fill memory from the other.
//! Two brakes follow the backlogs' sizes:
//! - client to target: while a backlog is congested, [`Pressure::window`] shrinks the client's window to a trickle and
//!   the client's stream is read with short naps, except while a write to the client waits for *its* window (the
//!   adjustment we wait for comes on that stream);
//! - target to client: russh's client role takes no window advice, so the target's stream is read with growing naps,
//!   and at once when the backlog falls.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::limits::{
    BACKLOG_HIGH, BACKLOG_SLOW, CLIENT_NAP, CONNECTION_CAP, HELD_NAP, SHUTDOWN_MAX, TARGET_NAP_MAX,
    TARGET_NAP_MIN, TRICKLE, TRICKLE_READ, WINDOW, WRITE_STUCK_MAX,
};
use super::overheard::Overheard;

/// Bytes that wait anywhere on behalf of one TCP client: in its backlogs, in its jump channels, and in the backlogs of the
/// connections inside those.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// So many more. False when that is too much.
    #[must_use]
    pub(super) fn add(&self, bytes: usize) -> bool {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= CONNECTION_CAP
    }

    /// So many less.
    pub(super) fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What is known about one client connection: all its channels together.
#[derive(Default)]
pub(super) struct Pressure {
    /// Channels with a congested backlog, either way.
    congested: AtomicUsize,
    /// Channels with a congested backlog towards their target.
    uploads_congested: AtomicUsize,
    /// Writes to the client in progress.
    client_writes: AtomicUsize,
    /// Channels that wait for access.
    holding: AtomicUsize,
    /// Shared with every other connection over the same TCP connection.
    budget: Budget,
}

impl Pressure {
    /// Of a connection inside another.
    pub(super) fn within(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// What all of the TCP connection draws on.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The receive window to offer the client from now on.
    pub(super) fn window(&self) -> u32 {
        if self.congested.load(Ordering::Relaxed) > 0 { TRICKLE } else { WINDOW }
    }

    fn nap_before_client(&self) -> Option<Duration> {
        let nap = self.uploads_congested.load(Ordering::Relaxed) > 0
            && self.client_writes.load(Ordering::Relaxed) == 0;
        let length = if self.holding.load(Ordering::Relaxed) > 0 { HELD_NAP } else { CLIENT_NAP };
        nap.then_some(length)
    }

    /// Marks a channel as waiting for access until the guard is dropped: what it sends beyond its window comes slowly.
    pub(super) fn hold(&self) -> Holding<'_> {
        self.holding.fetch_add(1, Ordering::Relaxed);
        Holding(self)
    }

    /// Marks a write to the client as in progress until the guard is dropped.
    pub(super) fn client_write(&self) -> ClientWrite<'_> {
        self.client_writes.fetch_add(1, Ordering::Relaxed);
        ClientWrite(self)
    }
}

pub(super) struct Holding<'a>(&'a Pressure);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct ClientWrite<'a>(&'a Pressure);

impl Drop for ClientWrite<'_> {
    fn drop(&mut self) {
        self.0.client_writes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One direction of one channel: tells the connection's [`Pressure`] when its backlog crosses the line.
pub(super) struct Gauge {
    pressure: Arc<Pressure>,
    upload: bool,
    bytes: AtomicUsize,
    wake: AtomicWaker,
    /// Whether the client's windows shrink when it is congested.
    shrinks: bool,
}

impl Gauge {
    /// `upload` for client to target.
    pub(super) fn new(pressure: Arc<Pressure>, upload: bool) -> Self {
        Self { pressure, upload, bytes: AtomicUsize::new(0), wake: AtomicWaker::new(), shrinks: true }
    }

    /// What forwards download over one connection. It brakes that connection only: what a client sends on other channels
    /// does not suffer from a forward that nobody reads.
    pub(super) fn of_lane(pressure: Arc<Pressure>) -> Self {
        let mut gauge = Self::new(pressure, false);
        gauge.shrinks = false;
        gauge
    }

    /// So many bytes came in. False when the whole connection now holds too much: the channel must end.
    #[must_use]
    pub(super) fn add(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before <= BACKLOG_HIGH && before + bytes > BACKLOG_HIGH {
            self.congest(true);
        }
        self.pressure.budget.add(bytes)
    }

    /// So many bytes were written out.
    pub(super) fn sub(&self, bytes: usize) {
        self.pressure.budget.sub(bytes);
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let after = before.saturating_sub(bytes);
        if before > BACKLOG_HIGH && after <= BACKLOG_HIGH {
            self.congest(false);
        }
        if before > BACKLOG_SLOW && after <= BACKLOG_SLOW {
            self.wake.wake();
        }
    }

    /// What came in and was not written out yet.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Nothing of it will be written out.
    pub(super) fn forget(&self) {
        self.sub(self.bytes.load(Ordering::Relaxed));
    }

    fn congest(&self, yes: bool) {
        if !self.shrinks {
            return;
        }
        let step = |counter: &AtomicUsize| {
            if yes {
                counter.fetch_add(1, Ordering::Relaxed)
            } else {
                counter.fetch_sub(1, Ordering::Relaxed)
            }
        };
        step(&self.pressure.congested);
        if self.upload {
            step(&self.pressure.uploads_congested);
        }
    }

    /// Whether its connection is read slowly.
    pub(super) fn is_slow(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > BACKLOG_SLOW
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        let left = *self.bytes.get_mut();
        self.pressure.budget.sub(left);
        if left > BACKLOG_HIGH {
            self.congest(false);
        }
    }
}

/// Which brake a stream obeys.
pub(super) enum Brake {
    /// The stream of a client.
    Client(Arc<Pressure>, Arc<Overheard>),
    /// The stream of the target of one channel; the gauge is that channel's download.
    Target(Arc<Gauge>),
}

/// A stream that is read at the pace of the brake, and that ends at once when `kill` is cancelled: the one sure way
/// to end a russh connection, whatever its loop is waiting for.
pub(super) struct Paced<S> {
    stream: S,
    brake: Brake,
    nap: Option<Pin<Box<Sleep>>>,
    nap_before: Duration,
    /// Bytes of the last two reads: russh reads a packet's length and its body apart.
    last_reads: [usize; 2],
    kill: Pin<Box<WaitForCancellationFutureOwned>>,
    killed: bool,
    /// Ends when what is being written has not been taken for too long.
    stuck: Option<Pin<Box<Sleep>>>,
    /// Ends some time after our end of the stream: russh then waits for the peer's, for ever.
    closing: Option<Pin<Box<Sleep>>>,
    stuck_max: Duration,
    shutdown_max: Duration,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, brake: Brake, kill: &CancellationToken) -> Self {
        Self {
            stream,
            brake,
            nap: None,
            nap_before: Duration::ZERO,
            last_reads: [0; 2],
            kill: Box::pin(kill.clone().cancelled_owned()),
            killed: false,
            stuck: None,
            closing: None,
            stuck_max: WRITE_STUCK_MAX,
            shutdown_max: SHUTDOWN_MAX,
        }
    }

    fn next_nap(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        match &self.brake {
            // Naps slow the trickle. What a client had in flight before its window shrank is read at once, or other
            // channels would wait behind it.
            Brake::Client(..) if self.last_reads.iter().sum::<usize>() > TRICKLE_READ => None,
            Brake::Client(pressure, _) => pressure.nap_before_client(),
            Brake::Target(gauge) => {
                gauge.wake.register(cx.waker());
                if gauge.is_slow() {
                    self.nap_before = (self.nap_before * 5 / 4).clamp(TARGET_NAP_MIN, TARGET_NAP_MAX);
                    Some(self.nap_before)
                } else {
                    self.nap_before = Duration::ZERO;
                    None
                }
            }
        }
    }

    fn is_braked(&self) -> bool {
        match &self.brake {
            Brake::Client(pressure, _) => pressure.nap_before_client().is_some(),
            Brake::Target(gauge) => gauge.is_slow(),
        }
    }

    /// Ready once the current nap is over or no longer needed; takes a new nap only when `fresh`.
    fn poll_nap(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.nap.is_none() {
            let Some(length) = self.next_nap(cx) else { return Poll::Ready(()) };
            self.nap = Some(Box::pin(sleep(length)));
        }
        if let Brake::Target(gauge) = &self.brake {
            gauge.wake.register(cx.waker());
        }
        let over = match self.nap.as_mut() {
            Some(nap) => nap.as_mut().poll(cx).is_ready(),
            None => true,
        };
        if over || !self.is_braked() {
            self.nap = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Passes on what a write came to, but an error when writes have been pending for too long.
    fn poll_stuck<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let longest = self.stuck_max;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(longest)));
        match stuck.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_kill(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.killed && self.kill.as_mut().poll(cx).is_ready() {
            self.killed = true;
        }
        if self.killed { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_kill(cx)?;
        if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        if self.poll_nap(cx).is_pending() {
            return Poll::Pending;
        }
        if let Brake::Client(_, overheard) = &self.brake {
            Overheard::listen(overheard);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.last_reads = [buf.filled().len() - before, self.last_reads[0]];
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_kill(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.poll_stuck(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_kill(cx)?;
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.poll_stuck(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let longest = self.shutdown_max;
        self.closing.get_or_insert_with(|| Box::pin(sleep(longest)));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What is 90 s and 5 s outside.
    const SOON: Duration = Duration::from_millis(200);

    fn paced(room: usize) -> (Paced<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        let brake = Brake::Client(Arc::default(), Arc::default());
        let mut paced = Paced::new(ours, brake, &CancellationToken::new());
        (paced.stuck_max, paced.shutdown_max) = (SOON, SOON);
        (paced, theirs)
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_gone_after_a_while() {
        let (mut ours, _theirs) = paced(8);
        ours.write_all(b"12345678").await.unwrap();
        let before = tokio::time::Instant::now();
        let error = ours.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= SOON);
    }

    #[tokio::test]
    async fn a_slow_peer_is_not() {
        // However long it takes in all: each byte that is taken gives it as long again.
        let (mut ours, mut theirs) = paced(1);
        ours.stuck_max = Duration::from_secs(20);
        let reading = async {
            for _ in 0..100 {
                theirs.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[7; 100]), reading);
        written.unwrap();
        assert!(ours.stuck.is_none(), "the wait goes on after the write");
    }

    #[tokio::test]
    async fn a_peer_that_keeps_its_end_open_is_not_waited_for() {
        let (mut ours, _theirs) = paced(8);
        ours.shutdown().await.unwrap();
        let before = tokio::time::Instant::now();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(before.elapsed() >= SOON);
    }
}
