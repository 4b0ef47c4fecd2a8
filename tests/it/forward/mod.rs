//! Forwards through the bastion with the stock client and a real sshd: what a role allows carries bytes both ways, what it
//! does not allow is refused with a reason and written down, on the first channel of a connection as on every later one.

mod beside;
mod ends;
mod uninvited;
pub(crate) mod wire;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::world::bastion::Bastion;
use crate::world::second_client::second_client;
use crate::world::ssh::Ssh;
use crate::world::stage::{Multiplexed, Plan, Stage};
use crate::world::{PATIENCE, free_port, me, wait_for};
use wire::{Echo, exchange, exchange_by_socket, exchange_by_socks, noise};

/// Everything on the target's loopback, and sockets in any folder.
const ALL: &str = r#"forwards = { local = ["127.0.0.1:1024-65535"], remote = ["localhost:1024-65535"], local_sockets = ["/**"], remote_sockets = ["/**"], agent = true, x11 = true }"#;

fn stage_of(role: &str) -> Stage {
    Stage::set_to(Plan { role, ..Plan::default() })
}

/// The audit's entries of this kind, as JSON.
fn entries(stage: &Stage, kind: &str) -> Vec<Value> {
    let all = stage.audit().into_iter().filter(|(k, _)| k == kind);
    all.map(|(_, json)| serde_json::from_str(&json).unwrap()).collect()
}

/// `ssh -N` with these forwards, ready when the port or path answers.
fn forwarding(stage: &Stage, args: &[&str]) -> crate::world::process::Running {
    let all = [&["-N", "-o", "ExitOnForwardFailure=yes"], args, &["web1"]].concat();
    stage.ssh(&all).start()
}

fn wait_for_socket(path: &std::path::Path) {
    wait_for(&format!("the socket {}", path.display()), PATIENCE, || path.exists().then_some(()));
}

#[test]
fn local_dynamic_and_stdio_forwards_carry_bytes() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let (local, dynamic) = (free_port(), free_port());
    let to = format!("{local}:127.0.0.1:{}", echo.port);
    let ssh = forwarding(&stage, &["-L", &to, "-D", &dynamic.to_string()]);
    let bytes = noise(3_000_000);
    // The first exchange waits for ssh to listen.
    assert!(exchange(local, &bytes) == bytes, "-L");
    assert!(exchange_by_socks(dynamic, "127.0.0.1", echo.port, &bytes) == bytes, "-D");
    assert!(exchange(local, &bytes) == bytes, "-L again");
    let to = format!("127.0.0.1:{}", echo.port);
    let through = stage.ssh(&["-W", &to, "web1"]).input(bytes.clone()).run();
    through.ended(0);
    assert!(through.stdout == bytes, "-W: {} bytes", through.stdout.len());
    drop(ssh);

    // Written down before and after, and one connection to the target for the three of ssh -N.
    wait_for("the ends of four forwards", PATIENCE, || {
        (entries(&stage, "forward_closed").len() == 4).then_some(())
    });
    let opened = entries(&stage, "forward_opened");
    for entry in &opened {
        assert_eq!((&entry["direction"], &entry["kind"]), (&json!("local"), &json!("tcp")), "{entry}");
        assert_eq!(entry["what"], to.as_str(), "{entry}");
        assert_eq!(
            (&entry["role"], &entry["who"]),
            (&json!("engineers"), &json!("corp:engineer")),
            "{entry}"
        );
    }
    assert_eq!(opened[0]["session"], opened[1]["session"]);
    for entry in entries(&stage, "forward_closed") {
        assert_eq!(
            (&entry["bytes_in"], &entry["bytes_out"]),
            (&json!(3_000_000), &json!(3_000_000)),
            "{entry}"
        );
    }
    let sessions: Value = serde_json::from_str(&stage.bastion.admin(&["sessions", "--json"]).ok()).unwrap();
    let kinds: Vec<&Value> = sessions.as_array().unwrap().iter().map(|row| &row["kind"]).collect();
    assert_eq!(kinds, ["forward", "forward"], "{sessions}");
    // Each side alone may end its data: what was sent was answered after its end.
    stage.web1.wait_for_log("corp:engineer/ses_");
}

