//! Where each platform keeps a job's token, and for whom it is asked. The token goes to our server and nowhere else: it is never
//! printed (but for the command that makes a runner hide it), never written, and never an argument of another program.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use russh::keys::ssh_key::{HashAlg, PublicKey};
use tokio::io::AsyncReadExt as _;
use url::Url;
use zeroize::Zeroizing;

use super::audience::{self, Audience};
use super::platform::KUBERNETES_TOKEN;
use super::runner::Runner;
use crate::cli::Environment;
use crate::cli::terminal::plain;
use crate::identity::run::Platform;
use crate::identity::token::{KEY_IN_AUDIENCE, hex};
use crate::web::api::workloads::IssuerAnswer;

/// The variable that a job is told to put its token into.
pub(super) const VARIABLE: &str = "CAPONIER_ID_TOKEN";
/// The server takes no longer one.
const TOKEN_MAX: usize = 16 * 1024;
/// A platform's own program answers within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// GitHub.
    #[error(
        "this job may not ask for a token: give it `permissions: id-token: write` (and name what else it needs, such as \
         `contents: read`)"
    )]
    NoPermission,
    /// Forgejo.
    #[error("this job may not ask for a token: set `enable-openid-connect: true` in the workflow")]
    NotEnabled,
    /// A pull request.
    #[error(
        "this run belongs to a pull request from a fork, which gets no token whatever its permissions: deploy from a \
         run of this repository (push, workflow_dispatch)"
    )]
    Fork,
    /// A variable.
    #[error(
        "the variable {name} is not there: give the job\n  id_tokens:\n    {name}:\n      aud: {audience}"
    )]
    NoVariable {
        /// Which one.
        name: String,
        /// What the token must be for.
        audience: String,
    },
    /// A file.
    #[error("the token file {path}: {source}{advice}")]
    File {
        /// Which one.
        path: String,
        /// What the system said.
        source: io::Error,
        /// What to do.
        advice: String,
    },
    /// The platform's program.
    #[error("{program} gave no token: {why}")]
    Program {
        /// Which one.
        program: &'static str,
        /// Its own words, or the system's.
        why: String,
    },
    /// The platform's service.
    #[error("no token from the runner: {0}")]
    Runner(String),
    /// What came is none.
    #[error("what came from {0} is not a token")]
    NotOne(String),
    /// It was made for somebody else.
    #[error("the token in {place} is for {found}, not for {wanted:?}: nothing was sent. {advice}")]
    NotForUs {
        /// Where it was.
        place: String,
        /// For whom it is.
        found: String,
        /// For whom it must be.
        wanted: String,
        /// What to do.
        advice: String,
    },
    /// The audience.
    #[error("{0}")]
    Audience(String),
    /// Said for a platform that does not have it.
    #[error("{0}")]
    Usage(String),
}

/// Where the command line says that the token is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) variable: Option<&'a str>,
    pub(super) file: Option<&'a Path>,
    pub(super) audience: Option<&'a str>,
}

/// A token on its way to the server.
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// What is sent.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Three parts of base64url with dots; anything else was not meant. (Lines end where files end.)
    fn read(text: Zeroizing<String>, place: &str) -> Result<Self, TokenError> {
        let one = text.trim();
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if one.is_empty() || one.len() > TOKEN_MAX || !one.bytes().all(fine) {
            return Err(TokenError::NotOne(place.to_owned()));
        }
        Ok(Self(Zeroizing::new(one.to_owned())))
    }

    /// Refuses one that is not for exactly this audience. A server may show a host CA that is not its own (it is public), so a
    /// token that is good elsewhere would be lost to it; one that is for its own address is worth nothing to others.
    fn meant_for(self, wanted: &str, place: &str, advice: &str) -> Result<Self, TokenError> {
        let found = match audience::of(&self.0) {
            None => return Err(TokenError::NotOne(format!("{place} (nothing was sent)"))),
            Some(Audience::One(found)) if found == wanted => return Ok(self),
            Some(Audience::One(found)) => format!("{:?}", plain(&found, 300)),
            Some(Audience::Other(words)) => words,
        };
        let (place, advice) = (place.to_owned(), advice.to_owned());
        Err(TokenError::NotForUs { place, found, wanted: plain(wanted, 300), advice })
    }
}

