//! What a program at the target uses of the client's: agent and display.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::json;

use super::{ALL, entries};
use crate::world::keys::Key;
use crate::world::process::{Kept, run};
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, wait_for};

/// An agent with one key; gone with its handle.
struct Agent {
    _kept: Kept,
    socket: String,
    key: String,
}

impl Agent {
    fn start(stage: &Stage) -> Self {
        let socket = stage.dir().join("agent").display().to_string();
        let mut command = Command::new("ssh-agent");
        let kept = Kept::start(command.args(["-D", "-a", &socket]).stdout(Stdio::null()));
        wait_for("the agent", PATIENCE, || std::path::Path::new(&socket).exists().then_some(()));
        let key = Key::make(stage.dir(), "held-by-the-agent");
        run(Command::new("ssh-add").arg("-q").arg(&key.path).env("SSH_AUTH_SOCK", &socket), b"", PATIENCE)
            .ok();
        Self { _kept: kept, socket, key: key.public() }
    }
}

#[test]
fn the_agent_is_used_where_a_role_says_so_and_by_no_session_that_did_not_ask() {
    let stage = Stage::set_to(Plan { role: ALL, ..Plan::default() });
    let agent = Agent::start(&stage);
    let list = |args: &[&str]| {
        stage.ssh(&[args, &["web1", "ssh-add -L"]].concat()).env("SSH_AUTH_SOCK", &agent.socket)
    };
    assert!(list(&["-A"]).run().ok().contains(&agent.key));
    // Several times within one session.
    let said = stage
        .ssh(&["-A", "web1", "for i in 1 2 3; do ssh-add -L; done"])
        .env("SSH_AUTH_SOCK", &agent.socket)
        .run();
    assert_eq!(said.ok().matches(&agent.key).count(), 3);
    // Without -A nothing, also beside a session with it, on the same connection.
    assert_eq!(list(&[]).run().status, Some(2));
    let socket = stage.dir().join("mux-a").display().to_string();
    let master = ["-A", "-o", "ControlMaster=yes", "-o", "ControlPersist=60", "-S", &socket];
    assert!(list(&master).run().ok().contains(&agent.key));
    assert!(list(&["-A", "-S", &socket]).run().ok().contains(&agent.key));
    assert_eq!(list(&["-a", "-S", &socket]).run().status, Some(2));
    drop(stage.ssh(&["-S", &socket, "-O", "exit", "web1"]).run());
    let opened = entries(&stage, "forward_opened");
    assert_eq!(opened.len(), 6, "{opened:#?}");
    assert!(
        opened.iter().all(|entry| entry["kind"] == "agent" && entry["direction"] == "remote"),
        "{opened:#?}"
    );
    stage.wait_for_audit("session_opened", "with agent forwarding");
}

#[test]
fn an_agent_that_no_role_opens_stays_at_home() {
    let stage = Stage::set_to(Plan { role: "forwards = { x11 = true }", ..Plan::default() });
    let agent = Agent::start(&stage);
    let said = stage.ssh(&["-A", "web1", "ssh-add -L; echo $?"]).env("SSH_AUTH_SOCK", &agent.socket).run();
    assert_eq!(said.ok().trim().lines().last(), Some("2"));
    let refused = stage.wait_for_audit("access_refused", "agent-forwarding");
    assert!(refused.contains("agent forwarding"), "{refused}");
}

/// The first packet of an X client (X Window System Protocol, "Connection Setup"), with this cookie.
fn hello(cookie: &str) -> Vec<u8> {
    let name = b"MIT-MAGIC-COOKIE-1";
    let cookie: Vec<u8> =
        (0..cookie.len()).step_by(2).map(|at| u8::from_str_radix(&cookie[at..at + 2], 16).unwrap()).collect();
    let mut packet = vec![b'l', 0, 11, 0, 0, 0];
    packet.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    packet.extend(u16::try_from(cookie.len()).unwrap().to_le_bytes());
    packet.extend([0, 0]);
    packet.extend(name);
    packet.extend([0, 0]);
    packet.extend(cookie);
    packet
}

#[test]
fn the_display_is_used_where_a_role_says_so() {
    let xauthority = tempfile::NamedTempFile::new().unwrap();
    let set_env = format!("SetEnv XAUTHORITY={}", xauthority.path().display());
    let lines = ["X11Forwarding yes", set_env.as_str()];
    let stage = Stage::set_to(Plan { role: ALL, sshd: &lines, ..Plan::default() });
    // The X server of the client's side: display N listens on port 6000 + N.
    let (server, display) = (20..200)
        .find_map(|number| Some((TcpListener::bind((Ipv4Addr::LOCALHOST, 6000 + number)).ok()?, number)))
        .unwrap();
    let ssh = stage
        .ssh(&[
            "-Y",
            "web1",
            "echo \"display=$DISPLAY\"; xauth list \"$DISPLAY\" | sed 's/^/cookie /'; sleep 60",
        ])
        .env("DISPLAY", format!("127.0.0.1:{display}"))
        .start();
    ssh.wait_for_text("MIT-MAGIC-COOKIE-1", PATIENCE);
    let said = wait_for("the cookie", PATIENCE, || Some(ssh.text()).filter(|text| text.ends_with('\n')));
    let shown = said.lines().find_map(|line| line.strip_prefix("display=localhost:")).unwrap();
    let port: u16 = 6000 + shown.split('.').next().unwrap().parse::<u16>().unwrap();
    let cookie =
        said.lines().find(|line| line.starts_with("cookie ")).unwrap().split_whitespace().last().unwrap();

    let mut program = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    program.set_read_timeout(Some(PATIENCE)).unwrap();
    program.write_all(&hello(cookie)).unwrap();
    let (mut seen, _) = server.accept().unwrap();
    let mut first = vec![0; hello(cookie).len()];
    seen.read_exact(&mut first).unwrap();
    assert_eq!(first[..6], [b'l', 0, 11, 0, 0, 0], "{first:?}");
    seen.write_all(b"from the X server").unwrap();
    let mut answer = [0; 17];
    program.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"from the X server");
    drop((program, seen));
    wait_for("its end in the audit log", PATIENCE, || {
        entries(&stage, "forward_closed")
            .iter()
            .find(|entry| entry["bytes_out"] == json!(first.len()))
            .map(|_| ())
    });
    let opened = entries(&stage, "forward_opened");
    assert!(opened.iter().all(|entry| entry["kind"] == "x11"), "{opened:#?}");
    drop(ssh);
}

#[test]
fn a_display_that_no_role_opens_stays_at_home() {
    let stage = Stage::set_to(Plan {
        role: "forwards = { agent = true }",
        sshd: &["X11Forwarding yes"],
        ..Plan::default()
    });
    let said = stage.ssh(&["-v", "-Y", "web1", "echo display=$DISPLAY"]).env("DISPLAY", "127.0.0.1:9").run();
    assert_eq!(said.ok(), "display=\n");
    // It was written down before the client was answered.
    let refused = entries(&stage, "access_refused");
    assert!(
        refused.iter().any(|entry| entry["code"] == "x11-forwarding"),
        "{refused:#?}\nssh: {}\nbastion: {}",
        said.errors(),
        stage.bastion.log()
    );
}
