//! Rows: patterns of words, rules over commands, judgement of lines, and what does not load.

use std::path::Path;

use super::pattern::WordPattern;
use super::{Assurance, CommandSet, Finding, Verdict, read_sets};
use crate::inspect::command::{Dialect, Reading};

fn set(body: &str) -> CommandSet {
    let text = format!("[[commands]]\nname = \"t\"\n{body}");
    let sets = read_sets(Path::new("policy.toml"), &text);
    sets.unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")).remove(0)
}

fn judge(set: &CommandSet, line: &str) -> Finding {
    set.judge(&Reading::of(line.as_bytes(), Dialect::Posix))
}

fn check(set: &CommandSet, rows: &[(&str, Verdict, &str)]) {
    for (line, verdict, rule) in rows {
        let finding = judge(set, line);
        assert_eq!((finding.verdict, finding.rule.as_str()), (*verdict, *rule), "{line}\n{finding:#?}");
    }
}

#[test]
fn words() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("ls", &["ls"], &["", "l", "lss", "LS", "/bin/ls", "./ls"]),
        ("*", &["", "a", "a b", "/x", "/../x"], &["-", "-a", "--"]),
        ("a|b|cd", &["a", "b", "cd"], &["c", "a|b", "ab", ""]),
        (r"a\|b|\*|c\\", &["a|b", "*", r"c\"], &["a", "b", "c", "x"]),
        ("web*", &["web", "web1", "web1.x"], &["we", "web/x", "aweb", "-web"]),
        ("*.log", &[".log", "a.log"], &["a/b.log", "a.logs", "-.log"]),
        ("a*b*c", &["abc", "abbc", "aXbYc", "abcbc"], &["ac", "ab", "abcb"]),
        ("-*", &["-", "-a", "--all"], &["a", "-/x"]),
        ("-n*", &["-n", "-n5"], &["n5", "-m"]),
        ("--since=*", &["--since=", "--since=today"], &["--since", "--until=x", "since=x"]),
        ("/bin/ls", &["/bin/ls"], &["/bin//ls", "/bin/./ls", "/bin/x/../ls", "ls", "bin/ls", "/bin/ls/"]),
        (
            "/var/*/x",
            &["/var/a/x"],
            &["/var/x", "/var//x", "/var/../x", "/var/./x", "/var/a/b/x", "/var/a../x"],
        ),
        (
            "/var/log/*",
            &["/var/log/a", "/var/log/.a"],
            &["/var/log", "/var/log/", "/var/log/a/b", "/var/log/.."],
        ),
        (
            "/var/log/**",
            &["/var/log/a", "/var/log/a/b/c", "/var/log/a/"],
            &[
                "/var/log",
                "/var/log/",
                "/var/log//a",
                "/var/log/../x",
                "/var/log/a/..",
                "/var/logs/a",
                "x/var/log/a",
            ],
        ),
        (
            "/srv/**/app.log",
            &["/srv/app.log", "/srv/a/app.log", "/srv/a/b/app.log"],
            &["/srv/a/app.logs", "/app.log"],
        ),
        ("/srv/**/a*/**", &["/srv/x/ab/y", "/srv/a/y"], &["/srv/a", "/srv/x/y"]),
        ("logs/*", &["logs/a"], &["logs/..", "/logs/a", "logs/a/b", "logs/."]),
        ("./run", &["./run"], &["run", "././run", "/x/run", ".//run"]),
        ("*/run", &["a/run"], &["./run", "../run"]),
        ("--file=/etc/**", &["--file=/etc/a"], &["--file=/etc/../a", "/etc/a", "--file=/etc"]),
        ("--out=*/x", &["--out=a/x"], &["--out=../x"]),
        ("/tmp/", &["/tmp/"], &["/tmp", "/tmp//"]),
        ("größe*", &["größe", "größen"], &["grösse"]),
    ];
    for (pattern, fit, other) in rows {
        let pattern = WordPattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for word in *fit {
            assert!(pattern.fits(word), "{} should fit {word:?}", pattern.text);
        }
        for word in *other {
            assert!(!pattern.fits(word), "{} should not fit {word:?}", pattern.text);
        }
    }
}

