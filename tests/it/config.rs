//! `caponier.toml` and `policy.toml` as people get them wrong: rows of an edit to a good file and what is said about
//! it; and the command that says it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test prepares must work, or the test fails"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use caponier::cli::config::{ConfigArgs, ConfigCommand, Format, run};
use caponier::config::{CaSource, Config, Passphrase, Problem};
use caponier::policy::{self, HostKey};
use caponier::random::Random;

/// A configuration that says as little as it may. Edits replace parts of it, so that rows can count its lines.
const GOOD: &str = r#"state_dir = "state"
[ssh]
host_names = ["bastion.example.com"]
[web]
public_url = "https://bastion.example.com"
[ca]
passphrase_file = "pass"
[[provider]]
name = "corp"
issuer = "https://id.example.com"
client_id = "caponier"
client_secret_file = "secret"
"#;

/// A policy likewise.
const POLICY: &str = r#"[[target]]
name = "web1"
address = "10.0.0.5"
labels = { env = "prod" }
host_key = { ca = true }
[[role]]
name = "operators"
members = { groups = ["corp:ops"] }
targets = { names = ["web1"] }
logins = ["deploy"]
channels = ["shell", "exec"]
"#;

/// A folder with the secret files that the good configuration names, and some that are wrong.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text, mode) in [
            ("pass", "open sesame\n", 0o600),
            ("secret", "hunter2-client\n", 0o600),
            ("open", "hunter2-open\n", 0o644),
            ("empty", "\n", 0o600),
            ("url", "postgres://u:hunter2-db@db.example/caponier\n", 0o600),
            ("cert.pem", "", 0o644),
            ("key.pem", "", 0o640),
            ("open-key.pem", "", 0o644),
            ("policy.toml", POLICY, 0o644),
        ] {
            folder.write(name, text, mode);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    /// The problems as lines, without the folder in front of names.
    fn lines(&self, problems: &[Problem]) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn load(&self, text: &str) -> Result<Config, Vec<String>> {
        let path = self.write("caponier.toml", text, 0o644);
        Config::load(&path, &env()).map_err(|problems| self.lines(&problems))
    }
}

