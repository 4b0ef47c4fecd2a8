//! First words that are not the name of a program to every shell: the grammar of one of them, a job, a history
//! event, an option. They are refused by value, quoted or not, because fish reads `'if'` as `if` and zsh `'-'` as `-`.
//! Built-in commands that only do something with their words (`eval`, `cd`, `.`) are programs like others.

/// Words of the grammar of a login shell, sorted. Not only those of POSIX: the line is one for all of them.
const WORDS: &[&str] = &[
    "!",
    "((",
    "@",
    "[[",
    "]]",
    "and",
    "begin",
    "break",
    "breaksw",
    "case",
    "continue",
    "coproc",
    "default",
    "do",
    "done",
    "elif",
    "else",
    "end",
    "endif",
    "endsw",
    "esac",
    "fi",
    "for",
    "foreach",
    "function",
    "goto",
    "if",
    "in",
    "namespace",
    "nocorrect",
    "noglob",
    "not",
    "or",
    "repeat",
    "return",
    "select",
    "switch",
    "then",
    "time",
    "until",
    "while",
    "{",
    "}",
];

/// Why this first word is not simply a program; `None` when it is.
pub(super) fn refused(program: &str) -> Option<String> {
    let said = |text: &str| Some(text.to_owned());
    if WORDS.binary_search(&program).is_ok() {
        return Some(format!("{program:?}, a word of the shell's own grammar,"));
    }
    match program.chars().next() {
        None => return said("an empty command word"),
        Some('-') => return said("a command that begins with a dash (the shell may read it as an option)"),
        Some('+') => return said("a command that begins with a plus (the shell may read it as an option)"),
        Some('~') => return said("a command that begins with a tilde"),
        Some('%') => return said("a job"),
        Some('^') => return said("a history substitution"),
        Some('@') => return said("a command that begins with @"),
        Some(_) => {}
    }
    if program.contains('=') {
        return said("an assignment");
    }
    // ksh93 goes on behind a label: `x: rm y` runs rm.
    if program.len() > 1 && program.ends_with(':') {
        return said("a label");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted() {
        assert!(WORDS.is_sorted(), "binary search needs it");
    }
}
