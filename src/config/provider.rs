//! `[[provider]]`: the OpenID providers. Whether they answer is left to `identity::oidc`.

use super::defaults;
use super::document::hint;
use super::load::Surroundings;
use super::notify::private;
use super::section::Section;
use super::{Provider, doors};
use crate::names::ProviderName;

/// `provider.refresh_token`: how a provider is got to give us what it can be asked again with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshToken {
    /// The scope `offline_access` is asked for when the provider's discovery document lists it.
    Auto,
    /// The scope is asked for.
    Ask,
    /// The scope is asked for, and with it `prompt=consent` (OpenID Connect Core section 11).
    Consent,
    /// The scope is not asked for; a refresh token that comes by itself is kept.
    Given,
    /// None is asked for, and none is kept.
    Never,
}

impl RefreshToken {
    const ALL: [Self; 5] = [Self::Auto, Self::Ask, Self::Consent, Self::Given, Self::Never];

    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ask => "ask",
            Self::Consent => "consent",
            Self::Given => "given",
            Self::Never => "never",
        }
    }
}

/// Reads every `[[provider]]`; at least one, no two alike. The second list has every name that was given, also of
/// those that are wrong otherwise, so that who refers to them is not blamed as well.
pub(super) fn read(top: &mut Section<'_>, here: Surroundings<'_>) -> (Vec<Provider>, Vec<String>) {
    let mut providers: Vec<Provider> = Vec::new();
    let mut names = Vec::new();
    let sections = top.children("provider");
    if sections.is_empty() && !top.is_wrong("provider") {
        top.problem(
            top.place,
            "no [[provider]] is given, so nobody could sign in: add one with \"name\", \"issuer\" and \"client_id\"",
        );
    }
    for mut section in sections {
        let one = one(&mut section, here);
        names.extend(section.text("name").map(|at| at.value.to_owned()));
        if let Some(one) = one {
            let place = |key| section.place_of(key).unwrap_or(section.place);
            if one.name.as_str() == super::SERVICE {
                section.problem(
                    place("name"),
                    "\"service\" is the name of the policy's service accounts: take another",
                );
            } else if providers.iter().any(|other| other.name == one.name) {
                section.problem(place("name"), format!("there is a provider \"{}\" already", one.name));
            } else if let Some(other) =
                providers.iter().find(|other| other.issuer == one.issuer && other.client_id == one.client_id)
            {
                let message =
                    format!("\"{}\" has the same issuer and client id; keep one of them", other.name);
                section.problem(place("client_id"), message);
            }
            providers.push(one);
        }
        section.finish();
    }
    (providers, names)
}

fn one(section: &mut Section<'_>, here: Surroundings<'_>) -> Option<Provider> {
    section.require("name", "a short name of your choice; groups are written NAME:GROUP");
    section.require("issuer", "the provider's issuer URL, byte for byte as in its tokens");
    section.require("client_id", "the client id that the provider gave you");
    let name = section.parsed::<ProviderName>("name").map(|at| at.value);
    let title = label(section, "title");
    let issuer = issuer(section);
    let client_id = label(section, "client_id");
    let client_secret = private(section, here, "client_secret_file", "client_secret_env").map(|at| at.value);
    let scopes = list(section, "scopes", &defaults::SCOPES, |scope| {
        // RFC 6749 section 3.3: visible ASCII without `"` and `\`.
        let known = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        (scope.is_empty() || !scope.bytes().all(known)).then(|| format!("{scope:?} is not a scope"))
    });
    let scopes = scopes.into_iter().filter(|scope| scope != "openid").collect();
    let algorithms = list(section, "algorithms", &defaults::ALGORITHMS, wrong_algorithm);
    if algorithms.is_empty() {
        let place = section.place_of("algorithms").unwrap_or(section.place);
        section.problem(
            place,
            "\"algorithms\" is empty, so no token could be accepted: leave it out for the default",
        );
    }
    let claim_subject = label(section, "claim_subject").unwrap_or_else(|| defaults::CLAIM_SUBJECT.into());
    let claim_display = list(section, "claim_display", &defaults::CLAIM_DISPLAY, |claim| {
        claim.is_empty().then(|| "a claim needs a name".to_owned())
    });
    let claim_groups = label(section, "claim_groups").unwrap_or_else(|| defaults::CLAIM_GROUPS.into());
    let refresh_token = refresh_token(section);
    let name = name?;
    Some(Provider {
        title: title.unwrap_or_else(|| name.to_string()),
        name,
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        scopes,
        algorithms,
        claim_subject,
        claim_display,
        claim_groups,
        refresh_token,
    })
}

fn refresh_token(section: &mut Section<'_>) -> RefreshToken {
    let Some(text) = section.text("refresh_token") else { return defaults::REFRESH_TOKEN };
    let known = RefreshToken::ALL;
    known.into_iter().find(|one| one.as_str() == text.value).unwrap_or_else(|| {
        let words = known.map(RefreshToken::as_str);
        let message = format!(
            "\"refresh_token\" must be one of {}, not {:?}{}",
            words.map(|word| format!("{word:?}")).join(", "),
            text.value,
            hint(text.value, &words)
        );
        section.problem(text.place, message);
        defaults::REFRESH_TOKEN
    })
}

/// One line of text for people or protocols: not empty, no control characters, at most 256 bytes.
pub(super) fn label(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    if text.value.trim().is_empty() || text.value.len() > 256 || text.value.chars().any(char::is_control) {
        section.problem(text.place, format!("{key:?} must be 1 to 256 bytes of text on one line"));
        return None;
    }
    Some(text.value.to_owned())
}

/// An issuer's address, when it is given.
pub(super) fn issuer(section: &mut Section<'_>) -> Option<String> {
    let text = section.text("issuer")?;
    let url = doors::web_address(section, text.place, "issuer", text.value)?;
    if url.query().is_some() || url.fragment().is_some() {
        section
            .problem(text.place, "\"issuer\": no query and no fragment (OpenID Connect Discovery section 3)");
        return None;
    }
    Some(text.value.to_owned())
}

pub(super) fn wrong_algorithm(algorithm: &str) -> Option<String> {
    if algorithm.eq_ignore_ascii_case("none") {
        return Some("\"none\" would accept tokens that nobody signed".into());
    }
    if algorithm.starts_with("HS") {
        return Some(format!(
            "{algorithm:?} is refused: with HMAC, whoever knows the client secret can make tokens"
        ));
    }
    let known = defaults::ALGORITHMS_KNOWN;
    (!known.contains(&algorithm))
        .then(|| format!("unknown algorithm {algorithm:?}{}", hint(algorithm, &known)))
}

/// A list of texts, each judged by `wrong`, or the default list.
pub(super) fn list(
    section: &mut Section<'_>,
    key: &'static str,
    default: &[&str],
    wrong: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let Some(items) = section.texts(key) else { return default.iter().map(|s| (*s).to_owned()).collect() };
    for item in &items.value {
        if let Some(message) = wrong(item.value) {
            section.problem(item.place, message);
        }
    }
    items.value.iter().map(|item| item.value.to_owned()).collect()
}
