//! `[archive]`: where sealed recordings go, whom they are encrypted to, and how long they are kept. Whether the place is
//! there and takes anything is left to `recording::archive`.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::{At, Place};
use super::load::Surroundings;
use super::section::Section;
use super::{defaults, doors, notify};
use crate::secret::Secret;

/// Readers of an archive, at most: each costs some bytes of every object.
const READERS_MAX: usize = 32;

/// `[archive]`; nothing is archived and nothing deleted where the file does not have it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Where to.
    pub place: ArchivePlace,
    /// Who can read it, as age and OpenSSH write public keys. Empty: it is not encrypted.
    pub encrypt_to: Vec<String>,
    /// The level of zstd.
    pub zstd_level: i32,
    /// How long the local copy stays once the archive has it for sure.
    pub keep_local: Duration,
    /// Days that recordings are kept when no rule says otherwise. None: for good.
    pub retention_days: Option<u64>,
    /// `[[archive.retention]]`; of several that fit the longest counts.
    pub retention: Vec<Retention>,
}

/// Where an archive is.
#[derive(Clone, Debug)]
pub enum ArchivePlace {
    /// Nowhere: recordings stay where they are, and only retention is done.
    Nowhere,
    /// A folder.
    Folder(PathBuf),
    /// A bucket of S3, or of what speaks like it.
    Bucket(Bucket),
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What every object's name begins with; no slash at either end, may be empty.
    pub prefix: String,
    /// Its region.
    pub region: String,
    /// Where the service is, when it is not Amazon's: `https`, or `http` on loopback.
    pub endpoint: Option<Url>,
    /// The id of the access key.
    pub access_key: Secret<String>,
    /// The access key.
    pub secret_key: Secret<String>,
    /// The bucket's name stands in the path and not in the host's name.
    pub path_style: bool,
}

/// One `[[archive.retention]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of what: all of it must fit.
    pub role: Option<String>,
    /// A label of the target and its value.
    pub label: Option<(String, String)>,
    /// How long, in days since the session's end.
    pub days: u64,
}

/// Reads `[archive]`; none when the file does not have it, or when it is wrong, which has been noted.
pub(super) fn read(top: &mut Section<'_>, here: Surroundings<'_>) -> Option<Archive> {
    // Asked for only when it is there: an empty one would mean something.
    let there = top.place_of("archive").is_some();
    let mut table = top.child("archive");
    if !there {
        return None;
    }
    let place = place(&mut table, here);
    let encrypt_to = encrypt_to(&mut table);
    let zstd_level = table.number("zstd_level", &defaults::ARCHIVE_ZSTD_LEVEL);
    let keep_local = table.duration("keep_local", &defaults::ARCHIVE_KEEP_LOCAL);
    let retention_days = table.number("retention_days", &defaults::ARCHIVE_RETENTION_DAYS);
    let retention = table.children("retention").into_iter().filter_map(rule).collect();
    table.finish();
    let level = zstd_level.map_or(defaults::ARCHIVE_ZSTD_LEVEL.default, |at| at.value);
    Some(Archive {
        place: place?,
        encrypt_to: encrypt_to?,
        zstd_level: i32::try_from(level).unwrap_or(1),
        keep_local: keep_local.map_or(defaults::ARCHIVE_KEEP_LOCAL.default, |at| at.value),
        retention_days: retention_days.map(|at| at.value),
        retention,
    })
}

fn place(table: &mut Section<'_>, here: Surroundings<'_>) -> Option<ArchivePlace> {
    table.require(
        "kind",
        "\"folder\", \"s3\", or \"none\" when recordings stay here and are only deleted in time",
    );
    let path = here.path(table, "path");
    let bucket_keys = [
        "bucket",
        "prefix",
        "region",
        "endpoint",
        "access_key_file",
        "access_key_env",
        "secret_key_file",
        "secret_key_env",
        "path_style",
    ];
    let strange = |table: &Section<'_>, keys: &[&str], kind: &str| {
        for (key, place) in keys.iter().filter_map(|key| Some((key, table.place_of(key)?))) {
            table.problem(place, format!("{key:?} means nothing with kind = {kind:?}; take it away"));
        }
    };
    let kind = table.text("kind");
    // Every key is asked for in any case, so that none is called unknown.
    let is_bucket = kind.as_ref().is_some_and(|kind| kind.value == "s3");
    let bucket = bucket(table, here, is_bucket);
    let kind = kind?;
    match kind.value {
        "none" => {
            strange(table, &[&["path"], &bucket_keys[..]].concat(), "none");
            Some(ArchivePlace::Nowhere)
        }
        "folder" => {
            strange(table, &bucket_keys, "folder");
            table.require(
                "path",
                "the folder of the archive: another disk or machine than the recordings' best",
            );
            Some(ArchivePlace::Folder(path?.value))
        }
        "s3" => {
            strange(table, &["path"], "s3");
            bucket.map(ArchivePlace::Bucket)
        }
        other => {
            let message = format!("\"kind\" must be \"folder\", \"s3\" or \"none\", not {other:?}");
            table.problem(kind.place, message);
            None
        }
    }
}

