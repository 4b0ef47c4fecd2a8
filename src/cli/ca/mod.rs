//! `caponier ca init`, `ca show` and `ca sign-host`: for the person at the bastion's shell. Decides what to print and
//! where to write; keys, drafts and signatures are the `ca` module's.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use russh::keys::{Certificate, PublicKey};

use crate::audit::AuditEvent;
use crate::ca::init::{self, Made};
use crate::ca::{Authority, Draft, Signer};
use crate::config::{CaSource, Config, Passphrase};
use crate::policy;
use crate::random::Random;
use crate::store::Store;
use crate::time::{Clock, Timestamp};

/// The port that ssh clients take without being told; known_hosts names it never.
const SSH_PORT: u16 = 22;
/// Largest public key file, in bytes.
const KEY_BYTES_MAX: u64 = 64 * 1024;
/// Where the printed lines tell targets to keep the key of the target CA.
const TARGET_CA_FILE: &str = "/etc/ssh/caponier_target_ca.pub";

/// `caponier ca ...`
#[derive(Debug, Args)]
pub struct CaArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the three authorities: user_ca, target_ca and host_ca
    Init(InitArgs),
    /// Print the public keys as lines for targets and clients
    Show(ShowArgs),
    /// Sign a target's host key, so that nobody has to trust it on first use
    SignHost(SignHostArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Keep the private keys without a passphrase; the configuration must say `plain = true` under `ca` as well
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct ShowArgs {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Print only the user CA's public key
    #[arg(long)]
    user_ca: bool,
    /// Print only the target CA's public key, for the file behind TrustedUserCAKeys
    #[arg(long)]
    target_ca: bool,
    /// Print only the host CA's public key
    #[arg(long)]
    host_ca: bool,
}

#[derive(Debug, Args)]
struct SignHostArgs {
    /// The target's public host key, e.g. ssh_host_ed25519_key.pub; `-` reads it from standard input
    pubkey_file: PathBuf,
    /// A name by which the target is known; give it several times for several names
    #[arg(long = "name", required = true, value_name = "NAME")]
    names: Vec<String>,
    /// For how many days
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=90))]
    days: u64,
    /// Where to write the certificate, `-` for standard output [default: next to the key, as ...-cert.pub]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs one of the commands. What is for the user goes to `out`; `open_store` is called only by `sign-host`, which