#[test]
fn remote_forwards_carry_bytes_and_can_be_cancelled() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let mux = Multiplexed::over(&stage);
    let bytes = noise(1_000_000);
    let port = free_port();
    let forward =
        |verb: &str, spec: &str| stage.ssh(&["-S", &mux.socket, "-O", verb, "-R", spec, "web1"]).run();
    let spec = format!("{port}:127.0.0.1:{}", echo.port);
    forward("forward", &spec).ok();
    assert!(exchange(port, &bytes) == bytes, "-R");
    // The target chooses the port.
    let said = forward("forward", &format!("0:127.0.0.1:{}", echo.port)).ok();
    let chosen: u16 = said.trim().parse().unwrap_or_else(|_| panic!("{said}"));
    assert!(exchange(chosen, &bytes) == bytes, "-R 0");
    // Somebody else who wants the same port is refused by the target.
    let said = stage.ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", &spec, "web1"]).run();
    assert!(said.ended(255).errors().contains("remote port forwarding failed"), "{}", said.errors());
    assert!(exchange(port, &bytes) == bytes, "-R after a refusal");

    forward("cancel", &spec).ok();
    wait_for("the target to listen no more", PATIENCE, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
    });
    assert!(exchange(chosen, &bytes) == bytes, "the other listener stays");
    forward("forward", &spec).ok();
    assert!(exchange(port, &bytes) == bytes, "once more");
    drop(mux);
    wait_for("the listeners gone with the connection", PATIENCE, || {
        let closed = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
        (closed(port) && closed(chosen)).then_some(())
    });
    let opened = entries(&stage, "forward_opened");
    let of = |direction| opened.iter().filter(|entry| entry["direction"] == direction).count();
    assert_eq!((of("listen"), of("remote")), (4, 5), "{opened:#?}");
    wait_for("the ends of all", PATIENCE, || {
        (entries(&stage, "forward_closed").len() == opened.len()).then_some(())
    });
}

#[test]
fn unix_sockets_are_forwarded_both_ways() {
    let stage = stage_of(ALL);
    let at = |name: &str| stage.dir().join(name);
    let echo = Echo::on_socket(&at("echo"));
    let (near, far) = (at("near"), at("far"));
    let spec = |a: &PathBuf, b: &PathBuf| format!("{}:{}", a.display(), b.display());
    let ssh = forwarding(&stage, &["-L", &spec(&near, &at("echo")), "-R", &spec(&far, &at("echo"))]);
    wait_for_socket(&near);
    wait_for_socket(&far);
    let bytes = noise(500_000);
    assert!(exchange_by_socket(&near, &bytes) == bytes, "-L");
    assert!(exchange_by_socket(&far, &bytes) == bytes, "-R");
    drop((ssh, echo));
    let kinds: Vec<(Value, Value)> = entries(&stage, "forward_opened")
        .into_iter()
        .map(|entry| (entry["direction"].clone(), entry["kind"].clone()))
        .collect();
    let socket = |direction| (json!(direction), json!("socket"));
    assert!(
        kinds.contains(&socket("local"))
            && kinds.contains(&socket("listen"))
            && kinds.contains(&socket("remote")),
        "{kinds:?}"
    );
}

