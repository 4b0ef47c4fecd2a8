//! Finding in recordings: each node reads those of its own sessions once they are closed, and somebody searches what was
//! read. Decides what a hit is; which lines a recording has is `recording::text`'s, and where they are kept the store's.

use std::ops::Range;
use std::time::Duration;

use crate::app::App;
use crate::audit::{AuditEvent, WatchingEvent};
use crate::config::{Config, RecordingIndex};
use crate::ids::SessionId;
use crate::recording::Folder;
use crate::recording::text::{self, Kind, Text};
use crate::recording::words::{self, Wanted};
use crate::store::{
    BlockSearch, DueTranscript, FoundBlock, SessionFilter, SessionRow, Store, StoreError, Unread,
};
use crate::time::Timestamp;

/// Sessions that are read in a row.
const DUE: u32 = 16;
/// How often a recording is tried, and how long after the first attempt the second one is; each pause is twice the last.
const TRIES_MAX: u64 = 6;
const AGAIN: Duration = Duration::from_secs(60);
/// Blocks that are asked for at once.
const BLOCKS: u32 = 200;
/// Blocks that one search looks into.
const BLOCKS_MAX: usize = 100_000;
/// Sessions that are looked through when no text is searched for.
const SESSIONS_MAX: u32 = 10_000;

/// Reads the recordings of this node that were not read yet, some of them; whether there may be more.
pub async fn read_some(app: &App) -> Result<bool, StoreError> {
    if app.config.recording.index == RecordingIndex::Nothing {
        return Ok(false);
    }
    let due = app.store.transcripts_due(&app.node, app.clock.now(), DUE).await?;
    for one in &due {
        read_one(app, one).await?;
    }
    Ok(due.len() >= DUE as usize)
}

async fn read_one(app: &App, due: &DueTranscript) -> Result<(), StoreError> {
    let Some(row) = app.store.session(&due.session).await? else { return Ok(()) };
    let screen = app.config.recording.index == RecordingIndex::Screen;
    let dir = app.config.recording.dir.clone();
    // A thread of its own: it reads files and plays terminals. If that breaks, only this recording is not found.
    let reading = tokio::task::spawn_blocking(move || read(&dir, &row, screen)).await;
    let problem = match reading {
        Ok(Ok(Text { blocks, cut })) => {
            app.store.keep_transcript(&due.session, &blocks, cut).await?;
            return Ok(());
        }
        Ok(Err(problem)) => problem,
        Err(error) => error.to_string(),
    };
    tracing::warn!(session.id = %due.session, %problem, "a recording cannot be read for searching");
    let pause = AGAIN * 2_u32.saturating_pow(u32::try_from(due.tries).unwrap_or(u32::MAX).min(16));
    let again = (due.tries + 1 < TRIES_MAX).then(|| app.clock.now().plus(pause));
    app.store.transcript_failed(&due.session, &problem, again).await
}

fn read(dir: &std::path::Path, row: &SessionRow, screen: bool) -> Result<Text, String> {
    let Some(relative) = &row.recording else { return Ok(Text::default()) };
    let folder = Folder::locate(dir, relative).map_err(|error| error.to_string())?;
    text::read(&folder, &row.command, screen).map_err(|error| error.to_string())
}

/// What somebody searches for. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Texts that are all on one line, whatever the case.
    pub texts: Vec<String>,
    /// Commands that are like this (`*` and `?` are wildcards).
    pub command: Option<String>,
    /// Only this person (`provider:subject`).
    pub user: Option<String>,
    /// Only this target.
    pub target: Option<String>,
    /// Only sessions that were open at this time or later.
    pub since: Option<Timestamp>,
    /// Only sessions that were open at this time or before.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

/// One line, or one session where no text was searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The session.
    pub session: SessionId,
    /// `provider:subject`.
    pub who: String,
    /// Display label.
    pub display: String,
    /// Target.
    pub target: String,
    /// Login.
    pub login: String,
    /// When the session was opened.
    pub opened: Timestamp,
    /// Milliseconds since the beginning of its recording.
    pub at_millis: u64,
    /// What the line is of; none for a session.
    pub kind: Option<Kind>,
    /// The line.
    pub line: String,
    /// Where in it what was searched for is, in bytes.
    pub marks: Vec<Range<usize>>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The hits, newest sessions first.
    pub hits: Vec<Hit>,
    /// There may be more.
    pub more: bool,
    /// What could not be searched.
    pub unread: Unread,
}

/// Why nothing was searched.
#[derive(Debug, thiserror::Error)]
pub enum FindRefused {
    /// Nothing to go by.
    #[error(
        "say what to search for: a text with at least one letter or digit, --command, --user, --target or --since"
    )]
    Nothing,
    /// There is no index.
    #[error("recordings are not read for searching here: recording.index is \"none\" in the configuration")]
    NoIndex,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Searches, for the command on the server. Each search is in the audit log.
