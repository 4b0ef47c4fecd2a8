//! What the audit log holds, written down for those who read it: every kind of entry with its fields. Tests hold that nothing is
//! written that does not stand here. Names and meanings are a promise: fields are added, never renamed or taken away.

mod words;

use serde_json::{Map, Value, json};

use words::{FIELDS, KINDS, PARTY, PERSON};

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
        return Some(format!("no kind {kind:?} stands in audit/schema"));
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
    stranger.map(|name| format!("{kind}: {name:?} does not stand in audit/schema"))
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
