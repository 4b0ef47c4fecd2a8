//! What keeps recordings to be evidence: each node's key is written down before it seals anything, checkpoints of what runs go to the
//! audit log, a full disk ends what cannot be recorded, and whoever verifies a recording compares it with both.

use std::collections::BTreeMap;
use std::path::Path;

use russh::keys::ssh_key::PublicKey;

use crate::app::App;
use crate::audit::{AuditEvent, RecordingEvent};
use crate::config;
use crate::flow::told::{self, Closed, Opened, Told};
use crate::ids::SessionId;
use crate::recording::chain::Head;
use crate::recording::verify::{Fault, Verified, verify};
use crate::recording::{Folder, RecorderError};
use crate::store::{RecordingKeyRow, SessionRow, Store, StoreError};

/// Sessions in one entry of the audit log.
const PER_ENTRY: usize = 200;

/// Writes this node's key down, if it is not known yet. To be called before anything is sealed.
pub async fn register_key(app: &App) -> Result<(), StoreError> {
    let public = app.recordings.public_key();
    let Ok(key) = public.to_openssh() else {
        return Err(StoreError::Unusable("the recording key cannot be written".into()));
    };
    let now = app.clock.now();
    let row = RecordingKeyRow { node: app.node.to_string(), key: key.clone(), first_used: now };
    let mut tx = app.store.begin().await?;
    if !tx.insert_recording_key(&row).await? {
        return tx.leave().await;
    }
    let fingerprint = public.fingerprint(Default::default()).to_string();
    let event = RecordingEvent::KeyUsed { node: row.node, key, fingerprint };
    tx.commit(now, AuditEvent::Recording(event)).await
}

/// Checkpoints that the audit log was not told of yet.
#[derive(Debug, Default)]
pub struct Untold(BTreeMap<SessionId, Head>);

/// Tells the audit log how far running recordings have come. What cannot be told stays in `untold` for the next time.
pub async fn checkpoint(app: &App, untold: &mut Untold) -> Result<(), StoreError> {
    untold.0.extend(app.recordings.checkpoints());
    while !untold.0.is_empty() {
        let some: Vec<(SessionId, Head)> =
            untold.0.iter().take(PER_ENTRY).map(|(session, head)| (session.clone(), head.clone())).collect();
        let recordings =
            some.iter().map(|(session, head)| (session.clone(), head.n, head.sha256.clone())).collect();
        let event = RecordingEvent::Checkpoint { node: app.node.to_string(), recordings };
        app.store.note(app.clock.now(), AuditEvent::Recording(event)).await?;
        for (session, _) in some {
            untold.0.remove(&session);
        }
    }
    Ok(())
}

/// What is wrong with the room for recordings; none when there is enough. A folder that is not there yet is made with the
/// first session, so the one above it is asked.
pub fn no_room(config: &config::Recording) -> Option<String> {
    let there = config.dir.ancestors().find(|dir| dir.exists())?;
    let free = match rustix::fs::statvfs(there) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return Some(format!("how much is free at {} is unknown: {error}", there.display())),
    };
    (free < config.free_min).then(|| {
        format!(
            "{} MiB are free at {}, and recording.free_min asks for {} MiB",
            free >> 20,
            there.display(),
            config.free_min >> 20
        )
    })
}

/// Looks at the disk. Below the minimum everything that is being recorded is stopped, again at every look; `was_full` is
/// what the last look found. Returns what this one did.
pub async fn look_at_disk(app: &App, was_full: bool) -> Result<bool, StoreError> {
    let recording = app.config.recording.clone();
    let why = tokio::task::spawn_blocking(move || no_room(&recording))
        .await
        .unwrap_or_else(|error| Some(error.to_string()));
    let node = app.node.to_string();
    let event = match why {
        None if was_full => RecordingEvent::DiskFree { node },
        None => {
            tell_lost(app).await?;
            return Ok(false);
        }
        Some(why) => {
            let (closed, unrecorded) = app.recordings.stop_all(&why);
            tell_lost(app).await?;
            if was_full && closed == 0 && unrecorded == 0 {
                return Ok(true);
            }
            tracing::error!(why, closed, unrecorded, "the disk of the recordings is full");
            RecordingEvent::DiskFull { node, why, closed, unrecorded }
        }
    };
    let full = matches!(event, RecordingEvent::DiskFull { .. });
    app.store.note(app.clock.now(), AuditEvent::Recording(event)).await?;
    Ok(full)
}