pub async fn search_by_command(
    store: &Store,
    config: &Config,
    asked: &Asked,
    now: Timestamp,
) -> Result<Found, FindRefused> {
    let wanted = Wanted::of(&asked.texts);
    let by_text = !asked.texts.is_empty() || asked.command.is_some();
    let filtered = asked.user.is_some() || asked.target.is_some() || asked.since.is_some();
    if (!asked.texts.is_empty() && wanted.is_nothing()) || !(by_text || filtered || asked.until.is_some()) {
        return Err(FindRefused::Nothing);
    }
    if by_text && config.recording.index == RecordingIndex::Nothing {
        return Err(FindRefused::NoIndex);
    }
    let mut found = if by_text { lines(store, asked, wanted).await? } else { sessions(store, asked).await? };
    found.unread = store.unread_transcripts().await?;
    let event = WatchingEvent::RecordingsSearched {
        by: "admin".to_owned(),
        texts: asked.texts.clone(),
        command: asked.command.clone(),
        user: asked.user.clone(),
        target: asked.target.clone(),
        hits: found.hits.len(),
    };
    // What was found is shown once it is written that it was.
    store.note(now, AuditEvent::Watching(event)).await?;
    Ok(found)
}

/// Writes down that somebody on the server gets the recording of `session`, before they do. `how`: `play`, `export`, `path`.
pub async fn note_read(
    store: &Store,
    session: &SessionId,
    how: &'static str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = WatchingEvent::RecordingRead { by: "admin".to_owned(), session: session.clone(), how };
    store.note(now, AuditEvent::Watching(event)).await
}

async fn lines(store: &Store, asked: &Asked, wanted: Wanted) -> Result<Found, StoreError> {
    let mut search = BlockSearch {
        wanted,
        commands: asked.command.is_some(),
        who: asked.user.clone(),
        target: asked.target.clone(),
        since: asked.since,
        until: asked.until,
        before: None,
        limit: BLOCKS,
    };
    let mut found = Found::default();
    let mut looked = 0;
    loop {
        let blocks = store.search_blocks(&search).await?;
        for block in &blocks {
            found.hits.extend(hits(block, asked));
        }
        looked += blocks.len();
        search.before = blocks.last().map(|block| block.id);
        let all = blocks.len() < BLOCKS as usize;
        if found.hits.len() > asked.limit || looked >= BLOCKS_MAX || all {
            found.more = found.hits.len() > asked.limit || !all;
            found.hits.truncate(asked.limit);
            return Ok(found);
        }
    }
}

/// The lines of a block that are meant.
fn hits(found: &FoundBlock, asked: &Asked) -> Vec<Hit> {
    let hit = |(at_millis, line): &(u64, String)| {
        if asked.command.as_ref().is_some_and(|pattern| !words::is_like(line, pattern)) {
            return None;
        }
        let mut marks: Vec<Range<usize>> =
            asked.texts.iter().map(|text| words::find(line, text)).collect::<Option<_>>()?;
        marks.sort_by_key(|mark| mark.start);
        Some(Hit {
            session: found.session.clone(),
            who: found.who.clone(),
            display: found.display.clone(),
            target: found.target.clone(),
            login: found.login.clone(),
            opened: found.opened,
            at_millis: *at_millis,
            kind: Some(found.block.kind),
            line: line.clone(),
            marks,
        })
    };
    found.block.lines.iter().filter_map(hit).collect()
}

/// Sessions with a recording, where no text is searched for.
async fn sessions(store: &Store, asked: &Asked) -> Result<Found, StoreError> {
    let filter = SessionFilter {
        open: false,
        target: asked.target.clone(),
        who: asked.user.clone(),
        limit: SESSIONS_MAX,
    };
    let rows = store.sessions(&filter).await?;
    let all = rows.len() < SESSIONS_MAX as usize;
    let is_meant = |row: &SessionRow| {
        row.recording.is_some()
            && asked.until.is_none_or(|until| row.opened <= until)
            && asked.since.is_none_or(|since| row.closed.is_none_or(|closed| closed >= since))
    };
    let mut hits: Vec<Hit> = rows.into_iter().filter(is_meant).map(session_hit).collect();
    let more = hits.len() > asked.limit || !all;
    hits.truncate(asked.limit);
    Ok(Found { hits, more, unread: Unread::default() })
}

fn session_hit(row: SessionRow) -> Hit {
    Hit {
        session: row.id,
        who: row.who,
        display: row.display,
        target: row.target,
        login: row.login,
        opened: row.opened,
        at_millis: 0,
        kind: None,
        line: row.command,
        marks: Vec::new(),
    }
}
