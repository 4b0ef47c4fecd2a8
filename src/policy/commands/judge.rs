//! Judges one command line by one set. Pure: a reading in, a finding out.

use super::rule::Rule;
use super::{Assurance, CommandSet, DefaultRule, Finding, Pin, Verdict};
use crate::inspect::command::{Opaque, Reading, quote};

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
            (Some(argvs), _) => self.judge_commands(argvs),
            (None, Some(opaque)) => self.judge_opaque(opaque),
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

    fn judge_commands(&self, argvs: &[Vec<String>]) -> Finding {
        let mut worst: Option<Finding> = None;
        let mut all_explicit = true;
        for argv in argvs {
            let found = self.judge_command(argv);
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

    fn judge_command(&self, argv: &[String]) -> Finding {
        let words: Vec<Option<&str>> = argv.iter().map(|word| Some(word.as_str())).collect();
        if let Some(rule) = self.deny.iter().find(|rule| rule.catches(&words)) {
            return self.by_rule(Verdict::Deny, rule, argv);
        }
        let allow = self.allow.iter().find(|rule| rule.grants(argv));
        if allow.is_none() && self.default == DefaultRule::Deny {
            return match self.review.iter().find(|rule| rule.grants(argv)) {
                Some(rule) => self.by_rule(Verdict::Review, rule, argv),
                None => Finding {
                    why: format!("no rule allows {}", shown(argv)),
                    ..self.finding(Verdict::Deny, false, "default")
                },
            };
        }
        // What is open already, a review rule narrows: generously, or an option more would lead past it.
        if let Some(rule) = self.review.iter().find(|rule| rule.catches(&words)) {
            return self.by_rule(Verdict::Review, rule, argv);
        }
        match allow {
            Some(rule) => self.by_rule(Verdict::Allow, rule, argv),
            None => Finding {
                why: format!("no rule matches {}", shown(argv)),
                ..self.finding(Verdict::Allow, false, "default")
            },
        }
    }

    fn judge_opaque(&self, opaque: &Opaque) -> Finding {
        Finding {
            verbatim: self.opaque != Verdict::Deny,
            why: format!("the line cannot be read word for word: {opaque}"),
            ..self.finding(self.opaque, false, "opaque")
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
        }
    }
}

/// The command as it would be sent, shortened.
fn shown(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
    let text = words.join(" ");
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("`{}...`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}
