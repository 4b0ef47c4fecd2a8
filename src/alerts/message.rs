//! How a notice is written for each medium: our JSON, Slack's, a mail. Pure. Text from users is made harmless here, and
//! all of it has a bound.
//!
//! The JSON is a promise to receivers (README.md describes it): `version` is 1; more members may come, none goes or
//! changes its meaning without another version.

use serde_json::{Map, Value, json};

use super::Notice;
use crate::plain;
use crate::time::Timestamp;

/// Characters of a title.
const TITLE_MAX: usize = 200;
/// Characters of a field's name.
const NAME_MAX: usize = 64;
/// Characters of a field's value.
const VALUE_MAX: usize = 1000;
/// Fields that are written.
const FIELDS_MAX: usize = 32;
/// Fields in one block of Slack's.
const SLACK_BLOCK: usize = 10;
/// Members of the audience that are written.
const AUDIENCE_MAX: usize = 100;

/// The body for our own format.
pub fn to_json(notice: &Notice, at: Timestamp) -> String {
    let mut fields = Map::new();
    for (name, value) in fields_of(notice) {
        match fields.get_mut(&name) {
            // The same name twice is a list, one value a line.
            Some(Value::String(there)) => {
                there.push('\n');
                there.push_str(&value);
            }
            Some(_) | None => drop(fields.insert(name, value.into())),
        }
    }
    let audience: Vec<String> =
        notice.audience.iter().take(AUDIENCE_MAX).map(|who| plain::line(who.name(), TITLE_MAX)).collect();
    json!({
        "version": 1,
        "id": notice.id.as_str(),
        "kind": notice.kind.word(),
        "time": at.to_string(),
        "case": notice.case.as_ref().map(|case| case.as_str()),
        "title": plain::line(&notice.title, TITLE_MAX),
        "audience": audience,
        "fields": fields,
    })
    .to_string()
}

/// The body for Slack and its kin: `text` for notifications and for those that know no blocks, and `blocks` in plain
/// text, which has no mark-up to break out of.
pub fn to_slack(notice: &Notice, at: Timestamp) -> String {
    let mut text = format!("[{}] {}", notice.kind, plain::chat(&notice.title, TITLE_MAX));
    let plain_text = |text: String| json!({ "type": "plain_text", "text": text, "emoji": false });
    let head = format!("[{}] {}", notice.kind, plain::line(&notice.title, TITLE_MAX));
    let mut blocks = vec![json!({ "type": "section", "text": plain_text(head) })];
    let fields = fields_of(notice);
    for (name, value) in &fields {
        text.push_str(&format!("\n{}: {}", plain::chat(name, NAME_MAX), plain::chat(value, VALUE_MAX)));
    }
    for some in fields.chunks(SLACK_BLOCK) {
        let some: Vec<Value> =
            some.iter().map(|(name, value)| plain_text(format!("{name}\n{value}"))).collect();
        blocks.push(json!({ "type": "section", "fields": some }));
    }
    let case = notice.case.as_ref().map(|case| format!("{case} · ")).unwrap_or_default();
    blocks
        .push(json!({ "type": "context", "elements": [plain_text(format!("{case}{} · {at}", notice.id))] }));
    json!({ "text": text, "mrkdwn": false, "blocks": blocks }).to_string()
}

/// A mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

/// The same as a mail.
pub fn to_letter(notice: &Notice, at: Timestamp) -> Letter {
    let title = plain::line(&notice.title, TITLE_MAX);
    let fields = fields_of(notice);
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().min(20);
    let mut body = format!("{title}\n\n");
    for (name, value) in &fields {
        body.push_str(&format!("{name:width$}  {value}\n"));
    }
    let case = notice.case.as_ref().map(|case| format!(", {case}")).unwrap_or_default();
    body.push_str(&format!("\n-- \nCaponier: {}{case}, {}, {at}\n", notice.kind, notice.id));
    Letter { subject: format!("[caponier] {}: {title}", notice.kind), body }
}

