//! A role with `connect = true`: the connection asks, waits, and goes on or ends; nothing reaches the target before.

use std::time::{Duration, Instant};

use caponier::access::{Close, State};
use caponier::flow::answer::Wanted;
use caponier::store::CaseFilter;

use super::{Yard, hour, wish};
use crate::forward::wire::noise;
use crate::world::ssh::Ssh;
use crate::world::{PATIENCE, me, wait_for};

const CONNECT: &str = "connect = true\nreason = { min = 4 }";

/// That a case was closed like this.
#[track_caller]
fn assert_closed(yard: &Yard, id: &caponier::ids::CaseId, how: Close) {
    wait_for(&format!("{id} to be {how}"), PATIENCE, || match yard.case(id).state {
        State::Waiting { .. } => None,
        State::Closed { close, .. } if close == how => Some(()),
        other @ (State::Granted { .. } | State::Closed { .. }) => panic!("{other:?}"),
    });
}

#[test]
fn the_refusal_is_the_line_that_asks() {
    let yard = Yard::with("");
    let me = me();
    let line = format!(
        "web1 as {me} is open to those who ask: caponier request web1 --as {me} --for 30m --reason '...'"
    );
    let direct = format!("{me}%web1");
    for args in [vec!["web1", "true"], vec!["-tt", "web1"], vec!["-l", &direct, "bastion", "true"]] {
        let said = yard.ssh(&args).run();
        said.ended(255);
        let shown = format!("{}{}", said.errors(), said.text());
        assert!(shown.contains(&line), "{args:?}: {shown}");
        let lines = shown.lines().filter(|line| line.contains("caponier"));
        assert_eq!(lines.count(), 1, "{args:?}: {shown}");
    }
    let config = yard.local.ssh_config(&yard.erin, yard.local.port);
    let copy =
        Ssh::scp(&config).args(["web1:/etc/hostname", "/dev/null"]).env("HOME", yard.local.dir()).run();
    assert!(copy.errors().contains(&line), "{}", copy.errors());
    // A forward is refused with the same line.
    let said = yard.ssh(&["-W", "127.0.0.1:2000", "web1"]).run();
    said.ended(255);
    assert!(said.errors().contains(&line), "{}", said.errors());
    assert_eq!(yard.logins_at_web1(), 0);
}

#[test]
fn a_connection_asks_waits_and_goes_on_with_everything_that_was_sent() {
    let yard = Yard::with(CONNECT);
    let bytes = noise(5_000_000);
    let started = yard.ssh(&["web1", "wc -c; echo done >&2; exit 3"]).input(bytes.clone()).start();
    started.wait_for_text("Ctrl-C ends the waiting", PATIENCE);
    let case = yard.waiting();
    assert_eq!(case.reason, "wc -c; echo done >&2; exit 3");
    let said = started.errors();
    assert!(
        said.contains(case.id.as_str()) && said.contains("1 more must approve (corp:leads), until"),
        "{said}"
    );
    assert_eq!((yard.logins_at_web1(), yard.connections_of_web1()), (0, 0), "the target heard of it");
    assert!(started.text().is_empty());
    yard.approve(&yard.local.app, &case.id);
    let done = started.finish(PATIENCE);
    done.ended(3);
    assert_eq!(done.text().trim(), bytes.len().to_string());
    assert!(done.errors().contains("granted (") && done.errors().contains("done\n"), "{}", done.errors());
    let opened = yard.local.wait_for_audit("session_opened", "wc -c");
    let State::Granted { grant, .. } = yard.case(&case.id).state else { panic!() };
    assert!(opened.contains(grant.as_str()), "{opened}");
}

