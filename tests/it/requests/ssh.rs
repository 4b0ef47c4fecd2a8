//! The whole way as people go it: the compiled commands on two laptops, stock ssh, a real sshd, and once the real provider with a
//! real browser.

use serde_json::Value;

use crate::world::bastion::Laptop;
use crate::world::process::{Finished, Running, run};
use crate::world::stage::{Plan, Stage, policy};
use crate::world::{PATIENCE, me, wait_for};

/// A role of which reviewers give access.
pub(crate) const BY_REVIEWERS: &str = r#"[role.request]
max = "1h"
automatic = [{ labels = [{ env = "none" }] }]
[[role.request.stage]]
name = "reviewers"
groups = ["corp:reviewers"]
"#;

/// A stage on which `engineer` must ask by these rules, and the laptop of `reviewer`.
pub(crate) fn set(real: Option<&str>, rules: &str) -> (Stage, Laptop) {
    let stage = Stage::set_to(Plan { real, nobody: true, ..Plan::default() });
    let mut text = policy(stage.web1.port, "").replace("standing = true", rules);
    // A label that no target of the stage has.
    text.push_str("\n[[target]]\nname = \"none1\"\naddress = \"127.0.0.1:1\"\nhost_key = { ca = true }\nlabels = { env = \"none\" }\n");
    stage.bastion.write_policy(&text);
    stage.login("engineer");
    wait_for("the policy by which one asks", PATIENCE, || {
        let roles = json(&by(&stage.laptop, &["request", "--list", "--json"]));
        roles[0]["asking"].is_object().then_some(())
    });
    let other = Laptop::new();
    stage.login_at(&other, "reviewer");
    (stage, other)
}

/// Runs a command on this laptop.
pub(crate) fn by(laptop: &Laptop, args: &[&str]) -> Finished {
    run(&mut laptop.caponier(args), b"", PATIENCE)
}

#[track_caller]
fn json(done: &Finished) -> Value {
    serde_json::from_str(&done.text())
        .unwrap_or_else(|error| panic!("{error}: {} {}", done.text(), done.errors()))
}

/// Asks for `web1`, and gives the id.
#[track_caller]
pub(crate) fn ask(laptop: &Laptop, more: &[&str]) -> String {
    let me = me();
    let mut args = vec!["request", "web1", "--as", &me, "--reason", "OPS-1 look", "--json"];
    args.extend(more);
    let done = by(laptop, &args);
    done.ended(75);
    json(&done)["id"].as_str().unwrap().to_owned()
}

#[test]
fn asking_approving_using_and_giving_back_with_the_real_parts() {
    let (stage, reviewer) = set(Some("RS256"), BY_REVIEWERS);
    let engineer = &stage.laptop;
    // ssh says the one line that asks for it.
    let refused = stage.ssh(&["web1", "true"]).run();
    assert_ne!(refused.status, Some(0));
    let said = refused.errors();
    let start = said.find("caponier request ").unwrap_or_else(|| panic!("{said}"));
    let line =
        said[start..].lines().next().unwrap().trim().replace("'...'", "'OPS-1 rotate the certificate'");
    assert_eq!(
        line,
        format!("caponier request web1 --as {} --for 30m --reason 'OPS-1 rotate the certificate'", me())
    );
    // That very line, in a shell.
    let mut shell = engineer.caponier(&[]);
    let program = shell.get_program().to_owned();
    let envs: Vec<_> =
        shell.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!("caponier() {{ '{}' \"$@\"; }}; {line}", program.display())).envs(envs);
    let asked = run(&mut shell, b"", PATIENCE);
    asked.ended(75);
    let id = asked.text().split_whitespace().next().unwrap().to_owned();
    assert!(asked.text().contains("waits for 1 more of corp:reviewers"), "{}", asked.text());
    assert_eq!(by(engineer, &["inbox"]).ok().trim(), "nothing waits for you");

    let shown = by(&reviewer, &["inbox"]).ok();
    for part in [id.as_str(), "Erin Engineer", "OPS-1 rotate the certificate", "web1", "approve, deny"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    by(engineer, &["approve", &id]).ended(126);
    let beginning = &id[..12];
    let approved =
        by(&reviewer, &["approve", beginning, "--for", "10m", "--note", "ten minutes will do"]).ok();
    assert!(approved.contains("less than you asked for"), "{approved}");
    let shown = by(engineer, &["request", "show", beginning]).ok();
    for part in [
        "granted until",
        "for 10m",
        "for 30m",
        "ten minutes will do",
        "corp:reviewer (Robin Reviewer)",
        "live",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }

    assert_eq!(stage.ssh(&["web1", "echo", "in"]).run().ok(), "in\n");
    let terminal = stage.live_terminal();
    assert!(by(engineer, &["release"]).ok().contains(&id));
    let (_, shown) = terminal.finish(PATIENCE);
    assert!(!shown.is_empty());
    let refused = stage.ssh(&["web1", "true"]).run().errors();
    assert!(refused.contains("caponier request web1"), "{refused}");
    by(engineer, &["release"]).ended(1);
    let csv = by(engineer, &["requests", "--state", "released", "--csv"]).ok();
    assert!(
        csv.lines().count() == 2 && csv.contains(&id) && csv.contains("OPS-1 rotate the certificate"),
        "{csv}"
    );
    assert!(stage.audit().iter().any(|(kind, json)| kind == "grant_ended" && json.contains("released")));
}

