//! Which session is meant: by its id, or by enough of its beginning. And where its recording is.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::SESSIONS_SEARCHED;
use crate::ids::SessionId;
use crate::recording::Folder;
use crate::store::{SessionFilter, SessionRow, Store};

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

/// The recording of a session, as its files lie below `dir`.
pub(super) fn folder_of(row: &SessionRow, dir: &Path) -> anyhow::Result<Folder> {
    let Some(relative) = &row.recording else { bail!("session {} has no recording", row.id) };
    Folder::locate(dir, relative).with_context(|| format!("session {}", row.id))
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
