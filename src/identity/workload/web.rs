//! Addresses of runs for people, put together from claims. An address is given only when nothing in it needs escaping and
//! every part of it is what it seems to be; otherwise there is none.

/// `BASE/PATH`, where the base is the https address of a server and the path has plain names between its slashes.
pub(super) fn address(base: &str, path: &str) -> Option<String> {
    let (host, below) = match base.strip_prefix("https://")?.split_once('/') {
        Some((host, below)) => (host, Some(below)),
        None => (base.strip_prefix("https://")?, None),
    };
    let below_ok = below.is_none_or(is_path);
    (is_host(host) && below_ok && is_path(path)).then(|| format!("{base}/{path}"))
}

/// A host name, perhaps with a port.
fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "443"));
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_path(text: &str) -> bool {
    text.len() <= 512
        && text.split('/').all(|name| {
            !matches!(name, "" | "." | "..")
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses() {
        for (base, path, good) in [
            ("https://github.com", "acme/shop/actions/runs/1", true),
            ("https://git.example:8443", "a/b", true),
            ("https://git.example/forge", "a/b", true),
            ("http://github.com", "a/b", false),
            ("https://github.com/", "a/b", false),
            ("https://u@github.com", "a/b", false),
            ("https://GitHub.com", "a/b", false),
            ("https://github.com:0", "a/b", false),
            ("https://github.com:+1", "a/b", false),
            ("https://", "a/b", false),
            ("https://-x", "a/b", false),
            ("https://a..b", "a/b", false),
            ("https://github.com", "acme/../shop", false),
            ("https://github.com", "acme//shop", false),
            ("https://github.com", "acme/sh op", false),
            ("https://github.com", "acme/shop?x", false),
            ("https://github.com", "acme/shop#x", false),
            ("https://github.com", "acme/sh%6fp", false),
            ("https://github.com", "acme/shöp", false),
            ("https://github.com", "", false),
        ] {
            let expect = good.then(|| format!("{base}/{path}"));
            assert_eq!(address(base, path), expect, "{base} {path}");
        }
    }
}
