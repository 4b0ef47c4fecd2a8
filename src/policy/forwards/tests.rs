//! Tests of the judgement: destinations and listeners as rows, the attacks among them, and tables that do not load.

use std::path::Path;

use super::*;
use crate::config::{Document, Section};

/// The rules of a table, or its problems.
fn rules(table: &str) -> Result<ForwardRules, Vec<String>> {
    let doc = Document::new(Path::new("policy.toml"), table);
    let read = doc.parse().map(|table| read(Section::top(&doc, table.get_ref())));
    match read {
        Some(rules) if doc.is_clean() => Ok(rules),
        _ => Err(doc.into_problems().into_iter().map(|problem| problem.to_string()).collect()),
    }
}

fn local(list: &str) -> ForwardRules {
    rules(&format!("local = [{list}]")).unwrap()
}

fn remote(list: &str) -> ForwardRules {
    rules(&format!("remote = [{list}]")).unwrap()
}

/// What a name resolves to in these tests.
fn resolve(name: &str) -> Vec<IpAddr> {
    let list: &[&str] = match name {
        "db.internal" => &["10.1.0.5"],
        "two.internal" => &["10.1.0.5", "10.1.0.6"],
        "split.internal" => &["10.1.0.5", "192.0.2.1"],
        "rebind.internal" => &["127.0.0.1"],
        "rebind.svc.internal" => &["10.1.0.5", "169.254.169.254"],
        "mapped.internal" => &["::ffff:127.0.0.1"],
        "web.svc.internal" => &["10.2.0.1"],
        "bastion.svc.internal" => &["10.1.0.1"],
        "linklocal.internal" => &["fe80::1"],
        "localhost" => &["10.1.0.5"],
        _ => &[],
    };
    list.iter().map(|address| address.parse().unwrap()).collect()
}

