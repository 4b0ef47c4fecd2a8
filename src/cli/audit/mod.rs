//! `caponier audit`, on the server: following the audit log, finding in it, taking it elsewhere, proving that nothing in it was
//! altered, and the story of one session. Decides what is asked and how it is written; what is found and proven is
//! `flow::log`'s.

mod doubt;
mod show;
mod story;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{Environment, bastion};
use crate::audit::export::{CSV_HEAD, Line};
use crate::audit::schema;
use crate::cli::terminal::say;
use crate::config::{Config, parse_duration};
use crate::flow::log::{self, search};
use crate::ids::SessionId;
use crate::store::Store;
use crate::time::{Clock, Timestamp};

/// How often `tail -f` looks for more.
const LOOK: Duration = Duration::from_millis(500);
/// Entries read at once.
const PAGE: u32 = 1000;

/// `caponier audit`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The newest entries; with -f also those that come
    #[command(after_help = "\
Examples:
  caponier audit tail
  caponier audit tail -f
  caponier audit tail -n 1000 --json")]
    Tail(Tail),
    /// Find entries
    #[command(after_help = "\
All that is given must hold. An entry that names only a session is found by whose session it was, too. Shows the newest
--limit that were found, oldest first.

Examples:
  caponier audit search --who corp:ann --since 7d
  caponier audit search --kind session_opened --kind session_closed --target web1
  caponier audit search 'OPS-123' --json

Exit codes:
  0  done, also when nothing was found
  1  failed")]
    Search(Search),
    /// The whole log as lines of JSON, or as CSV
    #[command(after_help = "\
Each line of JSON has seq, at, kind, fields, prev and hash; `caponier audit verify --file` checks such a file anywhere. CSV is
for spreadsheets and cannot be verified.

Examples:
  caponier audit export > audit.ndjson
  caponier audit export --from 1000001 >> audit.ndjson
  caponier audit export --format csv > audit.csv")]
    Export(Export),
    /// Is every entry as it was written, and is none missing?
    #[command(after_help = "\
Checks the hash chain of the whole log and its signed checkpoints. Somebody who can write to the database and sign as a
bastion can make a log anew; that shows against what is kept elsewhere: --head (printed by an earlier verify), --against
(an export, or the file of a sink), --signers (the keys that may sign; without it those in the database are believed,
with --file none).

Examples:
  caponier audit verify
  caponier audit verify --head 4711:5f1c...
  caponier audit verify --against /mnt/worm/audit.ndjson --signers allowed_signers
  caponier audit verify --file audit.ndjson --signers allowed_signers     needs no server

Exit codes:
  0  whole
  1  broken (the first wrong entry is named), or it could not be checked
  2  wrong usage")]
    Verify(verify::Verify),
    /// One session from request to seal
    #[command(after_help = "\
Examples:
  caponier audit story ses_0123456789abcdefghjkmnpqrs
  caponier audit story ses_0123456789abcdefghjkmnpqrs --json")]
    Story {
        /// The session's id
        session: SessionId,
        /// One JSON object instead of a page
        #[arg(long)]
        json: bool,
    },
    /// Every kind of entry, with its fields
    #[command(after_help = "\
Examples:
  caponier audit schema
  caponier audit schema --json > audit.schema.json     JSON Schema of a line of an export")]
    Schema {
        /// JSON Schema instead of a page
        #[arg(long)]
        json: bool,
    },
}

/// `audit tail`.
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// So many entries
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    number: u32,
    /// One JSON object a line, as in an export
    #[arg(long)]
    json: bool,
}

/// `audit search`.
#[derive(Debug, clap::Args)]
pub struct Search {
    /// Only entries with this text in them, in any case
    text: Option<String>,
    /// Only this kind; several times for several
    #[arg(long)]
    kind: Vec<String>,
    /// Only what this person or workload did or has, as PROVIDER:SUBJECT
    #[arg(long)]
    who: Option<String>,
    /// Only about this session
    #[arg(long)]
    session: Option<SessionId>,
    /// Only about this target
    #[arg(long)]
    target: Option<String>,
    /// Not before: a time such as 2026-11-20T12:00:00Z, or a span back from now such as 7d
    #[arg(long, value_parser = When::parse)]
    since: Option<When>,
    /// Before this: a time, or a span back from now
    #[arg(long, value_parser = When::parse)]
    until: Option<When>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// `audit export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// How
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// From this entry on
    #[arg(long, value_name = "SEQ", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// To this file, which must not exist, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line
    Ndjson,
    /// For spreadsheets
    Csv,
}

/// A moment, or a span before now.
#[derive(Clone, Copy, Debug)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

