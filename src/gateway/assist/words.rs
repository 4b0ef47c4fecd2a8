//! The little language of `ssh bastion WORD ...`: one line, words parted by blanks, and free text at the end only. Pure.

use std::time::Duration;

use crate::config::parse_duration;
use crate::names::{LoginName, RoleName, TargetName};
use crate::plain::is_hidden;

/// Longest line, in bytes.
const LINE_MAX: usize = 4096;
/// Longest id or beginning of one.
const ID_MAX: usize = 40;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Help,
    Whoami,
    Targets,
    Inbox,
    Requests,
    Show(String),
    Approve { id: String, note: String },
    Deny { id: String, reason: String },
    Cancel(String),
    Release(Option<String>),
    Request(Box<Wanted>),
}

/// What access is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) target: TargetName,
    pub(super) login: LoginName,
    pub(super) length: Duration,
    pub(super) role: Option<RoleName>,
    pub(super) ticket: String,
    pub(super) reason: String,
}

/// Not a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// No such word.
    Unknown,
    /// The word is there, and what follows is wrong; this is right.
    Usage(&'static str),
    /// No line at all.
    Line,
}

/// Every word with what follows it and what it does.
pub(super) const WORDS: [(&str, &str); 11] = [
    ("help", "this"),
    ("whoami", "who you are, and until when"),
    ("targets", "what you may reach, and how"),
    ("request TARGET LOGIN 30m [role=ROLE] [ticket=TICKET] REASON", "ask for access"),
    ("requests", "what you have asked for"),
    ("release [ID]", "give access back"),
    ("cancel ID", "take a request back"),
    ("inbox", "what waits for you"),
    ("show ID", "one request in full"),
    ("approve ID [NOTE]", "say yes"),
    ("deny ID REASON", "say no"),
];

/// Reads a line.
pub(super) fn read(line: &[u8]) -> Result<Question, Bad> {
    let line = std::str::from_utf8(line).map_err(|_| Bad::Line)?.trim();
    if line.len() > LINE_MAX || line.chars().any(is_hidden) {
        return Err(Bad::Line);
    }
    let (word, rest) = cut(line);
    let usage =
        || Bad::Usage(WORDS.iter().find(|(form, _)| cut(form).0 == word).map_or("help", |(form, _)| form));
    let alone = |question: Question| if rest.is_empty() { Ok(question) } else { Err(usage()) };
    let (first, text) = cut(rest);
    let id = || is_id(first).then(|| first.to_owned()).ok_or_else(usage);
    match word {
        "" | "help" => alone(Question::Help),
        "whoami" => alone(Question::Whoami),
        "targets" => alone(Question::Targets),
        "inbox" => alone(Question::Inbox),
        "requests" => alone(Question::Requests),
        "show" if text.is_empty() => Ok(Question::Show(id()?)),
        "cancel" if text.is_empty() => Ok(Question::Cancel(id()?)),
        "release" if rest.is_empty() => Ok(Question::Release(None)),
        "release" if text.is_empty() => Ok(Question::Release(Some(id()?))),
        "approve" => Ok(Question::Approve { id: id()?, note: text.to_owned() }),
        "deny" if !text.is_empty() => Ok(Question::Deny { id: id()?, reason: text.to_owned() }),
        "request" => wanted(rest).map(|wanted| Question::Request(Box::new(wanted))).ok_or_else(usage),
        "show" | "cancel" | "release" | "deny" => Err(usage()),
        _ => Err(Bad::Unknown),
    }
}

/// The first word, and what follows it.
fn cut(line: &str) -> (&str, &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    (word, rest.trim_start())
}

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_MAX
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn wanted(rest: &str) -> Option<Wanted> {
    let (target, rest) = cut(rest);
    let (login, rest) = cut(rest);
    let (length, mut rest) = cut(rest);
    let mut wanted = Wanted {
        target: target.parse().ok()?,
        login: login.parse().ok()?,
        length: parse_duration(length).ok()?,
        role: None,
        ticket: String::new(),
        reason: String::new(),
    };
    loop {
        let (word, after) = cut(rest);
        if let Some(role) = word.strip_prefix("role=").filter(|_| wanted.role.is_none()) {
            wanted.role = Some(role.parse().ok()?);
        } else if let Some(ticket) = word.strip_prefix("ticket=").filter(|_| wanted.ticket.is_empty()) {
            wanted.ticket = ticket.to_owned();
        } else {
            break;
        }
        rest = after;
    }
    wanted.reason = rest.to_owned();
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_and_what_is_wrong_with_the_others() {
        let ask = |length: u64, role: Option<&str>, ticket: &str, reason: &str| {
            Ok(Question::Request(Box::new(Wanted {
                target: "web1".parse().unwrap(),
                login: "root".parse().unwrap(),
                length: Duration::from_secs(length),
                role: role.map(|role| role.parse().unwrap()),
                ticket: ticket.into(),
                reason: reason.into(),
            })))
        };
        let usage =
            |word: &str| Err(Bad::Usage(WORDS.iter().find(|(form, _)| form.starts_with(word)).unwrap().0));
        let id = || "req_0abc".to_owned();
        for (line, expect) in [
            ("", Ok(Question::Help)),
            (" help ", Ok(Question::Help)),
            ("help me", usage("help")),
            ("inbox", Ok(Question::Inbox)),
            ("inbox x", usage("inbox")),
            ("requests", Ok(Question::Requests)),
            ("show req_0abc", Ok(Question::Show(id()))),
            ("show", usage("show")),
            ("show req_0abc req_1", usage("show")),
            ("show ../etc", usage("show")),
            ("show REQ_0ABC", usage("show")),
            ("show $(id)", usage("show")),
            ("approve req_0abc", Ok(Question::Approve { id: id(), note: String::new() })),
            ("approve req_0abc go  ahead", Ok(Question::Approve { id: id(), note: "go  ahead".into() })),
            ("approve", usage("approve")),
            ("deny req_0abc", usage("deny")),
            ("deny req_0abc not today", Ok(Question::Deny { id: id(), reason: "not today".into() })),
            ("cancel req_0abc", Ok(Question::Cancel(id()))),
            ("release", Ok(Question::Release(None))),
            ("release req_0abc", Ok(Question::Release(Some(id())))),
            ("release req_0abc now", usage("release")),
            ("request web1 root 30m rotate the cert", ask(1800, None, "", "rotate the cert")),
            ("request web1 root 1h30m", ask(5400, None, "", "")),
            ("request web1 root 30m ticket=OPS-1 role=ops why", ask(1800, Some("ops"), "OPS-1", "why")),
            ("request web1 root 30m why role=ops", ask(1800, None, "", "why role=ops")),
            ("request web1 root", usage("request TARGET")),
            ("request web1 root soon", usage("request TARGET")),
            ("request web*1 root 30m x", usage("request TARGET")),
            ("request web1 root 30m role=a/b x", usage("request TARGET")),
            ("sh", Err(Bad::Unknown)),
            ("Approve req_0abc", Err(Bad::Unknown)),
            ("approve\treq_0abc", Err(Bad::Line)),
            ("approve req_0abc \u{1b}[2J", Err(Bad::Line)),
            ("approve req_0abc a\nb", Err(Bad::Line)),
            ("approve req_0abc \u{202e}x", Err(Bad::Line)),
        ] {
            assert_eq!(read(line.as_bytes()), expect, "{line:?}");
        }
        assert_eq!(read(b"approve req_0abc \xff"), Err(Bad::Line));
        assert_eq!(read("deny req_0abc ".repeat(1000).as_bytes()), Err(Bad::Line));
    }
}
