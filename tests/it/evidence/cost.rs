//! What recording costs, side by side and in turn: the same target once by a role that records and once by one that does not.
//! Prints what it measured; to be run with `--release` on a quiet machine for figures that mean something.

use std::time::{Duration, Instant};

use crate::world::stage::Stage;

/// The same account at `plain1`, where nothing is recorded.
const UNRECORDED: &str = r#"
[[role]]
name = "unrecorded"
members = { groups = ["corp:engineers"] }
targets = { names = ["plain1"] }
logins = ["LOGIN"]
channels = ["shell", "exec", "sftp"]
standing = true
recording = "no"
"#;

fn stage() -> Stage {
    let role = UNRECORDED.replace("LOGIN", &crate::world::me());
    let mut stage = Stage::set();
    let key = stage.web1.host_key().public();
    let plain = format!(
        "\n[[target]]\nname = \"plain1\"\naddress = \"127.0.0.1:{}\"\nhost_key = {{ pinned = [\"{}\"] }}\n",
        stage.web1.port,
        key.trim()
    );
    stage.bastion.write_policy(&(crate::world::stage::policy(stage.web1.port, &role) + &plain));
    stage.bastion.stop();
    stage.bastion.start();
    // The client's configuration names the targets of that moment.
    stage.login("engineer");
    stage
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Medians of runs in turn at `web1` (recorded) and `plain1` (not).
fn in_turn(rounds: usize, mut run: impl FnMut(&str) -> Duration) -> (Duration, Duration) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        with.push(run("web1"));
        without.push(run("plain1"));
    }
    (median(with), median(without))
}

#[test]
fn what_recording_costs() {
    let long = std::env::var_os("CAPONIER_TEST_LONG").is_some_and(|said| said == "1");
    let (mib, rounds, keys) = if long { (256, 7, 400) } else { (8, 3, 20) };
    let stage = stage();
    let text = format!(
        "yes 'a line of the access log, as it could be: GET /index.html 200' | head -c {}",
        mib << 20
    );
    let bulk = |target: &str, terminal: &[&str]| {
        let args: Vec<&str> = terminal.iter().copied().chain([target, &text]).collect();
        let began = Instant::now();
        let said = stage.ssh(&args).run();
        if terminal.is_empty() {
            assert_eq!(said.ended(0).stdout.len(), mib << 20);
        } else {
            assert!(said.ended(0).stdout.len() > mib << 20);
        }
        began.elapsed()
    };
    for (name, terminal) in [("command", &[][..]), ("terminal", &["-tt"][..])] {
        let (with, without) = in_turn(rounds, |target| bulk(target, terminal));
        let rate = |took: Duration| f64::from(u32::try_from(mib).unwrap()) * 1.048_576 / took.as_secs_f64();
        println!(
            "{name}, {mib} MiB of text: recorded {:.1} MB/s, not recorded {:.1} MB/s, {:.3} of it",
            rate(with),
            rate(without),
            without.as_secs_f64() / with.as_secs_f64()
        );
        // The bound is for a release build on a quiet machine; this only finds what is far out.
        assert!(with < 3 * without + Duration::from_secs(1), "{name}: {with:?} and {without:?}");
    }
    let echo = |target: &str| {
        // What is typed before ssh has the terminal is echoed here.
        let terminal = stage.ssh(&["-tt", target, "echo ready-$((1+1)); exec cat"]).terminal(80, 24);
        let mut from = terminal.wait_for("ready-2");
        let mut took: Vec<Duration> = (0..keys)
            .map(|n| {
                let key = format!("k{n}k");
                let began = Instant::now();
                terminal.type_in(&key);
                from = terminal.wait_for_after(from, &key);
                terminal.type_in("\n");
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        (took[keys / 2], took[keys * 99 / 100])
    };
    let (with, without) = (echo("web1"), echo("plain1"));
    println!(
        "echo: recorded {:?} (p99 {:?}), not recorded {:?} (p99 {:?})",
        with.0, with.1, without.0, without.1
    );
}
