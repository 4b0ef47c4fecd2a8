//! The source tree itself: which way imports point, where each outside crate lives, that nothing is forgotten or
//! oversized, that the lock file stays small and licensed, and that the tests that SECURITY.md names exist. The
//! tables come first; a new folder or an honest exception is one more row there, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::world::process::run;
use crate::world::{PATIENCE, root};

/// The modules of the crate from the ground up (the map in src/lib.rs). A module imports its own layer and those
/// before it; in a `closed` layer the members do not know each other.
const LAYERS: &[(&[&str], bool)] = &[
    (&["names", "pattern", "place", "plain", "platform", "ids", "net", "time", "random", "secret"], false),
    (&["config"], false),
    (&["identity", "policy", "access", "ca", "inspect", "recording", "audit", "alerts"], false),
    (&["store"], false),
    (&["flow", "app"], false),
    (&["gateway", "web", "jobs"], true),
    (&["server"], false),
    (&["demo"], false),
    (&["cli"], false),
    (&["lib", "main"], false),
];

/// Imports against the direction, each with its reason: (start of the file's path, module).
const UPWARD: &[(&str, &str)] = &[];

/// Where an outside crate may be spoken: (what stands in the code, starts of paths).
const HOMES: &[(&str, &[&str])] = &[
    ("russh::server", &["src/gateway/", "src/demo/"]),
    ("russh::client", &["src/gateway/", "src/demo/"]),
    ("axum", &["src/web/", "src/demo/"]),
    ("sqlx", &["src/store/"]),
    ("openidconnect", &["src/identity/oidc", "src/demo/"]),
    ("brush_parser", &["src/inspect/command/classify/"]),
    ("clap", &["src/cli/"]),
    ("anyhow", &["src/main.rs", "src/cli/", "src/server.rs", "src/demo/"]),
    ("pty_process", &["src/demo/"]),
    ("lettre", &["src/alerts/"]),
    ("avt", &["src/recording/screen"]),
    ("aes_gcm", &["src/secret", "src/store/"]),
    ("schemars", &["src/web/"]),
    ("object_store", &["src/recording/archive/"]),
    ("zstd::", &["src/recording/archive/"]),
    ("age::", &["src/recording/archive/", "src/config/archive.rs"]),
    // Changes are made by recipes only; a door or a job that wants one calls a flow.
    (".begin()", &["src/store/", "src/flow/"]),
];

/// Words that say nothing; no file is called so.
const EMPTY_WORDS: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "manager", "service", "handler", "factory", "data",
    "info", "misc",
];

/// Folders that every machine has: naming them names no machine.
const EVERYWHERE: &[&str] = &[
    "/",
    "/home",
    "/mnt",
    "/opt",
    "/root",
    "/src",
    "/srv",
    "/tmp",
    "/usr/local/src",
    "/usr/src",
    "/var",
    "/var/tmp",
];

/// Longest source file.
const LINES_MAX: usize = 600;

/// Most packages in Cargo.lock. Raising it is a decision: say in the commit what the new ones give.
const PACKAGES_MAX: usize = 540;

/// Packages of which two versions at once would be wrong: their types cross our borders, or they hold keys.
const ONE_VERSION: &[&str] = &[
    "axum",
    "ed25519-dalek",
    "hyper",
    "openidconnect",
    "reqwest",
    "ring",
    "russh",
    "rustls",
    "serde",
    "sqlx",
    "ssh-key",
    "tokio",
    "url",
    "zeroize",
];

/// Licences that what we link may have; deny.toml says the same.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_file_says_what_it_decides() {
    let silent = rust_files(&["src", "tests"]).into_iter().filter(|file| !file.text.starts_with("//!"));
    report("files that do not begin with //!", silent.map(|file| file.path));
}

#[test]
fn no_file_is_forgotten_oversized_or_called_something_empty() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src", "tests"]) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines (at most {LINES_MAX})", file.path));
        }
        let stem = file.stem();
        if EMPTY_WORDS.contains(&stem.as_str()) {
            wrong.push(format!("{}: the name says nothing", file.path));
        }
        if let Some(parent) = file.parent_module() {
            let text = fs::read_to_string(&parent).unwrap_or_default();
            if !declares(&text, &stem) {
                wrong.push(format!("{}: no `mod {stem};` in {}", file.path, relative(&parent)));
            }
        }
    }
    report("files", wrong);
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let Some(own) = rank(&file.module()) else {
            wrong.push(format!("{}: module {} stands in no layer", file.path, file.module()));
            continue;
        };
        for imported in crate_paths(&file.code()) {
            // A name that is no module is an item at the crate's root, of which there are none.
            let Some(theirs) = rank(&imported) else {
                wrong.push(format!("{}: crate::{imported} stands in no layer", file.path));
                continue;
            };
            let closed = LAYERS[own].1 && own == theirs && imported != file.module();
            let excused =
                UPWARD.iter().any(|(path, module)| file.path.starts_with(path) && *module == imported);
            if (theirs > own || closed) && !excused {
                wrong.push(format!("{} imports crate::{imported}, which lies above or beside it", file.path));
            }
        }
    }
    report("imports", wrong);
}

