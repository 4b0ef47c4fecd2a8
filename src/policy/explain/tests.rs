//! What the columns say for roles of every kind, and that they follow the roles and not the person.

use std::sync::Arc;

use super::*;
use crate::policy::load;
use crate::policy::somebody::{group_of, person};

const HEAD: &str = r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = { ca = true }
[[target]]
name = "switch1"
address = "10.0.0.2"
host_key = { ca = true }
dialect = "none"
[[commands]]
name = "few"
pinned = ["show version"]
allow = [{ argv = ["uptime"] }, { argv = ["less", "**"], accepts_shell_escape = true }]
[[commands]]
name = "loose"
default = "allow"
opaque = "allow"
deny = [{ argv = ["rm", "**"] }]
"#;

/// The explanation for somebody in the group `dev` at `target`, with roles of these lines.
fn explained(roles: &[&str], target: &str, command: Option<&str>) -> Explanation {
    let mut text = HEAD.to_owned();
    for (number, lines) in roles.iter().enumerate() {
        text.push_str(&format!(
            "[[role]]\nname = \"r{number}\"\nmembers = {{ groups = [\"corp:dev\"] }}\n\
             targets = {{ names = [\"web1\", \"switch1\"] }}\nlogins = [\"deploy\"]\n{lines}\n"
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, &text).unwrap();
    let policy = load(&path).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    let provider = "corp".parse().unwrap();
    let groups = BTreeSet::from([group_of(&provider, "dev").unwrap()]);
    let subject = Subject {
        policy: &policy,
        who: person(provider, "dora".to_owned(), groups),
        target: policy.targets.get(&target.parse().unwrap()).unwrap(),
        login: "deploy".parse().unwrap(),
        at: Circumstances {
            now: crate::time::Timestamp::from_secs(1_795_172_400),
            from: "192.0.2.7".parse().unwrap(),
            own: Arc::default(),
            held: crate::policy::Held::default(),
        },
        env_default: vec!["LANG".to_owned()],
        limits: Terms::default(),
    };
    subject.explain(command.map(str::as_bytes))
}

/// Sentences that must be there, each behind the first letter of its column; and whether nothing else of exec is.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn columns() {
    for (roles, target, expect, never) in [
        (&[] as &[&str], "web1", &["e nothing is open"] as &[&str], &["u "] as &[&str]),
        (
            &["channels = [\"shell\"]\nstanding = true"],
            "web1",
            &[
                "u what is typed in a shell, and what that runs (what the person sees is recorded)",
                "e no commands",
                "e no sftp",
                "e which environment variables pass: LANG",
                "e no forwards",
                "e no agent forwarding",
                "e no X11 forwarding",
                "e network interfaces",
            ],
            &["u which", "d "],
        ),
        (
            &["channels = [\"shell\"]\nstanding = true\nrecording = \"no\""],
            "web1",
            &["u what is typed in a shell, and what that runs (not even recorded)"],
            &[],
        ),
        (
            &[
                "channels = [\"shell\"]\nstanding = true\nrecording = \"no\"",
                "channels = [\"shell\"]\nstanding = true\nrecording = \"input\"",
            ],
            "web1",
            &["u what is typed in a shell, and what that runs (what the person sees and types is recorded)"],
            &[],
        ),
        (
            &["channels = [\"exec\"]\nstanding = true"],
            "web1",
            &["u which commands run: \"r0\" allows every one", "e no shell"],
            &["e which words", "d "],
        ),
        (
            &["channels = [\"exec\"]\nstanding = true\ncommands = \"few\""],
            "web1",
            &[
                "e which words are sent: only commands that \"few\" allows",
                "e lines that cannot be read word for word: refused unless \"few\" pins them",
                "u what an allowed program does",
                "u `few: allow 2`: `less` shows pages",
            ],
            &["u which commands run", "u every command", "d "],
        ),
        (
            &[
                "channels = [\"exec\"]\nstanding = true\ncommands = \"few\"",
                "channels = [\"exec\"]\nstanding = true",
            ],
            "web1",
            &["u which commands run: \"r1\" allows every one", "d what the rules of \"r0\" deny or hold"],
            &["e which words"],
        ),
        (
            &["channels = [\"exec\"]\nstanding = true\ncommands = \"loose\""],
            "web1",
            &[
                "d what \"loose\" denies or holds",
                "u every command that \"loose\" does not deny",
                "u lines that cannot be read word for word: they pass",
            ],
            &["e which words"],
        ),
        (
            &["channels = [\"exec\"]\nstanding = true\ncommands = \"few\""],
            "switch1",
            &["e commands are lines that \"few\" pins", "e all other lines: refused"],
            &["e which words"],
        ),
        (
            &["channels = [\"sftp\"]\nstanding = true"],
            "web1",
            &["u which files sftp touches: \"r0\" has no path rules", "e no commands"],
            &[],
        ),
        (
            &[
                "channels = [\"sftp\", \"scp\"]\nstanding = true\nfiles = [{ allow = [\"read\"], paths = [\"/srv/**\"] }]",
            ],
            "web1",
            &[
                "e which files sftp touches, and how: path rules of \"r0\"",
                "u links on the target",
                "e direction and paths of scp",
                "u where symbolic links lead that scp meet",
            ],
            &["u which files"],
        ),
        (
            &[
                "channels = [\"sftp\"]\nstanding = true\nfiles = [{ allow = [\"read\"], paths = [\"/srv/**\"] }]",
                "channels = [\"sftp\", \"git\"]\nstanding = true",
            ],
            "web1",
            &[
                "u which files sftp touches: \"r1\"",
                "e what sftp must not touch: path rules of \"r0\"",
                "u which files move by git",
            ],
            &["e which files sftp"],
        ),
        (
            &["channels = [\"shell\"]\nstanding = true\nenv = []"],
            "web1",
            &["e no environment variables"],
            &["u the values"],
        ),
        (
            &[
                "channels = [\"shell\"]\nstanding = true\nforwards = { local = [\"db:5432\"], remote_sockets = [\"/run/x\"], agent = true, x11 = true }",
            ],
            "web1",
            &[
                "e forwards by \"r0\": connections to db:5432",
                "e forwards by \"r0\": listening on sockets /run/x",
                "u what passes through a forward",
                "u the ssh-agent while",
                "u the X display while",
            ],
            &["e no forwards", "e no agent", "e no X11"],
        ),
        (
            &[
                "channels = [\"shell\"]\nstanding = true\nsession_max = \"1h\"\nsources = [\"192.0.2.0/24\"]",
                "channels = [\"shell\"]\nstanding = true",
            ],
            "web1",
            &["e what \"r0\" opens: a session of at most 1h; only from 192.0.2.0/24"],
            &["e what \"r1\""],
        ),
        // What does not hold here and now says nothing, as long as something does.
        (
            &[
                "channels = [\"shell\"]\nstanding = true\nsources = [\"10.0.0.0/8\"]",
                "channels = [\"sftp\"]\nstanding = true",
            ],
            "web1",
            &["e no shell"],
            &["u what is typed"],
        ),
        (
            &["channels = [\"shell\"]\nstanding = true\nsources = [\"10.0.0.0/8\"]"],
            "web1",
            &["u what is typed"],
            &[],
        ),
    ] {
        let Columns { enforced, detected, uncontrolled } = explained(roles, target, None).columns;
        let all: Vec<String> = [("e", enforced), ("d", detected), ("u", uncontrolled)]
            .into_iter()
            .flat_map(|(column, sentences)| {
                sentences.into_iter().map(move |sentence| format!("{column} {sentence}"))
            })
            .collect();
        for begin in expect {
            assert!(all.iter().any(|line| line.starts_with(begin)), "{roles:?}: no {begin:?} in {all:#?}");
        }
        for begin in never {
            assert!(!all.iter().any(|line| line.starts_with(begin)), "{roles:?}: {begin:?} in {all:#?}");
        }
    }
}

fn answers(explanation: &Explanation) -> Vec<String> {
    let answer = |(ask, meaning): &(String, Meaning)| match meaning {
        Meaning::Verdict(outcome) => format!("{ask}: {}", outcome.answer.as_str()),
        Meaning::Depends(_) => format!("{ask}: depends"),
    };
    explanation.asks.iter().map(answer).collect()
}

#[test]
fn asks() {
    let rules = ["channels = [\"exec\"]\nstanding = true\ncommands = \"few\"\nsources = [\"192.0.2.0/24\"]"];
    let all = |exec: &str| {
        vec![
            "shell: refuse".to_owned(),
            format!("exec: {exec}"),
            "sftp: refuse".to_owned(),
            "agent forwarding: refuse".to_owned(),
            "X11 forwarding: refuse".to_owned(),
        ]
    };
    assert_eq!(answers(&explained(&rules, "web1", None)), all("depends"));
    assert_eq!(answers(&explained(&["channels = [\"exec\"]\nstanding = true"], "web1", None)), all("allow"));
    let elsewhere =
        ["channels = [\"exec\"]\nstanding = true\ncommands = \"few\"\nsources = [\"10.0.0.0/8\"]"];
    assert_eq!(answers(&explained(&elsewhere, "web1", None)), all("refuse"));
    let one = explained(&rules, "web1", Some("'uptime'"));
    assert_eq!(answers(&one), ["exec: 'uptime': allow"]);
    let Some((_, Meaning::Verdict(outcome))) = one.asks.first() else { panic!("{one:?}") };
    assert_eq!(outcome.sends.as_deref(), Some(b"uptime".as_slice()));
    assert_eq!(outcome.rule.as_deref(), Some("few: allow 1"));
    let line = one.roles.first().unwrap();
    assert!(line.holds() && line.member && line.target && line.login && line.source);
    let closed = explained(&elsewhere, "web1", None);
    let line = closed.roles.first().unwrap();
    assert!(!line.holds() && line.member && !line.source);
}
