//! The runner of GitHub Actions and its kin (Forgejo): how a job asks it for a token, and why it may not. What the token says is
//! the server's matter.

use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::token::TokenError;
use crate::cli::Environment;
use crate::cli::client::api;
use crate::identity::run::Platform;
use crate::random::Random;

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// An answer is a token in JSON.
const ANSWER_MAX: usize = 64 * 1024;
/// The event of a pull request with hundreds of labels and a long text.
const EVENT_MAX: u64 = 8 * 1024 * 1024;
/// Pause before the one repetition, with up to as much again by chance: many jobs ask at once after an outage.
const PAUSE_MILLIS: u64 = 1000;

#[derive(Deserialize)]
struct Answer {
    value: String,
}

/// Where to ask, and what allows it.
pub(super) struct Runner<'e> {
    url: Url,
    bearer: &'e str,
}

impl<'e> Runner<'e> {
    /// What the runner gave this job. When it gave nothing, why, and what to do.
    pub(super) fn find(platform: Platform, env: &'e Environment) -> Result<Self, TokenError> {
        let (Some(url), Some(bearer)) = (env.get(URL), env.get(BEARER)) else {
            return Err(missing(platform, env));
        };
        let odd = |why: &'static str| TokenError::Runner(format!("{URL} {why}"));
        let url = Url::parse(url).map_err(|_| odd("is not an address"))?;
        match url.scheme() {
            "https" => {}
            "http" if api::is_loopback(&url) => {}
            _ => return Err(odd("is not an https address; the token would cross the network in clear")),
        }
        if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
            return Err(odd("is not an address"));
        }
        Ok(Self { url, bearer })
    }

    /// A token for this audience. Asks once more when the runner's service is broken (5xx), and for no other reason.
    pub(super) async fn token(&self, audience: &str) -> Result<Zeroizing<String>, TokenError> {
        let http = api::http(&self.url, None).map_err(|e| TokenError::Runner(e.to_string()))?;
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("audience", audience);
        let mut status = self.ask(&http, &url).await?;
        if let Err(code) = status
            && code.is_server_error()
        {
            let jitter = Random::System.u64() % PAUSE_MILLIS;
            tokio::time::sleep(Duration::from_millis(PAUSE_MILLIS + jitter)).await;
            status = self.ask(&http, &url).await?;
        }
        status.map_err(|code| TokenError::Runner(format!("the platform answered {}", code.as_u16())))
    }

    /// One question: the token, or a status that is no token.
    async fn ask(
        &self,
        http: &reqwest::Client,
        url: &Url,
    ) -> Result<Result<Zeroizing<String>, StatusCode>, TokenError> {
        // The address has nothing secret in it, but it is long and says nothing to people.
        let failed = |e: reqwest::Error| {
            let host = url.host_str().unwrap_or_default();
            TokenError::Runner(format!("cannot reach {host}: {}", api::chain(&e.without_url())))
        };
        let mut answer = http
            .get(url.clone())
            .bearer_auth(self.bearer)
            .header("accept", "application/json")
            .send()
            .await
            .map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Ok(Err(answer.status()));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len().saturating_add(chunk.len()) > ANSWER_MAX {
                return Err(TokenError::Runner("the platform's answer is too long for a token".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| TokenError::Runner("the platform's answer has no token in it".to_owned()))?;
        Ok(Ok(Zeroizing::new(answer.value)))
    }
}

fn missing(platform: Platform, env: &Environment) -> TokenError {
    if is_from_fork(env) {
        return TokenError::Fork;
    }
    if platform == Platform::Forgejo { TokenError::NotEnabled } else { TokenError::NoPermission }
}

/// Whether this run was started by a pull request whose code is another repository's: such a run gets no token whatever its
/// permissions. A repository that is gone (null) was another one too.
fn is_from_fork(env: &Environment) -> bool {
    if !env.get("GITHUB_EVENT_NAME").is_some_and(|event| event.starts_with("pull_request")) {
        return false;
    }
    let Some(event) = env.get("GITHUB_EVENT_PATH").and_then(|path| read(Path::new(path))) else {
        return false;
    };
    let pull = event.get("pull_request");
    let repository = |end: &str| pull.and_then(|pull| pull.get(end)?.get("repo")?.get("id"));
    pull.is_some() && repository("head") != repository("base")
}

fn read(path: &Path) -> Option<serde_json::Value> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(EVENT_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)], platform: Platform) -> String {
        let env = Environment::of(pairs);
        match Runner::find(platform, &env) {
            Ok(runner) => runner.url.to_string(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn a_job_without_the_permission_is_told_which() {
        let said = found(&[], Platform::GitHub);
        assert!(said.contains("permissions: id-token: write") && !said.contains('\n'), "{said}");
        assert!(found(&[(URL, "https://r.example/")], Platform::GitHub).contains("id-token: write"));
        assert!(found(&[], Platform::Forgejo).contains("enable-openid-connect: true"));
    }

    #[test]
    fn a_pull_request_from_a_fork_is_told_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let said = |event: &str, json: &str| {
            let path = dir.path().join("event.json");
            std::fs::write(&path, json).unwrap();
            let pairs = [("GITHUB_EVENT_NAME", event), ("GITHUB_EVENT_PATH", path.to_str().unwrap())];
            found(&pairs, Platform::GitHub)
        };
        let pull = |head: &str| {
            format!(r#"{{"pull_request": {{"head": {{"repo": {head}}}, "base": {{"repo": {{"id": 1}}}}}}}}"#)
        };
        for fork in [r#"{"id": 2}"#, "null"] {
            let said = said("pull_request", &pull(fork));
            assert!(said.contains("fork") && !said.contains("id-token"), "{said}");
        }
        for own in
            [said("pull_request", &pull(r#"{"id": 1}"#)), said("push", &pull("null")), said("push", "")]
        {
            assert!(own.contains("id-token: write"), "{own}");
        }
        assert!(said("pull_request", "not JSON").contains("id-token: write"));
    }

    #[test]
    fn tokens_are_asked_for_over_https() {
        let at = |url: &str| found(&[(URL, url), (BEARER, "b")], Platform::GitHub);
        assert_eq!(at("https://r.example/x?api-version=2.0"), "https://r.example/x?api-version=2.0");
        assert_eq!(at("http://127.0.0.1:1/x"), "http://127.0.0.1:1/x");
        assert!(at("http://r.example/x").contains("not an https address"));
        assert!(at("file:///etc/passwd").contains("not an https address"));
        assert!(at("https://u:p@r.example/").contains("not an address"));
        assert!(at("nonsense").contains("not an address"));
    }
}
