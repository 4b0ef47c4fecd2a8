//! What the audit log holds, written down for those who read it: every kind of entry with its fields. Tests hold that nothing is
//! written that does not stand here. Names and meanings are a promise: fields are added, never renamed or taken away.

use serde_json::{Map, Value, json};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A whole number, not negative.
    Whole,
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    Texts,
    /// An object.
    Object,
    /// A list of objects.
    Objects,
}

/// A field of a kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub form: Form,
    /// Whether it may be null: not known, or none.
    pub null: bool,
    /// What it means.
    pub about: &'static str,
}

/// A kind of entry.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Its name.
    name: &'static str,
    /// What happened.
    about: &'static str,
    /// Names of its fields; `?` behind one that may be null, `:FORM` where it holds something else than elsewhere. `PERSON`
    /// and `PARTY` stand for those that say who.
    fields: &'static str,
}

/// Who, as signed in.
const PERSON: &str = "who who_kind issuer subject display";
/// Who, as one who asks or answers.
const PARTY: &str = "who issuer subject display";

const fn kind(name: &'static str, about: &'static str, fields: &'static str) -> Kind {
    Kind { name, about, fields }
}

/// Every kind of entry.
const KINDS: &[Kind] = &[
    kind("server_started", "A bastion started.", "version interrupted"),
    kind("policy_loaded", "Another policy holds from here on.", "digest replaces roles:whole targets:whole"),
    kind(
        "policy_refused",
        "The policy's files changed and were refused; the one before stays in force.",
        "keeps problems first",
    ),
    kind("signed_in", "Somebody signed in.", "PERSON sign_in groups method key? replaced from"),
    kind("sign_in_failed", "An attempt to sign in failed.", "provider? reason from"),
    kind("sign_in_ended", "A sign-in was ended before its time.", "sign_in by reason"),
    kind(
        "certificate_issued",
        "A user certificate was issued.",
        "sign_in serial key_id principals valid_before from",
    ),
    kind(
        "credential_refused",
        "A certificate, a signed request or a logout token was refused.",
        "what claimed code reason from",
    ),
    kind(
        "refusals_not_listed",
        "More credentials and sign-ins were refused than are written down one by one.",
        "network since count",
    ),
    kind(
        "access_refused",
        "A session, or a certificate for one, was refused by policy.",
        "PERSON sign_in target login act code reason from",
    ),
    kind(
        "session_opened",
        "A session was permitted and its recording begun; nothing was sent to the target yet.",
        "PERSON sign_in session client_serial? target_serial target login act role grants rule? assurance? transfer? sent? \
         policy from recording?",
    ),
    kind(
        "session_closed",
        "A session ended.",
        "session reason exit_status? bytes_in bytes_out recording_sha256?",
    ),
    kind(
        "forward_opened",
        "A forward, or the use of agent or display, was permitted; nothing was sent to the target yet.",
        "PERSON sign_in session number target login direction kind what addresses role policy from",
    ),
    kind("forward_closed", "A forward ended.", "session number reason bytes_in bytes_out lasted_ms"),
    kind(
        "file_operation",
        "In an sftp session something is about to be done to a file, or was refused.",
        "session op path second? allowed rule:text",
    ),
    kind(
        "file_transferred",
        "In an sftp session content passed, and the file was closed.",
        "session path direction bytes sha256? complete",
    ),
    kind(
        "host_certificate_issued",
        "A host certificate was made for a target.",
        "principals serial valid_before",
    ),
    kind(
        "case_filed",
        "Somebody asked for access.",
        "PARTY case role targets logins commands length_secs once? start? reason ticket? break_glass automatic? stages from policy",
    ),
    kind(
        "case_approved",
        "Somebody said yes to a request.",
        "PARTY case by by_display stage stage_name note narrowed from",
    ),
    kind(
        "case_pressed",
        "Approvers were reminded, or others may approve as well.",
        "PARTY case how approvers",
    ),
    kind("case_closed", "A request is over without access.", "PARTY case close by? note"),
    kind(
        "grant_opened",
        "Access exists.",
        "PARTY grant case how role targets logins commands once? starts until break_glass",
    ),
    kind("grant_ended", "Access is over.", "PARTY grant case close by? note"),
    kind("break_glass_reviewed", "Somebody looked at a break-glass afterwards.", "PARTY case by note"),
    kind("locked", "A person, a target, a role or a workload was locked.", "lock kind name reason by until?"),
    kind("unlocked", "A lock was lifted.", "lock kind name by"),
    kind("revoked", "Certificates were revoked.", "what value by reason revoked sign_ins version"),
    kind(
        "access_seen",
        "Somebody looked at who has access, had it, or does not use it.",
        "who who_kind! issuer! subject! display! sign_in? what user? target? from?",
    ),
    kind(
        "groups_changed",
        "A provider said that somebody's groups are others now.",
        "PERSON sign_in groups before",
    ),
    kind("provider_silent", "A provider gives no answer.", "provider reason"),
    kind("provider_answers", "It answers again.", "provider"),
    kind(
        "provider_logged_out",
        "A provider said that somebody has logged out.",
        "provider sub? sid? ended from",
    ),
    kind(
        "notice_given_up",
        "A notice did not reach its receiver and is not tried any more.",
        "notice kind case? sink attempts problem?",
    ),
    kind("alerts_raised", "Rules found something in this log.", "alerts"),
    kind("alert_acknowledged", "Somebody looked at an alert.", "alert by note"),
    kind(
        "recorder_failed",
        "A recording could not be begun or went wrong, so there was no session.",
        "who target login node why",
    ),
    kind("checkpoint", "A bastion says, signed, how far the log had come.", "node seq hash key signature"),
    kind(
        "recording_key_used",
        "A bastion seals recordings with this key from here on.",
        "node key fingerprint",
    ),
    kind("recording_checkpoint", "How far running recordings of a bastion have come.", "node recordings"),
    kind(
        "recording_disk_full",
        "The disk of the recordings is full: no session begins at this bastion.",
        "node why closed unrecorded",
    ),
    kind("recording_disk_free", "There is room for recordings again.", "node"),
    kind("audit_altered", "A bastion found this log other than it had been.", "node seq why"),
    kind(
        "audit_sink_gap",
        "A copy of this log has lost entries that it had; they are sent again.",
        "sink has had why",
    ),
    kind(
        "audit_sink_behind",
        "A copy of this log has been behind for too long.",
        "sink seq end since problem",
    ),
    kind("audit_sink_caught_up", "A copy that was behind has caught up.", "sink seq"),
    kind("workload_signed_in", "A job or a service signed in.", "PERSON sign_in run? key rules expires from"),
    kind(
        "workload_checked",
        "A token of a job was looked at, and nothing was given for it.",
        "PERSON run? rules refusal? from",
    ),
    kind(
        "run_announced",
        "A platform said that a run has begun.",
        "issuer subject run:text attempt delivery",
    ),
    kind(
        "run_over",
        "A run is over; its sign-ins have ended.",
        "issuer subject run:text attempt by note sign_ins",
    ),
];

