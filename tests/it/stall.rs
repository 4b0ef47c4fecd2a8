//! Flow control: busy both ways with a reader that comes late, and a reader that sleeps. A relay of two bounded pumps
//! dead-locks here; one without bounds eats the memory.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::stage::{Multiplexed, Stage};
use crate::world::{PATIENCE, wait_for};

/// Resident memory of a process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `head -c N /dev/zero | ssh web1 'head -c N /dev/zero; cat | wc -c'`: the target reads only after it has written
/// everything, and we read only after we have written everything we can.
fn both_ways(stage: &Stage, mib: usize) -> Duration {
    let bytes = mib << 20;
    let began = Instant::now();
    let script = format!("head -c {bytes} /dev/zero; cat | wc -c");
    let said = stage
        .ssh(&["-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3", "web1", &script])
        .input(vec![0; bytes])
        .patience(4 * PATIENCE)
        .run();
    said.ended(0);
    assert_eq!(said.stdout.len(), bytes + format!("{bytes}\n").len());
    assert!(said.stdout.ends_with(format!("{bytes}\n").as_bytes()));
    began.elapsed()
}

#[test]
fn busy_both_ways_never_stalls() {
    let stage = Stage::set();
    stage.ssh(&["web1", "true"]).run().ok();
    let rest = resident_kib(stage.bastion.id());
    for mib in [1, 12, 64, 256] {
        let took = both_ways(&stage, mib);
        let now = resident_kib(stage.bastion.id());
        println!(
            "{mib} MiB each way: {took:.2?}, resident {} MiB over rest",
            now.saturating_sub(rest) / 1024
        );
    }
    let now = resident_kib(stage.bastion.id());
    assert!(now < rest + 64 * 1024, "{} MiB more than at rest", (now - rest) / 1024);
}

/// A download to a reader that takes nothing for `sleep`, then everything; the highest memory seen over rest, in KiB.
fn download_to_a_sleeper(stage: &Stage, bytes: u64, sleep: Duration) -> u64 {
    stage.ssh(&["web1", "true"]).run().ok();
    let pid = stage.bastion.id();
    let rest = resident_kib(pid);
    let mut ssh = Command::new("ssh")
        .arg("-F")
        .arg(stage.through())
        .args(["-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"])
        .args(["web1", &format!("head -c {bytes} /dev/zero")])
        .env("HOME", stage.laptop.home())
        .env("CAPONIER_HOME", stage.laptop.home().join(".caponier"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut high = rest;
    let until = Instant::now() + sleep;
    wait_for("the reader to wake up", sleep + PATIENCE, || {
        high = high.max(resident_kib(pid));
        (Instant::now() >= until).then_some(())
    });
    let mut stdout = ssh.stdout.take().unwrap();
    let mut chunk = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let count = stdout.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        total += count as u64;
        high = high.max(resident_kib(pid));
    }
    let status = wait_for("the end of ssh", PATIENCE, || ssh.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_eq!(total, bytes);
    high - rest
}

#[test]
fn a_sleeping_reader_costs_little_memory() {
    // One gibibyte and thirty seconds, as the promise says.
    let stage = Stage::set();
    let over = download_to_a_sleeper(&stage, 1 << 30, Duration::from_secs(30));
    println!("1 GiB to a reader that sleeps 30 s: at most {} MiB over rest", over / 1024);
    assert!(over < 64 * 1024, "{} MiB more than at rest", over / 1024);
}

#[test]
fn an_upload_to_a_target_that_does_not_read_costs_little_memory() {
    let stage = Stage::set();
    stage.ssh(&["web1", "true"]).run().ok();
    let pid = stage.bastion.id();
    let rest = resident_kib(pid);
    let upload =
        stage.ssh(&["web1", "sleep 6; wc -c"]).input(vec![7; 200 << 20]).patience(4 * PATIENCE).start();
    let mut high = rest;
    let until = Instant::now() + Duration::from_secs(5);
    wait_for("five seconds of it", PATIENCE, || {
        high = high.max(resident_kib(pid));
        (Instant::now() >= until).then_some(())
    });
    assert_eq!(upload.finish(4 * PATIENCE).ok().trim(), (200_usize << 20).to_string());
    println!("200 MiB to a target that sleeps: at most {} MiB over rest", (high - rest) / 1024);
    assert!(high - rest < 32 * 1024, "{} MiB more than at rest", (high - rest) / 1024);
}

#[test]
fn a_stalled_session_does_not_hold_up_another_of_the_same_connection() {
    let stage = Stage::set();
    let mux = Multiplexed::over(&stage);
    let stalled = mux.ssh("sleep 20; wc -c").input(vec![7; 20 << 20]).start();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        mux.ssh("true").run().ok();
        slowest = slowest.max(began.elapsed());
    }
    println!("a session beside a stalled one: at most {slowest:.2?} from start to end");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    drop(mux);
    drop(stalled);
}
