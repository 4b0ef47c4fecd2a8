//! Judges one command line by one set. Pure: a reading in, a finding out.

use super::rule::Rule;
use super::{Assurance, CommandSet, DefaultRule, Finding, Pin, Verdict};
use crate::inspect::command::{Classified, Opaque, Reading, Word, classify, quote, runs_others};

/// Longest command that is repeated in a reason, in characters.
const SHOWN_CHARS_MAX: usize = 120;

impl CommandSet {
    /// The verdict of this set on the line.
    pub fn judge(&self, reading: &Reading) -> Finding {
        if self.is_pinned(reading) {
            return Finding {
                verbatim: true,
                why: "the line is pinned byte for byte".to_owned(),
                ..self.finding(Verdict::Allow, true, "pinned")
            };
        }
        match (reading.argvs(), reading.opaque()) {
            (Some(argvs), _) => self.judge_commands(argvs, reading.party()),
            (None, Some(opaque)) => self.judge_opaque(reading, opaque),
            // A reading is one of the two.
            (None, None) => self.finding(Verdict::Deny, false, "opaque"),
        }
    }

    fn is_pinned(&self, reading: &Reading) -> bool {
        let text = str::from_utf8(reading.raw()).ok().map(|text| Pin::Text(text.to_owned()));
        !self.pinned.is_empty()
            && (text.is_some_and(|pin| self.pinned.contains(&pin))
                || self.pinned.contains(&Pin::Sha256(reading.sha256())))
    }

    fn judge_commands(&self, argvs: &[Vec<String>], party: &str) -> Finding {
        let mut worst: Option<Finding> = None;
        let mut all_explicit = true;
        for argv in argvs {
            let found = self.judge_command(argv, party);
            all_explicit &= found.explicit;
            let rank = |finding: &Finding| (finding.verdict, finding.explicit);
            if worst.as_ref().is_none_or(|worst| rank(&found) > rank(worst)) {
                worst = Some(found);
            }
        }
        let mut worst = worst.unwrap_or_else(|| self.finding(Verdict::Deny, false, "default"));
        if worst.verdict == Verdict::Allow {
            worst.explicit = all_explicit;
        }
        worst
    }

    fn judge_command(&self, argv: &[String], party: &str) -> Finding {
        let words: Vec<Option<&str>> = argv.iter().map(|word| Some(word.as_str())).collect();
        if let Some(rule) = self.deny.iter().find(|rule| rule.catches(&words)) {
            return self.by_rule(Verdict::Deny, rule, argv);
        }
        let allow = self.allow.iter().find(|rule| rule.grants(argv));
        let found = match allow {
            None if self.default == DefaultRule::Deny => self.asked_for(argv),
            // What is open already, a review rule narrows: generously, or an option more would lead past it.
            _ => match (self.review.iter().find(|rule| rule.catches(&words)), allow) {
                (Some(rule), _) => self.by_rule(Verdict::Review, rule, argv),
                (None, Some(rule)) => self.by_rule(Verdict::Allow, rule, argv),
                (None, None) => Finding {
                    why: format!("no rule matches {}", shown(argv)),
                    ..self.finding(Verdict::Allow, false, "default")
                },
            },
        };
        // An author who allows `sudo` by name has said so; otherwise what it runs is looked at as well.
        if allow.is_none() && is_looked_into(argv) {
            return self.detect(line(argv).as_bytes(), party, found);
        }
        found
    }

    /// A command that no rule allows, in a set that lets nothing else through.
    fn asked_for(&self, argv: &[String]) -> Finding {
        match self.review.iter().find(|rule| rule.grants(argv)) {
            Some(rule) => self.by_rule(Verdict::Review, rule, argv),
            None => Finding {
                why: format!("no rule allows {}", shown(argv)),
                ..self.finding(Verdict::Deny, false, "default")
            },
        }
    }

    /// Of a line that another role lets through: what stops it here all the same, because it cannot be told what it
    /// runs. None where it is certain that no deny or review rule means it, and where it is pinned.
    pub fn objection(&self, reading: &Reading) -> Option<Finding> {
        if self.is_pinned(reading) {
            return None;
        }
        let passing = || Finding { verbatim: true, ..self.finding(Verdict::Allow, false, "default") };
        let looked_into =
            |argv: &&Vec<String>| is_looked_into(argv) && !self.allow.iter().any(|rule| rule.grants(argv));
        let findings: Vec<Finding> = match reading.argvs() {
            None => vec![self.detect(reading.raw(), reading.party(), passing())],
            Some(argvs) => {
                let argvs = argvs.iter().filter(looked_into);
                argvs.map(|argv| self.detect(line(argv).as_bytes(), reading.party(), passing())).collect()
            }
        };
        let against = findings.into_iter().filter(|finding| finding.verdict != Verdict::Allow);
        against.max_by_key(|finding| finding.verdict)
    }

