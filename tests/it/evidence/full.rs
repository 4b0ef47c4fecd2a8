//! A disk that is really full: the recordings lie on a small tmpfs. Needs root, as `contrib/test` has in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::bastion::Bastion;
use crate::world::process::run;
use crate::world::ssh::Ssh;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, me, scratch, wait_for};

/// A disk of so many MiB, gone when the handle is.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(mib: u32) -> Self {
        let dir = scratch();
        let size = format!("size={mib}m,mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()), b"", PATIENCE)
            .ok();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves so many KiB free.
    fn fill(&self, leave: u64) -> PathBuf {
        let path = self.path().join("filler");
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        fs::write(&path, vec![0; usize::try_from(free.saturating_sub(leave * 1024)).unwrap()]).unwrap();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a bastion that is being stopped may still have a file open there.
        drop(run(Command::new("umount").arg("-l").arg(self.dir.path()), b"", PATIENCE));
    }
}

fn stage(disk: &Disk, role: &str) -> Stage {
    let dir = format!("dir = \"{}\"\nfree_min = \"1MiB\"", disk.path().join("recordings").display());
    Stage::set_to(Plan { edits: &[("dir = \"recordings\"", &dir)], role, ..Plan::default() })
}

#[test]
fn below_the_minimum_no_session_begins_and_open_ones_end() {
    assert_eq!(me(), "root", "a tmpfs can be mounted by root only");
    let disk = Disk::new(8);
    let stage = stage(&disk, "forwards = { local = [\"127.0.0.1:1024-65535\"] }\n");
    let terminal = stage.live_terminal();
    let filler = disk.fill(600);
    terminal.wait_for("it can no longer be recorded");
    assert_eq!(terminal.finish(PATIENCE).0, Some(255));
    let full = stage.wait_for_audit("recording_disk_full", "\"closed\":1");
    assert!(full.contains("recording.free_min asks for 1 MiB"), "{full}");
    stage.wait_for_audit("session_closed", "\"reason\":\"recorder\"");
    stage.wait_for_audit("alerts_raised", "\"recorder\"");
    let refused = stage.ssh(&["web1", "echo never"]).run();
    assert!(refused.ended(255).errors().contains("no room to record sessions"), "{}", refused.errors());
    assert_eq!(refused.text(), "");
    // Nor by any other way in.
    let through = stage.through();
    let sftp = stage.at_home(Ssh::sftp(&through).args(["web1"]).input("ls\n")).run();
    assert!(
        sftp.status != Some(0) && sftp.errors().contains("no room to record sessions"),
        "{}",
        sftp.errors()
    );
    let sshd = format!("127.0.0.1:{}", stage.web1.port);
    let forward = stage.ssh(&["-W", &sshd, "web1"]).run();
    assert!(forward.status != Some(0) && forward.text().is_empty(), "{}", forward.text());
    assert!(forward.errors().contains("no room to record sessions"), "{}", forward.errors());
    let user = format!("{}%web1", me());
    let directly = stage.ssh(&["-l", &user, Bastion::NAME, "echo never"]).run();
    assert!(directly.ended(255).errors().contains("no room to record sessions"), "{}", directly.errors());
    // What was recorded is sealed, and the seal says that it is not all.
    let said = stage.bastion.admin(&["recordings", "verify", "--all", "--json"]).ok();
    assert!(said.contains("\"complete\":false"), "{said}");

    fs::remove_file(filler).unwrap();
    stage.wait_for_audit("recording_disk_free", "");
    stage.ssh(&["web1", "true"]).run().ok();
}

#[test]
fn where_the_role_says_so_sessions_go_on_unrecorded() {
    let disk = Disk::new(8);
    let stage = stage(&disk, "when_disk_full = \"continue\"\n");
    let terminal = stage.live_terminal();
    disk.fill(600);
    stage.wait_for_audit("recording_disk_full", "\"unrecorded\":1");
    terminal.type_in("echo still-$((40+2))\n");
    terminal.wait_for("still-42");
    terminal.type_in("exit\n");
    assert_eq!(terminal.finish(PATIENCE).0, Some(0));
    let said = wait_for("the seal", PATIENCE, || {
        let said = stage.bastion.admin(&["recordings", "verify", "--all", "--json"]).ok();
        said.contains("\"verified\":true").then_some(said)
    });
    assert!(said.contains("\"complete\":false"), "{said}");
    stage.wait_for_audit("recording_lost", "recording.free_min asks for 1 MiB");
    stage.wait_for_audit("alerts_raised", "\"recorder\"");
    // New ones begin, too; each is said to be lost.
    let lost = || stage.audit().iter().filter(|(kind, _)| kind == "recording_lost").count();
    let before = lost();
    let terminal = stage.live_terminal();
    wait_for("the next entry", PATIENCE, || (lost() > before).then_some(()));
    terminal.type_in("exit\n");
    assert_eq!(terminal.finish(PATIENCE).0, Some(0));
}

/// Nothing is left to write seals with: the session ends, and what was written before is still there.
#[test]
fn a_disk_without_a_byte_left_ends_the_session() {
    let disk = Disk::new(2);
    let dir = format!("dir = \"{}\"\nfree_min = 0", disk.path().join("recordings").display());
    let stage = Stage::set_to(Plan { edits: &[("dir = \"recordings\"", &dir)], ..Plan::default() });
    let said = stage.ssh(&["-tt", "web1", "seq 1000000"]).run();
    assert!(said.errors().contains("it can no longer be recorded"), "{}", said.errors());
    stage.wait_for_audit("session_closed", "\"reason\":\"recorder\"");
    let path = stage.recording("exec");
    let (shown, content) = crate::recording::asciinema("cat", &path);
    assert!(content && String::from_utf8_lossy(&shown).starts_with("1\r\n2\r\n"));
    let refused = stage.ssh(&["web1", "true"]).run();
    assert!(refused.ended(255).errors().contains("nothing was sent"), "{}", refused.errors());
}
