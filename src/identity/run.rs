//! One run of a CI job, or one use of a service account, as the proof that it showed tells of it. What a platform's token must
//! look like is `workload`'s matter; which runs may do what is the policy's, which judges the claims kept here at every step again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use crate::platform::{Platform, UnknownPlatform};

/// What makes a run one that strangers may steer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hazard {
    /// It was started by, or for, a pull or merge request. Passes where a rule names that very event.
    PullRequest,
    /// The code is that of a fork. Never passes.
    Fork,
    /// A person restarted the job with a shell on it. Never passes.
    SshRerun,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Whose token it was.
    pub platform: Platform,
    /// The immutable id of what runs, with the word for what it is: `repository/123456`, `project/42`, `account/backup`.
    /// The subject of the identity: locks and revocations name it.
    pub subject: String,
    /// How people call it now: `acme/shop`. A label, never a key.
    pub label: String,
    /// The platform's id of the run: `987654321`; what ends when the platform says that a run is over.
    pub id: Option<String>,
    /// Which attempt of that run.
    pub attempt: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Where people look at the run: an https URL without blanks.
    pub url: Option<String>,
    /// Who started it, as the platform calls them. A label.
    pub actor: Option<String>,
    /// The claims that rules may speak of, by our names for them; values as text (`true`, `false`, decimal digits).
    pub claims: BTreeMap<String, String>,
    /// Why one might not trust it.
    pub hazards: BTreeSet<Hazard>,
    /// The platform says that it is running now, by a webhook.
    pub announced: bool,
    /// The sign-in that it has here, once it has one: what it asks for is for nobody else, also of the same repository.
    pub sign_in: Option<String>,
}

impl Run {
    /// The run among those of the same subject, as webhooks speak of it: its id and, where a run that is tried again keeps
    /// its id and is another one, the attempt. Empty where the platform tells no attempt that counts.
    pub fn name(&self) -> Option<(&str, &str)> {
        let attempt = self.attempt.as_deref().filter(|_| self.platform == Platform::GitHub);
        Some((self.id.as_deref()?, attempt.unwrap_or_default()))
    }

    /// What a certificate says of it, on one line of visible ASCII of at most 512 bytes: `platform=github id=repository/123456
    /// run=987 attempt=1 commit=SHA url=https://...`. What is not known is left out.
    pub fn line(&self) -> String {
        let fields = [
            ("platform", Some(self.platform.as_str())),
            ("id", Some(self.subject.as_str())),
            ("run", self.id.as_deref()),
            ("attempt", self.attempt.as_deref()),
            ("commit", self.commit.as_deref()),
            ("url", self.url.as_deref()),
        ];
        let fields =
            fields.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", plain(value?, ""))));
        cut(fields.collect::<Vec<_>>().join(" "), LINE_BYTES_MAX)
    }

    /// The middle of a key id, which sshd writes into its log: `run/987.1/commit/SHA/https://...`.
    pub fn key_id(&self) -> String {
        let run = self.id.as_ref().map(|id| match &self.attempt {
            Some(attempt) => format!("run/{id}.{attempt}"),
            None => format!("run/{id}"),
        });
        let commit = self.commit.as_ref().map(|commit| format!("commit/{commit}"));
        let parts = [run, commit, self.url.clone()].into_iter().flatten();
        cut(parts.map(|part| plain(&part, "/")).collect::<Vec<_>>().join("/"), KEY_ID_BYTES_MAX)
    }

    /// A claim.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).map(String::as_str)
    }
}

/// Longest [`Run::line`], in bytes.
const LINE_BYTES_MAX: usize = 512;
/// Longest [`Run::key_id`], in bytes: reference, sign-in and session stand beside it in a key id.
const KEY_ID_BYTES_MAX: usize = 256;

/// Only characters that need no quoting anywhere; `also` are further ones. Others become question marks.
fn plain(text: &str, also: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || ":._-@+=/~".contains(c) || also.contains(c);
    text.chars().map(|c| if safe(c) { c } else { '?' }).collect()
}

/// The text is ASCII.
fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(bytes_max);
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of GitHub Actions.
    pub(crate) fn run() -> Run {
        Run {
            platform: Platform::GitHub,
            subject: "repository/123".into(),
            label: "acme/shop".into(),
            id: Some("987".into()),
            attempt: Some("1".into()),
            commit: Some("ab".repeat(20)),
            url: Some("https://github.com/acme/shop/actions/runs/987".into()),
            actor: Some("octocat".into()),
            claims: BTreeMap::new(),
            hazards: BTreeSet::new(),
            announced: false,
            sign_in: None,
        }
    }

    #[test]
    fn what_certificates_say_of_a_run() {
        let sha = "ab".repeat(20);
        let line = "platform=github id=repository/123 run=987 attempt=1 commit=SHA url=https://github.com/acme/shop/actions/runs/987";
        assert_eq!(run().line(), line.replace("SHA", &sha));
        let key_id = "run/987.1/commit/SHA/https://github.com/acme/shop/actions/runs/987";
        assert_eq!(run().key_id(), key_id.replace("SHA", &sha));
        let nasty = Run { id: Some("9 \n\"\u{202e}é".into()), url: Some("x".repeat(900)), ..run() };
        assert!(nasty.line().len() <= 512 && nasty.line().bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
        assert!(
            nasty.key_id().len() <= 256 && nasty.key_id().bytes().all(|b| b.is_ascii_graphic() && b != b'"')
        );
        let bare = Run { id: None, attempt: None, commit: None, url: None, ..run() };
        assert_eq!((bare.line().as_str(), bare.key_id().as_str()), ("platform=github id=repository/123", ""));
    }
}
