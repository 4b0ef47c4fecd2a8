//! Copies of the log: whatever happens to the way or to the copy, every entry gets there, in order, and nobody is told of it
//! too late.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use caponier::audit::export::Copy;
use caponier::flow::log::copy::{Copying, Turn};
use caponier::store::Store;
use caponier::time::Clock;

use super::write;
use crate::client::tls;
use crate::store::{Place, on_both};
use crate::telling::receiver::{Answer, Receiver, wall};
use crate::telling::{Outpost, SECRET};
use crate::world::bastion::CAPONIER;
use crate::world::process::run;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, scratch, until, wait_for};

async fn outpost(place: &Place, node: &str, sink: &str) -> Outpost {
    let config = format!("[[audit.sink]]\nname = \"copy\"\n{sink}\n");
    Outpost::named(node, &place.url, &config, Clock::System).await
}

/// Waits until the sink has the log up to its end, or at least up to `seq`.
async fn until_copied(store: &Store, row: &str, seq: u64) {
    until(&format!("entry {seq} at {row}"), async || {
        store.sink(row).await.is_ok_and(|place| place.seq >= seq).then_some(())
    })
    .await;
}

/// Whether lines, one after the other, are the log from its first entry on; entries may come again. Gives the last.
#[track_caller]
fn whole(lines: &[String]) -> u64 {
    let mut once: Vec<String> = Vec::new();
    for line in lines {
        // What comes again is the same.
        if !once.contains(line) {
            once.push(line.clone());
        }
    }
    let text: String = once.iter().map(|line| format!("{line}\n")).collect();
    let mut seqs = Copy::new(text.as_bytes()).map(|line| line.unwrap().seq);
    assert_eq!(seqs.next(), Some(1));
    seqs.last().unwrap_or(1)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

async fn kinds(store: &Store) -> Vec<String> {
    store.audit(0, 100_000).await.unwrap().into_iter().map(|row| row.kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_that_fails_half_of_its_calls_gets_everything() {
    on_both("half of the calls", async |place| {
        let flaky = Receiver::start(|taken, _| match taken.len() % 4 {
            0 => Answer::Status(503, String::new()),
            2 => Answer::Half,
            _ => Answer::ok(),
        });
        let sink = format!(
            "type = \"http\"\nurl = \"{}\"\ntoken_file = \"password\"\nsecret_file = \"hook-secret\"",
            flaky.url()
        );
        let one = outpost(place, "one", &sink).await;
        let jobs = one.run();
        for round in 1..=4 {
            write(&one.app.store, 25).await;
            until_copied(&one.app.store, "copy", round * 25).await;
        }
        drop(jobs);
        // Another life goes on where this one ended.
        until("the sink let go", async || {
            let held = one.app.store.hold_sink("copy", "two", (wall(), wall()), true).await.unwrap();
            held.map(|_| ())
        })
        .await;
        write(&one.app.store, 25).await;
        let jobs = one.run();
        until_copied(&one.app.store, "copy", 125).await;
        drop(jobs);
        let accepted: Vec<String> = flaky.accepted().iter().flat_map(|one| lines(&one.text)).collect();
        assert!(whole(&accepted) >= 125);
        assert!(flaky.taken().len() >= 2 * flaky.accepted().len() - 1, "it did not fail half of its calls");
        for taken in flaky.taken() {
            assert!(taken.is_signed(SECRET, wall()), "{taken:?}");
            assert_eq!(taken.header("authorization"), Some("Bearer hunter2 mail"));
            assert_eq!(taken.header("content-type"), Some("application/x-ndjson"));
            let first: u64 = taken.header("x-caponier-first").unwrap().parse().unwrap();
            assert!(taken.text.starts_with(&format!("{{\"seq\":{first},")), "{}", taken.text);
        }
        one.app.store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_bastions_one_writes_at_a_time() {
    on_both("two bastions", async |place| {
        let server = Receiver::willing();
        let sink = format!("type = \"http\"\nurl = \"{}\"", server.url());
        let (one, two) = (outpost(place, "one", &sink).await, outpost(place, "two", &sink).await);
        let jobs = [one.run(), two.run()];
        write(&one.app.store, 200).await;
        until_copied(&one.app.store, "copy", 200).await;
        drop(jobs);
        let accepted: Vec<String> = server.accepted().iter().flat_map(|one| lines(&one.text)).collect();
        let last = whole(&accepted);
        assert_eq!(accepted.len() as u64, last, "something came twice");
        for outpost in [&one, &two] {
            outpost.app.store.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_for_too_long_is_told_of() {
    let place = Place::sqlite();
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Receiver::start(move |_, _| match is_well.load(std::sync::atomic::Ordering::SeqCst) {
        true => Answer::ok(),
        false => Answer::Status(500, String::new()),
    });
    let sink = format!("type = \"http\"\nurl = \"{}\"\nbehind_max = \"1s\"", server.url());
    let one = outpost(&place, "one", &sink).await;
    write(&one.app.store, 3).await;
    let _jobs = one.run();
    until("an alert", async || {
        let rows = one.app.store.audit(0, 10_000).await.unwrap();
        rows.iter().find(|row| row.kind == "alerts_raised" && row.json.contains("audit_copy")).map(|_| ())
    })
    .await;
    let said = one.app.store.audit(0, 10_000).await.unwrap();
    let behind: Vec<_> = said.iter().filter(|row| row.kind == "audit_sink_behind").collect();
    assert_eq!(behind.len(), 1, "once");
    assert!(behind[0].json.contains("the receiver answered 500"), "{}", behind[0].json);
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    until("that it has caught up", async || {
        kinds(&one.app.store).await.contains(&"audit_sink_caught_up".to_owned()).then_some(())
    })
    .await;
    let accepted: Vec<String> = server.accepted().iter().flat_map(|one| lines(&one.text)).collect();
    assert!(whole(&accepted) >= 3);
}

/// Turns until there is nothing left to send.
async fn copy_all(hand: &mut Copying, one: &Outpost) {
    for _ in 0..100 {
        if hand.turn(&one.app).await.unwrap() == Turn::Idle {
            return;
        }
    }
    panic!("there is always more");
}

#[tokio::test]
async fn a_file_that_was_cut_or_replaced_is_noticed_and_filled_up() {
    on_both("a file", async |place| {
        let dir = scratch();
        let path = dir.path().join("audit.ndjson");
        let one = outpost(place, "one", &format!("type = \"file\"\npath = \"{}\"", path.display())).await;
        let store = &one.app.store;
        let new = || Copying::new(&one.app, &one.app.config.audit.sinks[0]);
        let gaps = async || kinds(store).await.iter().filter(|kind| *kind == "audit_sink_gap").count();
        write(store, 20).await;
        let mut hand = new();
        let mut expect = 0;
        // Each while it is open, and while nobody looks.
        for restarted in [false, true] {
            let damages: [(&str, &dyn Fn(&str)); 5] = [
                ("torn", &|text| cut(&path, text.len() - 7)),
                ("cut", &|text| cut(&path, text.len() / 2)),
                ("emptied", &|_| cut(&path, 0)),
                ("gone", &|_| std::fs::remove_file(&path).unwrap()),
                ("replaced by an older copy", &|text| {
                    let end = text[..text.len() / 2].rfind('\n').unwrap() + 1;
                    std::fs::write(dir.path().join("older"), &text[..end]).unwrap();
                    std::fs::rename(dir.path().join("older"), &path).unwrap();
                }),
            ];
            for (what, damage) in damages {
                copy_all(&mut hand, &one).await;
                let end = store.audit_end().await.unwrap();
                assert_eq!(store.sink(hand.row()).await.unwrap().seq, end, "{what}");
                damage(&std::fs::read_to_string(&path).unwrap());
                if restarted {
                    hand = new();
                }
                write(store, 5).await;
                copy_all(&mut hand, &one).await;
                expect += 1;
                assert_eq!(gaps().await, expect, "{what}, {restarted}: said once");
                let text = std::fs::read_to_string(&path).unwrap();
                assert_eq!(whole(&lines(&text)), store.audit_end().await.unwrap(), "{what}, {restarted}");
                assert_eq!(text.lines().count() as u64, store.audit_end().await.unwrap(), "nothing twice");
            }
        }
        store.close().await;
    })
    .await;
}

/// Cuts a file to this length.
fn cut(path: &Path, length: usize) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

/// What is not of this log is left alone, and said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_something_else_is_left_alone() {
    let place = Place::sqlite();
    let dir = scratch();
    let path = dir.path().join("audit.ndjson");
    let elsewhere = Place::sqlite();
    let other = elsewhere.open().await;
    write(&other, 3).await;
    let theirs: String = caponier::flow::log::lines(&other, 0, None, 100)
        .await
        .unwrap()
        .iter()
        .map(|line| line.text() + "\n")
        .collect();
    for foreign in ["not a copy\n", &theirs.replace("it said 0", "it says 0"), &theirs] {
        std::fs::write(&path, foreign).unwrap();
        let sink = format!("type = \"file\"\npath = \"{}\"\nbehind_max = \"1s\"", path.display());
        let one = outpost(&place, foreign.get(..3).unwrap(), &sink).await;
        let mut hand = Copying::new(&one.app, &one.app.config.audit.sinks[0]);
        let before = one.app.store.audit_end().await.unwrap();
        one.app.store.note(wall(), super::event(77)).await.unwrap();
        let turn = hand.turn(&one.app).await.unwrap();
        assert_eq!(turn, Turn::Failed, "{foreign}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        assert_eq!(one.app.store.audit_end().await.unwrap(), before + 1);
    }
}

/// A syslog server that takes so many messages a connection, then hangs up.
struct Syslog {
    messages: Arc<Mutex<Vec<String>>>,
    to: String,
    _dir: tempfile::TempDir,
    ca: Option<PathBuf>,
}

/// Length and message, one after the other (RFC 6587 section 3.4.1); at most so many.
fn take(stream: impl std::io::Read, messages: &Mutex<Vec<String>>, most: usize) {
    let mut stream = BufReader::new(stream);
    for _ in 0..most {
        let mut length = Vec::new();
        loop {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) if byte[0] == b' ' => break,
                Ok(1) => length.push(byte[0]),
                Ok(_) | Err(_) => return,
            }
        }
        let length: usize = String::from_utf8(length).unwrap().parse().unwrap();
        let mut message = vec![0; length];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        messages.lock().unwrap().push(String::from_utf8(message).unwrap());
    }
}

impl Syslog {
    /// `kind` is `tcp`, `tls` or `unix`; the first connections end after few messages.
    fn start(kind: &str) -> Self {
        let dir = scratch();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&messages);
        let most = |n: usize| if n < 2 { 7 } else { usize::MAX };
        let (to, ca) = match kind {
            "unix" => {
                let path = dir.path().join("log.sock");
                let listener = UnixListener::bind(&path).unwrap();
                std::thread::spawn(move || {
                    for (n, stream) in listener.incoming().flatten().enumerate() {
                        take(stream, &all, most(n));
                    }
                });
                (format!("unix:{}", path.display()), None)
            }
            "tcp" => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
                let port = listener.local_addr().unwrap().port();
                std::thread::spawn(move || {
                    for (n, stream) in listener.incoming().flatten().enumerate() {
                        take(stream, &all, most(n));
                    }
                });
                (format!("tcp://127.0.0.1:{port}"), None)
            }
            _ => {
                let (cert, key) = tls::certificate(dir.path(), "IP:127.0.0.1");
                let config = tls::server(&cert, &key);
                let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
                let port = listener.local_addr().unwrap().port();
                std::thread::spawn(move || {
                    for (n, stream) in listener.incoming().flatten().enumerate() {
                        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                        take(rustls::StreamOwned::new(session, stream), &all, most(n));
                    }
                });
                (format!("tls://127.0.0.1:{port}"), Some(cert))
            }
        };
        Self { messages, to, _dir: dir, ca }
    }

    fn sink(&self) -> String {
        let ca = self.ca.as_ref().map(|ca| format!("\nca_file = \"{}\"", ca.display())).unwrap_or_default();
        format!("type = \"syslog\"\nto = \"{}\"{ca}", self.to)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_server_that_hangs_up_gets_everything() {
    let mut stages = Vec::new();
    for kind in ["tcp", "tls", "unix"] {
        let (server, place) = (Syslog::start(kind), Place::sqlite());
        let one = outpost(&place, "one", &server.sink()).await;
        let jobs = one.run();
        write(&one.app.store, 40).await;
        stages.push((kind, server, place, one, jobs));
    }
    for (kind, server, _place, one, jobs) in stages {
        until_copied(&one.app.store, "copy", 40).await;
        drop(jobs);
        let messages = server.messages.lock().unwrap().clone();
        let lines: Vec<String> = messages
            .iter()
            .map(|message| {
                let (head, line) = message.split_once("] \u{feff}").unwrap();
                assert!(head.starts_with("<109>1 ") && head.contains(" one caponier - "), "{kind}: {head}");
                line.to_owned()
            })
            .collect();
        assert!(whole(&lines) >= 40, "{kind}");
        one.app.store.close().await;
    }
}

/// The real server, killed while it writes its file.
#[test]
fn a_killed_bastion_goes_on_with_its_file() {
    let dir = scratch();
    let path = dir.path().join("audit.ndjson");
    let config = format!("[[audit.sink]]\nname = \"worm\"\ntype = \"file\"\npath = \"{}\"", path.display());
    let mut stage = Stage::set_to(Plan { config: &config, ..Plan::default() });
    for _ in 0..3 {
        stage.ssh(&["web1", "true"]).run().ok();
        stage.bastion.kill();
        // As a torn write leaves it.
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":99").unwrap();
        stage.bastion.start();
    }
    stage.ssh(&["web1", "true"]).run().ok();
    assert!(stage.bastion.stop().success());
    stage.bastion.start();
    let end = stage.audit().len() as u64;
    wait_for("the whole file", PATIENCE, || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.ends_with('\n') && whole(&lines(&text)) >= end).then_some(())
    });
    assert!(stage.audit().iter().all(|(kind, _)| kind != "audit_sink_gap"), "nothing was lost");
    offline(&path);
    stage.bastion.admin(&["audit", "verify", "--against", path.to_str().unwrap()]).ok();
}

fn offline(path: &Path) {
    let mut verify = std::process::Command::new(CAPONIER);
    verify.args(["audit", "verify", "--file"]).arg(path);
    run(&mut verify, b"", PATIENCE).ok();
}
