//! The bytes of one channel: read -> inspect -> record -> write, both ways, until somebody ends it.
//!
//! Each direction has a reader that always empties its russh channel into a backlog, and a pump that takes from the
//! backlog, records, and writes. One task polls all four; nothing is copied, nothing is locked but the backlog's head.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Overflow};
use super::client_end::name;
pub(super) use super::client_end::{ClientEnd, FromClient, FromTarget, read_client};
use super::file_guard::FileGuard;
use super::limits::{
    EOF_HELD, FAREWELL, ITEM_WEIGHT, SIGNAL_NAME_MAX, TARGET_FAREWELL, WARNING_PATIENCE, WEIGHTLESS_MAX,
};
use super::pressure::Gauge;
use super::warn::{self, Ends};
use crate::flow::session::Outcome;
use crate::inspect::sftp::Fault;
use crate::recording::{Recorder, RecorderError};

/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254 section 5.2).
pub(super) const STDERR: u32 = 1;

/// Why a session ends other than by the target finishing. The text is for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    ClientGone,
    Idle,
    SessionMax,
    SignInEnded,
    Policy,
    Killed,
    Recorder,
    Drain,
    Overflow,
    TargetGone,
    /// What is said in an sftp session cannot be followed.
    Files(Fault),
}

impl Ending {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ClientGone => "client-gone",
            Self::Idle => "idle",
            Self::SessionMax => "session-max",
            Self::SignInEnded => "sign-in-ended",
            Self::Policy => "policy",
            Self::Killed => "killed",
            Self::Recorder => "recorder",
            Self::Drain => "drain",
            Self::Overflow => "overflow",
            Self::TargetGone => "target-gone",
            Self::Files(_) => "protocol",
        }
    }

    fn text(self) -> Option<&'static str> {
        match self {
            Self::ClientGone => None,
            Self::Idle => Some("session closed: nothing was sent for too long"),
            Self::SessionMax => Some("session closed: its longest time is over"),
            Self::SignInEnded => Some("session closed: your sign-in has ended; run: caponier login"),
            Self::Policy | Self::Killed => Some("session closed: the policy does not allow it any more"),
            Self::Recorder => Some("session closed: it can no longer be recorded; tell your administrator"),
            Self::Drain => Some("session closed: the bastion is stopping; connect again"),
            Self::Overflow => Some("session closed: one side sends and the other does not read"),
            Self::TargetGone => Some("session closed: the connection to the target is lost"),
            Self::Files(fault) => Some(fault.text()),
        }
    }
}

/// What ends a session by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) deadline: Instant,
    /// What the deadline is: the longest session, or the end of the sign-in.
    pub(super) at_deadline: Ending,
    /// Longest silence.
    pub(super) idle: Duration,
    /// When access ends by itself, where it does.
    pub(super) ends: Option<Ends>,
}

/// Limits and signals that end a session from outside.
pub(super) struct Watch {
    /// As the policy has them now.
    pub(super) limits: watch::Receiver<Limits>,
    pub(super) sign_in_ended: CancellationToken,
    /// Cancelled when the policy, or somebody, ends it; `objection` then says which and why.
    pub(super) overruled: CancellationToken,
    pub(super) objection: Arc<OnceLock<(Ending, String)>>,
    pub(super) recorder_failed: CancellationToken,
    pub(super) drain: CancellationToken,
}

impl Watch {
    /// Ready when something outside the relay ends the session, also before it runs. What was decided comes before what the
    /// client did: whoever sends too much is gone, too.
    pub(super) async fn over(&self, client: &ClientEnd) -> Ending {
        tokio::select! {
            biased;
            () = self.sign_in_ended.cancelled() => Ending::SignInEnded,
            () = self.overruled.cancelled() => self.objection.get().map_or(Ending::Policy, |(why, _)| *why),
            () = self.recorder_failed.cancelled() => Ending::Recorder,
            () = self.drain.cancelled() => Ending::Drain,
            () = client.overflowed.cancelled() => Ending::Overflow,
            () = client.gone.cancelled() => Ending::ClientGone,
            ending = self.too_long() => ending,
        }
    }

