//! Recordings go to an archive in a folder, are removed here, and come back for whoever may read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use caponier::app::App;
use caponier::store::{ArchiveRow, Here, SessionRow};
use caponier::time::Clock;

use super::{TWO_PARTS, digest, recordings, sealed};
use crate::recording::asciinema;
use crate::telling::Outpost;
use crate::world::keys::Key;
use crate::world::{scratch, until};

/// What is left of a configuration of an archive in the folder `vault`.
pub(crate) fn vault(more: &str) -> String {
    format!("[archive]\nkind = \"folder\"\npath = \"vault\"\n{more}\n")
}

pub(crate) fn make_vault(app: &App) -> PathBuf {
    let path = app.config.state_dir.join("vault");
    fs::create_dir(&path).unwrap();
    path
}

/// Waits until the recording's row is as wanted.
pub(crate) async fn until_row(
    app: &App,
    row: &SessionRow,
    what: &str,
    is: impl Fn(&ArchiveRow) -> bool,
) -> ArchiveRow {
    until(what, async || app.store.archive_row(&row.id).await.unwrap().filter(|row| is(row))).await
}

fn local(app: &App, row: &SessionRow) -> PathBuf {
    app.config.recording.dir.join(row.recording.as_ref().unwrap())
}

/// `age -d -i KEY OBJECT | zstd -d`, as an auditor without us does it.
fn by_hand(key: &Path, object: &Path) -> Vec<u8> {
    let mut age =
        Command::new("age").arg("-d").arg("-i").args([key, object]).stdout(Stdio::piped()).spawn().unwrap();
    let zstd = Command::new("zstd").args(["-d", "-c"]).stdin(age.stdout.take().unwrap()).output().unwrap();
    assert!(age.wait().unwrap().success() && zstd.status.success(), "{zstd:?}");
    zstd.stdout
}

#[tokio::test]
async fn encrypted_to_auditors_and_gone_from_here() {
    let keys = scratch();
    let auditor = Key::make(keys.path(), "auditor");
    let stranger = Key::make(keys.path(), "stranger");
    let more = format!("encrypt_to = [{:?}]\nkeep_local = \"0s\"\n", auditor.public().trim());
    let outpost = Outpost::open(&vault(&more), Clock::System).await;
    let app = &outpost.app;
    let archive = make_vault(app);
    let row = sealed(app, &TWO_PARTS).await;
    let before = recordings(app, &["export", row.id.as_str()]).await.unwrap();
    let cast = fs::read(local(app, &row).join("0001.cast")).unwrap();

    let _running = outpost.run();
    let gone = until_row(app, &row, "a removed local copy", |row| row.here == Here::No).await;
    assert!(gone.confirmed.is_some() && gone.state == "archived", "{gone:?}");
    assert!(!local(app, &row).exists());
    let there = archive.join(row.recording.as_ref().unwrap());
    let mut names: Vec<String> = fs::read_dir(&there)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "0001.cast.zst.age",
            "0002.cast.zst.age",
            "chain.ndjson.zst.age",
            "events.ndjson.zst.age",
            "index.json",
            "seal.json",
            "seal.sig",
            "session.json.zst.age"
        ]
    );
    assert_eq!(by_hand(&auditor.path, &there.join("0001.cast.zst.age")), cast);

    let id = row.id.as_str();
    let said = recordings(app, &["export", id]).await.unwrap_err();
    assert!(said.contains("is encrypted") && said.contains("--identity"), "{said}");
    let with = |key: &Key| key.path.to_str().unwrap().to_owned();
    let said = recordings(app, &["export", id, "--identity", &with(&stranger)]).await.unwrap_err();
    assert!(said.contains("not encrypted to this key"), "{said}");
    assert_eq!(recordings(app, &["export", id, "--identity", &with(&auditor)]).await.unwrap(), before);
    let file = keys.path().join("back.cast");
    let args = ["export", id, "--identity", &with(&auditor), "-o", file.to_str().unwrap()];
    recordings(app, &args).await.unwrap();
    assert!(asciinema("cat", &file).1, "what came back plays");

    let audit = outpost.audit().await;
    let archived = audit.iter().find(|line| line.starts_with("recording_archived ")).unwrap();
    assert!(archived.contains("\"encrypted\":true") && archived.contains(id), "{archived}");
    assert!(audit.iter().any(|line| line.starts_with("recording_local_removed ")), "{audit:#?}");
    let left: Vec<_> = fs::read_dir(app.config.state_dir.join("archiving")).unwrap().collect();
    assert!(left.is_empty(), "nothing plain or packed stays: {left:?}");
}

