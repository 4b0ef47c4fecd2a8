//! One word as it stands in a line: known text, or something only the shell will know; and the programs inside it.

use brush_parser::ParserOptions;
use brush_parser::word::{self, WordPiece, WordPieceWithSource};

use super::Word;
use super::walk::Task;

/// Reads a word; what is inside it and has commands of its own is added to `tasks`.
pub(super) fn read(text: &str, options: &ParserOptions, tasks: &mut Vec<Task>) -> Result<Word, String> {
    let pieces = word::parse(text, options).map_err(|_| not_understood(text))?;
    let mut reader = Reader { text, tasks, known: Some(String::new()), quoted: false, dollar: false };
    reader.pieces(&pieces)?;
    Ok(reader.known.map_or(Word::Dynamic, Word::Literal))
}

/// Reads the body of a here-document.
pub(super) fn read_here(text: &str, options: &ParserOptions, tasks: &mut Vec<Task>) -> Result<(), String> {
    let pieces = word::parse_heredoc(text, options).map_err(|_| not_understood(text))?;
    Reader { text, tasks, known: None, quoted: true, dollar: false }.pieces(&pieces)
}

/// Arithmetic: its expansions, and, since bash reads `$((a) | b)` as a subshell, what it would be as a program.
pub(super) fn arithmetic(text: &str, tasks: &mut Vec<Task>) {
    tasks.push(Task::HereText(text.to_owned()));
    tasks.push(Task::PerhapsProgram(format!("({text})")));
}

fn not_understood(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    format!("the word {shown:?} is not understood")
}

struct Reader<'t> {
    text: &'t str,
    tasks: &'t mut Vec<Task>,
    /// The word so far, while all of it is known.
    known: Option<String>,
    quoted: bool,
    /// The text just read ends in a dollar that began nothing the parser knows.
    dollar: bool,
}

impl Reader<'_> {
    fn pieces(&mut self, pieces: &[WordPieceWithSource]) -> Result<(), String> {
        pieces.iter().try_for_each(|piece| self.piece(piece))
    }

    fn piece(&mut self, piece: &WordPieceWithSource) -> Result<(), String> {
        // `${ rm x; }` and `${|...}` of newer bash and ksh, `${(e)x}` of zsh: the parser takes them for text.
        let after_dollar = std::mem::take(&mut self.dollar);
        if let WordPiece::Text(text) = &piece.piece {
            if after_dollar && text.starts_with(['{', '(', '[']) {
                return Err(not_understood(self.text));
            }
            self.dollar = text.ends_with('$');
        }
        match &piece.piece {
            WordPiece::Text(text) if self.quoted => self.push(text),
            WordPiece::Text(text) => self.plain(text)?,
            WordPiece::SingleQuotedText(text) => self.push(text),
            WordPiece::AnsiCQuotedText(text) if !text.contains('\\') => self.push(text),
            WordPiece::AnsiCQuotedText(_) | WordPiece::TildeExpansion(_) => self.known = None,
            WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => {
                let outside = std::mem::replace(&mut self.quoted, true);
                self.pieces(inner)?;
                self.quoted = outside;
                self.dollar = false;
            }
            WordPiece::EscapeSequence(text) => {
                let escaped = text.strip_prefix('\\').unwrap_or(text);
                self.push(escaped.strip_prefix('\n').unwrap_or(escaped));
            }
            WordPiece::ParameterExpansion(_) => {
                self.known = None;
                self.parameter(piece)?;
            }
            WordPiece::CommandSubstitution(text) | WordPiece::BackquotedCommandSubstitution(text) => {
                self.known = None;
                self.tasks.push(Task::Program(text.clone()));
            }
            WordPiece::ArithmeticExpression(expression) => {
                self.known = None;
                arithmetic(&expression.value, self.tasks);
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        if let Some(known) = &mut self.known {
            known.push_str(text);
        }
    }

    /// Text outside quotes: wildcards and braces become other words, `=x` is a path in zsh.
    fn plain(&mut self, text: &str) -> Result<(), String> {
        // zsh's =(...), an extended glob: what is inside may be a program.
        if text.contains(['(', ')', '`']) {
            return Err(not_understood(self.text));
        }
        let first = self.known.as_ref().is_some_and(String::is_empty);
        // An empty pair of braces stays what it is: find and xargs are given it.
        let wild = text.replace("{}", "").contains(['*', '?', '[', '{', '^']);
        if wild || first && text.starts_with('=') {
            self.known = None;
        }
        self.push(text);
        Ok(())
    }

    /// What stands between the braces of `${...}` may hold words and substitutions of every kind.
    fn parameter(&mut self, piece: &WordPieceWithSource) -> Result<(), String> {
        let text =
            self.text.get(piece.start_index..piece.end_index).ok_or_else(|| not_understood(self.text))?;
        let Some(inner) = text.strip_prefix("${") else { return Ok(()) };
        let inner = inner.strip_suffix('}').ok_or_else(|| not_understood(self.text))?;
        if inner.contains(['$', '`']) {
            self.tasks.push(Task::Expansions(inner.to_owned()));
        }
        Ok(())
    }
}
