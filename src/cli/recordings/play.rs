//! `caponier recordings play`: a recording in this terminal, with the installed `asciinema`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::Context as _;
use tokio::process::Command as Process;

use super::export;
use crate::random::Random;
use crate::recording::export::Format;
use crate::recording::{Folder, Scratch};

/// Exit code when `asciinema` is not installed, as a shell gives it.
const NOT_INSTALLED: u8 = 127;

/// How to play.
#[derive(Debug, clap::Args)]
pub struct Play {
    /// The session's id, or enough of its beginning
    pub(super) session: String,
    /// Private key (age, or OpenSSH of type ed25519) that opens the archive, where the recording is only there
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// So many times as fast
    #[arg(long, value_parser = above_zero)]
    speed: Option<f64>,
    /// Pauses last at most so many seconds
    #[arg(long, value_name = "SECS", value_parser = above_zero)]
    idle_time_limit: Option<f64>,
}

/// Plays `found` with `program` in this terminal. One of several parts is put together first, in a folder that goes away.
pub(super) async fn run(
    program: &Path,
    play: &Play,
    found: &Folder,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if let [only] = found.casts()?.as_slice() {
        return play_with(program, play, only, out).await;
    }
    let scratch = Scratch::new(&std::env::temp_dir(), &Random::System).context("cannot make a folder")?;
    let path = scratch.path().join("whole.cast");
    let mut file = BufWriter::new(File::create(&path).context("cannot put the parts together")?);
    export::write(found, Format::V2, &mut file)?;
    drop(file);
    play_with(program, play, &path, out).await
}

/// Runs `program play ... path` in this terminal.
async fn play_with(
    program: &Path,
    play: &Play,
    path: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let mut process = Process::new(program);
    process.arg("play");
    // The short options mean the same in asciinema 2 and 3.
    for (option, value) in [("-s", play.speed), ("-i", play.idle_time_limit)] {
        if let Some(value) = value {
            process.arg(option).arg(value.to_string());
        }
    }
    match process.arg(path).status().await {
        Ok(status) => Ok(ExitCode::from(code_of(status))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            writeln!(
                out,
                "asciinema is not installed here. `apt install asciinema` (Debian, Ubuntu) installs it; or see \
                 https://docs.asciinema.org/manual/cli/installation/\nThe recording is {}",
                path.display()
            )?;
            Ok(ExitCode::from(NOT_INSTALLED))
        }
        Err(error) => Err(error).context("cannot run asciinema"),
    }
}

/// The exit code as a shell reports it: 128 and the signal for a process that was killed.
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("give a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plays_with_the_installed_player() {
        let dir = tempfile::tempdir().unwrap();
        let play = Play { session: String::new(), identity: None, speed: Some(2.5), idle_time_limit: None };
        for (program, code) in [("/bin/true", 0), ("/bin/false", 1)] {
            let got =
                play_with(Path::new(program), &play, Path::new("/x.cast"), &mut Vec::new()).await.unwrap();
            assert_eq!(got, ExitCode::from(code), "{program}");
        }
        let mut out = Vec::new();
        let missing = dir.path().join("asciinema");
        let got = play_with(&missing, &play, Path::new("/x.cast"), &mut out).await.unwrap();
        assert_eq!(got, ExitCode::from(127));
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("apt install asciinema") && said.contains("/x.cast"), "{said}");
    }

    #[test]
    fn exit_codes() {
        use std::os::unix::process::ExitStatusExt as _;
        for (raw, code) in [(0, 0), (1 << 8, 1), (42 << 8, 42), (2, 130), (9, 137)] {
            assert_eq!(code_of(ExitStatus::from_raw(raw)), code, "{raw}");
        }
    }
}
