//! Revoking, with real clients: what is revoked is cut within two seconds and refused from then on, at this bastion and at
//! another one that shares the database; what may be revoked by whom. The list for targets is in `list`.

mod list;

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::postgres;
use crate::world::bastion::{Bastion, Laptop};
use crate::world::process::{Finished, run};
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, free_port, wait_for};

/// How long a session may go on.
const SOON: Duration = Duration::from_secs(2);
/// Who may revoke everything.
const ADMINS: &str = "[sign_in.admins]\nsubjects = [\"corp:reviewer\"]\n";

/// A stage with an admin's laptop.
fn stage_with_admin(plan: Plan<'_>) -> (Stage, Laptop) {
    let stage = Stage::set_to(Plan { config: ADMINS, ..plan });
    let admin = Laptop::new();
    stage.login_at(&admin, "reviewer");
    (stage, admin)
}

/// How many entries tell of what somebody did; the bastion's own checkpoints come in between.
fn acts(stage: &Stage) -> usize {
    stage.audit().iter().filter(|(kind, _)| !kind.ends_with("checkpoint")).count()
}

/// `caponier revoke ARGS` on a laptop.
fn revoke(laptop: &Laptop, args: &[&str]) -> Finished {
    let all: Vec<&str> = [&["revoke"], args, &["--reason", "laptop stolen"]].concat();
    run(&mut laptop.caponier(&all), b"", PATIENCE)
}

/// `caponier revoke ARGS --on-server`.
fn revoke_on_server(bastion: &Bastion, args: &[&str]) -> Finished {
    bastion.admin(&[&["revoke", "--on-server", "--reason", "laptop stolen"], args].concat())
}

/// The fields of the newest entry of this kind.
fn newest(stage: &Stage, kind: &str) -> Value {
    let all = stage.audit();
    let found = all.iter().rev().find(|(k, _)| k == kind).unwrap_or_else(|| panic!("no {kind} in {all:#?}"));
    serde_json::from_str(&found.1).unwrap()
}

fn text(fields: &Value, name: &str) -> String {
    fields[name].as_str().unwrap_or_else(|| panic!("no {name} in {fields}")).to_owned()
}

/// Opens a terminal, gives the order for its `session_opened` entry, and waits for its end.
#[track_caller]
#[expect(clippy::print_stdout, reason = "a measurement to print")]
fn assert_cut(stage: &Stage, how: &str, told: &str, order: impl FnOnce(&Value) -> Finished) {
    let terminal = stage.live_terminal();
    let opened = newest(stage, "session_opened");
    let before = Instant::now();
    order(&opened).ok();
    let (status, shown) = terminal.finish(PATIENCE);
    let took = before.elapsed();
    println!("{how}: the live terminal was closed {took:.2?} after the command began");
    assert_eq!(status, Some(255), "{how}: {shown}");
    assert!(shown.contains(told), "{how}: {shown}");
    assert!(took < SOON, "{how}: {took:?}");
    stage.wait_for_audit("session_closed", &text(&opened, "session"));
}

/// Every kind of order, given by `order`, against the live sessions of `engineer`.
fn assert_every_order_cuts(stage: &Stage, order: impl Fn(&[&str]) -> Finished) {
    let certificate = stage.laptop.home().join(".caponier/id-cert.pub");
    let this = "this session was ended by an order [revoked]";
    assert_cut(stage, "--session", this, |opened| order(&["--session", &text(opened, "session")]));
    stage.ssh(&["web1", "true"]).run().ok();

    assert_cut(stage, "--serial of the target", this, |opened| {
        order(&["--serial", &text(opened, "target_serial")])
    });
    stage.ssh(&["web1", "true"]).run().ok();

    let yours = "your certificate was revoked";
    assert_cut(stage, "--serial of the user", yours, |opened| {
        order(&["--serial", &text(opened, "client_serial")])
    });
    stage.ssh(&["web1", "true"]).run().ended(255);
    stage.wait_for_audit("credential_refused", "\"revoked\"");
    // The next certificate is good.
    std::fs::remove_file(&certificate).unwrap();
    stage.ssh(&["web1", "true"]).run().ok();

    // Their sign-ins and their certificates; whichever is seen first.
    assert_cut(stage, "--user", "session closed: your ", |_| order(&["--user", "corp:engineer"]));
    stage.ssh(&["web1", "true"]).run().ended(255);
    stage.login("engineer");
    stage.ssh(&["web1", "true"]).run().ok();

    assert_cut(stage, "--key", "", |_| {
        order(&["--key", stage.laptop.home().join(".caponier/id.pub").to_str().unwrap()])
    });
    stage.ssh(&["web1", "true"]).run().ended(255);
    let login =
        run(&mut stage.laptop.caponier(&["login", &stage.bastion.url(), "--no-browser"]), b"", PATIENCE);
    login.ended(1);
    assert!(login.errors().contains("this key was revoked"), "{}", login.errors());
    run(&mut stage.laptop.caponier(&["logout"]), b"", PATIENCE).ok();
    stage.login("engineer");
    stage.ssh(&["web1", "true"]).run().ok();
}

