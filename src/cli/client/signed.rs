//! Whoever is signed in here, asking the server: what the commands for requests and locks have in common. Turns refusals into
//! errors that have the right exit code.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use url::form_urlencoded;

use super::api::{Api, ApiError, NOTHING, server_url};
use super::sign::Key;
use super::state::{self, State};
use super::{Denied, HomeArgs, NotSignedIn};
use crate::cli::Environment;
use crate::web::shape::Page;

/// Codes of answers that mean no, rather than that something is wrong.
const NO: [&str; 5] = ["no-access", "rules", "locked", "own-request", "widens"];
/// Rows of a page, and pages that are read at most.
const PAGE: u32 = 50;
const PAGES_MAX: u32 = 200;

/// A signed-in person's way to the server.
#[derive(Debug)]
pub struct Signed {
    api: Api,
    key: Key,
    runtime: Runtime,
}

impl Signed {
    /// Whoever is signed in in this folder.
    pub fn open(home: &HomeArgs, env: &Environment) -> anyhow::Result<Self> {
        let home = home.locate(env)?;
        home.check()?;
        let state = State::load(&home)?.ok_or_else(NotSignedIn::never)?;
        let sign_in = state.sign_in.clone().ok_or_else(NotSignedIn::never)?;
        let key = state::key(&home, sign_in.key, env)?;
        let api = Api::new(server_url(&state.server)?, state.ca_pem.as_deref())?;
        Ok(Self { api, key, runtime: crate::cli::runtime()? })
    }

    /// Reads.
    pub fn get<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        let answer = self.api.call(&self.key, Method::GET, path, NOTHING);
        self.runtime.block_on(answer).map_err(told)
    }

    /// Reads; an error that may pass by itself is left to who asks again.
    pub fn poll<A: DeserializeOwned>(&self, path: &str) -> Result<A, ApiError> {
        self.runtime.block_on(self.api.call(&self.key, Method::GET, path, NOTHING))
    }

    /// Changes something.
    pub fn post<A: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> anyhow::Result<A> {
        let answer = self.api.call(&self.key, Method::POST, path, Some(request));
        self.runtime.block_on(answer).map_err(told)
    }

    /// Changes something, with nothing more to say about it.
    pub fn post_bare<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        let answer = self.api.call(&self.key, Method::POST, path, NOTHING);
        self.runtime.block_on(answer).map_err(told)
    }

    /// Changes something once, however often it is sent with the same word.
    pub fn post_once<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        word: &str,
    ) -> anyhow::Result<A> {
        self.runtime.block_on(self.api.call_once(&self.key, path, request, word)).map_err(told)
    }

    /// Takes something away.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.api.call(&self.key, Method::DELETE, path, NOTHING);
        self.runtime.block_on(answer).map_err(told)
    }

    /// The rows of a list, page by page, at most `limit`. `query` are further parameters.
    pub fn list<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: usize,
    ) -> anyhow::Result<Vec<A>> {
        let mut rows: Vec<A> = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut text = form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(query).append_pair("limit", &PAGE.to_string());
            if let Some(after) = &after {
                text.append_pair("after", after);
            }
            let page: Page<A> = self.get(&format!("{path}?{}", text.finish()))?;
            rows.extend(page.items);
            after = page.next;
            if after.is_none() || rows.len() >= limit {
                break;
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }
}

/// The error for the person.
pub fn told(error: ApiError) -> anyhow::Error {
    if error.is_signed_out() {
        return NotSignedIn::ended().into();
    }
    if let ApiError::Refused { code, message } = &error
        && NO.contains(&code.as_str())
    {
        return Denied(message.clone()).into();
    }
    error.into()
}
