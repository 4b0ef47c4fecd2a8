//! A real Chromium without a window, driven by `tests/browser/drive.mjs`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::lines::Lines;
use super::provider::Provider;
use super::{PATIENCE, part, root};

/// One browser with an empty profile.
pub(crate) struct Browser {
    lines: Lines,
}

impl Browser {
    /// Starts one that runs no script of any page, as our pages must not need it.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(json!({"javascript": false}))
    }

    /// Starts one that runs scripts, so that what a page tries against its policy is seen.
    #[track_caller]
    pub(crate) fn start_with_scripts() -> Self {
        Self::start_with(json!({}))
    }

    #[track_caller]
    fn start_with(settings: Value) -> Self {
        let mut lines = Lines::start(
            "the browser",
            Command::new(node()).arg(part("tests/browser/drive.mjs")).arg(settings.to_string()),
        );
        let up = lines.hear(2 * PATIENCE);
        assert_eq!(up["ok"], true, "{up}");
        Self { lines }
    }

    /// Does one step (see `drive.mjs`); answers what it answers, or fails with its error.
    #[track_caller]
    pub(crate) fn step(&mut self, step: &Value) -> Value {
        let answer = self.try_step(step);
        assert_eq!(answer["ok"], true, "{step}: {}", answer["error"].as_str().unwrap_or_default());
        answer
    }

    /// Does one step; answers what it answers, `ok` false with an `error` included.
    #[track_caller]
    pub(crate) fn try_step(&mut self, step: &Value) -> Value {
        self.lines.tell(step);
        self.lines.hear(2 * PATIENCE)
    }

    /// Opens a page; answers its status.
    #[track_caller]
    pub(crate) fn goto(&mut self, url: &str) -> u64 {
        self.step(&json!({"do": "goto", "url": url}))["status"].as_u64().unwrap()
    }

    /// Types into the field that the selector finds.
    #[track_caller]
    pub(crate) fn fill(&mut self, selector: &str, text: &str) {
        self.step(&json!({"do": "fill", "in": selector, "text": text}));
    }

    /// Clicks the button or link that says exactly `text`, and waits for the page that follows.
    #[track_caller]
    pub(crate) fn click(&mut self, text: &str) {
        self.step(&json!({"do": "click", "text": text}));
    }

    /// Waits until the page shows `text`.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        self.step(&json!({"do": "expect", "text": text}));
    }

    /// The page: `url`, `status`, `title`, `text`, `html`, `headers`.
    #[track_caller]
    pub(crate) fn page(&mut self) -> Value {
        self.step(&json!({"do": "page"}))
    }

    /// Writes a picture (PNG).
    #[track_caller]
    pub(crate) fn screenshot(&mut self, file: &Path) {
        self.step(&json!({"do": "screenshot", "file": file}));
    }

    /// Everything the console, the network and the Content Security Policy complained of since the start.
    #[track_caller]
    pub(crate) fn problems(&mut self) -> Vec<String> {
        serde_json::from_value(self.step(&json!({"do": "problems"}))["problems"].take()).unwrap()
    }

    /// Signs in on the provider's page, where the browser must be.
    #[track_caller]
    pub(crate) fn sign_in_at_provider(&mut self, person: &str) {
        self.expect("Example Corp sign-in");
        self.fill("input[name=login]", person);
        self.fill("input[name=password]", &Provider::password(person));
        self.click("Sign in");
    }
}

/// The Node.js that `contrib/test` chose: its own when the machine's is too old.
pub(crate) fn node() -> PathBuf {
    let own = root().join("target/test-parts/node/bin/node");
    if own.exists() { own } else { "node".into() }
}
