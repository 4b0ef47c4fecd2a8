//! A session's beginning and end. Write ahead: recording header, session row, certificate row and audit entry are
//! there before the certificate is signed, and so before the target hears of anything.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::{Algorithm, Certificate, PrivateKey};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::audit::{AuditEvent, RecordingEvent, TellingEvent};
use crate::ca::{Draft, DraftError, Permissions, SignerError};
use crate::flow::answer;
use crate::flow::authorize::{Permit, describe};
use crate::flow::{document, evidence};
use crate::ids::SessionId;
use crate::policy::Act;
use crate::recording;
use crate::recording::event::Event;
use crate::recording::{Closing, Recorder, RecorderError};
use crate::store::{CertificateRow, SessionRow, StoreError, Tx};
use crate::time::Timestamp;

/// First and last pause before closing a session in the store is tried again; each is twice the one before.
const CLOSE_PAUSE_MIN: Duration = Duration::from_millis(100);
const CLOSE_PAUSE_MAX: Duration = Duration::from_secs(13);

/// Why a permitted session could not begin, or not be closed in order. Its text is for the log; users get a reference.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The recording.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The certificate.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The draft of the certificate.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The session's key.
    #[error("key: {0}")]
    Key(String),
    /// What was granted has ended or was used meanwhile. Its text is for the user.
    #[error(
        "what you were granted is over, or was for one use and has been used; ask again: caponier request"
    )]
    GrantOver,
    /// There is no room for its recording. Its text is for the user.
    #[error("the bastion has no room to record sessions, so none can begin; tell your administrator")]
    DiskFull,
}

impl SessionError {
    /// Whether its text is for the user.
    pub fn is_for_user(&self) -> bool {
        matches!(self, Self::GrantOver | Self::DiskFull)
    }
}

/// A terminal, as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// `TERM`.
    pub term: String,
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

/// Proof: recorded, written down, and holding the one credential for its target. The private key was made for this
/// session and is dropped with it.
pub struct OpenSession {
    id: SessionId,
    permit: Permit,
    recorder: Option<Recorder>,
    key: PrivateKey,
    certificate: Certificate,
    row: SessionRow,
}

/// How a session ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// See `AuditEvent::SessionClosed`.
    pub reason: &'static str,
    /// Exit status.
    pub exit_status: Option<u32>,
    /// Bytes client to target.
    pub bytes_in: u64,
    /// Bytes target to client.
    pub bytes_out: u64,
}

impl OpenSession {
    /// Its id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The permit behind it.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The recording; none for channels that have none (sftp).
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The credential for the target.
    pub fn credential(&self) -> (&PrivateKey, &Certificate) {
        (&self.key, &self.certificate)
    }
}

