//! From the command line and the environment to the request that a login or a look sends: which platform, which server, whose
//! pin, which issuer, which token. Nothing goes to the server before its host CA has shown to be the pinned one; as others can show
//! that one, too, `token` lets out only what is for this server alone.

use std::path::Path;

use anyhow::{Context as _, bail};
use russh::keys::ssh_key::{Algorithm, PrivateKey};
use tokio::runtime::Runtime;
use url::Url;

use super::account;
use super::login::Args;
use super::pin::{self, Pin};
use super::platform;
use super::token::{Said, Source};
use crate::cli::Environment;
use crate::cli::client::api::{self, Api};
use crate::cli::client::sign::Key;
use crate::cli::terminal::{plain, print, say};
use crate::identity::run::Platform;
use crate::names::ServiceName;
use crate::random::Random;
use crate::time::Clock;
use crate::web::api::workloads::{ExchangeRequest, IssuerAnswer, WorkloadSettings};

/// Where the server's address stands unless the command line says it.
const SERVER: &str = "CAPONIER_SERVER";

/// Who shows what.
enum Way<'a> {
    Token { platform: Platform, source: Source<'a>, audience: Option<&'a str> },
    Service { account: &'a ServiceName, registered: Key },
}

/// Everything that is known before the server is asked.
pub(super) struct Ready<'a> {
    way: Way<'a>,
    args: &'a Args,
    pub(super) api: Api,
    pub(super) ca_pem: Option<String>,
    pub(super) pins: Vec<Pin>,
    pub(super) runtime: Runtime,
}

/// A server whose host CA is a pinned one.
pub(super) struct Pinned {
    issuer: Option<IssuerAnswer>,
}

impl<'a> Ready<'a> {
    /// Reads command line and environment; asks nobody.
    pub(super) fn find(args: &'a Args, env: &'a Environment) -> anyhow::Result<Self> {
        let server = args.server.as_deref().or_else(|| env.get(SERVER));
        let server = server.with_context(|| {
            format!("which server? run: caponier ci login https://YOUR-BASTION, or set {SERVER}")
        })?;
        let server: Url = api::server_url(server)?;
        let pins = pin::pins(&args.ca_fingerprint, env)?;
        let way = way(args, env)?;
        let ca_pem = match &args.ca_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                Some(text.with_context(|| format!("--ca-file {}", file.display()))?)
            }
            None => None,
        };
        let api = Api::new(server, ca_pem.as_deref())?;
        Ok(Self { way, args, api, ca_pem, pins, runtime: crate::cli::runtime()? })
    }

    /// Asks the server what it is and which issuers it believes, and refuses one that is not the pinned one.
    pub(super) fn pinned(&self) -> anyhow::Result<Pinned> {
        let settings = self.runtime.block_on(self.api.workload_settings())?;
        pin::check(&settings.host_ca, &self.pins)?;
        let issuer = match &self.way {
            Way::Token { platform, .. } => {
                Some(issuer(&settings, *platform, self.args.issuer.as_deref())?.clone())
            }
            Way::Service { .. } => None,
        };
        Ok(Pinned { issuer })
    }

    /// The request for this new key, with a fresh token or statement in it.
    pub(super) fn request(&self, pinned: &Pinned, key: &Key) -> anyhow::Result<ExchangeRequest> {
        let mut request = ExchangeRequest {
            principals: self.args.principals(),
            life: self.args.life.map(|life| life.as_secs()),
            ..ExchangeRequest::default()
        };
        match (&self.way, &pinned.issuer) {
            (Way::Token { platform, source, audience }, Some(issuer)) => {
                let audience = source.audience(issuer, key.public(), self.api.server(), *audience)?;
                let token = self.runtime.block_on(source.fetch(&audience))?;
                if matches!(platform, Platform::GitHub | Platform::Forgejo) {
                    mask(token.reveal(), self.args.json)?;
                }
                request.token = Some(token.reveal().to_owned());
            }
            (Way::Service { account, registered }, _) => {
                let (now, nonce) = (Clock::System.now(), Random::System.token());
                let authority = self.api.authority();
                request.service =
                    Some(account::statement(account, registered, authority, key.public(), now, nonce)?);
            }
            (Way::Token { .. }, None) => bail!("the server named no issuer"),
        }
        Ok(request)
    }
}

