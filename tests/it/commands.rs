//! Command rules over a real sshd: what a role allows runs, byte for byte; what it does not is refused with exit status
//! 126, a line that names the rule, and an entry in the audit, and reaches no target.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::evasions;
use crate::world::second_client::second_client;
use crate::world::stage::{Multiplexed, Plan, Stage, policy as usual};
use crate::world::{PATIENCE, me, wait_for};

/// A set that allows little, and a role that has it and no shell.
const SET: &str = r#"
[[commands]]
name = "look"
pinned = ["echo \"pinned $((6*7))\"; exit 4"]
allow = [
  { argv = ["echo", "**"] },
  { argv = ["printf", '%s\\n', "**"] },
  { argv = ["cat"] },
  { argv = ["wc", "-c"] },
  { argv = ["true"] },
  { argv = ["false"] },
]
review = [ { argv = ["uname", "**"] } ]
deny = [ { argv = ["wc", "secret"], name = "no secrets", message = "ask the vault" } ]
"#;

pub(crate) fn guarded(port: u16, role: &str) -> String {
    let text = usual(port, &format!("commands = \"look\"\n{role}"));
    let narrow = text.replace("[\"shell\", \"exec\", \"sftp\"]", "[\"exec\"]");
    assert_ne!(text, narrow);
    format!("{SET}{narrow}")
}

/// A stage whose only role has the set.
fn stage() -> Stage {
    let stage = Stage::set_to(Plan::default());
    stage.bastion.write_policy(&guarded(stage.web1.port, ""));
    let (kind, json) = wait_for("the policy with command rules", PATIENCE, || {
        stage.audit().into_iter().find(|(kind, _)| kind.starts_with("policy_"))
    });
    assert_eq!(kind, "policy_loaded", "{json}");
    stage
}

#[test]
fn what_is_allowed_runs_and_what_is_not_is_refused_by_name() {
    let stage = stage();
    for (line, status, expect) in [
        ("echo a  b 'c  d' \"it's\" e\\ f", 0, "a b c  d it's e f\n"),
        ("printf '%s\\n' 'x;y' \"a|b\" '$HOME'", 0, "x;y\na|b\n$HOME\n"),
        ("echo one | cat | wc -c", 0, "4\n"),
        ("false || echo then", 0, "then\n"),
        ("true && echo and; echo semi", 0, "and\nsemi\n"),
        ("false", 1, ""),
        // Pinned byte for byte, and sent so.
        ("echo \"pinned $((6*7))\"; exit 4", 4, "pinned 42\n"),
    ] {
        let said = stage.ssh(&["web1", line]).run();
        said.ended(status);
        assert_eq!(said.text(), expect, "{line}");
    }
    // What went in comes out, whatever it is.
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(stage.ssh(&["web1", "cat | cat"]).input(bytes.clone()).run().stdout, bytes);

    for (line, code, said) in [
        ("id", "command", "rule \"look: default\": no rule allows `id`"),
        ("echo ok; id", "command", "no rule allows `id`"),
        ("/bin/echo x", "command", "no rule allows `/bin/echo x`"),
        ("wc secret", "command", "rule \"look: no secrets\": ask the vault"),
        ("echo $HOME", "opaque-command", "cannot be read word for word"),
        ("echo x > /tmp/x", "opaque-command", "at column 8"),
        ("wc -c -l", "command", "no rule allows `wc -c -l`"),
        ("uname", "review", "needs approval by rule \"look: "),
        ("echo \"pinned $((6*8))\"; exit 4", "opaque-command", "cannot be read"),
    ] {
        let refused = stage.ssh(&["web1", line]).run();
        refused.ended(126);
        assert_eq!(refused.text(), "", "{line} said something");
        assert!(refused.errors().contains(said), "{line}: {}", refused.errors());
        assert!(refused.errors().contains(&format!("[{code}]")), "{line}: {}", refused.errors());
    }
    let entry = stage.wait_for_audit("access_refused", "wc secret");
    assert!(entry.contains("look: no secrets (enforced)"), "{entry}");
    let entry = stage.wait_for_audit("session_opened", "it's");
    assert!(entry.contains("\"rule\":\"look: ") && entry.contains("\"assurance\":\"enforced\""), "{entry}");
    assert!(entry.contains("\"sent\":\"echo a b 'c  d' 'it'\\\\''s' 'e f'\""), "{entry}");
    // Neither a shell nor files lead past the rules.
    let shell = stage.ssh(&["-tt", "web1"]).run();
    shell.ended(255);
    assert!(shell.text().contains("[channel-kind]") || shell.errors().contains("[channel-kind]"));
    stage.ssh(&["-s", "web1", "sftp"]).run().ended(255);
}

