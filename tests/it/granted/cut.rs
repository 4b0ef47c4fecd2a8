//! The end of access cuts what is open: a terminal, a running copy and a forward of stock clients, whoever gives the order
//! and wherever; measured from the order to the closed connection, and printed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use caponier::access::{Case, LockOn, State};
use caponier::app::App;
use caponier::flow::answer::Wanted;
use caponier::flow::locks::{LockWish, lock_by_command, unlock_by_command};
use caponier::ids::LockId;

use super::{SOON, Yard, hour, policy, until, wish};
use crate::forward::wire::{Echo, connect, exchange};
use crate::postgres;
use crate::world::process::Running;
use crate::world::ssh::Ssh;
use crate::world::terminal::Terminal;
use crate::world::{PATIENCE, free_port, wait_for};

/// What is open under one grant.
struct Open {
    terminal: Terminal,
    copy: Running,
    forward: TcpStream,
    _ssh: Running,
    near: u16,
}

/// A terminal that answers, a copy at 1 MB/s of a file that would take minutes, a forward that has carried a byte.
fn open(yard: &Yard, echo: &Echo) -> Open {
    let near = free_port();
    let ssh = yard.ssh(&["-N", "-L", &format!("{near}:127.0.0.1:{}", echo.port), "web1"]).start();
    let terminal = yard.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.type_in("echo here-$((1+1))\n");
    let big = yard.local.dir().join("big");
    std::fs::File::create(&big).unwrap().set_len(1 << 30).unwrap();
    let there = yard.local.dir().join(format!("there-{near}"));
    let config = yard.local.ssh_config(&yard.erin, yard.local.port);
    let copy = Ssh::scp(&config)
        .args(["-l", "8000"])
        .args([big.display().to_string(), format!("web1:{}", there.display())]);
    let copy = copy.env("HOME", yard.local.dir()).start();
    terminal.wait_for("here-2");
    wait_for("the copy to run", PATIENCE, || {
        assert!(std::fs::exists(format!("/proc/{}", copy.id())).unwrap(), "{}", copy.errors());
        std::fs::metadata(&there).ok().filter(|file| file.len() > 100_000)
    });
    let mut forward = connect(near);
    forward.write_all(b"x").unwrap();
    forward.read_exact(&mut [0]).unwrap();
    Open { terminal, copy, forward, _ssh: ssh, near }
}

#[expect(clippy::print_stdout, reason = "a measurement to print")]
fn print(how: &str, [terminal, copy, forward, target]: [Duration; 4]) {
    println!(
        "{how}: terminal {terminal:.2?}, scp {copy:.2?}, forward {forward:.2?}, all connections at the target {target:.2?}"
    );
}

/// Everything of it ends soon after `since`, and new sessions are refused; prints how soon.
#[track_caller]
fn assert_cut(yard: &Yard, open: Open, since: Instant, how: &str, says: &str) {
    let Open { terminal, copy, mut forward, _ssh, near } = open;
    std::thread::scope(|scope| {
        let terminal = scope.spawn(move || (terminal.finish(PATIENCE), since.elapsed()));
        let copy = scope.spawn(move || (copy.finish(PATIENCE), since.elapsed()));
        let forward = scope.spawn(move || {
            let mut rest = Vec::new();
            drop(forward.read_to_end(&mut rest));
            since.elapsed()
        });
        let (((status, shown), terminal), (copied, copy)) = (terminal.join().unwrap(), copy.join().unwrap());
        let forward = forward.join().unwrap();
        // One is the connection of somebody else.
        let ((), target) =
            until("the target to see it", since, || (yard.connections_of_web1() == 1).then_some(()));
        print(how, [terminal, copy, forward, target]);
        assert!(terminal < SOON && copy < SOON && forward < SOON && target < SOON, "{how}");
        assert_eq!(status, Some(255), "{how}: {shown}");
        assert!(shown.contains(says), "{how}: {says:?} is not in {shown}");
        assert_ne!(copied.status, Some(0), "{how}");
        assert!(copied.errors().contains(says), "{how}: {}", copied.errors());
    });
    // The certificate is the same as before, and helps nobody.
    let said = yard.ssh(&["web1", "true"]).run();
    assert_ne!(said.status, Some(0), "{how}: a new session opens");
    assert!(exchange(near, b"z").is_empty(), "{how}: a new forward opens");
}

