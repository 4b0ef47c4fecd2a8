//! `[[issuer]]`: the platforms whose jobs may come with a token. Which of their runs may do what is the policy's matter; whether
//! an issuer answers is left to `identity::oidc`.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::{At, hint};
use super::load::Surroundings;
use super::notify::private;
use super::provider::{self, label, list, wrong_algorithm};
use super::section::Section;
use super::{Provider, defaults};
use crate::names::ProviderName;
use crate::platform::Platform;
use crate::secret::Secret;

/// The name under which service accounts of the policy stand beside providers and issuers.
pub const SERVICE: &str = "service";

/// How a token is bound to the key of the job, so that it is worth nothing to whoever finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The audience that the job asks its platform for carries the SHA-256 of the key.
    Audience,
    /// The audience is fixed; the key signs the request that the token stands in.
    Signature,
}

impl Bind {
    const ALL: [Self; 2] = [Self::Audience, Self::Signature];

    /// As the file and the API have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audience => "audience",
            Self::Signature => "signature",
        }
    }
}

/// Which claims of an issuer of the type `oidc` say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generic {
    /// The claim that is the immutable id of what runs.
    pub id_claim: String,
    /// What people call it.
    pub label_claim: Option<String>,
    /// The id of the run.
    pub run_claim: Option<String>,
    /// Further claims that rules may speak of.
    pub claims: Vec<String>,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// From the issuer, by OpenID Connect Discovery.
    Discovery,
    /// From a file with a JSON Web Key Set, which is read again when it changes. For networks without a way out.
    File(PathBuf),
}

/// One `[[issuer]]`.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name here, no provider's.
    pub name: ProviderName,
    /// What it is.
    pub platform: Platform,
    /// `iss`, compared byte for byte.
    pub issuer: String,
    /// The audience that tokens for us have (default: `web.public_url` without a slash at its end).
    pub audience: String,
    /// How tokens are bound to keys.
    pub bind: Bind,
    /// Signature algorithms that are accepted; never `none` or HMAC.
    pub algorithms: Vec<String>,
    /// Oldest `iat`.
    pub age_max: Duration,
    /// How long a run's sign-in lasts at most.
    pub run_max: Duration,
    /// Where its keys come from.
    pub keys: Keys,
    /// What its webhooks are signed with (GitHub) or carry (GitLab); none: there are no webhooks.
    pub webhook_secret: Option<Secret<String>>,
    /// The claims, for [`Platform::Oidc`].
    pub generic: Option<Generic>,
}

/// Reads every `[[issuer]]`. `providers` are the names that are taken.
pub(super) fn read(
    top: &mut Section<'_>,
    here: Surroundings<'_>,
    providers: &[Provider],
    public_url: Option<&Url>,
) -> Vec<Issuer> {
    let mut issuers: Vec<Issuer> = Vec::new();
    for mut section in top.children("issuer") {
        if let Some(one) = one(&mut section, here, public_url) {
            let place = |key| section.place_of(key).unwrap_or(section.place);
            let taken =
                providers.iter().map(|other| &other.name).chain(issuers.iter().map(|other| &other.name));
            if taken.into_iter().any(|other| *other == one.name) {
                let message = format!("there is a provider or issuer \"{}\" already", one.name);
                section.problem(place("name"), message);
            } else if one.name.as_str() == SERVICE {
                section.problem(
                    place("name"),
                    "\"service\" is the name of the policy's service accounts: take another",
                );
            } else if let Some(other) = issuers.iter().find(|other| other.issuer == one.issuer) {
                let message = format!(
                    "\"{}\" has the same issuer; rules tell its runs apart, so one is enough",
                    other.name
                );
                section.problem(place("issuer"), message);
            }
            issuers.push(one);
        }
        section.finish();
    }
    issuers
}

