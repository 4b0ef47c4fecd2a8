//! Reads the `files` of a role. What could never match, and what says nothing, does not load.

use std::path::Path;

use super::pattern::Pattern;
use super::rule::Rule;
use super::{FileOp, FileRules};
use crate::config::{At, Document, Problem, Section, hint};

/// Longest name of a rule, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most patterns of a role: each one costs a little for each operation.
const PATTERNS_MAX: usize = 1024;

/// Reads a text that holds one `files` array and nothing else: rules on their own, for tests and tools. `file` is what
/// problems are said to stand in.
pub fn read_alone(file: &Path, text: &str) -> Result<FileRules, Vec<Problem>> {
    let doc = Document::new(file, text);
    let rules = doc.parse().map(|table| {
        let mut top = Section::top(&doc, table.get_ref());
        let sections = top.children("files");
        let rules = read(sections);
        top.finish();
        rules
    });
    match rules {
        Some(rules) if doc.is_clean() => Ok(rules),
        Some(_) | None => Err(doc.into_problems()),
    }
}

/// Reads the tables of one `files` array that was given: one layer. Problems are noted in the tables, which are closed.
/// An array with nothing in it is the caller's to refuse; read, it allows nothing.
pub(in crate::policy) fn read(sections: Vec<Section<'_>>) -> FileRules {
    let mut layer: Vec<Rule> = Vec::new();
    let mut patterns = 0;
    for (number, mut section) in sections.into_iter().enumerate() {
        if let Some(rule) = rule(&mut section, number + 1) {
            patterns += rule.paths.len();
            if patterns > PATTERNS_MAX {
                section.problem(section.place, format!("a role has at most {PATTERNS_MAX} path patterns"));
            }
            if layer.iter().any(|other| other.name == rule.name) {
                let place = section.place_of("name").unwrap_or(section.place);
                section.problem(place, format!("there is a rule {:?} in this list already", rule.name));
            }
            layer.push(rule);
        }
        section.finish();
    }
    FileRules { layers: vec![layer] }
}

fn rule(section: &mut Section<'_>, number: usize) -> Option<Rule> {
    if section.only_one(&["allow", "deny"]) == 0 {
        let example = "allow = [\"read\", \"list\"] or deny = [\"*\"]";
        section.problem(section.place, format!("the rule neither allows nor denies: write {example}"));
    }
    let allowed = ops(section, "allow");
    let denied = ops(section, "deny");
    section.require("paths", "the patterns of the rule, such as [\"/srv/upload/**\", \"~/**\"]");
    let paths = paths(section);
    let name = name(section).unwrap_or_else(|| format!("files number {number}"));
    let (allow, ops) = match (allowed, denied) {
        (Some(ops), None) => (true, ops),
        (None, Some(ops)) => (false, ops),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(Rule { allow, ops, paths, name })
}

fn ops(section: &mut Section<'_>, key: &'static str) -> Option<Vec<FileOp>> {
    let texts = section.texts(key)?;
    if section.is_empty_array(key) {
        let place = texts.place;
        section.problem(place, format!("{key:?} is empty: name operations, or [\"*\"] for all"));
    }
    let mut ops = Vec::new();
    let star = texts.value.iter().any(|text| text.value == "*");
    for text in &texts.value {
        let found: &[FileOp] = match text.value {
            "*" => &FileOp::ALL,
            word => match FileOp::ALL.iter().position(|op| op.as_str() == word) {
                Some(at) => FileOp::ALL.get(at..=at).unwrap_or_default(),
                None => {
                    let known: Vec<&str> = FileOp::ALL.iter().map(|op| op.as_str()).collect();
                    let message = format!(
                        "unknown operation {word:?}{}: there are {} and \"*\"",
                        hint(word, &known),
                        known.join(", ")
                    );
                    section.problem(text.place, message);
                    &[]
                }
            },
        };
        if star && text.value != "*" {
            section
                .problem(text.place, format!("\"*\" is every operation already; leave out {:?}", text.value));
        } else if found.iter().any(|op| ops.contains(op)) {
            section.problem(text.place, format!("{:?} is listed twice", text.value));
        } else {
            ops.extend_from_slice(found);
        }
    }
    Some(ops)
}

fn paths(section: &mut Section<'_>) -> Vec<Pattern> {
    let Some(texts) = section.texts("paths") else { return Vec::new() };
    if section.is_empty_array("paths") {
        section.problem(texts.place, "\"paths\" is empty, so the rule could never match");
    }
    let mut patterns: Vec<Pattern> = Vec::new();
    for At { value, place } in texts.value {
        match Pattern::parse(value) {
            Err(error) => section.problem(place, format!("{value:?}: {error}")),
            Ok(pattern) if patterns.contains(&pattern) => {
                section.problem(place, format!("{value:?} is listed twice"));
            }
            Ok(pattern) => patterns.push(pattern),
        }
    }
    patterns
}

fn name(section: &mut Section<'_>) -> Option<String> {
    let At { value, place }: At<&str> = section.text("name")?;
    let good =
        !value.trim().is_empty() && value.len() <= NAME_BYTES_MAX && !value.chars().any(char::is_control);
    if !good {
        section.problem(place, format!("a rule's name is 1 to {NAME_BYTES_MAX} bytes of text on one line"));
    }
    good.then(|| value.to_owned())
}
