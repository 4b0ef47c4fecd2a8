//! How forwards end, and what they do to others while they last.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::wire::{Echo, connect, exchange, noise};
use super::{ALL, entries, forwarding, stage_of};
use crate::world::process::run;
use crate::world::ssh::Ssh;
use crate::world::stage::{Multiplexed, Plan, Stage, policy};
use crate::world::{PATIENCE, free_port, wait_for};

/// How long a forward may go on that is not allowed any more.
const SOON: Duration = Duration::from_secs(2);

/// A connection through a forward that has carried a byte each way.
fn live(port: u16) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

/// How long until the other side ends it.
fn until_ended(mut stream: TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    began.elapsed()
}

#[test]
fn a_policy_change_ends_what_it_takes_away_and_nothing_else() {
    let stage = stage_of(ALL);
    let (kept, lost) = (Echo::on_tcp(), Echo::on_tcp());
    let (near_kept, near_lost, far) = (free_port(), free_port(), free_port());
    let to = |near: u16, echo: &Echo| format!("{near}:127.0.0.1:{}", echo.port);
    let ssh = forwarding(
        &stage,
        &["-L", &to(near_kept, &kept), "-L", &to(near_lost, &lost), "-R", &to(far, &lost)],
    );
    let (mut stays, goes, comes) = (live(near_kept), live(near_lost), live(far));
    let role = format!("forwards = {{ local = [\"127.0.0.1:{}\"] }}", kept.port);
    stage.bastion.write_policy(&policy(stage.web1.port, &role));
    let took = until_ended(goes).max(until_ended(comes));
    assert!(took < SOON, "{took:?}");
    wait_for("the target to listen no more", SOON, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, far)).is_err().then_some(())
    });
    stays.write_all(b"y").unwrap();
    let mut answer = [0];
    stays.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"y");
    assert!(exchange(near_lost, b"z").is_empty(), "a new one is refused");
    assert!(exchange(near_kept, b"z") == b"z", "another new one is not");
    stage.wait_for_audit("forward_closed", "\"policy\"");
    println!("forwards end {took:.2?} after the policy file was written");
    drop(ssh);
}

#[test]
fn the_end_of_the_sign_in_ends_forwards() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let (near, far) = (free_port(), free_port());
    let to = |port: u16| format!("{port}:127.0.0.1:{}", echo.port);
    let ssh = forwarding(&stage, &["-L", &to(near), "-R", &to(far)]);
    let (one, two) = (live(near), live(far));
    run(&mut stage.laptop.caponier(&["logout"]), b"", PATIENCE).ok();
    let took = until_ended(one).max(until_ended(two));
    assert!(took < SOON, "{took:?}");
    stage.wait_for_audit("forward_closed", "sign-in-ended");
    stage.wait_for_audit("session_closed", "sign-in-ended");
    wait_for("the target to listen no more", SOON, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, far)).is_err().then_some(())
    });
    // Nothing is left that this client waits for.
    let said = ssh.finish(PATIENCE);
    said.ended(255);
    assert!(said.errors().contains("the listener at web1 has ended: sign-in-ended"), "{}", said.errors());
}

#[test]
fn a_client_whose_only_listener_is_lost_is_told_so() {
    let stage = Stage::set_to(Plan { role: ALL, sshd: &["ClientAliveInterval 0"], ..Plan::default() });
    let echo = Echo::on_tcp();
    let far = free_port();
    let spec = format!("{far}:127.0.0.1:{}", echo.port);
    let alone = forwarding(&stage, &["-R", &spec]);
    assert!(exchange(far, b"x") == b"x");
    let mux = Multiplexed::over(&stage);
    let other = free_port();
    let spec = format!("{other}:127.0.0.1:{}", echo.port);
    stage.ssh(&["-S", &mux.socket, "-O", "forward", "-R", &spec, "web1"]).run().ok();
    let busy = mux.ssh("echo here; cat; echo still here").start();
    busy.wait_for_text("here", PATIENCE);
    stage.bastion.write_policy(&policy(stage.web1.port, ""));
    let said = alone.finish(PATIENCE);
    said.ended(255);
    assert!(said.errors().contains("the listener at web1 has ended: policy"), "{}", said.errors());
    // Who has a session on the connection keeps it.
    wait_for("the other listener to be gone", PATIENCE, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, other)).is_err().then_some(())
    });
    mux.ssh("true").run().ok();
    drop(busy);
}

#[test]
fn silence_and_length_end_a_forward() {
    for (limit, word) in [("idle_max = \"2s\"", "\"idle\""), ("session_max = \"2s\"", "\"session-max\"")] {
        let stage = stage_of(&format!("{ALL}\n{limit}"));
        let echo = Echo::on_tcp();
        let near = free_port();
        let ssh = forwarding(&stage, &["-L", &format!("{near}:127.0.0.1:{}", echo.port)]);
        let took = until_ended(live(near));
        assert!(took < 2 * SOON, "{took:?}");
        stage.wait_for_audit("forward_closed", word);
        assert!(exchange(near, b"again") == b"again", "a new one opens");
        drop(ssh);
    }
}

