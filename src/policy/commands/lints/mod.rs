//! What is unwise in a set of command rules, though it loads: programs that open a shell, rules that never matter,
//! lists that can be walked around. Hints for the author; nothing here decides. Shadowing is told only where it is
//! certain: rules whose words can be compared one by one.

mod programs;

use super::pattern::{WordPattern, file_name};
use super::rule::Rule;
use super::{CommandSet, DefaultRule, Verdict};
use programs::{PROGRAMS, Risk};

/// A hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// A stable word for the kind of hint.
    pub code: &'static str,
    /// What it is about: `web-deploy: restart web`, or the name of the set.
    pub rule: String,
    /// What is unwise, and what to write instead.
    pub text: String,
}

impl CommandSet {
    /// Everything that is unwise in this set, the set itself first, then its rules in their order.
    pub fn lints(&self) -> Vec<Lint> {
        let mut lints = Vec::new();
        let mut add = |code, rule: Option<&Rule>, text: String| {
            let rule = rule.map_or_else(|| self.name.clone(), |rule| format!("{}: {}", self.name, rule.name));
            lints.push(Lint { code, rule, text });
        };
        for (code, text) in self.settings() {
            add(code, None, text.to_owned());
        }
        for (number, rule) in self.allow.iter().enumerate() {
            if !rule.accepts_shell_escape
                && let Some(text) = escapes(rule)
            {
                add("shell-escape", Some(rule), text);
            }
            if rule.rest && rule.options.iter().any(WordPattern::is_any_option) {
                add(
                    "every-argument",
                    Some(rule),
                    "it lets every argument through; name the options that are needed".to_owned(),
                );
            }
            if let Some(text) = self.shadowed(rule, number) {
                add("shadowed-rule", Some(rule), text);
            }
        }
        if self.default == DefaultRule::Allow {
            for rule in self.deny.iter().chain(&self.review).filter(|rule| !rule.rest) {
                let text = "one word more gets past it; end \"argv\" with \"**\" if that is not meant";
                add("narrow-deny", Some(rule), text.to_owned());
            }
        }
        lints
    }

    /// Rules that let a program through which opens a shell or runs other programs, also those whose author has accepted
    /// that: the name of the rule, and what the program does.
    pub fn escapes(&self) -> Vec<(String, String)> {
        let named = |rule: &Rule| Some((format!("{}: {}", self.name, rule.name), escape(rule)?));
        self.allow.iter().filter_map(named).collect()
    }

    /// What is unwise in the set's own settings.
    fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let mut texts = Vec::new();
        if self.default == DefaultRule::Allow {
            texts.push((
                "default-allow",
                "default = \"allow\": a deny list can be walked around (a copy of the program, a script, an editor); \
                 it prevents mistakes, not intent. List what is allowed instead",
            ));
        }
        match (self.default, self.opaque) {
            (DefaultRule::Deny, Verdict::Allow) => texts.push((
                "opaque-allow",
                "opaque = \"allow\": a `$` or `>` anywhere makes a line opaque, so every command passes in some line; \
                 pin the lines that are needed instead",
            )),
            (DefaultRule::Allow, Verdict::Allow) => texts.push((
                "opaque-allow",
                "opaque = \"allow\": in lines that are not read word for word, deny and review rules are held against \
                 what a parser finds, which may be wrong",
            )),
            (_, Verdict::Deny | Verdict::Review) => {}
        }
        texts
    }

    /// Why an allow rule never matters.
    fn shadowed(&self, rule: &Rule, number: usize) -> Option<String> {
        if let Some(by) = self.deny.iter().find(|by| by.always_catches(rule)) {
            return Some(format!(
                "it never matters: \"{}\" denies everything it allows; remove one of them",
                by.name
            ));
        }
        if let Some(by) = self.review.iter().find(|by| by.always_catches(rule)) {
            return Some(format!(
                "it never allows: \"{}\" holds everything it matches; remove one of them",
                by.name
            ));
        }
        let by = self.allow.iter().take(number).find(|by| by.always_grants(rule))?;
        Some(format!("it never matters: \"{}\" allows everything it does; remove it", by.name))
    }
}

fn escapes(rule: &Rule) -> Option<String> {
    let escape = escape(rule)?;
    Some(format!("{escape}; write its arguments out, or set accepts_shell_escape = true if that is wanted"))
}

/// The program of the rule that can open a shell, or run or write something else, as far as the rule lets it.
fn escape(rule: &Rule) -> Option<String> {
    let open = match rule.program.literals() {
        Some(names) => names.into_iter().find_map(|name| Some((name, open_risk(rule, plain_name(name))?))),
        None => PROGRAMS.iter().flat_map(|risk| risk.names).find_map(|name| {
            let found = rule.program.could_run(name);
            found.then(|| Some((*name, open_risk(rule, name)?))).flatten()
        }),
    };
    let (name, risk) = open?;
    Some(format!("`{name}` {}", risk.how))
}

/// The risk of the program, if the rule leaves it open.
fn open_risk(rule: &Rule, name: &str) -> Option<&'static Risk> {
    let risk = PROGRAMS.iter().find(|risk| risk.names.contains(&name))?;
    let all = || rule.words.iter().chain(&rule.options);
    let literal = !rule.rest && all().all(|word| word.literals().is_some());
    let open = match risk.when {
        programs::When::Always => true,
        programs::When::Unrestricted => !literal,
        programs::When::Interpreter => !literal || rule.words.is_empty(),
        programs::When::AnyFile => rule.rest || all().any(|word| word.is_any() || word.is_any_option()),
    };
    open.then_some(risk)
}

/// `/usr/bin/python3.11`, `vim.basic`: the name without folder, version and flavour.
fn plain_name(program: &str) -> &str {
    let name = file_name(program);
    // `.` is itself the name of a program.
    let name = name.split('.').next().filter(|name| !name.is_empty()).unwrap_or(name);
    let shorter = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if shorter.is_empty() { name } else { shorter }
}

impl Rule {
    /// Certain that it grants whatever `other` grants. `false` says nothing.
    fn always_grants(&self, other: &Self) -> bool {
        let Some((same, more)) = other.words.split_at_checked(self.words.len()) else { return false };
        self.program.covers(&other.program)
            && self.words.iter().zip(same).all(|(own, theirs)| own.covers(theirs))
            && (self.rest && more.iter().all(|word| !word.has_option())
                || !self.rest && more.is_empty() && !other.rest)
            && other.options.iter().all(|option| self.options.iter().any(|own| own.text == option.text))
    }

    /// Certain that it catches whatever `other` grants. `false` says nothing.
    fn always_catches(&self, other: &Self) -> bool {
        let Some((same, more)) = other.words.split_at_checked(self.words.len()) else { return false };
        let program = match other.program.literals() {
            Some(names) => names.into_iter().all(|name| self.program.could_run(name)),
            None => self.program.text == other.program.text,
        };
        program
            && self.words.iter().zip(same).all(|(own, theirs)| match theirs.literals() {
                Some(words) => words.into_iter().all(|word| own.could_be(word)),
                None => own.is_any() || own.text == theirs.text,
            })
            && (self.rest || more.is_empty() && !other.rest)
    }
}

impl WordPattern {
    /// Certain that it fits whatever `other` fits.
    fn covers(&self, other: &Self) -> bool {
        match other.literals() {
            Some(words) => words.into_iter().all(|word| self.fits(word)),
            None => self.text == other.text || self.is_any() && !other.has_option(),
        }
    }
}