/// Somebody else's session, which must go on.
fn bystander(yard: &Yard) -> Running {
    let running = yard.local.ssh(&yard.other).args(["web1", "echo up; exec sleep 600"]).start();
    running.wait_for_text("up", PATIENCE);
    running
}

fn lock(yard: &Yard, app: &App, on: LockOn) -> LockId {
    let wish = LockWish { on, reason: "lost laptop".into(), length: None };
    yard.run(lock_by_command(&app.store, &app.random, wish, app.clock.now())).unwrap().id
}

fn unlock(yard: &Yard, app: &App, id: &LockId) {
    yard.run(unlock_by_command(&app.store, id, app.clock.now())).unwrap();
}

fn release(yard: &Yard, app: &App, case: &Case) {
    yard.act(app, &yard.erin, &case.id, Wanted::Release);
}

/// Release, revocation, expiry and locks, ordered at `app`.
fn orders(yard: &Yard, app: &App, place: &str) {
    let echo = Echo::on_tcp();
    let mut other = bystander(yard);
    let start = || (yard.granted(&hour()), open(yard, &echo));

    let (case, live) = start();
    let order = Instant::now();
    release(yard, app, &case);
    assert_cut(yard, live, order, &format!("release, {place}"), "was given back");

    let (case, live) = start();
    let order = Instant::now();
    yard.act(app, &yard.lead, &case.id, Wanted::Revoke { reason: "not today".into() });
    assert_cut(yard, live, order, &format!("revoke, {place}"), "was taken away by corp:lead: not today");

    let case = yard.granted(&wish(Duration::from_secs(15)));
    let State::Granted { until, .. } = case.state else { panic!("{case:?}") };
    let live = open(yard, &echo);
    wait_for("the end of the grant", PATIENCE, || (yard.local.app.clock.now() >= until).then_some(()));
    assert_cut(yard, live, Instant::now(), &format!("expiry, {place}"), "is over since");

    for on in [LockOn::User("corp:erin".into()), LockOn::Role("ops".parse().unwrap())] {
        let (case, live) = start();
        let order = Instant::now();
        let what = format!("lock on a {}, {place}", on.kind());
        let id = lock(yard, app, on);
        assert_cut(yard, live, order, &what, "is locked; ask an administrator");
        unlock(yard, app, &id);
        yard.ssh(&["web1", "true"]).run().ok();
        release(yard, app, &case);
    }
    assert!(!other.has_ended(), "somebody else's session was cut too");
}

#[test]
fn every_end_of_access_cuts_what_is_open() {
    let yard = Yard::with("");
    orders(&yard, &yard.local.app, "SQLite");

    // A lock on the target is for everybody.
    let case = yard.granted(&hour());
    let mine = yard.ssh(&["web1", "echo up; exec sleep 600"]).start();
    mine.wait_for_text("up", PATIENCE);
    let mut other = bystander(&yard);
    let order = Instant::now();
    let id = lock(&yard, &yard.local.app, LockOn::Target("web1".parse().unwrap()));
    let ((), took) = until("the other session's end", order, || other.has_ended().then_some(()));
    let said = mine.finish(PATIENCE);
    assert!(took < SOON && order.elapsed() < SOON, "{took:?}");
    assert!(said.errors().contains("web1 is locked"), "{}", said.errors());
    unlock(&yard, &yard.local.app, &id);
    release(&yard, &yard.local.app, &case);

    // The role goes.
    let echo = Echo::on_tcp();
    yard.granted(&hour());
    let (mut other, live) = (bystander(&yard), open(&yard, &echo));
    let without = policy("").replace("name = \"ops\"", "name = \"opera\"");
    yard.local.write_policy(&without);
    assert_cut(
        &yard,
        live,
        Instant::now(),
        "role removal (the file is read within 0.6 s)",
        "open to those who ask",
    );
    assert!(!other.has_ended());
}

#[test]
fn an_order_at_one_bastion_cuts_what_is_open_at_another() {
    let postgres = postgres::start();
    let yard = Yard::on("", Some(postgres.fresh_database()), None);
    let beside = yard.local.beside();
    orders(&yard, &beside.app, "at another bastion, PostgreSQL");
}
