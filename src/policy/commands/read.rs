//! Reads one `[[commands]]`. A pattern that would match everything, or nothing, does not load.

use std::collections::BTreeSet;
use std::path::Path;

use super::pattern::WordPattern;
use super::rule::Rule;
use super::{CommandSet, DefaultRule, Pin, Verdict};
use crate::config::{At, Document, Problem, Section, hint};

/// Longest name of a rule and longest message, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Reads a text that holds `[[commands]]` tables and nothing else: sets on their own, for tests and tools. `file` is
/// what problems are said to stand in.
pub fn read_sets(file: &Path, text: &str) -> Result<Vec<CommandSet>, Vec<Problem>> {
    let doc = Document::new(file, text);
    let sets = doc.parse().map(|table| {
        let mut top = Section::top(&doc, table.get_ref());
        let mut sets = Vec::new();
        for mut section in top.children("commands") {
            sets.extend(read(&mut section));
            section.finish();
        }
        top.finish();
        sets
    });
    match sets {
        Some(sets) if doc.is_clean() => Ok(sets),
        Some(_) | None => Err(doc.into_problems()),
    }
}

/// Reads the table; `None` when something it cannot do without is wrong (which has been noted).
pub(in crate::policy) fn read(section: &mut Section<'_>) -> Option<CommandSet> {
    section.require("name", "what roles call this set");
    let name = section.text("name");
    let name = name.filter(|name| {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good = (1..=64).contains(&name.value.len())
            && name.value.bytes().all(word)
            && name.value.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !good {
            let rule = "1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit";
            section.problem(name.place, format!("{:?} is not a name for a set: {rule}", name.value));
        }
        good
    });
    let default = choice(section, "default", &[("deny", DefaultRule::Deny), ("allow", DefaultRule::Allow)]);
    let settings =
        [Verdict::Deny, Verdict::Review, Verdict::Allow].map(|verdict| (verdict.as_str(), verdict));
    let opaque = choice(section, "opaque", &settings);
    let set = CommandSet {
        name: name?.value.to_owned(),
        default: default.unwrap_or_default(),
        opaque: opaque.unwrap_or(Verdict::Deny),
        pinned: pins(section),
        allow: rules(section, "allow"),
        review: rules(section, "review"),
        deny: rules(section, "deny"),
    };
    let lists = ["pinned", "allow", "review"];
    if set.default == DefaultRule::Deny
        && set.opaque == Verdict::Deny
        && lists.iter().all(|key| section.place_of(key).is_none() || section.is_empty_array(key))
    {
        let message = "the set lets nothing through: give \"allow\", \"review\" or \"pinned\", or leave \"exec\" \
                       out of the role's channels";
        section.problem(section.place, message);
    }
    Some(set)
}

fn choice<T: Copy>(section: &mut Section<'_>, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
    let text = section.text(key)?;
    let found = choices.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let hint = hint(text.value, &names);
        section.problem(text.place, format!("{key:?} cannot be {:?}{hint}", text.value));
    }
    found
}

fn pins(section: &mut Section<'_>) -> BTreeSet<Pin> {
    let mut pins = BTreeSet::new();
    for text in section.texts("pinned").map(|at| at.value).unwrap_or_default() {
        match pin(text.value) {
            Err(message) => section.problem(text.place, message),
            Ok(pin) => {
                if !pins.insert(pin) {
                    section.problem(text.place, "this line is pinned twice");
                }
            }
        }
    }
    pins
}

fn pin(text: &str) -> Result<Pin, String> {
    let Some(hex) = text.strip_prefix("sha256:") else {
        return match text.trim() {
            "" => Err("an empty line cannot be pinned".into()),
            _ => Ok(Pin::Text(text.to_owned())),
        };
    };
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(
            "behind \"sha256:\" stand the 64 hex digits that `printf %s 'LINE' | sha256sum` prints".into()
        );
    }
    Ok(Pin::Sha256(hex.to_ascii_lowercase()))
}

