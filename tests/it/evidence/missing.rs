//! Which recordings there must be is the audit log's word: rows that were taken away or altered hide none.

use std::fs;
use std::process::ExitCode;

use caponier::flow::evidence::register_key;
use caponier::recording::key::allowed_signers_line;
use caponier::store::SessionRow;
use caponier::time::Clock;

use crate::archive::{closing, insert, new_row, recorded, recordings_code, sealed_alone};
use crate::store::Place;
use crate::telling::Outpost;
use crate::world::scratch;

async fn outpost(place: &Place) -> Outpost {
    let one = Outpost::named("one", &place.url, "", Clock::System).await;
    register_key(&one.app).await.unwrap();
    one
}

async fn all(one: &Outpost, more: &[&str]) -> (bool, String) {
    let args = [&["verify", "--all"], more].concat();
    let (code, said) = recordings_code(&one.app, &args).await;
    (code == ExitCode::SUCCESS, said)
}

#[tokio::test]
async fn whatever_is_done_to_a_row_hides_no_recording() {
    let attacks: [(&str, &str, &str); 9] = [
        ("removed", "DELETE FROM session WHERE id = 'ID'", "the database does not"),
        (
            "said not to be recorded",
            "UPDATE session SET recording = NULL WHERE id = 'ID'",
            "and the database no recording",
        ),
        (
            "said to be elsewhere",
            "UPDATE session SET recording = '2027/01/15/OTHER' WHERE id = 'ID'",
            "and the database 2027/01/15/OTHER",
        ),
        (
            "said to be open",
            "UPDATE session SET closed = NULL WHERE id = 'ID'",
            "says that its session is open",
        ),
        ("without a digest", "UPDATE session SET recording_sha256 = NULL WHERE id = 'ID'", "has no digest"),
        (
            "without its opening",
            "UPDATE audit SET kind = 'signed_in' WHERE kind = 'session_opened' AND json LIKE '%\"ID\"%'",
            "does not say that its session was opened",
        ),
        (
            "without its end",
            "UPDATE audit SET kind = 'signed_in' WHERE kind = 'session_closed' AND json LIKE '%\"ID\"%'",
            "does not say that its session ended",
        ),
        (
            "with two ends",
            "INSERT INTO audit (seq, at, kind, json, hash) SELECT 900, at, kind, json, hash FROM audit \
             WHERE kind = 'session_closed' AND json LIKE '%\"ID\"%'; UPDATE audit_head SET seq = 900",
            "twice (entry 900)",
        ),
        (
            "opened without a recording",
            "UPDATE audit SET json = REPLACE(json, '\"2', '\"x2') WHERE kind = 'session_opened' AND json LIKE '%\"ID\"%'",
            "names x2",
        ),
    ];
    for (what, sql, says) in attacks {
        let place = Place::sqlite();
        let one = outpost(&place).await;
        let (bad, other) = (recorded(&one.app).await, recorded(&one.app).await);
        assert_eq!(all(&one, &[]).await, (true, "2 as sealed, 0 not\n".to_owned()), "{what}");
        let fill = |text: &str| text.replace("ID", bad.id.as_str()).replace("OTHER", other.id.as_str());
        for sql in sql.split("; ") {
            place.run(&fill(sql)).await;
        }
        let (good, said) = all(&one, &[]).await;
        assert!(!good && said.ends_with("\n1 as sealed, 1 not\n"), "{what}: {said}");
        assert!(said.starts_with(&format!("{}: NOT as sealed: ", bad.id)), "{what}: {said}");
        assert!(said.contains(&fill(says)), "{what}: {said}");
        one.app.store.close().await;
    }
}

