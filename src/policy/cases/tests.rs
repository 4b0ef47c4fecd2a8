//! Cases as they are written, and what comes of them.

use super::*;
use crate::policy::load;

const POLICY: &str = r#"
[[target]]
name = "web1"
address = "10.0.0.1"
host_key = { ca = true }
[[commands]]
name = "few"
allow = [{ argv = ["uptime"], name = "load" }]
review = [{ argv = ["reboot"] }]
[[role]]
name = "dev"
members = { groups = ["corp:dev"] }
targets = { names = ["web1"] }
logins = ["deploy"]
channels = ["exec", "sftp"]
standing = true
commands = "few"
files = [{ allow = ["read"], paths = ["/srv/**"], name = "site" }]
forwards = { local = ["10.0.0.0/8:5432", "db:1"], remote = ["localhost:9000"], local_sockets = ["/run/db/*"], agent = true }
env = ["LANG"]
[[role]]
name = "inside"
members = { subjects = ["corp:ann"] }
targets = { names = ["web1"] }
logins = ["root"]
channels = ["shell"]
standing = true
sources = ["10.0.0.0/8"]
[[workload]]
name = "deploy"
issuer = "github"
repository_id = 12
environment = "production"
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

/// What the case says, as `name: wrong; wrong`, or the problems of the file.
fn asked(case: &str) -> Result<String, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let policy = load(&at("policy.toml", POLICY)).unwrap();
    let path = at("cases.toml", case);
    let cases = read(&path, &policy, &["LC_*".to_owned()]).map_err(|problems| {
        problems.iter().map(|p| format!("{}:{}: {}", p.line, p.column, p.message)).collect::<Vec<_>>()
    })?;
    let said = |case: &Case| format!("{}: {}", case.name, case.ask(&policy).1.join("; "));
    Ok(cases.iter().map(said).collect::<Vec<_>>().join("\n"))
}

const DORA: &str = "[[case]]\nwho = { provider = \"corp\", subject = \"dora\", groups = [\"dev\"] }\ntarget = \"web1\"\nlogin = \"deploy\"\n";

#[test]
fn what_comes_of_cases() {
    for (rest, expect) in [
        ("act = \"exec\"\ncommand = \"uptime\"\nexpect = \"allow\"", "corp:dora exec: uptime deploy@web1: "),
        (
            "name = \"n\"\nact = \"exec\"\ncommand = \"'uptime'\"\nexpect = \"allow\"\nrule = \"few: load\"\nsends = \"uptime\"",
            "n: ",
        ),
        (
            "name = \"n\"\nact = \"exec\"\ncommand = \"'uptime'\"\nexpect = \"allow\"\nrule = \"few: allow 1\"\nsends = \"'uptime'\"",
            "n: expected rule \"few: allow 1\", got \"few: load\"; expected sends \"'uptime'\", got \"uptime\"",
        ),
        (
            "name = \"n\"\nact = \"exec\"\ncommand = \"id\"\nexpect = \"allow\"",
            "n: expected allow, got refuse (command, by \"few: default\")",
        ),
        (
            "name = \"n\"\nact = \"exec\"\ncommand = \"id\"\nexpect = \"refuse\"\ncode = \"command\"\nrule = \"few: default\"",
            "n: ",
        ),
        (
            "name = \"n\"\nact = \"exec\"\ncommand = \"$(id)\"\nexpect = \"refuse\"\ncode = \"command\"",
            "n: expected code \"command\", got \"opaque-command\"",
        ),
        ("name = \"n\"\nact = \"exec\"\ncommand = \"reboot\"\nexpect = \"review\"", "n: "),
        (
            "name = \"n\"\nact = \"exec\"\ncommand = \"reboot\"\nexpect = \"refuse\"",
            "n: expected refuse, got review (review, by \"few: review 1\")",
        ),
        ("name = \"n\"\nact = \"shell\"\nexpect = \"refuse\"\ncode = \"channel-kind\"", "n: "),
        ("name = \"n\"\nact = \"sftp\"\nexpect = \"allow\"\nrule = \"dev\"", "n: "),
        (
            "name = \"n\"\nact = \"sftp\"\noperation = \"read\"\npath = \"/srv/x\"\nexpect = \"allow\"\nrule = \"site\"",
            "n: ",
        ),
        (
            "name = \"n\"\nact = \"sftp\"\noperation = \"write\"\npath = \"/srv/x\"\nexpect = \"refuse\"\ncode = \"file\"\nrule = \"no rule allows write\"",
            "n: ",
        ),
        (
            "name = \"n\"\nact = \"subsystem\"\nsubsystem = \"netconf\"\nexpect = \"refuse\"\ncode = \"unknown-request\"",
            "n: ",
        ),
        ("name = \"n\"\nact = \"env\"\nvariable = \"LANG\"\nexpect = \"allow\"", "n: "),
        ("name = \"n\"\nact = \"env\"\nvariable = \"LC_ALL\"\nexpect = \"refuse\"\ncode = \"env\"", "n: "),
        ("name = \"n\"\nact = \"forward\"\nto = \"10.1.2.3:5432\"\nexpect = \"allow\"", "n: "),
        (
            "name = \"n\"\nact = \"forward\"\nto = \"pg:5432\"\nresolved = [\"10.1.2.3\"]\nexpect = \"allow\"",
            "n: ",
        ),
        (
            "name = \"n\"\nact = \"forward\"\nto = \"pg:5432\"\nresolved = [\"10.1.2.3\", \"127.0.0.1\"]\nexpect = \"refuse\"\ncode = \"forward\"",
            "n: ",
        ),
        ("name = \"n\"\nact = \"forward\"\nto = \"[fd00::1]:5432\"\nexpect = \"refuse\"", "n: "),
        ("name = \"n\"\nact = \"forward\"\nto = \"/run/db/s\"\nexpect = \"allow\"", "n: "),
        ("name = \"n\"\nact = \"listen\"\non = \"localhost:9000\"\nexpect = \"allow\"", "n: "),
        ("name = \"n\"\nact = \"listen\"\non = \":9000\"\nexpect = \"refuse\"", "n: "),
        ("name = \"n\"\nact = \"listen\"\non = \"/run/x\"\nexpect = \"refuse\"", "n: "),
        ("name = \"n\"\nact = \"agent\"\nexpect = \"allow\"", "n: "),
        ("name = \"n\"\nact = \"x11\"\nexpect = \"refuse\"\ncode = \"x11-forwarding\"", "n: "),
        ("name = \"n\"\nact = \"tun\"\nexpect = \"refuse\"\ncode = \"tun\"", "n: "),
    ] {
        assert_eq!(asked(&format!("{DORA}{rest}")).as_deref(), Ok(expect), "{rest}");
    }
}