#[test]
fn an_approver_takes_it_away_again() {
    let (stage, reviewer) = set(Some("RS256"), BY_REVIEWERS);
    let engineer = &stage.laptop;
    let id = ask(engineer, &[]);
    by(&reviewer, &["approve", &id]).ok();
    let terminal = stage.live_terminal();
    let order = ["revoke", "--grant", &id, "--reason", "not needed any more"];
    assert_ne!(by(engineer, &order).status, Some(0), "who has it gives it back instead");
    assert!(by(&reviewer, &order).ok().contains("Revoked"));
    terminal.finish(PATIENCE);
    assert!(stage.ssh(&["web1", "true"]).run().errors().contains("caponier request web1"));
    assert!(
        stage
            .audit()
            .iter()
            .any(|(kind, json)| kind == "grant_ended" && json.contains("not needed any more"))
    );
}

#[test]
fn waiting_ends_with_the_answer() {
    let (stage, reviewer) = set(None, BY_REVIEWERS);
    let engineer = &stage.laptop;
    let me = me();
    let wait = |more: &[&str]| {
        let mut args = vec!["request", "web1", "--as", &me, "--reason", "OPS-1 look"];
        args.extend(more);
        Running::start(&mut engineer.caponier(&args), b"")
    };
    let id_in_inbox = || {
        wait_for("a request in the inbox", PATIENCE, || {
            json(&by(&reviewer, &["inbox", "--json"]))[0]["id"].as_str().map(str::to_owned)
        })
    };
    let waiting = wait(&["--wait"]);
    by(&reviewer, &["approve", &id_in_inbox()]).ok();
    let done = waiting.finish(PATIENCE);
    assert!(
        done.ok().contains("is granted until")
            && done.errors().contains("Waiting for 1 more of corp:reviewers")
    );

    let waiting = wait(&["--wait=10m"]);
    by(&reviewer, &["deny", &id_in_inbox(), "--reason", "not during the freeze"]).ok();
    let done = waiting.finish(PATIENCE);
    let said = done.ended(126).errors();
    assert!(said.contains("is denied by corp:reviewer: not during the freeze"), "{said}");

    let done = wait(&["--wait=1s"]).finish(PATIENCE);
    assert!(done.ended(75).text().contains("They say: caponier approve req_"));
    by(engineer, &["cancel", &id_in_inbox()]).ok();
    assert_eq!(by(&reviewer, &["inbox"]).ok().trim(), "nothing waits for you");
}

#[test]
fn the_commands_say_what_is_wrong_and_change_nothing() {
    let (stage, reviewer) = set(None, BY_REVIEWERS);
    let engineer = &stage.laptop;
    let me = me();
    let asks = |more: &[&str]| {
        let mut args = vec!["request", "web1", "--as", &me, "--reason", "OPS-1 look"];
        args.extend(more);
        by(engineer, &args)
    };
    let said = asks(&["--for", "2h"]).ended(126).errors();
    assert!(said.contains("gives at most 1h at a time: ask with --for 1h"), "{said}");
    let said = by(engineer, &["request", "web1", "--as", &me, "--reason", " "]).ended(126).errors();
    assert!(said.contains("a reason is needed"), "{said}");
    assert!(by(engineer, &["request"]).ended(1).errors().contains("--list"));
    for wrong in [&["--for", "soon"][..], &["--for", "0s"], &["--once", "twice"], &["--start", "noon"]] {
        asks(wrong).ended(2);
    }
    let planned = asks(&["--dry-run"]).ok();
    assert!(planned.contains("1. reviewers (later): 1 of corp:reviewers"), "{planned}");
    let listed = by(engineer, &["request", "--list"]).ok();
    assert!(listed.contains("approved by: reviewers") && listed.contains("1h"), "{listed}");
    assert_eq!(by(engineer, &["requests"]).ok().trim(), "no requests");

    let word = "0123456789abcdef";
    let (first, again) = (ask(engineer, &["--key", word]), ask(engineer, &["--key", word]));
    assert_eq!(first, again);
    assert!(asks(&["--key", word, "--for", "5m"]).ended(1).errors().contains("asks for something else"));
    for id in [&first[..6], "req_zzz", "../x"] {
        by(&reviewer, &["approve", id]).ended(1);
    }
    by(&reviewer, &["approve", "req_0123456789abcdefghjkmnpqrs"]).ended(1);
    let said = by(&reviewer, &["approve", &first, "--for", "2h"]).ended(126).errors();
    assert!(said.contains("an approver can only take away"), "{said}");
    by(&reviewer, &["cancel", &first]).ended(126);
    by(&reviewer, &["requests", "--all"]).ended(126);
    by(engineer, &["cancel", &first[4..12]]).ok();
    // Text from people steers no terminal and no spreadsheet.
    let evil = ask(engineer, &["--ticket", "=cmd()\u{202e}x"]);
    let shown = by(&reviewer, &["inbox"]).ok();
    assert!(shown.contains("=cmd()") && !shown.contains('\u{202e}'), "{shown}");
    let csv = by(&reviewer, &["inbox", "--csv"]).ok();
    assert!(csv.contains(&evil) && csv.contains("'=cmd()") && !csv.contains('\u{202e}'), "{csv}");
    by(&Laptop::new(), &["inbox"]).ended(77);
}