#[tokio::test]
async fn a_cast_of_before_there_were_folders() {
    let outpost = Outpost::open(&vault("keep_local = \"0s\""), Clock::System).await;
    let app = &outpost.app;
    make_vault(app);
    let text = "{\"version\": 2, \"width\": 80, \"height\": 24}\n[0.100000, \"o\", \"old\"]\n";
    let row = super::sealed_alone(app, text).await;
    let _running = outpost.run();
    until_row(app, &row, "a removed local copy", |row| row.here == Here::No).await;
    assert!(!local(app, &row).exists());
    assert_eq!(recordings(app, &["export", row.id.as_str()]).await.unwrap(), text);
    let dir = scratch();
    let args = ["export", row.id.as_str(), "--folder", dir.path().to_str().unwrap()];
    let copy = recordings(app, &args).await.unwrap();
    assert_eq!(digest(&fs::read(copy.trim()).unwrap()), row.recording_sha256.clone().unwrap());
}

/// The folder of the archive is a share that is not there at first; and one recording is not what was sealed.
#[tokio::test]
async fn what_does_not_get_there_stays_here_and_is_told() {
    let outpost = Outpost::open(&vault("keep_local = \"0s\""), Clock::System).await;
    let app = &outpost.app;
    let (good, bad) = (sealed(app, &TWO_PARTS).await, sealed(app, &TWO_PARTS).await);
    let cast = local(app, &bad).join("0002.cast");
    fs::write(&cast, fs::read_to_string(&cast).unwrap().replace("second", "2nd")).unwrap();
    let _running = outpost.run();
    until_row(app, &good, "a failure", |row| row.attempts > 0).await;
    let listed = recordings(app, &["archive"]).await.unwrap();
    assert!(listed.contains("is it mounted?") && listed.contains("waiting"), "{listed}");
    assert!(local(app, &good).exists());

    make_vault(app);
    until_row(app, &good, "the good one archived", |row| row.here == Here::No).await;
    let is_altered =
        |row: &ArchiveRow| row.problem.as_ref().is_some_and(|why| why.contains("not what was sealed"));
    let row = until_row(app, &bad, "the altered one refused", is_altered).await;
    assert_eq!((row.state.as_str(), row.here), ("waiting", Here::Yes));
    assert!(local(app, &bad).exists());
    assert!(
        app.config
            .state_dir
            .join("vault")
            .join(bad.recording.unwrap())
            .join("index.json")
            .symlink_metadata()
            .is_err()
    );
}

/// Somebody with the archive in their hands: what was changed there is not given out, and nothing here is removed for it.
#[tokio::test]
async fn what_was_changed_in_the_archive_is_not_believed() {
    let outpost = Outpost::open(&vault("keep_local = \"1h\""), Clock::System).await;
    let app = &outpost.app;
    let archive = make_vault(app);
    let row = sealed(app, &TWO_PARTS).await;
    let id = row.id.as_str().to_owned();
    let running = outpost.run();
    until_row(app, &row, "archived", |row| row.state == "archived").await;
    drop(running);
    let there = archive.join(row.recording.as_ref().unwrap());
    // From here on it is read from there.
    let aside = app.config.state_dir.join("aside");
    fs::rename(local(app, &row), &aside).unwrap();
    let whole = recordings(app, &["export", &id]).await.unwrap();
    assert!(whole.contains("the second part"), "{whole}");

    let names = ["0001.cast.zst", "events.ndjson.zst", "seal.json", "seal.sig", "index.json"];
    for name in names {
        let path = there.join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, &bad).unwrap();
        let said = recordings(app, &["export", &id]).await.unwrap_err();
        assert!(said.contains("is not what was archived"), "{name}: {said}");
        fs::remove_file(&path).unwrap();
        let said = recordings(app, &["export", &id]).await.unwrap_err();
        assert!(said.contains("the archive has no"), "{name}: {said}");
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(recordings(app, &["export", &id]).await.unwrap(), whole);

    fs::rename(&aside, local(app, &row)).unwrap();
    fs::write(there.join("0001.cast.zst"), "short").unwrap();
    let app = outpost.reconfigured(&vault("keep_local = \"0s\""));
    let _running = crate::telling::run(&app);
    let kept = until_row(&app, &row, "a refusal to remove", |row| row.attempts > 0).await;
    assert_eq!(kept.here, Here::Yes, "{kept:?}");
    assert!(local(&app, &row).join("0001.cast").exists());
}

