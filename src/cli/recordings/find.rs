//! Which session is meant: by its id, or by enough of its beginning. And where its recording is: here, or in the archive.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::SESSIONS_SEARCHED;
use crate::config::Config;
use crate::flow::find::note_read;
use crate::ids::SessionId;
use crate::random::Random;
use crate::recording::archive::{Archive, Base, Expected, Identity};
use crate::recording::{Folder, Scratch};
use crate::store::{SessionFilter, SessionRow, Store};
use crate::time::Clock;

/// The session called `name`: its id, or a beginning of it that no other recent session with a recording has.
pub(super) async fn find(store: &Store, name: &str) -> anyhow::Result<SessionRow> {
    if let Ok(id) = name.parse::<SessionId>() {
        return store.session(&id).await?.with_context(|| format!("there is no session {id}"));
    }
    let filter = SessionFilter { limit: SESSIONS_SEARCHED, ..SessionFilter::default() };
    pick(store.sessions(&filter).await?, name)
}

/// The one row with a recording whose id begins with `name`, with or without its `ses_`.
fn pick(rows: Vec<SessionRow>, name: &str) -> anyhow::Result<SessionRow> {
    let beginning = name.strip_prefix("ses_").unwrap_or(name);
    if beginning.is_empty() {
        bail!("say which session: its id or the beginning of it (`caponier recordings ls` lists them)");
    }
    let begins = |row: &SessionRow| {
        let id = row.id.as_str();
        row.recording.is_some() && id.strip_prefix("ses_").is_some_and(|rest| rest.starts_with(beginning))
    };
    let mut found = rows.into_iter().filter(begins);
    let Some(first) = found.next() else {
        bail!(
            "none of the {SESSIONS_SEARCHED} newest sessions with a recording begins with {name:?}; give the full id of \
             an older one (`caponier recordings ls` lists them)"
        );
    };
    if let Some(second) = found.next() {
        bail!("{name:?} could be {} or {} or more; give more of it", first.id, second.id);
    }
    Ok(first)
}

/// A recording that can be read, and the folder that goes with it when it was brought from the archive.
pub(super) struct Found {
    /// The recording.
    pub(super) folder: Folder,
    _scratch: Option<Scratch>,
}

/// The recording of a session, as its files lie on this bastion.
pub(super) fn here(row: &SessionRow, dir: &Path) -> anyhow::Result<Folder> {
    let Some(relative) = &row.recording else { bail!("session {} has no recording", row.id) };
    Folder::locate(dir, relative).with_context(|| format!("session {}", row.id))
}

/// As [`anywhere`], for somebody who gets it to see or to take along: that is in the audit log before they have it.
pub(super) async fn to_read(
    row: &SessionRow,
    config: &Config,
    store: &Store,
    (identity, how): (Option<&Path>, &'static str),
) -> anyhow::Result<Found> {
    let found = anywhere(row, config, store, identity).await?;
    note(row, store, how).await?;
    Ok(found)
}

/// Writes down that the recording is read.
pub(super) async fn note(row: &SessionRow, store: &Store, how: &'static str) -> anyhow::Result<()> {
    note_read(store, &row.id, how, Clock::System.now())
        .await
        .context("that the recording is read cannot be written down, so it is not")
}

/// The recording of a session: as it lies here, or, where it was removed here, from the archive, opened with the private key
/// in the file `identity`.
pub(super) async fn anywhere(
    row: &SessionRow,
    config: &Config,
    store: &Store,
    identity: Option<&Path>,
) -> anyhow::Result<Found> {
    let missing = match here(row, &config.recording.dir) {
        Ok(folder) => return Ok(Found { folder, _scratch: None }),
        Err(missing) => missing,
    };
    let Some(kept) = store.archive_row(&row.id).await? else { return Err(missing) };
    if let Some(at) = kept.deleted {
        bail!("the recording of session {} was deleted at {at}, when its time was over", row.id);
    }
    let (Some(recording), Some(seal), Some(index)) =
        (&row.recording, &row.recording_sha256, &kept.index_sha256)
    else {
        return Err(missing);
    };
    let Some(archive) = config.archive.as_ref().map(Archive::open).transpose()?.flatten() else {
        bail!("session {} is in an archive, and the configuration has none ([archive])", row.id);
    };
    let identity = identity.map(Identity::read).transpose()?;
    let scratch = Scratch::new(&std::env::temp_dir(), &Random::System).context("cannot make a folder")?;
    let expected = Expected { session: &row.id, seal, index };
    let folder = archive
        .fetch(&Base::of(recording, &row.id)?, expected, identity, scratch.path())
        .await
        .with_context(|| format!("session {}", row.id))?;
    Ok(Found { folder, _scratch: Some(scratch) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::row;
    use super::*;

    #[test]
    fn beginnings_of_ids() {
        let mut without = row("ac", None, None, false);
        without.recording = None;
        let rows = vec![row("ab1", None, None, false), row("ab2", None, None, false), without];
        let picked = |name: &str| pick(rows.clone(), name).map(|row| row.id.to_string());
        assert_eq!(picked("ab1").unwrap(), rows[0].id.to_string());
        assert_eq!(picked("ses_ab2").unwrap(), rows[1].id.to_string());
        for (name, says) in [
            ("ab", "could be"),
            ("", "say which"),
            ("ses_", "say which"),
            ("ac", "none of"),
            ("x", "none of"),
            ("../", "none of"),
        ] {
            let error = picked(name).unwrap_err().to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
    }
}