/// Tells of each recording that ended before its session.
async fn tell_lost(app: &App) -> Result<(), StoreError> {
    for (session, why) in app.recordings.lost() {
        let event = RecordingEvent::Lost { node: app.node.to_string(), session, why };
        app.store.note(app.clock.now(), AuditEvent::Recording(event)).await?;
    }
    Ok(())
}

/// Why a recording was not found to be as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotVerified {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not where it should be.
    #[error(transparent)]
    Missing(#[from] RecorderError),
    /// It is something else.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Verifying stopped.
    #[error("verifying stopped: {0}")]
    Stopped(String),
}

/// Verifies the recording in `folder` of the session of `row`: by its signature, by the digest in the database, and by what the audit
/// log says of its place, its seal and its checkpoints. That the log itself is whole is not looked at.
pub async fn verified(
    store: &Store,
    folder: &Folder,
    row: &SessionRow,
    told: &Told,
    signers: &[PublicKey],
) -> Result<Verified, NotVerified> {
    let ends = ends_of(row, told)?;
    let (own, id, keys) = (folder.clone(), row.id.clone(), signers.to_vec());
    let verified = tokio::task::spawn_blocking(move || verify(&own, &id, &keys))
        .await
        .map_err(|error| NotVerified::Stopped(error.to_string()))??;
    same_digest(row, ends.1, &verified.sha256)?;
    if let Some((n, entry)) = told::contradiction(store, &row.id, ends, &verified.checkpoints).await? {
        let what = format!("checkpoint {n} in the audit log (entry {entry}) is not that of the recording");
        return Err(Fault::Contradicted(what).into());
    }
    if verified.seal.node != row.node {
        let what = format!(
            "the database says that {} recorded it, and its seal says {}",
            row.node, verified.seal.node
        );
        return Err(Fault::Contradicted(what).into());
    }
    Ok(verified)
}

/// The entries of a session's opening and of its end, which must name the recording that the row names.
pub fn ends_of<'t>(row: &SessionRow, told: &'t Told) -> Result<(&'t Opened, &'t Closed), Fault> {
    let wrong = |what: String| Err(Fault::Contradicted(what));
    if let Some(again) = told.again {
        return wrong(format!("the audit log tells its opening or its end twice (entry {again})"));
    }
    let Some(opened) = &told.opened else {
        return wrong("the audit log does not say that its session was opened".to_owned());
    };
    if opened.recording != row.recording {
        let place = |path: &Option<String>| path.clone().unwrap_or_else(|| "no recording".to_owned());
        return wrong(format!(
            "the audit log (entry {}) names {}, and the database {}",
            opened.seq,
            place(&opened.recording),
            place(&row.recording)
        ));
    }
    match (&told.closed, row.closed) {
        (Some(closed), Some(_)) => Ok((opened, closed)),
        (Some(closed), None) => {
            wrong(format!("the database says that its session is open, which ended (entry {})", closed.seq))
        }
        (None, Some(_)) => wrong("the audit log does not say that its session ended".to_owned()),
        (None, None) => Err(Fault::Unsealed("the session is open: its seal")),
    }
}

/// Whether database and audit log have this digest for the recording.
pub fn same_digest(row: &SessionRow, closed: &Closed, sha256: &str) -> Result<(), Fault> {
    let audit = format!("the audit log (entry {})", closed.seq);
    for (whose, said) in [("the database", &row.recording_sha256), (audit.as_str(), &closed.sha256)] {
        match said {
            Some(said) if said == sha256 => {}
            Some(said) => {
                return Err(Fault::Contradicted(format!(
                    "{whose} says {said} of its seal, which is {sha256}"
                )));
            }
            None => return Err(Fault::Contradicted(format!("{whose} has no digest of its seal"))),
        }
    }
    Ok(())
}

/// Where the recording of a session lies on this machine's disk.
pub fn folder_of(dir: &Path, row: &SessionRow) -> Result<Option<Folder>, RecorderError> {
    row.recording.as_deref().map(|relative| Folder::locate(dir, relative)).transpose()
}
