//! Generated sessions in every player there is: asciinema 2 (Debian's), asciinema 3 (built by `contrib/test setup`) and the web
//! player in a real browser. What they show must be what the client saw.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use caponier::recording::Folder;
use caponier::recording::event::Event;
use caponier::recording::verify::verify;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::{Room, asciinema, session, start};
use crate::world::browser::Browser;
use crate::world::part;

/// What a session was.
struct Played {
    seed: u64,
    folder: PathBuf,
    /// What asciinema must print; none for sessions without a screen.
    seen: Option<String>,
}

const WORDS: [&str; 12] = [
    "ls -l\r\n",
    "\u{1b}[1;34mb\u{fc}cher\u{1b}[0m ",
    "\u{4f60}\u{597d}\u{4e16}\u{754c} ",
    "\u{1f469}\u{200d}\u{1f680} ",
    "\u{1f600}\u{1f3fd}",
    "\u{ac00}\u{b098}\r\n",
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}[?1049h\u{1b}[5;5Hfull screen\u{1b}[?1049l",
    "\"quoted\" \\ \t",
    "e\u{301} ",
    "\u{1b}[31mred\u{1b}[m\r\n",
    "plain words and more of them\r\n",
];

fn text(random: &mut StdRng) -> String {
    (0..random.random_range(1..60)).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect()
}

/// Gives `bytes` in pieces that cut characters and escape sequences anywhere.
fn pieces(bytes: &[u8], random: &mut StdRng, mut take: impl FnMut(&[u8])) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.random_range(1..=rest.len().min(7)));
        take(piece);
        rest = after;
    }
}

async fn played(room: &Room, seed: u64) -> Played {
    let mut random = StdRng::seed_from_u64(seed);
    let kind = seed % 8;
    let pty = match kind {
        0 | 1 => Some((random.random_range(20..200), random.random_range(5..60))),
        2 => Some((0, 0)),
        3 => Some((80, 24)),
        _ => None,
    };
    let mut start = start(seed, pty);
    if kind >= 6 {
        start.screen = None;
    }
    let (recorder, failed) = room.begin(start).await;
    let folder = room.dir.path().join(recorder.relative_path());
    let shown = text(&mut random);
    let seen = match kind {
        0..=2 => {
            pieces(shown.as_bytes(), &mut random, |piece| recorder.output(piece).unwrap());
            Some(shown)
        }
        3 => {
            let mut all = String::new();
            for n in 0..200 {
                recorder.resize(random.random_range(0..400), random.random_range(0..100)).unwrap();
                let line = format!("{n}\r\n");
                recorder.output(line.as_bytes()).unwrap();
                all.push_str(&line);
            }
            Some(all)
        }
        4 => {
            let unix = shown.replace("\r\n", "\n");
            pieces(unix.as_bytes(), &mut random, |piece| recorder.output(piece).unwrap());
            Some(shown)
        }
        5 => {
            let binary: Vec<u8> = (0..5000).map(|_| random.random()).chain([0]).collect();
            recorder.output(&[&[0], &binary[..]].concat()).unwrap();
            Some(String::new())
        }
        _ => {
            let rule = "web: default".to_owned();
            let file = Event::File {
                op: "read".into(),
                path: "/\u{4f60}".into(),
                second: None,
                allowed: true,
                rule,
            };
            let forward = Event::ForwardClosed {
                number: 1,
                reason: "finished".into(),
                bytes_in: 1,
                bytes_out: 2,
                lasted_ms: 3,
            };
            recorder.event(if kind == 6 { file } else { forward }).unwrap();
            None
        }
    };
    room.seal(recorder).await;
    assert!(!failed.is_cancelled());
    verify(&Folder::copy(folder.clone()), &session(seed), &[room.recordings.public_key().clone()]).unwrap();
    Played { seed, folder, seen }
}

/// What asciinema 3 says to these arguments.
fn asciinema_3(args: &str) -> String {
    let program = part("target/test-parts/asciinema3/bin/asciinema");
    let scratch = tempfile::tempdir().unwrap();
    let line = format!("{} {args} > {}/out", program.display(), scratch.path().display());
    let status = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", scratch.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "asciinema {args}");
    fs::read_to_string(scratch.path().join("out")).unwrap_or_default()
}

#[tokio::test]
async fn two_hundred_sessions_play_everywhere() {
    let room = Room::new();
    let long = std::env::var_os("CAPONIER_TEST_LONG").is_some_and(|said| said == "1");
    let mut sessions = Vec::new();
    for seed in 0..200 {
        sessions.push(played(&room, seed).await);
    }
    let screens: Vec<&Played> = sessions.iter().filter(|session| session.seen.is_some()).collect();
    assert_eq!(screens.len(), 150);
    let mut casts = BTreeMap::new();
    for (n, session) in screens.iter().enumerate() {
        let (cast, seen) = (session.folder.join("0001.cast"), session.seen.as_deref().unwrap_or_default());
        // One of each kind, and of the rest each fifth, unless there is time.
        if long || n < 8 || n % 5 == 0 {
            for verb in ["cat", "play -s 1000000"] {
                let (shown, content) = asciinema(verb, &cast);
                assert!(content, "asciinema {verb} fails on seed {}", session.seed);
                assert_eq!(String::from_utf8_lossy(&shown), seen, "asciinema {verb}, seed {}", session.seed);
            }
        }
        if long || n < 8 || n % 3 == 0 {
            let converted = asciinema_3(&format!("convert -f asciicast-v3 {} -", cast.display()));
            assert_eq!(output_of(&converted), seen, "asciinema 3 convert, seed {}", session.seed);
            asciinema_3(&format!("play -s 1000000 {}", cast.display()));
        }
        casts.insert(session.seed, cast);
    }
    assert_web_player_shows(&casts);
}

