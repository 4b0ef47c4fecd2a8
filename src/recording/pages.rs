//! The files of a recording while it is written: what stands in them, what is on the disk, and the checkpoints over both.
//! Decides when the cast goes on in another part and when a checkpoint is due. Who may write, and when the disk is asked to
//! keep its promises, is the recorder's matter.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::asciicast::Header;
use super::chain::{Chain, Head, seconds};
use super::event::{Event, Line};
use super::folder::{CHAIN, EVENTS, SESSION, cast_name};
use super::place;
use super::tally::{Sum, Tally};
use super::transcript::Transcript;

/// A checkpoint is made when so many bytes were written since the last.
const CHECKPOINT_BYTES: u64 = 64 * 1024;
/// And when so much time has passed, and anything was written.
pub(super) const CHECKPOINT_AFTER: Duration = Duration::from_secs(5);

/// A file that only grows.
#[derive(Debug)]
struct Page {
    name: String,
    file: Arc<File>,
    tally: Tally,
}

impl Page {
    fn create(path: &Path, name: &str) -> io::Result<Self> {
        let file = Arc::new(place::new_file(&path.join(name))?);
        Ok(Self { name: name.to_owned(), file, tally: Tally::default() })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(bytes)?;
        self.tally.add(bytes);
        Ok(())
    }

    fn sum(&self) -> Sum {
        self.tally.sum(&self.name)
    }

    /// Takes half-written lines back.
    fn cut_back(&self) -> io::Result<()> {
        self.file.set_len(self.tally.bytes())
    }
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) transcript: Transcript,
    page: Page,
    part: u32,
    /// Bytes that begin another part.
    part_max: u64,
    title: String,
    command: Option<String>,
    term: String,
    began_secs: u64,
}

/// All files.
#[derive(Debug)]
pub(super) struct Pages {
    path: PathBuf,
    screen: Option<Screen>,
    events: Page,
    events_written: u64,
    /// `chain.ndjson`, whose lines wait in `waiting` until what they tell of is on the disk.
    chain_file: Arc<File>,
    chain_tally: Tally,
    chain: Chain,
    waiting: String,
    head: Option<Head>,
    /// `session.json` and the finished parts.
    finished: Vec<Sum>,
    /// Written to since the last sync, beside those that are open.
    unsynced: Vec<Arc<File>>,
    /// Bytes of cast and events since the last checkpoint, and when that was.
    since: u64,
    at_micros: u64,
}

/// What a screen begins with.
pub(super) struct NewScreen<'a> {
    pub(super) transcript: Transcript,
    pub(super) title: &'a str,
    pub(super) command: Option<&'a str>,
    pub(super) term: &'a str,
    pub(super) began_secs: u64,
    pub(super) part_max: u64,
}

/// What a sync has to do, off the async threads.
pub(super) struct Due {
    files: Vec<Arc<File>>,
    chain: Arc<File>,
    lines: String,
    head: Option<Head>,
}

impl Due {
    /// First what the checkpoints tell of, then they; then they may be told of elsewhere.
    pub(super) fn run(self) -> Result<Option<Head>, DueError> {
        let Self { files, chain, lines, head } = self;
        for file in &files {
            file.sync_data().map_err(DueError::Sync)?;
        }
        if lines.is_empty() {
            return Ok(head);
        }
        let before = chain.metadata().map_err(DueError::Sync)?.len();
        if let Err(error) = (&*chain).write_all(lines.as_bytes()) {
            chain.set_len(before).map_err(DueError::Sync)?;
            return Err(DueError::Checkpoints { error, lines });
        }
        chain.sync_data().map_err(DueError::Sync)?;
        Ok(head)
    }
}

/// Why not everything is on the disk.
#[derive(Debug)]
pub(super) enum DueError {
    /// The disk is not to be trusted any more.
    Sync(io::Error),
    /// There was no room for these lines of `chain.ndjson`; none of them is in the file.
    Checkpoints {
        /// Why.
        error: io::Error,
        /// The lines.
        lines: String,
    },
}

impl From<DueError> for io::Error {
    fn from(error: DueError) -> Self {
        match error {
            DueError::Sync(error) | DueError::Checkpoints { error, .. } => error,
        }
    }
}

impl Pages {
    /// Makes the files in the new folder `path`; all are on disk, with the first checkpoint, when this returns. Blocks.
    pub(super) fn create(path: PathBuf, session: &str, screen: Option<NewScreen<'_>>) -> io::Result<Self> {
        // Locked as long as it is open, so that nobody recovers what is being written.
        let events = Page::create(&path, EVENTS)?;
        events.file.try_lock()?;
        let mut first = Page::create(&path, SESSION)?;
        first.write(session.as_bytes())?;
        let chain_file = Arc::new(place::new_file(&path.join(CHAIN))?);
        let mut pages = Self {
            screen: None,
            events,
            events_written: 0,
            chain_file,
            chain_tally: Tally::default(),
            chain: Chain::new(),
            waiting: String::new(),
            head: None,
            finished: vec![first.sum()],
            unsynced: vec![first.file],
            since: 0,
            at_micros: 0,
            path,
        };
        if let Some(new) = screen {
            pages.screen = Some(Screen::begin(&pages.path, new)?);
        }
        let mut sums = pages.finished.clone();
        sums.extend(pages.open_sums());
        pages.checkpoint_of(0, sums);
        pages.due().run()?;
        place::sync_folder(&pages.path)?;
        Ok(pages)
    }

    pub(super) fn screen(&mut self) -> Option<&mut Screen> {
        self.screen.as_mut()
    }

