//! What a grant must not open, and what must not survive its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caponier::access::{Close, Once, State};
use caponier::flow::authorize::authorize;
use caponier::policy::{Act, Ask};
use caponier::time::Clock;

use super::{SOON, Yard, hour, policy, wish};
use crate::forward::wire::{Echo, connect, exchange};
use crate::world::ssh::Ssh;
use crate::world::{PATIENCE, free_port, me, wait_for};
use caponier::policy::request::Wish;

#[test]
fn a_grant_opens_its_target_login_and_commands_and_nothing_beside() {
    let yard = Yard::with("");
    let only = Wish { commands: ["uptime".to_owned()].into(), ..hour() };
    yard.granted(&only);
    yard.ssh(&["web1", "uptime"]).run().ok();
    let refused = |args: &[&str]| {
        let said = yard.ssh(args).run();
        assert_ne!(said.status, Some(0), "{args:?}");
        assert!(
            said.errors().contains("by-request") || said.errors().contains("principal"),
            "{args:?}: {}",
            said.errors()
        );
    };
    refused(&["web1", "id"]);
    refused(&["web1", "uptime; id"]);
    refused(&["-tt", "web1"]);
    refused(&["web2", "uptime"]);
    refused(&["nobody@web1", "uptime"]);
    refused(&["-W", "127.0.0.1:2000", "web1"]);
    let config = yard.local.ssh_config(&yard.erin, yard.local.port);
    let sftp = Ssh::sftp(&config).args(["web1"]).input("ls\n").env("HOME", yard.local.dir()).run();
    assert!(sftp.status != Some(0) && sftp.errors().contains("by-request"), "{}", sftp.errors());
    let scp =
        Ssh::scp(&config).args(["-O", "web1:/etc/hostname", "/dev/null"]).env("HOME", yard.local.dir()).run();
    assert!(scp.status != Some(0) && scp.errors().contains("by-request"), "{}", scp.errors());
    // What is Erin's is not somebody else's.
    assert_eq!(yard.local.ssh(&yard.lead).args(["web1", "uptime"]).run().status, Some(255));
    assert_eq!(yard.logins_at_web1(), 1);
}

#[test]
fn one_use_is_one_session_however_many_try_at_once() {
    let yard = Yard::with("");
    for round in 0..3 {
        let once = Wish { once: Some(Once::Session), ..hour() };
        let case = yard.granted(&once);
        let before = yard.logins_at_web1();
        let tries: Vec<_> = (0..4).map(|_| yard.ssh(&["web1", "echo in; sleep 1"]).start()).collect();
        let ended: Vec<_> = tries.into_iter().map(|one| one.finish(PATIENCE)).collect();
        let inside = ended.iter().filter(|one| one.status == Some(0)).count();
        assert_eq!(
            inside,
            1,
            "round {round}: {:?}",
            ended.iter().map(|one| one.errors()).collect::<Vec<_>>()
        );
        assert_eq!(yard.logins_at_web1() - before, 1, "round {round}");
        wait_for("the grant to be used up", PATIENCE, || {
            matches!(yard.case(&case.id).state, State::Closed { close: Close::Used, .. }).then_some(())
        });
        yard.ssh(&["web1", "true"]).run().ended(255);
    }
}

/// One grant that lasts and ends soon, and one for a single session that would go on: the second carries nobody who began
/// under the first.
#[test]
fn what_is_for_one_session_carries_no_others_when_something_else_ends() {
    let yard = Yard::with("");
    let once = yard.granted(&Wish { once: Some(Once::Session), ..hour() });
    let began = Instant::now();
    let lasting = wish(Duration::from_secs(8));
    yard.granted(&lasting);
    let running: Vec<_> = (0..3).map(|_| yard.ssh(&["web1", "echo up; exec sleep 600"]).start()).collect();
    running.iter().for_each(|one| one.wait_for_text("up", PATIENCE));
    for one in running {
        let said = one.finish(PATIENCE);
        said.ended(255);
        assert!(said.errors().contains("is over since"), "{}", said.errors());
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(7) && took < Duration::from_secs(8) + 2 * SOON, "{took:?}");
    // It is as it was, for the one session that takes it.
    assert!(matches!(yard.case(&once.id).state, State::Granted { .. }));
    yard.ssh(&["web1", "true"]).run().ok();
    wait_for("the grant to be used up", PATIENCE, || {
        matches!(yard.case(&once.id).state, State::Closed { close: Close::Used, .. }).then_some(())
    });
    yard.ssh(&["web1", "true"]).run().ended(255);
}

/// Forwards are no way around it: the first takes the grant, later ones of that connection are part of its session.
#[test]
fn a_forward_takes_what_is_for_one_use() {
    let yard = Yard::with("");
    let echo = Echo::on_tcp();
    // Commands are open by a grant that lasts; a forward is not.
    yard.granted(&Wish { commands: ["uptime".to_owned()].into(), ..hour() });
    let once = yard.granted(&Wish { once: Some(Once::Session), ..hour() });
    let near = free_port();
    let forward = format!("{near}:127.0.0.1:{}", echo.port);
    let first = yard.ssh(&["-N", "-L", &forward, "web1"]).start();
    let open = connect(near);
    for text in ["one", "two"] {
        assert_eq!(exchange(near, text.as_bytes()), text.as_bytes());
    }
    let taken = || yard.run(yard.local.app.store.grant_of_case(&once.id)).unwrap().unwrap().grant.used_by;
    assert!(taken().is_some(), "nobody has taken it");
    yard.ssh(&["web1", "uptime"]).run().ok();
    yard.ssh(&["web1", "id"]).run().ended(255);
    // Another connection has nothing of it.
    let far = format!("127.0.0.1:{}", echo.port);
    let said = yard.ssh(&["-W", &far, "web1"]).input("x").run();
    assert!(said.status != Some(0) && said.errors().contains("by-request"), "{}", said.errors());
    drop((open, first));
    wait_for("the grant to be used up", PATIENCE, || {
        matches!(yard.case(&once.id).state, State::Closed { close: Close::Used, .. }).then_some(())
    });
}

