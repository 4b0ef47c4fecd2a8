//! Words: which ones a text has for the index, and where in a line something is that was searched for. Pure. The index finds
//! lines that may be meant; what is shown is what [`find`] finds, so both databases answer the same.

use std::collections::BTreeSet;
use std::ops::Range;

/// Longest word, in characters; the rest of a longer one is no part of the index.
const WORD_MAX: usize = 64;

/// Whether a character is a word by itself: scripts that put no blanks between words.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The words of `text` in lower case, in their order.
pub fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word = String::new();
    let mut length = 0;
    let mut close = |word: &mut String| {
        if !word.is_empty() {
            all.push(std::mem::take(word));
        }
    };
    for c in text.chars().flat_map(char::to_lowercase) {
        if !c.is_alphanumeric() {
            close(&mut word);
            length = 0;
        } else if stands_alone(c) {
            close(&mut word);
            word.push(c);
            close(&mut word);
            length = 0;
        } else if length < WORD_MAX {
            word.push(c);
            length += 1;
        }
    }
    close(&mut word);
    all
}

/// What the index is asked for: words that must be there, and one that a word must begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whole words.
    pub whole: BTreeSet<String>,
    /// Beginnings.
    pub begins: BTreeSet<String>,
}

impl Wanted {
    /// For lines with each of `texts` in them. The last word of each may be the beginning of a longer one.
    pub fn of(texts: &[String]) -> Self {
        let mut wanted = Self::default();
        for text in texts {
            let mut words = words(text);
            let open = text.chars().next_back().is_some_and(|c| c.is_alphanumeric() && !stands_alone(c));
            if open && let Some(last) = words.pop() {
                wanted.begins.insert(last);
            }
            wanted.whole.extend(words);
        }
        wanted
    }

    /// Whether the index could be asked at all: without a word everything would be meant.
    pub fn is_nothing(&self) -> bool {
        self.whole.is_empty() && self.begins.is_empty()
    }
}

/// Where `wanted` is in `line` first, in bytes, whatever the case; blanks match any number of blanks.
pub fn find(line: &str, wanted: &str) -> Option<Range<usize>> {
    let wanted: Vec<char> = wanted.trim().chars().collect();
    line.char_indices().find_map(|(at, _)| {
        let rest = line.get(at..)?;
        let length = begins_with(rest, &wanted).filter(|length| *length > 0)?;
        Some(at..at + length)
    })
}

/// How many bytes of `line` are `wanted`, when it begins so.
fn begins_with(line: &str, wanted: &[char]) -> Option<usize> {
    let mut here = line.char_indices().peekable();
    let mut wanted = wanted.iter().copied().peekable();
    while let Some(next) = wanted.next() {
        let (_, c) = here.next()?;
        if next.is_whitespace() {
            if !c.is_whitespace() {
                return None;
            }
            while wanted.next_if(|c| c.is_whitespace()).is_some() {}
            while here.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        } else if !c.to_lowercase().eq(next.to_lowercase()) {
            return None;
        }
    }
    Some(here.peek().map_or(line.len(), |(at, _)| *at))
}

/// Whether the whole of `text` is what `pattern` says: `*` is any text, `?` one character, everything else itself.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut in_pattern) = (0, 0);
    // Where the last `*` stands, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(at) {
        match pattern.get(in_pattern) {
            Some('*') => {
                star = Some((in_pattern, at));
                in_pattern += 1;
            }
            Some(p) if *p == '?' || p == c => {
                at += 1;
                in_pattern += 1;
            }
            Some(_) | None => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                at = taken + 1;
                in_pattern = place + 1;
            }
        }
    }
    pattern.iter().skip(in_pattern).all(|p| *p == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_texts() {
        let rows: [(&str, &[&str]); 6] = [
            ("$ cat /etc/Passwd | grep -v ROOT", &["cat", "etc", "passwd", "grep", "v", "root"]),
            ("  ...  ", &[]),
            ("Größe=10kB ÄÖ", &["größe", "10kb", "äö"]),
            ("你好 world世界", &["你", "好", "world", "世", "界"]),
            ("a'b\"c\\d:*e", &["a", "b", "c", "d", "e"]),
            ("ﬁne İx", &["ﬁne", "i", "x"]),
        ];
        for (text, expect) in rows {
            assert_eq!(words(text), expect, "{text}");
        }
        assert_eq!(words(&"y".repeat(1000)), ["y".repeat(WORD_MAX)]);
    }

    #[test]
    fn what_the_index_is_asked_for() {
        let of = |texts: &[&str]| Wanted::of(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        let set = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(of(&["/etc/pass"]), Wanted { whole: set(&["etc"]), begins: set(&["pass"]) });
        assert_eq!(of(&["drop table "]), Wanted { whole: set(&["drop", "table"]), begins: set(&[]) });
        assert_eq!(of(&["rm", "-rf"]), Wanted { whole: set(&[]), begins: set(&["rm", "rf"]) });
        assert_eq!(of(&["世界"]), Wanted { whole: set(&["世", "界"]), begins: set(&[]) });
        assert!(of(&["|", " -> "]).is_nothing());
    }

    #[test]
    fn where_it_is() {
        let rows = [
            ("cat /etc/passwd", "/ETC/pass", Some("/etc/pass")),
            ("drop   table\tx", "DROP table  x", Some("drop   table\tx")),
            ("droptable", "drop table", None),
            ("ÄPFEL und Öl", "äpfel", Some("ÄPFEL")),
            ("你好世界", "好世", Some("好世")),
            ("aab", "ab", Some("ab")),
            ("a", "ab", None),
            ("anything", "", None),
            ("x ", "x ", Some("x")),
        ];
        for (line, wanted, expect) in rows {
            assert_eq!(find(line, wanted).map(|at| &line[at]), expect, "{line:?} {wanted:?}");
        }
    }

    #[test]
    fn patterns() {
        let rows = [
            ("rm -rf /srv/x", "rm *", true),
            ("rm -rf /srv/x", "*/srv/*", true),
            ("rm -rf /srv/x", "rm", false),
            ("rm", "rm*", true),
            ("rm x", "rm ?", true),
            ("rm xy", "rm ?", false),
            ("", "", true),
            ("", "*", true),
            ("aXbXc", "a*X*c", true),
            ("aaaa", "a*b", false),
            ("ls [a]", "ls [a]", true),
        ];
        for (text, pattern, expect) in rows {
            assert_eq!(is_like(text, pattern), expect, "{text:?} {pattern:?}");
        }
        let many = "a".repeat(20_000);
        assert!(!is_like(&many, "*a*a*a*a*b"));
    }
}
