//! Paths on a target, as bytes. A [`CanonicalPath`] is absolute and has no component that means something else than a
//! name; it decides nothing. Whether a path is what it says, the target knows (symbolic links).

use std::fmt;

/// Longest path, in bytes; Linux's `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;

/// An absolute path without `.`, `..` and empty components, without NUL, at most [`PATH_BYTES_MAX`] bytes. Names need
/// not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CanonicalPath(Vec<u8>);

impl CanonicalPath {
    /// `/`.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Takes what is canonical as it stands, and nothing else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"/")?;
        let whole = rest.is_empty() || rest.split(|b| *b == b'/').all(is_name);
        (whole && bytes.len() <= PATH_BYTES_MAX).then(|| Self(bytes.to_vec()))
    }

    /// What a path means when there are no symbolic links: `.` and empty components fall away, `..` goes up, and what
    /// does not begin with `/` stands below `base`.
    pub fn lexical(bytes: &[u8], base: &Self) -> Option<Self> {
        let mut path = if bytes.starts_with(b"/") { Self::root() } else { base.clone() };
        for component in bytes.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => path = path.parent().unwrap_or_else(Self::root),
                name => path = path.join(name)?,
            }
        }
        Some(path)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names in it; none for `/`.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|component| !component.is_empty())
    }

    /// The folder it stands in; none for `/`.
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        match (cut, self.0.len()) {
            (0, 1) => None,
            (0, _) => Some(Self::root()),
            (cut, _) => self.0.get(..cut).map(|above| Self(above.to_vec())),
        }
    }

    /// The path of `name` in this folder; none when `name` is not one plain name, or the path gets too long.
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        let mut bytes = self.0.clone();
        if bytes.len() > 1 {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        (is_name(name) && bytes.len() <= PATH_BYTES_MAX).then_some(Self(bytes))
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// One component that is a name: not empty, not `.` or `..`, without `/` and NUL.
pub(crate) fn is_name(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..") && !component.iter().any(|b| matches!(b, b'/' | 0))
}

/// Bytes of a path as one line for people and the audit, from which the bytes can be told again: control characters
/// and backslashes are escaped, bytes that are not UTF-8 are `\xNN`.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_canonical() {
        for (text, canonical) in [
            (&b"/"[..], true),
            (b"/a", true),
            (b"/a/b.c/...", true),
            (b"/a/\xff", true),
            (b"", false),
            (b"a", false),
            (b"~", false),
            (b"/a/", false),
            (b"//a", false),
            (b"/a/./b", false),
            (b"/a/..", false),
            (b"/..", false),
            (b"/a\0b", false),
            (&[b'/'; 2], false),
        ] {
            let parsed = CanonicalPath::parse(text);
            assert_eq!(parsed.is_some(), canonical, "{}", shown(text));
            assert!(parsed.is_none_or(|path| path.as_bytes() == text));
        }
        let longest: Vec<u8> = [b"/".to_vec(), vec![b'a'; PATH_BYTES_MAX - 1]].concat();
        assert!(CanonicalPath::parse(&longest).is_some());
        assert!(CanonicalPath::parse(&[longest, b"a".to_vec()].concat()).is_none());
    }

    #[test]
    fn up_and_down() {
        let path = |text: &str| CanonicalPath::parse(text.as_bytes()).unwrap();
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(path("/")));
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/").join(b"a"), Some(path("/a")));
        assert_eq!(path("/a").join(b"b"), Some(path("/a/b")));
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert_eq!(path("/a").join(bad), None, "{}", shown(bad));
        }
        assert_eq!(path("/a/b").components().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(path("/").components().count(), 0);
        for (text, means) in [
            ("x", "/home/me/x"),
            ("./x//y/", "/home/me/x/y"),
            ("../../../etc", "/etc"),
            ("/a/../b", "/b"),
            ("", "/home/me"),
        ] {
            assert_eq!(
                CanonicalPath::lexical(text.as_bytes(), &path("/home/me")),
                Some(path(means)),
                "{text}"
            );
        }
    }

    #[test]
    fn shown_on_one_line() {
        assert_eq!(shown("/grüße €".as_bytes()), "/grüße €");
        assert_eq!(shown(b"/a\nb\\c\xff\x1b"), "/a\\nb\\\\c\\xff\\u{1b}");
    }
}
