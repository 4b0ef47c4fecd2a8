//! `caponier.toml` and `policy.toml` as people get them wrong: rows of an edit to a good file and what is said about
//! it; and the command that says it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test prepares must work, or the test fails"
)]

mod notes;
mod roles;
mod rows_of_audit;
mod rows_of_config;
mod rows_of_issuers;
mod rows_of_policy;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use caponier::cli::config::{ConfigArgs, ConfigCommand, Format, run};
use caponier::config::{CaSource, Config, Passphrase, Problem};
use caponier::identity::workload::preset;
use caponier::platform::Platform;
use caponier::policy::{self, HostKey};
use caponier::random::Random;

use rows_of_audit::AUDIT_ROWS;
use rows_of_config::CONFIG_ROWS;
use rows_of_issuers::ISSUER_ROWS;
use rows_of_policy::POLICY_ROWS;

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
standing = true
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
    check(ISSUER_ROWS, GOOD, load);
    check(AUDIT_ROWS, GOOD, load);
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
        ("[ssh]\n", "[ssh]\nlisten = \"127.0.0.1:0\"\nclient_patterns = [\"*.corp.example\", \"web1\"]\n"),
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
        (loose, "loose.toml: everybody may write to this file: chmod o-w loose.toml"),
        (binary, "binary.toml: cannot be read: stream did not contain valid UTF-8"),
    ] {
        let config = folder.lines(&Config::load(&path, &env()).unwrap_err());
        let policy = folder.lines(&policy::load(&path).unwrap_err());
        assert_eq!((config, policy), (vec![expect.to_owned()], vec![expect.to_owned()]));
    }
    // A folder is no configuration; as a policy it is read file by file, and every file must be good.
    assert_eq!(folder.lines(&Config::load(&folder.path(""), &env()).unwrap_err()), [": is not a file"]);
    assert_eq!(
        folder.lines(&policy::load(&folder.path("")).unwrap_err()),
        [
            "binary.toml: cannot be read: stream did not contain valid UTF-8",
            "loose.toml: everybody may write to this file: chmod o-w loose.toml"
        ]
    );
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
fn what_no_client_could_take_does_not_load() {
    let folder = Folder::new();
    let list = |n: usize, name: &str| {
        let all: Vec<String> = (0..n).map(|n| format!("\"{name}{n}\"")).collect();
        format!("[{}]", all.join(", "))
    };
    let policy = |targets: usize, logins: usize| {
        let each =
            |n| format!("[[target]]\nname = \"t{n}\"\naddress = \"10.0.0.5\"\nhost_key = {{ ca = true }}\n");
        let targets_text: String = (0..targets).map(each).collect();
        let role = |name: &str, logins: &str| {
            format!(
                "[[role]]\nname = \"{name}\"\nmembers = {{ groups = [\"corp:ops\"] }}\n\
                 targets = {{ names = {} }}\nlogins = {logins}\nchannels = [\"exec\"]\nstanding = true\n",
                list(targets, "t")
            )
        };
        // The logins of a person are those of all the roles.
        targets_text + &role("one", &list(logins, "a")) + &role("two", "[\"root\"]")
    };
    let patterns = edited(GOOD, "[ssh]\n", "[ssh]\nclient_patterns = [\"*.corp.example\"]\n");
    let rows = [
        (GOOD, policy(500, 255), None),
        (GOOD, policy(1, 256), Some("open 257 logins, but a certificate holds at most 256")),
        (
            GOOD,
            policy(501, 1),
            Some("open 501 targets, but clients take at most 500 names: set \"client_patterns\""),
        ),
        (patterns.as_str(), policy(501, 1), None),
    ];
    for (config, text, expect) in rows {
        let config = folder.load(config).unwrap();
        let path = folder.write("policy.toml", &text, 0o644);
        let problems = folder.lines(&policy::load_for(&path, &config).err().unwrap_or_default());
        match expect {
            None => assert_eq!(problems, Vec::<String>::new()),
            Some(part) => assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}"),
        }
    }
    let many = list(501, "web");
    let problems =
        folder.load(&edited(GOOD, "[ssh]\n", &format!("[ssh]\nclient_patterns = {many}\n"))).unwrap_err();
    assert!(problems.len() == 1 && problems[0].contains("501 patterns"), "{problems:?}");
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
    assert_eq!(
        said,
        "ok: caponier.toml (1 provider)\nok: policy.toml (3 targets, 7 roles)\n\
         the redirect URI to register at corp: https://bastion.example.com/callback/corp\n\
         the back-channel logout URI to register at corp, if it can send one: https://bastion.example.com/back-channel-logout/corp\n\
         what is legal in the policy and hardly meant: caponier policy check\n"
    );
    assert_eq!(code, 0);
}