    async fn too_long(&self) -> Ending {
        let mut limits = self.limits.clone();
        loop {
            let Limits { deadline, at_deadline, .. } = *limits.borrow_and_update();
            tokio::select! {
                () = sleep_until(deadline) => return at_deadline,
                () = changed(&mut limits) => {}
            }
        }
    }

    /// What the user is told of `ending`.
    pub(super) fn text(&self, ending: Ending) -> Option<&str> {
        let objection = self.objection.get().filter(|(why, _)| *why == ending);
        objection.map(|(_, text)| text.as_str()).or_else(|| ending.text())
    }
}

/// Ready when there are other limits; never, when nobody is left to set any.
pub(super) async fn changed(limits: &mut watch::Receiver<Limits>) {
    if limits.changed().await.is_err() {
        std::future::pending().await
    }
}

/// The running relay.
pub(super) struct Relay<'a> {
    client: &'a ClientEnd,
    target: ChannelWriteHalf<client::Msg>,
    recorder: Option<&'a Recorder>,
    /// For sftp: what passes is read and judged.
    files: Option<&'a FileGuard>,
    terminal: bool,
    download: Arc<Gauge>,
    started: Instant,
    last_byte_ms: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Nothing goes to the client any more; what the target says is only recorded.
    undelivered: AtomicBool,
    /// The client has sent the end of its input.
    client_ended: AtomicBool,
    exit: Mutex<Exit>,
}

/// How the target's program ended, as far as the target has said.
#[derive(Clone, Copy, Default)]
struct Exit {
    status: Option<u32>,
    signalled: bool,
}