/// Every field that an entry may have: its name, what it holds and what it means.
const FIELDS: &[(&str, Form, &str)] = &[
    ("act", Form::Text, "what was asked for: `shell`, `exec: LINE`, `sftp`, or words for it"),
    ("addresses", Form::Texts, "what the target is asked for, or who came there"),
    ("alert", Form::Text, "id of an alert"),
    ("alerts", Form::Objects, "alerts: `alert` (id), `rule`, `subject`"),
    ("allowed", Form::Flag, "whether it is sent to the target"),
    ("approvers", Form::Texts, "who may approve now"),
    ("assurance", Form::Text, "how sure the rule's verdict is: `enforced` or `detected`"),
    ("attempt", Form::Text, "which attempt of a run"),
    ("attempts", Form::Whole, "how often it was tried"),
    ("automatic", Form::Whole, "number of the condition by which nobody had to approve, from 1"),
    ("before", Form::Texts, "groups before"),
    ("break_glass", Form::Flag, "opened without waiting for anybody, to be looked at afterwards"),
    (
        "by",
        Form::Text,
        "who did it: a person or workload as in `who`, or a word such as `admin` for the command on the server",
    ),
    ("by_display", Form::Text, "their label"),
    ("bytes", Form::Whole, "bytes of content"),
    ("bytes_in", Form::Whole, "bytes from client to target"),
    ("bytes_out", Form::Whole, "bytes from target to client"),
    ("case", Form::Text, "id of a request"),
    ("claimed", Form::Text, "key id, fingerprint or provider, as claimed"),
    ("client_serial", Form::Text, "serial number, decimal, of the client's certificate"),
    ("close", Form::Text, "how it ended"),
    ("closed", Form::Whole, "sessions that were closed for it"),
    ("code", Form::Text, "stable word for why it was refused"),
    ("commands", Form::Texts, "the only commands that it reaches; empty for all that the role opens"),
    ("complete", Form::Flag, "whether the digest is that of the whole content"),
    ("count", Form::Whole, "how many"),
    ("delivery", Form::Text, "the platform's id of its message"),
    ("digest", Form::Text, "SHA-256 of the policy"),
    ("direction", Form::Text, "which way: `read`, `write`; of forwards `local`, `listen`, `remote`"),
    ("display", Form::Text, "label of the person or workload; not a key"),
    ("ended", Form::Texts, "ids of sign-ins that ended by this"),
    ("end", Form::Whole, "the last entry of the log"),
    ("exit_status", Form::Whole, "exit status of the program at the target"),
    ("expires", Form::Whole, "Unix seconds"),
    ("fingerprint", Form::Text, "SHA-256 fingerprint of an SSH key"),
    ("first", Form::Text, "the first problem, with file and line"),
    ("from", Form::Text, "address of the client"),
    ("grant", Form::Text, "id of access that was granted"),
    ("grants", Form::Texts, "ids of the access that a session hangs on; none where access is standing"),
    ("groups", Form::Texts, "groups, as `provider:group`"),
    ("had", Form::Whole, "the last entry that it had"),
    ("has", Form::Whole, "the last entry that it still has"),
    ("hash", Form::Text, "hash of the entry `seq`"),
    ("how", Form::Text, "by which way"),
    ("interrupted", Form::Whole, "recordings that were found open and sealed as interrupted"),
    ("issuer", Form::Text, "who vouches for the subject; with it the key of a person or workload"),
    ("keeps", Form::Text, "SHA-256 of the policy that stays"),
    ("key", Form::Text, "fingerprint of an SSH key; of `recording_key_used` the public key itself"),
    ("key_id", Form::Text, "key id of the certificate"),
    ("kind", Form::Text, "which kind of thing it is"),
    ("lasted_ms", Form::Whole, "how long it was open, in milliseconds"),
    ("length_secs", Form::Whole, "how long, in seconds"),
    ("lock", Form::Text, "id of a lock"),
    ("login", Form::Text, "account at the target"),
    ("logins", Form::Texts, "accounts at the targets"),
    ("method", Form::Text, "how: `loopback`, `device`, `ssh`"),
    ("name", Form::Text, "whom or what it is on"),
    ("narrowed", Form::Flag, "whether less is asked for than before"),
    ("network", Form::Text, "an IPv4 address, or the first address of a network"),
    ("node", Form::Text, "the bastion process"),
    ("note", Form::Text, "what somebody said to it"),
    ("notice", Form::Text, "id of a notice"),
    ("number", Form::Whole, "which forward of its session"),
    ("once", Form::Text, "what uses it up"),
    ("op", Form::Text, "what is done to the file"),
    ("path", Form::Text, "path at the target; what is not UTF-8 is `\\xNN`"),
    ("policy", Form::Text, "SHA-256 of the policy that was in force"),
    ("principals", Form::Texts, "principals of the certificate"),
    ("problem", Form::Text, "what went wrong last"),
    ("problems", Form::Whole, "how many problems"),
    ("provider", Form::Text, "name of an identity provider"),
    ("reason", Form::Text, "why; of requests and ended sign-ins in somebody's own words"),
    ("recording", Form::Text, "where the recording lies, below the folder of recordings"),
    ("recordings", Form::Objects, "`session`, and `n` and `sha256` of the newest line of its `chain.ndjson`"),
    ("recording_sha256", Form::Text, "SHA-256, in hex, of what seals the recording"),
    ("refusal", Form::Text, "why it was refused"),
    ("replaced", Form::Texts, "ids of sign-ins of the same key that ended with this one"),
    ("replaces", Form::Text, "SHA-256 of the policy before"),
    ("revoked", Form::Objects, "what is revoked now: `id`, `kind`, `authority`, `value`"),
    ("role", Form::Text, "name of a role; several with commas"),
    ("roles", Form::Texts, "names of roles"),
    ("rule", Form::Text, "the rule that spoke"),
    ("rules", Form::Texts, "names of the workloads of the policy that it is a member of"),
    ("run", Form::Object, "the run of a CI platform, as its token says"),
    ("second", Form::Text, "the second path, of renames, links and copies"),
    ("sent", Form::Text, "the command line that the target gets, where it is another than the client's"),
    ("seq", Form::Whole, "number of an entry of this log"),
    ("serial", Form::Text, "serial number of a certificate, decimal"),
    ("session", Form::Text, "id of a session"),
    ("sha256", Form::Text, "SHA-256 of the content, in hex"),
    ("sid", Form::Text, "the provider's id of a login"),
    ("sign_in", Form::Text, "id of a sign-in"),
    ("sign_ins", Form::Texts, "ids of sign-ins"),
    ("signature", Form::Text, "signature (SSHSIG) over `SEQ:HASH` and a newline"),
    ("since", Form::Whole, "Unix seconds"),
    ("sink", Form::Text, "name of a receiver"),
    ("stage", Form::Whole, "number of the stage, from 0"),
    ("stage_name", Form::Text, "name of the stage"),
    ("stages", Form::Objects, "who must approve: `name`, `approvers`, `needed`"),
    ("start", Form::Whole, "the start that was asked for, Unix seconds"),
    ("starts", Form::Whole, "Unix seconds"),
    ("sub", Form::Text, "the provider's name for a person"),
    ("subject", Form::Text, "the issuer's name for a person or workload"),
    ("target", Form::Text, "name of a target"),
    ("target_serial", Form::Text, "serial number, decimal, of the certificate for the target"),
    ("targets", Form::Texts, "names of targets"),
    ("ticket", Form::Text, "a ticket, as the person named it"),
    ("transfer", Form::Text, "the files that an old copying program moves"),
    ("unrecorded", Form::Whole, "sessions that went on unrecorded, because their role says so"),
    ("until", Form::Whole, "Unix seconds"),
    ("user", Form::Text, "only at this person, as asked for"),
    ("valid_before", Form::Whole, "end of the certificate, Unix seconds"),
    ("value", Form::Text, "of what, as given"),
    ("version", Form::Text, "version of the program; of `revoked` that of the list"),
    ("what", Form::Text, "what it is about"),
    ("who", Form::Text, "whose act or access it is: `provider:subject`, or a word such as `admin`"),
    ("who_kind", Form::Text, "`person` or `workload`"),
    ("why", Form::Text, "what went wrong"),
];

