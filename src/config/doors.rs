//! `[ssh]` and `[web]`: where we listen and what we are called there.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::document::{At, Place};
use super::files;
use super::load::Surroundings;
use super::section::Section;
use super::{Ssh, Web, defaults};
use crate::pattern::{self, PATTERNS_MAX};

/// Reads `[ssh]`.
pub(super) fn ssh(top: &mut Section<'_>) -> Option<Ssh> {
    let mut section = top.child("ssh");
    let listen = listen(&mut section, defaults::SSH_LISTEN);
    section.require(
        "host_names",
        "list the names clients use for this bastion, such as [\"bastion.example.com\"]",
    );
    let host_names = host_names(&mut section);
    let public_port = section.number("public_port", &defaults::SSH_PUBLIC_PORT);
    let client_patterns = client_patterns(&mut section);
    let connections = section.number("connections_max", &defaults::SSH_CONNECTIONS_MAX);
    let unauthenticated = section.number("unauthenticated_max", &defaults::SSH_UNAUTHENTICATED_MAX);
    let connections_max = connections.map_or(defaults::SSH_CONNECTIONS_MAX.default, |at| at.value);
    let mut unauthenticated_max = defaults::SSH_UNAUTHENTICATED_MAX.default.min(connections_max);
    if let Some(at) = unauthenticated {
        unauthenticated_max = at.value;
        if at.value > connections_max {
            let message = format!("\"unauthenticated_max\" is over \"connections_max\" ({connections_max})");
            section.problem(at.place, message);
        }
    }
    let login_grace = section.duration("login_grace", &defaults::SSH_LOGIN_GRACE);
    section.finish();
    let listen = listen?;
    Some(Ssh {
        listen,
        host_names: host_names?,
        public_port: public_port.map_or_else(|| Some(listen.port()), |at| u16::try_from(at.value).ok())?,
        client_patterns,
        connections_max: usize::try_from(connections_max).ok()?,
        unauthenticated_max: usize::try_from(unauthenticated_max).ok()?,
        login_grace: login_grace.map_or(defaults::SSH_LOGIN_GRACE.default, |at| at.value),
    })
}

fn listen(section: &mut Section<'_>, default: &str) -> Option<SocketAddr> {
    let text = section.text("listen");
    let (value, place) = text.map_or((default, section.place), |at| (at.value, at.place));
    let parsed = value.parse().ok();
    if parsed.is_none() {
        section.problem(
            place,
            format!(
                "\"listen\" must be ADDRESS:PORT, such as \"0.0.0.0:2222\" or \"[::]:2222\", not {value:?}"
            ),
        );
    }
    parsed
}

fn host_names(section: &mut Section<'_>) -> Option<Vec<String>> {
    let names = section.texts("host_names")?;
    if names.value.is_empty() {
        section.problem(names.place, "\"host_names\" is empty: list the names clients use for this bastion");
        return None;
    }
    for (index, name) in names.value.iter().enumerate() {
        if !is_host_name(name.value) {
            let message =
                format!("{:?} is not a host name (lower case, no wildcard) nor an IP address", name.value);
            section.problem(name.place, message);
        } else if names.value.iter().take(index).any(|other| other.value == name.value) {
            section.problem(name.place, format!("{:?} is listed twice", name.value));
        } else if index == 0 && !pattern::is_bastion_name(name.value) {
            let message = format!(
                "{:?} comes first, but ssh configurations cannot call a host so: put a name or an IPv4 address first",
                name.value
            );
            section.problem(name.place, message);
        }
    }
    Some(names.value.iter().map(|name| name.value.to_owned()).collect())
}

/// A DNS name in lower case (RFC 1123 section 2.1: labels of 1 to 63 letters, digits and inner dashes), or an IP address.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    // "10.0.0.256" and "1" are meant as addresses and are none; a real top-level name has a letter.
    let last_is_number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253 && !last_is_number && text.split('.').all(label)
}

fn client_patterns(section: &mut Section<'_>) -> Vec<String> {
    let Some(patterns) = section.texts("client_patterns") else { return Vec::new() };
    if patterns.value.len() > PATTERNS_MAX {
        let message = format!(
            "{} patterns: clients take at most {PATTERNS_MAX}; write patterns with wildcards",
            patterns.value.len()
        );
        section.problem(patterns.place, message);
    }
    for pattern in &patterns.value {
        let text = pattern.value;
        match pattern::check(text) {
            Ok(()) if text.bytes().any(|b| b.is_ascii_uppercase()) => {
                section.problem(pattern.place, format!("{text:?}: host patterns are written in lower case"));
            }
            Ok(()) => {}
            Err(why) => section.problem(pattern.place, format!("{text:?} is {why}")),
        }
    }
    patterns.value.iter().map(|pattern| pattern.value.to_owned()).collect()
}

