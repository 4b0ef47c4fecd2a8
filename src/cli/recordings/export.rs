//! `caponier recordings export`: a recording as one plain cast, or its whole folder.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::recording::{Folder, export};

/// What to export, and where to.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The session's id, or enough of its beginning
    pub(super) session: String,
    /// Private key (age, or OpenSSH of type ed25519) that opens the archive, where the recording is only there
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// asciicast of version 2, which every player takes, or 3
    #[arg(long, value_enum, default_value_t = Format::V2)]
    format: Format,
    /// Write to this new file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Copy the whole folder into this existing folder instead, as it was sealed
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "format"])]
    folder: Option<PathBuf>,
}

/// The version of asciicast.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// asciicast v2
    V2,
    /// asciicast v3: times are intervals, and the exit status is in it
    V3,
}

/// Exports what `found` holds; what goes to no file goes to `out`.
pub(super) fn run(args: &Export, found: &Folder, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.folder {
        let to = copy(found, dir)?;
        writeln!(out, "{}", to.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let format = match args.format {
        Format::V2 => export::Format::V2,
        Format::V3 => export::Format::V3,
    };
    let Some(path) = &args.output else {
        write(found, format, out)?;
        return Ok(ExitCode::SUCCESS);
    };
    let file = create(path)?;
    let mut file = BufWriter::new(file);
    write(found, format, &mut file).with_context(|| path.display().to_string())?;
    file.get_ref().sync_all().with_context(|| path.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// A file that is new, and that only we may read: what is on a screen is nobody else's matter.
fn create(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// The joined cast; a session without a screen has none, and that is said.
pub(super) fn write(found: &Folder, format: export::Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match export::write(found, format, out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && found.casts()?.is_empty() => bail!(
            "this session had no screen (sftp and forwards have none); \
             `caponier recordings export --folder DIR` copies what was written down of it"
        ),
        result => result.context("cannot export the recording"),
    }
}

/// Copies the files of the recording, as they are, into a new folder below `dir`; a recording of before there were folders is
/// copied as the one file that it is.
fn copy(found: &Folder, dir: &Path) -> anyhow::Result<PathBuf> {
    let name = found.path().file_name().context("the recording has no name")?;
    let to = dir.join(name);
    let copy_one = |from: &Path, to: &Path| -> anyhow::Result<()> {
        let mut reader = File::open(from).with_context(|| from.display().to_string())?;
        let mut writer = create(to)?;
        io::copy(&mut reader, &mut writer).with_context(|| to.display().to_string())?;
        Ok(())
    };
    if found.is_alone() {
        copy_one(found.path(), &to)?;
        return Ok(to);
    }
    DirBuilder::new().mode(0o700).create(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(found.path())? {
        let entry = entry?;
        copy_one(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(to)
}