/// All output of a cast, as asciinema 3 gives it back.
fn output_of(cast: &str) -> String {
    let events = cast.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event[1] == "o").map(|event| event[2].as_str().unwrap().to_owned()).collect()
}

/// What is on the screen in the end, by our own terminal model.
fn last_screen(cast: &Path) -> String {
    let text = fs::read_to_string(cast).unwrap();
    let mut lines = text.lines();
    let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let size = |key: &str| usize::try_from(header[key].as_u64().unwrap()).unwrap();
    let mut screen = avt::Terminal::new(size("width"), size("height")).unwrap();
    for line in lines {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = event[2].as_str().unwrap();
        match event[1].as_str().unwrap() {
            "o" => screen.feed(text),
            "r" => {
                let (columns, rows) = text.split_once('x').unwrap();
                screen.resize(columns.parse().unwrap(), rows.parse().unwrap());
            }
            _ => {}
        }
    }
    screen.screen().visible_lines().map(avt::Line::text).collect::<Vec<_>>().join("\n")
}

/// Blanks at ends of lines, and empty lines, look the same on a page.
fn bare(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<String>()).collect();
    lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn assert_web_player_shows(casts: &BTreeMap<u64, PathBuf>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let files = casts.clone();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, &files)));
    let mut browser = Browser::start_with_scripts();
    assert_eq!(browser.goto(&format!("{url}/")), 200);
    browser.expect("all of them were played");
    let page = browser.page();
    let shown: BTreeMap<u64, Value> = serde_json::from_str(
        page["text"].as_str().unwrap().split("RESULT").nth(1).unwrap_or_else(|| panic!("{page}")),
    )
    .unwrap();
    assert_eq!(shown.len(), casts.len());
    for (seed, cast) in casts {
        assert_eq!(shown[seed]["ended"], true, "seed {seed}: {}", shown[seed]);
        let screen = shown[seed]["screen"].as_str().unwrap();
        let (shown, expect) = (bare(screen), bare(&last_screen(cast)));
        // Of a terminal whose size changes the page shows more: all that fits the largest.
        assert!(
            shown == expect || seed % 8 == 3 && shown.ends_with(&expect),
            "seed {seed}: {shown:?} {expect:?}"
        );
    }
}

/// Answers one request with the page, the player or a cast.
fn serve(mut stream: TcpStream, casts: &BTreeMap<u64, PathBuf>) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    let line = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let player = part("target/test-parts/player/node_modules/asciinema-player/dist/bundle");
    let (kind, body) = match path.as_str() {
        "/player.js" => ("text/javascript", fs::read(player.join("asciinema-player.min.js")).unwrap()),
        "/player.css" => ("text/css", fs::read(player.join("asciinema-player.css")).unwrap()),
        "/" => ("text/html", page(casts).into_bytes()),
        cast => match cast.trim_matches('/').strip_suffix(".cast").and_then(|seed| seed.parse().ok()) {
            Some(seed) => ("application/x-asciicast", fs::read(&casts[&seed]).unwrap()),
            None => ("text/plain", Vec::new()),
        },
    };
    let mut head = String::new();
    write!(head, "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
        .unwrap();
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)));
}

/// Plays one after the other to its end and says what is on the screen then.
fn page(casts: &BTreeMap<u64, PathBuf>) -> String {
    let seeds: Vec<String> = casts.keys().map(ToString::to_string).collect();
    format!(
        r#"<!doctype html><link rel="stylesheet" href="/player.css"><script src="/player.js"></script><pre id="out"></pre><div id="at"></div>
<script>
const shown = {{}};
const at = document.getElementById("at");
async function one(seed) {{
  at.textContent = "";
  const player = AsciinemaPlayer.create(`/${{seed}}.cast`, at, {{ preload: true, fit: false }});
  const ended = new Promise((yes) => player.addEventListener("ended", () => yes(true)));
  const late = new Promise((yes) => setTimeout(() => yes(false), 10000));
  await player.play();
  const result = await Promise.race([ended, late]);
  await new Promise((yes) => requestAnimationFrame(() => requestAnimationFrame(yes)));
  const text = at.querySelector(".ap-term-text, pre.ap-terminal, .ap-term");
  shown[seed] = {{ ended: result, screen: text ? [...text.querySelectorAll(".ap-line")].map((line) => line.textContent).join("\n") : "" }};
  player.dispose();
}}
(async () => {{
  for (const seed of [{}]) await one(seed);
  document.getElementById("out").textContent = "all of them were played RESULT" + JSON.stringify(shown);
}})();
</script>"#,
        seeds.join(",")
    )
}
