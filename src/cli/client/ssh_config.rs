//! Writes what stock ssh obeys: the configuration that `~/.ssh/config` includes, and the known hosts beside it.
//!
//! Two decisions carry the safety. Renewing stands in a `Match` block of its own that sets nothing, so when `ensure`
//! fails, hosts still go through the bastion (one block for both would send ssh straight to the host). And no token
//! (`%h`, `%r`) reaches a shell: `ensure` needs none of them. `Match host` is used throughout, never `Host`, because
//! it ignores case as DNS does.

use std::path::{Path, PathBuf};

use super::home::{self, Home, HomeError};
use super::settings::Settings;
use super::state::KeyPlace;
use crate::cli::Environment;

/// Why a path cannot stand in an ssh configuration.
#[derive(Debug, thiserror::Error)]
pub enum BadPath {
    /// It has a character that ssh, or the shell that ssh starts, would read as something else.
    #[error(
        "{0}: ssh cannot be told this path safely (it must be absolute, without quotes, backslash, $ ` % * ? [ ] or \
         control characters); {1}"
    )]
    Unsafe(String, &'static str),
    /// Where we are is unknown.
    #[error("cannot find out where caponier itself is: {0}")]
    Unknown(std::io::Error),
}

/// The two paths that the configuration names. Made by [`Places::find`] only, which refuses what cannot be quoted.
#[derive(Clone, Debug)]
pub struct Places {
    binary: String,
    home: String,
}

impl Places {
    /// Finds this program and checks both paths.
    pub fn find(home: &Home, env: &Environment) -> Result<Self, BadPath> {
        let binary = this_program(env)?;
        Ok(Self {
            binary: quotable(&binary, "install caponier elsewhere")?,
            home: quotable(home.dir(), "choose another folder with CAPONIER_HOME")?,
        })
    }

    /// The line for `~/.ssh/config`.
    pub fn include_line(&self) -> String {
        format!("Include \"{}/{}\"", self.home, home::SSH_CONFIG)
    }
}

/// The configuration's text.
pub fn config_text(settings: &Settings, places: &Places, server: &str, key: KeyPlace) -> String {
    let Places { binary, home } = places;
    let (host, port) = (settings.host(), settings.port());
    let behind = settings.patterns().join(",");
    let all = if behind.is_empty() { host.to_owned() } else { format!("{host},{behind}") };
    let identity = identity_lines(home, key);
    let mut text = format!(
        "# Written by caponier for {server}; changes are lost at the next renewal. ssh uses the first value it finds,\n\
         # so to change an option put a block of your own above the Include line in ~/.ssh/config.\n\
         \n\
         # Renews the certificate before ssh reads it. This block sets nothing on purpose: if renewing fails, ssh still\n\
         # goes through the bastion.\n\
         Match host {all} exec \"'{binary}' ensure --quiet --home '{home}'\"\n\
         \n\
         # The bastion.\n\
         Match host {host}\n    HostName {host}\n    Port {port}\n    ProxyJump none\n{identity}"
    );
    if !behind.is_empty() {
        text.push_str(&format!(
            "\n# Hosts behind it.\nMatch host !{host},{behind}\n    ProxyJump {host}\n{identity}"
        ));
    }
    text
}

/// Who we are and whom we believe: the same for the bastion and the hosts behind it.
fn identity_lines(home: &str, key: KeyPlace) -> String {
    // With the key in an agent ssh is given the public half, and finds the private one there.
    let (agent_line, key) = match key {
        KeyPlace::File => (String::new(), home::KEY),
        KeyPlace::Agent => ("    IdentityAgent SSH_AUTH_SOCK\n".to_owned(), home::PUBLIC_KEY),
        KeyPlace::Own => (format!("    IdentityAgent \"{home}/{}\"\n", home::SOCKET), home::PUBLIC_KEY),
    };
    let (certificate, known_hosts) = (home::CERTIFICATE, home::KNOWN_HOSTS);
    format!(
        "{agent_line}    IdentityFile \"{home}/{key}\"\n    CertificateFile \"{home}/{certificate}\"\n    \
         IdentitiesOnly yes\n    AddKeysToAgent no\n    PasswordAuthentication no\n    \
         KbdInteractiveAuthentication no\n    UserKnownHostsFile \"{home}/{known_hosts}\"\n    \
         GlobalKnownHostsFile /dev/null\n    KnownHostsCommand none\n    StrictHostKeyChecking yes\n    \
         VerifyHostKeyDNS no\n    UpdateHostKeys no\n    ForwardAgent no\n    ForwardX11 no\n"
    )
}

/// The known hosts: the host CA, for the bastion and the managed patterns only.
pub fn known_hosts_text(settings: &Settings) -> String {
    let mut names = vec![settings.host().to_owned()];
    if settings.port() != 22 {
        names.push(format!("[{}]:{}", settings.host(), settings.port()));
    }
    for pattern in settings.patterns() {
        names.push(pattern.clone());
        // What ssh looks up when somebody says `-p`.
        names.push(format!("[{pattern}]:*"));
    }
    format!("@cert-authority {} {}\n", names.join(","), settings.host_ca())
}