    fn judge_opaque(&self, reading: &Reading, opaque: &Opaque) -> Finding {
        let setting = Finding {
            verbatim: self.opaque != Verdict::Deny,
            // What is refused is refused; what passes was not judged by its words.
            assurance: if self.opaque == Verdict::Deny { Assurance::Enforced } else { Assurance::Detected },
            why: format!("the line cannot be read word for word: {opaque}"),
            ..self.finding(self.opaque, false, "opaque")
        };
        self.detect(reading.raw(), reading.party(), setting)
    }

    /// Looks for commands inside the line that a deny or review rule could mean, and makes `otherwise` stricter when
    /// there are some. Where the line would pass otherwise, one that cannot be understood does not.
    fn detect(&self, line: &[u8], party: &str, otherwise: Finding) -> Finding {
        if self.deny.is_empty() && self.review.is_empty() {
            return otherwise;
        }
        let commands = match classify(line, party) {
            Classified::Commands(commands) => commands,
            Classified::Busy(reason) => return Finding { busy: true, ..self.not_known(&reason, otherwise) },
            Classified::Unknown(reason) => return self.not_known(&reason, otherwise),
        };
        // What is not known could be what a rule names. Where the line is refused anyway, that is no reason to blame
        // the rule: only `*` and `**` match it there.
        let stand_in = (otherwise.verdict == Verdict::Deny).then_some("\u{FFFD}");
        let caught_by = |rules: &[Rule]| {
            commands.iter().find_map(|argv| {
                let words: Vec<Option<&str>> = argv.iter().map(|word| known(word).or(stand_in)).collect();
                // A program that is not known could be any; that is said below, in words of its own.
                let program = argv.first().and_then(known);
                let rule = rules.iter().find(|rule| program.is_some() && rule.catches(&words))?;
                Some((rule.clone(), shown_found(argv)))
            })
        };
        let unnamed = commands.iter().any(|argv| !matches!(argv.first(), Some(Word::Literal(_))));
        let (verdict, (rule, shown)) = if let Some(caught) = caught_by(&self.deny) {
            (Verdict::Deny, caught)
        } else if unnamed {
            return self.not_known("a program's name is not known before the line runs", otherwise);
        } else if let Some(caught) = caught_by(&self.review) {
            // In a line that is refused anyway, this makes the refusal an explicit one.
            (otherwise.verdict.max(Verdict::Review), caught)
        } else {
            return otherwise;
        };
        if (verdict, true) <= (otherwise.verdict, otherwise.explicit) {
            return otherwise;
        }
        Finding {
            message: rule.message.clone(),
            assurance: Assurance::Detected,
            verbatim: otherwise.verbatim,
            why: format!("the line seems to run {shown}"),
            ..self.finding(verdict, true, &rule.name)
        }
    }

    fn not_known(&self, reason: &str, otherwise: Finding) -> Finding {
        if otherwise.verdict == Verdict::Deny {
            return otherwise;
        }
        Finding {
            assurance: Assurance::Detected,
            why: format!("it cannot be told whether a rule of this set stops what the line runs: {reason}"),
            ..self.finding(Verdict::Deny, true, "not understood")
        }
    }

    fn by_rule(&self, verdict: Verdict, rule: &Rule, argv: &[String]) -> Finding {
        Finding {
            message: rule.message.clone(),
            why: format!("a rule matches {}", shown(argv)),
            ..self.finding(verdict, true, &rule.name)
        }
    }

    fn finding(&self, verdict: Verdict, explicit: bool, rule: &str) -> Finding {
        Finding {
            verdict,
            explicit,
            rule: format!("{}: {rule}", self.name),
            message: None,
            assurance: Assurance::Enforced,
            verbatim: false,
            why: String::new(),
            busy: false,
        }
    }
}

/// Whether what a command runs is looked at, besides its own words.
fn is_looked_into(argv: &[String]) -> bool {
    argv.first().is_some_and(|program| runs_others(program))
}

/// The command as it would be sent.
fn line(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
    words.join(" ")
}

fn known(word: &Word) -> Option<&str> {
    match word {
        Word::Literal(word) => Some(word),
        Word::Dynamic => None,
    }
}

/// A command for people, shortened.
fn shown(argv: &[String]) -> String {
    shortened(&line(argv))
}

/// As [`shown`], with dots for what is not known.
fn shown_found(argv: &[Word]) -> String {
    let words: Vec<String> =
        argv.iter().map(|word| known(word).map_or_else(|| "...".to_owned(), quote)).collect();
    // What a parser found may hold anything, and goes to terminals and logs.
    let text: String = words.join(" ").chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    shortened(&text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("`{}...`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}
