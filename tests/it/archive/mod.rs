//! Recordings leave the bastion: exported, archived, read back, deleted. Here is what the files beside share: sealed
//! folders made by hand, as the recorder writes them, with rows of their sessions.

mod early;
mod export;
mod folder;
mod holds;
mod hostile;
mod s3;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caponier::app::App;
use caponier::audit::AuditEvent;
use caponier::cli::recordings;
use caponier::ids::SessionId;
use caponier::recording::Sum;
use caponier::recording::key::{RECORDING, RecordingKey};
use caponier::recording::recorder::Look;
use caponier::recording::seal::{SealFile, manifest};
use caponier::recording::{Closing, Start};
use caponier::store::{SessionRow, SignIn};
use clap::Parser;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::store::rows;

/// What a session showed and did.
pub(crate) struct Shown<'a> {
    /// Lines of events of each part of the cast.
    pub(crate) parts: &'a [&'a str],
    /// `events.ndjson`.
    pub(crate) events: &'a str,
}

/// A terminal on which two parts were shown; exit status 3.
pub(crate) const TWO_PARTS: Shown<'static> = Shown {
    parts: &[
        "[0.100000, \"o\", \"gr\u{fc}\u{df}e \u{20ac}\\r\\n\"]\n[0.200000, \"r\", \"100x30\"]\n",
        "[0.050000, \"o\", \"the second part\\r\\n\"]\n",
    ],
    events: "{\"n\":1,\"t\":0.3,\"event\":\"closed\",\"reason\":\"finished\",\"exit_status\":3,\"bytes_in\":0,\
             \"bytes_out\":34}\n",
};

const HEADER: &str = "{\"version\": 2, \"width\": 80, \"height\": 24, \"timestamp\": 1800000000, \
                      \"env\": {\"TERM\": \"xterm\"}}\n";

/// The files of a session that is still running, below the recordings of `app`; returns where they are.
pub(crate) fn write_open(app: &App, session: &SessionId, shown: &Shown<'_>) -> PathBuf {
    let path = app.config.recording.dir.join(relative(session));
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("session.json"), format!("{{\"session\":\"{session}\"}}\n")).unwrap();
    for (number, events) in (1..).zip(shown.parts) {
        fs::write(path.join(format!("{number:04}.cast")), format!("{HEADER}{events}")).unwrap();
    }
    fs::write(path.join("events.ndjson"), shown.events).unwrap();
    path
}

/// Seals what is in `path` as the recorder does, with this bastion's key; returns the digest of what was signed.
pub(crate) fn seal(app: &App, path: &Path) -> String {
    seal_by(app, app.recordings.key(), path)
}

/// The same with any key.
pub(crate) fn seal_by(app: &App, key: &RecordingKey, path: &Path) -> String {
    let line = format!("{{\"n\":0,\"t\":0.0,\"files\":[],\"previous\":\"{}\"}}\n", "0".repeat(64));
    fs::write(path.join("chain.ndjson"), &line).unwrap();
    let mut files = sums(path);
    let session = path.file_name().unwrap().to_str().unwrap();
    let document = SealFile {
        version: 1,
        session: session.to_owned(),
        node: app.node.to_string(),
        sealed: app.clock.now().to_string(),
        reason: "finished".to_owned(),
        interrupted: false,
        complete: true,
        checkpoint: 0,
        chain: digest(line.as_bytes()),
        files: files.clone(),
    };
    fs::write(path.join("seal.json"), serde_json::to_string(&document).unwrap()).unwrap();
    files = sums(path);
    let manifest = manifest(session, &files);
    fs::write(path.join("seal.sig"), key.sign(RECORDING, manifest.as_bytes()).unwrap()).unwrap();
    digest(manifest.as_bytes())
}

fn sums(path: &Path) -> Vec<Sum> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    let sum = |name: String| {
        let bytes = fs::read(path.join(&name)).unwrap();
        Sum { name, bytes: bytes.len() as u64, sha256: digest(&bytes) }
    };
    names.into_iter().map(sum).collect()
}

/// A session that is over and sealed.
pub(crate) async fn sealed(app: &App, shown: &Shown<'_>) -> SessionRow {
    let mut row = new_row(app);
    let path = write_open(app, &row.id, shown);
    row.recording_sha256 = Some(seal(app, &path));
    over(app, row).await
}