    /// Writes lines of the cast.
    pub(super) fn cast(&mut self, lines: &str, at_micros: u64) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        screen.page.write(lines.as_bytes())?;
        self.since += lines.len() as u64;
        if screen.page.tally.bytes() >= screen.part_max {
            self.next_part(at_micros)?;
        }
        self.checkpoint_if_long(at_micros);
        Ok(())
    }

    /// Writes a line of `events.ndjson`.
    pub(super) fn event(&mut self, event: Event, at_micros: u64) -> io::Result<()> {
        self.events_written += 1;
        let place = self.screen.as_ref().map(|screen| (screen.page.name.clone(), screen.page.tally.bytes()));
        let (cast, offset) = place.unzip();
        let line = Line { n: self.events_written, t: seconds(at_micros), cast, offset, event };
        let text = serde_json::to_string(&line).map_err(io::Error::other)? + "\n";
        self.events.write(text.as_bytes())?;
        self.since += text.len() as u64;
        self.checkpoint_if_long(at_micros);
        Ok(())
    }

    /// After a write that failed: takes back what was written in half.
    pub(super) fn cut_back(&self) -> io::Result<()> {
        self.screen.iter().try_for_each(|screen| screen.page.cut_back())?;
        self.events.cut_back()
    }

    fn next_part(&mut self, at_micros: u64) -> io::Result<()> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let full = screen.next(&self.path, at_micros)?;
        self.finished.push(full.sum());
        self.unsynced.push(full.file);
        let file = screen.page.name.clone();
        self.unsynced.push(Arc::new(File::open(&self.path)?));
        let sums: Vec<Sum> = self.finished.last().into_iter().cloned().chain(self.open_sums()).collect();
        self.checkpoint_of(at_micros, sums);
        self.event(Event::Part { file }, at_micros)
    }

    fn open_sums(&self) -> impl Iterator<Item = Sum> {
        self.screen.iter().map(|screen| screen.page.sum()).chain([self.events.sum()])
    }

    fn checkpoint_if_long(&mut self, at_micros: u64) {
        if self.since >= CHECKPOINT_BYTES {
            self.checkpoint(at_micros);
        }
    }

    /// Makes a checkpoint if anything was written since the last.
    pub(super) fn checkpoint(&mut self, at_micros: u64) {
        if self.since > 0 {
            let sums = self.open_sums().collect();
            self.checkpoint_of(at_micros, sums);
        }
    }

    /// Whether anything was written that no checkpoint tells of.
    pub(super) fn is_behind(&self) -> bool {
        self.since > 0
    }

    /// When the last checkpoint was made, in microseconds since the beginning.
    pub(super) fn checkpoint_at(&self) -> u64 {
        self.at_micros
    }

    fn checkpoint_of(&mut self, at_micros: u64, sums: Vec<Sum>) {
        let from = self.waiting.len();
        self.head = Some(self.chain.add(at_micros, sums, &mut self.waiting));
        self.chain_tally.add(self.waiting.get(from..).unwrap_or_default().as_bytes());
        self.since = 0;
        self.at_micros = at_micros;
    }

    /// What must be done so that all that was written is on the disk.
    pub(super) fn due(&mut self) -> Due {
        let mut files = std::mem::take(&mut self.unsynced);
        files.extend(self.screen.iter().map(|screen| Arc::clone(&screen.page.file)));
        files.push(Arc::clone(&self.events.file));
        Due {
            files,
            chain: Arc::clone(&self.chain_file),
            lines: std::mem::take(&mut self.waiting),
            head: self.head.clone(),
        }
    }

    /// Takes back checkpoints that could not be written, for the next time.
    pub(super) fn put_back(&mut self, mut lines: String) {
        lines.push_str(&self.waiting);
        self.waiting = lines;
    }

    /// All files as they are now, with the last checkpoint, which covers them.
    pub(super) fn sums(&mut self, at_micros: u64) -> Option<(Vec<Sum>, Head)> {
        self.checkpoint(at_micros);
        let mut sums = self.finished.clone();
        sums.extend(self.open_sums());
        sums.push(self.chain_tally.sum(CHAIN));
        Some((sums, self.head.clone()?))
    }
}

impl Screen {
    fn begin(path: &Path, new: NewScreen<'_>) -> io::Result<Self> {
        let NewScreen { transcript, title, command, term, began_secs, part_max } = new;
        let page = Page::create(path, &cast_name(1))?;
        let mut screen = Self {
            transcript,
            page,
            part: 1,
            part_max,
            title: title.to_owned(),
            command: command.map(str::to_owned),
            term: term.to_owned(),
            began_secs,
        };
        let header = screen.header(0);
        screen.page.write(header.as_bytes())?;
        Ok(screen)
    }

    /// Goes on in another file; returns the full one.
    fn next(&mut self, path: &Path, at_micros: u64) -> io::Result<Page> {
        let part = self.part.saturating_add(1);
        let name = cast_name(part);
        let mut page = Page::create(path, &name)?;
        if let Err(error) = page.write(self.header(at_micros / 1_000_000).as_bytes()) {
            // Without its header it is no part, and what was there before can be sealed.
            std::fs::remove_file(path.join(name))?;
            return Err(error);
        }
        self.part = part;
        self.transcript.next_part(at_micros);
        Ok(std::mem::replace(&mut self.page, page))
    }

    fn header(&self, after_secs: u64) -> String {
        Header {
            size: self.transcript.size(),
            at_secs: Some(self.began_secs.saturating_add(after_secs)),
            title: &self.title,
            command: self.command.as_deref(),
            term: &self.term,
        }
        .line()
    }
}