/// The names of all kinds.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// What happened in an entry of this kind; none for a kind that is not known here.
pub fn about(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|known| known.name == kind).map(|known| known.about)
}

/// The fields of a kind; those that `!` marks are left out by some of its entries.
fn fields_of(kind: &Kind) -> Vec<(Field, bool)> {
    let words = kind.fields.split_whitespace().flat_map(|word| match word {
        "PERSON" => PERSON.split(' ').collect(),
        "PARTY" => PARTY.split(' ').collect(),
        one => vec![one],
    });
    words.map(field).collect()
}

fn field(word: &'static str) -> (Field, bool) {
    let (word, form) = word.split_once(':').map_or((word, None), |(word, form)| (word, Some(form)));
    let (name, null, optional) = match (word.strip_suffix('?'), word.strip_suffix('!')) {
        (Some(name), _) => (name, true, false),
        (None, Some(name)) => (name, false, true),
        (None, None) => (word, false, false),
    };
    let known = FIELDS.iter().find(|(known, ..)| *known == name);
    let form = match form {
        Some("whole") => Form::Whole,
        Some("text") => Form::Text,
        Some(_) | None => known.map_or(Form::Text, |(_, form, _)| *form),
    };
    let about = known.map_or("", |(_, _, about)| *about);
    (Field { name, form, null, about }, optional)
}

