//! Judges what the server wants in the person's ssh configuration. The text goes into files that ssh obeys, so the
//! alphabets are strict: a pattern cannot be a whole line, cannot match every host, cannot close a quote. Pure.

use std::collections::BTreeSet;

use russh::keys::ssh_key::PublicKey;

use crate::cli::terminal::plain;
use crate::pattern::{self, BadPattern, PATTERNS_MAX};
use crate::web::api::SshClientSettings;

/// Why the settings are refused. Nothing is written then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    /// The bastion's name.
    #[error("the server calls its bastion {0:?}, which is not a host name")]
    Host(String),
    /// The bastion's port.
    #[error("the server names port 0 for its bastion")]
    Port,
    /// The host CA.
    #[error("the server's host CA is not a public key on one line")]
    HostCa,
    /// A host pattern.
    #[error("the server wants {0:?} in your ssh configuration, which is {1}")]
    Pattern(String, BadPattern),
    /// Too many of them.
    #[error("the server wants {0} host patterns in your ssh configuration (at most {PATTERNS_MAX})")]
    TooMany(usize),
    /// More changed than a renewal may change.
    #[error("the server has changed {0}; to accept that, run: caponier login")]
    Changed(String),
}

/// Settings that are safe to write into ssh's files. Made by [`Settings::check`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    host: String,
    port: u16,
    host_ca: String,
    patterns: Vec<String>,
}

impl Settings {
    /// Judges all of them; the first that is wrong is the answer.
    pub fn check(said: &SshClientSettings) -> Result<Self, BadSettings> {
        if !pattern::is_bastion_name(&said.host) {
            return Err(BadSettings::Host(shown(&said.host)));
        }
        if said.port == 0 {
            return Err(BadSettings::Port);
        }
        if said.patterns.len() > PATTERNS_MAX {
            return Err(BadSettings::TooMany(said.patterns.len()));
        }
        let mut patterns = Vec::with_capacity(said.patterns.len());
        for one in &said.patterns {
            pattern::check(one).map_err(|why| BadSettings::Pattern(shown(one), why))?;
            if !patterns.contains(one) {
                patterns.push(one.clone());
            }
        }
        Ok(Self { host: said.host.clone(), port: said.port, host_ca: one_key(&said.host_ca)?, patterns })
    }

    /// The bastion's name, also its alias in the ssh configuration.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The bastion's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host CA's public key: one line, no comment.
    pub fn host_ca(&self) -> &str {
        &self.host_ca
    }

    /// Hosts that are reached through the bastion. May be empty.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether they may take the place of `before` without a person having a look. Other targets, and another port, are
    /// everyday; another bastion, another authority or other wildcards would lead all connections elsewhere.
    pub fn may_follow(&self, before: &SshClientSettings) -> Result<(), BadSettings> {
        let wildcards = |patterns: &[String]| -> BTreeSet<String> {
            patterns.iter().filter(|one| pattern::has_wildcard(one)).cloned().collect()
        };
        let changed = [
            ("the bastion's name", self.host != before.host),
            ("its host CA", self.host_ca != before.host_ca),
            ("host patterns with wildcards", wildcards(&self.patterns) != wildcards(&before.patterns)),
        ];
        match changed.into_iter().filter_map(|(what, is)| is.then_some(what)).collect::<Vec<_>>() {
            nothing if nothing.is_empty() => Ok(()),
            what => Err(BadSettings::Changed(what.join(" and "))),
        }
    }

    /// What is different from `before`, in lines for people.
    pub fn changes(&self, before: &SshClientSettings) -> Vec<String> {
        let mut changes = Vec::new();
        let mut list = |what: &str, from: &[String], to: &[String]| {
            let more: Vec<&str> = to.iter().filter(|p| !from.contains(p)).map(String::as_str).collect();
            if !more.is_empty() {
                changes.push(format!("{what}: {}", plain(&more.join(", "), 400)));
            }
        };
        list("now reached through the bastion", &before.patterns, &self.patterns);
        list("no longer reached through the bastion", &self.patterns, &before.patterns);
        if (&before.host, before.port) != (&self.host, self.port) {
            changes.push(format!("the bastion is now {} port {}", self.host, self.port));
        }
        if before.host_ca != self.host_ca {
            changes.push("the bastion's host CA has changed".to_owned());
        }
        changes
    }

