//! The S3 client: path style, static credentials, TLS on ring, a few requests at once.
//!
//! What is read is tried again a few times. What is written under a condition is asked once: the
//! answer to a second try would not tell whether the first one had been carried out.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::ProvideErrorMetadata as _,
    primitives::ByteStream,
    types::EncodingType,
};
use aws_smithy_http_client::{
    Builder as HttpBuilder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{clock::ServerClock, endpoint::Endpoint, error::S3Error, escape::unescape};

/// Requests under way at once; further ones wait for their turn.
const MAX_REQUESTS: usize = 16;
/// A server that does not accept is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One request, from its first byte to the end of its answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// A request with its retries.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(20);
/// Tries of what may be tried again.
const MAX_ATTEMPTS: u32 = 3;
/// Longest pause between two of them.
const MAX_BACKOFF: Duration = Duration::from_millis(500);
/// Shorter than servers keep idle connections, so that none is used while it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Where a service has no regions this is what it calls its one; where it has, it says the right one.
const REGION: &str = "us-east-1";

/// What must be true of an object for it to be written.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// Nothing.
    None,
    /// It is not there.
    Absent,
    /// It is there with this ETag.
    Unchanged(&'a str),
}

/// An object and what it was when it was read.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its content.
    pub body: Vec<u8>,
    /// Its ETag as the server wrote it.
    pub etag: String,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key, not escaped.
    pub key: String,
    /// Its ETag as the server wrote it.
    pub etag: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: u64,
    /// Bytes.
    pub size: u64,
}

/// A part of a list, in the order of keys.
#[derive(Clone, Debug)]
pub struct Page {
    /// At most a thousand.
    pub objects: Vec<Listed>,
    /// Names the next part.
    pub next: Option<String>,
}

/// A client of one service; clones share its connections and its bound.
#[derive(Clone, Debug)]
pub struct S3 {
    pub(crate) client: Client,
    clock: ServerClock,
    permits: Arc<Semaphore>,
}

impl S3 {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// When the endpoint is no URL or the authority no certificate.
    pub fn new(endpoint: &Endpoint) -> Result<Self, S3Error> {
        let clock = ServerClock::default();
        let credentials =
            Credentials::new(&endpoint.access_key, &endpoint.secret_key, None, None, "kipper");
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let retries =
            RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_max_backoff(MAX_BACKOFF);
        let config = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(endpoint.url.trim_end_matches('/'))
            .force_path_style(true)
            .region(Region::new(REGION))
            .credentials_provider(credentials)
            .http_client(http_client(endpoint)?)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .retry_config(retries)
            .interceptor(clock.clone())
            .build();
        let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
        Ok(Self { client: Client::from_conf(config), clock, permits })
    }