/// Where the token will come from. Found before anything is asked, so that a job that cannot have one is told at once.
pub(super) enum Source<'a> {
    Runner(Runner<'a>),
    Variable { name: &'a str, text: Option<&'a str> },
    File(PathBuf),
    Buildkite,
    CircleCi,
}

impl<'a> Source<'a> {
    /// The source of this platform.
    pub(super) fn find(platform: Platform, said: Said<'a>, env: &'a Environment) -> Result<Self, TokenError> {
        let is_own_way = matches!(platform, Platform::GitHub | Platform::Forgejo | Platform::Buildkite);
        if is_own_way && (said.variable.is_some() || said.file.is_some()) {
            return Err(TokenError::Usage(format!(
                "a token of {platform} is made for this very key, so it cannot come from elsewhere: leave out \
                 --token-env and --token-file"
            )));
        }
        let variable = |name: &'a str| Self::Variable { name, text: env.get(name) };
        Ok(match (platform, said.file, said.variable) {
            (Platform::GitHub | Platform::Forgejo, ..) => Self::Runner(Runner::find(platform, env)?),
            (Platform::Buildkite, ..) => Self::Buildkite,
            (_, Some(file), _) => Self::File(file.to_owned()),
            (_, None, Some(name)) => variable(name),
            (Platform::GitLab, None, None) => variable(VARIABLE),
            (Platform::CircleCi, None, None) => Self::CircleCi,
            (Platform::Kubernetes, None, None) => Self::File(PathBuf::from(KUBERNETES_TOKEN)),
            (Platform::Oidc | Platform::Service, None, None) => {
                return Err(TokenError::Usage(
                    "where is the token? Say --token-env NAME or --token-file FILE".to_owned(),
                ));
            }
        })
    }

    /// Fetches it, for this audience where the platform lets a job choose.
    pub(super) async fn fetch(&self, audience: &str) -> Result<Token, TokenError> {
        match self {
            Self::Runner(runner) => Token::read(runner.token(audience).await?, "the runner"),
            Self::Variable { name, text: Some(text) } => {
                let place = format!("the variable {}", plain(name, 100));
                let wanted = plain(audience, 300);
                let advice = format!(
                    "In GitLab, give the job\n  id_tokens:\n    {}:\n      aud: {wanted}",
                    plain(name, 100)
                );
                Token::read(Zeroizing::new((*text).to_owned()), &place)?.meant_for(audience, &place, &advice)
            }
            Self::Variable { name, text: None } => {
                Err(TokenError::NoVariable { name: (*name).to_owned(), audience: plain(audience, 300) })
            }
            Self::File(path) => from_file(path, audience),
            Self::Buildkite => {
                let arguments = ["oidc", "request-token", "--audience", audience];
                from_program("buildkite-agent", &arguments).await
            }
            Self::CircleCi => {
                let claims = serde_json::json!({ "aud": audience }).to_string();
                from_program("circleci", &["run", "oidc", "get", "--claims", &claims]).await
            }
        }
    }

    /// Whether we tell the platform for whom the token shall be.
    fn is_chosen(&self) -> bool {
        matches!(self, Self::Runner(_) | Self::Buildkite | Self::CircleCi)
    }

