//! Who had access: grants that are over, how they ended, and what was done under them.

use super::{Asked, Look, SightRefused};
use crate::access::{Case, Close};
use crate::app::App;
use crate::flow::permission::SignedIn;
use crate::ids::GrantId;
use crate::policy::Policy;
use crate::store::{GrantRow, SessionRow, Store, StoreError};
use crate::time::Timestamp;

/// Newest sessions shown under one grant; how many there were says the grant itself.
pub const SESSIONS_SHOWN: u32 = 10;

/// Which part of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Grants that ended at this moment or later.
    pub since: Timestamp,
    /// Behind this one: when it was opened, and its id.
    pub before: Option<(Timestamp, GrantId)>,
    /// At most so many.
    pub rows: u32,
}

/// A grant that is over.
#[derive(Clone, Debug)]
pub struct PastGrant {
    /// The grant.
    pub row: GrantRow,
    /// When it was over.
    pub ended: Timestamp,
    /// How: a word of `Close`.
    pub end: String,
    /// The request behind it.
    pub case: Option<Case>,
    /// The newest sessions under it.
    pub sessions: Vec<SessionRow>,
}

impl PastGrant {
    pub(super) fn of(row: GrantRow, case: Option<Case>, sessions: Vec<SessionRow>) -> Self {
        // What time ended and nobody has written down yet has ended all the same.
        let ended = row.grant.ended.unwrap_or(row.grant.until);
        let end = row.end_word.clone().unwrap_or_else(|| Close::Lapsed.as_str().to_owned());
        Self { row, ended, end, case, sessions }
    }
}

/// Past grants, newest first, for whoever signed.
pub async fn history(
    app: &App,
    by: &SignedIn,
    asked: &Asked,
    part: &History,
) -> Result<Vec<PastGrant>, SightRefused> {
    let policy = app.policy();
    Ok(seen(&Look::signed(app, &policy, by, asked, "history").await?, part).await?)
}

/// The same by a command on the server.
pub async fn history_by_command(
    store: &Store,
    policy: &Policy,
    asked: &Asked,
    part: &History,
    now: Timestamp,
) -> Result<Vec<PastGrant>, StoreError> {
    seen(&Look::by_command(store, policy, asked, "history", now).await?, part).await
}

async fn seen(look: &Look<'_>, part: &History) -> Result<Vec<PastGrant>, StoreError> {
    let store = look.store;
    let rows =
        store.grants_past(&look.grants(), (part.since, look.now), part.before.as_ref(), part.rows).await?;
    let mut past = Vec::new();
    for row in rows {
        let case = store.case(&row.grant.case).await?;
        let sessions = store.sessions_of_grant(&row.grant.id, false, SESSIONS_SHOWN).await?;
        past.push(PastGrant::of(row, case, sessions));
    }
    Ok(past)
}
