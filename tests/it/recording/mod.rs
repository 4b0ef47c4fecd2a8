//! Recordings with real parts: files on a disk, asciinema from Debian as judge of what plays, a process killed in the
//! middle, a disk that is full. asciinema 3 is not in Debian; the rules it adds are unit tests of `asciicast`.

mod players;
mod sealed;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use caponier::config;
use caponier::ids::SessionId;
use caponier::random::Random;
use caponier::recording::key::RecordingKey;
use caponier::recording::recorder::Look;
use caponier::recording::verify::verify;
use caponier::recording::{Closing, Folder, Recorder, Recordings, Seal, Start, asciicast};
use caponier::time::Timestamp;
use russh::keys::ssh_key::{Algorithm, PrivateKey};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::world::until;

/// Tells the scenarios below, which run in processes of their own, where to record.
const DIR: &str = "CAPONIER_TEST_RECORDINGS";

/// Where recordings are made.
struct Room {
    dir: tempfile::TempDir,
    recordings: Recordings,
}

fn settings(dir: &Path) -> config::Recording {
    let (exec_output_max, part_max) = (1 << 20, 256 << 20);
    config::Recording { dir: dir.to_owned(), input: false, exec_output_max, part_max, free_min: 0 }
}

/// The same key each time: of processes that stand for one bastion.
fn recordings(config: config::Recording) -> Recordings {
    let key = Random::seeded(99).with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap();
    Recordings::new(config, RecordingKey::new(key), "test".into())
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recordings = recordings(settings(dir.path()));
        Self { dir, recordings }
    }

    async fn begin(&self, start: Start) -> (Recorder, CancellationToken) {
        let failed = CancellationToken::new();
        (self.recordings.begin(start, failed.clone()).await.unwrap(), failed)
    }

    /// The first part of the cast.
    fn cast(&self, recorder: &Recorder) -> PathBuf {
        self.dir.path().join(recorder.relative_path()).join("0001.cast")
    }

    async fn seal(&self, recorder: Recorder) -> Seal {
        self.recordings.seal(recorder, closing()).await.unwrap()
    }
}

fn closing() -> Closing {
    let at = Timestamp::from_secs(1_800_000_100);
    Closing { at, reason: "finished".into(), exit_status: Some(0), bytes_in: 1, bytes_out: 2 }
}

fn session(seed: u64) -> SessionId {
    SessionId::random(&Random::seeded(seed))
}

fn start(seed: u64, pty: Option<(u32, u32)>) -> Start {
    Start {
        session: session(seed),
        at: Timestamp::from_secs(1_800_000_000),
        document: serde_json::json!({ "session": session(seed).as_str() }),
        screen: Some(Look {
            pty,
            term: "xterm".to_owned(),
            command: pty.is_none().then(|| "printf '%s\\n' \"a\"".to_owned()),
            title: "root@web1, by corp:u1 (Zo\u{eb})".to_owned(),
            input: false,
        }),
        lossy: false,
    }
}

/// Runs `asciinema VERB FILE` on a terminal of its own; what it wrote, and whether it was content.
pub(crate) fn asciinema(verb: &str, file: &Path) -> (Vec<u8>, bool) {
    let scratch = tempfile::tempdir().unwrap();
    let written = scratch.path().join("out");
    let line = format!("asciinema {verb} {} > {}", file.display(), written.display());
    let status = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("script (Debian: bsdutils) is installed");
    (fs::read(&written).unwrap_or_default(), status.success())
}

fn assert_plays(file: &Path, expect: &[u8]) {
    for verb in ["cat", "play -s 1000000", "play -s 1000000 -i 0.001"] {
        let (got, content) = asciinema(verb, file);
        assert!(content, "asciinema {verb} fails on {}", file.display());
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expect), "asciinema {verb}");
    }
}

/// Every line of the file, checked; the texts of all `o` events together, and the number of other events.
fn read(file: &Path) -> (String, usize) {
    let bytes = fs::read(file).unwrap();
    let mut lines = bytes.strip_suffix(b"\n").expect("a whole last line").split(|b| *b == b'\n');
    assert!(asciicast::is_header(lines.next().unwrap()));
    let (mut text, mut others) = (String::new(), 0);
    for line in lines {
        let event =
            asciicast::parse_event(line).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line)));
        if event.letter == 'o' {
            text.push_str(&event.text);
        } else {
            others += 1;
        }
    }
    (text, others)
}

