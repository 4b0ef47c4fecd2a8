//! A real OpenID provider: the npm package `oidc-provider` behind `tests/provider/server.mjs`.

use std::process::Command;

use serde_json::{Value, json};

use super::lines::Lines;
use super::{PATIENCE, browser, part};

/// One running provider. Its people are `engineer` (group `engineers`), `reviewer` (`engineers`, `reviewers`) and
/// `auditor` (`auditors`); a person's password is their name and `-password`.
pub(crate) struct Provider {
    /// `iss`: `http://127.0.0.1:PORT`.
    pub(crate) issuer: String,
    lines: Lines,
}

impl Provider {
    /// Our client there.
    pub(crate) const CLIENT_ID: &str = "caponier";
    /// Its secret.
    pub(crate) const CLIENT_SECRET: &str = "a-secret-for-tests-only";

    /// Starts one that knows our client with these redirect URIs. ID tokens are signed with RS256.
    #[track_caller]
    pub(crate) fn start(redirect_uris: &[&str]) -> Self {
        Self::start_with(redirect_uris, json!({}))
    }

    /// Starts one with other settings too: `alg`, `port`, `people`, `id_token_secs`, `refresh` as in `server.mjs`, and
    /// `logout_uri`, where our client wants its logout tokens.
    #[track_caller]
    pub(crate) fn start_with(redirect_uris: &[&str], mut settings: Value) -> Self {
        part("tests/provider/node_modules");
        let mut lines = Lines::start(
            "the identity provider",
            Command::new(browser::node()).arg(part("tests/provider/server.mjs")),
        );
        let mut client = json!({
            "client_id": Self::CLIENT_ID,
            "client_secret": Self::CLIENT_SECRET,
            "redirect_uris": redirect_uris,
        });
        if let Some(uri) = settings.get("logout_uri") {
            client["backchannel_logout_uri"] = uri.clone();
            client["backchannel_logout_session_required"] = true.into();
        }
        settings["clients"] = json!([client]);
        lines.tell(&settings);
        let issuer = lines.hear(PATIENCE)["issuer"].as_str().unwrap().to_owned();
        Self { issuer, lines }
    }

    /// A person's password.
    pub(crate) fn password(person: &str) -> String {
        format!("{person}-password")
    }

    /// Gives it an order, as in `server.mjs`; answers what it answers.
    #[track_caller]
    pub(crate) fn order(&mut self, order: &Value) -> Value {
        self.lines.tell(order);
        let answer = self.lines.hear(PATIENCE);
        assert_eq!(answer["ok"], true, "{order}: {answer}");
        answer
    }

    /// Takes it off the network.
    pub(crate) fn stop(&mut self) {
        self.lines.end();
    }
}
