//! Rows of `token_use` (so that no token of a job and no webhook is taken twice, at any node), of `run_window` (which runs their
//! platform says are running, or over), and the live sign-ins of runs. What follows from them is the flows' decision.

use super::column::{Columns, millis, text};
use super::sign_ins;
use super::{CertificateOf, Store, StoreError, Tx};
use crate::ids::{CaseId, SignInId};
use crate::names::ProviderName;
use crate::time::Timestamp;

const USE: &str = "token_use";
const WINDOW: &str = "run_window";
/// A run, as its platform names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunName<'a> {
    /// The issuer of the configuration.
    pub issuer: &'a ProviderName,
    /// What runs: `repository/123456`.
    pub subject: &'a str,
    /// The platform's id of the run.
    pub run: &'a str,
    /// Which attempt; empty where the platform tells none.
    pub attempt: &'a str,
}

/// What the platform said of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunWindow {
    /// When it said that the run is running.
    pub opened: Option<Timestamp>,
    /// When it said that the run is over.
    pub closed: Option<Timestamp>,
}

impl Tx {
    /// Marks what an issuer made as used until `expires`; `Conflict` when it was used before. Counts once this transaction
    /// commits: act on it after that.
    pub async fn use_token(
        &mut self,
        issuer: &ProviderName,
        token: &str,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO token_use (issuer, token, expires) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(issuer.as_str())
        .bind(text(USE, "token", token)?)
        .bind(millis(USE, "expires", expires)?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// What the platform said of a run, with `said` written beside it: when it was first said to run, and when it was last
    /// said to be over. Whoever else looks at this run waits until this transaction is over.
    pub async fn run_window(
        &mut self,
        run: &RunName<'_>,
        said: RunWindow,
        expires: Timestamp,
    ) -> Result<RunWindow, StoreError> {
        let at = |column, at: Option<Timestamp>| at.map(|at| millis(WINDOW, column, at)).transpose();
        let row = sqlx::query(
            "INSERT INTO run_window (issuer, subject, run, attempt, opened, closed, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (issuer, subject, run, attempt) DO UPDATE SET \
             opened = COALESCE(run_window.opened, excluded.opened), \
             closed = COALESCE(excluded.closed, run_window.closed), \
             expires = CASE WHEN run_window.expires > excluded.expires THEN run_window.expires \
             ELSE excluded.expires END RETURNING opened, closed",
        )
        .bind(run.issuer.as_str())
        .bind(text(WINDOW, "subject", run.subject)?)
        .bind(text(WINDOW, "run", run.run)?)
        .bind(text(WINDOW, "attempt", run.attempt)?)
        .bind(at("opened", said.opened)?)
        .bind(at("closed", said.closed)?)
        .bind(millis(WINDOW, "expires", expires)?)
        .fetch_one(self.connection())
        .await?;
        let columns = Columns { table: WINDOW, row: &row };
        Ok(RunWindow { opened: columns.time_opt("opened")?, closed: columns.time_opt("closed")? })
    }

    /// The live sign-ins of one run, oldest first.
    pub async fn live_of_run(
        &mut self,
        run: &RunName<'_>,
        now: Timestamp,
    ) -> Result<Vec<super::SignIn>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, who_kind, provider, issuer, subject, display, groups_json, key_fingerprint, method, address, \
             client, created, expires, ended, run FROM sign_in WHERE provider = $1 AND subject = $2 AND run_name = $3 \
             AND ended IS NULL AND expires > $4 ORDER BY created, id",
        )
        .bind(run.issuer.as_str())
        .bind(text("sign_in", "subject", run.subject)?)
        .bind(text("sign_in", "run_name", &sign_ins::run_name((run.run, run.attempt)))?)
        .bind(millis("sign_in", "now", now)?)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(sign_ins::read).collect()
    }

    /// How many sign-ins of one run are live.
    pub async fn count_of_run(&mut self, run: &RunName<'_>, now: Timestamp) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS live FROM sign_in WHERE provider = $1 AND subject = $2 AND run_name = $3 \
             AND ended IS NULL AND expires > $4",
        )
        .bind(run.issuer.as_str())
        .bind(text("sign_in", "subject", run.subject)?)
        .bind(text("sign_in", "run_name", &sign_ins::run_name((run.run, run.attempt)))?)
        .bind(millis("sign_in", "now", now)?)
        .fetch_one(self.connection())
        .await?;
        Columns { table: "sign_in", row: &row }.whole("live")
    }

    /// The certificates of a sign-in that are valid at `now`, of every authority.
    pub async fn certificates_of_sign_in(
        &mut self,
        sign_in: &SignInId,
        now: Timestamp,
    ) -> Result<Vec<CertificateOf>, StoreError> {
        super::revocations::certificates_of_sign_in(self.connection(), sign_in, now).await
    }
}

impl Store {
    /// What the platform said of a run.
    pub async fn run_window(&self, run: &RunName<'_>) -> Result<RunWindow, StoreError> {
        let row = sqlx::query(
            "SELECT opened, closed FROM run_window WHERE issuer = $1 AND subject = $2 AND run = $3 AND attempt = $4",
        )
        .bind(run.issuer.as_str())
        .bind(text(WINDOW, "subject", run.subject)?)
        .bind(text(WINDOW, "run", run.run)?)
        .bind(text(WINDOW, "attempt", run.attempt)?)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(RunWindow::default()) };
        let columns = Columns { table: WINDOW, row: &row };
        Ok(RunWindow { opened: columns.time_opt("opened")?, closed: columns.time_opt("closed")? })
    }

    /// Open cases of runs whose sign-in is over, at most `limit`. A run's holder ends in the id of its sign-in (see
    /// `Identity::holder`).
    pub async fn cases_of_runs_over(&self, now: Timestamp, limit: u32) -> Result<Vec<CaseId>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.id FROM access_case c JOIN sign_in s ON s.id = SUBSTR(c.subject, LENGTH(c.subject) - 29) \
             WHERE c.word IN ('waiting', 'granted') AND s.who_kind = 'workload' AND c.subject = s.subject || ' ' || s.id \
             AND (s.ended IS NOT NULL OR s.expires <= $1) ORDER BY c.filed, c.id LIMIT $2",
        )
        .bind(millis("sign_in", "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Columns { table: "access_case", row }.parsed("id")).collect()
    }
}
