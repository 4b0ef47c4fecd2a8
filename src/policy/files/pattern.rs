//! Patterns of paths: what one pattern matches, what could be below a path, and whether it covers everything there.
//! Which operations a match allows is the rule's.

use super::path::CanonicalPath;

/// Most components of a pattern; the states of matching are the bits of one number.
const PARTS_MAX: usize = 60;

/// A pattern: absolute, or below the login's home. `*` stands for any bytes within a component, `**` as a whole
/// component for any number of components, none included. So `/srv/**` matches `/srv` and all below it. There is
/// nothing else: names beginning with a dot are names like others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    home: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`.
    Deep,
    /// The pieces between the `*` of a component.
    Name(Vec<Vec<u8>>),
}

/// Why a text is not a pattern. `Display` says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither `/...` nor `~` nor `~/...`.
    #[error("a path pattern begins with / or ~/")]
    Relative,
    /// `.`, `..`, an empty component, or a closing slash.
    #[error("a path pattern has no \".\", \"..\" or empty component, and no slash at its end")]
    NotCanonical,
    /// `a**`, `***`.
    #[error("** is a component of its own, as in /srv/**; within a name write *")]
    Stars,
    /// A wildcard of other languages, or what cannot be in a path.
    #[error("{0:?} cannot stand in a path pattern: there is only * within a name, and ** for any depth")]
    Character(char),
    /// Too many components.
    #[error("a path pattern has at most {PARTS_MAX} components")]
    TooLong,
}

/// Where a path stands to a pattern: a bit for each part that may come next; the bit behind the last is "matched".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The path is above the home that the pattern begins with.
    Above,
    At(u64),
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(c) = text.chars().find(|c| "?[]{}\\".contains(*c) || c.is_control()) {
            return Err(PatternError::Character(c));
        }
        let (home, rest) = match text.strip_prefix('~') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.is_empty() && home || rest == "/" && !home {
            return Ok(Self { home, parts: Vec::new() });
        }
        let rest = rest.strip_prefix('/').ok_or(PatternError::Relative)?;
        let parts: Vec<Part> = rest.split('/').map(part).collect::<Result<_, _>>()?;
        if parts.len() > PARTS_MAX { Err(PatternError::TooLong) } else { Ok(Self { home, parts }) }
    }

    /// Whether it begins with the login's home.
    pub(super) fn is_home(&self) -> bool {
        self.home
    }

    /// Whether it begins with exactly this name: below the login's home when `at_home`, or else below `/`.
    pub(super) fn begins_with(&self, name: &[u8], at_home: bool) -> bool {
        let spelt = matches!(self.parts.first(), Some(Part::Name(pieces)) if matches!(pieces.as_slice(), [only] if only == name));
        self.home == at_home && spelt
    }

    /// Whether it matches everything there is.
    pub(super) fn is_everything(&self) -> bool {
        !self.home && self.parts == [Part::Deep]
    }

    /// Whether it matches `path`.
    pub(super) fn matches(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
        matches!(self.standing(path, home), Standing::At(states) if self.is_end(states))
    }

    /// Whether it could match `path` or something below it.
    pub(super) fn reaches_below(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
        self.standing(path, home) != Standing::At(0)
    }

    /// Whether it matches `path` and everything below it.
    pub(super) fn covers(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
        matches!(self.standing(path, home), Standing::At(states) if self.is_deep(states))
    }

    /// The three questions above about a path below a home that nobody knows, answered for patterns below it too.
    /// A pattern that begins elsewhere matches, and covers, nothing there.
    pub(super) fn matches_at_home(&self, below: &CanonicalPath) -> bool {
        self.home && self.is_end(self.walk(self.start(), below.components()))
    }

    /// See [`Self::matches_at_home`].
    pub(super) fn covers_at_home(&self, below: &CanonicalPath) -> bool {
        self.home && self.is_deep(self.walk(self.start(), below.components()))
    }

    /// Whether it could match the path, which stands below home when `at_home` and is absolute otherwise (or with
    /// `deep` something below it), wherever home is.
    pub(super) fn might_match(&self, path: &CanonicalPath, at_home: bool, deep: bool) -> bool {
        let states = match (self.home, at_home) {
            (true, true) | (false, false) => self.walk(self.start(), path.components()),
            // Home is any folder, so any part of the pattern may stand where home begins.
            (false, true) => self.walk(self.close(self.all()), path.components()),
            (true, false) => {
                if deep {
                    return true;
                }
                let names: Vec<&[u8]> = path.components().collect();
                let from = |at: usize| self.walk(self.start(), names.iter().skip(at).copied());
                (0..=names.len()).map(from).fold(0, |all, one| all | one)
            }
        };
        if deep { states != 0 } else { self.is_end(states) }
    }

    /// Without a home, a pattern below it stands to nothing.
    fn standing(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> Standing {
        if !self.home {
            return Standing::At(self.walk(self.start(), path.components()));
        }
        let Some(home) = home else { return Standing::At(0) };
        let mut names = path.components();
        for wanted in home.components() {
            match names.next() {
                None => return Standing::Above,
                Some(name) if name != wanted => return Standing::At(0),
                Some(_) => {}
            }
        }
        Standing::At(self.walk(self.start(), names))
    }

    fn walk<N: AsRef<[u8]>>(&self, from: u64, names: impl Iterator<Item = N>) -> u64 {
        let mut states = from;
        for name in names {
            let mut next = 0;
            for (at, part) in self.parts.iter().enumerate() {
                if states & (1 << at) != 0 {
                    next |= match part {
                        Part::Deep => 1 << at,
                        Part::Name(pieces) if fits(pieces, name.as_ref()) => 1 << (at + 1),
                        Part::Name(_) => 0,
                    };
                }
            }
            states = self.close(next);
        }
        states
    }

    fn start(&self) -> u64 {
        self.close(1)
    }

    fn all(&self) -> u64 {
        (1 << (self.parts.len() + 1)) - 1
    }

    /// `**` may stand for nothing.
    fn close(&self, mut states: u64) -> u64 {
        for (at, part) in self.parts.iter().enumerate() {
            if *part == Part::Deep && states & (1 << at) != 0 {
                states |= 1 << (at + 1);
            }
        }
        states
    }

    fn is_end(&self, states: u64) -> bool {
        states & (1 << self.parts.len()) != 0
    }

    fn is_deep(&self, states: u64) -> bool {
        self.parts.last() == Some(&Part::Deep) && states & (1 << (self.parts.len() - 1)) != 0
    }
}

