//! `caponier recordings verify|signers`: whether recordings are what was sealed, and the keys that sealed them, for
//! `ssh-keygen`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use russh::keys::ssh_key::PublicKey;
use serde_json::{Value, json};

use super::find;
use crate::config::Config;
use crate::flow::evidence::{self, NotVerified};
use crate::ids::SessionId;
use crate::recording::archive::ArchiveError;
use crate::recording::verify::Verified;
use crate::recording::{Folder, key, verify};
use crate::store::{Here, SessionFilter, SessionRow, Store};

/// Exit code when something is not as it was sealed.
const ALTERED: u8 = 1;
/// All sessions.
const AT_ONCE: u32 = u32::MAX;

/// What to verify, and by what.
#[derive(Debug, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    what: What,
    /// Believe the keys in this allowed-signers file, and not those in the database
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// Private key (age, or OpenSSH of type ed25519) that opens the archive, for recordings that are only there
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// One JSON object for each recording
    #[arg(long)]
    json: bool,
}

/// One of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The session's id, or enough of its beginning
    session: Option<String>,
    /// Every recording of a closed session
    #[arg(long)]
    all: bool,
    /// A copy of a recording's folder, named like its session. Nothing but the seal is compared, so --signers is needed
    #[arg(long, value_name = "DIR", requires = "signers")]
    folder: Option<PathBuf>,
}

/// How one recording stands.
enum Found {
    Whole(Box<Verified>),
    /// Recorded before there were seals: its digest is that in the database.
    DigestOnly,
    Bad(String),
    /// It cannot be looked at: why.
    NotHere(String),
}

/// Verifies; exit code 1 when anything is not as it was sealed.
pub(super) async fn run(
    args: &Verify,
    config: &Config,
    store: &Store,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let signers = match &args.signers {
        Some(path) => read(path)?,
        None => stored(store).await?,
    };
    if let Some(folder) = &args.what.folder {
        return copy(folder, &signers, args.json, out);
    }
    let rows = match &args.what.session {
        Some(name) => vec![find::find(store, name).await?],
        None => closed(store).await?,
    };
    let (mut whole, mut bad, mut unseen) = (0_usize, 0_usize, 0_usize);
    for row in rows {
        let found = judge(config, store, &row, (&signers, args.identity.as_deref())).await?;
        match found {
            Found::Whole(_) | Found::DigestOnly => whole += 1,
            Found::Bad(_) => bad += 1,
            // Of many those that are not here are counted; who asks for one gets no yes without a look.
            Found::NotHere(_) if args.what.all => unseen += 1,
            Found::NotHere(_) => bad += 1,
        }
        if !args.what.all || args.json || matches!(found, Found::Bad(_)) {
            say(&row.id, &found, args.json, out)?;
        }
    }
    if args.what.all && !args.json {
        writeln!(out, "{whole} as sealed, {bad} not")?;
        if unseen > 0 {
            writeln!(
                out,
                "{unseen} not looked at: deleted in time, or only in the archive and encrypted (--identity)"
            )?;
        }
    }
    Ok(ExitCode::from(if bad == 0 { 0 } else { ALTERED }))
}

