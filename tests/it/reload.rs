//! The policy changes while sessions are open: what it takes away is closed within two seconds, what it leaves is left
//! alone, and a wrong file changes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use caponier::policy;

use crate::world::keys::Key;
use crate::world::local::Local;
use crate::world::process::Running;
use crate::world::stage::{Plan, Stage, policy as usual};
use crate::world::{PATIENCE, me, scratch, wait_for};

/// How long a session may go on that the policy does not allow any more.
const SOON: Duration = Duration::from_secs(2);

fn opened(stage: &Stage) -> usize {
    stage.audit().iter().filter(|(kind, _)| kind == "policy_loaded").count()
}

#[test]
fn a_role_taken_away_closes_the_session_and_a_change_beside_it_does_not() {
    let stage = Stage::set();
    let terminal = stage.live_terminal();
    let exec = stage.ssh(&["web1", "echo started; exec sleep 60"]).start();
    exec.wait_for_text("started", PATIENCE);

    // Another role, a comment, a label: nobody notices.
    let with_more = format!(
        "# A comment.\n{}\n[[role]]\nname = \"more\"\nmembers = {{ groups = [\"corp:other\"] }}\ntargets = {{ names = [\"web1\"] }}\n\
         logins = [\"root\"]\nchannels = [\"shell\"]\nstanding = true\n",
        usual(stage.web1.port, "")
    );
    stage.bastion.write_policy(&with_more);
    wait_for("the new policy", PATIENCE, || (opened(&stage) == 1).then_some(()));
    terminal.type_in("echo still-$((1+1))\n");
    terminal.wait_for("still-2");

    // A file that is wrong: nothing changes, also for new sessions.
    stage.bastion.write_policy(&with_more.replace("[\"shell\"]", "[\"shel\"]"));
    let refused = stage.wait_for_audit("policy_refused", "unknown channel kind");
    assert!(refused.contains("did you mean \\\"shell\\\"?") && refused.contains("policy.toml:"), "{refused}");
    stage.ssh(&["web1", "true"]).run().ok();
    terminal.type_in("echo still-$((2+2))\n");
    terminal.wait_for("still-4");

    // The role loses its shell: the terminal ends, the command goes on.
    let exec_only = usual(stage.web1.port, "").replace("[\"shell\", ", "[");
    assert_ne!(exec_only, usual(stage.web1.port, ""));
    let before = Instant::now();
    stage.bastion.write_policy(&exec_only);
    let (status, shown) = terminal.finish(PATIENCE);
    let took = before.elapsed();
    assert!(took < SOON, "{took:?}");
    assert_eq!(status, Some(255));
    assert!(shown.contains("session closed: web1 as") && shown.contains("[channel-kind]"), "{shown}");
    stage.wait_for_audit("session_closed", "\"policy\"");
    stage.wait_for_audit("access_refused", "not for shell");
    assert!(still_runs(&exec), "the command was closed too: {}", exec.errors());

    // No role at all.
    let before = Instant::now();
    stage.bastion.write_policy("");
    let ended = exec.finish(PATIENCE);
    let took = before.elapsed();
    ended.ended(255);
    assert!(took < SOON, "{took:?}");
    assert!(ended.errors().contains("[no-access]"), "{}", ended.errors());
    assert_eq!(opened(&stage), 3);
    println!("a session ends {took:.2?} after the policy file was written");
}

fn still_runs(running: &Running) -> bool {
    std::fs::exists(format!("/proc/{}/stat", running.id())).unwrap()
        && !std::fs::read_to_string(format!("/proc/{}/stat", running.id())).unwrap().contains(") Z ")
}

#[test]
fn sighup_reads_the_policy_again() {
    let stage = Stage::set_to(Plan { nobody: true, ..Plan::default() });
    let hangup = || {
        let id = rustix::process::Pid::from_raw(stage.bastion.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    };
    hangup();
    wait_for("the log to say so", PATIENCE, || {
        stage.bastion.log().contains("the policy is unchanged").then_some(())
    });
    assert_eq!(opened(&stage), 0);
    stage.bastion.write_policy(&usual(stage.web1.port, "idle_max = \"10s\""));
    hangup();
    stage.wait_for_audit("policy_loaded", "\"roles\":1");
}

/// Hours end, a target moves, more must be recorded: judged in this process, where the clock is ours to read.
#[test]
fn what_else_can_end_an_open_session() {
    let local = Local::start();
    let dir = scratch();
    let key = Key::make(dir.path(), "id");
    let sign_in = local.sign_in(&key);
    local.certify(&key, &sign_in);
    type Change = fn(&mut policy::Policy);
    let rows: &[(&str, &str, Change)] = &[
        ("[hours]", "is closed at", |policy| {
            // Open on no day at all.
            let text = policy_text(
                "time_zone = \"UTC\"\nhours = [{ days = [\"mon\"], from = \"00:00\", to = \"00:01\" }]",
            );
            policy.roles[0].hours = read(&text).roles[0].hours.clone();
        }),
        ("[no-access]", "has changed", |policy| {
            policy.targets.values_mut().for_each(|target| target.port = 1);
        }),
        ("[no-access]", "recording must be", |policy| {
            policy.roles[0].terms.recording = policy::Recording::Input;
        }),
        ("[source-network]", "among its sources", |policy| {
            policy.roles[0].sources =
                read(&policy_text("sources = [\"192.0.2.0/24\"]")).roles[0].sources.clone();
        }),
        ("[no-access]", "opens web1 as", |policy| policy.roles[0].logins = BTreeSet::new()),
    ];
    let first = local.app.policy();
    for (shown, reason, change) in rows {
        let running = local.ssh(&key).args(["web1", "echo started; exec sleep 60"]).start();
        running.wait_for_text("started", PATIENCE);
        let mut other = (*first).clone();
        change(&mut other);
        other.digest = format!("after {reason}");
        local.app.policy.send_replace(other.into());
        let ended = running.finish(PATIENCE);
        ended.ended(255);
        assert!(ended.errors().contains(shown), "{shown}: {}", ended.errors());
        local.wait_for_audit("access_refused", reason);
        local.app.policy.send_replace(first.clone());
    }
}

fn policy_text(more: &str) -> String {
    format!(
        "[[target]]\nname = \"web1\"\naddress = \"127.0.0.1:1\"\nhost_key = {{ ca = true }}\n[[role]]\nname = \"r\"\n\
         members = {{ groups = [\"corp:x\"] }}\ntargets = {{ names = [\"web1\"] }}\nlogins = [\"{}\"]\nchannels = [\"exec\"]\nstanding = true\n{more}\n",
        me()
    )
}

fn read(text: &str) -> policy::Policy {
    let dir = scratch();
    let path = dir.path().join("policy.toml");
    std::fs::write(&path, text).unwrap();
    policy::load(&path).unwrap()
}
