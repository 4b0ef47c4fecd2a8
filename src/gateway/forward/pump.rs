//! The bytes of one forwarded channel, both ways, until both sides have ended it or something ends it from outside.
//!
//! As in `relay`: each direction has a reader that always empties its channel into a backlog, and a writer. The end of one
//! direction alone (EOF) is passed on; when one side closes, what it sent is delivered first.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client, server};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::flow::forward::Passed;
use crate::gateway::backlog::{Backlog, Overflow};
use crate::gateway::limits::{FAREWELL, FORWARD_CLOSE, ITEM_WEIGHT, TARGET_FAREWELL};
use crate::gateway::pressure::{Gauge, Pressure};
use crate::gateway::relay::{Limits, changed};
use crate::policy::Refusal;

/// Where to pump, and what is known about the pressure there.
pub(super) struct Ends {
    pub(super) client: Channel<server::Msg>,
    pub(super) target: Channel<client::Msg>,
    /// The client connection's.
    pub(super) pressure: Arc<Pressure>,
    /// What comes over the connection to the target, all its forwards together.
    pub(super) download: Arc<Gauge>,
}

/// What ends a forward from outside.
pub(super) struct Watch {
    /// As the permit has them, also when it becomes another one.
    pub(super) limits: watch::Receiver<Limits>,
    pub(super) sign_in_ended: CancellationToken,
    pub(super) drain: CancellationToken,
    /// The client's connection is over.
    pub(super) over: CancellationToken,
    /// The connection to the target is over; `target_end` may say why.
    pub(super) target_over: CancellationToken,
    pub(super) target_end: Arc<OnceLock<&'static str>>,
}

/// What is in a backlog.
enum Piece {
    Bytes(Bytes),
    Eof,
}

/// One direction.
struct Way {
    backlog: Backlog<Piece>,
    gauge: Arc<Gauge>,
    /// What of the gauge is ours; given back at the end.
    held: AtomicUsize,
    passed: AtomicU64,
}

impl Way {
    fn new(gauge: Arc<Gauge>) -> Self {
        Self { backlog: Backlog::new(), gauge, held: AtomicUsize::new(0), passed: AtomicU64::new(0) }
    }

