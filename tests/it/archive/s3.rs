//! Recordings go to a bucket: moto (its requirements are in tests/archive) behind a proxy that fails half of all calls.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caponier::random::Random;
use caponier::store::Here;
use caponier::time::Clock;

use super::folder::until_row;
use super::{Shown, TWO_PARTS, recordings, sealed};
use crate::telling::Outpost;
use crate::world::process::Kept;
use crate::world::{free_port, part, scratch, wait_for_port};

/// An S3 of this machine, with the bucket `bucket`.
struct Moto {
    port: u16,
    _server: Kept,
}

impl Moto {
    fn start() -> Self {
        let port = free_port();
        let mut server = Command::new(part("target/test-parts/archive/bin/moto_server"));
        server.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Kept::start(&mut server);
        wait_for_port(port);
        let said = ask(
            port,
            "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        Self { port, _server: server }
    }

    /// The names of all objects.
    fn list(&self) -> Vec<String> {
        let said = ask(
            self.port,
            "GET /bucket?list-type=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        );
        said.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }
}

fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Passes calls on, or not: half of them fail, each in one of five ways.
struct Faulty {
    port: u16,
    calls: Arc<AtomicU64>,
    faults: Arc<AtomicU64>,
}

impl Faulty {
    fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (calls, faults) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, failed) = (Arc::clone(&calls), Arc::clone(&faults));
        let random = Random::seeded(11);
        std::thread::spawn(move || {
            // Ends with the test's process.
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let fault = random.u64() % 10;
                if fault < 5 {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                std::thread::spawn(move || match stream.and_then(|stream| pass(stream, target, fault)) {
                    // A client that goes away is what faults lead to.
                    Ok(()) | Err(_) => {}
                });
            }
        });
        Self { port, calls, faults }
    }
}

fn pass(mut client: TcpStream, target: u16, fault: u64) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    if fault == 0 {
        // With bytes unread this is a reset.
        return client.shutdown(Shutdown::Both);
    }
    let (head, body) = read_request(&mut client)?;
    if fault == 1 {
        return client.write_all(
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    if fault == 2 {
        return client.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match fault {
        // It was done, and nobody hears of it.
        3 => client.shutdown(Shutdown::Both),
        // It was done, and half of the answer comes.
        4 => client.write_all(&answer[..answer.len() / 2]),
        _ => client.write_all(&answer),
    }
}

fn read_request(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut chunk = [0; 64 * 1024];
        let count = client.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let have = body.len();
    body.resize(length, 0);
    client.read_exact(&mut body[have.min(length)..])?;
    Ok((head, body))
}

fn bucket(port: u16, more: &str) -> String {
    format!(
        "[archive]\nkind = \"s3\"\nbucket = \"bucket\"\nprefix = \"caponier/test\"\nendpoint = \"http://127.0.0.1:{port}\"\n\
         path_style = true\naccess_key_file = \"hook-secret\"\nsecret_key_file = \"password\"\n{more}\n"
    )
}

/// Text that zstd makes little of: what is archived of it is longer than what goes into one request.
fn noise(random: &Random) -> String {
    (0..1800)
        .map(|n| {
            format!("[{n}.000000, \"o\", \"{}\"]\n", (0..180).map(|_| random.token()).collect::<String>())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_though_half_of_all_calls_fail() {
    let moto = Moto::start();
    let faulty = Faulty::before(moto.port);
    let keys = scratch();
    let auditor = crate::world::keys::Key::make(keys.path(), "auditor");
    let more = format!("keep_local = \"0s\"\nencrypt_to = [{:?}]\n", auditor.public().trim());
    let outpost = Outpost::open(&bucket(faulty.port, &more), Clock::System).await;
    let app = &outpost.app;
    let long = noise(&app.random);
    assert!(long.len() > 13 << 20);
    let mut expect = Vec::new();
    for n in 0..8 {
        let shown =
            if n == 0 { Shown { parts: &[&long, "[0.1, \"o\", \"end\"]\n"], events: "" } } else { TWO_PARTS };
        let row = sealed(app, &shown).await;
        let text = recordings(app, &["export", row.id.as_str()]).await.unwrap();
        expect.push((row, text));
    }
    let running = outpost.run();
    for (row, _) in &expect {
        until_row(app, row, "archived, and gone from here", |row| row.here == Here::No).await;
    }
    drop(running);
    let (calls, faults) = (faulty.calls.load(Ordering::SeqCst), faulty.faults.load(Ordering::SeqCst));
    assert!(calls > 200 && faults * 5 > calls * 2, "{faults} of {calls} calls failed");
    // Through no proxy: what is there is whole.
    let direct = outpost.reconfigured(&bucket(moto.port, &more));
    let key = auditor.path.to_str().unwrap();
    for (row, text) in &expect {
        assert!(!app.config.recording.dir.join(row.recording.as_ref().unwrap()).exists());
        let said = recordings(&direct, &["export", row.id.as_str()]).await.unwrap_err();
        assert!(said.contains("is encrypted"), "{said}");
        let back = recordings(&direct, &["export", row.id.as_str(), "--identity", key]).await.unwrap();
        assert!(&back == text, "{} came back as something else", row.id);
    }
    let names = moto.list();
    assert_eq!(names.len(), expect.len() * 8, "{names:#?}");
    assert!(names.iter().all(|name| name.starts_with("caponier/test/2027/01/15/ses_")), "{names:#?}");
    assert!(!outpost.audit().await.iter().any(|line| line.contains("hunter2 mail")));
}

#[tokio::test]
async fn its_time_is_over_and_nothing_stays_in_the_bucket() {
    let moto = Moto::start();
    let clock = Clock::fixed(crate::telling::NOW);
    let outpost =
        Outpost::open(&bucket(moto.port, "retention_days = 30\nkeep_local = \"0s\""), clock.clone()).await;
    let app = &outpost.app;
    let row = sealed(app, &TWO_PARTS).await;
    let _running = outpost.run();
    until_row(app, &row, "gone from here", |row| row.here == Here::No).await;
    assert_eq!(moto.list().len(), 8);
    clock.advance(Duration::from_secs(30 * 86_400));
    until_row(app, &row, "deleted", |row| row.state == "deleted").await;
    assert_eq!(moto.list(), Vec::<String>::new());
    let said = recordings(app, &["export", row.id.as_str()]).await.unwrap_err();
    assert!(said.contains("was deleted at"), "{said}");
}

#[test]
fn the_access_key_stands_in_no_view_and_no_error() {
    let dir = scratch();
    for name in ["hook-secret", "password"] {
        std::fs::write(dir.path().join(name), "hunter2 of the bucket").unwrap();
        std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let text = format!(
        "state_dir = \".\"\n[ssh]\nhost_names = [\"bastion.example\"]\n[web]\npublic_url = \"http://127.0.0.1:1\"\n[ca]\n\
         plain = true\n[[provider]]\nname = \"corp\"\nissuer = \"http://127.0.0.1:1\"\nclient_id = \"x\"\n{}",
        bucket(1, "")
    );
    std::fs::write(dir.path().join("c.toml"), text).unwrap();
    let config =
        caponier::config::Config::load(&dir.path().join("c.toml"), &std::collections::BTreeMap::new())
            .unwrap();
    let view = config.view().to_string();
    assert!(view.contains("caponier/test") && !view.contains("hunter2"), "{view}");
    assert!(!format!("{config:?}").contains("hunter2"));
}