#[test]
fn shorter_limits_hold_for_what_is_open() {
    for (limit, word) in [("idle_max = \"2s\"", "\"idle\""), ("session_max = \"2s\"", "\"session-max\"")] {
        let stage = stage_of(ALL);
        let echo = Echo::on_tcp();
        let (near, far) = (free_port(), free_port());
        let to = |port: u16| format!("{port}:127.0.0.1:{}", echo.port);
        // To the target, from it, and a listener that nobody uses.
        let ssh = forwarding(&stage, &["-L", &to(near), "-R", &to(far)]);
        let (goes, comes) = (live(near), live(far));
        stage.bastion.write_policy(&policy(stage.web1.port, &format!("{ALL}\n{limit}")));
        let took = until_ended(goes).max(until_ended(comes));
        assert!(took < 3 * SOON, "{limit}: {took:?}");
        let ended = |row: &str| {
            entries(&stage, "forward_closed").iter().filter(|entry| entry["reason"] == row).count()
        };
        wait_for("the end of both", PATIENCE, || (ended(word.trim_matches('"')) >= 2).then_some(()));
        // And the connection to the target, with the listener that nobody uses any more.
        stage.wait_for_audit("session_closed", word);
        // sshd closes its listener when it has seen that.
        wait_for(&format!("the listener to be gone by {limit}"), PATIENCE, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, far)).is_err().then_some(())
        });
        drop(ssh);
    }
}

#[test]
fn a_target_that_refuses_and_one_that_is_down_are_told_apart() {
    let stage = Stage::set_to(Plan { role: ALL, sshd: &["AllowTcpForwarding no"], ..Plan::default() });
    let said = stage.ssh(&["-W", "127.0.0.1:2000", "web1"]).run();
    said.ended(255);
    assert!(said.errors().contains("AllowTcpForwarding"), "{}", said.errors());
    stage.wait_for_audit("forward_closed", "\"refused\"");
    let down = format!("{}@down1", crate::world::me());
    let said = stage.ssh(&["-W", "127.0.0.1:2000", &down]).run();
    said.ended(255);
    assert!(said.errors().contains("down1 cannot be reached: connection refused"), "{}", said.errors());
    stage.wait_for_audit("session_closed", "target-unreachable");
}

/// Takes connections and reads nothing.
fn deaf() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Sends without end to whoever connects.
fn talkative() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || while stream.write_all(&[7; 1 << 16]).is_ok() {});
        }
    });
    port
}

#[test]
fn a_stalled_forward_holds_up_neither_sessions_nor_new_forwards() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let (listener, deaf) = deaf();
    let talkative = talkative();
    let (to_deaf, to_talkative, to_echo) = (free_port(), free_port(), free_port());
    let mux = Multiplexed::over(&stage);
    for (near, far) in [(to_deaf, deaf), (to_talkative, talkative), (to_echo, echo.port)] {
        let spec = format!("{near}:127.0.0.1:{far}");
        stage.ssh(&["-S", &mux.socket, "-O", "forward", "-L", &spec, "web1"]).run().ok();
    }
    // One whose target reads nothing, one whose client reads nothing; both full to the brim.
    let stuffed = connect(to_deaf);
    let mut filling = stuffed.try_clone().unwrap();
    std::thread::spawn(move || while filling.write_all(&[7; 1 << 16]).is_ok() {});
    let unread = connect(to_talkative);
    let mut held = (0, Instant::now());
    wait_for("both to be stuck", 4 * PATIENCE, || {
        let now = resident_kib(stage.bastion.id());
        if now.abs_diff(held.0) > 256 {
            held = (now, Instant::now());
        }
        (held.1.elapsed() > Duration::from_millis(700)).then_some(())
    });
    let bytes = noise(200_000);
    let (mut session, mut forward) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..10 {
        let began = Instant::now();
        mux.ssh("true").run().ok();
        session = session.max(began.elapsed());
        let began = Instant::now();
        assert!(exchange(to_echo, &bytes) == bytes);
        forward = forward.max(began.elapsed());
    }
    println!("beside two stalled forwards: a session at most {session:.2?}, a forward at most {forward:.2?}");
    // Held up would be for ever. On an idle machine it is half a second, and a tenth.
    assert!(session < PATIENCE / 2 && forward < PATIENCE / 2, "{session:?} {forward:?}");
    // ssh closes a channel when it has delivered what it took: so whoever does not read must go.
    drop((stuffed.shutdown(std::net::Shutdown::Both), unread, listener));
    wait_for("both written down as closed", PATIENCE, || {
        let open = entries(&stage, "forward_opened").len();
        (entries(&stage, "forward_closed").len() == open).then_some(())
    });
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn many_bytes_both_ways_at_once_with_little_memory() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let (through, direct) = (free_port(), free_port());
    let to = |near: u16| format!("{near}:127.0.0.1:{}", echo.port);
    let ssh = forwarding(&stage, &["-L", &to(through)]);
    let plain = Ssh::new(&stage.direct()).args(["-N", "-L", &to(direct), "web1"]).start();
    let bytes = noise(64 << 20);
    assert!(exchange(through, b"x") == b"x" && exchange(direct, b"x") == b"x");
    let rest = resident_kib(stage.bastion.id());
    let measured = |port| {
        let began = Instant::now();
        assert!(exchange(port, &bytes) == bytes);
        began.elapsed()
    };
    let (ours, theirs) = (measured(through), measured(direct));
    println!("64 MiB there and back: {ours:.2?} through the bastion, {theirs:.2?} with ssh -L alone");
    let over = resident_kib(stage.bastion.id()).saturating_sub(rest);
    assert!(over < 64 * 1024, "{over} KiB more than at rest");
    drop((ssh, plain));
}