    /// Empties a channel into the backlog until it is closed or gone.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "russh's list of messages is open; what is not named goes nowhere"
    )]
    async fn read(&self, mut from: ChannelReadHalf) -> Result<(), Overflow> {
        let mut ended = false;
        while let Some(message) = from.wait().await {
            match message {
                ChannelMsg::Data { data } if data.is_empty() => {}
                ChannelMsg::Data { data } => {
                    let bytes = data.len() + ITEM_WEIGHT;
                    self.held.fetch_add(bytes, Ordering::Relaxed);
                    let fits = self.gauge.add(bytes);
                    self.backlog.push(Piece::Bytes(data), bytes)?;
                    if !fits {
                        return Err(Overflow);
                    }
                }
                ChannelMsg::Eof if ended => {}
                ChannelMsg::Eof => {
                    ended = true;
                    self.backlog.push(Piece::Eof, 0)?;
                }
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        self.backlog.close();
        Ok(())
    }

    /// Writes the backlog into a channel; ends when the other side's channel is closed and everything is delivered, the
    /// end of the data included.
    async fn write<S>(
        &self,
        to: &ChannelWriteHalf<S>,
        clock: &Silence,
        client: Option<&Pressure>,
    ) -> Result<(), russh::Error>
    where
        S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
    {
        let mut ended = false;
        while let Some((piece, weight)) = self.backlog.pop().await {
            let _writing = client.map(Pressure::client_write);
            match piece {
                Piece::Bytes(bytes) => {
                    clock.broken();
                    self.passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    to.data_bytes(bytes).await?;
                    self.gauge.sub(weight);
                    self.held.fetch_sub(weight, Ordering::Relaxed);
                    self.backlog.written(weight);
                }
                Piece::Eof if ended => {}
                Piece::Eof => {
                    ended = true;
                    to.eof().await?;
                }
            }
        }
        if !ended {
            to.eof().await?;
        }
        Ok(())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.gauge.sub(*self.held.get_mut());
    }
}

/// Since when nothing has passed.
struct Silence {
    started: Instant,
    last_ms: AtomicU64,
}

impl Silence {
    fn broken(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Ready when nothing has passed for as long as may be.
    async fn lasts(&self, mut limits: watch::Receiver<Limits>) {
        loop {
            let last = self.started + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let end = last + limits.borrow_and_update().idle;
            if Instant::now() >= end {
                return;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                () = changed(&mut limits) => {}
            }
        }
    }
}

/// Pumps until the end, and closes both channels. `overruled` is ready when the policy does not allow it any more.
pub(super) async fn pump(ends: Ends, watch: &Watch, overruled: impl Future<Output = Refusal>) -> Passed {
    let up = Way::new(Arc::new(Gauge::new(Arc::clone(&ends.pressure), true)));
    let down = Way::new(ends.download);
    let (client_read, client) = ends.client.split();
    let (target_read, target) = ends.target.split();
    let reason = {
        let silence = Silence { started: Instant::now(), last_ms: AtomicU64::new(0) };
        let upload = up.write(&target, &silence, None);
        let download = down.write(&client, &silence, Some(&ends.pressure));
        let reading = async { tokio::try_join!(up.read(client_read), down.read(target_read)) };
        let outside = outside(watch, overruled, &silence);
        tokio::pin!(upload, download, reading, outside);
        let (mut uploading, mut downloading, mut is_reading) = (true, true, true);
        let mut last_call: Option<Instant> = None;
        loop {
            tokio::select! {
                read = &mut reading, if is_reading => match read {
                    Ok(_) => is_reading = false,
                    Err(Overflow) => break "overflow",
                },
                written = &mut upload, if uploading => match written {
                    Ok(()) => {
                        uploading = false;
                        last_call.get_or_insert_with(|| Instant::now() + FORWARD_CLOSE);
                    }
                    Err(_) => break "target-gone",
                },
                written = &mut download, if downloading => match written {
                    Ok(()) => {
                        downloading = false;
                        last_call.get_or_insert_with(|| Instant::now() + FORWARD_CLOSE);
                    }
                    Err(_) => break "client-gone",
                },
                () = at(last_call) => break "finished",
                reason = &mut outside => break reason,
            }
            if !uploading && !downloading {
                break "finished";
            }
        }
    };
    // The target first: whatever the client does, nothing more goes there on its behalf.
    if !matches!(timeout(TARGET_FAREWELL, target.close()).await, Ok(Ok(()))) {
        tracing::debug!("the target did not take the end of a forward");
    }
    if !matches!(timeout(FAREWELL, client.close()).await, Ok(Ok(()))) {
        tracing::debug!("the client did not take the end of a forward");
    }
    Passed {
        reason,
        bytes_in: up.passed.load(Ordering::Relaxed),
        bytes_out: down.passed.load(Ordering::Relaxed),
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn outside(watch: &Watch, overruled: impl Future<Output = Refusal>, silence: &Silence) -> &'static str {
    tokio::select! {
        reason = ended(watch) => reason,
        refusal = overruled => refusal.end_word(),
        () = silence.lasts(watch.limits.clone()) => "idle",
    }
}

/// Ready, with the word for the audit, when something outside ends what is watched.
pub(super) async fn ended(watch: &Watch) -> &'static str {
    tokio::select! {
        () = watch.sign_in_ended.cancelled() => "sign-in-ended",
        () = watch.drain.cancelled() => "drain",
        () = watch.over.cancelled() => "client-gone",
        () = watch.target_over.cancelled() => watch.target_end.get().copied().unwrap_or("target-gone"),
        () = too_long(watch.limits.clone()) => "session-max",
    }
}

/// Ready when it has lasted for as long as may be.
async fn too_long(mut limits: watch::Receiver<Limits>) {
    loop {
        let deadline = limits.borrow_and_update().deadline;
        tokio::select! {
            () = sleep_until(deadline) => return,
            () = changed(&mut limits) => {}
        }
    }
}
