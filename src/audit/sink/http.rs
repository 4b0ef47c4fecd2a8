//! A copy at a web server: batches of lines, posted one after the other. Only a 2xx counts, no redirect is followed, and the body
//! of the answer is not read. A batch that failed comes again, so the receiver may get entries twice; by their numbers it
//! knows them.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, redirect};
use tokio::time::timeout;

use super::super::export::Line;
use super::SinkError;
use crate::alerts::deliver::egress;
use crate::alerts::sign;
use crate::config::HttpTo;
use crate::time::Timestamp;

/// The number of the first entry of a batch.
const FIRST: &str = "x-caponier-first";
/// The number of the last.
const LAST: &str = "x-caponier-last";

/// One receiver and the way to it.
pub struct HttpSink {
    to: HttpTo,
    client: Result<Client, String>,
    timeout: Duration,
    acknowledged: Option<u64>,
}

impl HttpSink {
    pub(super) fn new(to: HttpTo, timeout: Duration) -> Self {
        // Fails only when a provider stands already, which is as good.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(timeout)
            .timeout(timeout)
            // A proxy would resolve the name for us, past the guard.
            .no_proxy()
            .dns_resolver(egress::Guarded)
            .user_agent(concat!("caponier/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string());
        Self { to, client, timeout, acknowledged: None }
    }

    pub(super) fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    pub(super) async fn send(&mut self, lines: &[Line], now: Timestamp) -> Result<(), SinkError> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
        self.acknowledged = None;
        let body: String = lines.iter().map(|line| line.text() + "\n").collect();
        // The client's own deadline begins after names are looked up.
        let posted = timeout(self.timeout, self.post(body, (first.seq, last.seq), now)).await;
        posted.unwrap_or_else(|_| Err(SinkError::late(self.timeout)))?;
        self.acknowledged = Some(last.seq);
        Ok(())
    }

    async fn post(&self, body: String, (first, last): (u64, u64), now: Timestamp) -> Result<(), SinkError> {
        let client = self.client.as_ref().map_err(|error| SinkError::Failed(error.clone()))?;
        let url = self.to.url.clone();
        // The client asks its resolver about names only.
        if let Some(host) = url.host_str() {
            let found = egress::resolve(host, url.port_or_known_default().unwrap_or(443)).await;
            found.map_err(|error| SinkError::of(&error))?;
        }
        let mut request = client.post(url).header(CONTENT_TYPE, "application/x-ndjson");
        request = request.header(FIRST, first).header(LAST, last);
        if let Some(token) = &self.to.token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose().trim()));
            let mut value =
                value.map_err(|_| SinkError::Failed("the token is not one line of ASCII".into()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(signature) = sign::sign(&self.to.secrets, &body, now) {
            request = request.header(sign::HEADER, signature);
        }
        let answer = request.body(body).send().await.map_err(|error| SinkError::of(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(SinkError::Failed(format!("the receiver answered {}", status.as_u16())))
    }
}