impl Exit {
    fn is_known(self) -> bool {
        self.status.is_some() || self.signalled
    }
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        client: &'a ClientEnd,
        target: ChannelWriteHalf<client::Msg>,
        recorder: Option<&'a Recorder>,
        files: Option<&'a FileGuard>,
        terminal: bool,
        download: Arc<Gauge>,
    ) -> Self {
        Self {
            client,
            target,
            recorder,
            files,
            terminal,
            download,
            started: Instant::now(),
            last_byte_ms: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            undelivered: AtomicBool::new(false),
            client_ended: AtomicBool::new(false),
            exit: Mutex::new(Exit::default()),
        }
    }

    /// Runs until one side ends or `watch` says so; tells the client, closes both channels.
    pub(super) async fn run(
        self,
        target_read: ChannelReadHalf,
        early: Option<ChannelMsg>,
        watch: Watch,
    ) -> Outcome {
        let backlog = Arc::new(Backlog::new());
        let overflowed = CancellationToken::new();
        let ending = {
            let target_reader = self.read_target(target_read, early, &backlog, &overflowed);
            let upload = self.upload();
            let download = self.download(&backlog);
            let warnings = warn::before_the_end(watch.limits.clone(), |text| self.warn(text));
            tokio::pin!(target_reader, upload, download, warnings);
            let (mut reading, mut uploading) = (true, true);
            let ending = loop {
                tokio::select! {
                    result = &mut target_reader, if reading => {
                        reading = false;
                        if result.is_err() {
                            break result;
                        }
                    }
                    result = &mut upload, if uploading => {
                        uploading = false;
                        if result.is_err() {
                            break result;
                        }
                    }
                    result = &mut download => break result,
                    ending = self.watch(&watch, &overflowed) => break Err(ending),
                    () = &mut warnings => {}
                }
            };
            let reader = reading.then_some(target_reader);
            self.end_target(ending, reader, uploading.then_some(upload)).await;
            ending
        };
        if let Some(files) = self.files {
            files.end().await;
        }
        self.finish(ending, &watch).await
    }

    /// Closes the target's channel, before anything is said to the client: whatever that does, nothing more runs there
    /// on its behalf. Nothing is delivered any more, but what the target says until then is recorded: no client keeps
    /// what came of its commands out of the recording by not taking it, or by leaving.
    async fn end_target(
        &self,
        ending: Result<(), Ending>,
        reader: Option<Pin<&mut impl Future<Output = Result<(), Ending>>>>,
        upload: Option<Pin<&mut impl Future<Output = Result<(), Ending>>>>,
    ) {
        self.undelivered.store(true, Ordering::Relaxed);
        self.download.forget();
        let mut said_all = false;
        let mut words = pin!(async {
            match reader {
                Some(reader) => reader.await,
                None => Ok(()),
            }
        });
        if ending == Err(Ending::ClientGone) && !self.exit().is_known() {
            let until_all_said = async {
                tokio::select! {
                    _ = &mut words => said_all = true,
                    () = self.late_upload(upload) => {}
                }
            };
            if timeout(FAREWELL, until_all_said).await.is_err() {
                tracing::debug!("a target went on when its client had gone");
            }
        }
        // A target that reads nothing cannot keep us: its connection is cut when this session's is dropped.
        let mut close = pin!(timeout(TARGET_FAREWELL, self.target.close()));
        loop {
            tokio::select! {
                biased;
                _ = &mut words, if !said_all => said_all = true,
                closed = &mut close => {
                    if !matches!(closed, Ok(Ok(()))) {
                        tracing::debug!("the target did not take the end of the channel");
                    }
                    return;
                }
            }
        }
    }

    /// What a client sent before it closed is still delivered, as sshd does, and its end. Never ready: what comes of it
    /// is waited for.
    async fn late_upload(&self, upload: Option<Pin<&mut impl Future<Output = Result<(), Ending>>>>) {
        let delivered = match upload {
            Some(upload) => upload.await,
            None => Ok(()),
        };
        if delivered.is_ok()
            && !self.client_ended.load(Ordering::Relaxed)
            && let Err(error) = self.target.eof().await
        {
            tracing::debug!(%error, "the target was gone already");
        }
        std::future::pending().await
    }

    /// Tells the client, and sums up.
    async fn finish(self, ending: Result<(), Ending>, watch: &Watch) -> Outcome {
        let counts = |reason, exit_status| Outcome {
            reason,
            exit_status,
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        };
        let exit = self.exit();
        match ending {
            Ok(()) => {
                if !exit.is_known() {
                    self.client.farewell("the target closed the channel without an exit status", 255).await;
                } else if let Ok(Err(error)) = timeout(FAREWELL, self.client.write.close()).await {
                    tracing::debug!(%error, "the client was gone already");
                }
                counts("finished", exit.status)
            }
            // Clients close as soon as they have the exit status.
            Err(Ending::ClientGone) if exit.is_known() => counts("finished", exit.status),
            Err(ending) => {
                if let Some(text) = watch.text(ending) {
                    if let Some(recorder) = self.recorder
                        && let Err(error) = recorder.marker(text)
                    {
                        tracing::debug!(%error, "no marker");
                    }
                    self.client.farewell(text, 255).await;
                }
                counts(ending.word(), None)
            }
        }
    }

    /// Tells the client, and whoever watches the recording. On stderr, so that what programs say to each other stays whole.
    async fn warn(&self, text: String) {
        if let Some(Err(error)) = self.recorder.map(|recorder| recorder.marker(&text)) {
            tracing::debug!(%error, "no marker");
        }
        self.client.say(&text, self.terminal, WARNING_PATIENCE).await;
    }

    async fn watch(&self, watch: &Watch, overflowed: &CancellationToken) -> Ending {
        tokio::select! {
            biased;
            () = overflowed.cancelled() => Ending::Overflow,
            ending = watch.over(self.client) => ending,
            () = self.idle(watch.limits.clone()) => Ending::Idle,
        }
    }

    /// Ready when nothing has passed for too long. Sleeps from byte to byte, so an idle session costs one timer.
    async fn idle(&self, mut limits: watch::Receiver<Limits>) {
        loop {
            let last = self.started + Duration::from_millis(self.last_byte_ms.load(Ordering::Relaxed));
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

    fn count(&self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Something passed.
    fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_byte_ms.store(now, Ordering::Relaxed);
    }

    /// Client to target.
    async fn upload(&self) -> Result<(), Ending> {
        while let Some((item, weight)) = self.next_of_client().await? {
            let sent = match item {
                FromClient::Bytes(bytes) => {
                    self.count(&self.bytes_in, bytes.len());
                    self.record(|recorder| recorder.input(&bytes))?;
                    self.target.data_bytes(bytes).await
                }
                FromClient::Eof => {
                    self.client_ended.store(true, Ordering::Relaxed);
                    self.target.eof().await
                }
                FromClient::Resize { columns, rows, width, height } => {
                    if self.terminal {
                        self.record(|recorder| recorder.resize(columns, rows))?;
                    }
                    self.target.window_change(columns, rows, width, height).await
                }
                FromClient::Signal(signal) => self.target.signal(signal).await,
            };
            self.client.gauge.sub(weight);
            self.client.backlog.written(weight);
            sent.map_err(|_| Ending::TargetGone)?;
        }
        Ok(())
    }

    /// What goes to the target next, with its weight in the backlog.
    async fn next_of_client(&self) -> Result<Option<(FromClient, usize)>, Ending> {
        match self.files {
            None => Ok(self.client.backlog.pop().await),
            Some(files) => files.next_of_client(self.client).await,
        }
    }

    /// What goes to the client next.
    async fn next_of_target(
        &self,
        backlog: &Backlog<FromTarget>,
    ) -> Result<Option<(FromTarget, usize)>, Ending> {
        match self.files {
            None => Ok(backlog.pop().await),
            Some(files) => files.next_of_target(backlog, &self.download).await,
        }
    }

    /// Target to client; ends when the target closed the channel and everything before that was delivered.
    async fn download(&self, backlog: &Backlog<FromTarget>) -> Result<(), Ending> {
        // A client that has the end of both streams closes the channel, and after that no exit status can reach it. A
        // target says the end of its output first. So that end waits here for the exit status.
        let mut held = None;
        // Not dropped half-way: what it has taken from the backlog would be lost.
        let next = self.next_of_target(backlog);
        tokio::pin!(next);
        loop {
            let taken = tokio::select! {
                biased;
                taken = &mut next => taken?,
                () = self.output_alone_ended(held) => {
                    held = None;
                    self.client.write.eof().await.map_err(|_| Ending::ClientGone)?;
                    continue;
                }
            };
            next.set(self.next_of_target(backlog));
            let Some((item, weight)) = taken else { return Ok(()) };
            let _writing = self.client.pressure.client_write();
            let sent = match item {
                FromTarget::Bytes(bytes) => {
                    self.touch();
                    self.client.write.data_bytes(bytes).await
                }
                FromTarget::Stderr(bytes) => {
                    self.touch();
                    self.client.write.extended_data_bytes(STDERR, bytes).await
                }
                FromTarget::Eof if self.exit().is_known() => self.client.write.eof().await,
                FromTarget::Eof => {
                    held = Some(Instant::now());
                    Ok(())
                }
                FromTarget::ExitStatus(status) => {
                    self.exited(Exit { status: Some(status), signalled: false });
                    self.client.write.exit_status(status).await
                }
                FromTarget::ExitSignal { signal, core_dumped, message, language } => {
                    self.exited(Exit { status: None, signalled: true });
                    let to = &self.client;
                    to.handle
                        .exit_signal_request(to.id, signal, core_dumped, message, language)
                        .await
                        .map_err(|()| russh::Error::SendError)
                }
            };
            backlog.written(weight);
            self.download.sub(weight);
            sent.map_err(|_| Ending::ClientGone)?;
            if held.is_some() && self.exit().is_known() {
                held = None;
                self.client.write.eof().await.map_err(|_| Ending::ClientGone)?;
            }
        }
    }

    /// Ready when the target ended its output at `held`, goes on running, and the client goes on sending: then the client
    /// may know, as it will not close the channel yet.
    async fn output_alone_ended(&self, held: Option<Instant>) {
        if let Some(since) = held {
            sleep_until(since + EOF_HELD).await;
            if !self.client_ended.load(Ordering::Relaxed) {
                return;
            }
        }
        std::future::pending().await
    }

    fn exit(&self) -> Exit {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exited(&self, exit: Exit) {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner) = exit;
    }

    fn record(&self, write: impl FnOnce(&Recorder) -> Result<(), RecorderError>) -> Result<(), Ending> {
        match self.recorder {
            None => Ok(()),
            Some(recorder) => write(recorder).map_err(|error| {
                tracing::error!(%error, "a recording failed; its session ends");
                Ending::Recorder
            }),
        }
    }

    /// Empties the target's channel into `backlog`, until the target closes it or is gone. What comes is recorded here,
    /// not where it is written: how much a client takes is the client's choice.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "russh's list of messages is open; what is not named goes nowhere"
    )]
    async fn read_target(
        &self,
        mut read: ChannelReadHalf,
        mut early: Option<ChannelMsg>,
        backlog: &Backlog<FromTarget>,
        overflowed: &CancellationToken,
    ) -> Result<(), Ending> {
        let (mut ended, mut exited, mut weightless) = (false, false, 0);
        loop {
            let next = match early.take() {
                Some(early) => Some(early),
                None => read.wait().await,
            };
            let Some(message) = next else { break };
            let item = match message {
                ChannelMsg::Data { data } => {
                    self.record(|recorder| recorder.output(&data))?;
                    FromTarget::Bytes(data)
                }
                ChannelMsg::ExtendedData { data, ext: STDERR } => {
                    self.record(|recorder| recorder.error_output(&data))?;
                    FromTarget::Stderr(data)
                }
                ChannelMsg::Eof => FromTarget::Eof,
                ChannelMsg::ExitStatus { exit_status } => FromTarget::ExitStatus(exit_status),
                ChannelMsg::ExitSignal { signal_name, core_dumped, error_message, lang_tag } => {
                    FromTarget::ExitSignal {
                        signal: signal_name,
                        core_dumped,
                        message: error_message,
                        language: lang_tag,
                    }
                }
                ChannelMsg::Close => break,
                // Window adjustments are russh's; other requests of a target mean nothing to a client and are dropped.
                _ => continue,
            };
            // Empty pieces mean nothing, and a program ends once.
            let (weight, means_nothing) = match &item {
                FromTarget::Bytes(bytes) | FromTarget::Stderr(bytes) => {
                    self.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    (bytes.len(), bytes.is_empty())
                }
                FromTarget::Eof => (0, std::mem::replace(&mut ended, true)),
                FromTarget::ExitStatus(_) => (0, std::mem::replace(&mut exited, true)),
                FromTarget::ExitSignal { signal, message, language, .. } => {
                    let long = name(signal).len() > SIGNAL_NAME_MAX;
                    (message.len() + language.len(), long || std::mem::replace(&mut exited, true))
                }
            };
            weightless = if means_nothing { weightless + 1 } else { 0 };
            if weightless <= WEIGHTLESS_MAX && (means_nothing || self.undelivered.load(Ordering::Relaxed)) {
                continue;
            }
            let weight = weight + ITEM_WEIGHT;
            let fits = self.download.add(weight) && weightless <= WEIGHTLESS_MAX;
            if backlog.push(item, weight) == Err(Overflow) || !fits {
                overflowed.cancel();
                return Ok(());
            }
        }
        backlog.close();
        Ok(())
    }
}