#[test]
fn access_for_one_use_is_used_once() {
    let (stage, reviewer) = set(None, BY_REVIEWERS);
    let engineer = &stage.laptop;
    for once in ["session", "exec"] {
        let id = ask(engineer, &["--once", once]);
        by(&reviewer, &["approve", &id]).ok();
        let both: Vec<Running> = (0..2).map(|_| stage.ssh(&["web1", "echo in"]).start()).collect();
        let both: Vec<Finished> = both.into_iter().map(|one| one.finish(PATIENCE)).collect();
        let (used, refused): (Vec<_>, Vec<_>) = both.iter().partition(|one| one.status == Some(0));
        assert_eq!((used.len(), refused.len()), (1, 1), "{once}: {} {}", both[0].errors(), both[1].errors());
        assert_eq!(used[0].text(), "in\n");
        assert!(refused[0].errors().contains("caponier request web1"), "{}", refused[0].errors());
        wait_for("the end of what was used", PATIENCE, || {
            let one = json(&by(engineer, &["request", "show", &id, "--json"]));
            (one["state"] == "used" && one["grant"]["uses"] == 1).then_some(())
        });
        assert!(stage.ssh(&["web1", "true"]).run().errors().contains("caponier request web1"));
    }
    // For one command there is no shell, and no file transfer.
    let id = ask(engineer, &["--once", "exec"]);
    by(&reviewer, &["approve", &id]).ok();
    assert_ne!(stage.ssh(&["-tt", "web1"]).run().status, Some(0));
    assert_eq!(stage.ssh(&["web1", "echo", "in"]).run().ok(), "in\n");
}

#[test]
fn only_the_commands_that_were_approved_run() {
    let (stage, reviewer) = set(None, BY_REVIEWERS);
    let id = ask(&stage.laptop, &["--command", "echo one", "--command", "echo two"]);
    by(&reviewer, &["approve", &id, "--command", "echo one"]).ok();
    assert_eq!(stage.ssh(&["web1", "echo one"]).run().ok(), "one\n");
    for other in ["echo two", "echo one; id", "echo  one"] {
        assert_ne!(stage.ssh(&["web1", other]).run().status, Some(0), "{other}");
    }
    assert_ne!(stage.ssh(&["-tt", "web1"]).run().status, Some(0), "no shell");
}

#[test]
fn locks_by_the_command_on_the_server_hold_and_are_lifted() {
    let (stage, reviewer) = set(None, BY_REVIEWERS);
    let id = ask(&stage.laptop, &[]);
    by(&reviewer, &["approve", &id]).ok();
    let terminal = stage.live_terminal();
    let lock = |on: &str, name: &str| {
        let args = ["lock", on, name, "--reason", "incident 42", "--for", "2h", "--on-server", "--json"];
        let done = stage.bastion.admin(&args);
        (json(&done)["id"].as_str().unwrap().to_owned(), done.errors())
    };
    let (target, said) = lock("target", "web1");
    assert_eq!(said, "");
    terminal.finish(PATIENCE);
    assert_ne!(stage.ssh(&["web1", "true"]).run().status, Some(0));
    stage.bastion.admin(&["unlock", &target, "--on-server"]).ok();
    assert_eq!(stage.ssh(&["web1", "true"]).run().status, Some(0));
    let (user, _) = lock("user", "corp:engineer");
    assert_ne!(stage.ssh(&["web1", "true"]).run().status, Some(0));
    let (_, said) = lock("role", "nobodys");
    assert!(said.contains("the policy has no role nobodys; it is locked all the same"), "{said}");
    let listed = stage.bastion.admin(&["locks", "--on-server"]).ok();
    assert!(
        listed.contains(&user) && listed.contains("corp:engineer") && listed.contains("incident 42"),
        "{listed}"
    );
    assert!(
        stage
            .bastion
            .admin(&["locks", "--on-server", "--csv"])
            .ok()
            .starts_with("\"id\",\"since\",\"until\"")
    );
    stage.bastion.admin(&["unlock", &target, "--on-server"]).ended(1);
    // Who is no admin neither locks nor looks.
    by(&reviewer, &["lock", "target", "web1", "--reason", "mine"]).ended(126);
    by(&reviewer, &["locks"]).ended(126);
}
