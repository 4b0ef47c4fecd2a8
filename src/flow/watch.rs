//! Watching a live session: its screen as it stands, and then what comes, read from the recording that is being written. The
//! bytes of the session take no other way because somebody watches. Decides which session can be watched here, and that every
//! watch is in the audit log before its first line and at its end. Who may is `permission`'s, judged again with each question.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::desk::lock;
use super::permission::Watcher;
use super::recognise::begin_once;
use crate::app::App;
use crate::audit::{AuditEvent, WatchingEvent};
use crate::ids::{SessionId, SignInId};
use crate::recording::folder::{JoinedEvent, cast_name};
use crate::recording::later;
use crate::recording::tail::{self, BadPlace, Place};
use crate::store::{SessionRow, StoreError};
use crate::time::Timestamp;

/// Watches at once in one process: each plays a terminal once, and asks again and again.
const WATCHES_MAX: usize = 16;
/// Watches of one person at once, so that nobody takes them all.
const OF_ONE_MAX: usize = 4;
/// How long an answer waits for something to come.
const WAIT: Duration = Duration::from_secs(5);
/// How often it is looked meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// Who has not asked for so long has left.
const LEFT: Duration = Duration::from_secs(20);

/// Why nobody watches.
#[derive(Debug, thiserror::Error)]
pub enum WatchRefused {
    /// There is none of this id.
    #[error("there is no session {0}; `caponier sessions --open` lists those that are open")]
    NotFound(SessionId),
    /// It is closed already.
    #[error("session {0} is closed; on the server, play it: caponier recordings play {0}")]
    Over(SessionId),
    /// Another process holds it, and its recording is there.
    #[error("session {0} is at the bastion {1}; ask that one")]
    Elsewhere(SessionId, String),
    /// It has no screen, or is not recorded any more.
    #[error("session {0} has no screen that is being recorded")]
    NoScreen(SessionId),
    /// There are too many watches.
    #[error("{WATCHES_MAX} sessions are being watched here already; try again later")]
    Limit,
    /// They have too many watches.
    #[error("you are watching {OF_ONE_MAX} sessions here already; end one of these watches first")]
    OwnLimit,
    /// The watch is over, or somebody else's.
    #[error("there is no such watch (any more); begin again")]
    NoWatch,
    /// The place is none.
    #[error(transparent)]
    Place(#[from] BadPlace),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The recording cannot be read.
    #[error("the recording cannot be read: {0}")]
    Files(#[from] io::Error),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Watches by their random names.
pub(super) type Watches = BTreeMap<String, Watching>;

/// One watch.
#[derive(Clone, Debug)]
pub(super) struct Watching {
    session: SessionId,
    by: String,
    sign_in: SignInId,
    folder: PathBuf,
    /// Where the snapshot was taken, once it was: times count from there, and what was before it is shown to nobody.
    snapshot: Option<Place>,
    began: Timestamp,
    asked: Timestamp,
}

/// Some of a watch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name, for the next question.
    pub watch: String,
    /// Lines of an asciicast v2: at first its header and the screen as it stands, then what came.
    pub cast: String,
    /// Where that ends, for the next question.
    pub place: String,
    /// The session is over, and so is the watch.
    pub is_over: bool,
}

/// Begins to watch a session.
pub async fn begin(app: &App, by: &Watcher, session: &SessionId) -> Result<Watched, WatchRefused> {
    let Some(row) = app.store.session(session).await? else {
        return Err(WatchRefused::NotFound(session.clone()));
    };
    if row.closed.is_some() {
        return Err(WatchRefused::Over(session.clone()));
    }
    if *row.node != *app.node {
        return Err(WatchRefused::Elsewhere(session.clone(), row.node));
    }
    let live = app.recordings.live(session).filter(|live| !live.is_over());
    let folder = live.map(|live| live.folder()).filter(|folder| folder.join(cast_name(1)).exists());
    let folder = folder.ok_or_else(|| WatchRefused::NoScreen(session.clone()))?;
    end_idle(app).await?;
    let now = app.clock.now();
    let watch = app.random.token();
    let watching = Watching {
        session: session.clone(),
        by: by.person().caller().identity().reference(),
        sign_in: by.person().sign_in().id.clone(),
        folder: folder.clone(),
        snapshot: None,
        began: now,
        asked: now,
    };
    // Its place is taken first, so that nobody has more than theirs by asking at the same time. And it stands there before the
    // recording is read, which takes a while: whatever becomes of that, the watch has an end in the log.
    take_place(app, &watch, watching)?;
    if let Err(refused) = note_begin(app, by, row, now).await {
        lock(&app.desk.watches).remove(&watch);
        return Err(refused);
    }
    let (cast, place) = blocking(move || tail::snapshot(&folder)).await?;
    if let Some(watching) = lock(&app.desk.watches).get_mut(&watch) {
        watching.snapshot = Some(place);
        watching.asked = app.clock.now();
    }
    Ok(Watched { watch, cast, place: place.to_string(), is_over: false })
}

/// One of the places, if there is one left for all and for them.
fn take_place(app: &App, watch: &str, watching: Watching) -> Result<(), WatchRefused> {
    let mut watches = lock(&app.desk.watches);
    if watches.len() >= WATCHES_MAX {
        return Err(WatchRefused::Limit);
    }
    if watches.values().filter(|other| other.by == watching.by).count() >= OF_ONE_MAX {
        return Err(WatchRefused::OwnLimit);
    }
    watches.insert(watch.to_owned(), watching);
    Ok(())
}

async fn note_begin(app: &App, by: &Watcher, row: SessionRow, now: Timestamp) -> Result<(), WatchRefused> {
    let caller = by.person().caller();
    let tx = begin_once(app, by.person().signed()).await?.ok_or(WatchRefused::Replay)?;
    let event = WatchingEvent::SessionWatched {
        session: row.id,
        by: caller.identity().reference(),
        whose: row.who,
        target: row.target,
        login: row.login,
        from: caller.from().to_string(),
    };
    Ok(tx.commit(now, AuditEvent::Watching(event)).await?)
}

/// What has come since `place`, which is none before the screen that was shown first; waits a few seconds for something.
pub async fn more(
    app: &App,
    by: &Watcher,
    session: &SessionId,
    (watch, place): (&str, &str),
) -> Result<Watched, WatchRefused> {
    let mine = |watching: &&mut Watching| {
        watching.session == *session && watching.sign_in == by.person().sign_in().id
    };
    let watching = match lock(&app.desk.watches).get_mut(watch).filter(mine) {
        None => return Err(WatchRefused::NoWatch),
        Some(watching) => {
            watching.asked = app.clock.now();
            watching.clone()
        }
    };
    // The place comes from the client, who may write there what they like.
    let mut place: Place = place.parse()?;
    let snapshot = watching.snapshot.filter(|snapshot| !place.is_before(*snapshot)).ok_or(BadPlace)?;
    let watched = |cast, place: Place, is_over| {
        Ok(Watched { watch: watch.to_owned(), cast, place: place.to_string(), is_over })
    };
    let until = Instant::now() + WAIT;
    loop {
        // Asked first: what is read after that is all there is.
        let is_over = app.recordings.live(session).is_none_or(|live| live.is_over());
        let (folder, before) = (watching.folder.clone(), place);
        let (events, now) = blocking(move || tail::read(&folder, before)).await?;
        place = now;
        if !events.is_empty() {
            return watched(lines(&events, snapshot.at_micros()), place, false);
        }
        if now != before {
            continue;
        }
        if is_over {
            let ended = lock(&app.desk.watches).remove(watch);
            if let Some(ended) = ended {
                note_end(app, ended, "session-over").await?;
            }
            return watched(String::new(), place, true);
        }
        if Instant::now() >= until {
            return watched(String::new(), place, false);
        }
        sleep(LOOK).await;
    }
}

/// Ends watches whose watchers have left.
pub(super) async fn end_idle(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now();
    end_those(app, |watching| now.since(watching.asked) >= LEFT, "left").await
}

/// Ends all, because the process stops.
pub(super) async fn end_all(app: &App) -> Result<(), StoreError> {
    end_those(app, |_| true, "stopped").await
}

async fn end_those(
    app: &App,
    ends: impl Fn(&Watching) -> bool,
    reason: &'static str,
) -> Result<(), StoreError> {
    let ended: Vec<Watching> =
        lock(&app.desk.watches).extract_if(.., |_, watching| ends(watching)).map(|(_, one)| one).collect();
    for one in ended {
        note_end(app, one, reason).await?;
    }
    Ok(())
}

async fn note_end(app: &App, ended: Watching, reason: &'static str) -> Result<(), StoreError> {
    let lasted = if reason == "left" { ended.asked } else { app.clock.now() }.since(ended.began);
    let event = WatchingEvent::SessionWatchEnded {
        session: ended.session,
        by: ended.by,
        reason,
        lasted_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
    };
    app.store.note(app.clock.now(), AuditEvent::Watching(event)).await
}

fn lines(events: &[JoinedEvent], began_micros: u64) -> String {
    let mut cast = String::new();
    for event in events {
        later::push(event.at_micros.saturating_sub(began_micros), event.letter, &event.text, &mut cast);
    }
    cast
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, WatchRefused> {
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read.map_err(io::Error::other)??)
}