/// A stage whose role has the set of `evasions`, with more lines for the target's sshd; and one connection to it.
fn stage_of_evasions(sshd: &[&str]) -> Stage {
    let stage = Stage::set_to(Plan { sshd, ..Plan::default() });
    let role = usual(stage.web1.port, "commands = \"evasions\"")
        .replace("[\"shell\", \"exec\", \"sftp\"]", "[\"exec\"]");
    stage.bastion.write_policy(&format!("{}{role}", evasions::SET));
    let (kind, json) = wait_for("the policy with command rules", PATIENCE, || {
        stage.audit().into_iter().find(|(kind, _)| kind.starts_with("policy_"))
    });
    assert_eq!(kind, "policy_loaded", "{json}");
    stage
}

#[test]
fn no_known_evasion_reaches_a_real_sshd() {
    let stage = stage_of_evasions(&[]);
    let shared = Multiplexed::over(&stage);
    let mut sent = 0;
    for (name, line) in evasions::ROWS {
        // What the stock client cannot say: its arguments hold no NUL, and every client asks for a shell
        // when there is nothing to say.
        if line.is_empty() || line.contains(&0) || line.starts_with(b"-") {
            continue;
        }
        let args = ["-S", &shared.socket, "web1"].map(OsStr::new);
        let said = stage.ssh(&[]).args(args).args([OsStr::from_bytes(line)]).run();
        assert_eq!(said.status, Some(126), "{name}: {}", said.errors());
        assert_eq!(said.text(), "", "{name} said something");
        let errors = said.errors();
        assert!(errors.contains("[command]") || errors.contains("[opaque-command]"), "{name}: {errors}");
        sent += 1;
    }
    assert!(sent >= 60, "{sent}");
    // With another client, those that the stock one cannot say.
    let (key, certificate) =
        (stage.laptop.home().join(".caponier/id"), stage.laptop.home().join(".caponier/id-cert.pub"));
    for (name, line) in evasions::ROWS {
        let Ok(line) = str::from_utf8(line) else { continue };
        if line.is_empty() || !line.contains('\0') && !line.starts_with('-') {
            continue;
        }
        let said = second_client(&json!({
            "bastion": {"host": "127.0.0.1", "port": stage.bastion.ssh_port, "login": me()},
            "target": {"host": "web1", "port": 22, "login": me()},
            "key": key, "certificate": certificate, "known_hosts": stage.laptop.home().join(".caponier/known_hosts"),
            "command": line,
        }));
        assert_eq!(said["status"], 126, "{name}: {said}");
        assert_eq!(said["stdout"], "", "{name}: {said}");
        sent += 1;
    }
    println!("{sent} evasions were sent, none passed");
    // Nothing but the first session of the connection ever reached the target, and nothing was touched there.
    let reached = stage.audit().into_iter().filter(|(kind, _)| kind == "session_opened").count();
    assert_eq!(reached, 1);
    for place in [std::env::var("HOME").unwrap_or_default(), "/root".into(), "/".into()] {
        assert!(!std::path::Path::new(&place).join("evaded").exists(), "{place} was touched");
    }
}

#[test]
fn what_is_allowed_means_the_same_in_every_login_shell() {
    for shell in ["dash", "zsh", "fish", "tcsh"] {
        // As sshd hands a command to the login shell of the account.
        let forced = format!("ForceCommand exec {shell} -f -c \"$SSH_ORIGINAL_COMMAND\"");
        let forced = if matches!(shell, "zsh" | "tcsh") { forced } else { forced.replace(" -f", "") };
        let stage = stage_of_evasions(&[&forced]);
        let shared = Multiplexed::over(&stage);
        for (line, _) in evasions::ALLOWED {
            let here = Command::new("bash").args(["-c", line]).stdin(Stdio::null()).output().unwrap();
            let there = shared.ssh(line).run();
            assert_eq!(there.stdout, here.stdout, "{shell}: {line}: {}", there.errors());
            assert_eq!(there.status, here.status.code(), "{shell}: {line}: {}", there.errors());
        }
    }
}
