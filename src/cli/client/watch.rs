//! `caponier watch`: a live session in this terminal, from the screen as it stands on. What may be watched decides
//! `flow::watch`; here its lines are asked for, one answer after the other, and shown.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;
use url::form_urlencoded;

use super::HomeArgs;
use super::signed::Signed;
use crate::cli::Environment;
use crate::cli::terminal::say;
use crate::ids::SessionId;
use crate::web::api::sessions::{WatchAnswer, WatchQuery};

/// Puts a terminal back into a state in which one can go on: colours, screen, cursor, margins, mouse.
const RESET: &str = "\x1b[0m\x1b[?1049l\x1b[?25h\x1b[r\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?2004l\r\n";
/// An empty screen.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Watch a live session, from its screen as it stands on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For auditors, admins and sign_in.watchers; each watch is in the audit log. The session does not notice. Make the terminal
as large as the session's. Ctrl-C ends it. What the target sends is written to this terminal as it is, as by asciinema.

Examples:
  caponier watch ses_0123456789abcdefghjkmnpqrs
  caponier watch ses_0123456789abcdefghjkmnpqrs --cast > live.cast")]
pub struct Args {
    /// The session's id: `caponier sessions --open` and `caponier access now` show it
    session: SessionId,
    /// Print the lines of an asciicast v2 instead
    #[arg(long)]
    cast: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let signed = Signed::open(&args.home, env)?;
    let path = format!("/v1/sessions/{}/watch", args.session);
    let mut answer: WatchAnswer = signed.post_bare(&path)?;
    if !args.cast {
        tell_size(&answer.cast);
        write(CLEAR)?;
    }
    let result = loop {
        if let Err(error) = show(&answer.cast, args.cast) {
            break Err(error);
        }
        if answer.over {
            break Ok(());
        }
        let query = WatchQuery { watch: Some(answer.watch), place: Some(answer.place) };
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("watch", &query.watch), ("place", &query.place)] {
            text.append_pair(name, value.as_deref().unwrap_or_default());
        }
        match signed.get(&format!("{path}?{}", text.finish())) {
            Ok(next) => answer = next,
            Err(error) => break Err(error),
        }
    };
    if !args.cast {
        write(RESET)?;
    }
    result?;
    say("the session is over");
    Ok(ExitCode::SUCCESS)
}

/// A terminal of another size shows it wrongly, and nobody can change the session's.
fn tell_size(cast: &str) {
    let header: Option<Value> = cast.lines().next().and_then(|line| serde_json::from_str(line).ok());
    let side = |name: &str| header.as_ref().and_then(|header| header.get(name)?.as_u64());
    if let (Some(columns), Some(rows)) = (side("width"), side("height")) {
        say(format_args!("its screen has {columns} columns and {rows} rows; Ctrl-C ends watching"));
    }
}

fn show(cast: &str, as_cast: bool) -> anyhow::Result<()> {
    if as_cast {
        return write(cast);
    }
    for line in cast.lines() {
        let event: Value = serde_json::from_str(line).context("the server sent what is no cast")?;
        if event.get(1).and_then(Value::as_str) == Some("o") {
            write(event.get(2).and_then(Value::as_str).unwrap_or_default())?;
        }
    }
    Ok(())
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}
