//! `caponier login`: binds the SSH key to a sign-in, gets the first certificate, sets up ssh. Everything the server
//! says is judged first; files are written at the end, all under the lock, so a login that fails changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use russh::keys::ssh_key::{Algorithm, Certificate, Fingerprint, HashAlg, LineEnding, PrivateKey, PublicKey};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::HomeArgs;
use super::agent::Agent;
use super::api::{self, Api, ApiError};
use super::certificate;
use super::home::{self, Home};
use super::include;
use super::loopback::{Brought, Loopback};
use super::settings::Settings;
use super::sign::Key;
use super::ssh_config::{self, Places};
use super::state::{self, KeyPlace, SignedIn, State};
use crate::cli::Environment;
use crate::cli::terminal::{plain, say, span};
use crate::random::Random;
use crate::time::{Clock, Timestamp};
use crate::web::api::{
    BeginAnswer, BeginRequest, CertificateRequest, FinishRequest, SignInAnswer, SignInMode,
};

/// Longest wait for the browser, whatever the server says.
const PATIENCE_MAX_SECS: u64 = 1800;
/// Added to the polling interval when the server says that we ask too often (RFC 8628 section 3.5).
const SLOW_DOWN_SECS: u64 = 5;

/// Sign in with your identity provider, and set up ssh.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  caponier login https://bastion.example      the first time
  caponier login                              again, at the same server
  caponier login --device                     on a machine without a browser
  caponier login --agent                      keep the private key in the ssh-agent only")]
pub struct Args {
    /// The server's address; may be left out after the first time
    #[arg(value_name = "SERVER_URL")]
    server: Option<String>,
    /// Show a code to confirm in a browser on another machine
    #[arg(long)]
    device: bool,
    /// Keep the private key in the ssh-agent only, until the sign-in ends
    #[arg(long)]
    agent: bool,
    /// Go to this identity provider without asking
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Print the address instead of opening a browser
    #[arg(long)]
    no_browser: bool,
    /// Trust only these certificates (PEM) for the server's TLS, now and later
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// Leave ~/.ssh/config alone
    #[arg(long)]
    no_ssh_config: bool,
    #[command(flatten)]
    home: HomeArgs,
}

/// What a login will have written, once all of it is known to be right.
struct Outcome {
    sign_in: SignedIn,
    settings: Settings,
    certificate: Result<Certificate, String>,
}

/// Runs it.
pub fn run(args: &Args, env: &Environment) -> anyhow::Result<ExitCode> {
    let home = args.home.locate(env)?;
    home.create()?;
    let places = Places::find(&home, env)?;
    let before = State::load(&home)?;
    let (server, ca_pem) = server(args, before.as_ref())?;
    if args.agent {
        // Asked now, so that nobody signs in for nothing.
        Agent::connect(&state::agent_socket(env)?)?;
    }
    let private = match state::private_key(&home)? {
        Some(key) if !args.agent && key.algorithm() == Algorithm::Ed25519 => key,
        _ => Random::System
            .with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519))
            .context("a new key")?,
    };
    let key = Key::Held(Box::new(private.clone()));
    let api = Api::new(server.clone(), ca_pem.as_deref())?;
    let runtime = crate::cli::runtime()?;
    let outcome = runtime.block_on(sign_in(args, env, &api, &key))?;

    let state = State::new(
        server.as_str().trim_end_matches('/').to_owned(),
        ca_pem,
        outcome.settings.to_wire(),
        outcome.sign_in.clone(),
    );
    let earlier = Earlier::find(&home, env, before.as_ref(), &server, &key);
    let kept = keep(&home, env, &places, &state, &private, &outcome);
    if let Err(e) = kept {
        // What cannot be used should not live on at the server; the first error is the one to tell.
        drop(runtime.block_on(api.end(&key)));
        return Err(e);
    }
    if let Some(earlier) = earlier {
        earlier.end(&runtime);
    }
    tell(&outcome);
    if let Some(before) = &before {
        outcome.settings.changes(&before.ssh).iter().for_each(|change| say(format_args!("{change}")));
    }
    if !args.no_ssh_config {
        include_in_ssh(&home, env, &places);
    }
    what_next(&outcome);
    Ok(ExitCode::SUCCESS)
}

