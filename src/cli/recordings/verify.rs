//! `caponier recordings verify|signers`: whether recordings are what was sealed, and the keys that sealed them, for
//! `ssh-keygen`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use russh::keys::ssh_key::PublicKey;
use serde_json::{Value, json};

use super::find;
use super::judge::{Found, Judge};
use crate::cli::table::printable;
use crate::config::Config;
use crate::flow::told::told;
use crate::ids::SessionId;
use crate::recording::{Folder, key, verify};
use crate::store::Store;

/// Exit code when something is not as it was sealed.
const ALTERED: u8 = 1;

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
    /// Every recording of a closed session that the audit log or the database knows of
    #[arg(long)]
    all: bool,
    /// A copy of a recording's folder, named like its session. Nothing but the seal is compared, so --signers is needed
    #[arg(long, value_name = "DIR", requires = "signers")]
    folder: Option<PathBuf>,
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
    let by = Judge { config, store, signers: &signers, identity: args.identity.as_deref() };
    let Some(name) = &args.what.session else { return all(&by, args, out).await };
    let row = find::find(store, name).await?;
    let found = match by.one(&row, &told(store, &row.id).await?).await? {
        // Who says whose signatures are believed gets no yes without one.
        Found::DigestOnly if args.signers.is_some() => {
            Found::Bad("it was recorded before there were seals: no signer says anything of it".to_owned())
        }
        found @ (Found::Whole(_) | Found::DigestOnly | Found::Bad(_) | Found::NotHere(_) | Found::Open) => {
            found
        }
    };
    say(&row.id, &found, args.json, out)?;
    Ok(exit(matches!(found, Found::Whole(_) | Found::DigestOnly)))
}

/// Every recording that the audit log or the database knows of.
async fn all(by: &Judge<'_>, args: &Verify, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (mut whole, mut digests, mut bad, mut unseen, mut open) =
        (0_usize, 0_usize, 0_usize, 0_usize, 0_usize);
    for (session, told) in by.all().await? {
        let found = by.of_all(&session, &told).await?;
        match found {
            Found::Whole(_) => whole += 1,
            Found::DigestOnly => digests += 1,
            Found::Bad(_) => bad += 1,
            Found::NotHere(_) => unseen += 1,
            Found::Open => open += 1,
        }
        if (args.json && !matches!(found, Found::Open)) || matches!(found, Found::Bad(_)) {
            say(&session, &found, args.json, out)?;
        }
    }
    if !args.json {
        writeln!(out, "{whole} as sealed, {bad} not")?;
        for (count, what) in [
            (digests, "from before there were seals: as their digests say, and signed by nobody"),
            (unseen, "not looked at: deleted in time, or only in the archive and encrypted (--identity)"),
            (open, "not looked at: their sessions are open"),
        ] {
            if count > 0 {
                writeln!(out, "{count} {what}")?;
            }
        }
    }
    Ok(exit(bad == 0))
}

fn exit(good: bool) -> ExitCode {
    ExitCode::from(if good { 0 } else { ALTERED })
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
    Ok(exit(!matches!(found, Found::Bad(_))))
}

fn say(id: &SessionId, found: &Found, as_json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if as_json {
        return writeln!(out, "{}", value(id, found));
    }
    let text = match found {
        Found::Whole(verified) => {
            let seal = &verified.seal;
            let notes =
                [(seal.interrupted, ", interrupted"), (!seal.complete, ", incomplete: the disk was full")];
            let notes: String = notes.into_iter().filter(|(is, _)| *is).map(|(_, note)| note).collect();
            format!(
                "as sealed by {} at {}, {} files, {} checkpoints{notes}",
                verified.signer,
                seal.sealed,
                seal.files.len(),
                verified.checkpoints.len()
            )
        }
        Found::DigestOnly => {
            "as its digest in database and audit log says; it has no seal of its own".to_owned()
        }
        Found::Bad(why) => format!("NOT as sealed: {why}"),
        Found::NotHere(why) => format!("not looked at: {why}"),
        Found::Open => "not looked at: its session is open".to_owned(),
    };
    // The names of files in it are whatever somebody called them.
    writeln!(out, "{id}: {}", printable(&text))
}

fn value(id: &SessionId, found: &Found) -> Value {
    match found {
        Found::Whole(verified) => json!({
            "session": id.as_str(), "verified": true, "signer": verified.signer, "sha256": verified.sha256,
            "sealed": verified.seal.sealed, "node": verified.seal.node, "reason": verified.seal.reason,
            "interrupted": verified.seal.interrupted, "complete": verified.seal.complete,
            "files": verified.seal.files, "checkpoints": verified.checkpoints.len(),
        }),
        Found::DigestOnly => {
            json!({ "session": id.as_str(), "verified": null, "why": "no seal of its own: as its digest says" })
        }
        Found::Bad(why) => json!({ "session": id.as_str(), "verified": false, "why": why }),
        Found::NotHere(why) => json!({ "session": id.as_str(), "verified": null, "why": why }),
        Found::Open => json!({ "session": id.as_str(), "verified": null, "why": "its session is open" }),
    }
}
