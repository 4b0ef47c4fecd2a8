//! `caponier policy check`, `test` and `explain` as somebody types them: texts, JSON and exit statuses of the binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use caponier::audit::AuditEvent;
use caponier::store::{SignIn, Store};
use caponier::time::Clock;
use serde_json::Value;

use crate::readme::blocks;
use crate::world::bastion::CAPONIER;
use crate::world::process::{Finished, run};
use crate::world::{PATIENCE, root, scratch};

const POLICY: &str = r#"[[target]]
name = "web1"
address = "10.0.0.5"
host_key = { ca = true }

[[target]]
name = "old"
address = "10.0.0.6"
host_key = { ca = true }

[[commands]]
name = "few"
allow = [{ argv = ["uptime"] }, { argv = ["less", "**"] }]

[[role]]
name = "care"
members = { groups = ["corp:dev"] }
targets = { names = ["web1"] }
logins = ["deploy"]
channels = ["exec"]
standing = true
commands = "few"
session_max = "1h"

[[role]]
name = "ops"
members = { groups = ["corp:ops", "corp:dev"] }
targets = { names = ["web1"] }
logins = ["deploy", "root"]
channels = ["shell"]
standing = true
sources = ["10.0.0.0/8"]
"#;

const CASE: &str = r#"[[case]]
name = "uptime is allowed"
who = { provider = "corp", subject = "dora", groups = ["dev"] }
target = "web1"
login = "deploy"
act = "exec"
command = "'uptime'"
expect = "allow"
rule = "few: allow 1"
sends = "uptime"

[[case]]
name = "id is not"
who = { provider = "corp", subject = "dora", groups = ["dev"] }
target = "web1"
login = "deploy"
act = "exec"
command = "id"
expect = "refuse"
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(scratch());
        folder.write("policy.toml", POLICY);
        folder.write("cases.toml", CASE);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `caponier policy WORDS` in the folder.
    fn policy(&self, words: &[&str]) -> Finished {
        let mut command = Command::new(CAPONIER);
        command.arg("policy").args(words).current_dir(self.0.path());
        command.env_remove("CAPONIER_CONFIG").env_remove("RUST_BACKTRACE");
        run(&mut command, b"", PATIENCE)
    }

    fn json(&self, words: &[&str], status: i32) -> Value {
        let finished = self.policy(words);
        finished.ended(status);
        serde_json::from_str(&finished.text()).unwrap()
    }
}

#[test]
fn check_warns_and_strict_fails() {
    let folder = Folder::new();
    let said = folder.policy(&["check", "--policy", "policy.toml"]).ok();
    let starts = [
        "policy.toml:6:1: warning: target \"old\": no role opens it",
        "policy.toml:11:1: warning: commands \"few: allow 2\": `less` shows pages, and from there a key opens a shell",
        "policy.toml:15:1: warning: role \"care\": its rules can be walked around: \"ops\" gives a shell",
        "ok: policy.toml (2 targets, 2 roles), 3 warnings",
    ];
    assert_eq!(said.lines().count(), starts.len(), "{said}");
    for (line, start) in said.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    folder.policy(&["check", "--policy", "policy.toml", "--strict"]).ended(1);
    let allow = ["--allow", "unopened-target", "--allow", "shell-escape", "--allow", "walk-around"];
    let all: Vec<&str> = ["check", "--policy", "policy.toml", "--strict"].into_iter().chain(allow).collect();
    assert_eq!(folder.policy(&all).ok(), "ok: policy.toml (2 targets, 2 roles), 0 warnings\n");
    let typo = folder.policy(&["check", "--policy", "policy.toml", "--allow", "walk-arond"]);
    assert!(typo.ended(2).errors().contains("'walk-around'"), "{}", typo.errors());

    let json = folder.json(&["check", "--policy", "policy.toml", "--json"], 0);
    assert_eq!((&json["ok"], &json["targets"]), (&true.into(), &2.into()));
    let warnings = json["warnings"].as_array().unwrap();
    let codes: Vec<&str> = warnings.iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["unopened-target", "shell-escape", "walk-around"]);
    assert_eq!((&warnings[0]["line"], &warnings[0]["subject"]), (&6.into(), &"target \"old\"".into()));
}

