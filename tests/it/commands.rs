//! Command rules over a real sshd: what a role allows runs, byte for byte; what it does not is refused with exit status
//! 126, a line that names the rule, and an entry in the audit, and reaches no target.

use crate::world::stage::{Plan, Stage, policy as usual};
use crate::world::{PATIENCE, wait_for};

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