#[test]
fn every_outside_crate_has_its_home() {
    let mut wrong = Vec::new();
    for file in rust_files(&["src"]) {
        let code = file.code();
        for (spoken, homes) in HOMES {
            if speaks(&code, spoken) && !homes.iter().any(|home| file.path.starts_with(home)) {
                wrong.push(format!("{} speaks {spoken}; its home is {}", file.path, homes.join(", ")));
            }
        }
    }
    report("crates away from home", wrong);
}

#[test]
fn no_test_is_ignored_without_a_reason() {
    let bare = ["#[ignore", "]"].concat();
    let ignored = rust_files(&["src", "tests"]).into_iter().filter(|file| file.text.contains(&bare));
    report("tests ignored without a reason", ignored.map(|file| file.path));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let home = std::env::var("HOME").ok().map(PathBuf::from);
    let needles: Vec<String> = [Some(root().to_owned()), root().parent().map(Path::to_owned), home]
        .into_iter()
        .flatten()
        .filter(|place| !EVERYWHERE.iter().any(|common| place == Path::new(common)))
        .map(|place| format!("{}/", place.display()))
        .collect();
    let mut wrong = Vec::new();
    for path in files(root(), &|path| !skipped(path)) {
        let text =
            fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            if needles.iter().any(|needle| line.contains(needle)) {
                wrong.push(format!("{}:{}: {}", relative(&path), number + 1, line.trim()));
            }
        }
    }
    report("paths of this machine", wrong);
}

#[test]
fn the_lock_file_is_small_single_and_from_one_source() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = ") {
            *versions.entry(name.trim_matches('"')).or_default() += 1;
        }
        if let Some(source) = line.strip_prefix("source = ")
            && !(source.starts_with("\"registry+") && source.ends_with("crates.io-index\""))
        {
            wrong.push(format!("a package from {source}"));
        }
    }
    let count: usize = versions.values().sum();
    if count > PACKAGES_MAX {
        wrong.push(format!("{count} packages, {PACKAGES_MAX} at most"));
    }
    for name in ONE_VERSION {
        let found = versions.get(name).copied().unwrap_or_default();
        if found > 1 {
            wrong.push(format!("{found} versions of {name}"));
        }
    }
    assert!(count > 100, "Cargo.lock was not understood: {count} packages");
    report("Cargo.lock", wrong);
}

/// What `cargo metadata` says of every package that is linked here.
fn packages() -> Vec<Value> {
    let version = run(Command::new("rustc").arg("-vV"), b"", PATIENCE).ok();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let said = run(
        Command::new(env!("CARGO"))
            .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host])
            .current_dir(root()),
        b"",
        PATIENCE,
    )
    .ok();
    let mut metadata: Value = serde_json::from_str(&said).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else {
        panic!("cargo metadata was not understood")
    };
    assert!(packages.len() > 100, "cargo metadata was not understood");
    packages
}

/// Where the sources of a package lie.
pub(crate) fn package_folder(name: &str) -> PathBuf {
    let found = packages().into_iter().find(|package| package["name"] == name).unwrap();
    Path::new(found["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

#[test]
fn every_dependency_has_a_licence_we_may_use() {
    let packages = packages();
    let wrong = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or_default();
        (!licence_fits(licence))
            .then(|| format!("{}: {licence:?}", package["name"].as_str().unwrap_or_default()))
    });
    report("licences", wrong);
    let denied = fs::read_to_string(root().join("deny.toml")).unwrap();
    report(
        "licences that deny.toml lacks",
        LICENCES.iter().filter(|one| !denied.contains(&format!("\"{one}\""))),
    );
}

#[test]
fn licence_expressions_are_read_right() {
    for (expression, fits) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR GPL-3.0-only) AND (GPL-3.0-only OR LGPL-2.1)", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("", false),
    ] {
        assert_eq!(licence_fits(expression), fits, "{expression}");
    }
}

/// SECURITY.md names tests as `` `folder/file.rs::test` ``, below `src` or `tests/it`.
#[test]
fn every_test_that_security_names_exists() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let named: Vec<&str> =
        text.split('`').filter(|word| word.contains(".rs::") && !word.contains(' ')).collect();
    assert!(!named.is_empty(), "SECURITY.md names no test");
    let wrong = named.iter().filter(|name| {
        let (file, test) = name.split_once("::").unwrap();
        let test = test.rsplit("::").next().unwrap();
        let text =
            ["src", "tests/it"].iter().find_map(|top| fs::read_to_string(root().join(top).join(file)).ok());
        !text.is_some_and(|text| has_test(&text, test))
    });
    report("tests that SECURITY.md names and nobody wrote", wrong);
}

