//! Looking at access: who has it, who could, who had it, and who does not use it. Decides who sees whom: auditors everybody, with one
//! entry in the audit log for each look; everybody else themselves only. Changes nothing.

mod history;
mod now;
mod unused;

pub use history::{History, PastGrant, SESSIONS_SHOWN, history, history_by_command};
pub use now::{AccessNow, LiveGrant, OpenSession, Person, RoleWay, now, now_by_command};
pub use unused::{IdleMember, IdlePerson, IdleRole, Unused, unused, unused_by_command};

use std::time::Duration;

use super::denials;
use super::permission::{PermissionRefused, SignedIn, is_auditor, must_be_auditor};
use crate::app::App;
use crate::audit::{AuditEvent, Looker, LookingEvent};
use crate::identity::Identity;
use crate::names::TargetName;
use crate::policy::Policy;
use crate::store::{GrantFilter, Store, StoreError, Whose};
use crate::time::Timestamp;

/// How far back the history goes when nobody says.
pub const SINCE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long something is unused before the report names it, when nobody says: days.
pub const DAYS: u32 = 90;

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub enum SightRefused {
    /// Others are for auditors.
    #[error(transparent)]
    Permission(#[from] PermissionRefused),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// At whom and what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only at this person: `provider:subject`.
    pub user: Option<String>,
    /// Only at this target.
    pub target: Option<TargetName>,
}

/// Whom somebody sees.
#[derive(Clone, Debug)]
enum Sight {
    Everybody,
    Only(Box<Identity>),
}

/// What a look needs, once it is decided who sees whom.
struct Look<'a> {
    store: &'a Store,
    policy: &'a Policy,
    now: Timestamp,
    sight: Sight,
    asked: &'a Asked,
}

impl<'a> Look<'a> {
    /// By the API. A look at everybody is in the audit log by then, and so is a refusal.
    async fn signed(
        app: &'a App,
        policy: &'a Policy,
        by: &SignedIn,
        asked: &'a Asked,
        what: &'static str,
    ) -> Result<Self, SightRefused> {
        let (now, caller) = (app.clock.now(), by.caller());
        let who = caller.identity();
        if asked.user.as_ref().is_some_and(|user| *user != who.reference()) {
            must_be_auditor(app, by, &format!("see access of others ({what})")).await?;
        }
        let sight = if is_auditor(app, caller).await? {
            let from = caller.from().to_string();
            let by = Looker::Person { who: Box::new(who.clone()), sign_in: caller.sign_in().clone(), from };
            note(&app.store, now, by, what, asked).await?;
            Sight::Everybody
        } else {
            Sight::Only(Box::new(who.clone()))
        };
        Ok(Self { store: &app.store, policy, now, sight, asked })
    }

    /// By a command on the server, for whoever may read its configuration.
    async fn by_command(
        store: &'a Store,
        policy: &'a Policy,
        asked: &'a Asked,
        what: &'static str,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        note(store, now, Looker::Admin, what, asked).await?;
        Ok(Self { store, policy, now, sight: Sight::Everybody, asked })
    }

    fn everybody(&self) -> bool {
        matches!(self.sight, Sight::Everybody)
    }

    fn whose(&self) -> Whose {
        match (&self.sight, &self.asked.user) {
            (Sight::Everybody, None) => Whose::Anybody,
            (Sight::Everybody, Some(user)) => Whose::Named(user.clone()),
            (Sight::Only(who), _) => Whose::Person { issuer: who.issuer.clone(), subject: who.holder() },
        }
    }

    fn grants(&self) -> GrantFilter {
        GrantFilter { whose: self.whose(), target: self.asked.target.clone() }
    }
}

async fn note(
    store: &Store,
    now: Timestamp,
    by: Looker,
    what: &'static str,
    asked: &Asked,
) -> Result<(), StoreError> {
    let user = asked.user.as_deref().map(denials::cut);
    let target = asked.target.as_ref().map(ToString::to_string);
    store.note(now, AuditEvent::Looking(LookingEvent::AccessSeen { by, what, user, target })).await
}