#[test]
fn a_role_without_forwards_refuses_each_kind_and_says_so() {
    let stage = Stage::set();
    let echo = Echo::on_tcp();
    let to = format!("127.0.0.1:{}", echo.port);
    let socket = stage.dir().join("s").display().to_string();
    let port = free_port().to_string();
    for (args, act) in [
        (vec!["-W", &to], format!("forward: {to}")),
        (
            vec!["-o", "ExitOnForwardFailure=yes", "-R", &format!("{port}:{to}")],
            format!("remote forward: localhost:{port}"),
        ),
        (
            vec!["-o", "ExitOnForwardFailure=yes", "-R", &format!("{socket}:{to}")],
            format!("remote forward: {socket}"),
        ),
    ] {
        let said = stage.ssh(&[args.as_slice(), &["-N", "web1"]].concat()).run();
        said.ended(255);
        if args[0] == "-W" {
            assert!(
                said.errors().contains("caponier: no role of yours opens")
                    && said.errors().contains("[forward]"),
                "{}",
                said.errors()
            );
        }
        stage.wait_for_audit("access_refused", &act);
    }
    let said = stage.ssh(&["-A", "web1", "echo agent=$SSH_AUTH_SOCK"]).env("SSH_AUTH_SOCK", "/nowhere").run();
    assert_eq!(said.ok(), "agent=\n");
    let said = stage.ssh(&["-Y", "web1", "echo display=$DISPLAY"]).env("DISPLAY", "127.0.0.1:9").run();
    assert_eq!(said.ok(), "display=\n");
    assert_eq!(entries(&stage, "forward_opened"), Vec::<Value>::new());
    assert_eq!(echo.count(), 0);
    assert!(!stage.web1.log().contains("forward"), "the target heard of a forward");
}

#[test]
fn every_channel_of_one_connection_is_judged() {
    let echo = Echo::on_tcp();
    let other = Echo::on_tcp();
    let role = format!(
        "forwards = {{ local = [\"localhost:{}\"], remote = [\"localhost:20000-32767\"] }}",
        echo.port
    );
    let stage = stage_of(&role);
    let mux = Multiplexed::over(&stage);
    let dynamic = free_port();
    stage.ssh(&["-S", &mux.socket, "-O", "forward", "-D", &dynamic.to_string(), "web1"]).run().ok();
    let bytes = noise(10_000);
    let refused = |host: &str, port: u16| {
        let got = exchange_by_socks(dynamic, host, port, &bytes);
        assert!(got.is_empty(), "{host}:{port} answered {} bytes", got.len());
    };
    let metadata = ("169.254.169.254", 80);
    for round in 0..3 {
        for host in ["localhost", "127.0.0.1"] {
            assert!(exchange_by_socks(dynamic, host, echo.port, &bytes) == bytes, "round {round} {host}");
        }
        refused("127.0.0.1", other.port);
        refused("localhost", other.port);
        refused(metadata.0, metadata.1);
        refused("0.0.0.0", echo.port);
        refused("127.1", echo.port);
        refused("2130706433", echo.port);
        refused("nowhere.invalid", echo.port);
        mux.ssh("true").run().ok();
    }
    assert_eq!(other.count(), 0);
    assert_eq!(entries(&stage, "forward_opened").len(), 6);
    assert_eq!(entries(&stage, "access_refused").len(), 21);
    stage.wait_for_audit("access_refused", "no usual spelling");
    // Listening elsewhere is refused, and what may listen still does.
    let remote = |spec: String| {
        stage.ssh(&["-S", &mux.socket, "-O", "forward", "-R", &spec, "web1"]).run().status == Some(0)
    };
    let to = format!("127.0.0.1:{}", echo.port);
    for host in ["*", "0.0.0.0", "127.0.0.2", "10.255.0.1"] {
        assert!(!remote(format!("{host}:{}:{to}", free_port())), "{host}");
    }
    assert!(!remote(format!("0:{to}")), "no rule covers every port the target may choose");
    assert!(!remote(format!("1023:{to}")));
    let port = free_port();
    assert!(remote(format!("{port}:{to}")));
    assert!(exchange(port, &bytes) == bytes);
}

