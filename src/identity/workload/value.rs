//! The types of claims: which JSON value is one of a type, and its text. Nothing is converted: "false" is no boolean, and 7
//! is no text, unless the platform says that it writes both.

use serde_json::Value;

use super::refused;
use crate::identity::claims::TokenRefused;

/// Longest value of a claim, in bytes.
pub const VALUE_BYTES_MAX: usize = 512;
/// Most items of a list.
const ITEMS_MAX: usize = 12;

/// The type of a claim, as its platform writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimType {
    /// Text without control characters. Empty text says nothing, as if the claim were not there.
    Text,
    /// The whole name of a branch or tag, `refs/heads/main`: text, as far as tokens go.
    Ref,
    /// A name of Kubernetes: a-z, 0-9, `-` and `.`, at most 253 characters.
    Name,
    /// A number from 1, in decimal digits, as text.
    Id,
    /// The same as a JSON number.
    Number,
    /// The same as either.
    IdOrNumber,
    /// A UUID in lower case, as text.
    Uuid,
    /// A list of UUIDs. Its text has them with one blank in between.
    Uuids,
    /// The text `true` or `false`.
    BoolText,
    /// true or false.
    Bool,
    /// What a generic issuer may write: text, a whole number, or a boolean.
    Any,
}

impl ClaimType {
    fn described(self) -> &'static str {
        match self {
            Self::Text | Self::Ref => "text of at most 512 bytes without control characters",
            Self::Name => "a name of Kubernetes",
            Self::Id => "a number in decimal digits, as text",
            Self::Number => "a whole number from 1",
            Self::IdOrNumber => "a whole number from 1, or its decimal digits as text",
            Self::Uuid => "a UUID in lower case",
            Self::Uuids => "a list of UUIDs in lower case",
            Self::BoolText => "\"true\" or \"false\", as text",
            Self::Bool => "true or false, not as text",
            Self::Any => "text, a whole number, or a boolean",
        }
    }

    /// Whether this text could be the text of such a claim. For rules: what could not would never match.
    pub fn could_be(self, text: &str) -> bool {
        match self {
            Self::Text | Self::Any => !text.is_empty() && is_text(text),
            Self::Ref => is_text(text) && text.starts_with("refs/"),
            Self::Name => is_name(text),
            Self::Id | Self::Number | Self::IdOrNumber => is_id(text),
            Self::Uuid | Self::Uuids => is_uuid(text),
            Self::BoolText | Self::Bool => matches!(text, "true" | "false"),
        }
    }

    /// What a rule's value must look like.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Text | Self::Any => "text of at most 512 bytes without control characters",
            Self::Ref => "a whole name, such as refs/heads/main or refs/tags/v1",
            Self::Name => "a name of Kubernetes",
            Self::Id | Self::Number | Self::IdOrNumber => "a number without leading zeros",
            Self::Uuid | Self::Uuids => "a UUID in lower case",
            Self::BoolText | Self::Bool => "true or false",
        }
    }
}

/// The text of a claim; none for empty text. The refusal names the claim and never quotes its value.
pub(super) fn read(name: &str, kind: ClaimType, value: &Value) -> Result<Option<String>, TokenRefused> {
    let wrong = || refused(format!("the claim {name:?} is not {}", kind.described()));
    let text = match (kind, value) {
        (ClaimType::Text | ClaimType::Ref | ClaimType::Any, Value::String(text)) if text.is_empty() => {
            return Ok(None);
        }
        (ClaimType::Text | ClaimType::Ref | ClaimType::Any, Value::String(text)) if is_text(text) => {
            Some(text.clone())
        }
        (ClaimType::Name, Value::String(text)) if is_name(text) => Some(text.clone()),
        (ClaimType::Id | ClaimType::IdOrNumber, Value::String(text)) if is_id(text) => Some(text.clone()),
        (ClaimType::Uuid, Value::String(text)) if is_uuid(text) => Some(text.clone()),
        (ClaimType::BoolText, Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
            Some(text.clone())
        }
        (ClaimType::Number | ClaimType::IdOrNumber, Value::Number(number)) => {
            number.as_u64().filter(|number| *number > 0).map(|number| number.to_string())
        }
        (ClaimType::Any, Value::Number(number)) => number.as_i64().map(|number| number.to_string()),
        (ClaimType::Bool | ClaimType::Any, Value::Bool(value)) => Some(value.to_string()),
        (ClaimType::Uuids, Value::Array(items)) => {
            return uuids(items).ok_or_else(wrong).map(|all| Some(all).filter(|all| !all.is_empty()));
        }
        _ => None,
    };
    text.map(Some).ok_or_else(wrong)
}

fn uuids(items: &[Value]) -> Option<String> {
    if items.len() > ITEMS_MAX {
        return None;
    }
    let items: Option<Vec<&str>> =
        items.iter().map(|item| item.as_str().filter(|text| is_uuid(text))).collect();
    Some(items?.join(" "))
}

fn is_text(text: &str) -> bool {
    text.len() <= VALUE_BYTES_MAX && !text.chars().any(char::is_control)
}

fn is_name(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 253
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

/// Platforms count from 1; 0 is what programs write for "none".
fn is_id(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || matches!(b, b'a'..=b'f'),
        })
}