fn env() -> BTreeMap<String, String> {
    let pairs = [("SECRET", "hunter2-env"), ("EMPTY", ""), ("STORE", "sqlite:/srv/c.db")];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// One row: replace `from` by `to` in the good file; exactly these lines must be said.
type Row<'a> = (&'a str, &'a str, &'a [&'a str]);

fn edited(good: &str, from: &str, to: &str) -> String {
    assert_eq!(good.matches(from).count(), 1, "the row's {from:?} must stand once in the good file");
    good.replace(from, to)
}

fn check(rows: &[Row<'_>], good: &str, load: impl Fn(&str) -> Vec<String>) {
    let mut wrong = String::new();
    for (from, to, expect) in rows {
        let got = load(&edited(good, from, to));
        if got != *expect {
            wrong.push_str(&format!("{from:?} -> {to:?}\n"));
            got.iter().for_each(|line| wrong.push_str(&format!("    {line:?},\n")));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_a_wrong_configuration_gets() {
    let folder = Folder::new();
    let load = |text: &str| folder.load(text).err().unwrap_or_default();
    check(CONFIG_ROWS, GOOD, load);
}

#[test]
fn what_a_wrong_policy_gets() {
    let folder = Folder::new();
    let config = folder.load(GOOD).unwrap();
    let load = |text: &str| {
        let path = folder.write("policy.toml", text, 0o644);
        let problems = policy::load_for(&path, &config).err().unwrap_or_default();
        folder.lines(&problems)
    };
    check(POLICY_ROWS, POLICY, load);
}

const CONFIG_ROWS: &[Row<'_>] = &[
    // Nothing wrong.
    ("state_dir", "state_dir", &[]),
    // TOML itself.
    ("[ssh]", "[ssh", &["caponier.toml:2:5: not TOML: unclosed table, expected `]`"]),
    (
        "name = \"corp\"",
        "name = corp",
        &["caponier.toml:9:8: not TOML: string values must be quoted, expected literal string"],
    ),
    (
        "client_id = \"caponier\"",
        "client_id = \"caponier\"\nclient_id = \"other\"",
        &["caponier.toml:12:1: \"client_id\" is given twice; keep one"],
    ),
    // Unknown keys.
    (
        "[ssh]",
        "[ssh]\nlisen = \"0.0.0.0:22\"",
        &["caponier.toml:3:1: unknown key \"lisen\" in [ssh]; did you mean \"listen\"?"],
    ),
    (
        "[ssh]",
        "[ssh]\npublic-port = 22",
        &["caponier.toml:3:1: unknown key \"public-port\" in [ssh]; did you mean \"public_port\"?"],
    ),
    (
        "[ssh]",
        "[ssh]\nflavour = 1",
        &[
            "caponier.toml:3:1: unknown key \"flavour\" in [ssh]; there is: listen, host_names, public_port, client_patterns, connections_max, unauthenticated_max, login_grace",
        ],
    ),
    (
        "state_dir",
        "state_folder",
        &[
            "caponier.toml:1:1: unknown key \"state_folder\"; there is: state_dir, ssh, web, store, ca, certificates, provider, sign_in, sessions, recording, policy, log",
        ],
    ),
    (
        "client_secret_file",
        "client_secret",
        &[
            "caponier.toml:12:1: unknown key \"client_secret\" in [[provider]] number 1; did you mean \"client_secret_env\"?",
        ],
    ),
    (
        "[ssh]",
        "[certificate]\nlife = \"5m\"\n[ssh]",
        &["caponier.toml:2:2: unknown key \"certificate\"; did you mean \"certificates\"?"],
    ),
    (
        "client_id",
        "cliend_id",
        &[
            "caponier.toml:8:1: \"client_id\" is missing in [[provider]] number 1: the client id that the provider gave you",
            "caponier.toml:11:1: unknown key \"cliend_id\" in [[provider]] number 1; did you mean \"client_id\"?",
        ],
    ),
    // Wrong types.
    (
        "[ssh]",
        "[ssh]\npublic_port = \"22\"",
        &["caponier.toml:3:15: \"public_port\" must be a whole number; this is text"],
    ),
    (
        "[\"bastion.example.com\"]",
        "\"bastion.example.com\"",
        &["caponier.toml:3:14: \"host_names\" must be an array of texts, [\"...\"]; this is text"],
    ),
    (
        "[\"bastion.example.com\"]",
        "[\"bastion.example.com\", 5]",
        &["caponier.toml:3:38: every item of \"host_names\" must be text, \"...\"; this is a whole number"],
    ),
    (
        "[[provider]]",
        "[provider]",
        &["caponier.toml:8:1: \"provider\" must be an array of tables, [[...]]; this is a table"],
    ),
    (
        "[ssh]\nhost_names",
        "[certificates]\nlife = 300\nbind_source_address = \"no\"\n[ssh]\nhost_names",
        &[
            "caponier.toml:3:8: \"life\" must be a time span as text, such as \"90s\", \"5m\", \"1h30m\"; this is a whole number",
            "caponier.toml:4:23: \"bind_source_address\" must be true or false; this is text",
        ],
    ),
    // Ranges.
    (
        "[ssh]",
        "[certificates]\nlife = \"16m\"\n[sign_in]\nlife = \"4m\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"life\" must be from 30s to 15m",
            "caponier.toml:5:8: \"life\" must be from 5m to 1d",
        ],
    ),
    (
        "[ssh]",
        "[certificates]\nlife = \"10s\"\n[sign_in]\nlife = \"25h\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"life\" must be from 30s to 15m",
            "caponier.toml:5:8: \"life\" must be from 5m to 1d",
        ],
    ),
    (
        "[ssh]",
        "[certificates]\nlife = \"5 minutes\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"life\": \"5 minutes\" is not a time span: write it as \"90s\", \"5m\", \"10h\" or \"1h30m\"",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\npublic_port = 65536\nconnections_max = 0",
        &[
            "caponier.toml:3:15: \"public_port\" must be from 1 to 65535",
            "caponier.toml:4:19: \"connections_max\" must be from 1 to 65536",
        ],
    ),
    ("[ssh]", "[ssh]\npublic_port = -22", &["caponier.toml:3:15: \"public_port\" must be from 1 to 65535"]),
    (
        "[ssh]",
        "[ssh]\nconnections_max = 10\nunauthenticated_max = 11",
        &["caponier.toml:4:23: \"unauthenticated_max\" is over \"connections_max\" (10)"],
    ),
    ("[ssh]", "[ssh]\nlogin_grace = \"1h\"", &["caponier.toml:3:15: \"login_grace\" must be from 5s to 15m"]),
    (
        "[ssh]",
        "[recording]\nexec_output_max = \"2GiB\"\n[ssh]",
        &["caponier.toml:3:19: \"exec_output_max\" must be from 0 to 1GiB"],
    ),
    (
        "[ssh]",
        "[recording]\nexec_output_max = \"1MB\"\n[ssh]",
        &[
            "caponier.toml:3:19: \"exec_output_max\": \"1MB\" is not a size: write \"64KiB\", \"1MiB\", \"2GiB\" or a number of bytes",
        ],
    ),
    (
        "[ssh]",
        "[log]\nformat = \"xml\"\n[ssh]",
        &["caponier.toml:3:10: \"format\" must be \"text\" or \"json\", not \"xml\""],
    ),
    (
        "[ssh]",
        "[sessions]\nmax = \"1h\"\nidle = \"2h\"\nenv = [\"LD_*\", \"*\"]\n[ssh]",
        &[
            "caponier.toml:4:8: \"idle\" is longer than \"max\" and would never end a session: make it shorter",
            "caponier.toml:5:8: \"LD_*\" would let LD_PRELOAD pass, which makes programs run other code; list harmless names",
            "caponier.toml:5:16: \"*\" is not a variable's name, with \"*\" at most at the end",
        ],
    ),
    // The doors.
    (
        "[ssh]",
        "[ssh]\nlisten = \"2222\"",
        &[
            "caponier.toml:3:10: \"listen\" must be ADDRESS:PORT, such as \"0.0.0.0:2222\" or \"[::]:2222\", not \"2222\"",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\nlisten = \"bastion:22\"",
        &[
            "caponier.toml:3:10: \"listen\" must be ADDRESS:PORT, such as \"0.0.0.0:2222\" or \"[::]:2222\", not \"bastion:22\"",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\nlisten = \"127.0.0.1:8443\"",
        &["caponier.toml:3:1: [ssh] and [web] both listen on 127.0.0.1:8443: give each its own port"],
    ),
    (
        "[\"bastion.example.com\"]",
        "[]",
        &["caponier.toml:3:14: \"host_names\" is empty: list the names clients use for this bastion"],
    ),
    (
        "[\"bastion.example.com\"]",
        "[\"*.example.com\", \"Bastion\", \"ok\", \"ok\"]",
        &[
            "caponier.toml:3:15: \"*.example.com\" is not a host name (lower case, no wildcard) nor an IP address",
            "caponier.toml:3:32: \"Bastion\" is not a host name (lower case, no wildcard) nor an IP address",
            "caponier.toml:3:49: \"ok\" is listed twice",
        ],
    ),
    (
        "host_names = [\"bastion.example.com\"]",
        "",
        &[
            "caponier.toml:2:2: \"host_names\" is missing in [ssh]: list the names clients use for this bastion, such as [\"bastion.example.com\"]",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\nclient_patterns = [\"*.corp\", \"*\", \"*.*\", \"a b\", \"!x\"]",
        &[
            "caponier.toml:3:30: \"*\" would send every host through the bastion: write a pattern like \"*.corp.example\"",
            "caponier.toml:3:35: \"*.*\" would send every host through the bastion: write a pattern like \"*.corp.example\"",
            "caponier.toml:3:42: \"a b\" is not a host pattern: a-z 0-9 . - _ and the wildcards * and ?",
            "caponier.toml:3:49: \"!x\" is not a host pattern: a-z 0-9 . - _ and the wildcards * and ?",
        ],
    ),
    (
        "https://bastion",
        "http://bastion",
        &["caponier.toml:5:14: \"public_url\": http is allowed on loopback only; use https"],
    ),
    (
        "example.com\"\n[ca]",
        "example.com/caponier?x=1\"\n[ca]",
        &[
            "caponier.toml:5:14: \"public_url\": only scheme, host and port, such as \"https://bastion.example.com\"; no path, no query",
        ],
    ),
    (
        "https://bastion",
        "https://user:hunter2@bastion",
        &["caponier.toml:5:14: \"public_url\": no user name and no password belong into this URL"],
    ),
    (
        "https://bastion.example.com",
        "bastion.example.com",
        &["caponier.toml:5:14: \"public_url\": not a URL (relative URL without a base); write https://HOST"],
    ),
    (
        "https://bastion.example.com",
        "ftp://bastion.example.com",
        &["caponier.toml:5:14: \"public_url\": ftp: is not for browsers; use https://HOST"],
    ),
    (
        "[web]\n",
        "[web]\ntls_cert = \"cert.pem\"\n",
        &["caponier.toml:5:1: \"tls_cert\" needs \"tls_key\" beside it"],
    ),
    (
        "[web]\n",
        "[web]\ntls_key = \"key.pem\"\n",
        &["caponier.toml:5:1: \"tls_key\" needs \"tls_cert\" beside it"],
    ),
    (
        "[web]\n",
        "[web]\ntls_cert = \"nowhere.pem\"\ntls_key = \"open-key.pem\"\n",
        &[
            "caponier.toml:5:12: cannot read nowhere.pem: No such file or directory (os error 2)",
            "caponier.toml:6:11: open-key.pem can be read by others (mode 644): chmod o= open-key.pem",
        ],
    ),
    (
        "[web]\n",
        "[web]\nlisten = \"0.0.0.0:8443\"\n",
        &[
            "caponier.toml:5:1: 0.0.0.0:8443 would speak http to the network in the clear: set \"tls_cert\" and \"tls_key\", listen on 127.0.0.1, or name the reverse proxy in \"trusted_proxies\"",
        ],
    ),
    (
        "[web]\n",
        "[web]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
        &["caponier.toml:5:20: \"10.0.0.0/8\" is not an IP address (networks are not known here)"],
    ),
    (
        "[web]\npublic_url = \"https://bastion.example.com\"\n",
        "",
        &[
            "caponier.toml: \"public_url\" is missing in [web]: write how browsers reach this server, such as \"https://bastion.example.com\"",
        ],
    ),
    // The store.
    (
        "[ssh]",
        "[store]\nurl = \"mysql://db/x\"\n[ssh]",
        &["caponier.toml:3:7: the store must be \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\""],
    ),
    (
        "[ssh]",
        "[store]\nurl = \"postgres://u:hunter2@db/x\"\n[ssh]",
        &[
            "caponier.toml:3:7: \"url\" has a password and others can read this file: use \"url_file\" or \"url_env\", or chmod 600 caponier.toml",
        ],
    ),
    (
        "[ssh]",
        "[store]\nurl_env = \"STORE\"\nurl_file = \"url\"\n[ssh]",
        &["caponier.toml:3:1: both \"url_file\" and \"url_env\" are given: keep one"],
    ),
    (
        "[ssh]",
        "[store]\nurl_env = \"NOT_SET\"\n[ssh]",
        &["caponier.toml:3:11: \"url_env\": the environment variable NOT_SET is not set; export it first"],
    ),
    (
        "[ssh]",
        "[store]\nurl_file = \"open\"\n[ssh]",
        &["caponier.toml:3:12: open can be read by others (mode 644): chmod 600 open"],
    ),
    // The authorities.
    (
        "passphrase_file = \"pass\"",
        "",
        &[
            "caponier.toml:6:2: [ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "plain = false",
        &[
            "caponier.toml:6:2: [ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"pass\"\nplain = true",
        &["caponier.toml:8:1: both \"passphrase_file\" and \"plain\" are given: keep one"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"pass\"\npassphrase_env = \"SECRET\"\nagent = \"s\"",
        &[
            "caponier.toml:8:1: both \"passphrase_file\" and \"passphrase_env\" are given: keep one",
            "caponier.toml:9:1: both \"passphrase_file\" and \"agent\" are given: keep one",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"open\"",
        &["caponier.toml:7:19: open can be read by others (mode 644): chmod 600 open"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"empty\"",
        &["caponier.toml:7:19: the first line of empty is empty: it must hold the secret"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"nowhere\"",
        &["caponier.toml:7:19: cannot read nowhere: No such file or directory (os error 2)"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_env = \"NOT_SET\"",
        &[
            "caponier.toml:7:18: \"passphrase_env\": the environment variable NOT_SET is not set; export it first",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_env = \"EMPTY\"",
        &[
            "caponier.toml:7:18: \"passphrase_env\": the environment variable EMPTY is not set; export it first",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_env = \"open sesame\"",
        &["caponier.toml:7:18: \"passphrase_env\" must be the name of an environment variable, not a value"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_credential = \"../x\"",
        &["caponier.toml:7:25: \"../x\" is not the name of a systemd credential (a-z A-Z 0-9 . _ -)"],
    ),
    // The providers.
    (
        "[[provider]]\nname = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"caponier\"\nclient_secret_file = \"secret\"\n",
        "",
        &[
            "caponier.toml: no [[provider]] is given, so nobody could sign in: add one with \"name\", \"issuer\" and \"client_id\"",
        ],
    ),
    (
        "https://id.example.com",
        "http://id.example.com",
        &["caponier.toml:10:10: \"issuer\": http is allowed on loopback only; use https"],
    ),
    (
        "https://id.example.com",
        "https://id.example.com?tenant=1",
        &["caponier.toml:10:10: \"issuer\": no query and no fragment (OpenID Connect Discovery section 3)"],
    ),
    (
        "client_secret_file = \"secret\"",
        "client_secret_file = \"secret\"\nclient_secret_env = \"SECRET\"",
        &["caponier.toml:13:1: both \"client_secret_file\" and \"client_secret_env\" are given: keep one"],
    ),
    (
        "client_secret_file = \"secret\"",
        "client_secret_file = \"open\"",
        &["caponier.toml:12:22: open can be read by others (mode 644): chmod 600 open"],
    ),
    (
        "client_secret_file = \"secret\"",
        "client_secret_env = \"NOT_SET\"",
        &[
            "caponier.toml:12:21: \"client_secret_env\": the environment variable NOT_SET is not set; export it first",
        ],
    ),
    (
        "name = \"corp\"",
        "name = \"corp:eu\"",
        &[
            "caponier.toml:9:8: \"corp:eu\" is not a valid provider name: 1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
        ],
    ),
    (
        "name = \"corp\"",
        "algorithms = [\"none\", \"HS256\", \"RS265\"]\nname = \"corp\"",
        &[
            "caponier.toml:9:15: \"none\" would accept tokens that nobody signed",
            "caponier.toml:9:23: \"HS256\" is refused: with HMAC, whoever knows the client secret can make tokens",
            "caponier.toml:9:32: unknown algorithm \"RS265\"; did you mean \"RS256\"?",
        ],
    ),
    (
        "name = \"corp\"",
        "algorithms = []\nname = \"corp\"",
        &[
            "caponier.toml:9:1: \"algorithms\" is empty, so no token could be accepted: leave it out for the default",
        ],
    ),
    (
        "[[provider]]",
        "[[provider]]\nname = \"corp\"\nissuer = \"https://other.example\"\nclient_id = \"x\"\n[[provider]]",
        &["caponier.toml:13:1: there is a provider \"corp\" already"],
    ),
    (
        "[[provider]]",
        "[[provider]]\nname = \"twin\"\nissuer = \"https://id.example.com\"\nclient_id = \"caponier\"\n[[provider]]",
        &["caponier.toml:15:1: \"twin\" has the same issuer and client id; keep one of them"],
    ),
    (
        "[[provider]]\nname = \"corp\"",
        "[[provider]]",
        &[
            "caponier.toml:8:1: \"name\" is missing in [[provider]] number 1: a short name of your choice; groups are written NAME:GROUP",
        ],
    ),
    (
        "[ssh]",
        "[sign_in]\nadmins = [\"crop:ops\", \"corp\", \"corp:ann\"]\n[ssh]",
        &[
            "caponier.toml:3:11: there is no provider \"crop\"; did you mean \"corp\"?",
            "caponier.toml:3:23: \"corp\" is not a valid group: PROVIDER:GROUP, the group 1 to 256 bytes without control characters",
        ],
    ),
    // Several at once, in the order of the file.
    (
        "host_names = [\"bastion.example.com\"]\n[web]\npublic_url = \"https://bastion.example.com\"\n[ca]\npassphrase_file = \"pass\"",
        "listen = 1\n[web]\npublic_url = \"x\"\ntls = true\n[ca]",
        &[
            "caponier.toml:2:2: \"host_names\" is missing in [ssh]: list the names clients use for this bastion, such as [\"bastion.example.com\"]",
            "caponier.toml:3:10: \"listen\" must be text, \"...\"; this is a whole number",
            "caponier.toml:5:14: \"public_url\": not a URL (relative URL without a base); write https://HOST",
            "caponier.toml:6:1: unknown key \"tls\" in [web]; did you mean \"tls_key\"?",
            "caponier.toml:7:2: [ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        ],
    ),
];

const POLICY_ROWS: &[Row<'_>] = &[
    ("[[target]]", "[[target]]", &[]),
    ("[[target]]", "[[target", &["policy.toml:1:9: not TOML: unclosed array table, expected `]]`"]),
    ("[[role]]", "[[rule]]", &["policy.toml:6:3: unknown key \"rule\"; did you mean \"role\"?"]),
    (
        "address =",
        "adress =",
        &[
            "policy.toml:1:1: \"address\" is missing in [[target]] number 1: HOST or HOST:PORT, where it listens",
            "policy.toml:3:1: unknown key \"adress\" in [[target]] number 1; did you mean \"address\"?",
        ],
    ),
    (
        "logins =",
        "login =",
        &[
            "policy.toml:6:1: \"logins\" is missing in [[role]] number 1: the accounts it opens, such as [\"deploy\"]",
            "policy.toml:10:1: unknown key \"login\" in [[role]] number 1; did you mean \"logins\"?",
        ],
    ),
    (
        "name = \"web1\"",
        "name = \"Web 1\"",
        &[
            "policy.toml:2:8: \"Web 1\" is not a valid target name: 1 to 253 characters of a-z 0-9 . _ -, starting and ending with a letter or digit, no two dots in a row",
            "policy.toml:9:22: there is no target \"web1\"",
        ],
    ),
    (
        "address = \"10.0.0.5\"",
        "address = \"::1\"",
        &["policy.toml:3:11: \"::1\" is not an address: write HOST, HOST:PORT, [IPV6] or [IPV6]:PORT"],
    ),
    (
        "address = \"10.0.0.5\"",
        "address = 10",
        &["policy.toml:3:11: \"address\" must be text, \"...\"; this is a whole number"],
    ),
    (
        "labels = { env = \"prod\" }",
        "labels = { env = \"*\", \"a b\" = \"x\", n = 1 }",
        &[
            "policy.toml:4:18: \"*\": labels know no wildcard; write the value",
            "policy.toml:4:23: \"a b\" is not a label's name: a-z A-Z 0-9 . _ - /",
            "policy.toml:4:40: \"n\" must be text, \"...\"; this is a whole number",
        ],
    ),
    (
        "host_key = { ca = true }",
        "",
        &[
            "policy.toml:1:1: \"host_key\" is missing in [[target]] number 1: { ca = true } when our host CA certified it, or { pinned = [\"ssh-ed25519 AAAA...\"] }",
        ],
    ),
    (
        "host_key = { ca = true }",
        "host_key = {}",
        &["policy.toml:5:1: \"host_key\" must be { ca = true } or { pinned = [\"ssh-ed25519 AAAA...\"] }"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = \"ca\"",
        &["policy.toml:5:12: \"host_key\" must be a table, { ... }; this is text"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { ca = false }",
        &["policy.toml:5:19: \"ca = false\" says nothing: write { ca = true } or { pinned = [...] }"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { ca = true, principal = \"*\" }",
        &["policy.toml:5:37: \"*\" is not a host name"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { ca = true, pinned = [] }",
        &["policy.toml:5:19: \"ca\" and \"pinned\" exclude each other: keep one"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { pinned = [] }",
        &["policy.toml:5:23: \"pinned\" is empty, so no host key could be right"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { pinned = [\"ssh-ed25519 AAAA\"] }",
        &[
            "policy.toml:5:24: not a public key (length invalid): paste a line of the target's /etc/ssh/ssh_host_ed25519_key.pub",
        ],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { pinned = [\"ssh-ed25519-cert-v01@openssh.com AAAA\"] }",
        &["policy.toml:5:24: this is a certificate: pin the plain key, or write host_key = { ca = true }"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { any = true }",
        &[
            "policy.toml:5:1: \"host_key\" must be { ca = true } or { pinned = [\"ssh-ed25519 AAAA...\"] }",
            "policy.toml:5:14: unknown key \"any\" in \"host_key\"; there is: ca, principal, pinned",
        ],
    ),
    (
        "[[role]]",
        "[[target]]\nname = \"web1\"\naddress = \"h\"\nhost_key = { ca = true }\n[[role]]",
        &["policy.toml:7:8: there is a target \"web1\" already"],
    ),
    (
        "channels = [\"shell\", \"exec\"]\n",
        "channels = [\"shell\", \"exec\"]\n[[role]]\nname = \"operators\"\nmembers = { groups = [\"corp:x\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"a\"]\nchannels = [\"exec\"]\n",
        &["policy.toml:13:1: there is a role \"operators\" already"],
    ),
    (
        "members = { groups = [\"corp:ops\"] }",
        "",
        &[
            "policy.toml:6:1: \"members\" is missing in [[role]] number 1: { groups = [\"PROVIDER:GROUP\"] } or { subjects = [\"PROVIDER:SUBJECT\"] }",
        ],
    ),
    (
        "members = { groups = [\"corp:ops\"] }",
        "members = {}",
        &["policy.toml:8:1: the role is for nobody: name \"groups\" or \"subjects\""],
    ),
    (
        "members = { groups = [\"corp:ops\"] }",
        "members = { groups = [], subjects = [] }",
        &["policy.toml:8:1: the role is for nobody: name \"groups\" or \"subjects\""],
    ),
    (
        "\"corp:ops\"",
        "\"ops\"",
        &[
            "policy.toml:8:23: \"ops\" is not a valid group: PROVIDER:GROUP, the group 1 to 256 bytes without control characters",
        ],
    ),
    (
        "\"corp:ops\"",
        "\"corp:*\"",
        &["policy.toml:8:23: \"corp:*\": members know no wildcard; name each group or subject"],
    ),
    (
        "\"corp:ops\"",
        "\"crop:ops\"",
        &["policy.toml:8:23: there is no provider \"crop\"; did you mean \"corp\"?"],
    ),
    ("\"corp:ops\"", "\"corp:ops\", \"corp:ops\"", &["policy.toml:8:35: \"corp:ops\" is listed twice"]),
    (
        "groups = [\"corp:ops\"]",
        "subjects = [\"ann\", \"corp:\", \"nowhere:ann\"]",
        &[
            "policy.toml:8:25: \"ann\" is not a subject: write PROVIDER:SUBJECT",
            "policy.toml:8:32: \"corp:\" is not a subject: write PROVIDER:SUBJECT",
            "policy.toml:8:41: there is no provider \"nowhere\"; there is: corp",
        ],
    ),
    (
        "groups = [\"corp:ops\"]",
        "group = [\"corp:ops\"]",
        &[
            "policy.toml:8:1: the role is for nobody: name \"groups\" or \"subjects\"",
            "policy.toml:8:13: unknown key \"group\" in \"members\"; did you mean \"groups\"?",
        ],
    ),
    ("names = [\"web1\"]", "", &["policy.toml:9:1: the role opens no target: give \"names\" or \"labels\""]),
    (
        "names = [\"web1\"]",
        "names = [\"web2\"]",
        &["policy.toml:9:22: there is no target \"web2\"; did you mean \"web1\"?"],
    ),
    (
        "names = [\"web1\"]",
        "names = [\"*\"]",
        &[
            "policy.toml:9:22: \"*\" is not a valid target name: 1 to 253 characters of a-z 0-9 . _ -, starting and ending with a letter or digit, no two dots in a row",
        ],
    ),
    (
        "names = [\"web1\"]",
        "labels = [{}]",
        &["policy.toml:9:23: a selector without labels would match every target: name at least one label"],
    ),
    (
        "names = [\"web1\"]",
        "labels = []",
        &["policy.toml:9:1: the role opens no target: give \"names\" or \"labels\""],
    ),
    (
        "names = [\"web1\"]",
        "labels = { env = \"prod\" }",
        &["policy.toml:9:22: \"labels\" must be an array of tables, [{ ... }]; this is a table"],
    ),
    (
        "names = [\"web1\"]",
        "labels = [{ evn = \"prod\" }]",
        &["policy.toml:9:23: no target has a label \"evn\"; did you mean \"env\"?"],
    ),
    (
        "names = [\"web1\"]",
        "labels = [{ env = \"prd\" }]",
        &["policy.toml:9:23: no target has the label env = \"prd\"; did you mean \"prod\"?"],
    ),
    (
        "targets = { names = [\"web1\"] }",
        "targets = [\"web1\"]",
        &["policy.toml:9:11: \"targets\" must be a table, { ... }; this is an array"],
    ),
    ("[\"deploy\"]", "[]", &["policy.toml:10:10: \"logins\" is empty, so the role could never be used"]),
    (
        "[\"deploy\"]",
        "[\"*\", \"a,b\", \"-oX\"]",
        &[
            "policy.toml:10:11: \"*\" is not a valid login: 1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
            "policy.toml:10:16: \"a,b\" is not a valid login: 1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
            "policy.toml:10:23: \"-oX\" is not a valid login: 1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
        ],
    ),
    (
        "[\"shell\", \"exec\"]",
        "[]",
        &["policy.toml:11:12: \"channels\" is empty, so the role could never be used"],
    ),
    (
        "[\"shell\", \"exec\"]",
        "[\"shel\", \"exec\", \"exec\", \"x11\"]",
        &[
            "policy.toml:11:13: unknown channel kind \"shel\"; did you mean \"shell\"?",
            "policy.toml:11:29: \"exec\" is listed twice",
            "policy.toml:11:37: unknown channel kind \"x11\"; there is: shell, exec, sftp",
        ],
    ),
    (
        "channels = [\"shell\", \"exec\"]",
        "",
        &[
            "policy.toml:6:1: \"channels\" is missing in [[role]] number 1: what it opens, of [\"shell\", \"exec\", \"sftp\"]",
        ],
    ),
    (
        "[[role]]",
        "[[role]]\nsession_max = \"forever\"\nidle_max = 30\nrecord_input = \"yes\"",
        &[
            "policy.toml:7:15: \"session_max\": \"forever\" is not a time span: write it as \"90s\", \"5m\", \"10h\" or \"1h30m\"",
            "policy.toml:8:12: \"idle_max\" must be a time span as text, such as \"90s\", \"5m\", \"1h30m\"; this is a whole number",
            "policy.toml:9:16: \"record_input\" must be true or false; this is text",
        ],
    ),
    (
        "[[role]]",
        "[[role]]\nsession_max = \"8d\"",
        &["policy.toml:7:15: \"session_max\" must be from 1s to 7d"],
    ),
    (
        "[[role]]",
        "[[role]]\nsession_max = \"10m\"\nidle_max = \"20m\"",
        &["policy.toml:8:12: \"idle_max\" is longer than \"session_max\" and would never end a session"],
    ),
    (
        "name = \"operators\"",
        "name = \"\"",
        &[
            "policy.toml:7:8: \"\" is not a valid role name: 1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
        ],
    ),
];

#[test]
fn a_good_configuration_has_the_documented_defaults() {
    let folder = Folder::new();
    let config = folder.load(GOOD).unwrap();
    assert_eq!(config.state_dir, folder.path("state"), "relative to the file, not to where we stand");
    assert_eq!(config.policy_file, folder.path("policy.toml"));
    assert_eq!(config.recording.dir, folder.path("state/recordings"));
    assert_eq!(config.ca.dir, folder.path("state/ca"));
    let store = format!("sqlite:{}", folder.path("state/caponier.db").display());
    assert_eq!(*config.store_url.expose(), store);
    let secs = |span: std::time::Duration| span.as_secs();
    assert_eq!((secs(config.certificates.life), secs(config.sign_in_life)), (300, 36_000));
    assert_eq!((config.ssh.listen.port(), config.ssh.public_port), (2222, 2222));
    assert!(
        matches!(&config.ca.source, CaSource::Files(Passphrase::File(path)) if *path == folder.path("pass"))
    );
    let provider = &config.providers[0];
    assert_eq!(provider.title, "corp");
    assert_eq!(provider.client_secret.as_ref().unwrap().expose(), "hunter2-client");
    assert_eq!(provider.algorithms, ["RS256", "ES256", "EdDSA"]);
}

#[test]
fn what_is_allowed_beside_the_defaults() {
    let folder = Folder::new();
    for (from, to) in [
        ("https://bastion.example.com", "http://127.0.0.1:8443"),
        ("https://bastion.example.com", "http://localhost:1"),
        ("https://bastion.example.com", "http://[::1]:1/"),
        ("https://id.example.com", "http://127.0.0.1:9000/idp"),
        ("passphrase_file = \"pass\"", "plain = true"),
        ("passphrase_file = \"pass\"", "plain = false\npassphrase_env = \"SECRET\""),
        ("passphrase_file = \"pass\"", "agent = \"agent.sock\""),
        ("passphrase_file = \"pass\"", "passphrase_credential = \"caponier-ca\""),
        ("client_secret_file = \"secret\"", ""),
        ("client_secret_file = \"secret\"", "client_secret_env = \"SECRET\""),
        ("[web]\n", "[web]\nlisten = \"0.0.0.0:8443\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n"),
        ("[web]\n", "[web]\nlisten = \"0.0.0.0:8443\"\ntrusted_proxies = [\"10.0.0.1\"]\n"),
        ("[ssh]", "[store]\nurl_file = \"url\"\n[ssh]"),
        ("[ssh]", "[store]\nurl_env = \"STORE\"\n[ssh]"),
        ("[ssh]", "[recording]\nexec_output_max = 1000\n[ssh]"),
        ("[ssh]", "[ssh]\nconnections_max = 10"),
        ("[ssh]", "[sessions]\nmax = \"30m\"\n[ssh]"),
        ("[ssh]\n", "[ssh]\nlisten = \"127.0.0.1:0\"\nclient_patterns = [\"*.corp\", \"web?\"]\n"),
    ] {
        let text = edited(GOOD, from, to);
        assert_eq!(folder.load(&text).err(), None, "{to:?}");
    }
    let text = edited(GOOD, "[ssh]", "[store]\nurl = \"postgres://u:hunter2@db/x\"\n[ssh]");
    let private = folder.write("private.toml", &text, 0o600);
    assert!(Config::load(&private, &env()).is_ok(), "a private file may hold the password");
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new();
    let loose = folder.write("loose.toml", GOOD, 0o646);
    let binary = folder.path("binary.toml");
    std::fs::write(&binary, b"a = \"\xff\"").unwrap();
    for (path, expect) in [
        (folder.path("nowhere.toml"), "nowhere.toml: cannot be read: No such file or directory (os error 2)"),
        (folder.path(""), ": is not a file"),
        (loose, "loose.toml: everybody may write to this file: chmod o-w loose.toml"),
        (binary, "binary.toml: cannot be read: stream did not contain valid UTF-8"),
    ] {
        let config = folder.lines(&Config::load(&path, &env()).unwrap_err());
        let policy = folder.lines(&policy::load(&path).unwrap_err());
        assert_eq!((config, policy), (vec![expect.to_owned()], vec![expect.to_owned()]));
    }
}

#[test]
fn a_good_policy_says_what_the_file_says() {
    let folder = Folder::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
    let pinned = format!("host_key = {{ pinned = [\"{key} root@web1\"] }}");
    let path = folder.write("policy.toml", &edited(POLICY, "host_key = { ca = true }", &pinned), 0o644);
    let policy = policy::load(&path).unwrap();
    let target = policy.targets.values().next().unwrap();
    assert_eq!(target.host_key, HostKey::Pinned(vec![key.to_owned()]), "the comment is gone");
    assert_eq!((target.host.as_str(), target.port), ("10.0.0.5", 22));
    // printf '%s' TEXT | sha256sum, for the empty file.
    let empty = folder.write("empty.toml", "", 0o644);
    let empty = policy::load(&empty).unwrap();
    assert!(empty.roles.is_empty() && empty.targets.is_empty());
    assert_eq!(empty.digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_ne!(policy.digest, empty.digest);
}

#[test]
fn members_of_unknown_providers_are_found_without_the_file() {
    let folder = Folder::new();
    let config = folder.load(&edited(GOOD, "name = \"corp\"", "name = \"acme\"")).unwrap();
    let text =
        edited(POLICY, "groups = [\"corp:ops\"]", "groups = [\"corp:ops\"], subjects = [\"acne:ann\"]");
    let policy = policy::load(&folder.write("policy.toml", &text, 0o644)).unwrap();
    let lines = folder.lines(&policy::check_against(&policy, &config));
    assert_eq!(
        lines,
        [
            "policy.toml: role \"operators\": member \"corp:ops\": there is no provider \"corp\"; there is: acme",
            "policy.toml: role \"operators\": member \"acne:ann\": there is no provider \"acne\"; did you mean \"acme\"?",
        ]
    );
}

#[test]
fn the_shipped_examples_fit_each_other() {
    let folder = Folder::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["caponier.toml", "policy.toml"] {
        folder.write(name, &std::fs::read_to_string(shipped.join(name)).unwrap(), 0o644);
    }
    for name in ["ca-passphrase", "corp-client-secret"] {
        folder.write(name, "hunter2-stand-in\n", 0o600);
    }
    let (code, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
    assert_eq!(said, "ok: caponier.toml (1 provider)\nok: policy.toml (3 targets, 3 roles)\n");
    assert_eq!(code, 0);
}

/// Runs the command on the folder's `caponier.toml`; gives the exit status and what was written.
fn command(folder: &Folder, command: ConfigCommand) -> (u8, String) {
    let mut out = Vec::new();
    let code = run(&ConfigArgs { command }, &folder.path("caponier.toml"), &env(), &mut out).unwrap();
    // `ExitCode` tells its number to the operating system only, so compare it with those we know.
    let number = [0u8, 78]
        .into_iter()
        .find(|n| format!("{:?}", std::process::ExitCode::from(*n)) == format!("{code:?}"));
    let text = String::from_utf8(out).unwrap().replace(&format!("{}/", folder.0.path().display()), "");
    (number.expect("0 or 78"), text)
}

#[test]
fn check_reports_both_files_at_once() {
    let folder = Folder::new();
    folder.write("caponier.toml", &edited(GOOD, "[ssh]", "[ssh]\nlisen = 1"), 0o644);
    folder.write("policy.toml", &edited(POLICY, "logins", "login"), 0o644);
    let (code, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
    assert_eq!(code, 78);
    let starts: Vec<&str> = said.lines().map(|line| &line[..line.find(": ").unwrap()]).collect();
    assert_eq!(starts, ["caponier.toml:3:1", "policy.toml:6:1", "policy.toml:10:1"]);

    let (code, said) = command(&folder, ConfigCommand::Check(Format { json: true }));
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["ok"]), (78, &false.into()));
    assert_eq!(json["problems"][0]["line"], 3);
    assert_eq!(json["problems"].as_array().unwrap().len(), 3);

    folder.write("caponier.toml", GOOD, 0o644);
    folder.write("policy.toml", "", 0o644);
    let (code, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
    assert_eq!(
        said,
        "ok: caponier.toml (1 provider)\nok: policy.toml (0 targets, 0 roles)\n\
         note: policy.toml has no role, so nobody may do anything yet\n"
    );
    assert_eq!(code, 0);
}

#[test]
fn show_prints_what_holds_and_no_secret() {
    let folder = Folder::new();
    let text = edited(GOOD, "[ssh]", "[store]\nurl_file = \"url\"\n[ssh]");
    folder.write("caponier.toml", &text, 0o644);
    let (code, shown) = command(&folder, ConfigCommand::Show(Format { json: false }));
    assert_eq!(code, 0);
    let (_, json) = command(&folder, ConfigCommand::Show(Format { json: true }));
    for text in [&shown, &json] {
        assert!(!text.contains("hunter2") && !text.contains("sesame"), "a secret is shown:\n{text}");
    }
    for line in [
        "url = \"postgres://u:(secret)@db.example/caponier\"",
        "client_secret = \"(secret)\"",
        "life = \"10h\"",
        "exec_output_max = \"1MiB\"",
        "public_url = \"https://bastion.example.com\"",
        "public_port = 2222",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line} is missing in\n{shown}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["certificates"]["life"], "5m");
    let from_text: toml::Table = shown.parse().unwrap();
    assert_eq!(serde_json::to_value(from_text).unwrap(), json, "both forms say the same");

    // Nothing of the secrets is in the debug form either, which ends up in logs.
    let config = folder.load(&text).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    folder.write("caponier.toml", &edited(GOOD, "[ssh]", "[shh]"), 0o644);
    assert_eq!(command(&folder, ConfigCommand::Show(Format { json: false })).0, 78);
}

/// Cuts, doubles and swaps pieces of the good files at random: whatever comes out is read, and then no role is for all
/// or nothing, or refused with places that are in the file; and nothing crashes.
#[test]
fn broken_files_are_refused_and_nothing_crashes() {
    let folder = Folder::new();
    let random = Random::seeded(17);
    let below = |n: usize| usize::try_from(random.u64() % n as u64).unwrap();
    let splinters =
        ["[", "]", "{", "}", "\"", "=", "\n", ".", ",", "'''", "é", "\0", "#", "1e9", "true", "\\u"];
    let (mut read, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut text: Vec<char> = [GOOD, POLICY][below(2)].chars().collect();
        for _ in 0..=below(3) {
            let (from, until) = (below(text.len()), below(12));
            let end = (from + until).min(text.len());
            match below(3) {
                0 => drop(text.drain(from..end)),
                1 => drop(text.splice(from..from, splinters[below(splinters.len())].chars())),
                _ => {
                    let piece: Vec<char> = text[from..end].to_vec();
                    let to = below(text.len());
                    drop(text.splice(to..to, piece));
                }
            }
        }
        let text: String = text.into_iter().collect();
        let path = folder.write("broken.toml", &text, 0o600);
        let lines = text.lines().count() + 1;
        let policy = policy::load(&path).map(|policy| {
            for role in &policy.roles {
                let members = !role.members.groups.is_empty() || !role.members.subjects.is_empty();
                let targets = !role.target_names.is_empty() || !role.target_labels.is_empty();
                let labels = role.target_labels.iter().all(|labels| !labels.is_empty());
                let rest = !role.logins.is_empty() && !role.channels.is_empty();
                assert!(
                    members && targets && labels && rest,
                    "a rule for all or nothing was loaded:\n{text}"
                );
            }
        });
        for result in [Config::load(&path, &env()).map(drop), policy] {
            match result {
                Ok(()) => read += 1,
                Err(problems) => {
                    refused += 1;
                    assert!(!problems.is_empty(), "{text}");
                    assert!(problems.iter().all(|p| p.line <= lines), "{text}\n{problems:?}");
                }
            }
        }
    }
    assert!(read > 50 && refused > 1500, "the files drawn prove little: {read} read, {refused} refused");
}