    /// Back to the wire shape, to be kept.
    pub fn to_wire(&self) -> SshClientSettings {
        SshClientSettings {
            host: self.host.clone(),
            port: self.port,
            host_ca: self.host_ca.clone(),
            patterns: self.patterns.clone(),
        }
    }
}

/// The key written anew from what was understood, so that nothing else on the line survives.
fn one_key(text: &str) -> Result<String, BadSettings> {
    if text.chars().any(char::is_control) {
        return Err(BadSettings::HostCa);
    }
    let key = PublicKey::from_openssh(text).map_err(|_| BadSettings::HostCa)?;
    PublicKey::new(key.key_data().clone(), "").to_openssh().map_err(|_| BadSettings::HostCa)
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    const OTHER_CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPcMNu7XfmPS1EaLWdNfn3qIO0xJmCZLM+IsCYt0Jz5N";

    fn said(host: &str, patterns: &[&str]) -> SshClientSettings {
        SshClientSettings {
            host: host.to_owned(),
            port: 2222,
            host_ca: CA.to_owned(),
            patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
        }
    }

    #[test]
    fn patterns() {
        for bad in ["", "*", "web1\nHost evil", "web1,evil", "!web1", "web\"1", "web%h", &"w".repeat(254)] {
            let refused = Settings::check(&said("b.example", &["fine1", bad]));
            assert!(matches!(refused, Err(BadSettings::Pattern(..))), "{bad:?}");
        }
        assert!(Settings::check(&said("b.example", &["a", "*.corp.example"])).is_ok());
        let many = vec!["web1"; PATTERNS_MAX + 1];
        assert_eq!(Settings::check(&said("b", &many)), Err(BadSettings::TooMany(PATTERNS_MAX + 1)));
        let twice = Settings::check(&said("b", &["web1", "web1"])).unwrap();
        assert_eq!(twice.patterns(), ["web1"]);
    }

    #[test]
    fn a_renewal_changes_targets_and_nothing_that_leads_elsewhere() {
        let before = said("b.example", &["web1", "*.corp.example"]);
        let rows: [(SshClientSettings, Option<&str>); 6] = [
            (before.clone(), None),
            (SshClientSettings { port: 22, ..said("b.example", &["*.corp.example", "db1"]) }, None),
            (said("c.example", &["web1", "*.corp.example"]), Some("name")),
            (SshClientSettings { host_ca: OTHER_CA.to_owned(), ..before.clone() }, Some("host CA")),
            (said("b.example", &["web1", "*.corp.example", "*.bank.example"]), Some("wildcards")),
            (said("b.example", &["web1"]), Some("wildcards")),
        ];
        for (after, expect) in rows {
            let answer = Settings::check(&after).unwrap().may_follow(&before);
            match (answer, expect) {
                (Ok(()), None) => {}
                (Err(BadSettings::Changed(what)), Some(part)) => assert!(what.contains(part), "{what}"),
                (got, _) => panic!("{after:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn bastion_and_ca() {
        for bad in ["", "-b", "b\"", "b x", "b\nHost *", "*", "b*", "[::1]", "b,c", "%h", "$HOME", "."] {
            assert!(matches!(Settings::check(&said(bad, &[])), Err(BadSettings::Host(_))), "{bad:?}");
        }
        let mut no_port = said("b", &[]);
        no_port.port = 0;
        assert_eq!(Settings::check(&no_port), Err(BadSettings::Port));
        let more_lines = format!("{CA}\n* ssh-ed25519 AAAA");
        for bad in ["", "AAAA", "* ssh-ed25519 AAAA", more_lines.as_str()] {
            let mut settings = said("b", &[]);
            settings.host_ca = bad.to_owned();
            assert_eq!(Settings::check(&settings), Err(BadSettings::HostCa), "{bad:?}");
        }
        let mut comment = said("b", &[]);
        comment.host_ca = format!("{CA} some comment");
        assert_eq!(Settings::check(&comment).unwrap().host_ca(), CA);
    }
}
