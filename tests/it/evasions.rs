//! Ways around an allow list of commands that are known from shells, bastions and wrappers, as bytes of an `exec`
//! request, and the set they are held against. Each tries to run `touch` on a file called `evaded`, or to reach past
//! what a rule names. None may be sent, and what is allowed is sent in exactly our own words.

use std::path::Path;

use caponier::inspect::command::{Dialect, Reading};
use caponier::policy::commands::{Assurance, CommandSet, Verdict, read_sets};

/// The set that the rows are held against, as it stands in a policy file.
pub(crate) const SET: &str = r#"
[[commands]]
name = "evasions"
allow = [
  { argv = ["echo", "**"], options = ["-n"], name = "echo" },
  { argv = ["ls", "-l", "/usr/share/**"] },
  { argv = ["cat", "/usr/share/**"] },
  { argv = ["grep", "--", "*", "/usr/share/**"] },
  { argv = ["wc", "-l|-c"] },
  { argv = ["id", "-un|-gn"] },
  { argv = ["true"] },
  { argv = ["false"] },
  { argv = ["/usr/bin/printf", "%s\\\\n", "*"] },
]
deny = [{ argv = ["touch", "**"], message = "nothing is touched here" }]
"#;

/// Lines that must not run: a name, and the bytes.
pub(crate) const ROWS: &[(&str, &[u8])] = &[
    ("plain", b"touch evaded"),
    ("empty", b""),
    ("blanks", b" \t "),
    ("absolute path", b"/usr/bin/touch evaded"),
    ("relative path", b"../../usr/bin/touch evaded"),
    ("path with dots", b"/usr/bin/../bin/touch evaded"),
    ("path with two slashes", b"//usr//bin//touch evaded"),
    ("allowed program by another path", b"/tmp/echo x"),
    ("allowed program, here", b"./echo x"),
    ("upper case", b"TOUCH evaded"),
    ("single quotes", b"to'uch' evaded"),
    ("double quotes", b"\"touch\" evaded"),
    ("empty quotes inside", b"to''uch evaded"),
    ("backslash before an alias", b"\\touch evaded"),
    ("backslash inside", b"to\\uch evaded"),
    ("ANSI quotes", b"$'\\x74ouch' evaded"),
    ("locale quotes", b"$\"touch\" evaded"),
    ("IFS", b"touch$IFS\"evaded\""),
    ("IFS in braces", b"echo${IFS}x;touch${IFS}evaded"),
    ("variable as program", b"$SHELL -c 'touch evaded'"),
    ("variable as word", b"cat $HOME/.ssh/id_ed25519"),
    ("variable in double quotes", b"cat \"$HOME/.profile\""),
    ("assembled from variables", b"a=tou;b=ch;$a$b evaded"),
    ("substring of a variable", b"${PATH:0:1}bin${PATH:0:1}touch evaded"),
    ("indirect expansion", b"echo ${!x} ${x@P}"),
    ("default value with a command", b"echo ${x:-$(touch evaded)}"),
    ("assignment before", b"LD_PRELOAD=./x.so echo x"),
    ("assignment of PATH", b"PATH=/tmp:$PATH echo x"),
    ("quoted assignment", b"'X=y' touch evaded"),
    ("appended assignment", b"PATH+=:/tmp echo x"),
    ("substitution", b"echo $(touch evaded)"),
    ("substitution in double quotes", b"echo \"$(touch evaded)\""),
    ("backquotes", b"echo `touch evaded`"),
    ("backquotes in double quotes", b"echo \"`touch evaded`\""),
    ("substitution of new bash", b"echo ${ touch evaded; }"),
    ("fish substitution", b"echo (touch evaded)"),
    ("process substitution in", b"cat <(touch evaded)"),
    ("process substitution out", b"echo x >(touch evaded)"),
    ("zsh process substitution", b"cat =(touch evaded)"),
    ("arithmetic", b"echo $((x[$(touch evaded)]))"),
    ("old arithmetic", b"echo $[x[$(touch evaded)]]"),
    ("semicolon", b"echo x; touch evaded"),
    ("semicolon without blanks", b"echo x;touch evaded"),
    ("two semicolons", b"echo x;; touch evaded"),
    ("and", b"true && touch evaded"),
    ("or", b"false || touch evaded"),
    ("or, and", b"true || true && touch evaded"),
    ("pipe", b"echo x | touch evaded"),
    ("pipe with errors", b"echo x |& touch evaded"),
    ("pipe into a shell", b"echo touch evaded | sh"),
    ("background", b"echo x & touch evaded"),
    ("background at the end", b"echo x &"),
    ("behind an allowed list", b"true; true && true | true; touch evaded"),
    ("line feed", b"echo x\ntouch evaded"),
    ("escaped line feed", b"echo x\\\ntouch evaded"),
    ("line feed in quotes", b"echo 'x\ntouch evaded'"),
    ("carriage return", b"echo x\rtouch evaded"),
    ("carriage return, line feed", b"echo x\r\ntouch evaded\r\n"),
    ("NUL", b"echo x\0; touch evaded"),
    ("NUL inside a word", b"ec\0ho x"),
    ("vertical tab", b"echo x\x0btouch evaded"),
    ("form feed", b"echo x\x0ctouch evaded"),
    ("escape sequence", b"echo \x1b[8mx\x1b[0m"),
    ("erased by backspaces", b"touch evaded\x08\x08\x08"),
    ("delete", b"echo x\x7f"),
    ("C1 control", b"echo \xc2\x9b8m"),
    ("next line (U+0085)", b"echo x\xc2\x85touch evaded"),
    ("line separator (U+2028)", b"echo x\xe2\x80\xa8touch evaded"),
    ("no-break space", b"echo\xc2\xa0x"),
    ("ideographic space", b"echo\xe3\x80\x80x"),
    ("soft hyphen", b"ec\xc2\xadho x"),
    ("zero width space", b"echo x\xe2\x80\x8b"),
    ("zero width joiner", b"ec\xe2\x80\x8dho x"),
    ("byte order mark", b"\xef\xbb\xbfecho x"),
    ("right-to-left override", b"echo \xe2\x80\xaex"),
    ("isolate", b"echo \xe2\x81\xa6x\xe2\x81\xa9"),
    ("variation selector", b"echo x\xef\xb8\x8f"),
    ("tag characters", b"echo x\xf3\xa0\x81\x81"),
    ("Hangul filler", b"echo \xe3\x85\xa4"),
    ("a private character that fish uses", b"echo \xef\x98\x80"),
    ("letters that look alike", b"\xd0\xb5cho x"),
    ("full-width letters", b"\xef\xbd\x85cho x"),
    ("full-width semicolon as program", b"echo\xef\xbc\x9btouch evaded"),
    ("bytes that are not UTF-8", b"echo \xff"),
    ("overlong UTF-8", b"echo \xc0\xbb touch evaded"),
    ("redirection out", b"echo x > evaded"),
    ("redirection without blanks", b"echo x>evaded"),
    ("append", b"echo key >> .ssh/authorized_keys"),
    ("clobber", b"echo x >| evaded"),
    ("redirection in", b"wc -l < .ssh/id_ed25519"),
    ("redirection of both", b"echo x &> evaded"),
    ("redirection to a descriptor", b"echo x 1>&2"),
    ("network redirection", b"echo x > /dev/tcp/127.0.0.1/80"),
    ("here-document", b"cat <<E\n$(touch evaded)\nE\n"),
    ("here-string", b"sh <<< 'touch evaded'"),
    ("wildcard as program", b"/usr/bin/touc? evaded"),
    ("wildcard in brackets", b"/usr/bin/[t]ouch evaded"),
    ("wildcard as word", b"cat /usr/share/../../etc/passw*"),
    ("brace expansion", b"{touch,evaded}"),
    ("brace range", b"echo {1..3}"),
    ("brace group", b"{ touch evaded; }"),
    ("subshell", b"(touch evaded)"),
    ("tilde", b"cat ~/.ssh/id_ed25519"),
    ("tilde as program", b"~/touch evaded"),
    ("equals expansion of zsh", b"=touch evaded"),
    ("equals expansion in a word", b"cat =touch"),
    ("history, last command", b"!!"),
    ("history inside", b"echo !touch"),
    ("history in double quotes", b"echo \"x!touch\""),
    ("quick substitution", b"^echo^touch^"),
    ("negation", b"! touch evaded"),
    ("comment", b"echo x # touch evaded"),
    ("comment, line feed", b"echo x #\ntouch evaded"),
    ("job", b"%1"),
    ("job of fish", b"%self"),
    ("if", b"if true; then touch evaded; fi"),
    ("for", b"for x in 1; do touch evaded; done"),
    ("case", b"case x in x) touch evaded;; esac"),
    ("while", b"while true; do touch evaded; done"),
    ("repeat of zsh and csh", b"repeat 1 touch evaded"),
    ("begin of fish", b"begin; touch evaded; end"),
    ("and of fish", b"true; and touch evaded"),
    ("quoted keyword of fish", b"'if' touch evaded"),
    ("not", b"not touch evaded"),
    ("time", b"time touch evaded"),
    ("coproc", b"coproc touch evaded"),
    ("double brackets", b"[[ $(touch evaded) ]]"),
    ("let", b"let 'x[$(touch evaded)]'"),
    ("test that evaluates", b"test 'x[$(touch evaded)]' -eq 0"),
    ("function", b"echo() { touch evaded; }; echo x"),
    ("function, keyword", b"function echo { touch evaded; }; echo x"),
    ("alias", b"alias echo='touch evaded'; echo x"),
    ("label of ksh", b"echo: touch evaded"),
    ("precommand dash of zsh", b"- touch evaded"),
    ("quoted precommand dash", b"'-' touch evaded"),
    ("noglob of zsh", b"noglob touch evaded"),
    ("arithmetic of csh", b"@ x = 1"),
    ("eval", b"eval 'touch evaded'"),
    ("source", b". /dev/stdin"),
    ("source by name", b"source evaded"),
    ("exec", b"exec touch evaded"),
    ("command", b"command touch evaded"),
    ("builtin", b"builtin eval 'touch evaded'"),
    ("trap", b"trap 'touch evaded' EXIT"),
    ("shell", b"sh -c 'touch evaded'"),
    ("shell by path", b"/bin/sh -c 'touch evaded'"),
    ("shell alone", b"bash"),
    ("busybox", b"busybox touch evaded"),
    ("busybox shell", b"busybox sh -c 'touch evaded'"),
    ("env", b"env touch evaded"),
    ("env, split string", b"env -S 'touch evaded'"),
    ("xargs", b"echo evaded | xargs touch"),
    ("nohup", b"nohup touch evaded"),
    ("timeout", b"timeout 9 touch evaded"),
    ("nice", b"nice touch evaded"),
    ("sudo", b"sudo -n touch evaded"),
    ("find", b"find /usr/share -maxdepth 0 -exec touch evaded ;"),
    ("awk", b"awk 'BEGIN { system(\"touch evaded\") }'"),
    ("python", b"python3 -c 'open(\"evaded\", \"w\")'"),
    ("perl", b"perl -e 'open F, \">evaded\"'"),
    ("vim", b"vim -c '!touch evaded' -c q"),
    ("tar", b"tar cf /dev/null /etc/hostname --checkpoint=1 --checkpoint-action=exec=touch"),
    ("base64 into a shell", b"echo dG91Y2ggZXZhZGVk | base64 -d | sh"),
    ("printf into a shell", b"printf 'touch evaded' | sh"),
    ("loader", b"/lib64/ld-linux-x86-64.so.2 /usr/bin/touch evaded"),
    ("option that no rule names", b"wc --files0-from=/etc/hostname"),
    ("option joined to a named one", b"echo -ne x"),
    ("option in the place of a word", b"grep -r x /usr/share/doc"),
    ("option behind the end of options", b"grep -- -f /usr/share/doc"),
    ("end of options that no rule names", b"cat -- /usr/share/doc/x"),
    ("long option for a short one", b"ls --format=long /usr/share/doc"),
    ("option twice", b"ls -l -l /usr/share/doc"),
    ("one word too few", b"id"),
    ("one word too many", b"id -un root"),
    ("an empty word more", b"true ''"),
    ("parent folder", b"cat /usr/share/../../etc/shadow"),
    ("parent folder at the end", b"ls -l /usr/share/doc/.."),
    ("this folder inside", b"cat /usr/share/./doc"),
    ("empty component", b"cat /usr/share//doc"),
    ("the folder itself", b"ls -l /usr/share"),
    ("a folder that begins alike", b"cat /usr/share-not/x"),
    ("relative path to what is allowed", b"cat usr/share/x"),
    ("quote that is not closed", b"echo 'x; touch evaded"),
    ("double quote that is not closed", b"echo \"x; touch evaded"),
    ("backslash at the end", b"echo x\\"),
    ("operator at the end", b"echo x &&"),
    ("operator at the start", b"; touch evaded"),
    ("empty command between", b"echo x; ; touch evaded"),
    ("empty word as program", b"'' touch evaded"),
    ("option of the shell itself", b"-c 'touch evaded'"),
    ("switch of the shell itself", b"+x; touch evaded"),
];

