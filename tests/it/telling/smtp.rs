//! A real mail server, small: SMTP with STARTTLS, TLS from the first byte, and passwords, as far as `telling` needs it, and
//! with the ways in which mail servers go wrong. It says what it heard before and after the connection was protected.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::world::PATIENCE;
use crate::world::process::run;

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// No TLS at all, and none offered.
    Plain,
    /// STARTTLS offered and done.
    StartTls,
    /// STARTTLS offered, and refused when it is asked for.
    RefusesStartTls,
    /// TLS from the first byte.
    Tls,
    /// No TLS; 451 to the first two mails.
    Busy,
    /// No TLS; hangs up without an answer to QUIT.
    Rude,
    /// No TLS; says nothing at all.
    Silent,
}

/// A mail it took.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) text: String,
    pub(crate) is_protected: bool,
}

/// What it heard.
#[derive(Default)]
struct Heard {
    letters: Vec<Letter>,
    clear: Vec<String>,
    passwords: Vec<String>,
    refused: usize,
}

/// The server.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    heard: Arc<Mutex<Heard>>,
}

impl MailServer {
    /// Starts one; `dir` gets `cert.pem` for `name` and its key.
    pub(crate) fn start(manner: Manner, dir: &Path, name: &str) -> Self {
        let tls = make_tls(dir, name);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (tls, all) = (Arc::clone(&tls), Arc::clone(&all));
                // A client that does not like us hangs up; the test sees that in what was heard.
                std::thread::spawn(move || drop(serve(socket, manner, &tls, &all)));
            }
        });
        Self { port, heard }
    }

    /// The mails it took.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.heard.lock().unwrap().letters.clone()
    }

    /// Every line that came in the clear.
    pub(crate) fn clear(&self) -> Vec<String> {
        self.heard.lock().unwrap().clear.clone()
    }

    /// What came with AUTH, in base 64.
    pub(crate) fn passwords(&self) -> Vec<String> {
        self.heard.lock().unwrap().passwords.clone()
    }
}

fn serve(
    socket: TcpStream,
    manner: Manner,
    tls: &Arc<ServerConfig>,
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let protect = |socket| {
        let session = ServerConnection::new(Arc::clone(tls)).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(StreamOwned::new(session, socket))
    };
    match manner {
        Manner::Silent => drop(BufReader::new(socket).read_line(&mut String::new())?),
        Manner::Tls => drop(talk(protect(socket)?, manner, true, true, heard)?),
        Manner::Plain | Manner::StartTls | Manner::RefusesStartTls | Manner::Busy | Manner::Rude => {
            if let Some(socket) = talk(socket, manner, true, false, heard)? {
                talk(protect(socket)?, manner, false, true, heard)?;
            }
        }
    }
    Ok(())
}

/// One conversation; gives the stream back when it is to be protected now.
fn talk<S: Read + Write>(
    stream: S,
    manner: Manner,
    greet: bool,
    is_protected: bool,
    heard: &Mutex<Heard>,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to) = (String::new(), String::new());
    if greet {
        say(&mut stream, "220 mail.example ESMTP")?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if !is_protected {
            heard.lock().unwrap().clear.push(line.clone());
        }
        let offers = matches!(manner, Manner::StartTls | Manner::RefusesStartTls) && !is_protected;
        match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" if offers => say(&mut stream, "250-mail.example\r\n250-8BITMIME\r\n250 STARTTLS")?,
            "EHLO" => say(&mut stream, "250-mail.example\r\n250-8BITMIME\r\n250 AUTH PLAIN")?,
            "STARTTLS" if manner == Manner::RefusesStartTls => say(&mut stream, "454 not now")?,
            "STARTTLS" => {
                say(&mut stream, "220 go ahead")?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => {
                heard.lock().unwrap().passwords.push(line);
                say(&mut stream, "235 welcome")?;
            }
            "MAIL" => {
                from = line;
                say(&mut stream, "250 ok")?;
            }
            "RCPT" => {
                to = line;
                say(&mut stream, "250 ok")?;
            }
            "DATA" => {
                say(&mut stream, "354 go on")?;
                let text = letter(&mut stream)?;
                let is_busy = {
                    let mut heard = heard.lock().unwrap();
                    let is_busy = manner == Manner::Busy && heard.refused < 2;
                    if is_busy {
                        heard.refused += 1;
                    } else {
                        heard.letters.push(Letter { from: from.clone(), to: to.clone(), text, is_protected });
                    }
                    is_busy
                };
                say(&mut stream, if is_busy { "451 busy" } else { "250 taken" })?;
            }
            "QUIT" if manner == Manner::Rude => return Ok(None),
            "QUIT" => {
                say(&mut stream, "221 bye")?;
                return Ok(None);
            }
            _ => say(&mut stream, "500 what?")?,
        }
    }
}

fn say(stream: &mut BufReader<impl Read + Write>, text: &str) -> std::io::Result<()> {
    stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
    stream.get_mut().flush()
}

fn letter(stream: &mut BufReader<impl Read>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line == ".\r\n" {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn make_tls(dir: &Path, name: &str) -> Arc<ServerConfig> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    openssl.args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"]);
    run(openssl.current_dir(dir), b"", PATIENCE).ok();
    let chain = CertificateDer::pem_file_iter(dir.join("cert.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}