    /// For whom the token must be, wherever it comes from. A server that wants one for somebody else would use it there, so
    /// other audiences than its own address must be said on the command line.
    pub(super) fn audience(
        &self,
        issuer: &IssuerAnswer,
        key: &PublicKey,
        server: &Url,
        said: Option<&str>,
    ) -> Result<String, TokenError> {
        let own = server.as_str().trim_end_matches('/');
        let wanted = issuer.audience.as_str();
        if wanted != said.unwrap_or(own) {
            return Err(TokenError::Audience(format!(
                "the server wants a token for {:?}, which is not {}: nothing was asked for and nothing sent. If that is \
                 right, say --audience {0:?}",
                plain(wanted, 300),
                said.map_or_else(|| format!("its address {own:?}"), |said| format!("{said:?}")),
            )));
        }
        match issuer.bind.as_str() {
            "audience" if !self.is_chosen() => Err(TokenError::Audience(
                "the server wants the hash of this job's key in the token's audience, which a token that is there before the \
                 key cannot have: nothing was sent. The issuer needs `bind = \"signature\"` there"
                    .to_owned(),
            )),
            "audience" => Ok(format!("{wanted}{KEY_IN_AUDIENCE}{}", key_hash(key))),
            "signature" => Ok(wanted.to_owned()),
            other => Err(TokenError::Audience(format!(
                "the server binds tokens to keys in a way that this caponier does not know ({:?}); update it",
                plain(other, 64)
            ))),
        }
    }
}

/// The SHA-256 of a public key's blob, in lower-case hexadecimal.
fn key_hash(key: &PublicKey) -> String {
    hex(key.fingerprint(HashAlg::Sha256).as_bytes())
}

fn from_file(path: &Path, audience: &str) -> Result<Token, TokenError> {
    let place = path.display().to_string();
    let wanted = plain(audience, 300);
    let failed = |source| TokenError::File {
        path: place.clone(),
        source,
        advice: if path == Path::new(KUBERNETES_TOKEN) {
            format!("; project a serviceAccountToken with audience {wanted} there")
        } else {
            String::new()
        },
    };
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_MAX.saturating_add(64)));
    let limit = u64::try_from(TOKEN_MAX).unwrap_or(u64::MAX).saturating_add(2);
    std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)).map_err(failed)?;
    let advice =
        format!("Put one with the audience {wanted} there; in a pod, project a serviceAccountToken with it");
    Token::read(text, &place)?.meant_for(audience, &place, &advice)
}