#[test]
fn every_order_cuts_what_is_open_and_refuses_what_comes() {
    let (stage, admin) = stage_with_admin(Plan::default());
    assert_every_order_cuts(&stage, |args| revoke(&admin, args));
    // By its key id, the certificate of one sign-in: on the server.
    let id = text(&newest(&stage, "certificate_issued"), "key_id");
    assert_cut(&stage, "--key-id, on the server", "your certificate was revoked", |_| {
        revoke_on_server(&stage.bastion, &["--key-id", &id])
    });
    let entry = newest(&stage, "revoked");
    assert_eq!((text(&entry, "by"), text(&entry, "reason")), ("admin".into(), "laptop stolen".into()));
    let listed = run(&mut admin.caponier(&["revoke", "ls"]), b"", PATIENCE).ok();
    assert!(
        listed.contains("corp:reviewer") && listed.contains(&id) && listed.contains("laptop stolen"),
        "{listed}"
    );
    let here: Value =
        serde_json::from_str(&stage.bastion.admin(&["revoke", "ls", "--json", "--on-server"]).ok()).unwrap();
    assert_eq!(here.as_array().unwrap().len() + 1, listed.lines().count(), "{listed}");
}

#[test]
fn an_order_at_one_bastion_cuts_at_the_other() {
    let postgres = postgres::start();
    let (stage, admin) = stage_with_admin(Plan { store: Some(postgres.fresh_database()), ..Plan::default() });
    let second = stage.second_bastion();
    assert_every_order_cuts(&stage, |args| revoke_on_server(&second, args));
    // And by the API of the second.
    let state = admin.home().join(".caponier/client.json");
    let said = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, said.replace(&stage.bastion.url(), &second.url())).unwrap();
    assert_cut(&stage, "--session at another bastion", "ended by an order", |opened| {
        revoke(&admin, &["--session", &text(opened, "session")])
    });
}