fn server(args: &Args, before: Option<&State>) -> anyhow::Result<(Url, Option<String>)> {
    let server = match (&args.server, before) {
        (Some(text), _) => api::server_url(text)?,
        (None, Some(before)) => api::server_url(&before.server)?,
        (None, None) => bail!("which server? run: caponier login https://YOUR-BASTION"),
    };
    let ca_pem = match &args.ca_file {
        Some(file) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("--ca-file {}", file.display()))?)
        }
        None => before
            .filter(|before| api::server_url(&before.server).is_ok_and(|known| known == server))
            .and_then(|before| before.ca_pem.clone()),
    };
    Ok((server, ca_pem))
}

/// From begin to the first certificate. Writes nothing.
async fn sign_in(args: &Args, env: &Environment, api: &Api, key: &Key) -> anyhow::Result<Outcome> {
    let answer = if args.device {
        by_device(args, env, api, key).await
    } else {
        by_loopback(args, env, api, key).await
    }?;
    let now = Clock::System.now();
    let settings = Settings::check(&answer.ssh)?;
    anyhow::ensure!(
        answer.expires > now.as_secs(),
        "the sign-in would end at {}, but this machine's clock says {now}; set the clock",
        Timestamp::from_secs(answer.expires)
    );
    let sign_in = SignedIn {
        id: plain(&answer.sign_in, 64),
        who: plain(&answer.who, 400),
        display: plain(&answer.display, 128),
        expires: answer.expires,
        key: if args.agent { KeyPlace::Agent } else { KeyPlace::File },
    };
    match api.certificate(key, &CertificateRequest::default()).await {
        Ok(issued) => {
            let settings = Settings::check(&issued.ssh)?;
            let certificate = certificate::accept(&issued.certificate, key.public(), Clock::System.now())?;
            Ok(Outcome { sign_in, settings, certificate: Ok(certificate) })
        }
        // Signed in, but the policy allows nothing (yet): a state to be in, not a failed login.
        Err(ApiError::Refused { code, message }) if code == "no-access" => {
            Ok(Outcome { sign_in, settings, certificate: Err(message) })
        }
        Err(e) => Err(e).context("signed in, but the first certificate did not come"),
    }
}

/// The browser is on this machine: it is sent back to our listener with a code.
async fn by_loopback(args: &Args, env: &Environment, api: &Api, key: &Key) -> anyhow::Result<SignInAnswer> {
    let listener = Loopback::bind().await.context("cannot listen on 127.0.0.1 for the browser")?;
    let verifier = Random::System.token();
    let request = BeginRequest {
        mode: SignInMode::Loopback,
        port: Some(listener.port()),
        challenge: Some(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))),
        client: machine_name(env),
        provider: args.provider.clone(),
    };
    let begun = api.begin(key, &request).await?;
    let url = browser_url(&begun, api)?;
    let patience = patience(&begun);
    if args.no_browser || !open_browser(&url, env) {
        say("Open this address in a browser on this machine (elsewhere use `caponier login --device`):");
    } else {
        say("Your browser opens. If it does not, open this address:");
    }
    say(format_args!(
        "\n    {url}\n\nIt shows the key that you sign in:\n\n    {}\n\nWaiting for the sign-in ({} at most) ...",
        fingerprint(key),
        span(patience.as_secs())
    ));
    let arrival = listener
        .wait(&begun.id, patience)
        .await?
        .context("nobody signed in within that time; run it again")?;
    let code = match &arrival.brought {
        Brought::Code(code) => code.clone(),
        Brought::Failure(why) => {
            let why = plain(why, 300);
            page(arrival.answer("Not signed in", &format!("{why}. You can close this page.")).await);
            bail!("the sign-in did not succeed: {why}");
        }
    };
    let request = FinishRequest { id: begun.id.clone(), code: Some(code), verifier: Some(verifier) };
    let finished = poll(api, key, &request, Duration::from_secs(1), Duration::from_secs(30)).await;
    let (title, text) = match &finished {
        Ok(_) => ("Signed in", "You can close this page and go back to the terminal.".to_owned()),
        Err(e) => ("Not signed in", format!("{e:#}. You can close this page.")),
    };
    page(arrival.answer(title, &text).await);
    finished
}

/// The page in the browser is a courtesy; that it did not get there changes nothing.
fn page(sent: std::io::Result<()>) {
    if let Err(e) = sent {
        tracing::debug!(error = %e, "the browser went away before its page");
    }
}