/// `caponier recordings signers`.
pub(super) async fn signers(store: &Store, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let rows = store.recording_keys().await?;
    if rows.is_empty() {
        bail!("no key has sealed anything yet: each bastion writes its own down when it starts");
    }
    for row in rows {
        writeln!(out, "# {} since {}", row.node, row.first_used)?;
        out.write_all(key::allowed_signers_line(&row.key).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Vec<PublicKey>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let keys = key::read_allowed_signers(&text, key::RECORDING)
        .map_err(|what| anyhow::anyhow!("{}: {what}", path.display()))?;
    if keys.is_empty() {
        bail!("{}: names no key of {} for {}", path.display(), key::SIGNER, key::RECORDING);
    }
    Ok(keys)
}

/// All keys that the database knows.
async fn stored(store: &Store) -> anyhow::Result<Vec<PublicKey>> {
    let rows = store.recording_keys().await?;
    rows.iter()
        .map(|row| PublicKey::from_openssh(&row.key).with_context(|| format!("the key of {}", row.node)))
        .collect()
}

async fn closed(store: &Store) -> anyhow::Result<Vec<SessionRow>> {
    let filter = SessionFilter { limit: AT_ONCE, ..SessionFilter::default() };
    let mut rows = store.sessions(&filter).await?;
    rows.retain(|row| row.recording.is_some() && row.closed.is_some());
    Ok(rows)
}

async fn judge(
    config: &Config,
    store: &Store,
    row: &SessionRow,
    (signers, identity): (&[PublicKey], Option<&Path>),
) -> anyhow::Result<Found> {
    let archived;
    let folder = match evidence::folder_of(&config.recording.dir, row) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Ok(Found::Bad("it was not recorded".to_owned())),
        Err(error) => {
            let kept = store.archive_row(&row.id).await?.filter(|kept| kept.here == Here::No);
            let Some(kept) = kept else { return Ok(Found::Bad(error.to_string())) };
            if let Some(at) = kept.deleted {
                return Ok(Found::NotHere(format!("it was deleted at {at}, when its time was over")));
            }
            match find::anywhere(row, config, store, identity).await {
                Ok(found) => archived = found,
                Err(error) => {
                    let locked = matches!(error.downcast_ref(), Some(ArchiveError::Locked(_)));
                    let why = format!("{error:#}");
                    return Ok(if locked { Found::NotHere(why) } else { Found::Bad(why) });
                }
            }
            archived.folder.clone()
        }
    };
    if folder.is_alone() {
        return Ok(match (verify::digest_of(folder.path()), &row.recording_sha256) {
            (Ok(found), Some(known)) if found == *known => Found::DigestOnly,
            (Ok(_), Some(_)) => {
                Found::Bad("the file is not the one whose digest is in the database".to_owned())
            }
            (Ok(_), None) => Found::Bad("it was never sealed".to_owned()),
            (Err(error), _) => Found::Bad(error.to_string()),
        });
    }
    match evidence::verified(store, &folder, row, signers).await {
        Ok(verified) => Ok(Found::Whole(Box::new(verified))),
        Err(NotVerified::Store(error)) => Err(error.into()),
        Err(error) => Ok(Found::Bad(error.to_string())),
    }
}

fn copy(
    folder: &Path,
    signers: &[PublicKey],
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let path = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let session: SessionId = name
        .parse()
        .with_context(|| format!("{}: a recording's folder is named like its session", folder.display()))?;
    let found = match verify::verify(&Folder::copy(path), &session, signers) {
        Ok(verified) => Found::Whole(Box::new(verified)),
        Err(fault) => Found::Bad(fault.to_string()),
    };
    say(&session, &found, as_json, out)?;
    Ok(ExitCode::from(if matches!(found, Found::Bad(_)) { ALTERED } else { 0 }))
}

fn say(id: &SessionId, found: &Found, as_json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if as_json {
        return writeln!(out, "{}", value(id, found));
    }
    match found {
        Found::Whole(verified) => {
            let seal = &verified.seal;
            let notes =
                [(seal.interrupted, ", interrupted"), (!seal.complete, ", incomplete: the disk was full")];
            let notes: String = notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note).collect();
            writeln!(
                out,
                "{id}: as sealed by {} at {}, {} files, {} checkpoints{notes}",
                verified.signer,
                seal.sealed,
                seal.files.len(),
                verified.checkpoints.len()
            )
        }
        Found::DigestOnly => {
            writeln!(out, "{id}: as its digest in the database says; it has no seal of its own")
        }
        Found::Bad(why) => writeln!(out, "{id}: NOT as sealed: {why}"),
        Found::NotHere(why) => writeln!(out, "{id}: not looked at: {why}"),
    }
}

fn value(id: &SessionId, found: &Found) -> Value {
    match found {
        Found::Whole(verified) => json!({
            "session": id.as_str(), "verified": true, "signer": verified.signer, "sha256": verified.sha256,
            "sealed": verified.seal.sealed, "node": verified.seal.node, "reason": verified.seal.reason,
            "interrupted": verified.seal.interrupted, "complete": verified.seal.complete,
            "files": verified.seal.files, "checkpoints": verified.checkpoints.len(),
        }),
        Found::DigestOnly => json!({ "session": id.as_str(), "verified": true, "signer": null }),
        Found::Bad(why) => json!({ "session": id.as_str(), "verified": false, "why": why }),
        Found::NotHere(why) => json!({ "session": id.as_str(), "verified": null, "why": why }),
    }
}
