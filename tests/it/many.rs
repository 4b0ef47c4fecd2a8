//! Many sessions, none of which may go wrong: downloads that must end, and uploads whose first byte must arrive.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::world::stage::{Multiplexed, Plan, Stage, policy};
use crate::world::{PATIENCE, wait_for};

/// Whether the long versions are wanted (`contrib/test --long`).
fn long() -> bool {
    std::env::var_os("CAPONIER_TEST_LONG").is_some_and(|said| said == "1")
}

/// Calls `work` with the numbers below `count`, on a few threads.
fn in_parallel(count: u32, work: impl Fn(u32) + Sync) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count) {
                    work(number);
                }
            });
        }
    });
}

#[test]
fn every_recorded_download_ends_in_full() {
    let (count, mib) = if long() { (100, 64) } else { (40, 16) };
    let bytes: usize = mib << 20;
    let stage = Stage::set();
    let began = Instant::now();
    in_parallel(count, |number| {
        let said = stage.ssh(&["web1", &format!("head -c {bytes} /dev/zero")]).patience(4 * PATIENCE).run();
        said.ended(0);
        assert_eq!(said.stdout.len(), bytes, "download {number}");
    });
    println!("{count} downloads of {mib} MiB: {:.2?}", began.elapsed());
    // A session is closed in the store when its recording is sealed, a moment after the client has gone.
    wait_for("all of them in the audit log", PATIENCE, || {
        let audit = stage.audit();
        let closed = audit.iter().filter(|(kind, json)| {
            let row: Value = serde_json::from_str(json).unwrap();
            kind == "session_closed"
                && row["reason"] == "finished"
                && row["bytes_out"].as_u64() >= Some(bytes as u64)
        });
        (closed.count() == usize::try_from(count).unwrap()).then_some(())
    });
}

#[test]
fn one_person_does_not_hold_all_connections_with_many_sign_ins() {
    let mut stage = Stage::set_to(Plan {
        edits: &[("[ssh]\n", "[ssh]\nconnections_max = 4\nunauthenticated_max = 4\n")],
        ..Plan::default()
    });
    let both =
        policy(stage.web1.port, "").replace("\"corp:engineers\"", "\"corp:engineers\", \"corp:reviewers\"");
    stage.bastion.write_policy(&both);
    stage.wait_for_audit("policy_loaded", "");
    // A connection that stays, from the laptop of the moment.
    let stay = |stage: &Stage| {
        let busy = stage.ssh(&["web1", "echo here; exec sleep 100"]).start();
        busy.wait_for_text("here", PATIENCE);
        busy
    };
    let first = stay(&stage);
    let one = stage.another_laptop();
    stage.login("engineer");
    let second = stay(&stage);
    let two = stage.another_laptop();
    stage.login("engineer");
    let refused = stage.ssh(&["web1", "echo in"]).run();
    assert_ne!(refused.status, Some(0), "a third connection, by a third sign-in");
    assert_eq!(refused.text(), "");
    let log = stage.bastion.log();
    assert!(log.contains("too many connections of one identity"), "{log}");
    let three = stage.another_laptop();
    stage.login("reviewer");
    assert_eq!(stage.ssh(&["web1", "echo in"]).run().ok(), "in\n", "somebody else comes in");
    // And who gives one back may open another.
    drop(first);
    drop(stage.come_back_to(three));
    wait_for("a free place", PATIENCE, || {
        (stage.ssh(&["web1", "echo in"]).run().text() == "in\n").then_some(())
    });
    drop((second, one, two));
}

#[test]
fn any_first_byte_of_an_upload_arrives() {
    let stage = Stage::set();
    let mux = Multiplexed::over(&stage);
    // Control characters of all kinds, and every eighth of the others. More sessions than may be open at once.
    let is_tried =
        |byte: &u8| long() || matches!(byte, 0..=0x1f | 0x7f..=0x9f | 0xff) || byte.is_multiple_of(8);
    let bytes: Vec<u8> = (0..=u8::MAX).filter(is_tried).collect();
    assert!(bytes.len() > 64);
    // The bytes are sent at once, so they come while the target is being dialled.
    in_parallel(u32::try_from(bytes.len()).unwrap(), |number| {
        let first = bytes[usize::try_from(number).unwrap()];
        let sent = [first, b'-', first, b'\n'];
        let said = mux.ssh("cat").input(sent).run();
        said.ended(0);
        assert_eq!(said.stdout, sent, "first byte {first:#04x}");
        let errors = said.errors();
        assert!(!errors.contains("refused"), "the connection takes no more sessions: {errors}");
    });
}