/// The browser is elsewhere: the person confirms a code there, we ask until it is done.
async fn by_device(args: &Args, env: &Environment, api: &Api, key: &Key) -> anyhow::Result<SignInAnswer> {
    let request = BeginRequest {
        mode: SignInMode::Device,
        port: None,
        challenge: None,
        client: machine_name(env),
        provider: args.provider.clone(),
    };
    let begun = api.begin(key, &request).await?;
    let url = browser_url(&begun, api)?;
    let code = begun.user_code.as_deref().unwrap_or_default();
    anyhow::ensure!(
        (4..=16).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "the server sent no usable code"
    );
    let patience = patience(&begun);
    say(format_args!(
        "On any machine with a browser, open\n\n    {url}\n\nand enter the code\n\n    {code}\n\n\
         The page shows the key that you sign in:\n\n    {}\n\nWaiting for the confirmation ({} at most) ...",
        fingerprint(key),
        span(patience.as_secs())
    ));
    let request = FinishRequest { id: begun.id.clone(), code: None, verifier: None };
    poll(api, key, &request, Duration::from_secs(begun.interval.clamp(1, 60)), patience).await
}

/// Asks until the sign-in is finished. A network that is away for a moment does not end it; a refusal does.
async fn poll(
    api: &Api,
    key: &Key,
    request: &FinishRequest,
    mut interval: Duration,
    patience: Duration,
) -> anyhow::Result<SignInAnswer> {
    let asking = async {
        loop {
            match api.finish(key, request).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(ApiError::Unreachable { server, why }) => {
                    say(format_args!("caponier: cannot reach {server}: {why}; still trying"));
                }
                Err(e) if e.has_code("limit") => interval += Duration::from_secs(SLOW_DOWN_SECS),
                Err(e) => return Err(anyhow::Error::from(e).context("the sign-in did not succeed")),
            }
            tokio::time::sleep(interval).await;
        }
    };
    match tokio::time::timeout(patience, asking).await {
        Ok(answer) => answer,
        Err(_) => bail!("nobody signed in within that time; run it again"),
    }
}

/// As the server's page shows it, to compare.
fn fingerprint(key: &Key) -> Fingerprint {
    key.public().fingerprint(HashAlg::Sha256)
}

fn patience(begun: &BeginAnswer) -> Duration {
    Duration::from_secs(begun.expires_in.clamp(1, PATIENCE_MAX_SECS))
}

/// The address for the browser: a page of the very server that we talk to, never of another one, a file or another
/// program's scheme.
fn browser_url(begun: &BeginAnswer, api: &Api) -> anyhow::Result<Url> {
    let url = Url::parse(&begun.url).ok().filter(|url| url.origin() == api.server().origin());
    url.with_context(|| {
        let said = plain(&begun.url, 200);
        format!("the server sent an address that is not one of its own pages ({said}); nothing was opened")
    })
}

/// Opens the browser. False when there is certainly none to open.
fn open_browser(url: &Url, env: &Environment) -> bool {
    let has_display = env.get("DISPLAY").is_some() || env.get("WAYLAND_DISPLAY").is_some();
    if cfg!(target_os = "linux") && !has_display {
        return false;
    }
    open::that_detached(url.as_str()).is_ok()
}

/// This machine's name as it calls itself, for the page that confirms.
fn machine_name(env: &Environment) -> String {
    let said = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| env.get("HOSTNAME").map(str::to_owned))
        .or_else(|| {
            let out = std::process::Command::new("uname").arg("-n").output().ok()?;
            String::from_utf8(out.stdout).ok()
        })
        .unwrap_or_default();
    let name: String =
        said.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).take(64).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// A sign-in that this login takes the place of here, but not at its server: that is another one, or it knows another
/// key. It would live on there for hours, with nobody left who could end it.
struct Earlier {
    state: State,
    key: Key,
}

impl Earlier {
    fn find(home: &Home, env: &Environment, before: Option<&State>, server: &Url, key: &Key) -> Option<Self> {
        let state = before?.clone();
        let sign_in = state.sign_in.as_ref()?;
        let earlier = match state::key(home, sign_in.key, env) {
            Ok(earlier) => earlier,
            Err(e) => {
                tracing::debug!(error = %e, "the earlier key is gone");
                return None;
            }
        };
        let is_replaced = earlier.public().key_data() == key.public().key_data()
            && api::server_url(&state.server).is_ok_and(|known| known == *server);
        let is_over = sign_in.expires() <= Clock::System.now();
        (!is_replaced && !is_over).then_some(Self { state, key: earlier })
    }