#[test]
fn imports_are_read_right() {
    let code = "use crate::a;\nuse crate::{b::C, d::{e, f}, g};\nfn x() { crate::h::i(); mycrate::no(); }";
    let read: Vec<String> = crate_paths(code).into_iter().collect();
    assert_eq!(read, ["a", "b", "d", "g", "h"]);
    assert!(speaks("use axum::Router;", "axum") && speaks("x.begin().await", ".begin()"));
    assert!(!speaks("use axumish::Router;", "axum") && !speaks("tokio_axum::x", "axum"));
    assert!(has_test("#[tokio::test]\nasync fn one() {}", "one") && has_test("#[test]\nfn one() {}", "one"));
    assert!(!has_test("fn one() {}", "one") && !has_test("#[test]\nfn one_more() {}", "one"));
}

// --- reading the tree -----------------------------------------------------------------------------------------------

struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn stem(&self) -> String {
        Path::new(&self.path).file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// The module of the crate's root that it belongs to.
    fn module(&self) -> String {
        let inside = self.path.trim_start_matches("src/");
        inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
    }

    /// The code that ships: without comment lines, and without the tests at the bottom.
    fn code(&self) -> String {
        if self.stem() == "tests" {
            return String::new();
        }
        let shipped = self.text.split("#[cfg(test)]\nmod ").next().unwrap();
        shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }

    /// The file that must declare it; none for roots.
    fn parent_module(&self) -> Option<PathBuf> {
        let path = root().join(&self.path);
        let dir = path.parent()?;
        let stem = self.stem();
        if ["main", "lib"].contains(&stem.as_str())
            || self.path.starts_with("tests/") && !self.path.starts_with("tests/it/")
        {
            return None;
        }
        let above = if stem == "mod" { dir.parent()? } else { dir };
        ["mod.rs", "lib.rs", "main.rs"].iter().map(|name| above.join(name)).find(|path| path.exists())
    }
}

fn rust_files(tops: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    for top in tops {
        for path in files(&root().join(top), &|path| !skipped(path)) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(File { path: relative(&path), text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(!found.is_empty(), "no source below {tops:?}");
    found
}

fn files(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries.into_iter().filter(|path| wanted(path)) {
        if path.is_dir() { found.extend(files(&path, wanted)) } else { found.push(path) }
    }
    found
}

/// What is not ours, or not source.
fn skipped(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["target", "node_modules", ".git"].contains(&name.as_ref())
        || path == root().join("recordings")
        || path.is_symlink()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn declares(text: &str, module: &str) -> bool {
    let wanted = if module == "mod" { return true } else { format!("mod {module};") };
    text.lines().any(|line| line.trim_end().ends_with(&wanted) && !line.trim_start().starts_with("//"))
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(modules, _closed)| modules.contains(&module))
}

/// First names behind `crate::`, through braces too.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) || code[..at].ends_with("$") {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(inside) = rest.strip_prefix('{') else {
            found.insert(first_word(rest));
            continue;
        };
        let (mut depth, mut start) = (0_u32, true);
        for (place, character) in inside.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ if start && is_word(character) => {
                    found.insert(first_word(&inside[place..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|character| is_word(*character)).collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether the code contains `spoken` as whole words.
fn speaks(code: &str, spoken: &str) -> bool {
    code.match_indices(spoken).any(|(at, _)| {
        let before = spoken.starts_with(is_word) && code[..at].ends_with(is_word);
        let after = spoken.ends_with(is_word) && code[at + spoken.len()..].starts_with(is_word);
        !before && !after
    })
}

/// Whether the text has a function of this name with a test attribute shortly above it.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(number, line)| {
        let declared = line.split_once("fn ").is_some_and(|(_, rest)| first_word(rest) == name);
        let above = &lines[number.saturating_sub(5)..number];
        declared && above.iter().any(|line| line.starts_with("#[") && line.contains("test"))
    })
}

/// Whether an SPDX expression leaves us a choice among [`LICENCES`]; the old `/` means OR.
fn licence_fits(expression: &str) -> bool {
    let spaced =
        expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_fits(&mut rest) && rest.is_empty()
}

fn any_fits(rest: &mut &[&str]) -> bool {
    let mut fits = all_fit(rest);
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        fits |= all_fit(rest);
    }
    fits
}

fn all_fit(rest: &mut &[&str]) -> bool {
    let mut fits = one_fits(rest);
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        fits &= one_fits(rest);
    }
    fits
}

fn one_fits(rest: &mut &[&str]) -> bool {
    let Some((word, after)) = rest.split_first() else { return false };
    *rest = after;
    if *word != "(" {
        return LICENCES.contains(&word.replace('+', " ").as_str());
    }
    let fits = any_fits(rest);
    *rest = rest.get(1..).unwrap_or_default();
    fits
}

#[track_caller]
fn report(what: &str, wrong: impl IntoIterator<Item = impl std::fmt::Display>) {
    let mut text = String::new();
    for one in wrong {
        writeln!(text, "  {one}").unwrap();
    }
    assert!(text.is_empty(), "{what}:\n{text}");
}