#[test]
fn other_rules_for_the_role_end_what_began_under_the_old_ones() {
    let yard = Yard::with("");
    let few = "[[commands]]\nname = \"few\"\nallow = [{ argv = [\"uptime\"] }]\n";
    let usual = format!("{few}{}", policy(""));
    yard.local.write_policy(&usual);
    let rows: &[(&str, &str, &str)] = &[
        ("channels = [\"shell\", \"exec\", \"sftp\"]", "channels = [\"shell\", \"sftp\"]", "not for exec"),
        ("groups = [\"corp:engineers\"]", "groups = [\"corp:nobody\"]", "no access to"),
        ("targets = { names = [\"web1\", \"web2\"] }", "targets = { names = [\"web2\"] }", "no access to"),
        ("name = \"ops\"", "name = \"ops2\"", "open to those who ask"),
        (
            "channels = [\"shell\", \"exec\", \"sftp\"]",
            "channels = [\"exec\"]\ncommands = \"few\"",
            "[command]",
        ),
        ("forwards = {", "recording = \"input\"\nforwards = {", "must be recorded now"),
    ];
    for (old, new, says) in rows {
        let changed = usual.replacen(old, new, 1);
        assert_ne!(changed, usual, "{old}");
        let case = yard.granted(&hour());
        let running = yard.ssh(&["web1", "echo up; exec sleep 600"]).start();
        running.wait_for_text("up", PATIENCE);
        let before = Instant::now();
        yard.local.write_policy(&changed);
        let said = running.finish(PATIENCE);
        assert!(before.elapsed() < SOON, "{new}: {:?}", before.elapsed());
        assert!(said.errors().contains(says), "{new}: {}", said.errors());
        yard.local.write_policy(&usual);
        wait_for("the usual policy", PATIENCE, || {
            yard.ssh(&["web1", "true"]).run().status.filter(|status| *status == 0)
        });
        yard.act(&yard.local.app, &yard.erin, &case.id, caponier::flow::answer::Wanted::Release);
    }
}

#[test]
fn a_clock_that_is_set_back_revives_nothing_and_lengthens_nothing() {
    let hand = Arc::new(AtomicU64::new(Clock::System.now().as_millis()));
    let yard = Yard::on("", None, Some(Clock::Fixed(Arc::clone(&hand))));
    let app = &yard.local.app;
    let erin = yard.caller(app, &yard.erin);
    let opens = || {
        let act = Act::Shell { pty: true };
        let ask = Ask { target: "web1".parse().unwrap(), login: me().parse().unwrap(), act };
        yard.run(authorize(app, &erin, ask)).unwrap().is_ok()
    };
    let case = yard.granted(&wish(Duration::from_secs(60)));
    assert!(opens());
    hand.fetch_add(61_000, Ordering::SeqCst);
    assert!(!opens());
    wait_for("the end to be written down", PATIENCE, || {
        matches!(yard.case(&case.id).state, State::Closed { close: Close::Lapsed, .. }).then_some(())
    });
    hand.fetch_sub(3_600_000, Ordering::SeqCst);
    assert!(!opens(), "revived");
    // Where the rest of the world is.
    hand.fetch_add(3_600_000 - 61_000, Ordering::SeqCst);

    // A session under a grant of eight seconds, while the clock stands still: it ends all the same.
    yard.granted(&wish(Duration::from_secs(8)));
    let began = Instant::now();
    let running = yard.ssh(&["web1", "echo up; exec sleep 600"]).start();
    running.wait_for_text("up", PATIENCE);
    hand.fetch_sub(2_000, Ordering::SeqCst);
    running.finish(PATIENCE).ended(255);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn waiting_connections_have_a_share_and_a_flood_files_nothing_more() {
    let yard = Yard::with("connect = true\nreason = { min = 4 }");
    // All of one person for one thing: one request, and so many places.
    let socket = yard.local.dir().join("mux").display().to_string();
    let first = yard.ssh(&["-M", "-S", &socket, "web1", "true"]).start();
    first.wait_for_text("Ctrl-C ends the waiting", PATIENCE);
    let more: Vec<_> = (0..19).map(|_| yard.ssh(&["-S", &socket, "web1", "true"]).start()).collect();
    for one in &more {
        one.wait_for_text("you have asked for this already", PATIENCE);
    }
    let over = yard.ssh(&["-S", &socket, "web1", "true"]).run();
    over.ended(75);
    assert!(over.errors().contains("too many connections wait for access already"), "{}", over.errors());
    let case = yard.waiting();
    yard.approve(&yard.local.app, &case.id);
    for one in more {
        one.finish(PATIENCE).ended(0);
    }
    first.finish(PATIENCE).ended(0);
}
