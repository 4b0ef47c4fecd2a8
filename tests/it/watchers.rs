//! Watching by hand-made requests: what was shown before the watch began is not to be had, and nobody takes all places.

use caponier::app::App;
use caponier::recording::recorder::Look;
use caponier::recording::{Recorder, Start};
use caponier::store::SessionRow;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::archive::{insert, new_row};
use crate::requests::person;
use crate::sign_in::site::{Client, Setup, Site};
use crate::world::until;

const EXTRA: &str =
    "[sign_in]\nauditors = { subjects = [\"corp:audrey\"] }\nwatchers = { subjects = [\"corp:will\"] }\n";

/// A live session whose screen was cleared after a secret stood there.
async fn live(app: &App) -> (SessionRow, Recorder) {
    let mut row = new_row(app);
    let look = Look {
        pty: Some((80, 24)),
        term: "xterm".to_owned(),
        command: None,
        title: "root@web1".to_owned(),
        input: false,
    };
    let document = json!({ "session": row.id.as_str() });
    let start =
        Start { session: row.id.clone(), at: app.clock.now(), document, screen: Some(look), lossy: false };
    let recorder = app.recordings.begin(start, CancellationToken::new()).await.unwrap();
    row.recording = Some(recorder.relative_path().to_owned());
    insert(app, &row).await;
    recorder.output(b"the secret of before\r\n\x1b[2J\x1b[Hthe screen as it stands\r\n").unwrap();
    let cast = app.config.recording.dir.join(recorder.relative_path()).join("0001.cast");
    until("the screen in the recording", async || {
        std::fs::read_to_string(&cast).is_ok_and(|text| text.contains("as it stands")).then_some(())
    })
    .await;
    (row, recorder)
}

async fn begin(who: &Client<'_>, row: &SessionRow) -> (u16, Value) {
    let (status, answer) = who.call("POST", &format!("/v1/sessions/{}/watch", row.id), &Value::Null).await;
    (status.as_u16(), answer)
}

async fn more(who: &Client<'_>, row: &SessionRow, watch: &str, place: &str) -> (u16, Value) {
    let path = format!("/v1/sessions/{}/watch?watch={watch}&place={place}", row.id);
    let (status, answer) = who.call("GET", &path, &Value::Null).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn nobody_is_shown_what_was_before_the_watch() {
    let site = Site::start_set(Setup { extra: EXTRA, ..Setup::default() }).await;
    let (row, recorder) = live(&site.app).await;
    let watcher = person(&site, "will", &[]).await;
    let (status, begun) = begin(&watcher, &row).await;
    assert_eq!(status, 200, "{begun}");
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    assert!(text(&begun, "cast").contains("as it stands") && !text(&begun, "cast").contains("secret"));
    let (watch, place) = (text(&begun, "watch"), text(&begun, "place"));
    let numbers: Vec<u64> = place.split('-').map(|number| number.parse().unwrap()).collect();
    let earlier = format!("1-{}-{}-{}", numbers[1] - 1, numbers[2], numbers[3]);
    for bad in ["1-0-0-0", "0-0-0-0", &earlier, "1-0-99999999-0", &format!("0-{}-0-0", numbers[1]), "", "x"] {
        let (status, answer) = more(&watcher, &row, &watch, bad).await;
        assert_eq!(status, 400, "{bad:?}: {answer}");
        assert!(!answer.to_string().contains("secret"), "{bad:?}: {answer}");
    }
    recorder.output(b"what comes\r\n").unwrap();
    let (status, next) = more(&watcher, &row, &watch, &place).await;
    assert!(status == 200 && text(&next, "cast").contains("what comes"), "{next}");
    // An answer that got lost is asked for again.
    let (status, again) = more(&watcher, &row, &watch, &place).await;
    assert!(status == 200 && text(&again, "cast").contains("what comes"), "{again}");
}

#[tokio::test]
async fn one_watcher_does_not_take_all_places() {
    let site = Site::start_set(Setup { extra: EXTRA, ..Setup::default() }).await;
    let (row, _recorder) = live(&site.app).await;
    let (greedy, other) = (person(&site, "will", &[]).await, person(&site, "audrey", &[]).await);
    // The same person with another key is the same person.
    let again = person(&site, "will", &[]).await;
    let asked = [&greedy, &again, &greedy, &again, &greedy, &again].map(|who| begin(who, &row));
    let answers = futures_util::future::join_all(asked).await;
    let refused: Vec<&(u16, Value)> = answers.iter().filter(|(status, _)| *status == 429).collect();
    assert_eq!((answers.iter().filter(|(status, _)| *status == 200).count(), refused.len()), (4, 2));
    assert!(refused[0].1.to_string().contains("you are watching 4"), "{refused:?}");
    assert_eq!(begin(&other, &row).await.0, 200);
    let watched = site.audit().await.iter().filter(|line| line.starts_with("session_watched ")).count();
    assert_eq!(watched, 5, "who is refused has not watched");
}