#[tokio::test]
async fn a_terminal_plays() {
    let room = Room::new();
    let (recorder, failed) = room.begin(start(1, Some((0, 4000)))).await;
    let file = room.cast(&recorder);
    let header = fs::read_to_string(&file).unwrap();
    assert!(asciicast::is_header(header.as_bytes()), "the header is there before any event: {header}");

    let shown = "$ ls\r\n\x1b[1;34mb\u{fc}cher\x1b[0m \"q\" \\ \t\u{20ac}\u{1f600}\u{2028}\x7f\0\r\n";
    for chunk in shown.as_bytes().chunks(3) {
        recorder.output(chunk).unwrap();
    }
    recorder.resize(100, 30).unwrap();
    recorder.marker("approved by \"x\"\n").unwrap();
    recorder.input(b"never kept").unwrap();
    recorder.output(b"\xff\xfebad\xe2\x82").unwrap();
    let before_seal = fs::read_to_string(&file).unwrap();
    assert!(before_seal.contains("100x30") && before_seal.contains("bad"), "written while it happens");
    assert!(!before_seal.contains("never kept"));

    let expect = format!("{shown}\u{fffd}\u{fffd}bad\u{fffd}");
    let seal = room.seal(recorder).await;
    assert!(!failed.is_cancelled() && !seal.interrupted);
    assert_eq!(read(&file), (expect.clone(), 2));
    assert_plays(&file, expect.as_bytes());
}

#[tokio::test]
async fn a_command_plays() {
    let room = Room::new();
    let (recorder, _) = room.begin(start(2, None)).await;
    let file = room.cast(&recorder);
    for (errors, bytes) in
        [(false, &b"one\ntw\xc3"[..]), (true, b"warning\n"), (false, b"\xb6\r"), (false, b"\nend\n")]
    {
        if errors { recorder.error_output(bytes).unwrap() } else { recorder.output(bytes).unwrap() }
    }
    room.seal(recorder).await;
    assert_plays(&file, "one\r\ntwwarning\r\n\u{f6}\r\nend\r\n".as_bytes());
}

#[tokio::test]
async fn an_empty_recording_plays_and_binary_is_counted_only() {
    let room = Room::new();
    let (empty, _) = room.begin(start(3, Some((80, 24)))).await;
    let file = room.cast(&empty);
    room.seal(empty).await;
    assert_plays(&file, b"");

    let (binary, _) = room.begin(start(4, None)).await;
    let file = room.cast(&binary);
    let archive = vec![0x1f; 3_000_000];
    binary.output(b"\x1f\x8b\x08\0\0").unwrap();
    binary.output(&archive).unwrap();
    binary.error_output(b"tar: note\n").unwrap();
    let seal = room.seal(binary).await;
    assert!(seal.bytes < 2000, "{} bytes", seal.bytes);
    let all = [&b"\x1f\x8b\x08\0\0"[..], &archive].concat();
    let digest: String = Sha256::digest(&all).iter().map(|b| format!("{b:02x}")).collect();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("3000005 bytes in all, sha256 {digest}")), "{text}");
    assert_plays(&file, b"tar: note\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_while_nothing_happens() {
    let room = Room::new();
    let (recorder, _) = room.begin(start(5, Some((80, 24)))).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let wait_idle = async |after: &str| {
        let what = format!("no task that still runs after {after}");
        until(&what, async || (metrics.num_alive_tasks() == 0).then_some(())).await;
    };
    wait_idle("the header").await;
    recorder.output(b"x").unwrap();
    assert_eq!(metrics.num_alive_tasks(), 1, "somebody must sync this");
    let began = Instant::now();
    wait_idle("one byte").await;
    assert!(began.elapsed() > Duration::from_millis(500), "a single key must not cost a sync of its own");
    recorder.output(&[b'x'; 100_000]).unwrap();
    let began = Instant::now();
    wait_idle("many bytes").await;
    println!("idle {:?} after 100 kB", began.elapsed());
    room.seal(recorder).await;
    wait_idle("the seal").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pumps_lose_nothing() {
    let room = Room::new();
    let (recorder, _) = room.begin(start(6, Some((80, 24)))).await;
    let file = room.cast(&recorder);
    let recorder = Arc::new(recorder);
    let pump = |letter: u8| {
        let recorder = Arc::clone(&recorder);
        tokio::task::spawn_blocking(move || (0..2000).for_each(|_| recorder.output(&[letter; 7]).unwrap()))
    };
    let (a, b) = (pump(b'a'), pump(b'b'));
    a.await.unwrap();
    b.await.unwrap();
    room.seal(Arc::into_inner(recorder).unwrap()).await;
    let (text, _) = read(&file);
    for letter in ["a", "b"] {
        assert_eq!(text.matches(letter).count(), 14_000);
    }
    assert!(text.as_bytes().chunks(7).all(|seven| seven.iter().all(|b| *b == seven[0])), "events are whole");
}

#[tokio::test]
async fn the_same_session_is_never_recorded_twice() {
    let room = Room::new();
    let (first, _) = room.begin(start(7, None)).await;
    let second = room.recordings.begin(start(7, None), CancellationToken::new()).await;
    assert!(second.is_err());
    let living = room.recordings.recover(&session(7), first.relative_path(), String::new()).unwrap_err();
    assert!(living.to_string().contains("still being written"), "{living}");
    first.output(b"still fine\n").unwrap();
    room.seal(first).await;
}

fn scenario(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("recording::{name}"), "--ignored", "--nocapture"]);
    command
}

/// The folder of session 8 below `dir`.
fn only_recording(dir: &Path) -> (String, PathBuf) {
    let relative = format!("2027/01/15/{}", session(8));
    let folder = dir.join(&relative);
    (relative, folder)
}