fn one(section: &mut Section<'_>, here: Surroundings<'_>, public_url: Option<&Url>) -> Option<Issuer> {
    section.require("name", "a short name of your choice; rules of the policy name it");
    section.require("type", "what it is: \"github\", \"gitlab\", \"forgejo\", \"buildkite\", \"circleci\", \"kubernetes\" or \"oidc\"");
    let name = section.parsed::<ProviderName>("name").map(|at| at.value);
    let platform = platform(section);
    let issuer = issuer(section, platform);
    let audience = audience(section);
    let bind = bind(section, platform);
    let mut algorithms =
        list(section, "algorithms", platform.map_or(&[], default_algorithms), wrong_algorithm);
    if algorithms.is_empty() && section.place_of("algorithms").is_some() {
        let place = section.place_of("algorithms").unwrap_or(section.place);
        section.problem(
            place,
            "\"algorithms\" is empty, so no token could be accepted: leave it out for the default",
        );
    }
    algorithms.dedup();
    let age_max =
        section.duration("age_max", &defaults::TOKEN_AGE).map_or(defaults::TOKEN_AGE.default, |at| at.value);
    let run_max = section.duration("run_max", &defaults::RUN).map_or(defaults::RUN.default, |at| at.value);
    let keys = here.path(section, "jwks_file").map_or(Keys::Discovery, |at| Keys::File(at.value));
    let webhook_secret = webhook_secret(section, here, platform);
    let generic = generic(section, platform);
    let own = || public_url.map(|url| url.as_str().trim_end_matches('/').to_owned());
    Some(Issuer {
        name: name?,
        platform: platform?,
        issuer: issuer?,
        audience: audience.or_else(own)?,
        bind,
        algorithms,
        age_max,
        run_max,
        keys,
        webhook_secret,
        generic,
    })
}

fn platform(section: &mut Section<'_>) -> Option<Platform> {
    let text = section.text("type")?;
    let known = text.value.parse::<Platform>();
    known
        .map_err(|_| {
            let words = Platform::ISSUERS.map(Platform::as_str);
            let message = format!("unknown type {:?}{}", text.value, hint(text.value, &words));
            section.problem(text.place, message);
        })
        .ok()
}

/// The platforms' own defaults; those who host one name it.
fn default_issuer(platform: Platform) -> Option<&'static str> {
    match platform {
        Platform::GitHub => Some("https://token.actions.githubusercontent.com"),
        Platform::GitLab => Some("https://gitlab.com"),
        Platform::Buildkite => Some("https://agent.buildkite.com"),
        Platform::Forgejo
        | Platform::CircleCi
        | Platform::Kubernetes
        | Platform::Oidc
        | Platform::Service => None,
    }
}

fn default_algorithms(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::GitHub
        | Platform::GitLab
        | Platform::Forgejo
        | Platform::Buildkite
        | Platform::CircleCi => &["RS256"],
        Platform::Kubernetes => &["RS256", "ES256"],
        Platform::Oidc | Platform::Service => &["RS256", "ES256", "EdDSA"],
    }
}

/// Where a job can say the audience of its token itself, that is how it is bound.
fn default_bind(platform: Platform) -> Bind {
    match platform {
        Platform::GitHub | Platform::Forgejo | Platform::Buildkite => Bind::Audience,
        Platform::GitLab | Platform::CircleCi | Platform::Kubernetes | Platform::Oidc | Platform::Service => {
            Bind::Signature
        }
    }
}

fn issuer(section: &mut Section<'_>, platform: Option<Platform>) -> Option<String> {
    let given = provider::issuer(section);
    if given.is_some() || section.place_of("issuer").is_some() {
        return given;
    }
    let default = platform.and_then(default_issuer);
    if default.is_none() && platform.is_some() {
        section.require("issuer", "the issuer URL, byte for byte as in its tokens");
    }
    default.map(str::to_owned)
}

/// What a token's `aud` is compared with. A question mark would let one audience be read as another with a key behind it.
fn audience(section: &mut Section<'_>) -> Option<String> {
    let text = label(section, "audience")?;
    let place = section.place_of("audience")?;
    if text.contains(['?', '#']) || text.contains(char::is_whitespace) || !text.is_ascii() {
        section.problem(place, "\"audience\" must be ASCII without blanks, \"?\" and \"#\"");
        return None;
    }
    Some(text)
}

