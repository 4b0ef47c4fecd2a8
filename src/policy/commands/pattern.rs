//! The pattern of one word, read and matched. What a list of them means for a whole command is `rule`'s.

/// The pattern of one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WordPattern {
    /// As it was written.
    pub(super) text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// `*`: one word.
    Any,
    /// `**`: the rest.
    Rest,
    OneOf(Vec<Alternative>),
}

/// One of the texts between `|`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternative {
    /// Between slashes; one when there is none.
    parts: Vec<Part>,
    /// Begins with a dash.
    option: bool,
    /// What it matches when that is one text.
    literal: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// One component.
    Glob(Vec<Piece>),
    /// `**`: any number of components.
    Depth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// `*`: a run of characters, also none.
    Run,
}

/// Why a text is not a pattern. The text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPattern {
    /// Nothing at all.
    #[error("a word is empty: write the word, or \"*\" for any one word")]
    Empty,
    /// `a||b`, `|a`.
    #[error("{0:?} has an empty alternative: write text on both sides of |, or \\| for the character")]
    EmptyAlternative(String),
    /// `a|*`.
    #[error("{0:?}: beside \"*\" the other alternatives say nothing; write \"*\" alone, or leave it out")]
    AnyAmong(String),
    /// `a**b`.
    #[error("{0:?}: ** stands alone as the last word, or as a whole component behind the first / of a path")]
    DepthPlace(String),
    /// `/a/../b`, `/a//b`.
    #[error("{0:?} could never match: a path with \"..\", \".\" or \"//\" matches no path pattern")]
    NeverMatches(String),
    /// `\n`.
    #[error("{0:?}: a backslash stands before *, | or \\ only (in TOML, write such patterns in '...')")]
    Escape(String),
    /// Blank or control character where none can be.
    #[error("{0:?} has a control character, which no command line that is read can have")]
    Control(String),
}

impl WordPattern {
    /// Reads a pattern.
    pub(super) fn parse(text: &str) -> Result<Self, BadPattern> {
        let kind = match text {
            "" => return Err(BadPattern::Empty),
            "*" => Kind::Any,
            "**" => Kind::Rest,
            text => Kind::OneOf(alternatives(text)?),
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// `**`, the rest of the words.
    pub(super) fn is_rest(&self) -> bool {
        self.kind == Kind::Rest
    }

    /// `*`, any one word.
    pub(super) fn is_any(&self) -> bool {
        self.kind == Kind::Any
    }

    /// Whether every alternative begins with a dash.
    pub(super) fn is_option(&self) -> bool {
        match &self.kind {
            Kind::Any | Kind::Rest => false,
            Kind::OneOf(all) => all.iter().all(|one| one.option),
        }
    }

    /// Whether an alternative begins with a dash.
    pub(super) fn has_option(&self) -> bool {
        match &self.kind {
            Kind::Any | Kind::Rest => false,
            Kind::OneOf(all) => all.iter().any(|one| one.option),
        }
    }

    /// `-*` or `--*`: any option.
    pub(super) fn is_any_option(&self) -> bool {
        let dash = |piece: &Piece| matches!(piece, Piece::Run | Piece::Char('-'));
        match &self.kind {
            Kind::Any | Kind::Rest => false,
            Kind::OneOf(all) => all.iter().any(|one| {
                one.literal.is_none()
                    && one.option
                    && matches!(one.parts.as_slice(), [Part::Glob(pieces)] if pieces.iter().all(dash))
            }),
        }
    }

    /// Whether it would match words of all kinds: nothing but wildcards and slashes.
    pub(super) fn is_boundless(&self) -> bool {
        let bare = |part: &Part| match part {
            Part::Depth => true,
            Part::Glob(pieces) => pieces.iter().all(|piece| *piece == Piece::Run),
        };
        match &self.kind {
            Kind::Any | Kind::Rest => true,
            Kind::OneOf(all) => all.iter().any(|one| one.parts.iter().all(bare)),
        }
    }

    /// The texts it stands for, when it has no wildcard.
    pub(super) fn literals(&self) -> Option<Vec<&str>> {
        match &self.kind {
            Kind::Any | Kind::Rest => None,
            Kind::OneOf(all) => all.iter().map(|one| one.literal.as_deref()).collect(),
        }
    }

    /// Strictly: whether the word is one that was meant. A word with a dash in front needs a pattern with one.
    pub(super) fn fits(&self, word: &str) -> bool {
        let option = word.starts_with('-');
        match &self.kind {
            Kind::Any => !option,
            Kind::Rest => false,
            Kind::OneOf(all) => all.iter().any(|one| one.option == option && one.fits(word)),
        }
    }

    /// Generously: whether the word could be one that was meant.
    pub(super) fn could_be(&self, word: &str) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::Rest => false,
            Kind::OneOf(all) => all.iter().any(|one| one.could_be(word)),
        }
    }