/// Begins a permitted session. `beside` are permits for what the program may use while it runs: agent and display.
/// `recorder_failed` is cancelled when the recording can no longer be written.
pub async fn open(
    app: &App,
    permit: Permit,
    terminal: Option<&Terminal>,
    beside: &[Permit],
    recorder_failed: CancellationToken,
) -> Result<OpenSession, SessionError> {
    let id = SessionId::random(&app.random);
    let key = app
        .random
        .with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519))
        .map_err(|e| SessionError::Key(e.to_string()))?;
    // What this session does not take it has nothing of.
    let taken = |beside: &&Permit| beside.once().all(|one| permit.once().any(|taken| taken == one));
    let beside: &[Permit] = &beside.iter().filter(taken).cloned().collect::<Vec<_>>();
    let draft = draft(app, &permit, &id, &key, permissions(&permit, beside))?;
    let begun =
        document::Begun { id: &id, at: app.clock.now(), terminal, beside, target_serial: draft.serial() };
    let recorder = match document::start(app, &permit, &begun).await? {
        Some(start) if !start.lossy && room_missing(app, &permit).await? => {
            return Err(SessionError::DiskFull);
        }
        Some(start) => {
            let lossy = start.lossy;
            match app.recordings.begin(start, recorder_failed).await {
                Ok(recorder) => Some(recorder),
                Err(error) => {
                    app.store.note(app.clock.now(), not_recorded(app, &permit, &error)).await?;
                    if !lossy {
                        return Err(error.into());
                    }
                    // Its role would rather have it unrecorded than not at all; the entry above raises the alarm.
                    None
                }
            }
        }
        None => None,
    };
    let recorder = match (recorder, command_of(&permit)) {
        (Some(recorder), Some(command)) => match recorder.event(command) {
            Ok(()) => Some(recorder),
            Err(error) => {
                recorder.discard()?;
                app.store.note(app.clock.now(), not_recorded(app, &permit, &error)).await?;
                return Err(error.into());
            }
        },
        (recorder, _) => recorder,
    };
    let row = row_of(app, &permit, &id, recorder.as_ref());
    let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
    let tx = match rows(app, &permit, &row, &draft, fingerprint).await {
        Ok(tx) => tx,
        Err(error) => {
            recorder.map(Recorder::discard).transpose()?;
            return Err(error);
        }
    };
    let permit = permit.of_session(&id);
    if let Err(error) = tx.commit(row.opened, opened(&permit, beside, &row, draft.serial())).await {
        // Only the store knows whether that has happened. A file that no row names would never be sealed.
        match app.store.session(&id).await {
            Ok(Some(_)) => end(app, row, recorder, ended("store")).await?,
            Ok(None) => drop(recorder.map(Recorder::discard).transpose()?),
            Err(error) => {
                tracing::error!(%error, session.id = %id, "whether a session is in the store is unknown")
            }
        }
        return Err(error.into());
    }
    match app.signer.sign(&draft, &app.random, app.clock.now()).await {
        Ok(certificate) => Ok(OpenSession { id, permit, recorder, key, certificate, row }),
        Err(error) => {
            end(app, row, recorder, ended("signer")).await?;
            Err(error.into())
        }
    }
}

/// Whether there is no room for another recording; in the audit log then.
async fn room_missing(app: &App, permit: &Permit) -> Result<bool, StoreError> {
    let recording = app.config.recording.clone();
    let looked = tokio::task::spawn_blocking(move || evidence::no_room(&recording)).await;
    let Some(why) = looked.unwrap_or_else(|error| Some(error.to_string())) else { return Ok(false) };
    app.store.note(app.clock.now(), not_recorded(app, permit, &why)).await?;
    Ok(true)
}

/// What is written down of a session that was permitted and cannot begin.
fn not_recorded(app: &App, permit: &Permit, why: &dyn std::fmt::Display) -> AuditEvent {
    AuditEvent::Telling(TellingEvent::RecorderFailed {
        who: permit.caller().identity().reference(),
        target: permit.ask().target.to_string(),
        login: permit.ask().login.to_string(),
        node: app.node.to_string(),
        why: why.to_string(),
    })
}

/// Session and certificate as they will be in the store.
async fn rows(
    app: &App,
    permit: &Permit,
    row: &SessionRow,
    draft: &Draft,
    fingerprint: String,
) -> Result<Tx, SessionError> {
    let mut tx = app.store.begin().await?;
    tx.insert_session(row).await?;
    for grant in permit.grants() {
        if !tx.use_grant(grant, &row.id, row.opened).await? {
            tx.leave().await?;
            return Err(SessionError::GrantOver);
        }
    }
    tx.use_roles(permit.role_names(), permit.caller().identity(), &row.id, row.opened).await?;
    tx.insert_certificate(&CertificateRow {
        serial: draft.serial(),
        kind: "target",
        sign_in: row.sign_in.clone(),
        session: Some(row.id.clone()),
        key_id: draft.key_id().into(),
        key_fingerprint: fingerprint,
        principals: draft.principals().join(","),
        valid_after: draft.valid_after(),
        valid_before: draft.valid_before(),
    })
    .await?;
    Ok(tx)
}

fn ended(reason: &'static str) -> Outcome {
    Outcome { reason, ..Outcome::default() }
}