fn bind(section: &mut Section<'_>, platform: Option<Platform>) -> Bind {
    let default = platform.map_or(Bind::Audience, default_bind);
    let Some(text) = section.text("bind") else { return default };
    let Some(bind) = Bind::ALL.into_iter().find(|bind| bind.as_str() == text.value) else {
        let words = Bind::ALL.map(Bind::as_str);
        let message = format!(
            "\"bind\" must be \"audience\" or \"signature\", not {:?}{}",
            text.value,
            hint(text.value, &words)
        );
        section.problem(text.place, message);
        return default;
    };
    if bind == Bind::Signature && matches!(platform, Some(Platform::GitHub | Platform::Forgejo)) {
        let message = "jobs there can bind their token to their key by its audience, so \"signature\" would only weaken it: leave \"bind\" out";
        section.problem(text.place, message);
    }
    if bind == Bind::Audience && platform == Some(Platform::GitLab) {
        section.problem(
            text.place,
            "GitLab's audiences are fixed in its job file, so no job could do this: leave \"bind\" out",
        );
    }
    bind
}

fn webhook_secret(
    section: &mut Section<'_>,
    here: Surroundings<'_>,
    platform: Option<Platform>,
) -> Option<Secret<String>> {
    let At { value: secret, place } = private(section, here, "webhook_secret_file", "webhook_secret_env")?;
    if !matches!(platform, None | Some(Platform::GitHub | Platform::GitLab)) {
        section.problem(place, "webhooks are understood from github and gitlab only");
    }
    if secret.expose().len() < WEBHOOK_SECRET_MIN {
        section.problem(place, format!("the webhook secret is shorter than {WEBHOOK_SECRET_MIN} characters: whoever guesses it ends other people's runs"));
    }
    Some(secret)
}

/// Shortest secret of a webhook, in bytes.
const WEBHOOK_SECRET_MIN: usize = 16;
/// Most claims of a generic issuer that rules may speak of.
const CLAIMS_MAX: usize = 64;

fn generic(section: &mut Section<'_>, platform: Option<Platform>) -> Option<Generic> {
    const KEYS: [&str; 4] = ["id_claim", "label_claim", "run_claim", "claims"];
    if platform != Some(Platform::Oidc) {
        for key in KEYS {
            if let Some(place) = section.place_of(key)
                && platform.is_some()
            {
                section.problem(
                    place,
                    format!("{key:?} is for the type \"oidc\": of the others we know the claims"),
                );
            }
        }
        // Read, so that they are not unknown as well.
        let (_, _, _) = (section.text("id_claim"), section.text("label_claim"), section.text("run_claim"));
        drop(section.texts("claims"));
        return None;
    }
    section.require("id_claim", "the claim that is the immutable id of what runs");
    let id_claim = claim(section, "id_claim");
    let (label_claim, run_claim) = (claim(section, "label_claim"), claim(section, "run_claim"));
    let claims = list(section, "claims", &[], wrong_claim);
    if claims.len() > CLAIMS_MAX {
        let place = section.place_of("claims").unwrap_or(section.place);
        section.problem(place, format!("\"claims\": at most {CLAIMS_MAX}"));
    }
    Some(Generic { id_claim: id_claim?, label_claim, run_claim, claims })
}

fn claim(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let name = label(section, key)?;
    let place = section.place_of(key)?;
    if let Some(message) = wrong_claim(&name) {
        section.problem(place, message);
        return None;
    }
    Some(name)
}

/// Claims that are judged by us already, or that say nothing that lasts.
fn wrong_claim(name: &str) -> Option<String> {
    if ["iss", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce"].contains(&name) {
        return Some(format!("{name:?} is judged for every token already and is no claim for rules"));
    }
    (name.is_empty() || name.len() > 64 || !name.is_ascii() || name.contains(char::is_whitespace))
        .then(|| format!("{name:?} is not a claim's name: 1 to 64 characters of ASCII without blanks"))
}
