//! Finished parts of a session that still runs are in the archive before it ends, and are not brought again.

use std::fs;
use std::path::Path;

use caponier::audit::AuditEvent;
use caponier::store::Here;
use caponier::time::Clock;

use super::folder::{make_vault, until_row, vault};
use super::{Shown, insert, new_row, recordings, seal, write_open};
use crate::telling::Outpost;
use crate::world::{scratch, until};

const THREE: Shown<'static> = Shown {
    parts: &["[0.1, \"o\", \"one\"]\n", "[0.1, \"o\", \"two\"]\n", "[0.1, \"o\", \"three\"]\n"],
    events: "",
};

fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(folder.join(name)).ok()
}

#[tokio::test]
async fn parts_that_are_finished_are_there_before_the_end() {
    let keys = scratch();
    let auditor = crate::world::keys::Key::make(keys.path(), "auditor");
    let more = format!("keep_local = \"0s\"\nencrypt_to = [{:?}]", auditor.public().trim());
    let outpost = Outpost::open(&vault(&more), Clock::System).await;
    let app = &outpost.app;
    let mut row = new_row(app);
    let there = make_vault(app).join(row.recording.as_ref().unwrap());
    let here = write_open(app, &row.id, &THREE);
    insert(app, &row).await;
    let running = outpost.run();
    until("two parts in the archive", async || {
        let noted = app.store.archive_files(&row.id).await.unwrap();
        (noted.len() == 2).then_some(())
    })
    .await;
    drop(running);
    let parts = ["0001.cast.zst.age", "0002.cast.zst.age"];
    let [first, second] = parts.map(|name| read(&there, name).unwrap());
    assert!(read(&there, "0003.cast.zst.age").is_none(), "the last part may still be written");
    assert!(read(&there, "index.json").is_none() && app.store.archive_row(&row.id).await.unwrap().is_none());

    // What came there early counts only if it is what was sealed.
    let cast = here.join("0002.cast");
    fs::write(&cast, fs::read_to_string(&cast).unwrap().replace("two", "TWO")).unwrap();
    row.recording_sha256 = Some(seal(app, &here));
    row.closed = Some(app.clock.now());
    row.close_reason = Some("finished".to_owned());
    let mut tx = app.store.begin().await.unwrap();
    assert!(tx.close_session(&row).await.unwrap());
    tx.commit(app.clock.now(), AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 })
        .await
        .unwrap();
    let _running = outpost.run();
    until_row(app, &row, "archived, and gone from here", |row| row.here == Here::No).await;
    // Encrypting is never the same twice.
    assert!(read(&there, parts[0]).unwrap() == first, "what was there was not brought again");
    assert!(read(&there, parts[1]).unwrap() != second, "what has changed was");
    let args = ["export", row.id.as_str(), "--identity", auditor.path.to_str().unwrap()];
    let cast = recordings(app, &args).await.unwrap();
    assert!(["one", "TWO", "three"].iter().all(|text| cast.contains(text)), "{cast}");
    assert!(app.store.archive_files(&row.id).await.unwrap().is_empty(), "the list has them now");
}