/// A key for one run.
pub(super) fn new_key() -> anyhow::Result<PrivateKey> {
    Random::System.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).context("a new key")
}

fn way<'a>(args: &'a Args, env: &'a Environment) -> anyhow::Result<Way<'a>> {
    if let (Some(account), Some(file)) = (&args.service, &args.key) {
        return Ok(Way::Service { account, registered: account::key(file, env)? });
    }
    let platform = match args.platform {
        Some(platform) => platform,
        None => platform::detect(env, args.token_file.as_deref(), Path::exists)?,
    };
    let said = Said {
        variable: args.token_env.as_deref(),
        file: args.token_file.as_deref(),
        audience: args.audience.as_deref(),
    };
    let source = Source::find(platform, said, env)?;
    Ok(Way::Token { platform, source, audience: said.audience })
}

/// The server's issuer for this platform.
fn issuer<'s>(
    settings: &'s WorkloadSettings,
    platform: Platform,
    name: Option<&str>,
) -> anyhow::Result<&'s IssuerAnswer> {
    let fitting: Vec<&IssuerAnswer> = settings
        .issuers
        .iter()
        .filter(|one| one.platform == platform.as_str() && name.is_none_or(|name| one.name == name))
        .collect();
    let names = |issuers: &[&IssuerAnswer]| {
        let shown = issuers.iter().map(|one| format!("{} ({}, {})", one.name, one.platform, one.issuer));
        plain(&shown.collect::<Vec<_>>().join("; "), 1000)
    };
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => {
            let wanted = name.map(|name| format!(" called {:?}", plain(name, 64))).unwrap_or_default();
            let all: Vec<&IssuerAnswer> = settings.issuers.iter().collect();
            let known = if all.is_empty() { "none at all".to_owned() } else { names(&all) };
            bail!("the server believes no issuer of the platform {platform}{wanted}; it believes: {known}")
        }
        several => bail!("say --issuer NAME; the server believes several of {platform}: {}", names(several)),
    }
}

/// Makes the runner hide the token wherever it should turn up. A program that reads our JSON must not find it there: runners
/// obey on standard error too.
fn mask(token: &str, is_json: bool) -> std::io::Result<()> {
    let line = format!("::add-mask::{token}");
    if is_json {
        say(line);
        return Ok(());
    }
    print(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(issuers: &[(&str, &str)]) -> WorkloadSettings {
        let one = |(name, platform): &(&str, &str)| IssuerAnswer {
            name: (*name).into(),
            platform: (*platform).into(),
            issuer: format!("https://{name}.example"),
            audience: "https://b.example".into(),
            bind: "audience".into(),
        };
        WorkloadSettings { issuers: issuers.iter().map(one).collect(), host_ca: String::new() }
    }

    #[test]
    fn the_issuer_is_that_of_the_platform() {
        let check = |issuers: &[(&str, &str)], name: Option<&str>, expect: Result<&str, &str>| {
            let settings = settings(issuers);
            match (issuer(&settings, Platform::GitLab, name), expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found.name, expect),
                (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{why}"),
                (found, _) => panic!("{issuers:?} {name:?}: {found:?}"),
            }
        };
        let both = [("github", "github"), ("gitlab", "gitlab"), ("own", "gitlab")];
        check(&both[..2], None, Ok("gitlab"));
        check(&both, None, Err("say --issuer NAME"));
        check(&both, Some("own"), Ok("own"));
        check(&both, Some("github"), Err("no issuer of the platform gitlab called \"github\""));
        check(&both[..1], None, Err("it believes: github (github, https://github.example)"));
        check(&[], None, Err("none at all"));
    }
}
