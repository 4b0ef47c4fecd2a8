//! A webhook: one POST, signed, in its time. Only a 2xx counts, no redirect is followed, and the body of the answer is not
//! read: nothing in it could change what we do.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Url, redirect};
use tokio::time::timeout;

use super::{Undelivered, egress};
use crate::alerts::{Notice, message, sign};
use crate::config::{Webhook, WebhookFormat};
use crate::time::Timestamp;

/// One receiver and the way to it.
pub(super) struct Hook {
    config: Webhook,
    client: Result<Client, String>,
}

impl Hook {
    pub(super) fn new(config: Webhook) -> Self {
        // Fails only when a provider stands already, which is as good.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(config.timeout)
            .timeout(config.timeout)
            // A proxy would resolve the name for us, past the guard.
            .no_proxy()
            .dns_resolver(egress::Guarded)
            // A receiver that is restarted must not take the next notice with it.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("caponier/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| e.to_string());
        Self { config, client }
    }

    pub(super) async fn post(
        &self,
        notice: &Notice,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        // The client's own deadline begins after names are looked up.
        let whole = timeout(self.config.timeout, self.post_once(notice, at, now));
        let secs = self.config.timeout.as_secs();
        whole.await.unwrap_or_else(|_| {
            Err(Undelivered::Failed(format!("timed out: there was no whole answer within {secs} s")))
        })
    }

    async fn post_once(&self, notice: &Notice, at: Timestamp, now: Timestamp) -> Result<(), Undelivered> {
        let client = self.client.as_ref().map_err(|e| Undelivered::Failed(e.clone()))?;
        let url = Url::parse(self.config.url.expose()).map_err(|e| Undelivered::failed(&e))?;
        // The client asks its resolver about names only.
        if let Some(host) = url.host_str() {
            egress::resolve(host, url.port_or_known_default().unwrap_or(443)).await?;
        }
        let body = match self.config.format {
            WebhookFormat::Caponier => message::to_json(notice, at),
            WebhookFormat::Slack => message::to_slack(notice, at),
        };
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        if let Some(signature) = sign::sign(&self.config.secrets, &body, now) {
            request = request.header(sign::HEADER, signature);
        }
        let answer = request.body(body).send().await.map_err(|e| Undelivered::failed(&e.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Undelivered::Refused { status: status.as_u16(), retry_after: seconds.map(Duration::from_secs) })
    }
}