impl When {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(span) = parse_duration(text) {
            return Ok(Self::Ago(span));
        }
        let at = text.parse().map_err(|error| format!("{error}, or as a span such as 7d"))?;
        Ok(Self::At(at))
    }

    fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.minus(span),
        }
    }
}

/// Does what is asked.
pub fn run(command: Command, file: &Path, env: &Environment) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let done = start(command, file, env, &mut out);
    match done.and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Err(error) if is_gone(&error) => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn start(command: Command, file: &Path, env: &Environment, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Schema { json } => schema_to(json, out),
        Command::Verify(args) if args.is_offline() => args.run_offline(out),
        Command::Verify(args) => {
            on_store(file, env, async |store, config| args.run(&store, config, out).await)
        }
        Command::Tail(args) => on_store(file, env, async |store, _| tail(args, &store, out).await),
        Command::Search(args) => {
            on_store(file, env, async |store, _| find(args, &store, Clock::System.now(), out).await)
        }
        Command::Export(args) => on_store(file, env, async |store, _| export(&args, &store, out).await),
        Command::Story { session, json } => on_store(file, env, async |store, config| {
            story::run(&store, &config.recording.dir, &session, json, out).await
        }),
    }
}

fn on_store(
    file: &Path,
    env: &Environment,
    work: impl AsyncFnOnce(Store, &Config) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let config = bastion::load(file, env)?;
    super::runtime()?.block_on(async { work(bastion::open(&config).await?, &config).await })
}

/// Whether whoever reads the output has gone, with what it wanted.
fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn schema_to(json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&schema::json_schema())?)?;
    } else {
        out.write_all(schema::text().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn tail(args: Tail, store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let end = store.audit_end().await?;
    let mut last = end.saturating_sub(u64::from(args.number));
    let mut prev = None;
    loop {
        let lines = log::lines(store, last, prev.take(), PAGE).await?;
        for line in &lines {
            write_line(line, args.json, out)?;
        }
        prev = match lines.last() {
            Some(line) => {
                last = line.seq;
                line.hash.clone()
            }
            None => None,
        };
        if !lines.is_empty() {
            continue;
        }
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        out.flush()?;
        tokio::time::sleep(LOOK).await;
    }
}

fn write_line(line: &Line, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        writeln!(out, "{}", line.text())
    } else {
        writeln!(out, "{}", show::entry(line.seq, line.at, &line.kind, &line.json))
    }
}

async fn find(args: Search, store: &Store, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    for kind in &args.kind {
        if schema::about(kind).is_none() {
            say(format_args!(
                "caponier: this version writes no entries of kind {kind:?}; see: caponier audit schema"
            ));
        }
    }
    let wanted = search::Wanted {
        kinds: args.kind,
        who: args.who,
        session: args.session.map(|id| id.as_str().to_owned()),
        target: args.target,
        since: args.since.map(|when| when.moment(now)),
        until: args.until.map(|when| when.moment(now)),
        text: args.text,
    };
    let found = search::search(store, &wanted, usize::try_from(args.limit)?).await?;
    if found.earlier > 0 {
        say(format_args!("caponier: {} earlier ones are not shown; raise --limit", found.earlier));
    }
    for row in found.rows {
        if args.json {
            let prev = log::hash_of(store, row.seq.saturating_sub(1)).await?;
            writeln!(out, "{}", log::line_of(row, prev).text())?;
        } else {
            writeln!(out, "{}", show::entry(row.seq, row.at, &row.kind, &row.json))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(args: &Export, store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut file = match &args.output {
        Some(path) => Some(show::new_file(path)?),
        None => None,
    };
    let out: &mut dyn Write = match &mut file {
        Some(file) => file,
        None => out,
    };
    if args.format == Format::Csv {
        out.write_all(CSV_HEAD.as_bytes())?;
    }
    // What is written meanwhile is for the next export: this one ends.
    let end = store.audit_end().await?;
    let (mut after, mut prev) = (args.from.saturating_sub(1), None);
    while after < end {
        let lines = log::lines(store, after, prev.take(), PAGE).await?;
        let Some(last) = lines.last() else { break };
        (after, prev) = (last.seq, last.hash.clone());
        for line in lines.iter().filter(|line| line.seq <= end) {
            match args.format {
                Format::Ndjson => writeln!(out, "{}", line.text())?,
                Format::Csv => out.write_all(line.csv().as_bytes())?,
            }
        }
    }
    out.flush()?;
    if let Some(file) = file {
        file.get_ref().sync_all()?;
    }
    Ok(ExitCode::SUCCESS)
}