/// Lines that may run: what came, and exactly what is sent.
pub(crate) const ALLOWED: &[(&str, &str)] = &[
    ("echo x", "echo x"),
    ("echo", "echo"),
    ("  echo\tx   y ", "echo x y"),
    ("echo -n x", "echo -n x"),
    ("echo 'a  b' \"c  d\"", "echo 'a  b' 'c  d'"),
    ("e'ch'o \"x\"", "echo x"),
    ("\\echo x", "echo x"),
    (
        "echo '$HOME `id` $(id) * ~ {a,b} # ; | & > < ( ) [ ] ? ^ %'",
        "echo '$HOME `id` $(id) * ~ {a,b} # ; | & > < ( ) [ ] ? ^ %'",
    ),
    (
        "echo \"it's\" 'say \"hi\"' \\! 'a!' 'back\\slash'",
        "echo 'it'\\''s' 'say \"hi\"' \\! 'a'\\! 'back'\\\\'slash'",
    ),
    ("echo %self a=b 1,2+3 @x", "echo '%self' 'a=b' 1,2+3 @x"),
    ("echo \u{fc}\u{df} \u{65e5}\u{672c} e\u{301}", "echo '\u{fc}\u{df}' '\u{65e5}\u{672c}' 'e\u{301}'"),
    ("echo ''", "echo ''"),
    ("echo if then x", "echo if then x"),
    ("ls -l /usr/share/doc", "ls -l /usr/share/doc"),
    ("cat /usr/share/common-licenses/BSD", "cat /usr/share/common-licenses/BSD"),
    ("grep -- 'a b' /usr/share/common-licenses/BSD", "grep -- 'a b' /usr/share/common-licenses/BSD"),
    ("echo x | wc -l", "echo x | wc -l"),
    ("echo x|wc -c", "echo x | wc -c"),
    ("true && echo yes || echo no", "true && echo yes || echo no"),
    ("false || echo no; echo end", "false || echo no; echo end"),
    ("id -un", "id -un"),
    ("/usr/bin/printf '%s\\n' x", "/usr/bin/printf '%s'\\\\'n' x"),
];

