//! What becomes of a seal when somebody who may write everything alters what it stands for. Judged twice: by our own
//! program's code, and by nothing but `sha256sum` and `ssh-keygen -Y verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use caponier::ids::SessionId;
use caponier::random::Random;
use caponier::recording::event::Event;
use caponier::recording::key::{RecordingKey, SignatureError, allowed_signers_line};
use caponier::recording::verify::{Fault, verify};
use caponier::recording::{Folder, Recordings};
use russh::keys::ssh_key::{Algorithm, PrivateKey, PublicKey};

use super::{Room, closing, session, settings, start};

/// A sealed session of many checkpoints, and another one.
async fn room() -> (Room, PathBuf, PathBuf) {
    let room = Room::new();
    let mut paths = Vec::new();
    for seed in [1, 2] {
        let (recorder, _) = room.begin(start(seed, Some((80, 24)))).await;
        for n in 0..6000 {
            recorder.output(format!("{seed}: line {n} of what was seen\r\n").as_bytes()).unwrap();
        }
        recorder.event(Event::Note { text: "warned".into() }).unwrap();
        paths.push(room.dir.path().join(recorder.relative_path()));
        room.seal(recorder).await;
    }
    let [one, other] = paths.try_into().unwrap();
    (room, one, other)
}

/// What an auditor types who has not got our program.
fn by_hand(folder: &Path, signers: &Path) -> bool {
    let line = "set -o pipefail; sha256sum \"$1\"/*[nt] | ssh-keygen -Y verify -f \"$2\" -I recorder@caponier \
                -n recording@caponier -s \"$1/seal.sig\"";
    let name = folder.file_name().unwrap();
    let status = Command::new("bash")
        .args(["-c", line, "bash"])
        .args([name, signers.as_os_str()])
        .current_dir(folder.parent().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.success()
}

/// Both judges agree; returns what ours says.
fn judged(folder: &Path, session: &SessionId, key: &PublicKey) -> Option<Fault> {
    let signers = tempfile::NamedTempFile::new().unwrap();
    fs::write(signers.path(), allowed_signers_line(&key.to_openssh().unwrap())).unwrap();
    let fault = verify(&Folder::copy(folder.to_owned()), session, std::slice::from_ref(key)).err();
    // `ssh-keygen` takes a signature with something behind its armor; we do not.
    let stricter = matches!(&fault, Some(Fault::Signature(SignatureError::Unreadable(_))));
    assert!(by_hand(folder, signers.path()) == fault.is_none() || stricter, "{fault:?}");
    fault
}

/// What is done to a file.
type Change<'a> = &'a dyn Fn(&Path);

/// A copy of the folder with `edit` done to it.
fn copy(folder: &Path, edit: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(folder.file_name().unwrap());
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    edit(&copy);
    (dir, copy)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn every_change_is_found_by_us_and_by_ssh_keygen() {
    let (room, one, other) = room().await;
    let key = room.recordings.public_key().clone();
    let session = session(1);
    assert_eq!(judged(&one, &session, &key), None, "untouched");
    assert_eq!(judged(&other, &super::session(2), &key), None, "untouched");
    let names = ["0001.cast", "events.ndjson", "chain.ndjson", "session.json", "seal.json", "seal.sig"];
    for name in names {
        let size = fs::metadata(one.join(name)).unwrap().len();
        for at in [0, size / 2, size - 1] {
            let (_dir, path) = copy(&one, |path| {
                edit(&path.join(name), |bytes| bytes[usize::try_from(at).unwrap()] ^= 1);
            });
            let fault = judged(&path, &session, &key);
            assert!(fault.is_some(), "{name}, byte {at}");
            if let Some(Fault::Altered { name: found, place }) = &fault {
                assert_eq!(found, name);
                assert!(
                    place.from <= at && place.before.is_none_or(|before| at < before),
                    "{name} {at}: {place}"
                );
                let span = place.before.unwrap_or(size) - place.from;
                assert!(name != "0001.cast" || span <= 128 * 1024, "{name} {at}: {place}");
            }
        }
        let rows: [(&str, Change<'_>); 4] = [
            ("removed", &|path| fs::remove_file(path).unwrap()),
            ("cut", &|path| edit(path, |bytes| bytes.truncate(bytes.len() / 2))),
            ("longer", &|path| edit(path, |bytes| bytes.extend(b"[9.0, \"o\", \"x\"]\n"))),
            ("emptied", &|path| edit(path, Vec::clear)),
        ];
        for (what, change) in rows {
            let (_dir, path) = copy(&one, |path| change(&path.join(name)));
            assert!(
                judged(&path, &session, &key).is_some() || (name == "seal.sig" && what == "longer"),
                "{name} {what}"
            );
        }
        let (_dir, path) = copy(&one, |path| {
            fs::copy(other.join(name), path.join(name)).unwrap();
        });
        assert!(judged(&path, &session, &key).is_some(), "{name} of another session");
    }
    for name in ["0001.cast", "events.ndjson", "chain.ndjson"] {
        let (_dir, path) = copy(&one, |path| {
            let text = fs::read_to_string(path.join(name)).unwrap();
            let kept: Vec<&str> = text
                .split_inclusive('\n')
                .enumerate()
                .filter(|(n, _)| *n != 1)
                .map(|(_, line)| line)
                .collect();
            fs::write(path.join(name), kept.concat()).unwrap();
        });
        assert!(judged(&path, &session, &key).is_some(), "{name} without its second line");
    }
}

#[tokio::test]
async fn seals_do_not_move_and_strangers_seal_nothing() {
    let (room, one, other) = room().await;
    let key = room.recordings.public_key().clone();
    let (_dir, path) = copy(&one, |path| fs::write(path.join("0002.cast"), "x").unwrap());
    assert_eq!(judged(&path, &session(1), &key), Some(Fault::Strange("0002.cast".into())));
    // The whole folder of another session under this one's name.
    let dir = tempfile::tempdir().unwrap();
    let moved = dir.path().join(one.file_name().unwrap());
    let (_other_dir, whole) = copy(&other, |_| ());
    fs::rename(whole, &moved).unwrap();
    assert!(judged(&moved, &session(1), &key).is_some());

    // Recorded anew with a key of one's own, as the bastion's root could.
    let forged = Room::new();
    let random = Random::seeded(7);
    let own =
        RecordingKey::new(random.with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap());
    let own_key = own.public().clone();
    let recordings = Recordings::new(settings(forged.dir.path()), own, "test".into());
    let recorder = recordings.begin(start(1, Some((80, 24))), Default::default()).await.unwrap();
    let path = forged.dir.path().join(recorder.relative_path());
    recordings.seal(recorder, closing()).await.unwrap();
    assert_eq!(judged(&path, &session(1), &own_key), None);
    assert!(matches!(judged(&path, &session(1), &key), Some(Fault::Signature(_))));
}

/// Parts: each plays alone, all are sealed, and put together they are what was seen.
#[tokio::test]
async fn long_sessions_go_on_in_another_file() {
    let room = Room::new();
    let mut config = settings(room.dir.path());
    config.part_max = 64 << 10;
    let recordings = super::recordings(config);
    let recorder = recordings.begin(start(3, Some((80, 24))), Default::default()).await.unwrap();
    let path = room.dir.path().join(recorder.relative_path());
    let mut seen = String::new();
    for n in 0..4000 {
        let line = format!("line {n} \u{20ac}\r\n");
        // Characters are cut by chunks, and parts begin between their halves.
        for chunk in line.as_bytes().chunks(5) {
            recorder.output(chunk).unwrap();
        }
        seen.push_str(&line);
    }
    recordings.seal(recorder, closing()).await.unwrap();
    let folder = Folder::copy(path.clone());
    let casts = folder.casts().unwrap();
    assert!(casts.len() > 2, "{casts:?}");
    assert_eq!(judged(&path, &session(3), recordings.public_key()), None);
    let mut joined = folder.joined().unwrap();
    let mut text = String::new();
    while let Some(event) = joined.next_event().unwrap() {
        if event.letter == 'o' {
            text.push_str(&event.text);
        }
    }
    assert_eq!(text, seen);
    for cast in &casts {
        let (text, _) = super::read(cast);
        super::assert_plays(cast, text.as_bytes());
    }
    let parts =
        folder.events().unwrap().into_iter().filter(|line| matches!(line.event, Event::Part { .. })).count();
    assert_eq!(parts + 1, casts.len());
}

/// What is said after the end, as of forwards that end with their session, is nowhere in the files.
#[tokio::test]
async fn nothing_is_written_after_the_end() {
    let room = Room::new();
    let (recorder, _) = room.begin(start(4, Some((80, 24)))).await;
    let path = room.dir.path().join(recorder.relative_path());
    let live = room.recordings.live(&session(4)).unwrap();
    let late = tokio::task::spawn_blocking(move || {
        let mut said = 0;
        while !live.is_over() || said < 1000 {
            live.event(Event::Note { text: "late".into() }).unwrap();
            said += 1;
        }
    });
    room.seal(recorder).await;
    late.await.unwrap();
    assert_eq!(judged(&path, &session(4), room.recordings.public_key()), None);
}

/// After a crash, what contradicts its checkpoints, or has none, is not sealed anew.
#[tokio::test]
async fn what_was_altered_before_it_was_recovered_is_not_sealed() {
    let room = Room::new();
    let (recorder, _) = room.begin(start(5, Some((80, 24)))).await;
    let relative = recorder.relative_path().to_owned();
    let path = room.dir.path().join(&relative);
    for n in 0..4000 {
        recorder.output(format!("line {n}\r\n").as_bytes()).unwrap();
    }
    // Two checkpoints and more are on the disk.
    crate::world::until("checkpoints", async || {
        fs::read_to_string(path.join("chain.ndjson")).ok().filter(|text| text.lines().count() > 2)
    })
    .await;
    drop(recorder);
    let rows: [(&str, Change<'_>); 3] = [
        ("no checkpoints", &|path| fs::remove_file(path.join("chain.ndjson")).unwrap()),
        ("none left", &|path| fs::write(path.join("chain.ndjson"), "").unwrap()),
        ("another line", &|path| edit(&path.join("0001.cast"), |bytes| bytes[200] ^= 1)),
    ];
    for (what, change) in rows {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(&relative);
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        let (_kept, copied) = copy(&path, change);
        fs::rename(copied, &folder).unwrap();
        let recordings = super::recordings(settings(dir.path()));
        let refused = recordings.recover(&session(5), &relative, "now".into());
        assert!(refused.is_err(), "{what}: {refused:?}");
        assert!(!folder.join("seal.sig").exists(), "{what}");
    }
    // The writer's last task may still have it open.
    crate::world::until("the writer's end", async || {
        room.recordings.recover(&session(5), &relative, "now".into()).ok()
    })
    .await;
    assert_eq!(judged(&path, &session(5), room.recordings.public_key()), None);
}
