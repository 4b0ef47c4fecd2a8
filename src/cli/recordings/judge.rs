//! How one recording stands, and which ones there must be: by the audit log first, by the database beside it. Saying it is `verify`'s.

use std::collections::BTreeMap;
use std::path::Path;

use russh::keys::ssh_key::PublicKey;

use super::find;
use crate::config::Config;
use crate::flow::evidence::{self, NotVerified};
use crate::flow::told::{Told, told_of_all};
use crate::ids::SessionId;
use crate::recording::RecorderError;
use crate::recording::archive::ArchiveError;
use crate::recording::verify::{Verified, digest_of};
use crate::store::{Here, SessionFilter, SessionRow, Store};

/// All sessions.
const AT_ONCE: u32 = u32::MAX;
/// How a recording of before there were seals is called.
const ALONE: &str = ".cast";

/// How one recording stands.
pub(super) enum Found {
    Whole(Box<Verified>),
    /// Recorded before there were seals: its digest is that in database and audit log.
    DigestOnly,
    Bad(String),
    /// It cannot be looked at: why.
    NotHere(String),
    /// Its session is not over.
    Open,
}

/// By what is judged.
pub(super) struct Judge<'j> {
    pub(super) config: &'j Config,
    pub(super) store: &'j Store,
    /// Whose seals are believed.
    pub(super) signers: &'j [PublicKey],
    /// What opens the archive.
    pub(super) identity: Option<&'j Path>,
}

impl Judge<'_> {
    /// The sessions with a recording, by the audit log or by the database, with what the log says of them.
    pub(super) async fn all(&self) -> anyhow::Result<BTreeMap<SessionId, Told>> {
        let filter = SessionFilter { limit: AT_ONCE, ..SessionFilter::default() };
        // First: what begins meanwhile is in the log before the log is read.
        let rows = self.store.sessions(&filter).await?;
        let mut all = told_of_all(self.store).await?;
        let named: Vec<SessionId> =
            rows.into_iter().filter(|row| row.recording.is_some()).map(|row| row.id).collect();
        for session in &named {
            all.entry(session.clone()).or_default();
        }
        let recorded = |told: &Told| told.opened.as_ref().is_some_and(|opened| opened.recording.is_some());
        all.retain(|session, told| recorded(told) || told.opened.is_none() || named.contains(session));
        Ok(all)
    }

    /// One of [`Self::all`], with or without a row.
    pub(super) async fn of_all(&self, session: &SessionId, told: &Told) -> anyhow::Result<Found> {
        let Some(row) = self.store.session(session).await? else {
            return Ok(Found::Bad("the audit log has its session, and the database does not".to_owned()));
        };
        if told.closed.is_none() && row.closed.is_none() && told.opened.is_some() {
            return Ok(Found::Open);
        }
        self.one(&row, told).await
    }

    /// The recording of the session of `row`.
    pub(super) async fn one(&self, row: &SessionRow, told: &Told) -> anyhow::Result<Found> {
        let ends = match evidence::ends_of(row, told) {
            Ok(ends) => ends,
            Err(fault) => return Ok(Found::Bad(fault.to_string())),
        };
        let archived;
        let folder = match evidence::folder_of(&self.config.recording.dir, row) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(Found::Bad("it was not recorded".to_owned())),
            Err(error) => match self.elsewhere(row, told, &error).await? {
                Ok(found) => {
                    archived = found;
                    archived.folder.clone()
                }
                Err(found) => return Ok(found),
            },
        };
        if folder.is_alone() {
            let named = ends.0.recording.as_deref().is_some_and(|path| path.ends_with(ALONE));
            return Ok(match digest_of(folder.path()) {
                Ok(_) if !named => Found::Bad("a file lies where the folder of a recording was".to_owned()),
                Ok(found) => match evidence::same_digest(row, ends.1, &found) {
                    Ok(()) => Found::DigestOnly,
                    Err(fault) => Found::Bad(fault.to_string()),
                },
                Err(error) => Found::Bad(error.to_string()),
            });
        }
        match evidence::verified(self.store, &folder, row, told, self.signers).await {
            Ok(verified) => Ok(Found::Whole(Box::new(verified))),
            Err(NotVerified::Store(error)) => Err(error.into()),
            Err(error) => Ok(Found::Bad(error.to_string())),
        }
    }

    /// What is not here for this reason: from the archive, or why it is not to be had.
    async fn elsewhere(
        &self,
        row: &SessionRow,
        told: &Told,
        missing: &RecorderError,
    ) -> anyhow::Result<Result<find::Found, Found>> {
        if let Some(entry) = told.deleted {
            let why = format!("it was deleted when its time was over (entry {entry} of the audit log)");
            return Ok(Err(Found::NotHere(why)));
        }
        let kept = self.store.archive_row(&row.id).await?.filter(|kept| kept.here == Here::No);
        let Some(kept) = kept else { return Ok(Err(Found::Bad(missing.to_string()))) };
        if let Some(at) = kept.deleted {
            let why = format!("the database says that it was deleted at {at}, and the audit log does not");
            return Ok(Err(Found::Bad(why)));
        }
        Ok(match find::anywhere(row, self.config, self.store, self.identity).await {
            Ok(found) => Ok(found),
            Err(error) => {
                // That it is in the archive is believed of the audit log only.
                let locked = matches!(error.downcast_ref(), Some(ArchiveError::Locked(_)));
                let why = format!("{error:#}");
                Err(if locked && told.archived.is_some() { Found::NotHere(why) } else { Found::Bad(why) })
            }
        })
    }
}