/// writes an audit entry. Errors say what to do.
pub async fn run(
    args: CaArgs,
    config: &Config,
    open_store: impl AsyncFnOnce() -> anyhow::Result<Store>,
    clock: &Clock,
    random: &Random,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Init(args) => make(&args, config, random, out)?,
        Command::Show(args) => show(&args, config, out)?,
        Command::SignHost(args) => {
            let now = clock.now();
            let record = async |event| record(open_store().await?, now, event).await;
            sign_host(&args, config, record, now, random, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn record(store: Store, now: Timestamp, event: AuditEvent) -> anyhow::Result<()> {
    store.note(now, event).await?;
    Ok(())
}

fn make(args: &InitArgs, config: &Config, random: &Random, out: &mut dyn Write) -> anyhow::Result<()> {
    let dir = &config.ca.dir;
    let source = match &config.ca.source {
        CaSource::Files(source) => source,
        CaSource::Agent(socket) => bail!(
            "the configuration says that an ssh-agent at {} holds the keys, so there are no key files to make here. \
             Make them with a configuration that has a passphrase, load each with ssh-add, \
             and leave only user_ca.pub, target_ca.pub and host_ca.pub in {}",
            socket.display(),
            dir.display()
        ),
    };
    match (source, args.plain) {
        (Passphrase::Plain, false) => bail!(
            "the configuration says plain = true under [ca]: whoever reads the files in {} can sign anything. \
             If that is what you want, run: caponier ca init --plain. \
             Otherwise set passphrase_file, passphrase_env or passphrase_credential instead",
            dir.display()
        ),
        (Passphrase::Plain, true)
        | (Passphrase::File(_) | Passphrase::Env(_) | Passphrase::Credential(_), false) => {}
        (Passphrase::File(_) | Passphrase::Env(_) | Passphrase::Credential(_), true) => bail!(
            "--plain contradicts the configuration, which has a passphrase under [ca]. \
             Leave --plain out, or set plain = true there instead of the passphrase"
        ),
    }
    if let Passphrase::File(path) = source
        && !path.exists()
    {
        let word = crate::ca::quoted(path);
        bail!(
            "the passphrase file {} does not exist. Create it, for example with:\n  \
             (umask 077 && head -c 32 /dev/urandom | base64 > {word})\n\
             then run this again. Keep a copy in a safe place: without it the CA keys are lost",
            path.display()
        );
    }
    let passphrase = crate::ca::passphrase(source, |name| std::env::var_os(name))?;
    let made = init::init(dir, passphrase.as_ref(), random)?;
    writeln!(out, "Made three authorities in {}:", dir.display())?;
    for authority in Authority::ALL {
        let fingerprint = made.public_key(authority).fingerprint(Default::default());
        writeln!(out, "  {:<10} {fingerprint}", authority.file_name())?;
    }
    writeln!(out, "Next: caponier ca show prints the lines for targets and clients.")?;
    Ok(())
}

fn show(args: &ShowArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let dir = &config.ca.dir;
    let made = init::made(dir).with_context(|| {
        format!("the authorities in {} cannot be read; caponier ca init makes them", dir.display())
    })?;
    let only = [
        (args.user_ca, Authority::User),
        (args.target_ca, Authority::Target),
        (args.host_ca, Authority::Host),
    ];
    if let Some((_, authority)) = only.iter().find(|(wanted, _)| *wanted) {
        writeln!(out, "{}", made.public_key(*authority).to_openssh()?)?;
        return Ok(());
    }
    let patterns = known_hosts_patterns(config);
    let host_ca = made.public_key(Authority::Host).to_openssh()?;
    let known_hosts = format!("@cert-authority {} {host_ca}", patterns.join(","));
    if args.json { show_json(&made, &known_hosts, out) } else { show_text(&made, dir, &known_hosts, out) }
}

fn show_json(made: &Made, known_hosts: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let one = |authority| -> anyhow::Result<serde_json::Value> {
        let key = made.public_key(authority);
        let fingerprint = key.fingerprint(Default::default()).to_string();
        Ok(serde_json::json!({ "public_key": key.to_openssh()?, "fingerprint": fingerprint }))
    };
    let all = serde_json::json!({
        "user_ca": one(Authority::User)?,
        "target_ca": one(Authority::Target)?,
        "host_ca": one(Authority::Host)?,
        "known_hosts": known_hosts,
    });
    writeln!(out, "{all:#}")?;
    Ok(())
}

/// Everything but the lines to copy is a comment, so that the text may go into the files as it is.
fn show_text(made: &Made, dir: &Path, known_hosts: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let trust = |authority| match authority {
        Authority::User => "signs people's certificates; trusted by this bastion only",
        Authority::Target => "signs one certificate per session; trusted by the targets",
        Authority::Host => "signs host certificates; trusted by the clients and by this bastion",
    };
    writeln!(out, "# The authorities in {}:", dir.display())?;
    for authority in Authority::ALL {
        let fingerprint = made.public_key(authority).fingerprint(Default::default());
        writeln!(out, "#   {:<9} {fingerprint}  {}", authority.file_name(), trust(authority))?;
    }
    let target_ca = made.public_key(Authority::Target).to_openssh()?;
    writeln!(
        out,
        "\n# On every target, this line into {TARGET_CA_FILE}:\n{target_ca}\n\
         # and these two into /etc/ssh/sshd_config (the certificate comes from: caponier ca sign-host):\n\
         #   TrustedUserCAKeys {TARGET_CA_FILE}\n\
         #   HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n\n\
         # On clients, this line into known_hosts (caponier ssh-config writes it by itself):\n{known_hosts}"
    )?;
    Ok(())
}

/// The bastion's own names, and those that clients send through it: what the configuration says, else the names of
/// the policy's targets. Never everything: a host CA trusted for `*` could stand in for every host of the world.
fn known_hosts_patterns(config: &Config) -> Vec<String> {
    let port = config.ssh.public_port;
    let bastion = config.ssh.host_names.iter().map(|name| match port {
        SSH_PORT => name.clone(),
        port => format!("[{name}]:{port}"),
    });
    let through = if config.ssh.client_patterns.is_empty() {
        // A policy that does not load is told of by `config check`; the bastion's own line is right without it.
        let policy = policy::file::load(&config.policy_file).unwrap_or_default();
        policy.targets.keys().map(ToString::to_string).collect()
    } else {
        config.ssh.client_patterns.clone()
    };
    bastion.chain(through).collect()
}

/// Where a certificate goes.
#[derive(Debug, PartialEq, Eq)]
enum Destination {
    Stdout,
    File(PathBuf),
}

async fn sign_host(
    args: &SignHostArgs,
    config: &Config,
    record: impl AsyncFnOnce(AuditEvent) -> anyhow::Result<()>,
    now: Timestamp,
    random: &Random,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let key = read_public_key(&args.pubkey_file)?;
    let life = Duration::from_secs(args.days * 24 * 3600);
    let key_id = format!("host {}", args.names.first().map(String::as_str).unwrap_or_default());
    let draft = Draft::host(&key, random.u64(), &key_id, &args.names, now, life)?;
    // Opened before the entry is written, so that a wrong passphrase leaves no trace of a certificate that never was.
    let signer = Signer::open(&config.ca).await?;
    let event = AuditEvent::HostCertificateIssued {
        principals: draft.principals().to_vec(),
        serial: draft.serial(),
        valid_before: draft.valid_before().as_secs(),
    };
    record(event).await.context("the audit entry could not be written, so nothing was signed")?;
    let mut certificate = signer.sign(&draft, random, now).await?;
    certificate.set_comment(key.comment().as_str_lossy());
    let line = format!("{}\n", certificate.to_openssh()?);
    match destination(args) {
        Destination::Stdout => out.write_all(line.as_bytes())?,
        Destination::File(path) => {
            replace(&path, line.as_bytes(), random).with_context(|| format!("writing {}", path.display()))?;
            writeln!(
                out,
                "# Wrote {}: a host certificate for {}, valid until {}, serial {}.\n\
                 # On the target, in /etc/ssh/sshd_config:\nHostCertificate {}",
                path.display(),
                draft.principals().join(", "),
                draft.valid_before(),
                draft.serial(),
                place_on_target(&path).display()
            )?;
        }
    }
    Ok(())
}

fn read_public_key(path: &Path) -> anyhow::Result<PublicKey> {
    let mut text = String::new();
    let shown = if path == "-" { "standard input".to_owned() } else { path.display().to_string() };
    let read = if path == "-" {
        std::io::stdin().take(KEY_BYTES_MAX).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("reading {shown}"))?;
    if text.contains("PRIVATE KEY") {
        bail!("{shown} is a private key, and should not leave its machine; give the public key, {shown}.pub");
    }
    if Certificate::from_openssh(&text).is_ok() {
        bail!("{shown} is itself a certificate; give the plain public key it was made for");
    }
    PublicKey::from_openssh(text.trim()).with_context(|| {
        format!("{shown} is not a public key in OpenSSH's format (on the target: /etc/ssh/ssh_host_ed25519_key.pub)")
    })
}

/// As `ssh-keygen -s`: `key.pub` becomes `key-cert.pub`. A key from standard input goes to standard output.
fn destination(args: &SignHostArgs) -> Destination {
    match &args.out {
        Some(path) if path == "-" => Destination::Stdout,
        Some(path) => Destination::File(path.clone()),
        None if args.pubkey_file.as_path() == "-" => Destination::Stdout,
        None => {
            let name = args.pubkey_file.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.strip_suffix(".pub").unwrap_or(&name);
            Destination::File(args.pubkey_file.with_file_name(format!("{stem}-cert.pub")))
        }
    }
}

/// sshd wants the path on the target: where the file is when it was signed there, else where host keys are.
fn place_on_target(path: &Path) -> PathBuf {
    if path.starts_with("/etc") {
        path.into()
    } else {
        Path::new("/etc/ssh").join(path.file_name().unwrap_or_default())
    }
}

/// Puts the text at `path` in one step: a reader sees the old certificate or the new one, never half of it.
fn replace(path: &Path, text: &[u8], random: &Random) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new-{:016x}", random.u64()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    let written =
        file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // The first failure is the one to tell; a leftover harms nobody.
        drop(std::fs::remove_file(&beside));
    }
    written
}

#[cfg(test)]
mod tests;
