//! One rule: patterns for the words of a command. It is matched strictly where a match opens something, and generously
//! where it stops something; `judge` knows which is wanted.

use super::pattern::WordPattern;

/// A rule of an `allow`, `review` or `deny` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The author's name for it, or its place such as `allow 2`.
    pub(super) name: String,
    pub(super) program: WordPattern,
    /// The words behind the program, without a last `**`.
    pub(super) words: Vec<WordPattern>,
    /// Ends in `**`.
    pub(super) rest: bool,
    /// Options that may stand anywhere behind the program.
    pub(super) options: Vec<WordPattern>,
    /// What the author has to say to whom it stops.
    pub(super) message: Option<String>,
    /// The author knows that the program can open a shell.
    pub(super) accepts_shell_escape: bool,
}

impl Rule {
    /// Strictly: every word is one that the rule names. Words times patterns steps at most.
    pub(super) fn grants(&self, argv: &[String]) -> bool {
        let Some((program, words)) = argv.split_first() else { return false };
        if !self.program.fits(program) {
            return false;
        }
        // Where in `words` a reading of the command may stand, all readings at once.
        let mut at = vec![false; self.words.len() + 1];
        mark(&mut at, 0);
        for word in words {
            let mut next = vec![false; at.len()];
            let option = word.starts_with('-');
            let named = option && self.options.iter().any(|pattern| pattern.fits(word));
            for place in marked(&at) {
                if self.words.get(place).is_some_and(|pattern| pattern.fits(word)) {
                    mark(&mut next, place + 1);
                }
                if named || !option && self.rest && place == self.words.len() {
                    mark(&mut next, place);
                }
            }
            at = next;
        }
        at.last().copied().unwrap_or_default()
    }

    /// Generously: the command could be one that the rule names. A word that is not known (`None`) could be any, or
    /// several, or none.
    pub(super) fn catches(&self, argv: &[Option<&str>]) -> bool {
        let Some((program, words)) = argv.split_first() else { return false };
        if program.is_some_and(|program| !self.program.could_run(program)) {
            return false;
        }
        let mut at = vec![false; self.words.len() + 1];
        mark(&mut at, 0);
        // Whether the word before may have been an option whose value this word is.
        let mut value = false;
        for word in words {
            let mut next = vec![false; at.len()];
            let option = word.is_none_or(|word| word.starts_with('-'));
            for place in marked(&at) {
                match word {
                    None => (place..at.len()).for_each(|reached| mark(&mut next, reached)),
                    Some(word) if self.words.get(place).is_some_and(|pattern| pattern.could_be(word)) => {
                        mark(&mut next, place + 1);
                    }
                    Some(_) => {}
                }
                if option || value || self.rest && place == self.words.len() {
                    mark(&mut next, place);
                }
            }
            value = option && word.is_none_or(|word| !word.contains('=') && word != "--");
            at = next;
        }
        at.last().copied().unwrap_or_default()
    }
}

fn mark(set: &mut [bool], place: usize) {
    if let Some(slot) = set.get_mut(place) {
        *slot = true;
    }
}

fn marked(set: &[bool]) -> impl Iterator<Item = usize> {
    set.iter().enumerate().filter_map(|(place, there)| there.then_some(place))
}