/// What the platform's own program prints. Its arguments hold the audience, which is no secret.
async fn from_program(program: &'static str, arguments: &[&str]) -> Result<Token, TokenError> {
    let failed = |why: String| TokenError::Program { program, why };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let limit = u64::try_from(TOKEN_MAX).unwrap_or(u64::MAX).saturating_add(2);
    let (mut out, mut said) = (Zeroizing::new(String::new()), String::new());
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let reading = async {
        let out = async {
            if let Some(pipe) = stdout {
                pipe.take(limit).read_to_string(&mut out).await?;
            }
            io::Result::Ok(())
        };
        let said = async {
            if let Some(pipe) = stderr {
                pipe.take(limit).read_to_string(&mut said).await?;
            }
            io::Result::Ok(())
        };
        tokio::try_join!(out, said)?;
        child.wait().await
    };
    let status = tokio::time::timeout(PATIENCE, reading)
        .await
        .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
        .map_err(|e| failed(e.to_string()))?;
    if !status.success() {
        let why = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(failed(format!("{status}: {}", plain(why, 300))));
    }
    Token::read(out, program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const NOTHING: Said<'_> = Said { variable: None, file: None, audience: None };

    fn issuer(audience: &str, bind: &str) -> IssuerAnswer {
        IssuerAnswer {
            name: "i".into(),
            platform: "p".into(),
            issuer: "https://i.example".into(),
            audience: audience.into(),
            bind: bind.into(),
        }
    }

    fn audience(source: &Source<'_>, issuer: &IssuerAnswer, said: Option<&str>) -> Result<String, String> {
        let server = Url::parse("https://b.example").unwrap();
        let key = PublicKey::from_openssh(KEY).unwrap();
        source.audience(issuer, &key, &server, said).map_err(|why| why.to_string())
    }

    #[test]
    fn audiences_carry_the_key_where_the_job_may_choose_them() {
        let digest = {
            use base64::Engine as _;
            use sha2::Digest as _;
            let blob = KEY.split(' ').nth(1).unwrap();
            let blob = base64::engine::general_purpose::STANDARD.decode(blob).unwrap();
            sha2::Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let bound = format!("https://b.example?ssh-key-sha256={digest}");
        let ours = "https://b.example";
        assert_eq!(audience(&Source::Buildkite, &issuer(ours, "audience"), None), Ok(bound));
        assert_eq!(audience(&Source::CircleCi, &issuer(ours, "signature"), None), Ok(ours.into()));
        assert!(audience(&Source::CircleCi, &issuer(ours, "hope"), None).unwrap_err().contains("update it"));
    }

    #[test]
    fn no_token_for_somebody_else_is_asked_for() {
        for bind in ["audience", "signature"] {
            for wanted in ["sts.amazonaws.com", "https://b.example.evil.example", "https://b.example/", ""] {
                let refused = audience(&Source::CircleCi, &issuer(wanted, bind), None).unwrap_err();
                assert!(refused.contains("nothing was asked for"), "{wanted}: {refused}");
            }
        }
        let other = issuer("caponier", "signature");
        assert_eq!(audience(&Source::CircleCi, &other, Some("caponier")), Ok("caponier".into()));
        assert!(audience(&Source::CircleCi, &other, Some("else")).is_err());
        // Nor is one shown that is there already.
        for source in [Source::File("/t".into()), Source::Variable { name: VARIABLE, text: None }] {
            assert!(audience(&source, &other, None).unwrap_err().contains("nothing sent"));
            assert_eq!(audience(&source, &other, Some("caponier")), Ok("caponier".into()));
            let bound = audience(&source, &issuer("https://b.example", "audience"), None);
            assert!(bound.unwrap_err().contains("bind = \"signature\""));
        }
    }

    #[test]
    fn each_platform_has_its_source() {
        let runner = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://r.example/?v=2"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "b"),
        ];
        let env = Environment::of(&runner);
        let named = |platform, said| match Source::find(platform, said, &env) {
            Ok(Source::Runner(_)) => "runner".to_owned(),
            Ok(Source::Variable { name, .. }) => format!("variable {name}"),
            Ok(Source::File(path)) => format!("file {}", path.display()),
            Ok(Source::Buildkite) => "buildkite".to_owned(),
            Ok(Source::CircleCi) => "circleci".to_owned(),
            Err(why) => why.to_string(),
        };
        let variable = Said { variable: Some("T"), ..NOTHING };
        let file = Said { file: Some(Path::new("/t")), ..NOTHING };
        assert_eq!(named(Platform::GitHub, NOTHING), "runner");
        assert_eq!(named(Platform::Forgejo, NOTHING), "runner");
        assert_eq!(named(Platform::GitLab, NOTHING), "variable CAPONIER_ID_TOKEN");
        assert_eq!(named(Platform::GitLab, variable), "variable T");
        assert_eq!(named(Platform::Buildkite, NOTHING), "buildkite");
        assert_eq!(named(Platform::CircleCi, NOTHING), "circleci");
        assert_eq!(named(Platform::Kubernetes, NOTHING), "file /var/run/secrets/tokens/caponier");
        assert_eq!(named(Platform::Kubernetes, file), "file /t");
        assert_eq!(named(Platform::Oidc, variable), "variable T");
        assert!(named(Platform::Oidc, NOTHING).contains("--token-env NAME or --token-file FILE"));
        assert!(named(Platform::GitHub, variable).contains("leave out"));
    }

    fn fetch(source: &Source<'_>) -> Result<String, String> {
        let runtime = crate::cli::runtime().unwrap();
        let token = runtime.block_on(source.fetch("https://b.example"));
        token.map(|token| token.reveal().to_owned()).map_err(|why| why.to_string())
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let gitlab = fetch(&Source::Variable { name: VARIABLE, text: None }).unwrap_err();
        assert!(
            gitlab.contains("id_tokens:\n    CAPONIER_ID_TOKEN:\n      aud: https://b.example"),
            "{gitlab}"
        );
        let pod = from_file(Path::new("/nowhere/at/all"), "a").err().unwrap().to_string();
        assert!(pod.starts_with("the token file /nowhere/at/all: No such file"), "{pod}");
        let runtime = crate::cli::runtime().unwrap();
        let absent = runtime.block_on(from_program("caponier-no-such-program", &[])).err().unwrap();
        assert!(absent.to_string().contains("No such file"), "{absent}");
        let failing = runtime.block_on(from_program("sh", &["-c", "echo a; echo why not >&2; exit 3"]));
        let failing = failing.err().unwrap().to_string();
        assert!(failing.contains("exit status: 3: why not"), "{failing}");
    }

    #[test]
    fn a_token_that_is_there_already_is_shown_to_its_audience_alone() {
        use base64::Engine as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let fetched = |payload: &serde_json::Value| {
            let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload.to_string());
            let token = format!("e30.{payload}.c2ln");
            std::fs::write(&path, format!("{token}\n")).unwrap();
            let variable = fetch(&Source::Variable { name: "T", text: Some(&token) });
            let file = fetch(&Source::File(path.clone()));
            assert_eq!(variable.is_ok(), file.is_ok(), "{payload}");
            for why in [&variable, &file].into_iter().filter_map(|one| one.as_ref().err()) {
                assert!(why.contains("nothing was sent") && !why.contains(&payload), "{why}");
            }
            (variable.clone().map(|found| assert_eq!(found, token)), file.err())
        };
        for ours in [serde_json::json!("https://b.example"), serde_json::json!(["https://b.example"])] {
            assert_eq!(fetched(&serde_json::json!({ "aud": ours })), (Ok(()), None));
        }
        for other in [
            "https://b.example/",
            "https://B.example",
            "https://b.example:443",
            " https://b.example",
            "https://b.example.evil.example",
            "http://b.example",
            "b.example",
            "",
        ] {
            let (variable, file) = fetched(&serde_json::json!({ "aud": other }));
            let variable = variable.unwrap_err();
            assert!(variable.contains(&format!("in the variable T is for {other:?}, not for")), "{variable}");
            assert!(variable.contains("id_tokens:\n    T:\n      aud: https://b.example"), "{variable}");
            assert!(file.unwrap().contains("serviceAccountToken"), "{other}");
        }
        for claims in [
            serde_json::json!({}),
            serde_json::json!({ "aud": [] }),
            serde_json::json!({ "aud": ["https://b.example", "https://c.example"] }),
        ] {
            fetched(&claims).0.unwrap_err();
        }
        for text in ["a.b.c", "glpat-0123456789", "e30.e30"] {
            let why = fetch(&Source::Variable { name: "T", text: Some(text) }).unwrap_err();
            assert!(why.contains("the variable T (nothing was sent) is not a token"), "{why}");
        }
    }

    #[test]
    fn what_is_no_token_is_not_sent_and_not_shown() {
        let read = |text: &str| {
            let token =
                Token::read(Zeroizing::new(text.to_owned()), "there").map(|one| one.reveal().to_owned());
            token.map_err(|why| why.to_string())
        };
        assert_eq!(read("a.b-c.d_e\n"), Ok("a.b-c.d_e".into()));
        for bad in ["", "\n", "two words", "a\nb", "<html>", "é", &"a".repeat(TOKEN_MAX + 1)] {
            assert_eq!(read(bad), Err("what came from there is not a token".into()));
        }
        let runtime = crate::cli::runtime().unwrap();
        let printed = runtime.block_on(from_program("echo", &["a.b.c"])).ok().unwrap();
        assert_eq!(printed.reveal(), "a.b.c");
    }
}