#[test]
fn a_terminal_sftp_and_scp_wait_too() {
    let yard = Yard::with(CONNECT);
    let terminal = yard.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.type_in("echo typed-$((20+1))\n");
    terminal.wait_for("Ctrl-C ends the waiting");
    let case = yard.waiting();
    assert_eq!(case.reason, format!("connection to web1 as {}", me()));
    yard.approve(&yard.local.app, &case.id);
    terminal.wait_for("typed-21");
    terminal.type_in("exit 4\n");
    assert_eq!(terminal.finish(PATIENCE).0, Some(4));
    yard.act(&yard.local.app, &yard.erin, &case.id, Wanted::Release);

    let config = yard.local.ssh_config(&yard.erin, yard.local.port);
    let bytes = noise(100_000);
    let here = yard.local.dir().join("here");
    std::fs::write(&here, &bytes).unwrap();
    for (name, old) in [("new", false), ("old", true)] {
        let there = yard.local.dir().join(name);
        let scp = Ssh::scp(&config).args(if old { &["-O"][..] } else { &[] });
        let scp = scp.args([here.display().to_string(), format!("web1:{}", there.display())]);
        let scp = scp.env("HOME", yard.local.dir()).start();
        let case = yard.waiting();
        assert!(!there.exists());
        yard.approve(&yard.local.app, &case.id);
        scp.finish(PATIENCE).ended(0);
        assert!(std::fs::read(&there).unwrap() == bytes, "{name}");
        yard.act(&yard.local.app, &yard.erin, &case.id, Wanted::Release);
    }
    let sftp = Ssh::sftp(&config).args(["web1"]).input(format!("ls -1 {}\n", here.display()));
    let sftp = sftp.env("HOME", yard.local.dir()).start();
    let case = yard.waiting();
    yard.approve(&yard.local.app, &case.id);
    assert!(sftp.finish(PATIENCE).ok().contains("here"));
}

#[test]
fn each_way_of_not_getting_it_has_its_exit_status() {
    let yard = Yard::with(CONNECT);
    let app = &yard.local.app;
    let start = || {
        let started = yard.ssh(&["web1", "true"]).start();
        started.wait_for_text("Ctrl-C ends the waiting", PATIENCE);
        (started, yard.waiting())
    };
    let (denied, case) = start();
    yard.act(app, &yard.lead, &case.id, Wanted::Deny { reason: "not \u{1f600} today".into() });
    let said = denied.finish(PATIENCE);
    said.ended(126);
    assert!(said.errors().contains("was denied by corp:lead: not"), "{}", said.errors());

    let (cancelled, case) = start();
    yard.act(app, &yard.erin, &case.id, Wanted::Cancel);
    cancelled.finish(PATIENCE).ended(75);

    let (outdated, case) = start();
    yard.local.write_policy(&super::policy(CONNECT).replace("corp:leads", "corp:chiefs"));
    yard.local.wait_for_audit("policy_loaded", "");
    let caller = yard.caller(app, &yard.lead);
    let yes = Wanted::Approve { narrow: caponier::access::Narrowing::default(), note: String::new() };
    let answer =
        caponier::flow::answer::answer(app, caponier::flow::answer::By::Here(&caller), &case.id, yes);
    yard.run(answer).unwrap_err();
    let said = outdated.finish(PATIENCE);
    said.ended(75);
    assert!(said.errors().contains("the rules for this have changed"), "{}", said.errors());
    assert_eq!(yard.logins_at_web1(), 0);
}

#[test]
fn nobody_answers_in_time() {
    let yard = Yard::with(&format!(
        "{CONNECT}\npending_max = \"1m\"\n[[role.request.stage]]\nname = \"first\"\ngroups = [\"corp:leads\"]\ngive_up_after = \"1m\""
    ));
    let started = yard.ssh(&["web1", "true"]).start();
    started.wait_for_text("Ctrl-C ends the waiting", PATIENCE);
    let case = yard.waiting();
    // A minute of waiting is one line more, and then it is over.
    let said = started.finish(3 * PATIENCE);
    said.ended(75);
    assert!(said.errors().contains("nobody approved in time"), "{}", said.errors());
    assert!(said.errors().matches("still waiting for").count() <= 1, "{}", said.errors());
    assert_closed(&yard, &case.id, Close::Expired);
}