#[test]
fn who_when_and_where_count() {
    let ann = "[[case]]\nname = \"n\"\nwho = { provider = \"corp\", subject = \"ann\" }\ntarget = \"web1\"\nlogin = \"root\"\nact = \"shell\"\n";
    for (rest, expect) in [
        ("from = \"10.1.2.3\"\nexpect = \"allow\"\nrule = \"inside\"", "n: "),
        ("expect = \"refuse\"\ncode = \"source-network\"", "n: "),
        ("from = \"::ffff:10.1.2.3\"\nexpect = \"allow\"", "n: "),
    ] {
        assert_eq!(asked(&format!("{ann}{rest}")).as_deref(), Ok(expect), "{rest}");
    }
    // Written as the policy writes it, the group is the same; another provider's is not.
    for (who, expect) in [
        ("{ provider = \"corp\", groups = [\"corp:dev\"] }", "allow"),
        ("{ provider = \"corp\", groups = [\"acme:dev\"] }", "refuse"),
        ("{ provider = \"corp\", subject = \"dev\" }", "refuse"),
    ] {
        let case = format!(
            "[[case]]\nname = \"n\"\nwho = {who}\ntarget = \"web1\"\nlogin = \"deploy\"\nact = \"sftp\"\nexpect = \"{expect}\""
        );
        assert_eq!(asked(&case).as_deref(), Ok("n: "), "{who}");
    }
    let own = format!(
        "bastion = [\"10.9.9.9\"]\n{DORA}name = \"n\"\nact = \"forward\"\nto = \"10.9.9.9:5432\"\nexpect = \"refuse\""
    );
    assert_eq!(asked(&own).as_deref(), Ok("n: "));
}

