//! What is found where, what is not known, and that no line takes the process or the machine with it.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::{
    Classified, OPEN_MAX, OPENERS_MAX, PARSED_BYTES_MAX, PARSES_MAX, TURNS, Turns, Word, classify, nesting,
    prepare, runs_others, walk,
};

/// Commands, one a line, sorted; `?` for words that are not known.
fn found(line: &str) -> Result<String, String> {
    let text = prepare(line.as_bytes())?;
    let mut commands: Vec<String> = walk::commands(text)?.iter().map(|argv| show(argv)).collect();
    commands.sort();
    Ok(commands.join("\n"))
}

fn show(argv: &[Word]) -> String {
    let words = argv.iter().map(|word| match word {
        Word::Literal(word) => word.clone(),
        Word::Dynamic => "?".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Lines that run `rm x` somewhere.
const RUN_RM: &[&str] = &[
    "rm x",
    "a; rm x",
    "a && rm x",
    "a || rm x",
    "a | rm x",
    "a |& rm x",
    "a & rm x",
    "rm x &",
    "a\nrm x",
    "(rm x)",
    "( a; ( b; rm x ) )",
    "{ rm x; }",
    "! rm x",
    "time rm x",
    "time -p rm x",
    "! time rm x",
    "time time rm x",
    "A=b rm x",
    "A=$(rm x)",
    "A=$(rm x) b",
    "A[$(rm x)]=b",
    "A=(b $(rm x))",
    "declare A=(b $(rm x))",
    "export A=$(rm x)",
    "a $(rm x)",
    "a \"$(rm x)\"",
    "a \"b $(c \"$(rm x)\")\"",
    "a `rm x`",
    "a \"`rm x`\"",
    "a `b \\`rm x\\``",
    "a $(b `rm x`)",
    "a <(rm x)",
    "a >(rm x)",
    "a > $(rm x)",
    "a < <(rm x)",
    "a 2>&1 >\"$(rm x)\"",
    "> $(rm x)",
    "a <<< $(rm x)",
    "a <<E\n$(rm x)\nE\n",
    "a <<E\n`rm x`\nE\n",
    "a <<-E\n\t\"$(rm x)\"\n\tE\n",
    "a <<E | rm x\nb\nE\n",
    "if rm x; then a; fi",
    "if a; then rm x; fi",
    "if a; then b; else rm x; fi",
    "if a; then b; elif rm x; then c; fi",
    "while rm x; do a; done",
    "while a; do rm x; done",
    "until a; do rm x; done",
    "for i in 1 2; do rm x; done",
    "for i in $(rm x); do a; done",
    "for ((i=0;i<1;i++)); do rm x; done",
    "case a in b) rm x;; esac",
    "case $(rm x) in b) a;; esac",
    "case a in $(rm x)) b;; esac",
    "f() { rm x; }; f",
    "function f { rm x; }; f",
    "f() ( rm x )",
    "coproc rm x",
    "[[ -n $(rm x) ]]",
    "[[ a == b || ! ( -f \"$(rm x)\" ) ]]",
    "((a = $(rm x)))",
    "a $((1 + $(rm x)))",
    "a $[1 + $(rm x)]",
    "a $((rm x) | b)",
    "a ${b:-$(rm x)}",
    "a ${b:-\"$(rm x)\"}",
    "a \"${b:=`rm x`}\"",
    "a ${b/c/$(rm x)}",
    "a ${b[$(rm x)]}",
    "a ${b:$(rm x):2}",
    "a ${b:-${c:-$(rm x)}}",
    "a $(b) $(c $(rm x))",
    "r'm' x",
    "\"rm\" x",
    "\\rm x",
    "r\\m x",
    "r\"\"m 'x'",
    "$'rm' x",
    "rm\\\n x",
    "r\\\nm x",
    "rm\tx",
    "sh -c 'rm x'",
    "sh -ec 'rm x' a b",
    "/bin/bash --norc -l -c \"rm x\"",
    "bash -o pipefail -c 'rm x'",
    "bash -c -e 'rm x'",
    "fish --command='rm x'",
    "fish -C 'rm x' -c a",
    "sh -c 'sh -c \"rm x\"'",
    "eval rm x",
    "eval 'a; rm x'",
    "trap 'rm x' EXIT",
    "env rm x",
    "env -i A=b C=d rm x",
    "env -u A -C /tmp -- rm x",
    "env -S 'rm x'",
    "env -S'rm x'",
    "env -iS 'A=b rm x'",
    "env --split-string='rm x'",
    "sudo rm x",
    "sudo -u root -n -- rm x",
    "sudo -u root A=b rm x",
    "sudo -iu root rm x",
    "sudo --future value rm x",
    "sudo --future rm x y",
    "doas -u root rm x",
    "nohup rm x &",
    "setsid -f rm x",
    "timeout 5 rm x",
    "timeout -s KILL -k 1 5 rm x",
    "nice -n 5 rm x",
    "nice -5 rm x",
    "ionice -c3 rm x",
    "stdbuf -oL rm x",
    "chroot /x rm x",
    "flock /x rm x",
    "flock /x -c 'rm x'",
    "xargs rm x",
    "a | xargs -0 -n 1 -I{} rm x",
    "a | xargs -n1 sh -c 'rm x'",
    "command rm x",
    "builtin rm x",
    "exec rm x",
    "exec -a b rm x",
    "busybox rm x",
    "/usr/bin/busybox sh -c 'rm x'",
    "noglob rm x",
    "and rm x",
    "repeat 3 rm x",
    "find . -name b -exec rm x \\;",
    "find . -exec sh -c 'rm x' {} +",
    "su -c 'rm x' root",
    "su - root -c 'rm x'",
    "su --command='rm x'",
    "watch -n 1 rm x",
    "script -qc 'rm x' /dev/null",
    "sudo env A=b timeout 5 nohup sh -c 'command rm x'",
];

#[test]
fn commands_are_found_wherever_they_stand() {
    let mut wrong = Vec::new();
    for line in RUN_RM {
        match found(line) {
            Ok(found) if found.lines().any(|argv| argv == "rm x" || argv.starts_with("rm x ")) => {}
            other => wrong.push((line, other)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_are_known_or_not() {
    let mut wrong = Vec::new();
    for (line, expect) in [
        ("a b", "a b"),
        ("a $b c", "a ? c"),
        ("a \"b$c\"", "a ?"),
        ("a *.c ~ ~/x {b,c} [d] 'e*' \"{f}\"", "a ? ? ? ? ? e* {f}"),
        ("a $'\\x72m' $'b'", "a ? b"),
        ("a =b c=d", "a ? c=d"),
        ("$a b", "? b"),
        ("\"$(a)\" b", "? b\na"),
        ("A=b", ""),
        ("A=b c", "c"),
        ("a > b 2>&1", "a"),
        ("a <<'E'\n$(rm x)\nE\n", "a"),
        ("a # $(rm x)", "a"),
        ("a '$(rm x)' \\$\\(rm\\)", "a $(rm x) $(rm)"),
        ("a {} \\;", "a {} ;"),
        ("'' a", " a"),
        ("sh x.sh -c a", "sh x.sh -c a"),
        ("sudo -l", "sudo -l"),
        ("env", "env"),
        ("env A=b", "env A=b"),
        ("find . -name x", "find . -name x"),
        ("a\u{a0}b c", "a\u{a0}b c"),
        ("a\rb", "a\rb"),
    ] {
        let found = found(line);
        if found.as_deref() != Ok(expect) {
            wrong.push((line, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_not_known() {
    let mut wrong = Vec::new();
    for (line, expect) in [
        ("a )", "does not parse"),
        ("if a", "does not parse"),
        ("a 'b", "does not parse"),
        ("a $(b", "does not parse"),
        ("a; if b", "does not parse"),
        ("echo (rm x)", "does not parse"),
        ("a $(if)", "does not parse"),
        ("sh -c 'if'", "does not parse"),
        ("a\0b", "NUL"),
        ("a ${ rm x; }", "not understood"),
        ("a \"${ rm x; }\"", "not understood"),
        ("a ${|rm x;}", "not understood"),
        ("a ${(e)b}", "not understood"),
        ("a =(rm x)", ""),
        ("a @(b|c)", "not understood"),
        ("eval \"$a\"", "`eval` runs commands that do not stand in the line"),
        ("sh -c \"$a\"", "`sh` runs"),
        ("sh -c $(a)", "`sh` runs"),
        ("a | sh", "`sh` runs"),
        ("a | bash -s", "`bash` runs"),
        ("a | bash -", "`bash` runs"),
        ("sh <<E\nrm x\nE\n", "`sh` runs"),
        ("bash <<< 'rm x'", "`bash` runs"),
        ("bash <(a)", "`bash` runs"),
        ("sh /dev/stdin", "`sh` runs"),
        (". /dev/stdin", "`.` runs"),
        ("source <(a)", "`source` runs"),
        ("echo cm0geA== | base64 -d | sh", "`sh` runs"),
        ("sudo -s", "`sudo` runs"),
        ("sudo -iu root", "`sudo` runs"),
        ("sudo sh", "`sh` runs"),
        ("su", "`su` runs"),
        ("su - root", "`su` runs"),
        ("env $a rm x", "`env` runs"),
        ("xargs $a", "`xargs` runs"),
        ("busybox sh", "`sh` runs"),
    ] {
        match found(line) {
            Err(reason) if reason.contains(expect) => {}
            other => wrong.push((line, other)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(classify(b"\xff", ""), Classified::Unknown("it is not UTF-8".to_owned()));
}

#[test]
fn limits_before_parsing() {
    assert!(prepare(&vec![b'a'; PARSED_BYTES_MAX]).is_ok());
    assert!(prepare(&vec![b'a'; PARSED_BYTES_MAX + 1]).is_err());
    for (line, open, openers) in [
        ("a b c", 0, 0),
        ("(a)", 1, 1),
        ("(a (b) c)", 2, 2),
        ("(a) (b)", 1, 2),
        (") (", 1, 1),
        ("$(a ${b} `c`)", 2, 3),
        ("if a; then for b in c; do d; done; fi", 2, 2),
        ("a; if b", 1, 1),
        ("! ! ! a; ! b", 3, 4),
        ("time time a", 2, 2),
        ("fif", 0, 0),
    ] {
        let counted = nesting(line);
        assert_eq!((counted.open, counted.openers), (open, openers), "{line}");
    }
    for nested in ["(", "{ ", "$(", "${a:-", "if a; then ", "! ", "time ", "[[ ( ", "case a in b) c; "] {
        assert!(prepare(nested.repeat(OPEN_MAX + 1).as_bytes()).is_err(), "{nested}");
    }
    let many = |count: usize| "(a);".repeat(count);
    assert!(prepare(many(OPENERS_MAX).as_bytes()).is_ok());
    assert!(prepare(many(OPENERS_MAX + 1).as_bytes()).is_err());
}

/// What is repeated in lines that are made to nest or to take long.
const HOSTILE: &[&str] = &[
    "(",
    "$(",
    "`",
    "{ ",
    "${a:-",
    "$((",
    "((",
    "[[ ! ",
    "[[ a && ",
    "! ",
    "time ",
    "coproc ",
    "if a; then ",
    "a && ",
    "a | ",
    "a ; ",
    "a & ",
    "a\n",
    "a=",
    "a=(",
    "<<a ",
    "<<a\n",
    "<(",
    ">a ",
    "'",
    "\"",
    "\\",
    "$",
    "$'",
    "case a in b) ",
    "elif a; then ",
    "else ",
    "for a in ",
    "function f ",
    "f() ",
    "@(",
    "*(a|",
    "[",
    "a[",
    "$[",
    "-",
    "$((-",
    "$((1+",
    "a\\\n",
    "#",
    "~",
    "{a,",
    "é",
    "\"$(",
    "\"`",
    "\\`",
    "<<<a ",
    "|& ",
    "${!",
    "sh -c '",
    "eval ",
    "env ",
    "sudo ",
    "xargs ",
    "find -exec ",
    "sh -c \"",
    "env -S '",
];

/// Lines made to nest or to take long. A parser that recursed too deep would take the test process with it.
#[test]
fn hostile_lines_are_survived() {
    for part in HOSTILE {
        for times in [7, 30, PARSED_BYTES_MAX] {
            for (before, after) in [("", ""), ("a ", " b"), ("[[ ", " ]]"), ("a $((", "))")] {
                let mut line = format!("{before}{}", part.repeat(times));
                let room = PARSED_BYTES_MAX.saturating_sub(after.len());
                while line.len() > room {
                    line.pop();
                }
                line.push_str(after);
                match classify(line.as_bytes(), &line) {
                    Classified::Commands(commands) => assert!(commands.len() <= 512, "{part:?}"),
                    Classified::Unknown(reason) | Classified::Busy(reason) => {
                        assert!(!reason.is_empty(), "{part:?}")
                    }
                }
            }
        }
    }
}

#[test]
fn programs_that_run_others() {
    for name in ["sh", "/bin/bash", "env", "sudo", "xargs", "eval", ".", "find", "busybox", "su"] {
        assert!(runs_others(name), "{name}");
    }
    for name in ["ls", "", "shred", "/bin/envsubst", "rm"] {
        assert!(!runs_others(name), "{name}");
    }
}

/// Slow lines of one party take none of the turns of the others.
#[test]
fn everybody_has_turns() {
    let turns = Turns { taken: Mutex::new(Vec::new()), freed: Condvar::new(), patience: Duration::ZERO };
    let slow = turns.take("mallory").unwrap();
    for _ in 0..10 {
        assert!(turns.take("mallory").is_none(), "one party has one turn at once");
    }
    let others: Vec<_> = (1..PARSES_MAX).map(|n| turns.take(&format!("person {n}")).unwrap()).collect();
    assert!(turns.take("one more").is_none(), "no more at once in all");
    drop(slow);
    drop(turns.take("mallory").unwrap());
    drop(others);
    assert!(turns.taken.lock().unwrap().is_empty());
}

#[test]
fn slow_lines_of_one_do_not_stop_those_of_others() {
    let taken = TURNS.take("somebody").unwrap();
    assert_eq!(
        classify(b"ls $x", "somebody else"),
        Classified::Commands(vec![vec![Word::Literal("ls".into()), Word::Dynamic]])
    );
    assert!(matches!(classify(b"ls $x", "somebody"), Classified::Busy(_)), "it is not called unintelligible");
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| classify(b"ls $x", "somebody"));
        drop(taken);
        waiting.join().unwrap()
    });
    assert!(matches!(waiting, Classified::Commands(_)), "who waits gets the turn: {waiting:?}");
}