/// The fields as they are shown: harmless, bounded, in their order.
fn fields_of(notice: &Notice) -> Vec<(String, String)> {
    let fields = notice.fields.iter().take(FIELDS_MAX);
    let mut shown: Vec<(String, String)> =
        fields.map(|(name, value)| (plain::line(name, NAME_MAX), plain::line(value, VALUE_MAX))).collect();
    let more = notice.fields.len().saturating_sub(FIELDS_MAX);
    if more > 0 {
        shown.push(("more".to_owned(), format!("{more} fields are not shown")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::{Concerned, NoticeKind};
    use crate::plain::is_hidden;

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn notice(title: &str, reason: &str) -> Notice {
        Notice::new("ntc_00000000000000000000000000".parse().unwrap(), NoticeKind::RequestPending, title)
            .about(&"req_00000000000000000000000000".parse().unwrap())
            .to([Concerned::Group("corp:approvers".to_owned())])
            .with("target", "web1")
            .with("reason", reason)
    }

    #[test]
    fn the_json_is_as_documented() {
        let body: Value = serde_json::from_str(&to_json(&notice("Ann asks", "OPS-1"), AT)).unwrap();
        assert_eq!(
            body,
            json!({
                "version": 1,
                "id": "ntc_00000000000000000000000000",
                "kind": "request.pending",
                "time": "2027-01-15T08:00:00Z",
                "case": "req_00000000000000000000000000",
                "title": "Ann asks",
                "audience": ["corp:approvers"],
                "fields": { "target": "web1", "reason": "OPS-1" },
            })
        );
        let twice = notice("x", "y").with("target", "web2");
        let body: Value = serde_json::from_str(&to_json(&twice, AT)).unwrap();
        assert_eq!(body["fields"]["target"], "web1\nweb2");
        let alone = Notice { case: None, ..notice("x", "y") };
        let body: Value = serde_json::from_str(&to_json(&alone, AT)).unwrap();
        assert_eq!(body["case"], Value::Null);
    }

    /// Every text in a JSON value.
    fn texts(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(items) => items.iter().flat_map(texts).collect(),
            Value::Object(map) => map.values().flat_map(texts).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
        }
    }

    #[test]
    fn what_users_write_stays_text() {
        let attack =
            "x\r\nBcc: all@example.com\r\n\r\n<!channel> [ok](https://evil.example) \u{202e}\u{1b}[2J @here";
        let hostile = notice(attack, attack).with("note\r\nX-Evil: 1", attack);
        let slack: Value = serde_json::from_str(&to_slack(&hostile, AT)).unwrap();
        let text = slack["text"].as_str().unwrap();
        assert!(!text.contains("<!channel>") && !text.contains("](") && !text.contains("@here"), "{text}");
        assert_eq!(text.lines().count(), 4, "one line for each field: {text}");
        for part in texts(&slack["blocks"]) {
            assert!(!part.contains('\r') && part.lines().count() <= 2, "{part:?}");
        }
        let kinds: Vec<&Value> =
            slack["blocks"].as_array().unwrap().iter().map(|block| &block["text"]["type"]).collect();
        assert!(kinds.iter().all(|kind| **kind == "plain_text" || kind.is_null()), "{kinds:?}");
        let letter = to_letter(&hostile, AT);
        assert!(!letter.subject.contains(['\r', '\n']) && !letter.body.contains('\r'));
        assert_eq!(letter.body.lines().count(), 8, "{}", letter.body);
        let body: Value = serde_json::from_str(&to_json(&hostile, AT)).unwrap();
        for text in texts(&body).into_iter().chain([&*letter.subject]) {
            assert!(!text.contains(is_hidden), "{text:?}");
        }
    }

    #[test]
    fn everything_has_a_bound() {
        let mut long = notice(&"é".repeat(100_000), &"<".repeat(100_000))
            .to((0..10_000).map(|n| Concerned::Person(n.to_string())));
        for n in 0..1000 {
            long = long.with(&n.to_string().repeat(1000), "x".repeat(10_000));
        }
        assert!(to_json(&long, AT).len() < 60_000, "{}", to_json(&long, AT).len());
        assert!(to_slack(&long, AT).len() < 100_000, "{}", to_slack(&long, AT).len());
        let letter = to_letter(&long, AT);
        assert!(letter.subject.chars().count() < 250 && letter.body.len() < 60_000, "{}", letter.body.len());
        assert!(letter.body.contains("970 fields are not shown"), "{}", letter.body);
    }
}
