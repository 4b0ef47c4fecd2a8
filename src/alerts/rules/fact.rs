//! What an audit entry says to the rules. Pure. Kinds and fields are those of `audit`; an entry that is not understood
//! says nothing, because rules only add to what is enforced elsewhere.

use serde_json::Value;

use super::Entry;

/// The part of an entry that a rule may care about. Texts borrow from the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact<'e> {
    SignInFailed { from: &'e str },
    SignedIn { who: &'e str, from: &'e str },
    AccessRefused { who: &'e str, what: String },
    CredentialRefused { what: &'e str, claimed: &'e str, code: &'e str, from: &'e str },
    NotListed { network: &'e str, count: u64 },
    SessionOpened { who: &'e str, is_job: bool, target: &'e str, login: &'e str, from: &'e str },
    SessionClosed { session: &'e str, reason: &'e str },
    FileRefused { session: &'e str, path: &'e str },
    RecorderFailed { who: &'e str, target: &'e str, node: &'e str, why: &'e str },
    CaseFiled { who: &'e str },
    BreakGlass { who: &'e str, targets: String, grant: &'e str },
    GivenUp { sink: &'e str, kind: &'e str },
    AuditAltered { node: &'e str, why: &'e str },
    AuditCopy { sink: &'e str, why: &'e str },
}

impl<'e> Fact<'e> {
    /// What the entry says, if it says anything.
    pub(super) fn of(entry: &'e Entry) -> Option<Self> {
        let text = |name: &str| entry.fields.get(name).and_then(Value::as_str);
        let or_empty = |name: &str| text(name).unwrap_or_default();
        Some(match entry.kind.as_str() {
            "sign_in_failed" => Self::SignInFailed { from: text("from")? },
            "signed_in" => Self::SignedIn { who: text("who")?, from: text("from")? },
            "access_refused" => {
                let place = format!("{}@{}", or_empty("login"), or_empty("target"));
                Self::AccessRefused { who: text("who")?, what: format!("{place}: {}", or_empty("act")) }
            }
            "credential_refused" => Self::CredentialRefused {
                what: text("what")?,
                claimed: or_empty("claimed"),
                code: text("code")?,
                from: text("from")?,
            },
            "refusals_not_listed" => {
                Self::NotListed { network: text("network")?, count: entry.fields.get("count")?.as_u64()? }
            }
            "session_opened" => Self::SessionOpened {
                who: text("who")?,
                is_job: text("who_kind") == Some("workload"),
                target: text("target")?,
                login: or_empty("login"),
                from: text("from")?,
            },
            "session_closed" => Self::SessionClosed { session: text("session")?, reason: text("reason")? },
            "file_operation" if entry.fields.get("allowed") == Some(&Value::Bool(false)) => {
                Self::FileRefused { session: text("session")?, path: or_empty("path") }
            }
            "recorder_failed" | "recording_disk_full" | "recording_lost" | "recording_without_session" => {
                Self::RecorderFailed {
                    who: or_empty("who"),
                    target: or_empty("target"),
                    node: text("node")?,
                    why: or_empty("why"),
                }
            }
            // It has a recording that is not where it should be: the same people look.
            "archive_failed" => {
                let (node, why) = (text("node")?, or_empty("problem"));
                Self::RecorderFailed { who: "", target: or_empty("session"), node, why }
            }
            "case_filed" => Self::CaseFiled { who: text("who")? },
            "grant_opened" if entry.fields.get("break_glass") == Some(&Value::Bool(true)) => {
                Self::BreakGlass {
                    who: text("who")?,
                    targets: list(entry.fields.get("targets").or_else(|| entry.fields.get("target"))),
                    grant: text("grant").or_else(|| text("case")).unwrap_or_default(),
                }
            }
            "notice_given_up" => Self::GivenUp { sink: text("sink")?, kind: or_empty("kind") },
            "audit_altered" => Self::AuditAltered { node: text("node")?, why: or_empty("why") },
            "audit_sink_gap" => Self::AuditCopy { sink: text("sink")?, why: or_empty("why") },
            "audit_sink_behind" => Self::AuditCopy { sink: text("sink")?, why: or_empty("problem") },
            _ => return None,
        })
    }

    /// The session that this is about, when the entry names only that.
    pub(super) fn session(&self) -> Option<&'e str> {
        match self {
            Self::SessionClosed { session, reason: "host-key" | "recorder" }
            | Self::FileRefused { session, .. } => Some(session),
            Self::SignInFailed { .. }
            | Self::SignedIn { .. }
            | Self::AccessRefused { .. }
            | Self::CredentialRefused { .. }
            | Self::NotListed { .. }
            | Self::SessionOpened { .. }
            | Self::SessionClosed { .. }
            | Self::RecorderFailed { .. }
            | Self::CaseFiled { .. }
            | Self::BreakGlass { .. }
            | Self::GivenUp { .. }
            | Self::AuditAltered { .. }
            | Self::AuditCopy { .. } => None,
        }
    }
}

/// A text, or texts in an array.
fn list(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).take(20).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => String::new(),
    }
}