#[test]
fn words_read_generously() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("*", &["a", "-a", ""], &[]),
        (
            "/etc/shadow",
            &[
                "/etc/shadow",
                "/etc//shadow",
                "/etc/./shadow",
                "/a/../etc/shadow",
                "/etc/shadow/",
                "/etc/shadow//",
                "/etc/shadow/.",
                "/etc/shadow/./",
                "/etc/./shadow///",
            ],
            &["/etc/shadows", "shadow", "/etc/shadow/x", "/", ""],
        ),
        ("/srv/box/", &["/srv/box/", "/srv/box", "/srv/box//", "/srv/./box"], &["/srv/boxes", "/srv/box/x"]),
        ("/", &["/", "//", "/."], &["", "/x", "x/"]),
        ("/srv/*", &["/srv/a", "/srv/a/"], &["/srv", "/srv/"]),
        (
            "secret",
            &["secret", "secret/", "./secret", ".//secret/."],
            &["secrets/", "x/secret", "/secret", "-secret/"],
        ),
        ("--file=/etc/shadow", &["--file=/etc/shadow/", "--file=/etc//shadow"], &["--file=/etc/"]),
        ("/etc/**", &["/etc/a", "//etc/a", "/x/../y"], &["/etcetera", "/x"]),
        ("force", &["force"], &["--force", "forced"]),
    ];
    for (pattern, fit, other) in rows {
        let pattern = WordPattern::parse(pattern).unwrap();
        for word in *fit {
            assert!(pattern.could_be(word), "{} could be {word:?}", pattern.text);
        }
        for word in *other {
            assert!(!pattern.could_be(word), "{} could not be {word:?}", pattern.text);
        }
    }
    for (pattern, program, expect) in [
        ("rm", "rm", true),
        ("rm", "/bin/rm", true),
        ("rm", "../rm", true),
        ("rm", "rmdir", false),
        ("/bin/rm", "rm", true),
        ("/bin/rm", "/bin//rm", true),
        ("/bin/rm", "/usr/../bin/rm", true),
        ("/bin/rm", "/opt/new/rm", false),
        ("/opt/**", "/opt/x/y", true),
        ("mkfs*|dd", "/sbin/mkfs.ext4", true),
        ("mkfs*|dd", "add", false),
    ] {
        assert_eq!(WordPattern::parse(pattern).unwrap().could_run(program), expect, "{pattern} {program}");
    }
}

/// A pattern and a word made to be slow: a matcher that tries every split would not come back.
#[test]
fn matching_takes_no_time() {
    let pattern = WordPattern::parse(&"*a".repeat(40)).unwrap();
    assert!(!pattern.fits(&format!("{}b", "a".repeat(16_000))));
    let pattern = WordPattern::parse(&format!("{}/x", "/a/**".repeat(30))).unwrap();
    assert!(!pattern.fits(&"/a".repeat(8_000)));
    let slow = set(&format!("allow = [{{ argv = [\"p\", {} \"z\"] }}]", "\"*\", ".repeat(200)));
    assert_eq!(judge(&slow, &format!("p {}", "a ".repeat(8_000))).verdict, Verdict::Deny);
    let slow = set("default = \"allow\"\ndeny = [{ argv = [\"p\", \"*\", \"*\", \"*\", \"*\", \"z\"] }]");
    assert_eq!(judge(&slow, &format!("p {}", "-a b ".repeat(3_000))).verdict, Verdict::Allow);
}

