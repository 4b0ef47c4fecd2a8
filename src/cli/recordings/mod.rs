//! `caponier recordings ls|play|path|search|export|verify|hold|archive`, on the server: which recordings there are, where one is,
//! playing it, giving it away, proving it, keeping it. Each has its own file; rows come from the store, and whether a path
//! from the database may be followed is `recording::Folder::locate`'s matter.

mod archive;
mod export;
mod find;
mod hold;
mod judge;
mod ls;
mod play;
mod search;
mod verify;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::recording::Folder;
use crate::store::Store;

/// How many of the newest sessions are looked through, for a listing or for the beginning of an id.
const SESSIONS_SEARCHED: u32 = 10_000;

/// What to do with recordings.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List sessions that have a recording, newest first
    Ls(ls::Ls),
    /// Play a recording in this terminal, with the installed asciinema
    Play(play::Play),
    /// Print the paths of a recording's casts, one a line
    Path {
        /// The session's id, or enough of its beginning
        session: String,
        /// The folder with all of its files instead
        #[arg(long)]
        folder: bool,
    },
    /// Search what was typed, shown and done
    Search(search::Search),
    /// Write a recording as one plain asciicast
    Export(export::Export),
    /// Check recordings against their seals, the database and the audit log (exit code 1: something is not as sealed)
    Verify(verify::Verify),
    /// Print the keys that sealed recordings, as an allowed-signers file for ssh-keygen -Y verify
    Signers,
    /// Keep recordings from being deleted
    Hold {
        #[command(subcommand)]
        command: hold::Command,
    },
    /// What becomes of recordings: which wait for the archive, and why; which are there, here, or gone
    Archive(archive::Archive),
}

/// Does what `command` says; lists, paths and exports go to `out`. The exit code is asciinema's own after `play`.
///
/// Errors: the store, no or no single session of that name, a recording that is missing or whose path is refused.
pub async fn run(
    command: Command,
    config: &Config,
    store: &Store,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let dir = &config.recording.dir;
    match command {
        Command::Ls(args) => ls::run(args, dir, store, out).await,
        Command::Path { session, folder } => {
            let row = find::find(store, &session).await?;
            let found =
                find::here(&row, dir).context("only `play`, `export` and `verify` read the archive")?;
            find::note(&row, store, "path").await?;
            path(&found, folder, out)
        }
        Command::Play(args) => {
            let row = find::find(store, &args.session).await?;
            let found = find::to_read(&row, config, store, (args.identity.as_deref(), "play")).await?;
            play::run(Path::new("asciinema"), &args, &found.folder, out).await
        }
        Command::Search(args) => search::run(args, config, store, out).await,
        Command::Verify(args) => verify::run(&args, config, store, out).await,
        Command::Signers => verify::signers(store, out).await,
        Command::Export(args) => {
            let row = find::find(store, &args.session).await?;
            let found = find::to_read(&row, config, store, (args.identity.as_deref(), "export")).await?;
            export::run(&args, &found.folder, out)
        }
        Command::Hold { command } => hold::run(command, store, out).await,
        Command::Archive(args) => archive::run(&args, store, out).await,
    }
}

fn path(found: &Folder, folder: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let casts = if folder { vec![found.path().to_owned()] } else { found.casts()? };
    if casts.is_empty() {
        bail!("this session had no screen, so it has no cast; its folder is {}", found.path().display());
    }
    for cast in casts {
        writeln!(out, "{}", cast.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SessionRow;
    use crate::time::Timestamp;
    use clap::Parser;

    pub(super) fn row(id: &str, closed_after: Option<u64>, reason: Option<&str>, sealed: bool) -> SessionRow {
        let opened = Timestamp::from_secs(1_700_000_000);
        SessionRow {
            id: format!("ses_{id:0<26}").parse().unwrap(),
            sign_in: crate::ids::SignInId::random(&crate::random::Random::seeded(1)),
            who: "corp:u1".to_owned(),
            display: "Eve\x1b[2J\u{202e}".to_owned(),
            target: "web1".to_owned(),
            login: "root".to_owned(),
            kind: "shell".to_owned(),
            command: String::new(),
            from: "192.0.2.1".to_owned(),
            node: "n".to_owned(),
            recording: Some(format!("2023/11/14/ses_{id:0<26}.cast")),
            opened,
            closed: closed_after.map(|secs| opened.plus(std::time::Duration::from_secs(secs))),
            close_reason: reason.map(str::to_owned),
            exit_status: Some(0),
            bytes_in: 0,
            bytes_out: 0,
            recording_sha256: sealed.then(|| "ab".to_owned()),
        }
    }

    #[test]
    fn arguments() {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(subcommand)]
            command: Command,
        }
        for good in [
            "x ls --json --target web1 --user corp:u1 --limit 3",
            "x play ses_1 --speed 2 --idle-time-limit 0.5",
            "x play ses_1 --at 0:12:07",
            "x search text more --command a* --user corp:u1 --target web1 --since 7d --until 1d --limit 3 --json",
            "x path abc",
            "x path abc --folder",
            "x export abc",
            "x export abc --format v3 -o f",
            "x export abc --folder d",
            "x export abc --identity key",
            "x verify abc --json --identity key --signers s",
            "x verify --all --json",
            "x verify --folder d --signers s --json",
            "x play abc --identity key",
            "x hold set --session ses_1 --reason r",
            "x hold set --user corp:u1 --reason r",
            "x hold release hld_0123456789abcdefghjkmnpqrs --reason r",
            "x hold ls --all --json",
            "x archive --all --json",
        ] {
            assert!(Line::try_parse_from(good.split(' ')).is_ok(), "{good}");
        }
        for bad in [
            "x ls --limit 0",
            "x play a --speed 0",
            "x play a --at noon",
            "x search a --limit 0",
            "x play a --speed nan",
            "x play a --idle-time-limit -1",
            "x path",
            "x export",
            "x export abc --format v1",
            "x verify",
            "x verify abc --all",
            "x verify --folder d",
            "x hold set --reason r",
            "x hold release hld_1 --reason r",
            "x hold set --user corp:u1",
            "x hold set --user corp:u1 --target web1 --reason r",
            "x export abc --folder d -o f",
            "x export abc --folder d --format v3",
        ] {
            assert!(Line::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