    /// The server's clock, read from its answers.
    pub fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Writes an object and returns its ETag.
    ///
    /// # Errors
    /// [`S3Error::Changed`] or [`S3Error::NoObject`] when the condition does not hold, else what
    /// went wrong.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        body: Vec<u8>,
        condition: Condition<'_>,
    ) -> Result<String, S3Error> {
        let _permit = self.permit().await;
        let put = self.client.put_object().bucket(bucket).key(key);
        let put = put.content_type("application/json").body(ByteStream::from(body));
        let (put, retries) = match condition {
            Condition::None => (put, MAX_ATTEMPTS),
            Condition::Absent => (put.if_none_match("*"), 1),
            Condition::Unchanged(etag) => (put.if_match(etag), 1),
        };
        let retries = RetryConfig::standard().with_max_attempts(retries);
        let put = put.customize().config_override(Builder::new().retry_config(retries));
        let put = Box::pin(put.send()).await;
        let put = put.map_err(|error| S3Error::new("PutObject", bucket, &error))?;
        Ok(put.e_tag.unwrap_or_default())
    }

    /// Reads a small object.
    ///
    /// # Errors
    /// [`S3Error::NoObject`] when there is none, else what went wrong.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Object, S3Error> {
        let _permit = self.permit().await;
        let get = Box::pin(self.client.get_object().bucket(bucket).key(key).send()).await;
        let get = get.map_err(|error| S3Error::new("GetObject", bucket, &error))?;
        let etag = get.e_tag.unwrap_or_default();
        let body = get.body.collect().await.map_err(|error| S3Error::Unavailable {
            action: "GetObject",
            bucket: bucket.to_owned(),
            detail: error.to_string(),
        })?;
        Ok(Object { body: body.to_vec(), etag })
    }

    /// Removes an object, whatever it is by now. One that is not there is removed.
    ///
    /// # Errors
    /// When it may still be there.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        let _permit = self.permit().await;
        let delete = Box::pin(self.client.delete_object().bucket(bucket).key(key).send()).await;
        match delete.map_err(|error| S3Error::new("DeleteObject", bucket, &error)) {
            Ok(_) | Err(S3Error::NoObject(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lists objects whose keys begin with `prefix`, the first ones or those after `token`.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        token: Option<&str>,
    ) -> Result<Page, S3Error> {
        let _permit = self.permit().await;
        let list = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let list = list.set_continuation_token(token.map(str::to_owned));
        // Keys may hold what XML cannot.
        let list = Box::pin(list.encoding_type(EncodingType::Url).send()).await;
        let list = list.map_err(|error| S3Error::new("ListObjectsV2", bucket, &error))?;
        let is_escaped = list.encoding_type == Some(EncodingType::Url);
        let next = list.next_continuation_token.filter(|_| list.is_truncated == Some(true));
        let objects = list.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let key = object.key?;
            Some(Listed {
                key: if is_escaped { unescape(&key)? } else { key },
                etag: object.e_tag.unwrap_or_default(),
                modified_ms: object
                    .last_modified
                    .and_then(|time| u64::try_from(time.to_millis().ok()?).ok())
                    .unwrap_or_default(),
                size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            })
        });
        Ok(Page { objects: objects.collect(), next })
    }

    /// Counts objects whose keys begin with `prefix`, to `limit` at most.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn count(&self, bucket: &str, prefix: &str, limit: u64) -> Result<u64, S3Error> {
        let mut count = 0;
        let mut token = None;
        loop {
            let page = self.list(bucket, prefix, token.as_deref()).await?;
            count += u64::try_from(page.objects.len()).unwrap_or(u64::MAX);
            token = page.next;
            if token.is_none() || count >= limit {
                return Ok(count.min(limit));
            }
        }
    }

    /// Makes a bucket. One that is the caller's already is made.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), S3Error> {
        let _permit = self.permit().await;
        let Err(error) = Box::pin(self.client.create_bucket().bucket(bucket).send()).await else {
            return Ok(());
        };
        match error.code() {
            Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists") => Ok(()),
            _ => Err(S3Error::new("CreateBucket", bucket, &error)),
        }
    }

    /// Proves on an object of its own that conditions are kept: everything here rests on them.
    ///
    /// # Errors
    /// [`S3Error::Rejected`] when they are not, else what went wrong.
    pub async fn check_conditions(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        let checked = self.try_conditions(bucket, key).await;
        let removed = self.delete(bucket, key).await;
        checked.and(removed)
    }

    async fn try_conditions(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        let put = |condition: Condition<'static>| self.put(bucket, key, b"{}".to_vec(), condition);
        let ignored = |what: &str| {
            Err(S3Error::Rejected {
                action: "PutObject",
                bucket: bucket.to_owned(),
                detail: format!("this service ignores {what}, without which no event is safe"),
            })
        };
        // On an object that is not there first: a service must not make it.
        match put(Condition::Unchanged("\"0\"")).await {
            Err(S3Error::Changed(_) | S3Error::NoObject(_)) => {}
            Err(error) => return Err(error),
            Ok(_) => return ignored("If-Match on objects that are gone"),
        }
        put(Condition::Absent).await?;
        match put(Condition::Absent).await {
            Err(S3Error::Changed(_)) => {}
            Err(error) => return Err(error),
            Ok(_) => return ignored("If-None-Match"),
        }
        match put(Condition::Unchanged("\"0\"")).await {
            Err(S3Error::Changed(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => ignored("If-Match"),
        }
    }

    pub(crate) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.permits.acquire().await.ok()
    }
}

fn http_client(endpoint: &Endpoint) -> Result<SharedHttpClient, S3Error> {
    let builder = HttpBuilder::new().pool_idle_timeout(IDLE_TIMEOUT);
    let (is_http, is_https) =
        (endpoint.url.starts_with("http://"), endpoint.url.starts_with("https://"));
    if is_http {
        return Ok(builder.build_http());
    }
    if !is_https || endpoint.url.parse::<http::Uri>().is_err() {
        let words = format!("S3 endpoint {:?} is not an http:// or https:// URL", endpoint.url);
        return Err(S3Error::Endpoint(words));
    }
    let trusted = match &endpoint.authority {
        Some(pem) => {
            check_authority(pem)?;
            TrustStore::empty().with_pem_certificate(pem.as_bytes())
        }
        None => TrustStore::empty().with_native_roots(true),
    };
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| S3Error::Endpoint(error.to_string()))?;
    Ok(builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https())
}

/// The client would panic over an authority that is none.
fn check_authority(pem: &str) -> Result<(), S3Error> {
    let mut roots = RootCertStore::empty();
    let bad = |why: String| S3Error::Endpoint(format!("certificate authority of S3: {why}"));
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(()) }
}