#[tokio::test]
#[ignore = "a part of `kill_9_leaves_a_playable_file`, which runs it in a process of its own and kills it"]
async fn scenario_record_until_killed() {
    let dir = std::env::var(DIR).expect("run by kill_9_leaves_a_playable_file");
    let recordings = recordings(settings(Path::new(&dir)));
    let recorder = recordings.begin(start(8, Some((80, 24))), CancellationToken::new()).await.unwrap();
    for n in 0..u64::MAX {
        recorder.output(format!("line {n}\r\n").as_bytes()).unwrap();
        println!("written {n}");
    }
}

#[test]
fn kill_9_leaves_a_playable_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut child =
        scenario("scenario_record_until_killed").env(DIR, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut last = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(n) = line.unwrap().strip_prefix("written ") {
            last = n.parse::<u64>().ok();
        }
        if last == Some(500) {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    let (relative, folder) = only_recording(dir.path());
    let recordings = recordings(settings(dir.path()));
    let recovered = recordings.recover(&session(8), &relative, "now".into()).unwrap();
    assert!(recovered.seal.interrupted);
    let again = recordings.recover(&session(8), &relative, "later".into()).unwrap();
    assert_eq!(again.seal, recovered.seal, "a second time changes nothing");
    let file = folder.join("0001.cast");
    let (text, others) = read(&file);
    assert_eq!(others, 1, "one mark");
    assert!(text.contains("line 500\r\n"), "what was reported as written is there");
    assert_plays(&file, text.as_bytes());
}

#[tokio::test]
#[ignore = "a part of `a_full_disk_ends_the_recording`, which runs it under a file size limit"]
async fn scenario_record_until_full() {
    let dir = std::env::var(DIR).expect("run by a_full_disk_ends_the_recording");
    let recordings = recordings(settings(Path::new(&dir)));
    let failed = CancellationToken::new();
    let recorder = recordings.begin(start(8, Some((80, 24))), failed.clone()).await.unwrap();
    let error = (0..100_000).find_map(|n| recorder.output(format!("line {n}\r\n").as_bytes()).err());
    let error = error.expect("the limit is reached");
    assert!(failed.is_cancelled());
    assert_eq!(recorder.output(b"x"), Err(error.clone()));
    assert_eq!(recorder.marker("x"), Err(error.clone()));
    assert_eq!(recorder.failure(), Some(error.clone()));
    println!("failed with {error}");
    recordings.seal(recorder, closing()).await.unwrap();
}

/// A file size limit (RLIMIT_FSIZE) stands for the full disk: like it, it lets part of a line through and then refuses.
#[test]
fn a_full_disk_ends_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = scenario("scenario_record_until_full");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(scenario.get_program())
        .args(scenario.get_args())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("cannot write: File too large"), "{said}");
    let (_, folder) = only_recording(dir.path());
    let file = folder.join("0001.cast");
    let (text, others) = read(&file);
    assert!(text.starts_with("line 0\r\n") && text.ends_with("\r\n") && others == 0);
    let size = fs::metadata(&file).unwrap().len();
    assert!((32_000..=64 * 512).contains(&size), "half a line was taken back: {size}");
    let key = recordings(settings(dir.path())).public_key().clone();
    let sealed = verify(&Folder::copy(folder), &session(8), &[key]).unwrap();
    assert!(!sealed.seal.complete, "what is missing is said");
    assert_plays(&file, text.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput() {
    let dir = tempfile::tempdir().unwrap();
    let words = "drwxr-xr-x 2 root root \x1b[01;34mdirectory\x1b[0m \u{e4}\r\n";
    let text: Vec<u8> = words.bytes().cycle().take(32 * 1024).collect();
    for (seed, chunk, total) in [(10, 32, 4 << 20), (11, 32 * 1024, 64 << 20)] {
        for pty in [Some((80, 24)), None] {
            let exec_output_max = u64::MAX;
            let recordings = recordings(config::Recording { exec_output_max, ..settings(dir.path()) });
            let start = start(seed + if pty.is_some() { 0 } else { 100 }, pty);
            let recorder = recordings.begin(start, CancellationToken::new()).await.unwrap();
            let began = Instant::now();
            let mut sent = 0;
            for piece in text.chunks(chunk).cycle() {
                recorder.output(piece).unwrap();
                sent += piece.len();
                if sent >= total {
                    break;
                }
            }
            let took = began.elapsed();
            let seal = recordings.seal(recorder, closing()).await.unwrap();
            #[expect(clippy::cast_precision_loss, reason = "a measurement to print")]
            let rate = sent as f64 / 1e6 / took.as_secs_f64();
            let kind = if pty.is_some() { "terminal" } else { "command" };
            println!(
                "{kind}, chunks of {chunk} bytes: {rate:.1} MB/s, {:.2} us a call, sealed in {:?}, file {:.2} of the bytes",
                took.as_secs_f64() * 1e6 * chunk as f64 / sent as f64,
                began.elapsed() - took,
                seal.bytes as f64 / sent as f64
            );
            assert!(rate > 0.5, "{rate} MB/s");
        }
    }
}