#[test]
fn refused_files_end_with_78() {
    let folder = Folder::new();
    folder.write("bad.toml", "[[role]]\nname = \"a\"\nmember = 1\n");
    folder.write("bad-cases.toml", &CASE.replace("expect", "expct"));
    let rows: [(&[&str], &str); 6] = [
        (&["check", "--policy", "bad.toml"], "bad.toml:3:1: unknown key \"member\""),
        (&["check", "--policy", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (&["test", "--policy", "bad.toml", "cases.toml"], "bad.toml:3:1: unknown key \"member\""),
        (&["test", "--policy", "policy.toml", "bad-cases.toml"], "bad-cases.toml:8:1: unknown key \"expct\""),
        (&["test", "--policy", "policy.toml", "cases.toml", "none.toml"], "none.toml: cannot be read"),
        (&["explain", "--policy", "bad.toml", "corp:a", "web1"], "bad.toml:3:1: unknown key \"member\""),
    ];
    for (words, expect) in rows {
        let finished = folder.policy(words);
        let text = finished.ended(78).text();
        assert!(text.lines().any(|line| line.starts_with(expect)), "{words:?}: {text}");
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let json = folder.json(&words, 78);
        let (file, _) = expect.split_once(':').unwrap();
        let problems = json["problems"].as_array().unwrap();
        assert!(json["ok"] == false && problems.iter().all(|one| one["file"] == file), "{json}");
    }
    folder.write("caponier.toml", "[ssh]\nlisen = 1\n[policy]\nfile = \"bad.toml\"\n");
    let both = folder.policy(&["check", "--config", "caponier.toml"]);
    let text = both.ended(78).text();
    assert!(text.contains("caponier.toml:2:1") && text.contains("bad.toml:3:1"), "{text}");
}

#[test]
fn cases_come_out_or_fail() {
    let folder = Folder::new();
    let said = folder.policy(&["test", "--policy", "policy.toml", "cases.toml"]).ok();
    assert_eq!(said, "ok      uptime is allowed\nok      id is not\n2 cases, 0 failed\n");

    folder.write("more.toml", &CASE.replace("\"refuse\"", "\"allow\""));
    let failed = folder.policy(&["test", "--policy", "policy.toml", "cases.toml", "more.toml"]);
    assert_eq!(
        failed.ended(1).text(),
        "ok      uptime is allowed\nok      id is not\nok      uptime is allowed\nFAILED  id is not\n        \
         more.toml:12: expected allow, got refuse (command, by \"few: default\")\n        \
         it says: command refused by rule \"few: default\": no rule allows `id`; ask an administrator if you need it\n\
         4 cases, 1 failed\n"
    );
    let json = folder.json(&["test", "--policy", "policy.toml", "more.toml", "--json"], 1);
    assert_eq!((&json["ok"], &json["failed"]), (&false.into(), &1.into()));
    let case = &json["cases"][1];
    assert_eq!((&case["ok"], &case["line"], &case["file"]), (&false.into(), &12.into(), &"more.toml".into()));
    assert_eq!((&case["got"]["answer"], &case["got"]["code"]), (&"refuse".into(), &"command".into()));
    assert_eq!(json["cases"][0]["got"]["sends"], "uptime");
    folder.policy(&["test", "--policy", "policy.toml"]).ended(2);
}

#[test]
fn explain_says_who_what_and_why() {
    let folder = Folder::new();
    let words = ["explain", "--policy", "policy.toml", "corp:dora", "web1", "'uptime'", "--group", "dev"];
    let more = ["--login", "deploy", "--at", "2026-11-20T12:00:00+01:00"];
    let all: Vec<&str> = words.into_iter().chain(more).collect();
    let said = folder.policy(&all).ok();
    assert_eq!(
        said,
        "\
corp:dora at web1, from 192.0.2.1, 2026-11-20T11:00:00Z
groups: corp:dev (as given)

== deploy@web1

ROLE  HOLDS  MEMBER  TARGET  LOGIN  SOURCE  HOURS  CHANNELS
care  yes    yes     yes     yes    yes     yes    exec
ops   no     yes     yes     yes    no      yes    shell

exec: 'uptime': allow, by rule \"few: allow 1\" (enforced)
    sends   uptime
    roles   care
    terms   session 1h, recording yes, the rest as the configuration says

ENFORCED
  - no shell
  - which words are sent: only commands that \"few\" allows, in our own quoting of what was judged
  - lines that cannot be read word for word: refused unless \"few\" pins them
  - no sftp
  - which environment variables pass: LANG, LC_*
  - no forwards
  - no agent forwarding
  - no X11 forwarding
  - network interfaces (tun) and requests we do not know: refused
  - what \"care\" opens: a session of at most 1h

DETECTED
  - nothing

NOT CONTROLLED
  - what an allowed program does: files, network, other programs
  - `few: allow 2`: `less` shows pages, and from there a key opens a shell
  - the values of those variables
"
    );

    let inside = [
        "explain",
        "--policy",
        "policy.toml",
        "corp:dora",
        "web1",
        "--group",
        "corp:dev",
        "--from",
        "10.1.2.3",
    ];
    let json: Vec<&str> = inside.into_iter().chain(["--json"]).collect();
    let json = folder.json(&json, 0);
    let logins = json["logins"].as_array().unwrap();
    assert_eq!(
        logins.iter().map(|one| one["login"].as_str().unwrap()).collect::<Vec<_>>(),
        ["deploy", "root"]
    );
    assert_eq!(logins[0]["roles"][1]["holds"], true);
    assert_eq!(logins[0]["asks"][0]["verdict"]["answer"], "allow");
    assert_eq!(logins[0]["asks"][1]["depends"], "it depends on the command: name one to see");
    assert_eq!(logins[1]["asks"][1]["verdict"]["code"], "channel-kind");
    let free = logins[0]["not_controlled"].as_array().unwrap();
    assert!(free.iter().any(|one| one.as_str().unwrap().starts_with("what is typed in a shell")), "{free:?}");
}

#[test]
fn explain_says_what_is_not_there() {
    let folder = Folder::new();
    let refused = ["explain", "--policy", "policy.toml", "corp:eve", "web1", "--login", "root"];
    let said = folder.policy(&refused).ok();
    assert!(said.contains("shell: refuse [no-access]") && said.contains("corp:eve is in no role"), "{said}");
    assert!(said.contains("ENFORCED\n  - nothing is open\n"), "{said}");
    for (words, status, expect) in [
        (
            ["explain", "--policy", "policy.toml", "corp:eve", "wbe1"],
            1,
            "there is no target wbe1; did you mean \"web1\"?",
        ),
        (["explain", "--policy", "policy.toml", "corp:eve", "old"], 1, "no role opens old to anybody"),
        (["explain", "--policy", "policy.toml", "eve", "web1"], 2, "PROVIDER:SUBJECT"),
    ] {
        let finished = folder.policy(&words);
        assert!(finished.ended(status).errors().contains(expect), "{}", finished.errors());
    }
    // A command that would steer the reader's terminal is shown harmless.
    let words = ["explain", "--policy", "policy.toml", "corp:dora", "web1", "a\u{1b}[2Jb", "--group", "dev"];
    assert!(!folder.policy(&words).ok().contains('\u{1b}'));
}

/// A configuration beside the policy, with a store.
fn configured(folder: &Folder) {
    folder.write("pass", "open sesame\n");
    run(Command::new("chmod").arg("600").arg(folder.path("pass")), b"", PATIENCE).ok();
    std::fs::create_dir(folder.path("state")).unwrap();
    folder.write(
        "caponier.toml",
        "state_dir = \"state\"\n[ssh]\nhost_names = [\"bastion.example.com\"]\n[web]\n\
         public_url = \"https://bastion.example.com\"\n[ca]\npassphrase_file = \"pass\"\n[sessions]\nmax = \"30m\"\n\
         env = [\"LANG\", \"PAGER\"]\n[[provider]]\nname = \"corp\"\nissuer = \"https://id.example.com\"\n\
         client_id = \"caponier\"\n",
    );
}

#[test]
fn with_a_configuration_groups_come_from_the_store() {
    let folder = Folder::new();
    configured(&folder);
    let said = folder.policy(&["check", "--config", "caponier.toml"]).ok();
    assert!(
        said.starts_with("warning: sessions.env of the configuration: \"env\" lets PAGER pass"),
        "{said}"
    );
    let path = folder.path("policy.toml").display().to_string();
    assert!(said.ends_with(&format!("ok: {path} (2 targets, 2 roles), 4 warnings\n")), "{said}");

    let words = ["explain", "--config", "caponier.toml", "corp:dora", "web1", "--login", "deploy"];
    let said = folder.policy(&words).ok();
    assert!(said.contains("groups: none (not signed in now; give --group)"), "{said}");
    sign_in(&folder.path("state/caponier.db"));
    let said = folder.policy(&words).ok();
    assert!(said.contains("groups: corp:dev (of the newest sign-in)"), "{said}");
    // The configuration's limits hold too, and its variables.
    assert!(said.contains("a session of at most 30m; silence of at most 1h"), "{said}");
    assert!(said.contains("which environment variables pass: LANG, PAGER"), "{said}");
}

#[tokio::main(flavor = "current_thread")]
async fn sign_in(store: &Path) {
    let store = Store::open(&format!("sqlite:{}", store.display())).await.unwrap();
    let now = Clock::System.now();
    let random = caponier::random::Random::seeded(3);
    let row = crate::store::rows::sign_in(&random);
    let provider: caponier::names::ProviderName = "corp".parse().unwrap();
    let mut who = row.who.clone();
    (who.provider, who.subject) = (provider, "dora".to_owned());
    who.groups = ["corp:dev".parse().unwrap()].into();
    let expires = now.plus(std::time::Duration::from_secs(3600));
    let row = SignIn { who, created: now, expires, ended: None, ..row };
    let mut tx = store.begin().await.unwrap();
    tx.insert_sign_in(&row).await.unwrap();
    tx.commit(now, AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 }).await.unwrap();
    store.close().await;
}

#[test]
fn the_shipped_policy_has_no_warnings_and_its_cases_come_out() {
    let folder = Folder::new();
    let at = |name: &str| root().join("config").join(name).display().to_string();
    let (policy, cases) = (at("policy.toml"), at("policy-tests.toml"));
    folder.policy(&["check", "--policy", &policy, "--strict"]).ok();
    let said = folder.policy(&["test", "--policy", &policy, &cases]).ok();
    assert!(said.ends_with(" cases, 0 failed\n"), "{said}");
}

#[test]
fn the_readme_tells_how_to_do_it_in_ci() {
    let folder = Folder::new();
    std::fs::copy(root().join("config/policy.toml"), folder.path("policy.toml")).unwrap();
    folder.write("cases.toml", &blocks("toml cases").concat());
    let binaries = Path::new(CAPONIER).parent().unwrap().display();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap());
    let lines = blocks("sh ci").concat();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &lines]).current_dir(folder.0.path()).env("PATH", path);
    let said = run(&mut shell, b"", PATIENCE).ok();
    assert!(
        said.contains("2 cases, 0 failed")
            && said.contains("refuse [command], by rule \"web-care: default\""),
        "{said}"
    );
}