#[test]
fn a_name_is_looked_up_here_and_the_target_gets_the_address() {
    // `localhost.localdomain` and the machine's own name resolve to addresses that only a rule for them opens.
    let host =
        crate::world::process::run(std::process::Command::new("hostname").arg("-f"), b"", PATIENCE).text();
    let host = host.trim().to_lowercase();
    let stage = stage_of(
        "forwards = { local = [\"0.0.0.0/0:*\", \"[::]/0:*\", \"*.internal:*\", \"spelled.invalid:1\"] }",
    );
    for (to, why) in [
        (host.as_str(), "which only a rule that names it opens"),
        ("localhost", "no role of yours opens localhost"),
        ("nowhere.internal", "does not resolve on the bastion"),
        ("::1", "is the target's loopback"),
        ("::ffff:127.0.0.1", "is the target's loopback"),
        ("169.254.169.254", "is a metadata service"),
        ("spelled.invalid", "web1 cannot connect to spelled.invalid port 1"),
    ] {
        let bracketed = if to.contains(':') { format!("[{to}]:1") } else { format!("{to}:1") };
        let said = stage.ssh(&["-W", &bracketed, "web1"]).run();
        said.ended(255);
        assert!(said.errors().contains(why), "{to}: {}", said.errors());
    }
}

#[test]
fn a_client_that_cannot_jump_forwards_too() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let bytes = noise(100_000);
    let user = format!("{}%web1", me());
    let to = format!("127.0.0.1:{}", echo.port);
    let through = stage.ssh(&["-l", &user, "-W", &to, Bastion::NAME]).input(bytes.clone()).run();
    through.ended(0);
    assert!(through.stdout == bytes);
    let port = free_port();
    let ssh = stage.ssh(&["-N", "-l", &user, "-R", &format!("{port}:{to}"), Bastion::NAME]).start();
    assert!(exchange(port, &bytes) == bytes);
    drop(ssh);
    let said = stage.ssh(&["-l", &user, "-W", "web1:22", Bastion::NAME]).run();
    said.ended(255);
    assert!(said.errors().contains("[forward]"), "{}", said.errors());
}

#[test]
fn network_interfaces_are_always_refused() {
    let stage = stage_of(ALL);
    let home = stage.laptop.home().join(".caponier");
    let said = second_client(&json!({
        "bastion": {"host": "127.0.0.1", "port": stage.bastion.ssh_port, "login": "anybody"},
        "target": {"host": "web1", "port": 22, "login": me()},
        "key": home.join("id"),
        "certificate": home.join("id-cert.pub"),
        "known_hosts": home.join("known_hosts"),
        "tun": true,
    }));
    assert_eq!(said["ok"], true, "{said}");
    assert_eq!(said["tun"], "Unknown channel type", "{said}");
    let refused = stage.wait_for_audit("access_refused", "\"act\":\"tun\"");
    assert!(refused.contains("\"code\":\"tun\""), "{refused}");
}

#[test]
fn two_hundred_small_forwards_one_after_the_other() {
    let stage = stage_of(ALL);
    let echo = Echo::on_tcp();
    let local = free_port();
    let ssh = forwarding(&stage, &["-L", &format!("{local}:127.0.0.1:{}", echo.port)]);
    let bytes = noise(2_000);
    assert!(exchange(local, &bytes) == bytes);
    let direct = free_port();
    let to = format!("{direct}:127.0.0.1:{}", echo.port);
    let plain = Ssh::new(&stage.direct()).args(["-N", "-L", &to, "web1"]).start();
    let measured = |port| {
        assert!(exchange(port, &bytes) == bytes);
        let began = Instant::now();
        for number in 0..200 {
            assert!(exchange(port, &bytes) == bytes, "{number}");
        }
        began.elapsed() / 200
    };
    let (ours, theirs) = (measured(local), measured(direct));
    println!("a small forward from connect to end: {ours:.1?}, {theirs:.1?} with ssh -L alone");
    drop((ssh, plain));
    assert_eq!(entries(&stage, "session_opened").len(), 1, "one connection to the target carried them all");
}
