//! `recordings export`, judged by the asciinema of the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use caponier::time::Clock;

use super::{Shown, TWO_PARTS, recordings, sealed};
use crate::recording::asciinema;
use crate::telling::Outpost;

#[tokio::test]
async fn one_plain_cast_of_all_parts() {
    let outpost = Outpost::open("", Clock::System).await;
    let app = &outpost.app;
    let row = sealed(app, &TWO_PARTS).await;
    let id = row.id.as_str();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("whole.cast");
    recordings(app, &["export", id, "-o", file.to_str().unwrap()]).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for verb in ["cat", "play -s 100000"] {
        let (shown, content) = asciinema(verb, &file);
        assert!(content, "asciinema {verb}");
        assert_eq!(String::from_utf8(shown).unwrap(), "gr\u{fc}\u{df}e \u{20ac}\r\nthe second part\r\n");
    }
    assert_eq!(recordings(app, &["export", id]).await.unwrap(), fs::read_to_string(&file).unwrap());
    let again = recordings(app, &["export", id, "-o", file.to_str().unwrap()]).await.unwrap_err();
    assert!(again.contains("cannot make"), "nothing is written over: {again}");

    let v3 = recordings(app, &["export", id, "--format", "v3"]).await.unwrap();
    let lines: Vec<&str> = v3.lines().collect();
    assert!(
        lines[0].starts_with("{\"version\": 3, \"term\": {\"cols\": 80, \"rows\": 24, \"type\": \"xterm\"}"),
        "{v3}"
    );
    assert_eq!(lines.last(), Some(&"[0.050000, \"x\", \"3\"]"), "{v3}");
}

#[tokio::test]
async fn the_folder_as_it_was_sealed() {
    let outpost = Outpost::open("", Clock::System).await;
    let app = &outpost.app;
    let row = sealed(app, &TWO_PARTS).await;
    let dir = tempfile::tempdir().unwrap();
    let args = ["export", row.id.as_str(), "--folder", dir.path().to_str().unwrap()];
    let said = recordings(app, &args).await.unwrap();
    let copy = dir.path().join(row.id.as_str());
    assert_eq!(said.trim(), copy.to_str().unwrap());
    let original = app.config.recording.dir.join(row.recording.as_ref().unwrap());
    let mut names = 0;
    for entry in fs::read_dir(&original).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(fs::read(original.join(&name)).unwrap(), fs::read(copy.join(&name)).unwrap(), "{name:?}");
        names += 1;
    }
    assert_eq!(names, 7, "two casts, three of what happened, seal and signature");
    assert!(recordings(app, &args).await.is_err(), "nothing is written over");
}

#[tokio::test]
async fn a_session_without_a_screen_says_so() {
    let outpost = Outpost::open("", Clock::System).await;
    let row = sealed(&outpost.app, &Shown { parts: &[], events: "" }).await;
    for args in [&["export", row.id.as_str()][..], &["path", row.id.as_str()]] {
        let said = recordings(&outpost.app, args).await.unwrap_err();
        assert!(said.contains("no screen"), "{said}");
    }
    let folder = recordings(&outpost.app, &["path", row.id.as_str(), "--folder"]).await.unwrap();
    assert!(folder.trim().ends_with(row.id.as_str()), "{folder}");
}