/// The same of before there were folders: one cast.
pub(crate) async fn sealed_alone(app: &App, text: &str) -> SessionRow {
    let mut row = new_row(app);
    let relative = format!("{}.cast", relative(&row.id));
    let path = app.config.recording.dir.join(&relative);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    row.recording = Some(relative);
    row.recording_sha256 = Some(digest(text.as_bytes()));
    over(app, row).await
}

/// A session that is running, without its row in the store yet.
pub(crate) fn new_row(app: &App) -> SessionRow {
    let sign_in = rows::sign_in(&app.random);
    let mut row = rows::session(&app.random, &sign_in.id);
    row.node = app.node.to_string();
    row.recording = Some(relative(&row.id));
    row
}

async fn over(app: &App, mut row: SessionRow) -> SessionRow {
    row.closed = Some(app.clock.now());
    row.close_reason = Some("finished".to_owned());
    insert(app, &row).await;
    row
}

/// Writes the row, and a sign-in for it, with the entries of the audit log that go with them.
pub(crate) async fn insert(app: &App, row: &SessionRow) {
    let sign_in = SignIn { id: row.sign_in.clone(), ..rows::sign_in(&app.random) };
    let mut tx = app.store.begin().await.unwrap();
    tx.insert_sign_in(&sign_in).await.unwrap();
    tx.insert_session(row).await.unwrap();
    let opened = AuditEvent::SessionOpened {
        session: row.id.clone(),
        who: sign_in.who,
        sign_in: row.sign_in.clone(),
        client_serial: None,
        target_serial: 1,
        target: row.target.clone(),
        login: row.login.clone(),
        act: "shell".to_owned(),
        role: "ops".to_owned(),
        grants: Vec::new(),
        rule: None,
        assurance: None,
        transfer: None,
        sent: None,
        policy: String::new(),
        from: row.from.clone(),
        recording: row.recording.clone(),
    };
    tx.commit(app.clock.now(), opened).await.unwrap();
    if row.closed.is_some() {
        app.store.note(app.clock.now(), closing(row)).await.unwrap();
    }
}

/// What the audit log has of the end of a session.
pub(crate) fn closing(row: &SessionRow) -> AuditEvent {
    AuditEvent::SessionClosed {
        session: row.id.clone(),
        reason: row.close_reason.clone().unwrap_or_default(),
        exit_status: row.exit_status,
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        recording_sha256: row.recording_sha256.clone(),
    }
}

fn relative(session: &SessionId) -> String {
    format!("2027/01/15/{session}")
}

/// SHA-256 in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: recordings::Command,
}

/// `caponier recordings ARGS` on this bastion: what it writes, or why it fails.
pub(crate) async fn recordings(app: &App, args: &[&str]) -> Result<String, String> {
    let line = Line::try_parse_from([&["recordings"], args].concat()).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let code = recordings::run(line.command, &app.config, &app.store, &mut out).await;
    let code = code.map_err(|error| format!("{error:#}"))?;
    assert_eq!(code, ExitCode::SUCCESS);
    Ok(String::from_utf8(out).unwrap())
}

/// The same where the exit code is an answer.
pub(crate) async fn recordings_code(app: &App, args: &[&str]) -> (ExitCode, String) {
    let line = Line::try_parse_from([&["recordings"], args].concat()).unwrap();
    let mut out = Vec::new();
    let code = recordings::run(line.command, &app.config, &app.store, &mut out).await.unwrap();
    (code, String::from_utf8(out).unwrap())
}

/// A session that is over, recorded and sealed by the recorder itself.
pub(crate) async fn recorded(app: &App) -> SessionRow {
    let mut row = new_row(app);
    let look = Look {
        pty: Some((80, 24)),
        term: "xterm".to_owned(),
        command: None,
        title: "root@web1".to_owned(),
        input: false,
    };
    let start = Start {
        session: row.id.clone(),
        at: app.clock.now(),
        document: serde_json::json!({ "session": row.id.as_str() }),
        screen: Some(look),
        lossy: false,
    };
    let recorder = app.recordings.begin(start, CancellationToken::new()).await.unwrap();
    row.recording = Some(recorder.relative_path().to_owned());
    let (at, reason) = (app.clock.now(), "finished".to_owned());
    let closing = Closing { at, reason, exit_status: Some(0), bytes_in: 0, bytes_out: 0 };
    row.recording_sha256 = Some(app.recordings.seal(recorder, closing).await.unwrap().sha256);
    over(app, row).await
}