const WEB: &str = r#"
allow = [
  { argv = ["/usr/bin/systemctl", "restart|reload", "nginx|haproxy"], name = "restart web" },
  { argv = ["journalctl", "**"], options = ["-u", "--since=*", "-n"] },
  { argv = ["cat", "/var/log/**"] },
  { argv = ["grep", "--", "*", "/var/log/**"] },
  { argv = ["uptime"] },
  { argv = ["tail", "-n", "*", "/var/log/*"], options = ["-f|-F"] },
]
review = [{ argv = ["systemctl", "stop", "*"], name = "stop", message = "ask the owner" }]
deny = [{ argv = ["cat", "/var/log/secret/**"], name = "secrets", message = "not these" }]
"#;

#[test]
fn an_allow_list() {
    use Verdict::{Allow, Deny, Review};
    let web = set(WEB);
    check(
        &web,
        &[
            ("/usr/bin/systemctl restart nginx", Allow, "t: restart web"),
            ("/usr/bin/systemctl  'reload'   haproxy", Allow, "t: restart web"),
            ("systemctl restart nginx", Deny, "t: default"),
            ("/usr/bin/systemctl restart nginx haproxy", Deny, "t: default"),
            ("/usr/bin/systemctl restart", Deny, "t: default"),
            ("/usr/bin/systemctl -H evil restart nginx", Deny, "t: default"),
            ("/usr/bin/systemctl restart nginx --no-block", Deny, "t: default"),
            ("journalctl", Allow, "t: allow 2"),
            ("journalctl -u nginx -n 50 --since=today", Allow, "t: allow 2"),
            ("journalctl nginx -u x -u y", Allow, "t: allow 2"),
            ("journalctl -unginx", Deny, "t: default"),
            ("journalctl --vacuum-size=1", Deny, "t: default"),
            ("journalctl -- -u", Deny, "t: default"),
            ("cat /var/log/syslog", Allow, "t: allow 3"),
            ("cat /var/log/../../etc/shadow", Deny, "t: secrets"),
            ("cat -- /var/log/syslog", Deny, "t: default"),
            ("cat -v /var/log/syslog", Deny, "t: default"),
            ("cat /var/log/a /var/log/b", Deny, "t: default"),
            ("cat /var/log/secret/x", Deny, "t: secrets"),
            ("cat -v /var/log//secret/x", Deny, "t: secrets"),
            ("grep -- x /var/log/syslog", Allow, "t: allow 4"),
            ("grep -- -x /var/log/syslog", Deny, "t: default"),
            ("grep x /var/log/syslog", Deny, "t: default"),
            ("tail -n 5 /var/log/a", Allow, "t: allow 6"),
            ("tail -f -n 5 /var/log/a -F", Allow, "t: allow 6"),
            ("tail -n -f 5 /var/log/a", Allow, "t: allow 6"),
            ("tail -n -5 /var/log/a", Deny, "t: default"),
            ("systemctl stop x", Review, "t: stop"),
            ("systemctl -H evil stop x", Deny, "t: default"),
            ("uptime", Allow, "t: allow 5"),
            ("uptime x", Deny, "t: default"),
            ("uptime ''", Deny, "t: default"),
            // Lists: every command is judged, the strictest verdict wins.
            ("uptime; journalctl", Allow, "t: allow 5"),
            ("uptime; rm x", Deny, "t: default"),
            ("rm x | uptime", Deny, "t: default"),
            ("uptime && systemctl stop x", Review, "t: stop"),
            ("systemctl stop x && rm x", Deny, "t: default"),
            ("rm x; cat /var/log/secret/x", Deny, "t: secrets"),
            ("uptime > x", Deny, "t: opaque"),
            ("", Deny, "t: opaque"),
        ],
    );
    let stopped = judge(&web, "systemctl stop x");
    assert_eq!((stopped.message.as_deref(), stopped.explicit), (Some("ask the owner"), true));
    assert_eq!(stopped.why, "a rule matches `systemctl stop x`");
    let default = judge(&web, "uptime; rm 'a b'");
    assert_eq!((default.why.as_str(), default.explicit), ("no rule allows `rm 'a b'`", false));
    let opaque = judge(&web, "uptime > x");
    assert!(opaque.why.ends_with("redirection at column 8"), "{}", opaque.why);
    assert!(!opaque.explicit && opaque.assurance == Assurance::Enforced && !opaque.verbatim);
    assert!(judge(&web, "uptime").explicit);
    let long = judge(&web, &format!("rm {}", "ä".repeat(4000)));
    assert!(long.why.len() < 400 && long.why.ends_with("...`"), "{}", long.why);
}

