//! What the strict grammar reads, what it refuses and where, and how our own quoting looks.

use super::{COMMAND_BYTES_MAX, Dialect, Reading, quote};

fn of(command: impl AsRef<[u8]>) -> Reading {
    Reading::of(command.as_ref(), Dialect::Posix)
}

#[test]
fn lines_that_are_read() {
    let rows: &[(&str, &[&[&str]], &str)] = &[
        ("ls", &[&["ls"]], "ls"),
        ("  ls \t -l  ", &[&["ls", "-l"]], "ls -l"),
        ("uname -a", &[&["uname", "-a"]], "uname -a"),
        ("cat '/a b' \"c d\"", &[&["cat", "/a b", "c d"]], "cat '/a b' 'c d'"),
        (r"a\ b 'c'd\'e", &[&["a b", "cd'e"]], r"'a b' 'cd'\''e'"),
        (
            r#"echo "\$x \`y\` \"z\" \\ \n""#,
            &[&["echo", r#"$x `y` "z" \ \n"#]],
            r#"echo '$x `y` "z" '\\' '\\'n'"#,
        ),
        (r"echo \!x '!' 'it'\''s'", &[&["echo", "!x", "!", "it's"]], r"echo \!'x' \! 'it'\''s'"),
        ("echo '' \"\"", &[&["echo", "", ""]], "echo '' ''"),
        ("a|b", &[&["a"], &["b"]], "a | b"),
        ("a&&b||c ; d", &[&["a"], &["b"], &["c"], &["d"]], "a && b || c; d"),
        ("a||b; c&&d", &[&["a"], &["b"], &["c"], &["d"]], "a || b; c && d"),
        ("date +%F", &[&["date", "+%F"]], "date +%F"),
        ("kill %self", &[&["kill", "%self"]], "kill '%self'"),
        ("env A=b c", &[&["env", "A=b", "c"]], "env 'A=b' c"),
        ("grep ключ größe", &[&["grep", "ключ", "größe"]], "grep 'ключ' 'größe'"),
        (
            "echo '*' '~' '#' '{a,b}' '<(x)'",
            &[&["echo", "*", "~", "#", "{a,b}", "<(x)"]],
            "echo '*' '~' '#' '{a,b}' '<(x)'",
        ),
        ("git show HEAD^", &[&["git", "show", "HEAD^"]], "git show 'HEAD^'"),
        (r"\ls -- -x", &[&["ls", "--", "-x"]], "ls -- -x"),
        ("'ls' l\"\"s", &[&["ls", "ls"]], "ls ls"),
        (". x", &[&[".", "x"]], ". x"),
        (": x", &[&[":", "x"]], ": x"),
        ("eval 'rm x'", &[&["eval", "rm x"]], "eval 'rm x'"),
    ];
    for (line, argvs, text) in rows {
        let reading = of(line);
        let expect: Vec<Vec<String>> =
            argvs.iter().map(|argv| argv.iter().map(|word| (*word).to_owned()).collect()).collect();
        assert_eq!(reading.opaque(), None, "{line}");
        assert_eq!(reading.argvs(), Some(expect.as_slice()), "{line}");
        assert_eq!(reading.text(), Some(*text), "{line}");
        assert_eq!(reading.raw(), line.as_bytes());
        // What we send is read as the same words again.
        let again = of(text);
        assert_eq!((again.argvs(), again.text()), (reading.argvs(), reading.text()), "{line}");
    }
}

/// Line, column, and how the reason begins.
const OPAQUE: &[(&str, usize, &str)] = &[
    ("", 0, "an empty command"),
    (" \t ", 0, "an empty command"),
    ("cat /etc/x > y", 12, "redirection"),
    ("a < b", 3, "redirection"),
    ("é > y", 3, "redirection"),
    ("echo $x", 6, "a variable"),
    ("echo \"$x\"", 7, "a variable"),
    ("echo `x`", 6, "a command substitution"),
    ("echo \"`x`\"", 7, "a command substitution"),
    ("echo \"a!\"", 8, "a history sign"),
    ("echo a!", 7, "a history or negation"),
    ("ls *", 4, "a wildcard"),
    ("ls a?", 5, "a wildcard"),
    ("ls [a]", 4, "a wildcard"),
    ("ls a]", 5, "a wildcard"),
    ("ls {a,b}", 4, "a brace"),
    ("ls a}", 5, "a brace"),
    ("ls ~", 4, "a tilde"),
    ("ls a~b", 5, "a tilde"),
    ("a (b)", 3, "a parenthesis"),
    ("a # b", 3, "a comment"),
    ("a &", 3, "a command in the background"),
    ("a & b", 3, "a command in the background"),
    ("a |& b", 3, "a pipe with errors"),
    ("a ;; b", 4, "a place where a command is missing"),
    ("a &&& b", 5, "a command in the background"),
    ("a ||| b", 5, "a place where a command is missing"),
    ("| a", 1, "a place where a command is missing"),
    ("a |", 3, "a place where a command is missing"),
    ("a;", 2, "a place where a command is missing"),
    ("a && ", 5, "a place where a command is missing"),
    ("a || b && c", 9, "&& behind ||"),
    ("a || b | c && d", 13, "&& behind ||"),
    ("a 'b", 3, "a quote that is not closed"),
    ("a \"b", 3, "a quote that is not closed"),
    ("a \"b\\\"", 3, "a quote that is not closed"),
    ("a \\", 3, "a backslash with nothing"),
    ("a\nb", 2, "a line feed (U+000A)"),
    ("a \\\nb", 4, "a line feed"),
    ("a '\n'", 4, "a line feed"),
    ("a\rb", 2, "a carriage return"),
    ("a\0b", 2, "NUL"),
    ("a \x1b[0m", 3, "a control character (U+001B)"),
    ("a \u{7f}", 3, "a control character"),
    ("a \u{9b}", 3, "a control character"),
    ("a '\t'", 4, "a quoted tab"),
    ("a \"\t\"", 4, "a quoted tab"),
    ("a \\\t", 4, "a quoted tab"),
    ("a\u{a0}b", 2, "a blank that no shell reads as one (U+00A0)"),
    ("a '\u{2003}'", 4, "a blank that no shell"),
    ("a \u{3000}", 3, "a blank that no shell"),
    ("a \u{2028}", 3, "a blank that no shell"),
    ("a \u{3164}", 3, "a blank that no shell"),
    ("a \u{202e}b", 3, "a character that changes the direction"),
    ("a '\u{2066}b'", 4, "a character that changes the direction"),
    ("a \u{ad}", 3, "an invisible character (U+00AD)"),
    ("a\u{200b}b", 2, "an invisible character"),
    ("a\u{200d}b", 2, "an invisible character"),
    ("a\u{feff}b", 2, "an invisible character"),
    ("a\u{fe0f}b", 2, "an invisible character"),
    ("a\u{e0041}b", 2, "an invisible character"),
    ("a\u{fdd0}b", 2, "a character without meaning"),
    ("a\u{f600}b", 2, "a character without meaning"),
    ("a\u{ffff}b", 2, "a character without meaning"),
    ("A=b c", 1, "an assignment"),
    ("A+=b", 1, "an assignment"),
    ("'A=b' c", 1, "an assignment"),
    ("a =ls", 3, "a word that begins with ="),
    ("a ''=ls", 5, "a word that begins with ="),
    ("=ls", 1, "a word that begins with ="),
    ("if a", 1, "\"if\", a word of the shell's own grammar,"),
    ("'if' a", 1, "\"if\""),
    ("a; i'f' b", 4, "\"if\""),
    ("a && time b", 6, "\"time\""),
    ("and b", 1, "\"and\""),
    ("not b", 1, "\"not\""),
    ("repeat 3 b", 1, "\"repeat\""),
    ("noglob b", 1, "\"noglob\""),
    ("coproc b", 1, "\"coproc\""),
    ("'!' b", 1, "\"!\""),
    ("'{' b", 1, "\"{\""),
    ("'[[' b", 1, "\"[[\""),
    ("@ x", 1, "\"@\""),
    ("- b", 1, "a command that begins with a dash"),
    ("-c b", 1, "a command that begins with a dash"),
    ("'-' b", 1, "a command that begins with a dash"),
    ("+x b", 1, "a command that begins with a plus"),
    ("%1", 1, "a job"),
    ("'~'", 1, "a command that begins with a tilde"),
    ("^a^b", 1, "a history substitution"),
    ("x: rm y", 1, "a label"),
    ("''", 1, "an empty command word"),
    ("a | '' b", 5, "an empty command word"),
];

#[test]
fn lines_that_are_opaque() {
    for (line, column, reason) in OPAQUE {
        let reading = of(line);
        let opaque = reading.opaque().unwrap_or_else(|| panic!("{line:?} was read: {:?}", reading.text()));
        assert_eq!(opaque.column, *column, "{line:?}: {opaque}");
        assert!(opaque.reason.starts_with(reason), "{line:?}: {opaque}");
        assert_eq!((reading.argvs(), reading.text()), (None, None), "{line:?}");
    }
}

#[test]
fn every_reserved_character_is_refused_alone_and_inside_a_word() {
    for c in "$`*?[]{}~<>()#!&".chars() {
        for line in
            [format!("a {c}"), format!("a b{c}"), format!("a b{c}c"), format!("{c}"), format!("{c} a")]
        {
            assert!(of(&line).opaque().is_some(), "{line}");
        }
    }
}

#[test]
fn bytes_that_are_no_text() {
    for (line, column) in [(&b"ls \xff"[..], 4), (b"\x80", 1), (b"ls \xc3", 4), (b"\xc3\xa4 \xed\xa0\x80", 3)]
    {
        let reading = of(line);
        assert_eq!(reading.opaque().map(|opaque| opaque.column), Some(column), "{line:?}");
    }
    assert_eq!(of(b"ls \xff").opaque().unwrap().to_string(), "a byte that is not UTF-8 at column 4");
}

#[test]
fn length_has_an_end() {
    let longest = format!("echo {}", "x".repeat(COMMAND_BYTES_MAX - 5));
    assert!(of(&longest).argvs().is_some());
    let reading = of(format!("{longest}x"));
    assert_eq!(reading.opaque().unwrap().to_string(), "a command line of 16385 bytes (at most 16384)");
}

/// Lines of the greatest length that make every part of the reader work; each would take minutes if any part looked
/// back over what it has read.
#[test]
fn the_longest_lines_are_read_at_once() {
    for part in ["a&&", "a||", "a|", "a;", "a ", "''", "'a'\\'", "\"\\\\\"", "'", "\"", "\\", "(", "$(", "é"]
    {
        let line = part.repeat(COMMAND_BYTES_MAX / part.len());
        let reading = of(&line);
        assert!(reading.argvs().is_some() || reading.opaque().is_some());
        if let Some(text) = reading.text() {
            assert!(text.len() <= 4 * COMMAND_BYTES_MAX, "{part}: {}", text.len());
        }
    }
}

#[test]
fn without_a_shell_nothing_is_read() {
    let reading = Reading::of(b"show version", Dialect::None);
    assert_eq!((reading.argvs(), reading.text(), reading.raw()), (None, None, &b"show version"[..]));
    assert!(reading.opaque().unwrap().to_string().contains("dialect"));
}

#[test]
fn hashes_are_of_the_bytes() {
    assert_eq!(of("ls").sha256(), "c7b68ac37f364473e922936708e7f43c293dd07b295171566c07ff5fe024fab9");
    assert_eq!(of(b"").sha256(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn quoting() {
    for (word, expect) in [
        ("", "''"),
        ("a", "a"),
        ("-a", "-a"),
        ("a b", "'a b'"),
        ("'", r"\'"),
        ("\\", r"\\"),
        ("!", r"\!"),
        ("a'", r"'a'\'"),
        ("'a", r"\''a'"),
        ("''", r"\'\'"),
        ("$x", "'$x'"),
        ("%a", "'%a'"),
        ("a%", "a%"),
        ("a=b", "'a=b'"),
        ("ä", "'ä'"),
    ] {
        assert_eq!(quote(word), expect, "{word}");
    }
}