/// What does not fit the schema, if anything.
pub fn misfit(kind: &str, fields: &Value) -> Option<String> {
    let Some(known) = KINDS.iter().find(|known| known.name == kind) else {
        return Some(format!("no kind {kind:?} stands in audit/schema.rs"));
    };
    let Value::Object(given) = fields else { return Some(format!("{kind}: the fields are no object")) };
    let wanted = fields_of(known);
    for (field, optional) in &wanted {
        match given.get(field.name) {
            None if *optional => {}
            None => return Some(format!("{kind}: {:?} is missing", field.name)),
            Some(value) if fits(*field, value) => {}
            Some(value) => return Some(format!("{kind}: {:?} is {value}", field.name)),
        }
    }
    let stranger = given.keys().find(|name| !wanted.iter().any(|(field, _)| field.name == *name));
    stranger.map(|name| format!("{kind}: {name:?} does not stand in audit/schema.rs"))
}

fn fits(field: Field, value: &Value) -> bool {
    let all = |is: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(is));
    if value.is_null() {
        return field.null;
    }
    match field.form {
        Form::Text => value.is_string(),
        Form::Whole => value.is_u64(),
        Form::Flag => value.is_boolean(),
        Form::Texts => all(Value::is_string),
        Form::Object => value.is_object(),
        Form::Objects => all(Value::is_object),
    }
}

/// JSON Schema (draft 2020-12) of one line of an export.
pub fn json_schema() -> Value {
    let hash = json!({ "type": ["string", "null"], "pattern": "^[0-9a-f]{64}$" });
    let kinds: Vec<Value> = KINDS.iter().map(kind_schema).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One entry of Caponier's audit log, as `caponier audit export` writes it",
        "type": "object",
        "required": ["seq", "at", "kind", "fields", "prev", "hash"],
        "properties": {
            "seq": { "type": "integer", "minimum": 1, "description": "its number: rising, without gaps" },
            "at": { "type": "string", "format": "date-time", "description": "when, in UTC, with milliseconds" },
            "kind": { "type": "string" },
            "fields": { "type": "object" },
            "prev": hash,
            "hash": hash,
        },
        "oneOf": kinds,
    })
}

