//! Rows of `role_use` and `session_role`: by which roles sessions were opened, and who used which role when. Written in the
//! transaction that opens a session; what follows from a role that nobody uses is for people to say.

use super::column::{Columns, millis, text};
use super::{Store, StoreError, Tx};
use crate::identity::Identity;
use crate::ids::SessionId;
use crate::names::RoleName;
use crate::time::Timestamp;

const TABLE: &str = "role_use";

/// What somebody did with a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleUse {
    /// The role, which the policy may have no more.
    pub role: String,
    /// The issuer of whoever used it.
    pub issuer: String,
    /// Their subject there.
    pub subject: String,
    /// `provider:subject`, as it was at the last use.
    pub who: String,
    /// The first session under it that was counted.
    pub first: Timestamp,
    /// The last one.
    pub last: Timestamp,
    /// How many.
    pub uses: u64,
}

impl Store {
    /// Everything that was counted, by role; with `of` only what this person did, by issuer and subject.
    pub async fn role_uses(&self, of: Option<(&str, &str)>) -> Result<Vec<RoleUse>, StoreError> {
        let (issuer, subject) = of.map(|(a, b)| (a.to_owned(), b.to_owned())).unzip();
        let rows = sqlx::query(
            "SELECT role, issuer, subject, who, first_used, last_used, uses FROM role_use \
             WHERE CAST($1 AS TEXT) IS NULL OR (issuer = $1 AND subject = $2) \
             ORDER BY role, issuer, subject",
        )
        .bind(issuer)
        .bind(subject)
        .fetch_all(&self.pool)
        .await?;
        let read = |row| {
            let columns = Columns { table: TABLE, row };
            Ok(RoleUse {
                role: columns.text("role")?,
                issuer: columns.text("issuer")?,
                subject: columns.text("subject")?,
                who: columns.text("who")?,
                first: columns.time("first_used")?,
                last: columns.time("last_used")?,
                uses: columns.whole("uses")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// When the last session was opened, at `since` or later, that was not counted, because the bastion was older than
    /// counting. With `of` only sessions of whoever is called so.
    pub async fn last_uncounted(
        &self,
        since: Timestamp,
        of: Option<&str>,
    ) -> Result<Option<Timestamp>, StoreError> {
        // A statement for each, so that the index of one person's sessions serves.
        let whose = if of.is_some() { "who = $2" } else { "CAST($2 AS TEXT) IS NULL" };
        let text = format!(
            "SELECT opened FROM session WHERE {whose} AND opened >= $1 \
             AND NOT EXISTS (SELECT 1 FROM session_role r WHERE r.session = session.id) \
             ORDER BY opened DESC LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(millis("session", "opened", since)?)
            .bind(of.map(str::to_owned))
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Columns { table: "session", row: &row }.time("opened")).transpose()
    }

    /// The roles by which a session was opened, by name.
    pub async fn roles_of_session(&self, session: &SessionId) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT role FROM session_role WHERE session = $1 ORDER BY role")
            .bind(session.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Columns { table: "session_role", row }.text("role")).collect()
    }
}

impl Tx {
    /// Notes that a session of `who` is opened by these roles.
    pub async fn use_roles(
        &mut self,
        roles: &[RoleName],
        who: &Identity,
        session: &SessionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut roles: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
        // In one order whatever the policy's is, so that two sessions of one person never wait for each other.
        roles.sort_unstable();
        roles.dedup();
        for role in roles {
            sqlx::query(
                "INSERT INTO role_use (role, issuer, subject, who, first_used, last_used, uses) \
                 VALUES ($1, $2, $3, $4, $5, $5, 1) \
                 ON CONFLICT (role, issuer, subject) DO UPDATE SET who = excluded.who, uses = role_use.uses + 1, \
                 last_used = CASE WHEN role_use.last_used > excluded.last_used THEN role_use.last_used \
                 ELSE excluded.last_used END",
            )
            .bind(role)
            .bind(text(TABLE, "issuer", &who.issuer)?)
            .bind(text(TABLE, "subject", &who.subject)?)
            .bind(text(TABLE, "who", &who.reference())?)
            .bind(millis(TABLE, "last_used", now)?)
            .execute(self.connection())
            .await?;
            sqlx::query("INSERT INTO session_role (session, role) VALUES ($1, $2)")
                .bind(session.as_str())
                .bind(role)
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }
}