    /// Ends it. A server that does not answer is told of; the new login stands.
    fn end(self, runtime: &tokio::runtime::Runtime) {
        let Self { state, key } = self;
        let ended = api::server_url(&state.server)
            .and_then(|server| Api::new(server, state.ca_pem.as_deref()))
            .and_then(|api| match runtime.block_on(api.end(&key)) {
                Err(e) if e.is_signed_out() => Ok(()),
                other => other,
            });
        if let Err(e) = ended {
            let server = plain(&state.server, 200);
            say(format_args!(
                "caponier: your earlier sign-in at {server} was not ended: {e}; it ends by itself"
            ));
        }
        if let Key::Agent { public, socket } = &key
            && let Err(e) = Agent::connect(socket).and_then(|mut agent| agent.remove(public))
        {
            tracing::debug!(error = %e, "the earlier key was not in the agent");
        }
    }
}

/// Writes everything, `client.json` last: until it is there, nothing counts as signed in.
fn keep(
    home: &Home,
    env: &Environment,
    places: &Places,
    state: &State,
    private: &PrivateKey,
    outcome: &Outcome,
) -> anyhow::Result<()> {
    let _lock = home.lock()?;
    let public = PublicKey::new(private.public_key().key_data().clone(), "caponier");
    if state.key_place() == KeyPlace::Agent {
        let left = outcome.sign_in.expires().since(Clock::System.now()).as_secs().max(1);
        let lifetime = u32::try_from(left).unwrap_or(u32::MAX);
        Agent::connect(&state::agent_socket(env)?)?.add(private, "caponier", lifetime)?;
        home.remove(home::KEY)?;
    } else {
        home.write(home::KEY, &private.to_openssh(LineEnding::LF)?)?;
    }
    home.write(home::PUBLIC_KEY, &format!("{}\n", public.to_openssh()?))?;
    match &outcome.certificate {
        Ok(certificate) => home.write(home::CERTIFICATE, &format!("{}\n", certificate.to_openssh()?))?,
        Err(_) => home.remove(home::CERTIFICATE)?,
    }
    ssh_config::write(home, &outcome.settings, places, &state.server, state.key_place())?;
    home.remove(home::FAILURE)?;
    state.save(home)
}

fn tell(outcome: &Outcome) {
    let SignedIn { who, display, expires, .. } = &outcome.sign_in;
    let left = span(expires.saturating_sub(Clock::System.now().as_secs()));
    say(format_args!("Signed in as {display} ({who}) for {left}."));
    match &outcome.certificate {
        Ok(certificate) => {
            say(format_args!(
                "You may log in as: {}",
                plain(&certificate.valid_principals().join(", "), 1000)
            ));
        }
        Err(message) => say(format_args!("There is nothing you may reach yet: {message}")),
    }
}

/// Adds the Include. A failure is told, with the line to add by hand, and does not undo the login.
fn include_in_ssh(home: &Home, env: &Environment, places: &Places) {
    let line = places.include_line();
    let installed = match env.get("HOME") {
        Some(user_home) => include::install(Path::new(user_home), &line, &home.path(home::SSH_CONFIG)),
        None => {
            say(format_args!(
                "HOME is not set; add this line to the top of your ssh configuration:\n    {line}"
            ));
            return;
        }
    };
    match installed {
        Ok(include::Included::Already) => {}
        Ok(include::Included::Added(file)) => {
            say(format_args!("Added to the top of {}:\n    {line}", file.display()));
        }
        Err(e) => say(format_args!(
            "caponier: {e}; ssh is not set up: add this line to the top of ~/.ssh/config\n    {line}"
        )),
    }
}

fn what_next(outcome: &Outcome) {
    let settings = &outcome.settings;
    let named = settings.patterns().iter().find(|pattern| !pattern.contains(['*', '?']));
    match (named, settings.patterns()) {
        _ if outcome.certificate.is_err() => {}
        (Some(host), _) => say(format_args!("Next: ssh {host}")),
        (None, [pattern, ..]) => say(format_args!("Next: ssh HOST, with a HOST like {pattern}")),
        (None, []) => say(format_args!("Next: ssh -J {} HOST", settings.host())),
    }
}