    /// Generously, for the first word: the same program may be called by its name or by a path.
    pub(super) fn could_run(&self, program: &str) -> bool {
        let name = file_name(program);
        match &self.kind {
            Kind::Any => true,
            Kind::Rest => false,
            Kind::OneOf(all) => all.iter().any(|one| {
                let by_name = !one.is_path() || !program.contains('/') || has_parent(program);
                one.fits_plainly(&clean(program)) || by_name && one.fits_name(name)
            }),
        }
    }
}

impl Alternative {
    fn is_path(&self) -> bool {
        self.parts.len() > 1
    }

    fn fits(&self, word: &str) -> bool {
        !(self.is_path() && is_dubious(self.behind_here(word))) && self.fits_plainly(word)
    }

    /// The word without its `./`, when the pattern is written with one.
    fn behind_here<'w>(&self, word: &'w str) -> &'w str {
        let here = self.parts.first() == Some(&Part::Glob(vec![Piece::Char('.')]));
        if here { word.strip_prefix("./").unwrap_or(word) } else { word }
    }

    fn could_be(&self, word: &str) -> bool {
        let cleaned = clean(word);
        // A closing slash names the same folder, in the word as in the pattern.
        let open = cleaned.trim_end_matches('/');
        let same = if open.is_empty() {
            word.starts_with('/') && self.fits_plainly("/")
        } else {
            self.fits_plainly(open) || self.fits_plainly(&format!("{open}/"))
        };
        self.fits_plainly(word) || same || self.is_path() && has_parent(word)
    }

    /// The shape alone.
    fn fits_plainly(&self, word: &str) -> bool {
        let components: Vec<&str> = word.split('/').collect();
        wild(&self.parts, &components, |part| *part == Part::Depth, |part, text| part.fits(text))
    }

    fn fits_name(&self, name: &str) -> bool {
        self.parts.last().is_some_and(|part| *part == Part::Depth || part.fits(name))
    }
}

impl Part {
    /// A component without text (before the first slash, behind the last) is matched by its like only.
    fn fits(&self, component: &str) -> bool {
        match self {
            Self::Depth => true,
            Self::Glob(pieces) if component.is_empty() => pieces.is_empty(),
            Self::Glob(pieces) => {
                let text: Vec<char> = component.chars().collect();
                wild(pieces, &text, |piece| *piece == Piece::Run, |piece, c| *piece == Piece::Char(*c))
            }
        }
    }
}

