//! Tests of the loader that need its insides: the sample file cannot rot, and every default in it is the real one.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::super::AlertRule;
use serde_json::json;

use super::*;

const SAMPLE: &str = include_str!("../../../config/caponier.toml");

/// Keys whose commented line is an alternative to what the file sets, or an example of what has no default.
const NO_DEFAULT: [&str; 10] = [
    "web.tls_cert",
    "web.tls_key",
    "store.url_file",
    "store.url_env",
    "ca.passphrase_env",
    "ca.passphrase_credential",
    "ca.agent",
    "sign_in.key_file",
    "sign_in.key_env",
    "provider.client_secret_env",
];

/// Every key of the sample with its line's index, whether it is set or commented.
fn keys_of_sample() -> Vec<(usize, String)> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for (index, line) in SAMPLE.lines().enumerate() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
            continue;
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        let Some((key, _)) = line.split_once(" = ") else { continue };
        if key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            keys.push((index, path));
        }
    }
    keys
}

/// A folder with the sample and the secret files it names.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ca-passphrase", "corp-client-secret"] {
        let path = dir.path().join(name);
        std::fs::write(&path, "open sesame\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    dir
}

fn load_text(dir: &tempfile::TempDir, text: &str) -> Result<Config, Vec<Problem>> {
    let path = dir.path().join("caponier.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path, &BTreeMap::new())
}

#[test]
fn the_sample_names_every_known_key_and_no_other() {
    let dir = folder();
    let doc = Document::new(&dir.path().join("caponier.toml"), SAMPLE);
    let table = doc.parse().unwrap();
    let mut top = Section::top(&doc, table.get_ref());
    let here = Surroundings { file: Path::new("x"), folder: dir.path(), env: &BTreeMap::new() };
    assert!(read(&mut top, here).is_some());
    top.finish();
    let tables = ["ssh", "web", "store", "ca", "certificates", "sign_in", "provider", "issuer", "sessions"];
    let tables: BTreeSet<String> = tables
        .into_iter()
        .chain([
            "sign_in.admins",
            "sign_in.auditors",
            "sign_in.watchers",
            "sign_in.killers",
            "recording",
            "notify",
            "notify.webhook",
            "notify.mail",
        ])
        .chain(["archive", "alerts", "audit", "audit.sink", "policy", "log"])
        .map(str::to_owned)
        .chain(AlertRule::ALL.map(|rule| format!("alerts.{}", rule.word())))
        .collect();
    let known = doc.known();
    let in_file: BTreeSet<String> = keys_of_sample().into_iter().map(|(_, key)| key).chain(tables).collect();
    let missing: Vec<_> = known.difference(&in_file).collect();
    let unknown: Vec<_> = in_file.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing in the file {missing:?}, unknown {unknown:?}");
    assert!(known.len() > 50, "only {} keys were seen", known.len());
}

#[test]
fn commented_values_are_the_defaults() {
    let dir = folder();
    let defaults = load_text(&dir, SAMPLE).unwrap().view();
    let mut tried = 0;
    for (index, key) in keys_of_sample() {
        let line = SAMPLE.lines().nth(index).unwrap();
        let Some(set) = line.strip_prefix("# ") else { continue };
        if NO_DEFAULT.contains(&key.as_str()) {
            continue;
        }
        let text: Vec<&str> =
            SAMPLE.lines().enumerate().map(|(i, line)| if i == index { set } else { line }).collect();
        let view = load_text(&dir, &text.join("\n")).map(|config| config.view());
        assert_eq!(view.as_ref(), Ok(&defaults), "{key}");
        tried += 1;
    }
    assert!(tried > 25, "only {tried} defaults were tried");
}

/// The examples of [notify] and [audit], as somebody gets them who takes the comment signs away.
#[test]
fn the_examples_in_the_sample_hold() {
    let dir = folder();
    for name in ["ops-secret", "mail-password", "collector-token", "collector-secret"] {
        let path = dir.path().join(name);
        std::fs::write(&path, "open sesame, open\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let (before, notify) = SAMPLE.split_once("[notify]").unwrap();
    let shown: Vec<&str> = notify.lines().map(|line| line.strip_prefix("#   ").unwrap_or(line)).collect();
    let config = load_text(&dir, &format!("{before}[notify]{}", shown.join("\n"))).unwrap();
    let view = config.view();
    assert_eq!(view["notify"]["webhook"][0]["url"], "https://hooks.example.com/(secret)");
    assert_eq!(view["notify"]["webhook"][0]["kinds"].as_array().unwrap().len(), 12);
    assert_eq!(view["notify"]["mail"]["server"], "smtp.example.com:587");
    assert_eq!(view["notify"]["mail"]["groups"]["corp:approvers"], "ann@example.com, bob@example.com");
    assert!(!view.to_string().contains("open sesame"), "{view}");
    let sinks = &view["audit"]["sink"];
    assert_eq!(
        (&sinks[0]["type"], &sinks[1]["to"], &sinks[2]["secrets"]),
        (&json!("file"), &json!("tls://logs.example.com:6514"), &json!(1))
    );
    let mail = config.notify.mail.unwrap();
    assert_eq!(mail.rules[0].kinds.len(), 3);
}

/// The example of [archive], likewise.
#[test]
fn the_archive_in_the_sample_holds() {
    let dir = folder();
    for name in ["archive-access-key", "archive-secret-key"] {
        let path = dir.path().join(name);
        std::fs::write(&path, "open sesame\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let (before, archive) = SAMPLE.split_once("#   [archive]").unwrap();
    let (archive, after) = archive.split_once("\n[notify]").unwrap();
    let shown: Vec<&str> = archive.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    assert!(shown.len() > 25, "{shown:?}");
    let text = format!("{before}\n[archive]\n{}\n[notify]{after}", shown.join("\n"));
    let config = load_text(&dir, &text).unwrap();
    let view = config.view();
    assert_eq!(view["archive"]["endpoint"], "https://s3.example.com");
    assert_eq!(view["archive"]["retention"][0]["label"], "env=prod");
    assert_eq!(view["archive"]["retention"][1]["days"], 3650);
    assert!(!view.to_string().contains("open sesame"), "{view}");
    // What it calls a default is one.
    let is_default = |line: &&&str| {
        !["prefix", "region", "path_style", "zstd_level", "keep_local"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let short: Vec<&str> = shown.iter().filter(is_default).copied().collect();
    let short =
        load_text(&dir, &format!("{before}\n[archive]\n{}\n[notify]{after}", short.join("\n"))).unwrap();
    let short = short.view();
    for (key, value) in [("region", "us-east-1"), ("keep_local", "7d"), ("prefix", "")] {
        assert_eq!(short["archive"][key], value, "{key}");
    }
    assert_eq!(
        (&short["archive"]["zstd_level"], &short["archive"]["path_style"]),
        (&3.into(), &false.into())
    );
}

/// The example of [[issuer]], likewise.
#[test]
fn the_issuer_in_the_sample_holds() {
    let dir = folder();
    let secret = dir.path().join("github-webhook-secret");
    std::fs::write(&secret, "open sesame, open\n").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let (_, issuer) = SAMPLE.split_once("#   [[issuer]]").unwrap();
    let (issuer, _) = issuer.split_once("\n[sessions]").unwrap();
    let shown: Vec<&str> = issuer.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    assert_eq!(shown.len(), 15, "{shown:?}");
    let only = |line: &&&str| {
        !["webhook_secret_env", "jwks_file", "id_claim", "label_claim", "run_claim", "claims"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let text: Vec<&str> = shown.iter().filter(only).copied().collect();
    let at = SAMPLE.find("\n[sessions]").unwrap();
    let (before, after) = SAMPLE.split_at(at);
    let full = load_text(&dir, &format!("{before}\n[[issuer]]\n{}{after}", text.join("\n"))).unwrap();
    let short = ["name = \"github\"", "type = \"github\"", "webhook_secret_file = \"github-webhook-secret\""];
    let short = load_text(&dir, &format!("{before}\n[[issuer]]\n{}{after}", short.join("\n"))).unwrap();
    assert_eq!(full.view(), short.view(), "what the sample shows are the defaults");
    assert!(!full.view().to_string().contains("open sesame"));
}

#[test]
fn env_patterns() {
    for good in ["LANG", "LC_*", "_x", "TERM", "GIT_AUTHOR_NAME"] {
        assert_eq!(wrong_env_pattern(good), None, "{good}");
    }
    for bad in ["", "*", "L*C", "1A", "A=B", "LD_*", "L*", "PATH", "BASH_ENV", "E*", "a b", "é"] {
        assert!(wrong_env_pattern(bad).is_some(), "{bad}");
    }
}
