//! A bucket of S3, or of what speaks like it. Every upload says the SHA-256 of what it sends, so that the service refuses
//! what arrived as something else; what failed is tried again here a few times, and later by whoever asked.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path as Name;
use object_store::{
    BackoffConfig, ClientOptions, Error, MultipartUpload, ObjectStore as _, ObjectStoreExt as _, RetryConfig,
};
use sha2::{Digest as _, Sha256};

use super::ArchiveError;
use crate::config;
use crate::plain;
use crate::recording::budget::hex;

/// What is sent in one request at most; longer files go in parts of this length. Five MiB is the least that S3 takes.
const PART: usize = 8 * 1024 * 1024;
/// How often one request is tried before the whole attempt has failed.
const TRIES: usize = 5;
/// Time for one request with its answer.
const REQUEST: Duration = Duration::from_secs(60);
/// Time for one request with all its tries.
const PATIENCE: Duration = Duration::from_secs(120);

/// The bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    prefix: String,
}

impl Bucket {
    /// Puts the client together; nothing is asked yet.
    pub(super) fn open(config: &config::Bucket) -> Result<Self, ArchiveError> {
        // Fails only when a provider stands already, which is as good.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let plain_http = config.endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
        let client = ClientOptions::new()
            .with_timeout(REQUEST)
            .with_connect_timeout(Duration::from_secs(10))
            .with_allow_http(plain_http);
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        };
        let retry = RetryConfig { backoff, max_retries: TRIES, retry_timeout: PATIENCE };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.name)
            .with_region(&config.region)
            .with_access_key_id(config.access_key.expose())
            .with_secret_access_key(config.secret_key.expose())
            .with_virtual_hosted_style_request(!config.path_style)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = &config.endpoint {
            let mut url = endpoint.clone();
            // With such URLs the library wants the bucket in the endpoint's host.
            if !config.path_style && url.host().is_some() {
                let host = format!("{}.{}", config.name, url.host_str().unwrap_or_default());
                url.set_host(Some(&host)).map_err(|error| ArchiveError::Place(error.to_string()))?;
            }
            builder = builder.with_endpoint(url.as_str().trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| ArchiveError::Place(line(&error)))?;
        Ok(Self { store: Arc::new(store), prefix: config.prefix.clone() })
    }

    fn name(&self, name: &str) -> Name {
        if self.prefix.is_empty() { Name::from(name) } else { Name::from(format!("{}/{name}", self.prefix)) }
    }

    /// Uploads the file.
    pub(super) async fn put(&self, name: &str, from: &Path) -> Result<(), ArchiveError> {
        let local = |error| ArchiveError::Local(from.to_owned(), error);
        let mut file = File::open(from).map_err(local)?;
        let length = file.metadata().map_err(local)?.len();
        let at = self.name(name);
        if length <= PART as u64 {
            let bytes = chunk(&mut file).await.map_err(local)?;
            return self.store.put(&at, bytes.into()).await.map(drop).map_err(|error| place(name, &error));
        }
        let mut upload = self.store.put_multipart(&at).await.map_err(|error| place(name, &error))?;
        let sent = async {
            loop {
                let bytes = chunk(&mut file).await.map_err(local)?;
                if bytes.is_empty() {
                    break;
                }
                upload.put_part(bytes.into()).await.map_err(|error| place(name, &error))?;
            }
            upload.complete().await.map(drop).map_err(|error| place(name, &error))
        };
        let sent = sent.await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            let error = line(&error);
            tracing::debug!(
                error,
                name,
                "an upload stays unfinished; have the bucket's lifecycle remove such"
            );
        }
        sent
    }

    /// Downloads the object, up to one byte more than `limit`.
    pub(super) async fn get(&self, name: &str, to: &Path, limit: u64) -> Result<(), ArchiveError> {
        let local = |error| ArchiveError::Local(to.to_owned(), error);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(local)?;
        let mut left = limit + 1;
        self.stream(name, |bytes| {
            let taken = bytes.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(bytes);
            left -= taken.len() as u64;
            file.write_all(taken).map_err(local)?;
            Ok(left > 0)
        })
        .await
    }

    /// A small object.
    pub(super) async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut all = Vec::new();
        self.stream(name, |bytes| {
            all.extend_from_slice(bytes);
            Ok(all.len() as u64 <= limit)
        })
        .await?;
        Ok(all)
    }

    /// Length and SHA-256 of the object, which is read whole.
    pub(super) async fn digest(&self, name: &str) -> Result<(u64, String), ArchiveError> {
        let (mut hash, mut length) = (Sha256::new(), 0);
        self.stream(name, |bytes| {
            hash.update(bytes);
            length += bytes.len() as u64;
            Ok(true)
        })
        .await?;
        Ok((length, hex(hash)))
    }

    /// What the service says is its length.
    pub(super) async fn length(&self, name: &str) -> Result<u64, ArchiveError> {
        let meta = self.store.head(&self.name(name)).await.map_err(|error| place(name, &error))?;
        Ok(meta.size)
    }

    /// Deletes all objects below `base`, one by one: not every service deletes several at once.
    pub(super) async fn delete_all(&self, base: &str) -> Result<(), ArchiveError> {
        let below = self.name(base);
        let found: Vec<_> =
            self.store.list(Some(&below)).try_collect().await.map_err(|error| place(base, &error))?;
        for meta in found {
            match self.store.delete(&meta.location).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(place(meta.location.as_ref(), &error)),
            }
        }
        Ok(())
    }

    /// Hands the object's bytes to `take` until it says that it is enough.
    async fn stream(
        &self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<bool, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let got = self.store.get(&self.name(name)).await.map_err(|error| place(name, &error))?;
        let mut stream = got.into_stream();
        while let Some(bytes) = stream.next().await {
            if !take(&bytes.map_err(|error| place(name, &error))?)? {
                break;
            }
        }
        Ok(())
    }
}

/// The next bytes of the file, as many as go into one request; read off the async threads.
async fn chunk(file: &mut File) -> std::io::Result<Bytes> {
    let mut file = file.try_clone()?;
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::io::Read::by_ref(&mut file).take(PART as u64).read_to_end(&mut bytes)?;
        Ok(Bytes::from(bytes))
    });
    read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

fn place(name: &str, error: &Error) -> ArchiveError {
    if matches!(error, Error::NotFound { .. }) {
        return ArchiveError::Missing(name.to_owned());
    }
    ArchiveError::Place(format!("{name}: {}", line(error)))
}

/// One line with all causes; what a service says may be in it.
fn line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    plain::line(&text, 300)
}