/// Reads `[web]`.
pub(super) fn web(top: &mut Section<'_>, here: Surroundings<'_>) -> Option<Web> {
    let mut section = top.child("web");
    let listen_place = section.place_of("listen").unwrap_or(section.place);
    let listen = listen(&mut section, defaults::WEB_LISTEN);
    section.require(
        "public_url",
        "write how browsers reach this server, such as \"https://bastion.example.com\"",
    );
    let public_url = public_url(&mut section);
    let tls_cert = here.path(&mut section, "tls_cert");
    let tls_key = here.path(&mut section, "tls_key");
    check_tls(&section, tls_cert.as_ref(), tls_key.as_ref());
    let trusted_proxies = trusted_proxies(&mut section);
    let tls_wanted = section.place_of("tls_cert").is_some() || section.place_of("tls_key").is_some();
    if let Some(url) = &public_url
        && tls_wanted
        && url.value.scheme() == "http"
    {
        section
            .problem(url.place, "\"public_url\" says http, but \"tls_cert\" makes this server speak https");
    }
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && !tls_wanted
        && section.place_of("trusted_proxies").is_none()
    {
        section.problem(
            listen_place,
            format!(
                "{listen} would speak http to the network in the clear: set \"tls_cert\" and \"tls_key\", listen on \
                 127.0.0.1, or name the reverse proxy in \"trusted_proxies\""
            ),
        );
    }
    section.finish();
    Some(Web {
        listen: listen?,
        public_url: public_url?.value,
        tls_cert: tls_cert.map(|at| at.value),
        tls_key: tls_key.map(|at| at.value),
        trusted_proxies,
    })
}

fn trusted_proxies(section: &mut Section<'_>) -> Vec<IpAddr> {
    let mut proxies = Vec::new();
    for text in section.texts("trusted_proxies").map(|at| at.value).unwrap_or_default() {
        match text.value.parse() {
            Ok(ip) => proxies.push(ip),
            Err(_) => {
                let message = format!("{:?} is not an IP address (networks are not known here)", text.value);
                section.problem(text.place, message);
            }
        }
    }
    proxies
}

fn check_tls(
    section: &Section<'_>,
    cert: Option<&At<std::path::PathBuf>>,
    key: Option<&At<std::path::PathBuf>>,
) {
    let given = |key: &str| section.place_of(key);
    match (given("tls_cert"), given("tls_key")) {
        (Some(place), None) => section.problem(place, "\"tls_cert\" needs \"tls_key\" beside it"),
        (None, Some(place)) => section.problem(place, "\"tls_key\" needs \"tls_cert\" beside it"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if let Some(cert) = cert
        && let Err(message) = files::open_guarded(&cert.value, 0)
    {
        section.problem(cert.place, message);
    }
    if let Some(key) = key
        && let Err(message) = files::open_guarded(&key.value, files::NOT_FOR_OTHERS)
    {
        section.problem(key.place, message);
    }
}

fn public_url(section: &mut Section<'_>) -> Option<At<Url>> {
    let text = section.text("public_url")?;
    let wrong = |message: &str| section.problem(text.place, format!("\"public_url\": {message}"));
    let url = web_address(section, text.place, "public_url", text.value)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        wrong("only scheme, host and port, such as \"https://bastion.example.com\"; no path, no query");
        return None;
    }
    Some(At { value: url, place: text.place })
}

/// A URL that we may trust our users' sign-ins to: `https`, or `http` on loopback; a host; no user and password.
pub(super) fn web_address(section: &Section<'_>, place: Place, key: &str, text: &str) -> Option<Url> {
    let wrong = |message: String| {
        section.problem(place, format!("{key:?}: {message}"));
        None
    };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(format!("not a URL ({error}); write https://HOST")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("no user name and no password belong into this URL".into());
    }
    match (url.scheme(), is_loopback(&url)) {
        ("https", Some(_)) | ("http", Some(true)) => Some(url),
        ("http", _) => wrong("http is allowed on loopback only; use https".into()),
        (scheme, _) => wrong(format!("{scheme}: is not for browsers; use https://HOST")),
    }
}

/// Whether the host is this machine's loopback; none when there is no host.
fn is_loopback(url: &Url) -> Option<bool> {
    Some(match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_name_alphabet() {
        for good in ["bastion", "b.example.com", "10.0.0.5", "::1", "xn--bcher-kva.example", "0day.example"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.x",
            "B.example",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a b",
            "a,b",
            "1",
            "10.0.0.256",
            "[::1]",
            "a.",
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
