//! `caponier ci login`: a job's login. The order carries the safety: pin before anything is sent, folder and agent before the
//! token (nobody asks for one for nothing), the server's answer judged before a file is written, and whatever fails is undone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use russh::keys::ssh_key::{Certificate, PublicKey};

use super::ask;
use super::exchange::{self, Ready};
use super::folder::Folder;
use super::look;
use super::pin::{self, Pin};
use super::told::{self, Told};
use super::{done, told::Form};
use crate::cli::Environment;
use crate::cli::client::agent::Agent;
use crate::cli::client::certificate;
use crate::cli::client::home::{self, Home};
use crate::cli::client::requests::span;
use crate::cli::client::settings::Settings;
use crate::cli::client::sign::Key;
use crate::cli::client::ssh_config::{self, Places};
use crate::cli::client::state::{KeyPlace, SignedIn, State};
use crate::cli::terminal::{plain, say};
use crate::identity::run::Platform;
use crate::names::{LoginName, ServiceName};
use crate::time::Clock;
use crate::web::api::CertificateRequest;
use crate::web::api::workloads::ExchangeAnswer;

/// Shortest certificate that may be asked for.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// Sign this job in with its platform's token, and set up ssh for this run only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The platform is found by itself: GitHub Actions (permissions: id-token: write), GitLab (id_tokens:
CAPONIER_ID_TOKEN), Forgejo (enable-openid-connect: true), Buildkite, CircleCI, a pod with a
projected token. The key lives in an ssh-agent of the job's own, the rest in a folder of its own
below the runner's temporary one; `caponier ci done` ends and removes all of it.

Examples:
  caponier ci login https://bastion.example --ca-fingerprint SHA256:...
  caponier ci login --dry-run                        which rule fits, and why another does not
  caponier ci login --wait 15m --target web1         ask people for what needs it, and wait for them
  caponier ci login --service backup --key /etc/backup/id_ed25519
  ssh -F \"$RUNNER_TEMP/caponier/ssh_config\" deploy@web1

Exit codes:
  0   signed in; with --dry-run: a certificate would be issued
  1   failed or refused; one line says why. With --wait: denied
  2   wrong usage
  75  nobody decided within --wait; the request is withdrawn")]