#[test]
fn a_deny_list() {
    use Verdict::{Allow, Deny, Review};
    let open = set(r#"
default = "allow"
allow = [{ argv = ["uptime"] }]
deny = [
  { argv = ["rm", "**"], message = "use the cleanup job" },
  { argv = ["systemctl", "stop", "*"] },
  { argv = ["cat", "/etc/shadow"] },
]
review = [{ argv = ["reboot"] }, { argv = ["rm", "**"] }]
"#);
    check(
        &open,
        &[
            ("ls", Allow, "t: default"),
            ("uptime", Allow, "t: allow 1"),
            ("rm x", Deny, "t: deny 1"),
            ("rm -rf /", Deny, "t: deny 1"),
            ("rm", Deny, "t: deny 1"),
            ("/bin/rm -- x", Deny, "t: deny 1"),
            ("systemctl stop x", Deny, "t: deny 2"),
            ("systemctl --no-block stop x", Deny, "t: deny 2"),
            ("systemctl -H evil stop x", Deny, "t: deny 2"),
            ("systemctl stop -q -- x", Deny, "t: deny 2"),
            ("systemctl start stop", Allow, "t: default"),
            ("cat /etc/shadow", Deny, "t: deny 3"),
            ("cat -n /etc/./shadow", Deny, "t: deny 3"),
            ("cat -n /etc/shadow/", Deny, "t: deny 3"),
            ("cat /etc/shadow//.", Deny, "t: deny 3"),
            ("cat /var/../etc/shadow", Deny, "t: deny 3"),
            ("reboot", Review, "t: review 1"),
            ("reboot --force", Review, "t: review 1"),
            ("uptime; reboot -f; ls", Review, "t: review 1"),
            ("ls; rm x", Deny, "t: deny 1"),
        ],
    );
    assert!(!judge(&open, "uptime; ls").explicit, "one of them only by default");
    assert_eq!(judge(&open, "rm x").message.as_deref(), Some("use the cleanup job"));
}

#[test]
fn a_review_rule_narrows_what_is_open() {
    let both = set(r#"
allow = [{ argv = ["systemctl", "**"], options = ["--no-block"] }]
review = [{ argv = ["systemctl", "stop", "*"] }]
"#);
    use Verdict::{Allow, Deny, Review};
    check(
        &both,
        &[
            ("systemctl stop x", Review, "t: review 1"),
            ("systemctl --no-block stop x", Review, "t: review 1"),
            ("systemctl start x", Allow, "t: allow 1"),
            ("systemctl -q stop x", Deny, "t: default"),
        ],
    );
}

#[test]
fn pins_and_opaque_lines() {
    let line = "df -h | awk '{print $5}' > /tmp/x";
    let pins = set(&format!(
        "pinned = [\"{line}\", \"sha256:{}\"]\ndeny = [{{ argv = [\"uptime\"] }}]",
        Reading::of(b"uptime", Dialect::Posix).sha256().to_uppercase()
    ));
    for dialect in [Dialect::Posix, Dialect::None] {
        let finding = pins.judge(&Reading::of(line.as_bytes(), dialect));
        assert_eq!((finding.verdict, finding.rule.as_str()), (Verdict::Allow, "t: pinned"));
        assert!(finding.explicit && finding.verbatim && finding.assurance == Assurance::Enforced);
        // A pin is stronger than a deny rule: somebody wrote down exactly this.
        assert_eq!(pins.judge(&Reading::of(b"uptime", dialect)).rule, "t: pinned");
    }
    for near in [" uptime", "uptime ", "Uptime", "'uptime'", "uptime\n", "uptime\0"] {
        assert_eq!(judge(&pins, near).verdict, Verdict::Deny, "{near:?}");
    }
    assert_eq!(judge(&pins, &line.replace("5", "6")).verdict, Verdict::Deny);
    for (setting, verdict) in
        [("deny", Verdict::Deny), ("review", Verdict::Review), ("allow", Verdict::Allow)]
    {
        let set = set(&format!("opaque = \"{setting}\"\nallow = [{{ argv = [\"ls\"] }}]"));
        let finding = judge(&set, "ls > x");
        assert_eq!((finding.verdict, finding.rule.as_str()), (verdict, "t: opaque"));
        assert_eq!((finding.explicit, finding.verbatim), (false, verdict != Verdict::Deny), "{setting}");
        assert_eq!(judge(&set, "rm x").rule, "t: default", "a line that is read is not opaque");
    }
}

#[test]
fn what_does_not_load() {
    let rows: &[(&str, &str)] = &[
        ("", "lets nothing through"),
        ("allow = []", "lets nothing through"),
        ("deny = [{ argv = [\"rm\"] }]", "lets nothing through"),
        ("default = \"alow\"", "\"default\" cannot be \"alow\"; did you mean \"allow\"?"),
        ("opaque = \"ask\"", "\"opaque\" cannot be \"ask\""),
        ("opaque = true", "must be text"),
        ("pinned = [\"\"]", "an empty line"),
        ("pinned = [\"sha256:12\"]", "64 hex digits"),
        ("pinned = [\"a\", \"a\"]", "pinned twice"),
        ("alow = []", "unknown key \"alow\""),
        ("allow = [{}]", "\"argv\" is missing"),
        ("allow = [{ argv = [] }]", "\"argv\" is empty"),
        ("allow = [{ argv = [\"\"] }]", "a word is empty"),
        ("allow = [{ argv = [\"ls\", \"\"] }]", "a word is empty"),
        ("allow = [{ argv = [\"**\"] }]", "the first word is the program"),
        ("allow = [{ argv = [\"*\", \"x\"] }]", "the first word is the program"),
        ("deny = [{ argv = [\"*\"] }]", "the first word is the program"),
        ("allow = [{ argv = [\"/**\"] }]", "the first word is the program"),
        ("allow = [{ argv = [\"ls|/*/**\"] }]", "the first word is the program"),
        ("allow = [{ argv = [\"-x\"] }]", "cannot begin with a dash"),
        ("allow = [{ argv = [\"ls\", \"**\", \"x\"] }]", "so it stands last"),
        ("allow = [{ argv = [\"ls\", \"**\", \"**\"] }]", "so it stands last"),
        ("allow = [{ argv = [\"ls\", \"a**\"] }]", "** stands alone"),
        ("allow = [{ argv = [\"ls\", \"**/a\"] }]", "** stands alone"),
        ("allow = [{ argv = [\"ls\", \"a|**\"] }]", "** stands alone"),
        ("allow = [{ argv = [\"ls\", \"a|*\"] }]", "beside \"*\""),
        ("allow = [{ argv = [\"ls\", \"a||b\"] }]", "empty alternative"),
        ("allow = [{ argv = [\"ls\", \"|b\"] }]", "empty alternative"),
        ("allow = [{ argv = [\"ls\", \"/a/../b\"] }]", "could never match"),
        ("allow = [{ argv = [\"ls\", \"/a//b\"] }]", "could never match"),
        ("allow = [{ argv = [\"ls\", 'a\\n'] }]", "a backslash stands before"),
        ("allow = [{ argv = [\"ls\", 'a\\'] }]", "a backslash stands before"),
        ("allow = [{ argv = [\"ls\", \"a\\nb\"] }]", "control character"),
        ("allow = [{ argv = [\"ls\", 1] }]", "must be text"),
        ("allow = [{ argv = \"ls -l\" }]", "an array of texts"),
        ("allow = [{ argv = [\"ls\"], options = [\"l\"] }]", "an option begins with a dash"),
        ("allow = [{ argv = [\"ls\"], options = [\"-a|l\"] }]", "an option begins with a dash"),
        ("allow = [{ argv = [\"ls\"], options = [\"*\"] }]", "an option begins with a dash"),
        ("allow = [{ argv = [\"ls\"], options = [\"-a\", \"-a\"] }]", "listed twice"),
        ("allow = [{ argv = [\"ls\"], name = \"\" }]", "text on one line"),
        (
            "allow = [{ argv = [\"ls\"], name = \"a\" }, { argv = [\"w\"], name = \"a\" }]",
            "a rule \"a\" in this list",
        ),
        ("allow = [{ argv = [\"ls\"], message = \"x\" }]", "\"message\" goes with"),
        ("deny = [{ argv = [\"ls\"], accepts_shell_escape = true }]", "\"accepts_shell_escape\" goes with"),
        ("allow = [{ argv = [\"ls\"], option = [\"-a\"] }]", "did you mean \"options\"?"),
    ];
    for (body, expect) in rows {
        let text = format!("[[commands]]\nname = \"t\"\n{body}");
        let Err(problems) = read_sets(Path::new("p"), &text) else { panic!("{body} loads") };
        let said: Vec<String> =
            problems.iter().map(|p| format!("{}:{}: {}", p.line, p.column, p.message)).collect();
        assert!(said.iter().any(|line| line.contains(expect)), "{body}: {said:#?}");
        assert!(problems.iter().all(|problem| problem.line > 0), "{body}: {said:#?}");
    }
    for (text, expect) in [
        ("[[commands]]\nallow = [{ argv = [\"ls\"] }]", "\"name\" is missing"),
        ("[[commands]]\nname = \"a b\"\nallow = [{ argv = [\"ls\"] }]", "is not a name for a set"),
        ("[commands]\nname = \"a\"", "an array of tables"),
    ] {
        let problems = read_sets(Path::new("p"), text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.message.contains(expect)), "{text}: {problems:#?}");
    }
}

/// A verdict and the rule that spoke.
type Said = (Verdict, &'static str);

#[test]
fn what_a_parser_finds_is_held_against_deny_and_review() {
    use Verdict::{Allow, Deny, Review};
    const RULES: &str = "deny = [{ argv = [\"rm\", \"**\"] }, { argv = [\"cat\", \"/x\"] }]\nreview = [{ argv = [\"reboot\", \"**\"] }]";
    // (line, in a set that lets opaque lines pass, in one that refuses them)
    let rows: &[(&str, Said, Said)] = &[
        ("ls > x", (Allow, "t: opaque"), (Deny, "t: opaque")),
        ("ls $x", (Allow, "t: opaque"), (Deny, "t: opaque")),
        ("rm $x", (Deny, "t: deny 1"), (Deny, "t: deny 1")),
        ("cat $x", (Deny, "t: deny 2"), (Deny, "t: opaque")),
        ("cat /x > y", (Deny, "t: deny 2"), (Deny, "t: deny 2")),
        ("ls $(/bin/rm x)", (Deny, "t: deny 1"), (Deny, "t: deny 1")),
        ("reboot > x; ls", (Review, "t: review 1"), (Deny, "t: review 1")),
        ("reboot > x; rm y", (Deny, "t: deny 1"), (Deny, "t: deny 1")),
        ("$x y", (Deny, "t: not understood"), (Deny, "t: opaque")),
        ("ls )", (Deny, "t: not understood"), (Deny, "t: opaque")),
        ("base64 -d < x | sh", (Deny, "t: not understood"), (Deny, "t: opaque")),
        ("$x; rm y", (Deny, "t: deny 1"), (Deny, "t: deny 1")),
        // Lines that are read, of programs that run others.
        ("sudo -u root rm x", (Deny, "t: deny 1"), (Deny, "t: deny 1")),
        ("sh -c 'ls | xargs rm'", (Deny, "t: deny 1"), (Deny, "t: deny 1")),
        ("env reboot", (Review, "t: review 1"), (Review, "t: review 1")),
        ("env ls", (Allow, "t: default"), (Allow, "t: default")),
        ("bash", (Deny, "t: not understood"), (Deny, "t: not understood")),
        ("sh -c 'if'", (Deny, "t: not understood"), (Deny, "t: not understood")),
    ];
    for (opaque, column) in [("allow", 0), ("deny", 1)] {
        let set = set(&format!("default = \"allow\"\nopaque = \"{opaque}\"\n{RULES}"));
        for (line, one, other) in rows {
            let (verdict, rule) = if column == 0 { one } else { other };
            let finding = judge(&set, line);
            assert_eq!(
                (finding.verdict, finding.rule.as_str()),
                (*verdict, *rule),
                "{opaque} {line}\n{finding:#?}"
            );
            let by_setting = rule.ends_with("opaque") || rule.ends_with("default");
            assert_eq!(finding.explicit, !by_setting, "{opaque} {line}");
            // An opaque line that passes was not judged by its words.
            let passes_opaque = rule.ends_with("opaque") && *verdict != Deny;
            let enforced = by_setting && !passes_opaque;
            let assurance = if enforced { Assurance::Enforced } else { Assurance::Detected };
            assert_eq!(finding.assurance, assurance, "{opaque} {line}");
        }
    }
    let named =
        set(&format!("default = \"allow\"\nallow = [{{ argv = [\"sudo\", \"rm\", \"x\"] }}]\n{RULES}"));
    assert_eq!(judge(&named, "sudo rm x").rule, "t: allow 1", "the author has named it");
    assert_eq!(judge(&named, "sudo rm y").rule, "t: deny 1");
    let without = set("default = \"allow\"\nopaque = \"allow\"");
    assert_eq!(judge(&without, "$x )").verdict, Allow, "nothing to hold against it");
    let why = judge(&named, "sudo rm \"$(printf '\\033')\" $x y").why;
    assert!(why.starts_with("the line seems to run `rm ... ... y`"), "{why}");
    let closed = set(&format!("allow = [{{ argv = [\"ls\"] }}]\n{RULES}"));
    for (line, rule) in [
        ("sudo ls", "t: default"),
        ("sudo rm x", "t: deny 1"),
        ("bash", "t: default"),
        ("$x", "t: opaque"),
        ("sudo reboot", "t: review 1"),
    ] {
        let finding = judge(&closed, line);
        assert_eq!((finding.verdict, finding.rule.as_str()), (Deny, rule), "{line}");
    }
}

#[test]
fn hints() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("allow = [{ argv = [\"uptime\"] }]", &[]),
        ("allow = [{ argv = [\"ls\", \"**\"], options = [\"-l\"] }]", &[]),
        ("allow = [{ argv = [\"/usr/bin/systemctl\", \"restart|reload\", \"nginx|haproxy\"] }]", &[]),
        (
            "allow = [{ argv = [\"systemctl\", \"restart\", \"*\"] }]",
            &[("t: allow 1", "`systemctl` runs programs")],
        ),
        (
            "allow = [{ argv = [\"systemctl\", \"status\"], options = [\"-n*\"] }]",
            &[("t: allow 1", "`systemctl`")],
        ),
        ("allow = [{ argv = [\"vim\", \"/etc/hosts\"] }]", &[("t: allow 1", "`vim` is an editor")]),
        ("allow = [{ argv = [\"vim.tiny\"], accepts_shell_escape = true }]", &[]),
        (
            "allow = [{ argv = [\"/usr/bin/vim.tiny\"] }]",
            &[("t: allow 1", "`/usr/bin/vim.tiny` is an editor")],
        ),
        ("allow = [{ argv = [\"python3.11\"], name = \"py\" }]", &[("t: py", "runs any program")]),
        ("allow = [{ argv = [\"python3\", \"/opt/job.py\"] }]", &[]),
        ("allow = [{ argv = [\"python3\", \"/opt/*.py\"] }]", &[("t: allow 1", "runs any program")]),
        ("allow = [{ argv = [\"sudo\", \"systemctl\", \"restart\", \"nginx\"] }]", &[]),
        ("allow = [{ argv = [\"sudo\", \"**\"] }]", &[("t: allow 1", "`sudo` runs the program")]),
        (
            "allow = [{ argv = [\"ls|find\", \"/srv/**\"] }]",
            &[("t: allow 1", "`find` runs programs (-exec)")],
        ),
        ("allow = [{ argv = [\"/usr/bin/*\", \"x*\"] }]", &[("t: allow 1", "opens a shell")]),
        ("allow = [{ argv = [\".\", \"*\"] }]", &[("t: allow 1", "`.` is built into the shell")]),
        ("allow = [{ argv = [\"tee\", \"/srv/app/**\"] }]", &[]),
        ("allow = [{ argv = [\"tee\", \"*\"] }]", &[("t: allow 1", "changes any file")]),
        ("allow = [{ argv = [\"ls\", \"**\"], options = [\"--*\"] }]", &[("t: allow 1", "every argument")]),
        ("default = \"allow\"\ndeny = [{ argv = [\"rm\", \"**\"] }]", &[("t", "can be walked around")]),
        (
            "default = \"allow\"\ndeny = [{ argv = [\"rm\", \"-rf\", \"/\"] }]",
            &[("t", "can be walked around"), ("t: deny 1", "one word more")],
        ),
        ("opaque = \"allow\"\nallow = [{ argv = [\"ls\"] }]", &[("t", "every command passes")]),
        (
            "default = \"allow\"\nopaque = \"allow\"\ndeny = [{ argv = [\"rm\", \"**\"] }]",
            &[("t", "can be walked around"), ("t", "may be wrong")],
        ),
        (
            "allow = [{ argv = [\"ls\", \"a\"] }, { argv = [\"ls\", \"a\"] }]",
            &[("t: allow 2", "\"allow 1\" allows everything")],
        ),
        (
            "allow = [{ argv = [\"ls\", \"**\"] }, { argv = [\"ls\", \"a|b\", \"/x/*\"] }]",
            &[("t: allow 2", "never matters")],
        ),
        ("allow = [{ argv = [\"ls\", \"*\"] }, { argv = [\"ls\", \"-a\"] }]", &[]),
        ("allow = [{ argv = [\"ls\", \"**\"] }, { argv = [\"ls\", \"-a\"] }]", &[]),
        ("allow = [{ argv = [\"ls\", \"**\"] }, { argv = [\"ls\", \"**\"], options = [\"-a\"] }]", &[]),
        ("allow = [{ argv = [\"ls\", \"a*\"] }, { argv = [\"ls\", \"a\", \"**\"] }]", &[]),
        ("allow = [{ argv = [\"w\"] }, { argv = [\"ls\", \"/a/b\"] }, { argv = [\"ls\", \"/a/*\"] }]", &[]),
        (
            "allow = [{ argv = [\"/bin/cat\", \"/var/*\"], options = [\"-n\"] }]\ndeny = [{ argv = [\"cat\", \"**\"] }]",
            &[("t: allow 1", "\"deny 1\" denies everything")],
        ),
        ("allow = [{ argv = [\"cat\", \"/var/*\"] }]\ndeny = [{ argv = [\"cat\", \"/var/x\"] }]", &[]),
        (
            "allow = [{ argv = [\"cat\", \"a\"] }]\nreview = [{ argv = [\"cat\", \"*\"] }]",
            &[("t: allow 1", "holds everything")],
        ),
    ];
    for (body, expect) in rows {
        let lints = set(body).lints();
        let fits = lints.len() == expect.len()
            && lints
                .iter()
                .zip(*expect)
                .all(|(lint, (rule, text))| lint.rule == *rule && lint.text.contains(text));
        assert!(fits, "{body}\n{lints:#?}");
    }
}