#[test]
fn explain_says_which_rule_a_job_fits() {
    let folder = Folder::new();
    let jobs = r#"
[[workload]]
name = "deploy"
issuer = "github"
repository_id = 123456
ref = "refs/heads/main"
[[workload]]
name = "release"
issuer = "github"
repository_id = 123456
environment = "production"
[[workload]]
name = "other"
issuer = "github"
repository_id = 7
ref = "refs/heads/main"
[[service]]
name = "backup"
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIv2GvXxKPths0HHOfCK7LGH7tYSdIbxrzWMFg6uh27p"]
sources = ["10.0.0.0/8"]
[[role]]
name = "jobs"
members = { workloads = ["deploy"], services = ["backup"] }
targets = { names = ["web1"] }
logins = ["ship"]
channels = ["exec"]
standing = true
"#;
    folder.write("jobs.toml", &format!("{POLICY}{jobs}"));
    let base = ["explain", "--policy", "jobs.toml", "github:repository/123456", "web1", "id"];
    let claims = ["--claim", "ref=refs/heads/main", "--claim", "event_name=push"];
    let all: Vec<&str> = base.into_iter().chain(claims).collect();
    let said = folder.policy(&all).ok();
    for line in [
        "rules: deploy (claims as given)",
        "not release: environment must be production, and the token does not say it",
        "== ship@web1",
        "exec: id: allow",
    ] {
        assert!(said.lines().any(|one| one.starts_with(line)), "{line}\n{said}");
    }
    assert!(!said.contains("other"), "{said}");
    let json: Vec<&str> = all.iter().copied().chain(["--json"]).collect();
    let json = folder.json(&json, 0);
    assert_eq!(json["workload"]["rules"], serde_json::json!(["deploy"]));
    assert_eq!(json["workload"]["near"][0]["claim"], "environment");
    let said = folder.policy(&base).ok();
    assert!(said.contains("rules: none (claims give --claim"), "{said}");
    let account = ["explain", "--policy", "jobs.toml", "service:account/backup", "web1", "id"];
    for (from, expect) in
        [("10.1.2.3", "exec: id: allow"), ("192.0.2.1", "exec: id: refuse [source-network]")]
    {
        let asked: Vec<&str> = account.into_iter().chain(["--from", from]).collect();
        let said = folder.policy(&asked).ok();
        assert!(said.contains(expect), "{said}");
    }
    for (who, claim, expect) in [
        ("github:repository/123456", "reff=x", "have no claim \"reff\"; did you mean \"ref\"?"),
        ("github:repository/123456", "repository_id=7", "is given twice, and differently"),
        ("github:project/1", "ref=x", "no [[workload]] is about runs of github called project/1"),
        ("service:account/bakup", "ref=x", "there is no [[service]] \"bakup\"; did you mean \"backup\"?"),
    ] {
        let refused = folder.policy(&["explain", "--policy", "jobs.toml", who, "web1", "--claim", claim]);
        assert!(refused.ended(1).errors().contains(expect), "{}", refused.errors());
    }
}