fn kind_schema(kind: &Kind) -> Value {
    let fields = fields_of(kind);
    let required: Vec<&str> =
        fields.iter().filter(|(_, optional)| !optional).map(|(field, _)| field.name).collect();
    let mut properties = Map::new();
    for (field, _) in &fields {
        properties.insert(field.name.to_owned(), field_schema(*field));
    }
    json!({
        "title": kind.name,
        "description": kind.about,
        "properties": {
            "kind": { "const": kind.name },
            "fields": { "type": "object", "required": required, "properties": properties },
        },
    })
}

fn field_schema(field: Field) -> Value {
    let (name, items) = match field.form {
        Form::Text => ("string", None),
        Form::Whole => ("integer", None),
        Form::Flag => ("boolean", None),
        Form::Object => ("object", None),
        Form::Texts => ("array", Some("string")),
        Form::Objects => ("array", Some("object")),
    };
    let name = if field.null { json!([name, "null"]) } else { json!(name) };
    let mut schema = json!({ "type": name, "description": field.about });
    if let (Some(items), Value::Object(all)) = (items, &mut schema) {
        all.insert("items".into(), json!({ "type": items }));
    }
    schema
}

/// The schema for people: each kind with its fields.
pub fn text() -> String {
    let mut text = String::new();
    for kind in KINDS {
        text.push_str(&format!("{}\n  {}\n", kind.name, kind.about));
        for (field, optional) in fields_of(kind) {
            let form = match field.form {
                Form::Text => "text",
                Form::Whole => "whole number",
                Form::Flag => "true or false",
                Form::Texts => "texts",
                Form::Object => "object",
                Form::Objects => "objects",
            };
            let may = if field.null || optional { " or none" } else { "" };
            text.push_str(&format!("    {:18} {form}{may}: {}\n", field.name, field.about));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The words in the arms of every `fn kind` of this folder: `Self::X { .. } => "word"`.
    fn kinds_in_code() -> BTreeSet<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/audit");
        let mut found = BTreeSet::new();
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|path| path.is_file()) {
            let text = std::fs::read_to_string(file).unwrap();
            for part in text.split("fn kind(&self) -> &'static str {").skip(1) {
                let body = part.split("\n    }\n").next().unwrap();
                let words =
                    body.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
                found.extend(words);
            }
        }
        assert!(found.len() > 30 && found.contains("run_over"), "the code was not understood: {found:?}");
        found
    }

    #[test]
    fn every_kind_that_can_be_written_stands_here_and_no_other() {
        let here: BTreeSet<String> = kinds().map(str::to_owned).collect();
        assert_eq!(here.len(), KINDS.len(), "one twice");
        assert_eq!(here, kinds_in_code());
    }

    #[test]
    fn every_field_is_explained_and_used() {
        let used: BTreeSet<&str> = KINDS.iter().flat_map(fields_of).map(|(field, _)| field.name).collect();
        let known: BTreeSet<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
        // `roles` of policy_loaded is a number.
        assert_eq!(used, known);
        assert_eq!(known.len(), FIELDS.len(), "one twice");
    }

    #[test]
    fn what_does_not_fit() {
        let fits = json!({ "version": "1", "interrupted": 2 });
        assert_eq!(misfit("server_started", &fits), None);
        for (kind, fields, says) in [
            ("server_stared", fits.clone(), "no kind"),
            ("server_started", json!([]), "no object"),
            ("server_started", json!({ "version": "1" }), "\"interrupted\" is missing"),
            ("server_started", json!({ "version": null, "interrupted": 2 }), "\"version\" is null"),
            ("server_started", json!({ "version": "1", "interrupted": -2 }), "is -2"),
            ("server_started", json!({ "version": "1", "interrupted": 2, "x": 1 }), "\"x\" does not stand"),
            ("unlocked", json!({ "lock": [], "kind": "user", "name": "x", "by": "y" }), "\"lock\" is []"),
        ] {
            let said = misfit(kind, &fields).unwrap();
            assert!(said.contains(says), "{said}");
        }
        let schema = json_schema();
        assert_eq!(schema["oneOf"].as_array().unwrap().len(), KINDS.len());
        assert!(text().contains("session_closed\n  A session ended.\n    session"));
    }
}
