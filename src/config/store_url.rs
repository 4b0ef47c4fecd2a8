//! `[store]`: the database's URL, from the file, from a private file or from the environment.

use std::path::Path;

use url::Url;

use super::defaults;
use super::document::Place;
use super::files;
use super::load::Surroundings;
use super::section::Section;
use crate::secret::Secret;

/// Reads `[store]`.
pub(super) fn read(
    top: &mut Section<'_>,
    here: Surroundings<'_>,
    state_dir: &Path,
) -> Option<Secret<String>> {
    let mut section = top.child("store");
    let mut found: Vec<(Place, Secret<String>)> = Vec::new();
    if let Some(url) = section.text("url") {
        if has_password(url.value) && files::open_guarded(here.file, files::PRIVATE).is_err() {
            let message = format!(
                "\"url\" has a password and others can read this file: use \"url_file\" or \"url_env\", or chmod 600 {}",
                here.file.display()
            );
            section.problem(url.place, message);
        }
        found.push((url.place, Secret::new(url.value.to_owned())));
    }
    if let Some(path) = here.path(&mut section, "url_file") {
        match files::read_secret(&path.value) {
            Ok(url) => found.push((path.place, url)),
            Err(message) => section.problem(path.place, message),
        }
    }
    if let Some(variable) = here.variable(&mut section, "url_env") {
        found.push((variable.place, Secret::new(variable.value.1)));
    }
    let given = section.only_one(&["url", "url_file", "url_env"]);
    let result = match found.into_iter().next() {
        None if given == 0 => Some(Secret::new(sqlite_url(&state_dir.join(defaults::STORE_FILE)))),
        None => None,
        Some((place, url)) => match checked(url.expose(), here.folder) {
            Ok(url) => Some(Secret::new(url)),
            Err(message) => {
                section.problem(place, message);
                None
            }
        },
    };
    section.finish();
    result
}

fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// The URL as the store takes it. What is wrong is said without repeating the URL, which may hold a password.
fn checked(url: &str, folder: &Path) -> Result<String, &'static str> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.starts_with(":memory:") {
            return Err(
                "the store must be a file, \"sqlite:PATH\": sign-ins and the audit would be lost at the end",
            );
        }
        if path.contains(['?', '#', '%']) {
            return Err("\"sqlite:PATH\" takes a plain path, without ?, # and %");
        }
        return Ok(sqlite_url(&folder.join(path)));
    }
    match Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "postgres" | "postgresql") && parsed.has_host() => {
            Ok(url.to_owned())
        }
        Ok(_) | Err(_) => Err("the store must be \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\""),
    }
}

/// Whether a database URL carries a password.
fn has_password(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(key, _)| key.contains("password"))
    })
}

/// A database URL as it may be shown: the password, and every parameter when one may be a password, hidden.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return "(secret)".into() };
    if !has_password(url) {
        return url.to_owned();
    }
    let password = parsed.password().is_some();
    if parsed.set_password(None).is_err() {
        return "(secret)".into();
    }
    if has_password(parsed.as_str()) {
        parsed.set_query(Some("(secret)"));
    }
    let text = parsed.to_string();
    if !password {
        return text;
    }
    // The `@` is there: a password without a user name keeps it too.
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((user, rest)) => format!("{scheme}://{user}:(secret)@{rest}"),
            None => format!("{scheme}://:(secret)@{rest}"),
        },
        None => "(secret)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, expect) in [
            ("sqlite:/a/b.db", Some("sqlite:/a/b.db")),
            ("sqlite:///a/b.db", Some("sqlite:/a/b.db")),
            ("sqlite:b.db", Some("sqlite:/etc/b.db")),
            ("postgres://u:p@h/d", Some("postgres://u:p@h/d")),
            ("postgresql://h/d?sslmode=require", Some("postgresql://h/d?sslmode=require")),
            ("sqlite::memory:", None),
            ("sqlite:", None),
            ("sqlite:a?mode=ro", None),
            ("mysql://h/d", None),
            ("postgres:", None),
            ("/a/b.db", None),
            ("", None),
        ] {
            assert_eq!(checked(url, Path::new("/etc")).ok().as_deref(), expect, "{url}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for (url, expect) in [
            ("sqlite:/a/b.db", "sqlite:/a/b.db"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://u:hunter2@h:5/d", "postgres://u:(secret)@h:5/d"),
            ("postgres://:hunter2@h/d", "postgres://:(secret)@h/d"),
            ("postgres://u@h/d?password=hunter2", "postgres://u@h/d?(secret)"),
            ("postgres://u:hunter2@h/d?sslpassword=hunter2", "postgres://u:(secret)@h/d?(secret)"),
            ("postgres://u:hunter2@:bad:", "(secret)"),
        ] {
            assert_eq!(shown(url), expect, "{url}");
        }
    }
}