/// The set of [`SET`].
pub(crate) fn set() -> CommandSet {
    read_sets(Path::new("policy.toml"), SET).unwrap().remove(0)
}

#[test]
fn no_known_evasion_is_sent() {
    let set = set();
    let mut long: Vec<u8> = b"echo ".to_vec();
    long.resize(16 << 10, b'x');
    assert_eq!(set.judge(&Reading::of(&long, Dialect::Posix)).verdict, Verdict::Allow, "as long as may be");
    let longer = [long.as_slice(), b"x"].concat();
    let hidden = [&longer[..16_300], b" ; touch evaded ;", &[b'y'; 1000]].concat();
    let deep =
        |open: &str, close: &str| format!("echo {}touch evaded{}", open.repeat(2000), close.repeat(2000));
    let deep: Vec<Vec<u8>> =
        [deep("$(", ")"), deep("(", ")"), deep("`", "`"), deep("{ ", "; }"), deep("\"$(", ")\"")]
            .map(String::into_bytes)
            .into();
    let drawn = [longer, hidden].into_iter().chain(deep).map(|line| ("long or deep", line));
    let rows = ROWS.iter().map(|(name, line)| (*name, line.to_vec()));
    let mut count = 0;
    for (name, line) in rows.chain(drawn) {
        // What is not a shell's is not read at all; then nothing is allowed either.
        for dialect in [Dialect::Posix, Dialect::None] {
            let finding = set.judge(&Reading::of(&line, dialect));
            assert_eq!(finding.verdict, Verdict::Deny, "{name}: {finding:#?}");
            assert!(!finding.rule.is_empty() && !finding.why.is_empty(), "{name}: {finding:#?}");
            assert!(!finding.why.chars().any(char::is_control), "{name}: {finding:#?}");
        }
        count += 1;
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn names_of_evasions_differ() {
    let mut names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn what_is_allowed_is_sent_in_our_own_words() {
    let set = set();
    for (line, text) in ALLOWED {
        let reading = Reading::of(line.as_bytes(), Dialect::Posix);
        let finding = set.judge(&reading);
        assert_eq!(finding.verdict, Verdict::Allow, "{line}: {finding:#?}");
        assert!(finding.explicit && !finding.verbatim, "{line}: {finding:#?}");
        assert_eq!(finding.assurance, Assurance::Enforced, "{line}");
        assert_eq!(reading.text(), Some(*text), "{line}");
    }
}
