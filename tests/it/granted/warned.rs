//! Sessions are told before their access ends, on stderr only, and what programs say to each other stays whole.

use std::time::Duration;

use caponier::flow::answer::Wanted;

use super::{Yard, wish};
use crate::forward::wire::noise;
use crate::world::PATIENCE;
use crate::world::ssh::Ssh;

/// The warning a minute before.
const MINUTE: &str = "your access ends in 1m, at 20";

#[test]
fn a_minute_before_the_end_everybody_is_told_and_no_copy_breaks() {
    let yard = Yard::with("");
    yard.granted(&wish(Duration::from_secs(72)));
    let dir = yard.local.dir();
    let bytes = noise(2_000_000);
    let here = dir.join("here");
    std::fs::write(&here, &bytes).unwrap();
    let config = yard.local.ssh_config(&yard.erin, yard.local.port);
    let at = |name: &str| dir.join(name).display().to_string();

    // All of these run from before the warning until after it: 2 MB at about 100 KB/s.
    let new = Ssh::scp(&config).args(["-l", "800", &at("here"), &format!("web1:{}", at("new"))]);
    let new = new.env("HOME", dir).start();
    let old = Ssh::scp(&config).args(["-O", "-l", "800", &format!("web1:{}", at("here")), &at("old")]);
    let old = old.env("HOME", dir).start();
    let sftp =
        Ssh::sftp(&config).args(["-l", "800", "web1"]).input(format!("get {} {}\n", at("here"), at("sftp")));
    let sftp = sftp.env("HOME", dir).start();
    let rsync = Ssh::rsync(&config).args(["--bwlimit=100", &at("here"), &format!("web1:{}", at("rsync"))]);
    let rsync = rsync.env("HOME", dir).start();
    let exec = yard.ssh(&["web1", "echo out; cat"]).start();
    let terminal = yard.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.type_in("echo here-$((1+1))\n");
    terminal.wait_for("here-2");

    terminal.wait_for(&format!("\r\ncaponier: {MINUTE}"));
    terminal.type_in("echo still-$((1+1)); exit\n");
    terminal.wait_for("still-2");
    for (name, copy) in [("new", new), ("old", old), ("sftp", sftp), ("rsync", rsync)] {
        let said = copy.finish(3 * PATIENCE);
        said.ended(0);
        assert_eq!(
            said.errors().matches(&format!("caponier: {MINUTE}")).count(),
            1,
            "{name}: {}",
            said.errors()
        );
        assert!(!said.text().contains(MINUTE), "{name}: {}", said.text());
        assert!(std::fs::read(dir.join(name)).unwrap() == bytes, "{name} differs");
    }
    let said = exec.finish(PATIENCE);
    assert_eq!(said.text(), "out\n");
    let marked = yard.local.app.config.recording.dir.clone();
    assert!(recordings(&marked).iter().any(|cast| cast.contains("\"m\"") && cast.contains(MINUTE)));
}

fn recordings(dir: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(recordings(&path));
        } else {
            all.extend(std::fs::read_to_string(path));
        }
    }
    all
}

#[test]
fn five_minutes_before_and_what_moves_the_end_is_told() {
    let yard = Yard::with("");
    let secs = Duration::from_secs;
    yard.granted(&wish(secs(306)));
    let terminal = yard.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.wait_for("your access ends in 5m, at");
    // Another grant moves the end; then that one is taken away again.
    let longer = yard.granted(&wish(secs(3600)));
    let seen = terminal.wait_for("more was granted: your access lasts until");
    let why = Wanted::Revoke { reason: "not so long".into() };
    yard.act(&yard.local.app, &yard.lead, &longer.id, why);
    terminal.wait_for_after(seen, "your access ends in ");
}