/// The jobs in the shipped policy, as somebody gets them who takes the comment signs away: by themselves, and with their issuer.
#[test]
fn the_jobs_in_the_shipped_policy_hold() {
    let folder = Folder::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policy.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("#   ").unwrap_or(line)).collect();
    // What the head of the file says about commands is indented too.
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.starts_with("caponier policy")).collect();
    let path = folder.write("policy.toml", &lines.join("\n"), 0o644);
    let (alone, outline) = policy::load_outlined(&path, None).unwrap();
    assert_eq!((alone.roles.len(), alone.workloads.len(), alone.services.len()), (8, 1, 1));
    let hints = policy::lint::lints(&alone, &outline, &[]);
    assert!(hints.is_empty(), "{hints:?}");
    let text = format!("{GOOD}[[issuer]]\nname = \"github\"\ntype = \"github\"\n");
    let config = folder.load(&text).unwrap();
    let with = policy::load_for(&path, &config).unwrap();
    assert_eq!(with.workloads, alone.workloads);
    assert_eq!(policy::check_against(&with, &config), []);
    let bare = folder.load(GOOD).unwrap();
    let missing = folder.lines(&policy::load_for(&path, &bare).err().unwrap_or_default());
    assert!(missing.len() == 1 && missing[0].contains("there is no [[issuer]] \"github\""), "{missing:?}");
    let missing = folder.lines(&policy::check_against(&with, &bare));
    assert_eq!(
        missing,
        [
            "policy.toml: workload \"deploy-shop\" is about runs of github (github): there is no [[issuer]] of this name"
        ]
    );
    let other = folder.load(&text.replace("type = \"github\"", "type = \"gitlab\"")).unwrap();
    assert!(policy::check_against(&with, &other).len() == 1);
    let wrong = folder.lines(&policy::load_for(&path, &other).err().unwrap_or_default());
    assert!(wrong.iter().any(|line| line.contains("does not say \"project_id\"")), "{wrong:?}");
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
fn check_says_when_nobody_is_asked_again_and_when_keys_must_be_shared() {
    let folder = Folder::new();
    let text = edited(GOOD, "[[provider]]", "[[provider]]\nrefresh_token = \"never\"");
    folder.write("policy.toml", POLICY, 0o644);
    let store = "[store]\nurl = \"postgres://h/d\"\n";
    folder.write("caponier.toml", &format!("{text}\n{store}"), 0o644);
    let (code, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("note: corp is asked for no refresh token, so a sign-in there lasts its 10h"),
        "{said}"
    );
    assert!(said.contains("note: servers that share this PostgreSQL need the same keys"), "{said}");
    folder.write("keys", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o600);
    let shared = format!("{text}\n{store}[sign_in]\nkey_file = \"keys\"\n");
    folder.write("caponier.toml", &shared, 0o644);
    let (_, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
    assert!(!said.contains("need the same keys"), "{said}");
    let (_, said) = command(&folder, ConfigCommand::Show(Format { json: false }));
    assert!(said.contains("key_file = \"keys\"") && !said.contains("AAAA"), "{said}");
    for (keys, mode, problem) in [
        ("AAAA\n", 0o600, "line 1 is not a key of 32 bytes in base64"),
        ("", 0o600, "there is no key"),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0o640, "chmod 600"),
    ] {
        folder.write("keys", keys, mode);
        let (code, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
        assert!(code == 78 && said.contains(problem), "{said}");
    }
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
         the redirect URI to register at corp: https://bastion.example.com/callback/corp\n\
         the back-channel logout URI to register at corp, if it can send one: https://bastion.example.com/back-channel-logout/corp\n\
         note: policy.toml has no role, so nobody may do anything yet\n"
    );
    assert_eq!(code, 0);

    folder.write("hook", "a-webhook-secret-for-tests", 0o600);
    let issuer = "[[issuer]]\nname = \"gh\"\ntype = \"github\"\nwebhook_secret_file = \"hook\"\n";
    folder.write("caponier.toml", &format!("{GOOD}{issuer}"), 0o644);
    let (_, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
    for line in [
        "the audience of tokens from gh (github): https://bastion.example.com\n",
        "the webhook URI to register at gh: https://bastion.example.com/webhooks/gh\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let (_, said) = command(&folder, ConfigCommand::Check(Format { json: true }));
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["webhook_uris"]["gh"], "https://bastion.example.com/webhooks/gh");
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
                let somebody = |m: &policy::Members| !m.is_empty();
                let members = !role.members.is_empty() && role.members.iter().all(somebody);
                let something = |s: &policy::Selector| {
                    !s.names.is_empty() || !s.patterns.is_empty() || !s.labels.is_empty()
                };
                let targets = !role.targets.is_empty() && role.targets.iter().all(something);
                let labels = role.targets.iter().flat_map(|s| &s.labels).all(|labels| !labels.is_empty());
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

/// The configuration cannot ask `identity`, which stands above it, for what it knows of the platforms.
#[test]
fn what_an_issuer_says_nothing_about_is_as_its_platform_has_it() {
    let folder = Folder::new();
    for platform in Platform::ISSUERS {
        let preset = preset(platform);
        let address = if preset.default_issuer.is_some() { "" } else { "issuer = \"https://ci.example\"\n" };
        let more = if platform == Platform::Oidc { "id_claim = \"project_id\"\n" } else { "" };
        let issuer = format!("[[issuer]]\nname = \"ci\"\ntype = \"{platform}\"\n{address}{more}[ssh]");
        let config = folder.load(&edited(GOOD, "[ssh]", &issuer)).unwrap();
        let read = &config.issuers[0];
        assert_eq!(read.algorithms, preset.algorithms, "{platform}");
        assert_eq!(read.bind, preset.bind, "{platform}");
        assert_eq!(read.issuer, preset.default_issuer.unwrap_or("https://ci.example"), "{platform}");
        assert_eq!(read.audience, "https://bastion.example.com", "{platform}");
    }
}