/// Writes both files, known hosts first: until the second is there, nothing new is believed by anybody.
pub fn write(
    home: &Home,
    settings: &Settings,
    places: &Places,
    server: &str,
    key: KeyPlace,
) -> Result<(), HomeError> {
    home.write(home::KNOWN_HOSTS, &known_hosts_text(settings))?;
    home.write(home::SSH_CONFIG, &config_text(settings, places, server, key))
}

/// A path that means the same to us, to ssh's parser, to its expansions and, in single quotes, to any shell.
fn quotable(path: &Path, advice: &'static str) -> Result<String, BadPath> {
    let fine = |c: char| {
        !c.is_control() && !matches!(c, '"' | '\'' | '\\' | '$' | '`' | '%' | '*' | '?' | '[' | ']')
    };
    match path.to_str() {
        Some(text) if text.starts_with('/') && text.chars().all(fine) => Ok(text.to_owned()),
        Some(_) | None => Err(BadPath::Unsafe(path.display().to_string(), advice)),
    }
}

/// Where this program is. When the search path leads here through a link, the link: package managers put each
/// version into a folder of its own, and the link outlives it.
fn this_program(env: &Environment) -> Result<PathBuf, BadPath> {
    let own = std::env::current_exe().map_err(BadPath::Unknown)?;
    let real = own.canonicalize().map_err(BadPath::Unknown)?;
    let Some(name) = real.file_name() else { return Ok(real) };
    let on_path = env.get("PATH").and_then(|path| {
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|candidate| candidate.exists())
    });
    Ok(on_path.filter(|found| found.canonicalize().is_ok_and(|found| found == real)).unwrap_or(real))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::api::SshClientSettings;

    const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn settings(port: u16, patterns: &[&str]) -> Settings {
        Settings::check(&SshClientSettings {
            host: "b.example".to_owned(),
            port,
            host_ca: CA.to_owned(),
            patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        })
        .unwrap()
    }

    fn places() -> Places {
        Places { binary: "/opt/my tools/caponier".to_owned(), home: "/home/ada/.caponier".to_owned() }
    }

    #[test]
    fn the_block_that_runs_ensure_sets_nothing() {
        let text = config_text(
            &settings(2222, &["*.web.example", "db1"]),
            &places(),
            "https://b.example",
            KeyPlace::File,
        );
        let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
        let exec = lines.iter().position(|l| l.contains(" exec ")).unwrap();
        assert_eq!(
            lines[exec],
            "Match host b.example,*.web.example,db1 exec \"'/opt/my tools/caponier' ensure --quiet --home '/home/ada/.caponier'\""
        );
        assert_eq!(lines[exec + 1], "Match host b.example");
        assert!(lines.contains(&"Match host !b.example,*.web.example,db1"));
        assert!(!text.contains('%') && !text.lines().any(|l| l.starts_with("Host ")));
    }

    #[test]
    fn nothing_behind_the_bastion() {
        let text = config_text(&settings(22, &[]), &places(), "https://b.example", KeyPlace::Agent);
        assert!(!text.contains("ProxyJump b.example") && text.contains("ProxyJump none"));
        assert!(text.contains("IdentityFile \"/home/ada/.caponier/id.pub\""), "{text}");
        assert_eq!(known_hosts_text(&settings(22, &[])), format!("@cert-authority b.example {CA}\n"));
    }

    #[test]
    fn a_job_has_an_agent_of_its_own() {
        let text = config_text(&settings(22, &["db1"]), &places(), "https://b.example", KeyPlace::Own);
        let agent = "    IdentityAgent \"/home/ada/.caponier/agent.sock\"\n";
        assert_eq!(text.matches(agent).count(), 2, "for the bastion and behind it: {text}");
        assert!(!text.contains("SSH_AUTH_SOCK"));
    }

    #[test]
    fn known_hosts_name_the_patterns_only() {
        assert_eq!(
            known_hosts_text(&settings(2222, &["*.web.example"])),
            format!("@cert-authority b.example,[b.example]:2222,*.web.example,[*.web.example]:* {CA}\n")
        );
    }

    #[test]
    fn paths() {
        for good in ["/usr/bin/caponier", "/home/ada lovelace/x", "/a/b;c|d&(e)<f>#g!h{i}~", "/é"] {
            assert!(quotable(Path::new(good), "").is_ok(), "{good}");
        }
        for bad in
            ["x", "~/x", "/a'b", "/a\"b", "/a$b", "/a`b", "/a%hb", "/a*", "/a?", "/a[b]", "/a\nb", "/a\\b"]
        {
            assert!(quotable(Path::new(bad), "").is_err(), "{bad}");
        }
    }
}