fn bucket(table: &mut Section<'_>, here: Surroundings<'_>, wanted: bool) -> Option<Bucket> {
    let name = table.text("bucket");
    let prefix = table.text("prefix");
    let region = table.text("region").map_or(defaults::ARCHIVE_REGION, |at| at.value);
    let endpoint = match table.text("endpoint") {
        None => Some(None),
        Some(At { value, place }) => doors::web_address(table, place, "endpoint", value).map(Some),
    };
    let access_key = notify::private(table, here, "access_key_file", "access_key_env");
    let secret_key = notify::private(table, here, "secret_key_file", "secret_key_env");
    let path_style = table.flag("path_style");
    if !wanted {
        return None;
    }
    table.require("bucket", "the bucket's name");
    for (what, [file, env]) in [
        ("the id of the access key", ["access_key_file", "access_key_env"]),
        ("the access key", ["secret_key_file", "secret_key_env"]),
    ] {
        if table.place_of(file).is_none() && table.place_of(env).is_none() {
            table.problem(table.place, format!("{what} is missing: set {file:?} or {env:?}"));
        }
    }
    let name = name.filter(|at| is_name(table, at.place, "bucket", at.value, false));
    let prefix = match prefix {
        None => Some(String::new()),
        Some(at) => is_name(table, at.place, "prefix", at.value, true).then(|| at.value.to_owned()),
    };
    Some(Bucket {
        name: name?.value.to_owned(),
        prefix: prefix?,
        region: region.to_owned(),
        endpoint: endpoint?,
        access_key: access_key?.value,
        secret_key: secret_key?.value,
        path_style: path_style.map_or(defaults::ARCHIVE_PATH_STYLE, |at| at.value),
    })
}

/// Letters, digits, `.`, `-` and `_`; in a prefix also single slashes between them.
fn is_name(table: &Section<'_>, place: Place, key: &str, text: &str, slashes: bool) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let fits = if slashes { text.split('/').all(plain) } else { plain(text) };
    if !fits {
        let between = if slashes { ", with single slashes between them" } else { "" };
        table.problem(place, format!("{key:?} must be letters, digits, \".\", \"-\" and \"_\"{between}"));
    }
    fits
}

fn encrypt_to(table: &mut Section<'_>) -> Option<Vec<String>> {
    let Some(given) = table.texts("encrypt_to") else { return Some(Vec::new()) };
    let mut right = given.value.len() <= READERS_MAX;
    if !right {
        table.problem(given.place, format!("\"encrypt_to\" has more than {READERS_MAX} keys"));
    }
    for At { value, place } in &given.value {
        let key = value.parse::<age::x25519::Recipient>().map(drop).is_ok()
            || (value.starts_with("ssh-ed25519 ") && value.parse::<age::ssh::Recipient>().is_ok());
        if !key {
            let what = if value.starts_with("AGE-SECRET-KEY-") || value.contains("PRIVATE KEY") {
                // Not repeated: it is what nobody but the reader may have.
                "\"encrypt_to\" has a private key in it: consider it stolen, and write the public one"
                    .to_owned()
            } else {
                format!("{value:?} is no public key: write \"age1...\" or \"ssh-ed25519 AAAA...\"")
            };
            table.problem(*place, what);
            right = false;
        }
    }
    right.then(|| given.value.into_iter().map(|at| at.value.to_owned()).collect())
}

fn rule(mut table: Section<'_>) -> Option<Retention> {
    table.require("days", "how long recordings are kept, in days since the session's end");
    let days = table.number("days", &defaults::ARCHIVE_RETENTION_DAYS);
    let role = table.text("role").map(|at| at.value.to_owned());
    let given = table.text("label");
    let label = given.as_ref().map(|at| {
        let pair =
            at.value.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
        if pair.is_none() {
            table.problem(at.place, "\"label\" must be \"KEY=VALUE\", a label of targets");
        }
        pair
    });
    if role.is_none() && label.is_none() {
        table.problem(
            table.place,
            "a rule needs \"role\" or \"label\"; for all others there is \"retention_days\"",
        );
        return None;
    }
    let label = match label {
        Some(pair) => Some(pair?),
        None => None,
    };
    table.finish();
    Some(Retention { role, label, days: days?.value })
}