#[test]
fn cases_that_do_not_load() {
    let dora = |rest: &str| format!("{DORA}{rest}");
    for (text, expect) in [
        (String::new(), "0:0: there is no [[case]] here"),
        ("case = 1".to_owned(), "1:8: \"case\" must be an array of tables"),
        ("[[case]]".to_owned(), "1:1: \"act\" is missing in [[case]] number 1: what is asked for"),
        (dora("act = \"exec\"\nexpect = \"allow\""), "1:1: \"command\" is missing"),
        (dora("act = \"exce\"\nexpect = \"allow\""), "5:7: unknown act \"exce\"; did you mean \"exec\"?"),
        (
            dora("act = \"shell\"\nexpect = \"alow\""),
            "6:10: unknown expect \"alow\"; did you mean \"allow\"?",
        ),
        (
            dora("act = \"shell\"\nexpct = \"allow\""),
            "6:1: unknown key \"expct\" in [[case]] number 1; did you mean \"expect\"?",
        ),
        (
            dora("act = \"shell\"\ncommand = \"id\"\nexpect = \"allow\""),
            "6:1: \"command\" goes with act = \"exec\"",
        ),
        (
            dora("act = \"shell\"\nexpect = \"refuse\"\ncode = \"comand\""),
            "7:8: unknown code \"comand\"; did you mean \"command\"?",
        ),
        (dora("act = \"shell\"\nexpect = \"allow\"\ncode = \"command\""), "7:1: \"code\" is of a refusal"),
        (dora("act = \"shell\"\nexpect = \"allow\"\nat = \"noon\""), "7:6: \"noon\" is not a time"),
        (dora("act = \"shell\"\nexpect = \"allow\"\nat = 2026-11-20T12:00:00Z"), "7:6: \"at\" must be text"),
        (dora("act = \"shell\"\nexpect = \"allow\"\nfrom = \"here\""), "7:8: \"here\" is not an IP address"),
        (dora("act = \"forward\"\nto = \"db\"\nexpect = \"allow\""), "6:6: \"db\" is neither HOST:PORT"),
        (dora("act = \"sftp\"\npath = \"/x\"\nexpect = \"allow\""), "1:1: \"operation\" is missing"),
        (
            dora("act = \"sftp\"\noperation = \"read\"\npath = \"/x/../y\"\nexpect = \"allow\""),
            "7:8: \"/x/../y\" is not a path",
        ),
        (
            dora("act = \"shell\"\nexpect = \"refuse\"").replace("web1", "wbe1"),
            "3:10: there is no target \"wbe1\"; did you mean \"web1\"?",
        ),
        (
            dora("act = \"shell\"\nexpect = \"refuse\"").replace("corp", "crop"),
            "2:20: no role has members of a provider \"crop\"; did you mean \"corp\"?",
        ),
        (
            dora("act = \"shell\"\nexpect = \"refuse\"").replace("groups", "group"),
            "2:46: unknown key \"group\" in \"who\"; did you mean \"groups\"?",
        ),
    ] {
        let problems = asked(&text).expect_err(&text);
        assert!(problems.iter().any(|line| line.starts_with(expect)), "{text}\n{problems:#?}");
    }
    // Whoever says that this is what is tested may ask about what is not there.
    let gone = dora("name = \"n\"\nact = \"shell\"\nexpect = \"refuse\"\ncode = \"no-access\"")
        .replace("web1", "gone");
    assert_eq!(asked(&gone).as_deref(), Ok("n: "));
}

#[test]
fn jobs_and_accounts_ask_too() {
    let rest = "target = \"web1\"\nlogin = \"ship\"\nact = \"exec\"\ncommand = \"id\"\n";
    let case =
        |who: &str, expect: &str| format!("[[case]]\nname = \"n\"\n{who}\n{rest}expect = \"{expect}\"\n");
    let job = |claims: &str| format!("workload = {{ issuer = \"github\", claims = {{ {claims} }} }}");
    let good = "repository_id = 12, event_name = \"push\", environment = \"production\"";
    for (who, expect) in [
        (job(good), "allow"),
        (job(&good.replace("12", "\"12\"")), "allow"),
        (job(&good.replace("12", "123")), "refuse"),
        (job(&good.replace("production", "stage")), "refuse"),
        (job(&good.replace("push", "pull_request_target")), "refuse"),
        (job(&format!("{good}, head_ref = \"patch\"")), "refuse"),
        (job("repository_id = 12"), "refuse"),
        ("service = \"backup\"".to_owned(), "refuse"),
        ("service = \"backup\"\nfrom = \"10.1.2.3\"".to_owned(), "allow"),
        ("who = { provider = \"corp\", subject = \"account/backup\" }".to_owned(), "refuse"),
    ] {
        assert_eq!(asked(&case(&who, expect)).as_deref(), Ok("n: "), "{who}");
    }
    for (who, expect) in [
        (String::new(), "\"who\" is missing"),
        (
            format!("{}\nservice = \"backup\"", job(good)),
            "both \"workload\" and \"service\" are given: keep one",
        ),
        (job("repository_id = [12, 13]"), "\"repository_id\" must be one value"),
        (
            job("repositry_id = 12"),
            "runs of \"github\" have no claim \"repositry_id\"; did you mean \"repository_id\"?",
        ),
        (
            job(good).replace("github", "gitlab"),
            "no [[workload]] is about runs of \"gitlab\"; did you mean \"github\"?",
        ),
        ("workload = { issuer = \"github\" }".to_owned(), "\"claims\" is missing"),
        ("service = \"bakup\"".to_owned(), "there is no [[service]] \"bakup\"; did you mean \"backup\"?"),
    ] {
        let problems = asked(&case(&who, "refuse")).expect_err(&who);
        assert!(problems.iter().any(|line| line.contains(expect)), "{who}\n{problems:#?}");
    }
    let stranger = case(&job(good).replace("github", "gitlab"), "refuse") + "code = \"no-access\"\n";
    assert_eq!(asked(&stranger).as_deref(), Ok("n: "));
}