#[test]
fn a_revoked_session_takes_its_forward_with_it() {
    let role = "forwards = { local = [\"127.0.0.1:1024-65535\"] }";
    let (stage, admin) = stage_with_admin(Plan { role, ..Plan::default() });
    let near = free_port();
    let spec = format!("{near}:127.0.0.1:{}", stage.web1.port);
    let ssh = stage.ssh(&["-N", "-L", &spec, "web1"]).start();
    let mut stream = wait_for("the forward", PATIENCE, || TcpStream::connect(("127.0.0.1", near)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    let opened = newest(&stage, "forward_opened");
    let before = Instant::now();
    revoke(&admin, &["--session", &text(&opened, "session")]).ok();
    let mut rest = Vec::new();
    // The end, or a reset: both are one.
    drop(stream.read_to_end(&mut rest));
    let took = before.elapsed();
    println!("--session: the -L forward was closed {took:.2?} after the command began");
    assert!(took < SOON, "{took:?}");
    stage.wait_for_audit("forward_closed", "\"policy\"");
    drop(ssh);
}

#[test]
fn who_may_revoke_what() {
    let (stage, admin) = stage_with_admin(Plan::default());
    stage.ssh(&["web1", "true"]).run().ok();
    let opened = newest(&stage, "session_opened");
    // It is closed a moment after the client has gone.
    stage.wait_for_audit("session_closed", &text(&opened, "session"));
    let theirs = std::fs::read_to_string(admin.home().join(".caponier/id.pub")).unwrap().trim().to_owned();
    let before = acts(&stage);
    let ca =
        |name: &str| stage.bastion.dir().join(format!("state/ca/{name}.pub")).to_str().unwrap().to_owned();
    let unknown = "ses_00000000000000000000000000";
    // Not theirs, unknown, or for admins only: the same answer, and each is written down.
    let refused = [
        ["--user", "corp:reviewer"],
        ["--user", "corp:engineer"],
        ["--workload", "corp:engineer"],
        ["--key", &theirs],
        ["--key-id", "corp:reviewer/x"],
        ["--serial", "17"],
        ["--session", unknown],
        ["--ca", &ca("target_ca")],
    ];
    for args in refused {
        let said = revoke(&stage.laptop, &args);
        said.ended(1);
        assert!(said.errors().contains("that you may revoke"), "{args:?}: {}", said.errors());
        stage.wait_for_audit("access_refused", &format!("revoke {} ", args[0].trim_start_matches("--")));
    }
    assert_eq!(acts(&stage), before + refused.len());
    run(&mut stage.laptop.caponier(&["revoke", "ls"]), b"", PATIENCE).ended(1);
    run(&mut Laptop::new().caponier(&["revoke", "ls"]), b"", PATIENCE).ended(77);

    // An admin is told what is wrong.
    let told = [
        (["--user", "corp:nobody"], "ever signed in here"),
        (["--workload", "corp:engineer"], "ever signed in here"),
        (["--serial", "17"], "was issued here"),
        (["--session", unknown], "sessions --open"),
        (["--ca", &ca("target_ca")], "signs now, as target_ca"),
        (["--ca", &ca("host_ca")], "signs now, as host_ca"),
        (["--key", &ca("user_ca")], "caponier ca init"),
    ];
    for (args, expect) in told {
        for said in [revoke(&admin, &args), revoke_on_server(&stage.bastion, &args)] {
            said.ended(1);
            assert!(said.errors().contains(expect), "{args:?}: {}", said.errors());
        }
    }
    assert!(stage.audit().iter().all(|(kind, _)| kind != "revoked"));
    for wrong in
        [&["--serial", "0"][..], &["--user", "engineer"], &["--key", "/nonexistent"], &["--ca", "SHA256:x"]]
    {
        revoke(&admin, wrong).ended(1);
    }
    run(&mut admin.caponier(&["revoke", "--serial", "1"]), b"", PATIENCE).ended(2);
    run(&mut admin.caponier(&["revoke", "--reason", "x"]), b"", PATIENCE).ended(2);

    // Their own; and the same again does nothing.
    for args in [["--session", &text(&opened, "session")], ["--serial", &text(&opened, "client_serial")]] {
        assert!(revoke(&stage.laptop, &args).ok().contains("revoked  "));
        let entry = newest(&stage, "revoked");
        assert_eq!(text(&entry, "by"), "corp:engineer");
        let count = acts(&stage);
        assert_eq!(revoke(&stage.laptop, &args).ok(), "nothing was left to revoke\n");
        assert_eq!(acts(&stage), count);
        let answer: Value =
            serde_json::from_str(&revoke(&admin, &[args[0], args[1], "--json"]).ok()).unwrap();
        assert_eq!(answer["version"], entry["version"], "{answer}");
    }
    let own = stage.laptop.home().join(".caponier/id.pub");
    let said = revoke(&stage.laptop, &["--key", own.to_str().unwrap()]).ok();
    assert!(said.contains("ended    sgn_") && said.contains("revoked  key SHA256:"), "{said}");
    // A key that is revoked asks for nothing more.
    let said = run(&mut stage.laptop.caponier(&["status", "--check"]), b"", PATIENCE);
    said.ended(77);
    stage.wait_for_audit("credential_refused", "this key was revoked");
}
