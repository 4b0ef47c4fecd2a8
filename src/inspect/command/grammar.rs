//! The strict literal grammar: words of literal characters, `'...'`, `"..."` without `$`, backquote or `!`, and
//! backslash escapes, between blanks and tabs; commands joined by `|`, `&&`, `||` or `;`. No recursion, one pass.
//! Anything else, and anything that one login shell would read otherwise than another, is opaque.

use super::{COMMAND_BYTES_MAX, Opaque, character, reserved};

/// What stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// `|`
    Pipe,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;`
    Then,
}

impl Join {
    /// As the text that is sent has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipe => " | ",
            Self::And => " && ",
            Self::Or => " || ",
            Self::Then => "; ",
        }
    }
}

type Commands = (Vec<Vec<String>>, Vec<Join>);

/// Reads the line: the words of each command and what joins them (one join fewer than commands).
pub(super) fn read(command: &[u8]) -> Result<Commands, Opaque> {
    if command.len() > COMMAND_BYTES_MAX {
        let reason = format!("a command line of {} bytes (at most {COMMAND_BYTES_MAX})", command.len());
        return Err(Opaque { column: 0, reason });
    }
    let text = str::from_utf8(command).map_err(|error| {
        let before = command.get(..error.valid_up_to()).unwrap_or_default();
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        Opaque { column, reason: "a byte that is not UTF-8".to_owned() }
    })?;
    if text.trim_matches([' ', '\t']).is_empty() {
        return Err(Opaque { column: 0, reason: "an empty command".to_owned() });
    }
    let mut reader = Reader {
        rest: text.chars().peekable(),
        column: 0,
        word: None,
        argv: Vec::new(),
        done: Vec::new(),
        joins: Vec::new(),
        or_before: false,
    };
    while let Some(c) = reader.next()? {
        if let Some(join) = reader.unquoted(c)? {
            reader.end_command()?;
            reader.join(join)?;
        }
    }
    reader.end_command()?;
    Ok((reader.done, reader.joins))
}

struct Reader<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    /// Of the character read last, from 1.
    column: usize,
    /// The word being read and the column where it began.
    word: Option<(String, usize)>,
    argv: Vec<String>,
    done: Vec<Vec<String>>,
    joins: Vec<Join>,
    /// Whether there is a `||` in the list that is being read (since the last `;`).
    or_before: bool,
}

impl Reader<'_> {
    fn stop<T>(&self, reason: impl Into<String>) -> Result<T, Opaque> {
        Err(Opaque { column: self.column, reason: reason.into() })
    }

    /// The next character, if it is one that may stand anywhere at all (a tab, as a blank, may stand between words).
    fn next(&mut self) -> Result<Option<char>, Opaque> {
        let Some(c) = self.rest.next() else { return Ok(None) };
        self.column += 1;
        match character::forbidden(c) {
            Some(reason) if c != '\t' => self.stop(format!("{reason} (U+{:04X})", u32::from(c))),
            Some(_) | None => Ok(Some(c)),
        }
    }

    /// As [`Self::next`] inside quotes and behind a backslash, where a tab is no blank; `None` at the end.
    fn next_quoted(&mut self) -> Result<Option<char>, Opaque> {
        match self.next()? {
            Some('\t') => self.stop("a quoted tab"),
            other => Ok(other),
        }
    }

    /// One character outside quotes; a join when it was one.
    fn unquoted(&mut self, c: char) -> Result<Option<Join>, Opaque> {
        match c {
            ' ' | '\t' => self.end_word()?,
            '\'' => self.single_quoted()?,
            '"' => self.double_quoted()?,
            '\\' => match self.next_quoted()? {
                Some(c) => self.push(c),
                None => return self.stop("a backslash with nothing behind it"),
            },
            '|' => return self.bar().map(Some),
            '&' if self.rest.next_if_eq(&'&').is_some() => {
                self.column += 1;
                return Ok(Some(Join::And));
            }
            '&' => return self.stop("a command in the background (&)"),
            ';' => return Ok(Some(Join::Then)),
            // Also behind `''`, which is nothing to zsh.
            '=' if self.word.as_ref().is_none_or(|(word, _)| word.is_empty()) => {
                return self.stop("a word that begins with = (zsh reads a command's path)");
            }
            c => match meaning(c) {
                Some(reason) => return self.stop(reason),
                None => self.push(c),
            },
        }
        Ok(None)
    }

    fn bar(&mut self) -> Result<Join, Opaque> {
        match self.rest.peek() {
            Some('|') => {
                self.rest.next();
                self.column += 1;
                Ok(Join::Or)
            }
            Some('&') => self.stop("a pipe with errors (|&)"),
            Some(_) | None => Ok(Join::Pipe),
        }
    }

    fn single_quoted(&mut self) -> Result<(), Opaque> {
        let opened = self.column;
        self.start_word();
        while let Some(c) = self.next_quoted()? {
            if c == '\'' {
                return Ok(());
            }
            self.push(c);
        }
        unclosed(opened)
    }

    fn double_quoted(&mut self) -> Result<(), Opaque> {
        let opened = self.column;
        self.start_word();
        while let Some(c) = self.next_quoted()? {
            match c {
                '"' => return Ok(()),
                '$' => return self.stop("a variable or substitution ($) inside \"...\""),
                '`' => return self.stop("a command substitution (`) inside \"...\""),
                '!' => return self.stop("a history sign (!) inside \"...\""),
                // POSIX: only these lose their backslash. The others keep it, as `"\n"` does.
                '\\' => match self.rest.next_if(|c| matches!(c, '$' | '`' | '"' | '\\')) {
                    Some(c) => {
                        self.column += 1;
                        self.push(c);
                    }
                    None => self.push('\\'),
                },
                c => self.push(c),
            }
        }
        unclosed(opened)
    }

    fn start_word(&mut self) {
        let column = self.column;
        self.word.get_or_insert_with(|| (String::new(), column));
    }

    fn push(&mut self, c: char) {
        self.start_word();
        if let Some((word, _)) = &mut self.word {
            word.push(c);
        }
    }

    fn end_word(&mut self) -> Result<(), Opaque> {
        let Some((word, column)) = self.word.take() else { return Ok(()) };
        if self.argv.is_empty()
            && let Some(reason) = reserved::refused(&word)
        {
            return Err(Opaque { column, reason });
        }
        self.argv.push(word);
        Ok(())
    }

    fn end_command(&mut self) -> Result<(), Opaque> {
        self.end_word()?;
        if self.argv.is_empty() {
            return self.stop("a place where a command is missing");
        }
        self.done.push(std::mem::take(&mut self.argv));
        Ok(())
    }

    /// csh binds `&&` tighter than `||`, the others bind them alike: the same line, other commands.
    fn join(&mut self, join: Join) -> Result<(), Opaque> {
        match join {
            Join::And if self.or_before => {
                return self.stop("&& behind || (csh reads it otherwise than sh; use ; or two commands)");
            }
            Join::Or => self.or_before = true,
            Join::Then => self.or_before = false,
            Join::And | Join::Pipe => {}
        }
        self.joins.push(join);
        Ok(())
    }
}

fn unclosed<T>(column: usize) -> Result<T, Opaque> {
    Err(Opaque { column, reason: "a quote that is not closed".to_owned() })
}

/// What the character means to a shell when it is not quoted; `None` when nothing.
fn meaning(c: char) -> Option<&'static str> {
    match c {
        '$' => Some("a variable or substitution ($)"),
        '`' => Some("a command substitution (`)"),
        '*' | '?' | '[' | ']' => Some("a wildcard"),
        '{' | '}' => Some("a brace"),
        '~' => Some("a tilde"),
        '<' | '>' => Some("redirection"),
        '(' | ')' => Some("a parenthesis"),
        '#' => Some("a comment sign (#)"),
        '!' => Some("a history or negation sign (!)"),
        _ => None,
    }
}