fn part(component: &str) -> Result<Part, PatternError> {
    match component {
        "" | "." | ".." => Err(PatternError::NotCanonical),
        "**" => Ok(Part::Deep),
        name if name.contains("**") => Err(PatternError::Stars),
        name => Ok(Part::Name(name.split('*').map(|piece| piece.as_bytes().to_vec()).collect())),
    }
}

/// Whether `name` is the pieces in their order with anything between them, anchored at both ends.
fn fits(pieces: &[Vec<u8>], name: &[u8]) -> bool {
    let Some((first, others)) = pieces.split_first() else { return false };
    let Some(mut rest) = name.strip_prefix(first.as_slice()) else { return false };
    let Some((last, inner)) = others.split_last() else { return rest.is_empty() };
    for piece in inner.iter().filter(|piece| !piece.is_empty()) {
        let Some(at) = rest.windows(piece.len()).position(|window| window == piece.as_slice()) else {
            return false;
        };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CanonicalPath {
        CanonicalPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_matches_what() {
        let home = path("/home/me");
        for (pattern, text, matches, reaches, covers) in [
            ("/srv", "/srv", true, true, false),
            ("/srv", "/srv/a", false, false, false),
            ("/srv", "/", false, true, false),
            ("/srv/**", "/srv", true, true, true),
            ("/srv/**", "/srv/a/b", true, true, true),
            ("/srv/**", "/srvx", false, false, false),
            ("/srv/**", "/", false, true, false),
            ("/srv/*", "/srv", false, true, false),
            ("/srv/*", "/srv/a", true, true, false),
            ("/srv/*", "/srv/.hidden", true, true, false),
            ("/srv/*", "/srv/a/b", false, false, false),
            ("/srv/*/x", "/srv/a", false, true, false),
            ("/srv/**/x", "/srv/x", true, true, false),
            ("/srv/**/x", "/srv/a/b/x", true, true, false),
            ("/srv/**/x", "/srv/a/b", false, true, false),
            ("/srv/**/x/**", "/srv/a/x/b", true, true, true),
            ("/srv/**/x/**", "/srv/a/y/b", false, true, false),
            ("/a*b*c", "/abc", true, true, false),
            ("/a*b*c", "/aXbYbZc", true, true, false),
            ("/a*b*c", "/ac", false, false, false),
            ("/a*a", "/a", false, false, false),
            ("/*.log", "/x.log", true, true, false),
            ("/*.log", "/x.log.gz", false, false, false),
            ("/**", "/", true, true, true),
            ("/**", "/a/b", true, true, true),
            ("/", "/", true, true, false),
            ("/", "/a", false, false, false),
            ("~", "/home/me", true, true, false),
            ("~", "/home/me/a", false, false, false),
            ("~/**", "/home/me", true, true, true),
            ("~/.ssh/**", "/home/me/.ssh/id", true, true, true),
            ("~/.ssh/**", "/home/me", false, true, false),
            ("~/.ssh/**", "/home", false, true, false),
            ("~/.ssh/**", "/home/you/.ssh", false, false, false),
            ("~/**", "/home/mew", false, false, false),
        ] {
            let read = Pattern::parse(pattern).unwrap();
            let (at, home) = (path(text), Some(&home));
            assert_eq!(read.matches(&at, home), matches, "{pattern} matches {text}");
            assert_eq!(read.reaches_below(&at, home), reaches, "{pattern} reaches below {text}");
            assert_eq!(read.covers(&at, home), covers, "{pattern} covers {text}");
            if read.home {
                assert!(
                    !read.matches(&at, None) && !read.reaches_below(&at, None),
                    "{pattern} without a home"
                );
            }
        }
        let bytes = CanonicalPath::parse(b"/srv/\xff.log").unwrap();
        assert!(Pattern::parse("/srv/*.log").unwrap().matches(&bytes, None));
        assert!(!Pattern::parse("/srv/\u{ff}.log").unwrap().matches(&bytes, None));
    }

    #[test]
    fn when_nobody_knows_the_home() {
        for (pattern, text, at_home, deep, might) in [
            ("~/.ssh/**", "/.ssh", true, false, true),
            ("~/.ssh/**", "/x", true, true, false),
            ("~/.ssh/**", "/", true, true, true),
            ("~/.ssh/**", "/home/me/.ssh/id", false, false, true),
            ("~/.ssh/**", "/home/me/x", false, false, false),
            ("~/.ssh/**", "/home", false, true, true),
            ("/home/*/.ssh", "/.ssh", true, false, true),
            ("/home/*/.ssh", "/x", true, false, false),
            ("/etc/passwd", "/passwd", true, false, true),
            ("/etc/passwd", "/shadow", true, false, false),
            ("/etc/passwd", "/etc", false, true, true),
            ("/etc/passwd", "/var", false, true, false),
        ] {
            let read = Pattern::parse(pattern).unwrap();
            assert_eq!(read.might_match(&path(text), at_home, deep), might, "{pattern} {text}");
        }
        let home = Pattern::parse("~/up/**").unwrap();
        assert!(home.matches_at_home(&path("/up")) && home.covers_at_home(&path("/up/x")));
        assert!(!home.covers_at_home(&path("/down")));
        assert!(!Pattern::parse("/up/**").unwrap().matches_at_home(&path("/up")));
    }

    #[test]
    fn what_is_no_pattern() {
        for (text, error) in [
            ("", PatternError::Relative),
            ("srv", PatternError::Relative),
            ("**", PatternError::Relative),
            ("~you/x", PatternError::Relative),
            ("/srv/", PatternError::NotCanonical),
            ("~/", PatternError::NotCanonical),
            ("//", PatternError::NotCanonical),
            ("/srv/../etc", PatternError::NotCanonical),
            ("/srv/./a", PatternError::NotCanonical),
            ("/srv/a**", PatternError::Stars),
            ("/***", PatternError::Stars),
            ("/srv/[ab]", PatternError::Character('[')),
            ("/srv/a?", PatternError::Character('?')),
            ("/srv/{a,b}", PatternError::Character('{')),
            ("/srv\\a", PatternError::Character('\\')),
            ("/srv\0", PatternError::Character('\0')),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Pattern::parse(&"/a".repeat(PARTS_MAX + 1)), Err(PatternError::TooLong));
        let most = Pattern::parse(&"/**".repeat(PARTS_MAX)).unwrap();
        assert!(most.matches(&path(&"/a".repeat(2000)), None));
    }
}