/// Matching with wildcards: of all `run`s only the last one tried is ever lengthened, which suffices because each
/// takes anything. At most pattern times text steps.
fn wild<P, T>(pattern: &[P], text: &[T], run: impl Fn(&P) -> bool, one: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while let Some(piece) = text.get(place) {
        match (pattern.get(at), last) {
            (Some(wanted), _) if run(wanted) => {
                last = Some((at, place));
                at += 1;
            }
            (Some(wanted), _) if one(wanted, piece) => {
                at += 1;
                place += 1;
            }
            (_, Some((run_at, taken))) => {
                last = Some((run_at, taken + 1));
                at = run_at + 1;
                place = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(at).all(run)
}

/// A path that may lead elsewhere than it reads: with `..`, `.` or nothing between slashes. A component that only ends
/// in `..` counts, since it may be an option with its value (`-C..`, `--file=..`).
fn is_dubious(word: &str) -> bool {
    let last = word.matches('/').count();
    word.split('/').enumerate().any(|(place, component)| {
        let edge = place == 0 || place == last;
        component == "." || component.ends_with("..") || component.is_empty() && !edge
    })
}

fn has_parent(word: &str) -> bool {
    word.split('/').any(|component| component.ends_with(".."))
}

/// Without `.` and empty components, the edges excepted.
fn clean(word: &str) -> String {
    let last = word.matches('/').count();
    let kept: Vec<&str> = word
        .split('/')
        .enumerate()
        .filter(|(place, component)| {
            *component != "." && (!component.is_empty() || *place == 0 || *place == last)
        })
        .map(|(_, component)| component)
        .collect();
    kept.join("/")
}

/// The last component of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn alternatives(text: &str) -> Result<Vec<Alternative>, BadPattern> {
    let mut all = Vec::new();
    for tokens in tokens(text)?.split(|token| *token == Token::Bar) {
        all.push(alternative(text, tokens)?);
    }
    Ok(all)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Star,
    Bar,
}

fn tokens(text: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '|' => Token::Bar,
            '\\' => match rest.next() {
                Some(c @ ('*' | '|' | '\\')) => Token::Char(c),
                Some(_) | None => return Err(BadPattern::Escape(text.to_owned())),
            },
            c if c.is_control() => return Err(BadPattern::Control(text.to_owned())),
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn alternative(text: &str, tokens: &[Token]) -> Result<Alternative, BadPattern> {
    match tokens {
        [] => return Err(BadPattern::EmptyAlternative(text.to_owned())),
        [Token::Star] => return Err(BadPattern::AnyAmong(text.to_owned())),
        _ => {}
    }
    let components: Vec<&[Token]> = tokens.split(|token| *token == Token::Char('/')).collect();
    let mut parts = Vec::new();
    for (place, component) in components.iter().enumerate() {
        let (first, last) = (place == 0, place + 1 == components.len());
        if let [Token::Star, Token::Star] = component {
            if first {
                return Err(BadPattern::DepthPlace(text.to_owned()));
            }
            // At the end it is what lies below, not the folder itself: one component at least.
            if last {
                parts.push(Part::Glob(vec![Piece::Run]));
            }
            parts.push(Part::Depth);
            continue;
        }
        let pieces = pieces(component);
        if pieces.windows(2).any(|pair| pair == [Piece::Run, Piece::Run]) {
            return Err(BadPattern::DepthPlace(text.to_owned()));
        }
        if pieces.is_empty() && !first && !last {
            return Err(BadPattern::NeverMatches(text.to_owned()));
        }
        parts.push(Part::Glob(pieces));
    }
    let plain: Option<String> = tokens
        .iter()
        .map(|token| match token {
            Token::Char(c) => Some(*c),
            Token::Star | Token::Bar => None,
        })
        .collect();
    let read = Alternative { parts, option: tokens.first() == Some(&Token::Char('-')), literal: plain };
    let dubious = read.literal.as_deref().is_some_and(|word| is_dubious(read.behind_here(word)));
    if read.is_path() && dubious { Err(BadPattern::NeverMatches(text.to_owned())) } else { Ok(read) }
}

fn pieces(component: &[Token]) -> Vec<Piece> {
    component
        .iter()
        .map(|token| match token {
            Token::Char(c) => Piece::Char(*c),
            Token::Star | Token::Bar => Piece::Run,
        })
        .collect()
}
