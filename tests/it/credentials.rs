//! What a bad certificate gets at the SSH door: nothing, and one audit entry with the reason. Each is made by OpenSSH's
//! own `ssh-keygen` and shown by the stock client.

use crate::world::keys::Key;
use crate::world::local::Local;
use crate::world::{PATIENCE, me, wait_for};

/// Options of `ssh-keygen -s` that make a good certificate, but for what the test adds.
fn good(sign_in: &str) -> Vec<String> {
    let extension = format!("extension:sign-in@caponier={sign_in}");
    ["-I", "corp:engineer", "-n", &me(), "-V", "-1m:+5m", "-O", "clear", "-O", &extension]
        .map(String::from)
        .into()
}

#[test]
fn a_good_certificate_of_ssh_keygen_gets_in() {
    let local = Local::start();
    let key = Key::make(local.dir(), "id");
    let sign_in = local.sign_in(&key);
    let options = good(sign_in.as_str());
    local.user_ca().certify(&key, &options.iter().map(String::as_str).collect::<Vec<_>>());
    let said = local.ssh(&key).args(["web1", "echo in"]).run();
    assert_eq!(said.ok(), "in\n");
    local.wait_for_audit("session_opened", "corp:engineer");
}

#[test]
fn bad_certificates_are_refused_each_with_its_reason() {
    let local = Local::start();
    let other_ca = Key::make(local.dir(), "other_ca");
    let user_ca = local.user_ca();
    let cases: Vec<(&str, &Key, Vec<&str>)> = vec![
        ("expired", &user_ca, vec!["-V", "-10m:-5m"]),
        ("expired", &user_ca, vec!["-V", "+5m:+10m"]),
        ("wrong-ca", &other_ca, vec![]),
        ("too-long", &user_ca, vec!["-V", "-1m:+10h"]),
        ("no-principals", &user_ca, vec!["-n", ""]),
        ("bad-principal", &user_ca, vec!["-n", "root,*"]),
        ("unknown-critical-option", &user_ca, vec!["-O", "critical:x@example.test=1"]),
        ("unknown-critical-option", &user_ca, vec!["-O", "force-command=id"]),
        ("source-address", &user_ca, vec!["-O", "source-address=192.0.2.0/24"]),
    ];
    for (number, (code, ca, extra)) in cases.iter().enumerate() {
        let key = Key::make(local.dir(), &format!("id{number}"));
        let sign_in = local.sign_in(&key);
        let mut options: Vec<String> = good(sign_in.as_str());
        let replaced = |name: &str| extra.contains(&name);
        for name in ["-V", "-n"] {
            if replaced(name) {
                let at = options.iter().position(|option| option == name).unwrap();
                options.drain(at..at + 2);
            }
        }
        // No `-n` at all makes a certificate without principals.
        let extra: Vec<&str> = if *code == "no-principals" { vec![] } else { extra.clone() };
        let all: Vec<&str> = options.iter().map(String::as_str).chain(extra).collect();
        ca.certify(&key, &all);
        let before = count(&local);
        let said = local.ssh(&key).args(["web1", "echo in"]).run();
        assert_eq!((said.status, said.text()), (Some(255), String::new()), "{code}: {}", said.errors());
        wait_for(&format!("an entry for {code}"), PATIENCE, || (count(&local) > before).then_some(()));
        local.wait_for_audit("credential_refused", &format!("\"code\":\"{code}\""));
        assert_eq!(count(&local), before + 1, "{code}: one entry, no more");
    }
    assert!(!local.web1.log().contains("Accepted"), "somebody reached the target");
}

fn count(local: &Local) -> usize {
    local.audit().iter().filter(|(kind, _)| kind == "credential_refused").count()
}

#[test]
fn an_ended_sign_in_and_another_key_are_refused() {
    let local = Local::start();
    let (key, thief) = (Key::make(local.dir(), "id"), Key::make(local.dir(), "thief"));
    let sign_in = local.sign_in(&key);
    // A certificate of our CA that names this sign-in, for a key that it is not bound to.
    local.certify(&thief, &sign_in);
    local.ssh(&thief).args(["web1", "true"]).run().ended(255);
    local.wait_for_audit("credential_refused", "another key");
    local.certify(&key, &sign_in);
    local.ssh(&key).args(["web1", "true"]).run().ended(0);
    local.runtime.block_on(async {
        let now = local.app.clock.now();
        let mut tx = local.app.store.begin().await.unwrap();
        assert!(tx.end_sign_in(&sign_in, now).await.unwrap());
        let by = "test".to_owned();
        let event =
            caponier::audit::AuditEvent::SignInEnded { sign_in: sign_in.clone(), by, reason: "test".into() };
        tx.commit(now, event).await.unwrap();
    });
    local.ssh(&key).args(["web1", "true"]).run().ended(255);
    local.wait_for_audit("credential_refused", "sign-in-ended");
}

#[test]
fn a_bare_key_of_a_live_sign_in_opens_nothing() {
    let local = Local::start();
    let key = Key::make(local.dir(), "id");
    local.sign_in(&key);
    let said = local.ssh(&key).args(["web1", "true"]).run();
    said.ended(255);
    assert!(
        said.errors().contains("Permission denied (publickey,keyboard-interactive)"),
        "{}",
        said.errors()
    );
}

/// Trusts any server: the test is about what the server trusts.
struct Anybody;

impl russh::client::Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

#[test]
fn a_host_certificate_is_no_ticket() {
    // The stock client does not even offer one, so a bent client does.
    let local = Local::start();
    let key = Key::make(local.dir(), "id");
    local.sign_in(&key);
    let path = local.user_ca().certify(&key, &["-h", "-I", "x", "-n", &me(), "-V", "-1m:+5m"]);
    let private = russh::keys::load_secret_key(&key.path, None).unwrap();
    let certificate = russh::keys::ssh_key::Certificate::read_file(&path).unwrap();
    let accepted = local.runtime.block_on(async {
        let config = std::sync::Arc::new(russh::client::Config::default());
        let mut handle = russh::client::connect(config, ("127.0.0.1", local.port), Anybody).await.unwrap();
        let private = std::sync::Arc::new(private);
        handle.authenticate_openssh_cert("x", private, certificate).await.unwrap().success()
    });
    assert!(!accepted);
    local.wait_for_audit("credential_refused", "\"code\":\"wrong-type\"");
}