fn rules(section: &mut Section<'_>, list: &'static str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut names = BTreeSet::new();
    for (number, mut table) in section.children(list).into_iter().enumerate() {
        table.require(
            "argv",
            "the words of the command, such as [\"systemctl\", \"restart\", \"nginx|haproxy\"]",
        );
        let argv = table.texts("argv");
        let options = options(&mut table);
        let name = line(&mut table, "name");
        if let Some(name) = &name
            && !names.insert(name.value.clone())
        {
            table.problem(name.place, format!("there is a rule {:?} in this list already", name.value));
        }
        let message = line(&mut table, "message");
        let accepts = table.flag("accepts_shell_escape");
        misplaced(&table, list);
        if let Some((program, words, rest)) = argv.and_then(|argv| patterns(&table, &argv)) {
            rules.push(Rule {
                name: name.map_or_else(|| format!("{list} {}", number + 1), |name| name.value),
                program,
                words,
                rest,
                options,
                message: message.map(|message| message.value),
                accepts_shell_escape: accepts.is_some_and(|flag| flag.value),
            });
        }
        table.finish();
    }
    rules
}

/// Keys that say nothing in this list.
fn misplaced(table: &Section<'_>, list: &str) {
    let (key, lists) = match list {
        "allow" => ("message", "\"deny\" or \"review\": nobody is told anything when a command is allowed"),
        _ => ("accepts_shell_escape", "\"allow\": a rule that stops a command accepts nothing"),
    };
    if let Some(place) = table.place_of(key) {
        table.problem(place, format!("{key:?} goes with {lists}"));
    }
}

/// Text on one line, for people.
fn line(table: &mut Section<'_>, key: &'static str) -> Option<At<String>> {
    let text = table.text(key)?;
    let bad = text.value.trim().is_empty()
        || text.value.len() > TEXT_BYTES_MAX
        || text.value.chars().any(char::is_control);
    if bad {
        table.problem(text.place, format!("{key:?} is 1 to {TEXT_BYTES_MAX} bytes of text on one line"));
        return None;
    }
    Some(At { value: text.value.to_owned(), place: text.place })
}

fn options(table: &mut Section<'_>) -> Vec<WordPattern> {
    let mut options: Vec<WordPattern> = Vec::new();
    for text in table.texts("options").map(|at| at.value).unwrap_or_default() {
        let Some(pattern) = word(table, &text) else { continue };
        if !pattern.is_option() {
            let message =
                format!("{:?}: an option begins with a dash; other words stand in \"argv\"", text.value);
            table.problem(text.place, message);
        } else if options.contains(&pattern) {
            table.problem(text.place, format!("{:?} is listed twice", text.value));
        } else {
            options.push(pattern);
        }
    }
    options
}

fn word(table: &Section<'_>, text: &At<&str>) -> Option<WordPattern> {
    match WordPattern::parse(text.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            table.problem(text.place, error.to_string());
            None
        }
    }
}

type Patterns = (WordPattern, Vec<WordPattern>, bool);

/// The program, the words behind it, and whether a `**` ends them.
fn patterns(table: &Section<'_>, argv: &At<Vec<At<&str>>>) -> Option<Patterns> {
    let mut read: Vec<At<WordPattern>> = Vec::new();
    for text in &argv.value {
        read.push(At { value: word(table, text)?, place: text.place });
    }
    if table.is_empty_array("argv") {
        table.problem(argv.place, "\"argv\" is empty: its first word is the program");
    }
    let (first, others) = read.split_first()?;
    let mut good = true;
    let mut problem = |at: &At<WordPattern>, message: &str| {
        table.problem(at.place, message);
        good = false;
    };
    if first.value.is_boundless() {
        let message = "the first word is the program, and this would be any: name it (what no rule matches gets the \
                       set's \"default\")";
        problem(first, message);
    } else if first.value.has_option() {
        problem(first, "the first word is the program; it cannot begin with a dash");
    }
    let (rest, inner) = match others.split_last() {
        Some((last, inner)) if last.value.is_rest() => (true, inner),
        Some(_) | None => (false, others),
    };
    for at in inner.iter().filter(|at| at.value.is_rest()) {
        problem(at, "\"**\" is the rest of the words, so it stands last; one word is \"*\"");
    }
    let words = inner.iter().map(|at| at.value.clone()).collect();
    good.then(|| (first.value.clone(), words, rest))
}