#[test]
fn who_leaves_takes_the_request_back_and_the_last_one_only() {
    let yard = Yard::with(CONNECT);
    let waits =
        |started: &crate::world::process::Running| started.wait_for_text("Ctrl-C ends the waiting", PATIENCE);
    let first = yard.ssh(&["web1", "true"]).start();
    waits(&first);
    let case = yard.waiting();
    // The second one joins.
    let second = yard.ssh(&["web1", "id -un"]).start();
    waits(&second);
    assert!(second.errors().contains("you have asked for this already"), "{}", second.errors());
    assert!(second.errors().contains(case.id.as_str()));
    assert_eq!(yard.waiting().id, case.id);
    first.signal("INT");
    let said = first.finish(PATIENCE);
    assert_ne!(said.status, Some(0));
    // What is refused takes a moment; that nothing happens is seen by the second one's going on.
    let third = yard.ssh(&["web1", "true"]).start();
    waits(&third);
    third.signal("KILL");
    drop(third);
    assert!(matches!(yard.case(&case.id).state, State::Waiting { .. }));
    second.signal("KILL");
    drop(second);
    assert_closed(&yard, &case.id, Close::Cancelled);

    // Ctrl-C in a terminal in raw mode.
    let terminal = yard.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.wait_for("Ctrl-C ends the waiting");
    let case = yard.waiting();
    terminal.type_in("ls\n\u{3}");
    let (status, shown) = terminal.finish(PATIENCE);
    assert_eq!(status, Some(130), "{shown}");
    assert_closed(&yard, &case.id, Close::Cancelled);

    // What the person asked for by themselves stays when a connection leaves.
    let asked = yard.asked(&hour());
    let joins = yard.ssh(&["web1", "true"]).start();
    waits(&joins);
    joins.signal("KILL");
    drop(joins);
    let again = yard.ssh(&["web1", "true"]).start();
    waits(&again);
    assert!(matches!(yard.case(&asked.id).state, State::Waiting { .. }));
    yard.approve(&yard.local.app, &asked.id);
    again.finish(PATIENCE).ended(0);
    assert_eq!(yard.logins_at_web1(), 1);
}

#[test]
fn what_the_rules_want_is_said_when_a_connection_cannot_say_it() {
    let yard = Yard::with("connect = true\nreason = { min = 4, pattern = \"OPS-[0-9]+ .*\" }");
    let said = yard.ssh(&["web1", "true"]).run();
    said.ended(255);
    let errors = said.errors();
    assert!(
        errors.contains("caponier request web1 --as") && errors.contains("the reason must match"),
        "{errors}"
    );
    let filter = CaseFilter::default();
    assert!(yard.run(yard.local.app.store.cases(&filter, 10)).unwrap().is_empty());
    // A command that satisfies them is asked for.
    let started = yard.ssh(&["web1", "OPS-12 rotate"]).start();
    let case = yard.waiting();
    assert_eq!(case.reason, "OPS-12 rotate");
    drop(started);
    assert_closed(&yard, &case.id, Close::Cancelled);
}

#[test]
fn a_yes_at_another_bastion_lets_it_go_on_here() {
    let postgres = crate::postgres::start();
    let yard = Yard::on(CONNECT, Some(postgres.fresh_database()), None);
    let beside = yard.local.beside();
    let started = yard.ssh(&["web1", "echo in"]).start();
    started.wait_for_text("Ctrl-C ends the waiting", PATIENCE);
    let case = yard.waiting();
    let yes = Instant::now();
    yard.approve(&beside.app, &case.id);
    started.wait_for_text("in\n", PATIENCE);
    let took = yes.elapsed();
    println!("from the yes at another bastion to the command's output: {took:.2?}");
    started.finish(PATIENCE).ended(0);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_policy_that_opens_at_once_is_no_wait() {
    let yard = Yard::with("connect = true\nreason = { min = 4 }\nautomatic = [{ always = true }]");
    let said = yard.ssh(&["web1", "echo in"]).run();
    assert_eq!(said.ok(), "in\n");
    assert!(said.errors().contains("granted (req_"), "{}", said.errors());
    let more = yard.ssh(&["web1", "echo again"]).run();
    assert_eq!((more.ok().as_str(), more.errors().as_str()), ("again\n", ""), "it has access now");
    let forward = yard.ssh(&["-W", "127.0.0.1:1", "web1"]).run();
    assert!(!forward.errors().contains("by-request"), "{}", forward.errors());
    drop(wish(Duration::from_secs(1)));
}
