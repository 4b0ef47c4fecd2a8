//! Cases: questions to a policy with the answers that its author expects, kept in a file and asked again after every
//! change. `read` reads them; what becomes of each is asked of the policy in the same way as a session asks.

mod read;
#[cfg(test)]
mod tests;

use super::outcome::{Answer, Outcome, Question};
use super::{Policy, RefusalCode};

pub use read::read;

/// One question with its expected answer.
#[derive(Clone, Debug)]
pub struct Case {
    /// The author's name for it, or what it asks.
    pub name: String,
    /// The line of the file on which it begins.
    pub line: usize,
    /// What is asked.
    pub question: Question,
    /// What must come of it.
    pub expect: Answer,
    /// The code that a refusal must have.
    pub code: Option<RefusalCode>,
    /// The rule that must have spoken.
    pub rule: Option<String>,
    /// What must be sent to the target, byte for byte.
    pub sends: Option<String>,
}

impl Case {
    /// Asks the policy. The second is what was expected and did not come, one line each; empty when all is well.
    pub fn ask(&self, policy: &Policy) -> (Outcome, Vec<String>) {
        let got = self.question.put(policy);
        let mut wrong = Vec::new();
        if got.answer != self.expect {
            wrong.push(format!("expected {}, got {}", self.expect.as_str(), described(&got)));
        }
        let differs = |what: &str, wanted: Option<&str>, got: Option<&str>| {
            let wanted = wanted.filter(|wanted| Some(*wanted) != got)?;
            let got = got.map_or_else(|| "none".to_owned(), |got| format!("{got:?}"));
            Some(format!("expected {what} {wanted:?}, got {got}"))
        };
        let code = got.code.map(RefusalCode::as_str);
        wrong.extend(differs("code", self.code.map(RefusalCode::as_str), code));
        wrong.extend(differs("rule", self.rule.as_deref(), got.rule.as_deref()));
        let sends = got.sends.as_deref().map(String::from_utf8_lossy);
        wrong.extend(differs("sends", self.sends.as_deref(), sends.as_deref()));
        (got, wrong)
    }
}

/// An answer in a few words: `refuse (command, by "web-care: default")`.
fn described(got: &Outcome) -> String {
    let code = got.code.map(|code| code.as_str().to_owned());
    let rule = got.rule.as_ref().map(|rule| format!("by {rule:?}"));
    let more: Vec<String> = [code, rule].into_iter().flatten().collect();
    match more.as_slice() {
        [] => got.answer.as_str().to_owned(),
        more => format!("{} ({})", got.answer.as_str(), more.join(", ")),
    }
}