/// What the target is asked for, or the reason of the refusal.
fn ask(rules: &ForwardRules, host: &str, port: u16) -> Result<String, Denied> {
    let host = Host::parse(host)?;
    let found = match &host {
        Host::Name(name) => resolve(name),
        Host::Address(_) => Vec::new(),
    };
    let own = ["10.1.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    rules.local(&host, port, &found, &own).map(|hosts| hosts.join(" "))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn destinations() {
    let wide = local("\"0.0.0.0/0:*\", \"[::]/0:*\"");
    let ten = local("\"10.0.0.0/8:80-443\"");
    let name = local("\"db.internal:5432\"");
    let below = local("\"*.svc.internal:443\", \"*.internal:53\"");
    let own_loopback = local("\"localhost:8080\", \"127.0.0.2:1\"");
    let loopback = local("\"127.0.0.0/8:1024-65535\"");
    for (rules, host, port, expect) in [
        // Addresses by range and port.
        (&ten, "10.1.0.5", 80, Some("10.1.0.5")),
        (&ten, "::ffff:10.1.0.5", 80, Some("10.1.0.5")),
        (&ten, "10.1.0.5", 79, None),
        (&ten, "11.0.0.1", 80, None),
        // Names whose every address is in the range; the address is what is sent.
        (&ten, "db.internal", 443, Some("10.1.0.5")),
        (&ten, "DB.internal.", 443, Some("10.1.0.5")),
        (&ten, "two.internal", 443, Some("10.1.0.5 10.1.0.6")),
        (&ten, "split.internal", 443, None),
        (&ten, "unknown.internal", 443, None),
        (&ten, "rebind.internal", 443, None),
        // Names by rule.
        (&name, "db.internal", 5432, Some("10.1.0.5")),
        (&name, "db.internal", 5433, None),
        (&name, "10.1.0.5", 5432, None),
        (&name, "xdb.internal", 5432, None),
        (&local("\"unknown.internal:1\""), "unknown.internal", 1, Some("unknown.internal")),
        (&local("\"rebind.internal:1\""), "rebind.internal", 1, Some("127.0.0.1")),
        (&below, "web.svc.internal", 443, Some("10.2.0.1")),
        (&below, "svc.internal", 443, None),
        (&below, "unknown.svc.internal", 443, None),
        (&below, "web.svc.internal.evil", 443, None),
        // What wide rules do not open, whatever a name says today.
        (&below, "rebind.svc.internal", 443, None),
        (&below, "bastion.svc.internal", 443, None),
        (&below, "rebind.internal", 53, None),
        (&wide, "203.0.113.7", 80, Some("203.0.113.7")),
        (&wide, "2001:db8::1", 80, Some("2001:db8::1")),
        (&wide, "127.0.0.1", 80, None),
        (&wide, "localhost", 80, None),
        (&wide, "LOCALHOST.", 80, None),
        (&wide, "::1", 80, None),
        (&wide, "0.0.0.0", 80, None),
        (&wide, "::", 80, None),
        (&wide, "::ffff:127.0.0.1", 80, None),
        (&wide, "::ffff:0:0", 80, None),
        (&wide, "169.254.169.254", 80, None),
        (&wide, "64:ff9b::a9fe:a9fe", 80, None),
        (&wide, "fd00:ec2::254", 80, None),
        (&wide, "100.100.100.200", 80, None),
        (&wide, "fe80::1", 80, None),
        (&wide, "255.255.255.255", 80, None),
        (&wide, "224.0.0.1", 80, None),
        (&wide, "10.1.0.1", 22, None),
        (&wide, "fd00::1", 22, None),
        (&wide, "mapped.internal", 80, None),
        (&wide, "linklocal.internal", 80, None),
        (&wide, "0x7f.1", 80, None),
        (&wide, "127.1", 80, None),
        (&wide, "2130706433", 80, None),
        (&wide, "", 80, None),
        (&ten, "10.1.0.1", 80, None),
        // Named on purpose.
        (&local("\"10.1.0.1:22\""), "10.1.0.1", 22, Some("10.1.0.1")),
        (&local("\"10.1.0.0/31:22\""), "10.1.0.1", 22, None),
        (&local("\"169.254.169.254:80\""), "169.254.169.254", 80, Some("169.254.169.254")),
        (&local("\"169.254.0.0/16:80\""), "169.254.169.254", 80, None),
        (&local("\"169.254.0.0/16:80\""), "169.254.1.1", 80, Some("169.254.1.1")),
        (&local("\"[fe80::]/10:80\""), "linklocal.internal", 80, Some("fe80::1")),
        (&own_loopback, "localhost", 8080, Some("localhost")),
        (&own_loopback, "127.0.0.1", 8080, Some("127.0.0.1")),
        (&own_loopback, "::1", 8080, Some("::1")),
        (&own_loopback, "127.0.0.2", 8080, None),
        (&own_loopback, "localhost", 1, None),
        (&own_loopback, "rebind.internal", 8080, None),
        (&loopback, "localhost", 2000, Some("localhost")),
        (&loopback, "127.9.9.9", 2000, Some("127.9.9.9")),
        (&loopback, "rebind.internal", 2000, Some("127.0.0.1")),
        (&ForwardRules::default(), "10.1.0.5", 80, None),
        (&rules("").unwrap(), "10.1.0.5", 80, None),
        (&remote("\"10.1.0.5:80\""), "10.1.0.5", 80, None),
    ] {
        assert_eq!(
            ask(rules, host, port).ok().as_deref(),
            expect,
            "{host}:{port} {:?}",
            ask(rules, host, port)
        );
    }
}

#[test]
fn refusals_say_what_to_do() {
    let wide = local("\"0.0.0.0/0:*\"");
    let text = |rules: &ForwardRules, host| ask(rules, host, 80).unwrap_err().to_string();
    for (rules, host, expect) in [
        (
            &wide,
            "nowhere.example",
            "nowhere.example:80 does not resolve on the bastion: name the address, or have the policy name this host",
        ),
        (&local("\"a:1\""), "b", "no role of yours opens b:80: ask an administrator for a role that does"),
        (
            &wide,
            "rebind.internal",
            "rebind.internal (127.0.0.1) is the target's loopback, which only a rule that names it opens: ask an administrator",
        ),
        (&wide, "127.1", "\"127.1\" is no usual spelling of a host: write the name or the address in full"),
        (
            &wide,
            "10.1.0.1",
            "10.1.0.1:80 is the bastion itself, which only a rule that names it opens: ask an administrator",
        ),
    ] {
        assert_eq!(text(rules, host), expect);
    }
}

#[test]
fn listening() {
    let own = remote("\"localhost:9000\", \"127.0.0.1:1024-65535\"");
    let any = remote("\"0.0.0.0:1-65535\"");
    for (rules, address, port, expect) in [
        (&own, "localhost", 9000, true),
        (&own, "127.0.0.1", 9000, true),
        (&own, "localhost", 80, false),
        (&own, "127.0.0.1", 8000, true),
        (&own, "localhost", 8000, true),
        (&own, "::1", 9000, true),
        (&own, "::1", 8000, false),
        (&own, "localhost", 0, true),
        (&own, "", 9000, false),
        (&own, "*", 9000, false),
        (&own, "0.0.0.0", 9000, false),
        (&own, "10.1.0.5", 9000, false),
        (&own, "127.1", 9000, false),
        (&remote("\"localhost:9000-40000\""), "localhost", 0, false),
        (&remote("\"localhost:9000-40000\""), "localhost", 0, false),
        (&any, "", 80, true),
        (&any, "*", 80, true),
        (&any, "0.0.0.0", 80, true),
        (&any, "::", 80, false),
        (&any, "localhost", 80, false),
        (&remote("\"0.0.0.0/0:*\""), "", 80, false),
        (&remote("\"0.0.0.0/0:*\""), "127.0.0.1", 80, false),
        (&remote("\"0.0.0.0/0:*\""), "10.1.0.5", 80, true),
        (&local("\"localhost:9000\""), "localhost", 9000, false),
        (&ForwardRules::default(), "localhost", 9000, false),
    ] {
        assert_eq!(rules.listen(address, port).is_ok(), expect, "{address} {port}");
    }
}

#[test]
fn sockets_agent_and_display() {
    let all =
        rules("local_sockets = [\"/run/a/*\"]\nremote_sockets = [\"/run/b/**\"]\nagent = true\nx11 = true")
            .unwrap();
    assert_eq!(all.local_socket("/run/a/x"), Ok(()));
    assert_eq!(all.remote_socket("/run/b/x/y"), Ok(()));
    for denied in
        [all.local_socket("/run/b/x"), all.remote_socket("/run/a/x"), all.local_socket("/run/a/../b")]
    {
        assert!(denied.is_err());
    }
    assert!(all.agent() && all.x11());
    let none = rules("").unwrap();
    assert!(!none.agent() && !none.x11() && none.local_socket("/run/a/x").is_err());
    assert!(!ForwardRules::default().agent());
    assert!(none.is_empty() && ForwardRules::default().is_empty() && !all.is_empty());
}

#[test]
fn narrowing_is_what_both_allow() {
    let parent = rules("local = [\"10.0.0.0/8:*\", \"*.internal:*\"]\nagent = true\nx11 = true").unwrap();
    let child = rules("local = [\"10.1.0.0/16:443\", \"192.0.2.0/24:443\"]\nagent = true").unwrap();
    for both in [parent.narrow(&child), child.narrow(&parent)] {
        assert!(ask(&both, "10.1.0.5", 443).is_ok());
        assert!(ask(&both, "10.2.0.5", 443).is_err(), "the child's range");
        assert!(ask(&both, "192.0.2.1", 443).is_err(), "the parent's range");
        assert!(ask(&both, "db.internal", 443).is_ok(), "a name in one, an address in the other");
        assert!(both.agent() && !both.x11());
    }
    assert_eq!(parent.narrow(&ForwardRules::default()), ForwardRules::default());
}

#[test]
fn wrong_tables() {
    for (table, expect) in [
        (
            "local = [\"*:*\"]",
            "\"*:*\": * for every host is too short a word for so much: write 0.0.0.0/0 or [::]/0",
        ),
        ("local = [\"db\"]", "\"db\" is not HOST:PORTS"),
        ("local = [\"db:\"]", "ports are numbers from 1 to 65535"),
        ("local = [\"db:0\"]", "ports are numbers from 1 to 65535"),
        ("local = [\"db:65536\"]", "ports are numbers from 1 to 65535"),
        ("local = [\"db:90-80\"]", "ports are numbers from 1 to 65535"),
        ("local = [\"db:80,\"]", "ports are numbers from 1 to 65535"),
        ("local = [\"db:+80\"]", "ports are numbers from 1 to 65535"),
        ("local = [\"10.0.0.1/8:80\"]", "is not a range"),
        ("local = [\"10.0.0.0/33:80\"]", "is not a range"),
        ("local = [\"[fd00::1]/8:80\"]", "is not a range"),
        ("local = [\"fd00::1:80\"]", "is not HOST:PORTS"),
        ("local = [\"[10.0.0.1]:80\"]", "is not HOST:PORTS"),
        ("local = [\"[fd00::1]80\"]", "is not HOST:PORTS"),
        ("local = [\"127.1:80\"]", "is not a host"),
        ("local = [\"a*:80\"]", "is not a host"),
        ("local = [\"a.*.b:80\"]", "is not a host"),
        ("local = [\"*.*.b:80\"]", "is not a host"),
        ("local = [\"a:1\", \"a:1\"]", "listed twice"),
        ("local = []", "\"local\" is empty"),
        ("local = \"a:1\"", "must be an array"),
        ("remote_sockets = [\"run/x\"]", "is not a pattern for sockets"),
        ("agent = \"yes\"", "must be true or false"),
        ("lokal = [\"a:1\"]", "unknown key \"lokal\"; did you mean \"local\"?"),
    ] {
        let problems = rules(table).expect_err(table);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expect), "{table}: {problems:?}");
    }
}

#[test]
fn lints_name_what_opens_everything() {
    let rules = rules("local = [\"0.0.0.0/0:*\", \"10.0.0.0/8:1\"]\nlocal_sockets = [\"/**\"]").unwrap();
    assert_eq!(
        rules.lints(),
        [
            "forwards.local: \"0.0.0.0/0:*\" opens every address of its kind",
            "forwards.local_sockets: \"/**\" opens every socket"
        ]
    );
}
