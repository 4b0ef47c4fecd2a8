//! Ends somebody's live session by an order with a reason. Decides which session can be ended and what of the order is kept
//! for whoever holds the session, in this process or, by the audit log, in another; who may give one is `permission`'s.
//! An order is about one session: it takes no access away, and they may connect again. For that there are locks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::change::Change;
use super::permission::Killer;
use super::recognise::begin_once;
use crate::app::App;
use crate::audit::{AuditEvent, WatchingEvent};
use crate::ids::SessionId;
use crate::plain;
use crate::policy::request::Words;
use crate::policy::{Refusal, RefusalCode};
use crate::store::{SessionRow, Store, StoreError, Tx};
use crate::time::Timestamp;

/// Orders remembered in a process. A session that is still open after so many others were ended by order is none.
const KILLS_MAX: usize = 4096;
/// Characters of a reason that the user is shown.
const REASON_SHOWN_MAX: usize = 200;

/// Why no session was ended.
#[derive(Debug, thiserror::Error)]
pub enum KillRefused {
    /// There is none of this id.
    #[error("there is no session {0}; `caponier sessions --open` lists those that are open")]
    NotFound(SessionId),
    /// It is closed already.
    #[error("session {0} is closed already ({1})")]
    Over(SessionId, String),
    /// The reason is missing, too long, or no plain line.
    #[error("{0}")]
    Words(String),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An order to end a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Which session.
    pub session: SessionId,
    /// Who gave it: `provider:subject`, or `admin` for the command on the server.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Kill {
    /// The refusal with which whoever holds the session ends it.
    pub(super) fn refusal(&self) -> Refusal {
        let by = plain::line(&self.by, REASON_SHOWN_MAX);
        let reason = plain::line(&self.reason, REASON_SHOWN_MAX);
        Refusal {
            code: RefusalCode::Killed,
            rule: None,
            text: format!("{by} ended it: {reason}"),
            reason: format!("session {} was ended by {}: {}", self.session, self.by, self.reason),
        }
    }
}

/// The newest orders that this process knows.
#[derive(Debug, Default)]
pub(super) struct Kills {
    known: HashMap<SessionId, Arc<Kill>>,
    order: VecDeque<SessionId>,
}

impl Kills {
    /// Remembers one. The first order for a session is the one that ends it.
    pub(super) fn add(&mut self, kill: Kill) {
        if self.known.contains_key(&kill.session) {
            return;
        }
        if self.order.len() >= KILLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(kill.session.clone());
        self.known.insert(kill.session.clone(), Arc::new(kill));
    }

    /// The order for this session.
    pub(super) fn of(&self, session: &SessionId) -> Option<Arc<Kill>> {
        self.known.get(session).cloned()
    }
}

/// Ends a session for somebody who may: it is cut here at once, and where another process holds it as soon as that has seen
/// the entry. Answers the session as it was.
pub async fn kill(
    app: &App,
    by: &Killer,
    session: &SessionId,
    reason: &str,
) -> Result<SessionRow, KillRefused> {
    let reason = words(reason)?;
    let row = open_session(&app.store, session).await?;
    let caller = by.person().caller();
    let tx = begin_once(app, by.person().signed()).await?.ok_or(KillRefused::Replay)?;
    let kill = Kill { session: session.clone(), by: caller.identity().reference(), reason };
    write(tx, &kill, &row, Some(caller.from().to_string()), app.clock.now()).await?;
    app.desk.tell(Change::Session(kill));
    Ok(row)
}

/// Ends a session by a command on the server; whoever holds it sees the order within a second.
pub async fn kill_by_command(
    store: &Store,
    session: &SessionId,
    reason: &str,
    now: Timestamp,
) -> Result<SessionRow, KillRefused> {
    let reason = words(reason)?;
    let row = open_session(store, session).await?;
    let kill = Kill { session: session.clone(), by: "admin".to_owned(), reason };
    write(store.begin().await?, &kill, &row, None, now).await?;
    Ok(row)
}

fn words(reason: &str) -> Result<String, KillRefused> {
    let words = Words { required: true, min: 0, pattern: None };
    words.check("reason", reason).map_err(KillRefused::Words)?;
    Ok(reason.trim().to_owned())
}

async fn open_session(store: &Store, session: &SessionId) -> Result<SessionRow, KillRefused> {
    let Some(row) = store.session(session).await? else {
        return Err(KillRefused::NotFound(session.clone()));
    };
    match row.closed {
        None => Ok(row),
        Some(_) => Err(KillRefused::Over(session.clone(), row.close_reason.unwrap_or_default())),
    }
}

async fn write(
    tx: Tx,
    kill: &Kill,
    row: &SessionRow,
    from: Option<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = WatchingEvent::SessionKilled {
        session: kill.session.clone(),
        by: kill.by.clone(),
        reason: kill.reason.clone(),
        whose: row.who.clone(),
        target: row.target.clone(),
        login: row.login.clone(),
        node: row.node.clone(),
        from,
    };
    tx.commit(now, AuditEvent::Watching(event)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_newest_orders_are_known_and_the_first_of_a_session_holds() {
        let random = Random::seeded(3);
        let kill = |reason: &str| Kill {
            session: SessionId::random(&random),
            by: "corp:root".into(),
            reason: reason.into(),
        };
        let mut kills = Kills::default();
        let first = kill("first");
        kills.add(first.clone());
        kills.add(Kill { reason: "second".into(), ..first.clone() });
        assert_eq!(kills.of(&first.session).as_deref(), Some(&first));
        assert_eq!(kills.of(&kill("another").session), None);
        for _ in 1..KILLS_MAX {
            kills.add(kill("more"));
        }
        assert!(kills.of(&first.session).is_some());
        kills.add(kill("one too many"));
        assert_eq!(kills.of(&first.session), None);
        assert_eq!((kills.known.len(), kills.order.len()), (KILLS_MAX, KILLS_MAX));
    }

    #[test]
    fn what_somebody_wrote_cannot_write_on_the_screen() {
        let kill = Kill {
            session: SessionId::random(&Random::seeded(3)),
            by: "corp:root".into(),
            reason: format!("\u{1b}]0;x\u{7}{}", "y".repeat(1000)),
        };
        let text = kill.refusal().text;
        assert!(!text.contains(char::is_control) && text.chars().count() < 300, "{text}");
        assert!(text.starts_with("corp:root ended it: "), "{text}");
    }
}
