//! Roles that extend others, hold at times and places, and stand in several files.

use caponier::policy::{self, Recording};

use super::Folder;

const HEAD: &str = r#"
[[target]]
name = "web1"
address = "10.0.0.5"
labels = { env = "prod" }
host_key = { ca = true }
[[target]]
name = "web2"
address = "10.0.0.6"
labels = { env = "stage" }
host_key = { ca = true }
[[commands]]
name = "few"
allow = [{ argv = ["uptime"] }]
[[role]]
name = "base"
template = true
targets = { patterns = ["web*"] }
logins = ["deploy", "app"]
channels = ["exec", "sftp"]
standing = true
session_max = "2h"
recording = "yes"
env = ["LC_*", "LANG"]
sources = ["10.0.0.0/8"]
"#;

#[test]
fn a_role_takes_over_what_it_does_not_say_and_narrows_what_it_does() {
    let folder = Folder::new();
    let text = format!(
        "{HEAD}
[[role]]
name = \"leaf\"
extends = \"middle\"
members = {{ groups = [\"corp:dev\"] }}
[[role]]
name = \"middle\"
template = true
extends = \"base\"
targets = {{ labels = [{{ env = \"prod\" }}] }}
logins = [\"app\"]
session_max = \"1h\"
recording = \"input\"
env = [\"LC_ALL\"]
sources = [\"10.1.0.0/16\"]
time_zone = \"Europe/Berlin\"
hours = [{{ days = [\"mon-fri\"], from = \"08:00\", to = \"18:00\" }}]
"
    );
    let policy = policy::load(&folder.write("policy.toml", &text, 0o644)).unwrap();
    let [leaf] = policy.roles.as_slice() else { panic!("templates are no roles: {:?}", policy.roles) };
    assert_eq!(leaf.extends.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["middle", "base"]);
    assert_eq!(leaf.logins.iter().map(|login| login.as_str()).collect::<Vec<_>>(), ["app"]);
    assert_eq!(leaf.channels.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(), ["exec", "sftp"]);
    assert_eq!(leaf.terms.session_max.unwrap().as_secs(), 3600);
    assert_eq!(leaf.terms.recording, Recording::Input);
    assert_eq!(leaf.env.as_deref().unwrap(), ["LC_ALL"]);
    assert_eq!((leaf.sources.len(), leaf.hours.len(), leaf.targets.len()), (2, 1, 2));
    let opened: Vec<&str> = policy
        .targets
        .values()
        .filter(|target| leaf.targets.iter().all(|layer| layer.names(target)))
        .map(|target| target.name.as_str())
        .collect();
    assert_eq!(opened, ["web1"]);
}

#[test]
fn forwards_of_a_role_and_of_what_it_extends_hold_together() {
    let folder = Folder::new();
    let text = format!(
        "{HEAD}
[[role]]
name = \"wide\"
extends = \"base\"
members = {{ groups = [\"corp:dev\"] }}
forwards = {{ local = [\"10.0.0.0/8:*\"], agent = true, x11 = true }}
[[role]]
name = \"narrow\"
extends = \"wide\"
members = {{ groups = [\"corp:dev\"] }}
forwards = {{ local = [\"10.1.0.0/16:443\", \"192.0.2.0/24:443\"], agent = true }}
[[role]]
name = \"same\"
extends = \"wide\"
members = {{ groups = [\"corp:dev\"] }}
"
    );
    let policy = policy::load(&folder.write("policy.toml", &text, 0o644)).unwrap();
    let [wide, narrow, same] = policy.roles.as_slice() else { panic!("{:?}", policy.roles) };
    let opens = |role: &policy::Role, host: &str| {
        role.forwards.local(&policy::forwards::Host::parse(host).unwrap(), 443, &[], &[]).is_ok()
    };
    for (host, expect) in [
        ("10.1.0.5", [true, true, true]),
        ("10.2.0.5", [true, false, true]),
        ("192.0.2.5", [false, false, false]),
    ] {
        assert_eq!([opens(wide, host), opens(narrow, host), opens(same, host)], expect, "{host}");
    }
    assert_eq!(
        [wide, narrow, same].map(|role| (role.forwards.agent(), role.forwards.x11())),
        [(true, true), (true, false), (true, true)]
    );

    // What a role that people can have does not open, none that extends it does.
    let text = text.replace("forwards = { local = [\"10.0.0.0/8:*\"], agent = true, x11 = true }\n", "");
    let problems = policy::load(&folder.write("policy.toml", &text, 0o644)).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("\"wide\", which this role extends, does not have the forwards"),
        "{problems:?}"
    );
}

/// What a role adds to HEAD, and the problems; lines count from the role's own first one.
const WRONG: &[(&str, &[&str])] = &[
    (
        "extends = \"bsae\"\nmembers = { groups = [\"corp:dev\"] }",
        &["there is no role \"bsae\" to extend; did you mean \"base\"?"],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\nlogins = [\"app\", \"root\"]\nchannels = [\"exec\", \"shell\"]\nstanding = true",
        &[
            "\"base\", which this role extends, does not have the login root: a role can only narrow",
            "\"base\", which this role extends, does not have the channel kind shell: a role can only narrow",
        ],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\nsession_max = \"3h\"\nrecording = \"no\"\nenv = [\"L*\"]",
        &[
            "\"session_max\" is longer than the 2h of \"base\", which this role extends: a role can only narrow",
            "\"base\", which this role extends, has recording = \"yes\": a role can only record more",
            "\"base\", which this role extends, does not have the variable L*: a role can only narrow",
        ],
    ),
    ("extends = \"base\"", &["\"members\" is missing: neither this role nor \"base\" says"]),
    ("extends = \"new\"\nmembers = { groups = [\"corp:dev\"] }", &["\"new\" extends itself, through this"]),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { names = [\"db1\"] }",
        &["there is no target \"db1\"", "no target is in both this role and \"base\", which it extends"],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\nhours = [{ from = \"08:00\", to = \"18:00\" }]",
        &["\"hours\" needs a \"time_zone\""],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\ntime_zone = \"Europe/Berlyn\"\nhours = [{ days = [\"mno\", \"fri-mon\"], from = \"8:00\", to = \"18:00\", until = \"x\" }]",
        &[
            "\"Europe/Berlyn\" is not a time zone",
            "\"mno\" is not a day: write \"mon\" or \"mon-fri\"; did you mean \"mon\"?",
            "\"8:00\" is not a time of day: write HH:MM",
            "unknown key \"until\"",
        ],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\ntime_zone = \"UTC\"",
        &["\"time_zone\" goes with \"hours\""],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\nsources = [\"10.0.0.1/8\", \"everywhere\"]",
        &["\"10.0.0.1/8\" is not a network", "\"everywhere\" is not a network"],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\ntargets = { patterns = [\"*\", \"wbe*\", \"a**b\"] }",
        &["\"*\" would match every target", "no target is called \"wbe*\"", "\"a**b\" is not a pattern"],
    ),
    (
        "members = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"app\"]\nchannels = [\"shell\", \"exec\"]\nstanding = true\ncommands = \"few\"\nfiles = [{ allow = [\"read\"], paths = [\"/srv/**\"] }]",
        &[
            "command rules hold for \"exec\" only, and this role gives a shell too",
            "path rules hold for \"sftp\", \"scp\", \"rsync\" and \"git\" only, and this role gives a shell too",
            "path rules are for \"sftp\", \"scp\", \"rsync\" and \"git\", of which this role opens none",
        ],
    ),
    (
        "members = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"app\"]\nchannels = [\"exec\", \"sftp\"]\nstanding = true\nfiles = [{ allow = [\"read\"], paths = [\"/srv/**\"] }]",
        &["and this role gives every command too, which reads and writes any file"],
    ),
    (
        "members = { groups = [\"corp:dev\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"app\"]\nchannels = [\"sftp\"]\nstanding = true\ncommands = \"fwe\"",
        &["there are no [[commands]] called \"fwe\"; did you mean \"few\"?"],
    ),
    (
        "extends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\nenv = [\"*\", \"A-B\"]",
        &[
            "\"*\" is not a variable",
            "\"A-B\" is not a variable",
            "\"base\", which this role extends, does not have the variable *: a role can only narrow",
            "\"base\", which this role extends, does not have the variable A-B: a role can only narrow",
        ],
    ),
];

/// Of a base that leaves variables to the configuration, nobody knows here what it passes.
#[test]
fn a_role_that_extends_one_without_env_passes_no_variables_of_its_own() {
    let folder = Folder::new();
    let head = HEAD.replace("env = [\"LC_*\", \"LANG\"]\n", "");
    assert_ne!(head, HEAD);
    for (template, env, passes) in [
        (false, "[\"LD_*\"]", false),
        (false, "[\"LANG\"]", false),
        (false, "[]", true),
        (true, "[\"LANG\"]", true),
    ] {
        let usable = if template { "template = true\n" } else { "" };
        let text = format!(
            "{head}[[role]]\nname = \"wide\"\n{usable}extends = \"base\"\nmembers = {{ groups = [\"corp:dev\"] }}\n[[role]]\n\
             name = \"leaf\"\nextends = \"wide\"\nenv = {env}\n"
        );
        let loaded = policy::load(&folder.write("policy.toml", &text, 0o644));
        let problems: Vec<String> =
            loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(problems.is_empty(), passes, "{template} {env}: {problems:?}");
        let said = "does not have the variables, since it says no \"env\": a role can only narrow";
        assert!(passes || problems.iter().all(|problem| problem.contains(said)), "{problems:?}");
    }
}

#[test]
fn what_a_wrong_role_gets() {
    let folder = Folder::new();
    for (role, expect) in WRONG {
        let path = folder.write("policy.toml", &format!("{HEAD}[[role]]\nname = \"new\"\n{role}\n"), 0o644);
        let problems = policy::load(&path).err().unwrap_or_default();
        let lines = folder.lines(&problems);
        assert_eq!(lines.len(), expect.len(), "{role}\n{lines:#?}");
        for part in *expect {
            assert!(lines.iter().any(|line| line.contains(part)), "{role}\n{part}\n{lines:#?}");
        }
        assert!(problems.iter().all(|problem| problem.line >= 25), "at the wrong role: {lines:#?}");
    }
}

#[test]
fn a_folder_is_read_as_one_policy() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("policy.d")).unwrap();
    folder.write("policy.d/10-base.toml", HEAD, 0o644);
    let leaf = "[[role]]\nname = \"leaf\"\nextends = \"base\"\nmembers = { groups = [\"corp:dev\"] }\n";
    folder.write("policy.d/20-leaf.toml", leaf, 0o644);
    // Neither what an editor leaves behind nor another kind of file.
    folder.write("policy.d/.20-leaf.toml.swp.toml", "x", 0o644);
    folder.write("policy.d/README", "x", 0o644);
    let path = folder.path("policy.d");
    let policy = policy::load(&path).unwrap();
    assert_eq!((policy.targets.len(), policy.roles.len()), (2, 1));
    // The order of files can change who is named first, so names belong to the digest.
    std::fs::rename(folder.path("policy.d/20-leaf.toml"), folder.path("policy.d/05-leaf.toml")).unwrap();
    let renamed = policy::load(&path).unwrap();
    assert_ne!(policy.digest, renamed.digest);
    // One wrong file, and nothing is loaded; every problem has its own file and line.
    folder.write("policy.d/30-more.toml", &format!("{leaf}lgins = []\n"), 0o644);
    assert_eq!(
        folder.lines(&policy::load(&path).unwrap_err()),
        [
            "policy.d/30-more.toml:2:1: there is a role \"leaf\" already",
            "policy.d/30-more.toml:5:1: unknown key \"lgins\" in [[role]] number 1; did you mean \"logins\"?",
        ]
    );
    folder.write("policy.d/30-more.toml", "not toml", 0o644);
    assert!(folder.lines(&policy::load(&path).unwrap_err())[0].starts_with("policy.d/30-more.toml:1:"));
}
