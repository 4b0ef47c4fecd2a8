//! Rows of what is added to a good policy, and the hints that it gets.

use super::*;
use crate::policy::load_outlined;

/// Two targets and whoever is needed; rows add to it.
const HEAD: &str = r#"
[[target]]
name = "web1"
address = "10.0.0.1"
labels = { env = "prod", kind = "web" }
host_key = { ca = true }
[[target]]
name = "db1"
address = "10.0.0.2"
labels = { env = "prod", kind = "db" }
host_key = { ca = true }
[[role]]
name = "base"
members = { groups = ["corp:ops"] }
targets = { names = ["web1", "db1"] }
logins = ["deploy"]
channels = ["exec"]
standing = true
"#;

fn lints_of(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
    let (policy, outline) =
        load_outlined(&path, None).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    let found = lints(&policy, &outline, &[]);
    for lint in &found {
        assert!(CODES.iter().any(|(code, _)| *code == lint.code), "{lint:?}");
        let spot = lint.place.as_ref().unwrap();
        assert!(spot.line > 0 && spot.line <= text.lines().count(), "{lint:?}");
    }
    found.iter().map(|lint| format!("{} {}: {}", lint.code, lint.subject, lint.text)).collect()
}

/// A role "x" of these lines; what is not said is like "base" with another group.
fn role(lines: &str) -> String {
    let mut text = "[[role]]\nname = \"x\"\n".to_owned();
    for (key, value) in [
        ("members", "{ groups = [\"corp:dev\"] }"),
        ("targets", "{ names = [\"web1\"] }"),
        ("logins", "[\"deploy\"]"),
        ("channels", "[\"exec\"]"),
        ("standing", "true"),
    ] {
        if !lines.lines().any(|line| line.starts_with(key) || line.starts_with("extends")) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text + lines + "\n"
}

#[test]
fn rows() {
    const RULES: &str = "[[commands]]\nname = \"few\"\nallow = [{ argv = [\"uptime\"] }]\n";
    const SAME: &str = "members = { groups = [\"corp:ops\"] }";
    let template = |more: &str| format!("[[role]]\nname = \"t\"\ntemplate = true\n{more}\n");
    let rows: Vec<(String, &[&str])> = vec![
        (String::new(), &[]),
        (role(""), &[]),
        // Everything.
        (role("targets = { patterns = [\"*1\"] }"), &["every-target role \"x\": it opens every target"]),
        (role("targets = { labels = [{ env = \"prod\" }] }"), &["every-target"]),
        (role("targets = { labels = [{ kind = \"web\" }, { kind = \"db\" }] }"), &["every-target"]),
        (role("targets = { labels = [{ kind = \"web\" }], names = [\"db1\"] }"), &[]),
        (role("targets = { names = [\"web1\", \"db1\"] }"), &[]),
        (
            role("sources = [\"10.0.0.0/8\", \"0.0.0.0/0\"]"),
            &["every-source role \"x\": \"sources\" has 0.0.0.0/0"],
        ),
        (role("sources = [\"::/0\"]"), &["every-source"]),
        (role("forwards = { local = [\"0.0.0.0/0:*\"] }"), &["every-forward"]),
        (role("forwards = { local = [\"10.0.0.0/8:*\"] }"), &[]),
        (
            role(
                "channels = [\"sftp\"]\nstanding = true\nfiles = [{ allow = [\"read\", \"write\", \"create\", \"remove\", \"rename\", \"setattr\", \"symlink\", \"mkdir\", \"list\"], paths = [\"/**\"] }]",
            ),
            &["every-file"],
        ),
        (role("channels = [\"rsync\"]\nfiles = [{ allow = [\"read\"], paths = [\"/srv/**\"] }]"), &[]),
        (
            role(
                "channels = [\"sftp\", \"rsync\", \"git\"]\nfiles = [{ allow = [\"*\"], paths = [\"/srv/**\"] }, { deny = [\"*\"], paths = [\"/srv/x\"] }]",
            ),
            &[
                "followed-links role \"x\": links on a target lead past its path rules that deny when rsync or git",
            ],
        ),
        (
            role(
                "channels = [\"sftp\", \"scp\"]\nfiles = [{ allow = [\"read\", \"symlink\"], paths = [\"/srv/**\"] }]",
            ),
            &["followed-links role \"x\": links that it lets people make lead past its path rules when scp"],
        ),
        (
            role(
                "channels = [\"sftp\"]\nfiles = [{ allow = [\"*\"], paths = [\"/srv/**\"] }, { deny = [\"*\"], paths = [\"/srv/x\"] }]",
            ),
            &[],
        ),
        // Variables, recordings.
        (role("env = [\"LANG\", \"LC_*\"]"), &[]),
        (
            role("env = [\"L*\", \"PATH\"]"),
            &["dangerous-env role \"x\": \"env\" lets L*", "dangerous-env role \"x\": \"env\" lets PATH"],
        ),
        (role("recording = \"no\""), &["not-recorded"]),
        (role("recording = \"no\"\nchannels = [\"sftp\"]\nstanding = true"), &[]),
        // Nobody.
        (
            template("members = { groups = [\"corp:ops\"] }")
                + &role(
                    "extends = \"t\"\nmembers = { groups = [\"acme:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true",
                ),
            &["nobody role \"x\": nobody can be among"],
        ),
        (
            template("members = { subjects = [\"corp:ann\"] }")
                + &role(
                    "extends = \"t\"\nmembers = { subjects = [\"corp:bob\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true",
                ),
            &["nobody"],
        ),
        (
            template("members = { subjects = [\"corp:ann\"] }")
                + &role(
                    "extends = \"t\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true",
                ),
            &[],
        ),
        (
            template("sources = [\"10.0.0.0/8\"]")
                + &role(
                    "extends = \"t\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true\nsources = [\"192.168.0.0/16\"]",
                ),
            &["nobody role \"x\": no address"],
        ),
        (
            template(
                "time_zone = \"UTC\"\nhours = [{ days = [\"mon-fri\"], from = \"08:00\", to = \"18:00\" }]",
            ) + &role(
                "extends = \"t\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true\ntime_zone = \"UTC\"\nhours = [{ days = [\"sat\"], from = \"08:00\", to = \"18:00\" }]",
            ),
            &["nobody role \"x\": its hours"],
        ),
        (
            template(
                "time_zone = \"UTC\"\nhours = [{ days = [\"mon-fri\"], from = \"08:00\", to = \"18:00\" }]",
            ) + &role(
                "extends = \"t\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true\ntime_zone = \"UTC\"\nhours = [{ days = [\"thu\"], from = \"17:59\", to = \"23:00\" }]",
            ),
            &[],
        ),
        // Shadows.
        (role(SAME), &["shadowed-role role \"x\": it changes nothing: \"base\""]),
        (role(&format!("{SAME}\nsources = [\"10.0.0.0/8\"]")), &["shadowed-role"]),
        (role(&format!("{SAME}\nsession_max = \"1h\"")), &[]),
        (role(&format!("{SAME}\nrecording = \"input\"")), &[]),
        (role(&format!("{SAME}\nchannels = [\"exec\", \"sftp\"]\nstanding = true")), &[]),
        (role(&format!("{SAME}\nlogins = [\"root\"]")), &[]),
        (role(&format!("{SAME}\nforwards = {{ local = [\"db:1\"] }}")), &[]),
        (
            role(&format!("{SAME}\ntargets = {{ names = [\"web1\", \"db1\"] }}")),
            &["shadowed-role role \"x\""],
        ),
        (
            template("members = { groups = [\"corp:dev\"] }")
                + &role(&format!(
                    "extends = \"t\"\n{SAME}\ntargets = {{ names = [\"web1\"] }}\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true"
                )),
            &["shadowed-role role \"x\""],
        ),
        // Ways around.
        (RULES.to_owned() + &role("commands = \"few\""), &[]),
        (
            RULES.to_owned() + &role(&format!("{SAME}\ncommands = \"few\"")),
            &[
                "walk-around role \"x\": its rules can be walked around: \"base\" gives every command that no rule denies by name on web1 as deploy, to",
            ],
        ),
        (RULES.to_owned() + &role(&format!("{SAME}\ncommands = \"few\"\nlogins = [\"app\"]")), &[]),
        (
            RULES.to_owned()
                + &role("commands = \"few\"")
                + "[[role]]\nname = \"y\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { patterns = [\"web*\"] }\nlogins = [\"deploy\"]\nchannels = [\"shell\"]\nstanding = true",
            &["walk-around role \"x\": its rules can be walked around: \"y\" gives a shell"],
        ),
        // Whoever extends a role is in it, with everything it opens.
        (
            RULES.to_owned() + "[[role]]\nname = \"x\"\nextends = \"base\"\ncommands = \"few\"",
            &[
                "walk-around role \"x\": its rules can be walked around: \"base\" gives every command that no rule denies by name on db1 as deploy and in 1 more place,",
            ],
        ),
        (
            role(
                "channels = [\"sftp\"]\nstanding = true\nfiles = [{ allow = [\"read\"], paths = [\"/srv/**\"] }]",
            ) + "[[role]]\nname = \"y\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"sftp\"]\nstanding = true",
            &["walk-around role \"x\": its rules can be walked around: \"y\" moves files without"],
        ),
        (
            RULES.to_owned() + &role("commands = \"few\"\nchannels = [\"exec\", \"sftp\"]\nstanding = true"),
            &["startup-files role \"x\": it lets the same people write ~/.bashrc by sftp on web1 as deploy"],
        ),
        (
            RULES.to_owned()
                + &role(
                    "commands = \"few\"\nchannels = [\"exec\", \"sftp\"]\nstanding = true\nfiles = [{ allow = [\"read\", \"write\", \"create\", \"remove\", \"rename\", \"setattr\", \"symlink\", \"mkdir\", \"list\"], paths = [\"/srv/**\"] }]",
                ),
            &[],
        ),
        (
            RULES.to_owned()
                + &role(
                    "commands = \"few\"\nchannels = [\"exec\", \"sftp\"]\nstanding = true\nfiles = [{ allow = [\"read\"], paths = [\"/**\"] }]",
                ),
            &[],
        ),
        // What nobody uses.
        (template("logins = [\"root\"]"), &["unused-template role \"t\""]),
        (RULES.to_owned(), &["unused-commands commands \"few\""]),
        (
            "[[target]]\nname = \"old\"\naddress = \"10.0.0.3\"\nhost_key = { ca = true }".to_owned(),
            &["unopened-target target \"old\""],
        ),
        // What command sets say of themselves.
        (
            "[[commands]]\nname = \"c\"\nallow = [{ argv = [\"vim\", \"**\"] }]\n".to_owned()
                + &role("commands = \"c\""),
            &["shell-escape commands \"c: allow 1\": `vim`"],
        ),
        (
            "[[commands]]\nname = \"c\"\ndefault = \"allow\"\ndeny = [{ argv = [\"rm\"] }]\n".to_owned()
                + &role("commands = \"c\""),
            &["default-allow commands \"c\"", "narrow-deny commands \"c: deny 1\""],
        ),
    ];
    let mut wrong = String::new();
    for (more, expect) in rows {
        let got = lints_of(&format!("{HEAD}{more}"));
        let fits =
            got.len() == expect.len() && got.iter().zip(expect).all(|(got, begin)| got.starts_with(begin));
        if !fits {
            wrong.push_str(&format!("{more}\n  {got:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_configuration_is_looked_at_too() {
    let none = lints(&Policy::default(), &Outline::default(), &["LANG".to_owned(), "LC_*".to_owned()]);
    assert!(none.is_empty(), "{none:?}");
    let some = lints(&Policy::default(), &Outline::default(), &["BASH_ENV".to_owned()]);
    assert_eq!(some.iter().map(|lint| lint.code).collect::<Vec<_>>(), ["dangerous-env"]);
}

#[test]
fn rules_about_jobs() {
    const DEPLOY: &str = "[[workload]]\nname = \"deploy\"\nissuer = \"github\"\nrepository_id = 12\n";
    const BACKUP: &str = "[[service]]\nname = \"backup\"\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIv2GvXxKPths0HHOfCK7LGH7tYSdIbxrzWMFg6uh27p\"]\nsources = [\"10.0.0.0/8\"]\n";
    let jobs = "members = { workloads = [\"deploy\"] }";
    let rows: Vec<(String, &[&str])> = vec![
        (
            DEPLOY.to_owned() + "environment = \"production\"\n",
            &["unused-workload workload \"deploy\": no role names this rule"],
        ),
        (BACKUP.to_owned(), &["unused-service service \"backup\": no role names this account"]),
        (BACKUP.to_owned() + &role("members = { services = [\"backup\"] }"), &[]),
        (DEPLOY.to_owned() + "environment = \"production\"\n" + &role(jobs), &[]),
        (
            DEPLOY.to_owned() + "ref = \"refs/heads/main\"\n" + &role(jobs),
            &[
                "no-environment role \"x\": it opens web1 (production) to jobs of no environment, by the rule \"deploy\"",
            ],
        ),
        (
            DEPLOY.to_owned() + &role(jobs),
            &["every-branch workload \"deploy\": whoever may push a branch there passes", "no-environment"],
        ),
        // Whoever must be asked first is a gate too.
        (
            DEPLOY.to_owned()
                + "ref = \"refs/heads/main\"\n"
                + &role(&format!(
                    "{jobs}\nstanding = false\nrequest = {{ stage = [{{ groups = [\"corp:leads\"] }}] }}"
                )),
            &[],
        ),
        // Roles of the same rule are compared, those of another one are not.
        (
            DEPLOY.to_owned() + "environment = \"a\"\n" + &role(jobs) + &role(jobs).replace("\"x\"", "\"y\""),
            &["shadowed-role role \"y\": it changes nothing: \"x\""],
        ),
        (
            DEPLOY.to_owned()
                + "environment = \"a\"\n"
                + &DEPLOY.replace("deploy", "ship")
                + "environment = \"a\"\n"
                + &role(jobs)
                + &role(jobs).replace("\"x\"", "\"y\"").replace("deploy\"] }", "ship\"] }"),
            &[],
        ),
        (
            DEPLOY.to_owned()
                + "environment = \"a\"\n[[role]]\nname = \"t\"\ntemplate = true\nmembers = { workloads = [\"deploy\"] }\n"
                + &role(
                    "extends = \"t\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true",
                ),
            &["nobody role \"x\": nobody can be among"],
        ),
    ];
    for (text, expect) in rows {
        let found = lints_of(&format!("{HEAD}{text}"));
        let mut left = found.clone();
        for start in expect {
            let at = left.iter().position(|line| line.starts_with(start));
            let at = at.unwrap_or_else(|| panic!("{text}\nno {start:?} in {found:#?}"));
            left.remove(at);
        }
        assert!(left.is_empty(), "{text}\n{left:#?}");
    }
}