/// A recording by the recorder itself: it verifies from the archive as it did here, and not when somebody who can write there
/// and in the list has changed it.
#[tokio::test]
async fn what_comes_from_the_archive_verifies() {
    let keys = scratch();
    let auditor = Key::make(keys.path(), "auditor");
    let more = format!("keep_local = \"0s\"\nencrypt_to = [{:?}]", auditor.public().trim());
    let outpost = Outpost::open(&vault(&more), Clock::System).await;
    let app = &outpost.app;
    make_vault(app);
    caponier::flow::evidence::register_key(app).await.unwrap();
    let row = super::recorded(app).await;
    let id = row.id.as_str();
    let here = recordings(app, &["verify", id]).await.unwrap();
    assert!(here.contains("as sealed by"), "{here}");
    let _running = outpost.run();
    until_row(app, &row, "gone from here", |row| row.here == Here::No).await;
    let identity = auditor.path.to_str().unwrap();
    assert_eq!(recordings(app, &["verify", id, "--identity", identity]).await.unwrap(), here);
    let unseen = recordings(app, &["verify", "--all"]).await.unwrap();
    assert!(unseen.contains("0 as sealed, 0 not") && unseen.contains("1 not looked at"), "{unseen}");
    let (code, said) = super::recordings_code(app, &["verify", id]).await;
    assert!(
        code == ExitCode::from(1) && said.contains("is encrypted"),
        "who asks for one gets no yes: {said}"
    );
    let object = app.config.state_dir.join("vault").join(row.recording.as_ref().unwrap()).join("seal.sig");
    fs::write(&object, fs::read_to_string(&object).unwrap().replace('A', "B")).unwrap();
    let (code, said) = super::recordings_code(app, &["verify", id, "--identity", identity]).await;
    assert!(code == ExitCode::from(1) && said.contains("NOT as sealed"), "{said}");
}

/// The bastion was killed after it was written down that a copy goes, or a recording is deleted: the next start goes on.
#[tokio::test]
async fn what_was_decided_before_a_crash_is_done_after_it() {
    let outpost = Outpost::open(&vault("keep_local = \"1h\""), Clock::System).await;
    let app = &outpost.app;
    let archive = make_vault(app);
    let (one, two) = (sealed(app, &TWO_PARTS).await, sealed(app, &TWO_PARTS).await);
    let running = outpost.run();
    for row in [&one, &two] {
        until_row(app, row, "archived", |row| row.state == "archived").await;
    }
    drop(running);
    let url = format!("sqlite:{}", app.config.state_dir.join("caponier.db").display());
    let set = |set: &str, row: &SessionRow| format!("UPDATE archive SET {set} WHERE session = '{}'", row.id);
    crate::store::run_past(&url, &set("here = 2", &one)).await;
    crate::store::run_past(&url, &set("state = 'deleting', delete_after = 1, due = 1", &two)).await;
    // Half of it was gone already.
    fs::remove_file(local(app, &one).join("0001.cast")).unwrap();
    fs::remove_file(archive.join(two.recording.as_ref().unwrap()).join("index.json")).unwrap();
    let _running = outpost.run();
    until_row(app, &one, "gone from here", |row| row.here == Here::No).await;
    until_row(app, &two, "deleted", |row| row.state == "deleted").await;
    assert!(!local(app, &one).exists() && !local(app, &two).exists());
    assert!(archive.join(one.recording.as_ref().unwrap()).exists());
    assert!(!archive.join(two.recording.as_ref().unwrap()).exists());
}
