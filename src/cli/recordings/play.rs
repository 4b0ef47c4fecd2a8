//! `caponier recordings play`: a recording in this terminal, with the installed `asciinema`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command as Process;

use super::export;
use crate::random::Random;
use crate::recording::export::Format;
use crate::recording::{Folder, Scratch, later};

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
    /// Begin there: seconds, or H:MM:SS as `recordings search` shows it
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Duration>,
}

impl Play {
    /// The command that writes the recording to a file: the one that would have been played may be gone in a moment.
    fn export(&self) -> String {
        let identity = self.identity.as_ref().map_or_else(String::new, |path| {
            format!(" --identity '{}'", path.display().to_string().replace('\'', "'\\''"))
        });
        format!("caponier recordings export {}{identity} -o {}.cast", self.session, self.session)
    }
}

/// Plays `found` with `program` in this terminal. One of several parts is put together first, in a folder that goes away.
pub(super) async fn run(
    program: &Path,
    play: &Play,
    found: &Folder,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if let [only] = found.casts()?.as_slice()
        && play.at.is_none()
    {
        return play_with(program, play, only, out).await;
    }
    let scratch = Scratch::new(&std::env::temp_dir(), &Random::System).context("cannot make a folder")?;
    let path = scratch.path().join("whole.cast");
    let mut file = BufWriter::new(File::create(&path).context("cannot put the parts together")?);
    match play.at {
        None => export::write(found, Format::V2, &mut file)?,
        Some(at) => later::write(found, at, &mut file).context("cannot play from there")?,
    }
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
                 https://docs.asciinema.org/manual/cli/installation/\nTo play it elsewhere: {}",
                play.export()
            )?;
            Ok(ExitCode::from(NOT_INSTALLED))
        }
        Err(error) => Err(error).context("cannot run asciinema"),
    }
}

/// `90`, `90.5`, `1:30`, `0:01:30`.
fn moment(text: &str) -> Result<Duration, String> {
    let wrong = || "give seconds, or H:MM:SS".to_owned();
    let mut all = 0_f64;
    let parts: Vec<&str> = text.split(':').collect();
    for (n, part) in parts.iter().enumerate() {
        let is_number = part.bytes().all(|b| b.is_ascii_digit() || (b == b'.' && n + 1 == parts.len()));
        let number: f64 = part.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        if n > 0 && number >= 60.0 {
            return Err(wrong());
        }
        all = all * 60.0 + number;
    }
    if parts.len() > 3 {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(all).map_err(|_| wrong())
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
        let play = Play {
            session: "ses_ab".to_owned(),
            identity: Some("it's/key".into()),
            speed: Some(2.5),
            idle_time_limit: None,
            at: None,
        };
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
        let export = r"caponier recordings export ses_ab --identity 'it'\''s/key' -o ses_ab.cast";
        assert!(said.contains("apt install asciinema") && said.ends_with(&format!("{export}\n")), "{said}");
        assert!(!said.contains("/x.cast"), "it may be in a folder that goes: {said}");
    }

    #[test]
    fn moments() {
        let rows = [
            ("90", Some(90.0)),
            ("90.5", Some(90.5)),
            ("1:30", Some(90.0)),
            ("0:01:30.25", Some(90.25)),
            ("26:00:00", Some(93_600.0)),
            ("1:60", None),
            ("1:2:3:4", None),
            ("-1", None),
            ("1e3", None),
            ("nan", None),
            ("", None),
            ("1:", None),
            ("1.5:00", None),
        ];
        for (text, expect) in rows {
            assert_eq!(moment(text).ok(), expect.map(Duration::from_secs_f64), "{text:?}");
        }
    }

    #[test]
    fn exit_codes() {
        use std::os::unix::process::ExitStatusExt as _;
        for (raw, code) in [(0, 0), (1 << 8, 1), (42 << 8, 42), (2, 130), (9, 137)] {
            assert_eq!(code_of(ExitStatus::from_raw(raw)), code, "{raw}");
        }
    }
}
