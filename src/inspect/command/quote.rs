//! Our own quoting, which dash, bash, zsh, ksh, busybox, fish and tcsh all read as the same words. The classic rule
//! (everything in `'...'`, a quote as `'\''`) is wrong in fish, where a backslash before a quote counts inside quotes,
//! and in tcsh, where `!` does.

use super::Join;

/// The word as a shell must be given it. For words without control characters; the grammar lets none through.
pub fn quote(word: &str) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    push(&mut text, word);
    text
}

/// The line: every command's words with a blank between them, and what joins the commands.
pub(super) fn text(argvs: &[Vec<String>], joins: &[Join]) -> String {
    let mut text = String::new();
    for (number, argv) in argvs.iter().enumerate() {
        if let Some(join) = number.checked_sub(1).and_then(|before| joins.get(before)) {
            text.push_str(join.as_str());
        }
        for (place, word) in argv.iter().enumerate() {
            if place > 0 {
                text.push(' ');
            }
            push(&mut text, word);
        }
    }
    text
}

fn push(text: &mut String, word: &str) {
    // fish puts its process id in place of %self.
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('%') {
        text.push_str(word);
        return;
    }
    if word.is_empty() {
        text.push_str("''");
    }
    let mut inside = false;
    for c in word.chars() {
        let behind_backslash = matches!(c, '\'' | '\\' | '!');
        if inside == behind_backslash {
            text.push('\'');
            inside = !inside;
        }
        if behind_backslash {
            text.push('\\');
        }
        text.push(c);
    }
    if inside {
        text.push('\'');
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '@' | '%' | '+' | ',' | '-')
}