pub struct Args {
    /// The server's address [default: $CAPONIER_SERVER]
    #[arg(value_name = "SERVER_URL")]
    pub(super) server: Option<String>,
    /// The host CA that the server must have; several with commas while it changes [default: $CAPONIER_CA_FINGERPRINT]
    #[arg(long, value_name = "SHA256:...", value_delimiter = ',')]
    pub(super) ca_fingerprint: Vec<Pin>,
    /// github, gitlab, forgejo, buildkite, circleci, kubernetes or oidc [default: what the environment shows]
    #[arg(long, value_name = "NAME")]
    pub(super) platform: Option<Platform>,
    /// The server's issuer, where it has several of the platform
    #[arg(long, value_name = "NAME")]
    pub(super) issuer: Option<String>,
    /// The audience of the token, where the server wants another than its own address
    #[arg(long, value_name = "AUDIENCE")]
    pub(super) audience: Option<String>,
    /// The token is in this variable [GitLab's default: CAPONIER_ID_TOKEN]
    #[arg(long, value_name = "VARIABLE", conflicts_with = "token_file")]
    pub(super) token_env: Option<String>,
    /// The token is in this file
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Sign in as this service account instead, for machines without a token
    #[arg(long, value_name = "NAME", requires = "key", conflicts_with_all = ["platform", "issuer", "audience", "token_env", "token_file"])]
    pub(super) service: Option<ServiceName>,
    /// Its registered key: the private key, or the public key of one in the ssh-agent
    #[arg(long, value_name = "FILE", requires = "service")]
    pub(super) key: Option<PathBuf>,
    /// Only these logins
    #[arg(long, value_name = "LOGIN", value_delimiter = ',')]
    principals: Vec<LoginName>,
    /// Certificates of at most so long, such as 2m
    #[arg(long, value_name = "TIME", value_parser = life)]
    pub(super) life: Option<Duration>,
    /// Issue nothing; tell which rule fits, and why others for the same repository do not
    #[arg(long)]
    dry_run: bool,
    /// Ask for what people must approve, and wait at most so long
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(super) wait: Option<Duration>,
    /// Ask for this role
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Option<String>,
    /// Ask for this target; repeat it for several [default: all of the role]
    #[arg(long = "target", value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// Ask for so long, such as 30m
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(super) length: Option<Duration>,
    /// Why, on one line [default: where the run can be looked at]
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// The job's folder [default: below the runner's temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Trust only these certificates (PEM) for the server's TLS
    #[arg(long, value_name = "PEM")]
    pub(super) ca_file: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

impl Args {
    /// The logins that it shall be narrowed to.
    pub(super) fn principals(&self) -> Option<Vec<String>> {
        (!self.principals.is_empty()).then(|| self.principals.iter().map(LoginName::to_string).collect())
    }
}

fn life(text: &str) -> Result<Duration, String> {
    let life = span(text)?;
    if life < LIFE_MIN { Err("a certificate lives 10s at least".to_owned()) } else { Ok(life) }
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let ready = Ready::find(args, env)?;
    let pinned = ready.pinned()?;
    let private = exchange::new_key()?;
    let key = Key::Held(Box::new(private));
    if args.dry_run {
        let request = ready.request(&pinned, &key)?;
        let look = ready.runtime.block_on(ready.api.look(&key, &request))?;
        return look::show(&look, args.json);
    }
    let dir = done::dir(args.dir.as_deref(), env);
    if let Some(earlier) = Folder::find(&dir)? {
        say("caponier: an earlier login of this job is ended first");
        done::end(earlier, env)?;
    }
    let folder = Folder::claim(&dir)?;
    let signed_in = folder.start_agent(env).map_err(anyhow::Error::from).and_then(|()| {
        // Asked now, so that nobody signs in to a folder that ssh cannot be told of.
        let places = Places::find(folder.home(), env)?;
        let request = ready.request(&pinned, &key)?;
        let answer = ready.runtime.block_on(ready.api.exchange(&key, &request)).context(REFUSED)?;
        keep(&ready, args, folder.home(), &places, &key, &answer).inspect_err(|_| {
            // What cannot be used should not live on at the server; the first error is the one to tell.
            drop(ready.runtime.block_on(ready.api.done(&key)));
        })?;
        Ok(answer)
    });
    let answer = match signed_in {
        Ok(answer) => answer,
        Err(e) => {
            folder.end_agent();
            if let Err(left) = folder.remove() {
                say(format_args!("caponier: warning: {left}"));
            }
            return Err(e);
        }
    };
    drop(key);
    let code = ask::ask(args, folder.home(), &answer, env)?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let form = if args.json { Form::Json } else { Form::Line };
    told::tell(&Told::read(folder.home(), &answer)?, form, env)?;
    Ok(ExitCode::SUCCESS)
}

const REFUSED: &str = "no certificate (--dry-run shows which rules there are, and what does not fit)";

/// Judges the answer, hands the key to the agent, and writes everything, `client.json` last.
fn keep(
    ready: &Ready<'_>,
    args: &Args,
    home: &Home,
    places: &Places,
    key: &Key,
    answer: &ExchangeAnswer,
) -> anyhow::Result<()> {
    let settings = Settings::check(&answer.certificate.ssh)?;
    // The one that ssh will believe.
    pin::check(settings.host_ca(), &ready.pins)?;
    let now = Clock::System.now();
    let certificate = certificate::accept(&answer.certificate.certificate, key.public(), now)?;
    narrow(args, &certificate)?;
    let sign_in = SignedIn {
        id: plain(&answer.sign_in.sign_in, 64),
        who: plain(&answer.sign_in.who, 400),
        display: plain(&answer.sign_in.display, 128),
        expires: answer.sign_in.expires,
        key: KeyPlace::Own,
    };
    anyhow::ensure!(
        sign_in.expires() > now,
        "the sign-in would end at {}, but this machine's clock says {now}; set the clock",
        sign_in.expires()
    );
    let left = sign_in.expires().since(now).as_secs().max(1);
    let server = ready.api.server().as_str().trim_end_matches('/').to_owned();
    let mut state = State::new(server, ready.ca_pem.clone(), settings.to_wire(), sign_in);
    state.narrowed =
        CertificateRequest { principals: args.principals(), life: args.life.map(|life| life.as_secs()) };
    let _lock = home.lock()?;
    if let Key::Held(private) = key {
        let lifetime = u32::try_from(left).unwrap_or(u32::MAX);
        Agent::connect(&home.path(home::SOCKET))?.add(private, "caponier", lifetime)?;
    }
    let public = PublicKey::new(key.public().key_data().clone(), "caponier");
    home.write(home::PUBLIC_KEY, &format!("{}\n", public.to_openssh()?))?;
    home.write(home::CERTIFICATE, &format!("{}\n", certificate.to_openssh()?))?;
    ssh_config::write(home, &settings, places, &state.server, state.key_place())?;
    state.save(home)
}

/// The server must have kept to what was asked for.
fn narrow(args: &Args, certificate: &Certificate) -> anyhow::Result<()> {
    let Some(wanted) = args.principals() else { return Ok(()) };
    let more = certificate.valid_principals().iter().find(|one| !wanted.contains(one));
    match more {
        None => Ok(()),
        Some(more) => {
            anyhow::bail!("the server's certificate is for {:?} too, against --principals", plain(more, 64))
        }
    }
}
