//! Grants as lists and reports read them: live, past, never used. Who may see which is `flow::look`'s.

use super::grants::{GrantRow, TABLE, read, select};
use crate::ids::GrantId;
use crate::names::TargetName;
use crate::store::column::{millis, text};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// Whose rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    Anybody,
    /// Of whoever is called `provider:subject`.
    Named(String),
    /// Of this identity.
    Person {
        /// The issuer.
        issuer: String,
        /// The subject at that issuer.
        subject: String,
    },
}

impl Whose {
    /// Reference, issuer and subject, as the statements want them; all none for everybody.
    pub(in crate::store) fn columns(&self, table: &'static str) -> Result<[Option<String>; 3], StoreError> {
        Ok(match self {
            Self::Anybody => [None, None, None],
            Self::Named(who) => [Some(text(table, "who", who)?.to_owned()), None, None],
            Self::Person { issuer, subject } => [
                None,
                Some(text(table, "issuer", issuer)?.to_owned()),
                Some(text(table, "subject", subject)?.to_owned()),
            ],
        })
    }
}

/// Which grants to list. Everything that is given must match.
#[derive(Clone, Debug)]
pub struct GrantFilter {
    /// Whose.
    pub whose: Whose,
    /// Those that reach this target.
    pub target: Option<TargetName>,
}

impl Store {
    /// Grants that have not ended and are not over, also those that have yet to start; newest first.
    pub async fn grants_live(
        &self,
        filter: &GrantFilter,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let [who, issuer, subject] = filter.whose.columns(TABLE)?;
        let rows = sqlx::query(select!(
            "WHERE ended IS NULL AND until > $5 \
             AND (CAST($1 AS TEXT) IS NULL OR who = $1) \
             AND (CAST($2 AS TEXT) IS NULL OR (issuer = $2 AND subject = $3)) \
             AND (CAST($4 AS TEXT) IS NULL OR scope_json LIKE $4 ESCAPE '!') \
             ORDER BY opened DESC, id DESC LIMIT $6"
        ))
        .bind(who)
        .bind(issuer)
        .bind(subject)
        .bind(filter.target.as_ref().map(reaching))
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Grants that ended or were over between `since` and `now`, newest first; `before` is where the page before ended:
    /// opening and id of its last.
    pub async fn grants_past(
        &self,
        filter: &GrantFilter,
        (since, now): (Timestamp, Timestamp),
        before: Option<&(Timestamp, GrantId)>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let [who, issuer, subject] = filter.whose.columns(TABLE)?;
        let (before, before_id) = match before {
            Some((at, id)) => (Some(millis(TABLE, "opened", *at)?), Some(id.as_str().to_owned())),
            None => (None, None),
        };
        let rows = sqlx::query(select!(
            "WHERE (ended IS NOT NULL OR until <= $5) AND COALESCE(ended, until) >= $6 \
             AND (CAST($1 AS TEXT) IS NULL OR who = $1) \
             AND (CAST($2 AS TEXT) IS NULL OR (issuer = $2 AND subject = $3)) \
             AND (CAST($4 AS TEXT) IS NULL OR scope_json LIKE $4 ESCAPE '!') \
             AND (CAST($7 AS BIGINT) IS NULL OR opened < $7 OR (opened = $7 AND id < $8)) \
             ORDER BY opened DESC, id DESC LIMIT $9"
        ))
        .bind(who)
        .bind(issuer)
        .bind(subject)
        .bind(filter.target.as_ref().map(reaching))
        .bind(millis(TABLE, "now", now)?)
        .bind(millis(TABLE, "since", since)?)
        .bind(before)
        .bind(before_id)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Grants opened at `since` or later that are over and were never used, newest first.
    pub async fn grants_unused(
        &self,
        whose: &Whose,
        (since, now): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let [who, issuer, subject] = whose.columns(TABLE)?;
        let rows = sqlx::query(select!(
            "WHERE uses = 0 AND opened >= $4 AND (ended IS NOT NULL OR until <= $5) \
             AND (CAST($1 AS TEXT) IS NULL OR who = $1) \
             AND (CAST($2 AS TEXT) IS NULL OR (issuer = $2 AND subject = $3)) \
             ORDER BY opened DESC, id DESC LIMIT $6"
        ))
        .bind(who)
        .bind(issuer)
        .bind(subject)
        .bind(millis(TABLE, "since", since)?)
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }
}

/// The pattern that the text of a scope matches exactly when the target stands in its list of targets. Inside of JSON
/// strings every quote has a backslash before it, so no command can look like the words around the list.
fn reaching(target: &TargetName) -> String {
    let name: String =
        target.as_str().chars().flat_map(|c| if c == '_' { vec!['!', c] } else { vec![c] }).collect();
    format!("%\"targets\":[%\"{name}\"%],\"logins\":[%")
}
