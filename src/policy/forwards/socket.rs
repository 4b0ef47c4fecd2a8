//! One rule for Unix sockets: an absolute path in which `*` stands for any part of one name and `**` for any number of
//! names. Links at the target are the target's: a rule for a folder trusts who may write there.

use std::fmt;
use std::str::FromStr;

/// Longest path of a socket, in bytes (`sun_path` less its end).
const PATH_MAX: usize = 107;

/// The rule: the names between the slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathPattern(Vec<String>);

/// What is wrong with a rule's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a pattern for sockets: write an absolute path without . and .., with * inside a name or ** for any"
)]
pub(super) struct BadPattern(String);

impl FromStr for PathPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let wrong = || BadPattern(text.chars().take(128).collect());
        let parts = parts(text).ok_or_else(wrong)?;
        if parts.iter().any(|part| *part != "**" && part.contains("**")) {
            return Err(wrong());
        }
        Ok(Self(parts.into_iter().map(str::to_owned).collect()))
    }
}

/// The names of a plain absolute path; `None` for anything else.
pub(super) fn parts(path: &str) -> Option<Vec<&str>> {
    if path.len() > PATH_MAX || path.chars().any(char::is_control) {
        return None;
    }
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let plain = parts.iter().all(|part| !matches!(*part, "" | "." | ".."));
    plain.then_some(parts)
}

impl PathPattern {
    /// Whether the pattern covers a path of these names.
    pub(super) fn matches(&self, path: &[&str]) -> bool {
        let patterns: Vec<&str> = self.0.iter().map(String::as_str).collect();
        matches(&patterns, path, |pattern| *pattern == "**", |pattern, name| name_matches(pattern, name))
    }

    /// Whether it covers every path.
    pub(super) fn is_all(&self) -> bool {
        self.0.iter().all(|part| part == "**")
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    matches(&pattern, &name, |c| *c == '*', |a, b| a == b)
}

/// Whether `items` fit `pattern`, where what `is_star` says stands for any number of items. Looks back to the last star
/// only, so the time is at most the product of both lengths.
fn matches<P, I>(
    pattern: &[P],
    items: &[I],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(item) = items.get(i) {
        match pattern.get(p) {
            Some(part) if is_star(part) => {
                star = Some((p, i));
                p += 1;
            }
            Some(part) if fits(part, item) => {
                p += 1;
                i += 1;
            }
            Some(_) | None => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                i = from + 1;
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(is_star))
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expect) in [
            ("/run/pg/*", "/run/pg/.s.5432", true),
            ("/run/pg/*", "/run/pg/a/b", false),
            ("/run/pg/*", "/run/pg", false),
            ("/run/pg/*", "/run/pgx/a", false),
            ("/run/user/1000/**", "/run/user/1000/a/b/c", true),
            ("/run/user/1000/**", "/run/user/1001/a", false),
            ("/**/s", "/s", true),
            ("/**/s", "/a/b/s", true),
            ("/**/s", "/a/b/t", false),
            ("/**", "/a", true),
            ("/a/**/b/**/c", "/a/b/b/x/c", true),
            ("/tmp/ssh-*/agent.*", "/tmp/ssh-ab/agent.12", true),
            ("/tmp/ssh-*/agent.*", "/tmp/ssh/agent.12", false),
            ("/a*b*c", "/axbxbc", true),
            ("/a*b*c", "/axbxb", false),
            ("/A", "/a", false),
        ] {
            let parsed: PathPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&parts(path).unwrap()), expect, "{pattern} {path}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for bad in
            ["", "a", "a/b", "/", "/a/", "//a", "/a/../b", "/./a", "/a**", "/a\n", "/a\0", &"/a".repeat(60)]
        {
            assert!(bad.parse::<PathPattern>().is_err(), "{bad:?}");
        }
        for bad in ["/run/../etc/s", "/run//s", "/run/./s", "/run/s/", "run/s", "/run/\0s"] {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn stars_cost_little() {
        let pattern: PathPattern = format!("/{}b", "a*".repeat(50)).parse().unwrap();
        let path = format!("/{}", "a".repeat(100));
        assert!(!pattern.matches(&parts(&path).unwrap()));
    }
}