/// Ends a session: seals its recording and writes row and audit entry. A store that is out of order is tried again for
/// about half a minute, for what is open at the next start is taken for interrupted.
pub async fn close(app: &App, session: OpenSession, outcome: Outcome) -> Result<(), SessionError> {
    let OpenSession { row, recorder, .. } = session;
    end(app, row, recorder, outcome).await
}

async fn end(
    app: &App,
    mut row: SessionRow,
    recorder: Option<Recorder>,
    outcome: Outcome,
) -> Result<(), SessionError> {
    let mut reason = outcome.reason;
    let mut failed = None;
    if let Some(recorder) = recorder {
        failed = recorder.failure();
        if failed.is_some() {
            reason = "recorder";
        }
        if let Some(why) = recorder.lost() {
            let event = RecordingEvent::Lost { node: app.node.to_string(), session: row.id.clone(), why };
            if let Err(error) = app.store.note(app.clock.now(), AuditEvent::Recording(event)).await {
                tracing::error!(%error, session.id = %row.id, "a recording that ended early is not in the audit log");
            }
        }
        let closing = Closing {
            at: app.clock.now(),
            reason: reason.into(),
            exit_status: outcome.exit_status,
            bytes_in: outcome.bytes_in,
            bytes_out: outcome.bytes_out,
        };
        match app.recordings.seal(recorder, closing).await {
            Ok(seal) => row.recording_sha256 = Some(seal.sha256),
            Err(error) => {
                reason = "recorder";
                failed = Some(error);
            }
        }
    }
    let now = app.clock.now();
    row.closed = Some(now);
    row.close_reason = Some(reason.into());
    row.exit_status = outcome.exit_status;
    row.bytes_in = outcome.bytes_in;
    row.bytes_out = outcome.bytes_out;
    let event = AuditEvent::SessionClosed {
        session: row.id.clone(),
        reason: reason.into(),
        exit_status: outcome.exit_status,
        bytes_in: outcome.bytes_in,
        bytes_out: outcome.bytes_out,
        recording_sha256: row.recording_sha256.clone(),
    };
    let mut pause = CLOSE_PAUSE_MIN;
    while let Err(error) = write_end(app, &row, now, event.clone()).await {
        if pause > CLOSE_PAUSE_MAX {
            return Err(error.into());
        }
        tracing::warn!(%error, session.id = %row.id, "a session cannot be closed in the store yet");
        sleep(pause).await;
        pause *= 2;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn write_end(app: &App, row: &SessionRow, now: Timestamp, event: AuditEvent) -> Result<(), StoreError> {
    let mut tx = app.store.begin().await?;
    if tx.close_session(row).await? {
        tx.commit(now, event).await?;
    } else {
        tx.leave().await?;
    }
    // What was for this one session ends with it.
    answer::used(app, &row.id).await
}

/// What the certificate permits at the target: what was permitted here, and nothing else.
fn permissions(permit: &Permit, beside: &[Permit]) -> Permissions {
    let has = |act: &Act| beside.iter().any(|permit| permit.ask().act == *act);
    let forwards = matches!(
        permit.ask().act,
        Act::LocalForward { .. }
            | Act::LocalSocket { .. }
            | Act::RemoteForward { .. }
            | Act::RemoteSocket { .. }
    );
    let pty = matches!(permit.ask().act, Act::Shell { pty: true } | Act::Exec { pty: true, .. });
    Permissions { pty, forwards, agent: has(&Act::Agent), x11: has(&Act::X11) }
}

/// The key id, which sshd logs: it names the person and joins to session and sign-in.
fn draft(
    app: &App,
    permit: &Permit,
    id: &SessionId,
    key: &PrivateKey,
    permissions: Permissions,
) -> Result<Draft, DraftError> {
    let who = permit.caller().identity();
    let run = who.run.as_ref().map(|run| run.key_id()).filter(|run| !run.is_empty());
    let who: String = who.reference().chars().take(if run.is_some() { 192 } else { 97 }).collect();
    let named = [Some(who), run, Some(id.to_string())].into_iter().flatten().collect::<Vec<_>>().join("/");
    let key_id: String = named.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    let draft = Draft::target(
        key.public_key(),
        app.random.u64(),
        &key_id,
        permit.caller().sign_in(),
        id,
        &permit.ask().login,
        permissions,
        app.clock.now(),
    )?;
    match &permit.caller().identity().run {
        Some(run) => draft.of_run(&run.line()),
        None => Ok(draft),
    }
}

fn row_of(app: &App, permit: &Permit, id: &SessionId, recorder: Option<&Recorder>) -> SessionRow {
    let caller = permit.caller();
    let (kind, command) = match &permit.ask().act {
        Act::Shell { .. } => ("shell", String::new()),
        Act::Exec { command, .. } => ("exec", String::from_utf8_lossy(command).into_owned()),
        Act::Subsystem { name } => (name.as_str(), String::new()),
        Act::Env { .. }
        | Act::LocalForward { .. }
        | Act::LocalSocket { .. }
        | Act::RemoteForward { .. }
        | Act::RemoteSocket { .. }
        | Act::Agent
        | Act::X11
        | Act::Tun
        | Act::Unknown { .. } => ("forward", String::new()),
    };
    SessionRow {
        id: id.clone(),
        sign_in: caller.sign_in().clone(),
        who: caller.identity().reference(),
        display: caller.identity().display.clone(),
        target: permit.ask().target.to_string(),
        login: permit.ask().login.to_string(),
        kind: kind.into(),
        command,
        from: caller.from().to_string(),
        node: app.node.to_string(),
        recording: recorder.map(|r| r.relative_path().into()),
        opened: app.clock.now(),
        closed: None,
        close_reason: None,
        exit_status: None,
        bytes_in: 0,
        bytes_out: 0,
        recording_sha256: None,
    }
}

fn opened(permit: &Permit, beside: &[Permit], row: &SessionRow, target_serial: u64) -> AuditEvent {
    let caller = permit.caller();
    let pass = permit.command();
    let rule = pass.and_then(|pass| pass.rule.as_ref());
    let sent =
        pass.filter(|pass| !matches!(&permit.ask().act, Act::Exec { command, .. } if *command == pass.send));
    let beside = beside.iter().map(|permit| format!(", with {}", describe(&permit.ask().act)));
    let act: String = std::iter::once(describe(&permit.ask().act)).chain(beside).collect();
    AuditEvent::SessionOpened {
        session: row.id.clone(),
        who: caller.identity().clone(),
        sign_in: caller.sign_in().clone(),
        client_serial: caller.certificate_serial(),
        target_serial,
        target: row.target.clone(),
        login: row.login.clone(),
        act,
        role: permit.roles(),
        grants: permit.grants().iter().map(|grant| grant.id.clone()).collect(),
        rule: rule.map(|(rule, _)| rule.clone()),
        assurance: rule.map(|(_, assurance)| assurance.as_str()),
        transfer: pass.and_then(|pass| pass.transfer.as_ref()).map(ToString::to_string),
        sent: sent.map(|pass| String::from_utf8_lossy(&pass.send).into_owned()),
        policy: permit.policy_digest().into(),
        from: row.from.clone(),
        recording: row.recording.clone(),
    }
}

/// What is written down of a command beside the screen.
fn command_of(permit: &Permit) -> Option<Event> {
    let Act::Exec { command, .. } = &permit.ask().act else { return None };
    let pass = permit.command();
    let sent = pass.map_or(command, |pass| &pass.send);
    let rule = pass.and_then(|pass| pass.rule.as_ref());
    Some(Event::Command {
        command: String::from_utf8_lossy(command).into_owned(),
        sent: (sent != command).then(|| String::from_utf8_lossy(sent).into_owned()),
        sha256: Sha256::digest(sent).iter().map(|byte| format!("{byte:02x}")).collect(),
        verdict: "allow".to_owned(),
        rule: rule.map(|(rule, _)| rule.clone()),
        assurance: rule.map(|(_, assurance)| assurance.as_str().to_owned()),
        transfer: pass.and_then(|pass| pass.transfer.as_ref()).map(ToString::to_string),
    })
}

/// Seals what a crash of this node left open: recordings are cut to their last whole line and marked, rows closed as
/// `interrupted`. Returns how many. To be called before the node accepts anything.
pub async fn seal_interrupted(app: &App) -> Result<usize, SessionError> {
    let open = app.store.open_sessions_of(&app.node).await?;
    let mut sealed = 0;
    for mut row in open {
        let mut reason = "interrupted".to_owned();
        if let Some(relative) = row.recording.clone()
            && let Some((sha256, ended)) = seal_one(app, &row.id, relative).await
        {
            row.recording_sha256 = Some(sha256);
            reason = ended.unwrap_or(reason);
        }
        row.closed = Some(app.clock.now());
        row.close_reason = Some(reason.clone());
        let event = AuditEvent::SessionClosed {
            session: row.id.clone(),
            reason,
            exit_status: None,
            bytes_in: 0,
            bytes_out: 0,
            recording_sha256: row.recording_sha256.clone(),
        };
        let mut tx = app.store.begin().await?;
        if tx.close_session(&row).await? {
            tx.commit(app.clock.now(), event).await?;
            sealed += 1;
        } else {
            tx.leave().await?;
        }
        answer::used(app, &row.id).await?;
    }
    remove_begun(app).await?;
    Ok(sealed)
}

/// Takes away what was begun to record for sessions that the crash came before: no row names them, and nobody was let in.
async fn remove_begun(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now();
    let end = app.store.audit_end().await?;
    let last = app.store.audit(end.saturating_sub(1), 1).await?.first().map_or(now, |entry| entry.at);
    let recordings = Arc::clone(&app.recordings);
    let since = last.minus(Duration::from_secs(24 * 3600));
    let unsealed = match tokio::task::spawn_blocking(move || recordings.unsealed(since, now)).await {
        Ok(unsealed) => unsealed,
        Err(error) => {
            tracing::error!(%error, "whether recordings were begun without a session is unknown");
            return Ok(());
        }
    };
    for (id, relative) in unsealed {
        if app.store.session(&id).await?.is_some() {
            continue;
        }
        let recordings = Arc::clone(&app.recordings);
        let removed = tokio::task::spawn_blocking(move || recordings.remove_begun(&relative)).await;
        match removed
            .map_err(|error| error.to_string())
            .and_then(|removed| removed.map_err(|error| error.to_string()))
        {
            Ok(()) => {
                tracing::info!(session.id = %id, "removed the beginning of a recording whose session never was");
            }
            Err(why) => {
                tracing::error!(why, session.id = %id, "a recording has no session");
                let node = app.node.to_string();
                let event = RecordingEvent::WithoutSession { node, session: id, why };
                app.store.note(now, AuditEvent::Recording(event)).await?;
            }
        }
    }
    Ok(())
}

/// What was sealed, and why the session ended when that is known. A recording that cannot be recovered does not stop the
/// server: its row says that there is no digest, the log why.
async fn seal_one(app: &App, id: &SessionId, relative: String) -> Option<(String, Option<String>)> {
    let (recordings, id, path) = (Arc::clone(&app.recordings), id.clone(), relative.clone());
    let now = app.clock.now().to_string();
    let sealing = move || {
        if path.ends_with(".cast") {
            return recording::recover(recordings.dir(), &path).map(|seal| (seal.sha256, None));
        }
        recordings.recover(&id, &path, now).map(|recovered| (recovered.seal.sha256, recovered.reason))
    };
    match tokio::task::spawn_blocking(sealing).await {
        Ok(Ok(sealed)) => Some(sealed),
        Ok(Err(error)) => {
            tracing::error!(%error, recording = relative, "an interrupted recording could not be sealed");
            None
        }
        Err(error) => {
            tracing::error!(%error, recording = relative, "sealing an interrupted recording failed");
            None
        }
    }
}