/// A list of archives that says so deletes nothing: the deletion is an entry of the audit log.
#[tokio::test]
async fn what_is_gone_was_deleted_only_where_the_audit_log_says_so() {
    let place = Place::sqlite();
    let one = outpost(&place).await;
    let row = recorded(&one.app).await;
    let path = one.app.config.recording.dir.join(row.recording.as_ref().unwrap());
    fs::remove_dir_all(&path).unwrap();
    assert!(!all(&one, &[]).await.0);
    place.run("DELETE FROM archive").await;
    let kept = "INSERT INTO archive (session, node, state, here, attempts, due, taken_up, deleted) \
         SELECT id, node, 'deleted', 0, 0, 0, 0, 5000 FROM session";
    place.run(kept).await;
    let (good, said) = all(&one, &[]).await;
    assert!(
        !good && said.contains("it was deleted at ") && said.contains("and the audit log does not"),
        "{said}"
    );
    let event = caponier::audit::ArchiveEvent::RecordingDeleted {
        session: row.id.clone(),
        who: row.who.clone(),
        target: row.target.clone(),
        seal: row.recording_sha256.clone(),
        delete_after: 1,
    };
    let now = one.app.clock.now();
    one.app.store.note(now, caponier::audit::AuditEvent::Archive(event)).await.unwrap();
    let (good, said) = all(&one, &[]).await;
    assert!(good && said.starts_with("0 as sealed, 0 not\n1 not looked at: deleted"), "{said}");
    one.app.store.close().await;
}

/// A digest alone is enough only for what the audit log called a cast when its session began, and is never said to be sealed.
#[tokio::test]
async fn a_cast_alone_is_what_was_one_from_the_beginning() {
    let place = Place::sqlite();
    let one = outpost(&place).await;
    let old = sealed_alone(&one.app, "{\"version\": 2}\n").await;
    let (good, said) = all(&one, &[]).await;
    assert!(good && said.starts_with("0 as sealed, 0 not\n1 from before there were seals"), "{said}");
    let dir = scratch();
    let signers = dir.path().join("signers");
    let public = one.app.recordings.public_key().to_openssh().unwrap();
    fs::write(&signers, allowed_signers_line(&public)).unwrap();
    let signers = ["--signers", signers.to_str().unwrap()];
    assert!(all(&one, &signers).await.1.starts_with("0 as sealed, 0 not\n1 from before"));
    recordings_code(&one.app, &["verify", old.id.as_str()]).await;
    let (code, said) =
        recordings_code(&one.app, &[&["verify", old.id.as_str()], &signers[..]].concat()).await;
    assert!(code == ExitCode::from(1) && said.contains("before there were seals"), "{said}");

    // A file of that name in place of a sealed folder, with its digest in the row.
    let row = recorded(&one.app).await;
    let cast = format!("{}.cast", row.recording.as_ref().unwrap());
    fs::write(one.app.config.recording.dir.join(&cast), "{\"version\": 2}\n").unwrap();
    let digest = old.recording_sha256.unwrap();
    place
        .run(&format!(
            "UPDATE session SET recording = '{cast}', recording_sha256 = '{digest}' WHERE id = '{}'",
            row.id
        ))
        .await;
    let (good, said) = all(&one, &[]).await;
    assert!(!good && said.contains(&format!("and the database {cast}")), "{said}");
    one.app.store.close().await;
}

/// Sessions that run have no seal yet, and are counted.
#[tokio::test]
async fn what_is_open_is_said_to_be() {
    let place = Place::sqlite();
    let one = outpost(&place).await;
    let row: SessionRow = new_row(&one.app);
    insert(&one.app, &row).await;
    let (good, said) = all(&one, &[]).await;
    assert!(good && said.ends_with("1 not looked at: their sessions are open\n"), "{said}");
    // Over by the log, and open by its row.
    one.app.store.note(one.app.clock.now(), closing(&row)).await.unwrap();
    let (good, said) = all(&one, &[]).await;
    assert!(!good && said.contains("says that its session is open"), "{said}");
    one.app.store.close().await;
}

/// What stands in a folder that somebody else made does not reach the terminal.
#[tokio::test]
async fn names_in_a_hostile_copy_steer_no_terminal() {
    let place = Place::sqlite();
    let one = outpost(&place).await;
    let row = recorded(&one.app).await;
    let path = one.app.config.recording.dir.join(row.recording.as_ref().unwrap());
    fs::write(path.join("\u{1b}]0;owned\u{7}\u{202e}\n0001.cast"), "").unwrap();
    let (code, said) = recordings_code(&one.app, &["verify", row.id.as_str()]).await;
    assert_eq!(code, ExitCode::from(1));
    assert!(said.contains("]0;owned") && said.lines().count() == 1, "{said:?}");
    assert!(!said.trim_end().chars().any(caponier::plain::is_hidden), "{said:?}");
    one.app.store.close().await;
}
