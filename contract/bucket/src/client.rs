//! The S3 client: path style, static credentials, TLS on ring, a few requests at once.
//!
//! What is read is tried again a few times. What is written under a condition is asked once: the
//! answer to a second try would not tell whether the first one had been carried out. A service that
//! names its region in a refusal is asked again there, and from then on.

use std::{
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
        http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{BucketLocationConstraint, CreateBucketConfiguration, EncodingType},
};
use aws_smithy_http_client::{
    Builder as HttpBuilder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::Semaphore;

use crate::{
    budget::Budget,
    clock::{ServerClock, bounded_ms},
    endpoint::Endpoint,
    error::S3Error,
    escape::unescape,
    region,
    transport::Transport,
};

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
/// An answer has so many bytes at most; one with a thousand of the longest keys has fewer.
const MAX_ANSWER: usize = 8 << 20;
/// The same for an object that [`S3::get_large`] reads.
const MAX_LARGE_ANSWER: usize = 64 << 20;
/// Bytes of answers that a client without a budget of its owner's holds at most.
const OWN_BUDGET: usize = 80 << 20;

/// What a bucket that is there already is called, if it is the caller's and if it may not be.
const OWNED: &str = "BucketAlreadyOwnedByYou";
const EXISTS: &str = "BucketAlreadyExists";
pub(crate) const LIST: &str = "ListObjectsV2";

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

/// A client of one service; clones share its connections and its bounds.
#[derive(Clone, Debug)]
pub struct S3 {
    clients: Arc<RwLock<Clients>>,
    clock: ServerClock,
    permits: Arc<Semaphore>,
}

/// Two clients that differ in how long an answer may be, replaced once the region is known.
#[derive(Clone, Debug)]
struct Clients {
    usual: Client,
    large: Client,
}

impl S3 {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// When the endpoint is no URL or the authority no certificate.
    pub fn new(endpoint: &Endpoint) -> Result<Self, S3Error> {
        Self::within(endpoint, &Budget::new("answers of the S3 service", OWN_BUDGET))
    }

    /// The same, whose answers are held under the caller's budget while they are read.
    ///
    /// # Errors
    /// As [`S3::new`].
    pub fn within(endpoint: &Endpoint, budget: &Budget) -> Result<Self, S3Error> {
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
        let (url, region) = endpoint.place()?;
        let region = region.unwrap_or(REGION).to_owned();
        let config = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(url.trim_end_matches('/'))
            .force_path_style(true)
            .region(Region::new(region))
            .credentials_provider(credentials)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .retry_config(retries);
        let transport = Transport {
            client: http_client(endpoint)?,
            clock: clock.clone(),
            budget: budget.clone(),
            max_answer: MAX_ANSWER,
        };
        let large = Transport { max_answer: MAX_LARGE_ANSWER, ..transport.clone() };
        let client = |transport| {
            let config = config.clone().http_client(SharedHttpClient::new(transport));
            Client::from_conf(config.build())
        };
        let clients = Clients { usual: client(transport), large: client(large) };
        let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
        Ok(Self { clients: Arc::new(RwLock::new(clients)), clock, permits })
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
        let body = Bytes::from(body);
        let put = self.call("PutObject", bucket, |client| {
            let put = client.put_object().bucket(bucket).key(key);
            let put = put.content_type("application/json").body(ByteStream::from(body.clone()));
            let (put, retries) = match condition {
                Condition::None => (put, MAX_ATTEMPTS),
                Condition::Absent => (put.if_none_match("*"), 1),
                Condition::Unchanged(etag) => (put.if_match(etag), 1),
            };
            let retries = RetryConfig::standard().with_max_attempts(retries);
            put.customize().config_override(Builder::new().retry_config(retries)).send()
        });
        Ok(put.await?.e_tag.unwrap_or_default())
    }

    /// Reads a small object.
    ///
    /// # Errors
    /// [`S3Error::NoObject`] when there is none, else what went wrong.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Object, S3Error> {
        self.read(bucket, key, |clients| clients.usual).await
    }

    /// Reads an object that may have 64 MiB.
    ///
    /// # Errors
    /// As [`S3::get`].
    pub async fn get_large(&self, bucket: &str, key: &str) -> Result<Object, S3Error> {
        self.read(bucket, key, |clients| clients.large).await
    }

    async fn read(
        &self,
        bucket: &str,
        key: &str,
        client: impl Fn(Clients) -> Client,
    ) -> Result<Object, S3Error> {
        let action = "GetObject";
        let get = |client: Client| client.get_object().bucket(bucket).key(key).send();
        let get = self.call_with(action, bucket, client, get).await?;
        let etag = get.e_tag.unwrap_or_default();
        // It is in memory already.
        let body = get.body.collect().await.map_err(|error| S3Error::Unavailable {
            action,
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
        let delete = |client: Client| client.delete_object().bucket(bucket).key(key).send();
        match self.call("DeleteObject", bucket, delete).await {
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
        let list = |client: Client| {
            let list = client.list_objects_v2().bucket(bucket).prefix(prefix);
            let list = list.set_continuation_token(token.map(str::to_owned));
            // Keys may hold what XML cannot.
            list.encoding_type(EncodingType::Url).send()
        };
        let list = self.call(LIST, bucket, list).await?;
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
                    .map(bounded_ms)
                    .unwrap_or_default(),
                size: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            })
        });
        Ok(Page { objects: objects.collect(), next })
    }

    /// Makes a bucket. One that is the caller's already is made.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), S3Error> {
        let create = |client: Client| {
            let region = client.config().region().map(ToString::to_string);
            // In the first region a request that names it is refused.
            let place = region.filter(|region| region != REGION).map(|region| {
                let place = BucketLocationConstraint::from(&*region);
                CreateBucketConfiguration::builder().location_constraint(place).build()
            });
            let create = client.create_bucket().bucket(bucket);
            let created = create.set_create_bucket_configuration(place).send();
            async move {
                match created.await.map(drop) {
                    Err(error) if matches!(error.code(), Some(OWNED | EXISTS)) => Ok(()),
                    created => created,
                }
            }
        };
        self.call("CreateBucket", bucket, create).await
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

    /// One request with its retries, when it is its turn; once more in another region, if the service
    /// names one.
    pub(crate) async fn call<T, E, F>(
        &self,
        action: &'static str,
        bucket: &str,
        ask: impl Fn(Client) -> F,
    ) -> Result<T, S3Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        self.call_with(action, bucket, |clients| clients.usual, ask).await
    }

    async fn call_with<T, E, F>(
        &self,
        action: &'static str,
        bucket: &str,
        client: impl Fn(Clients) -> Client,
        ask: impl Fn(Client) -> F,
    ) -> Result<T, S3Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok();
        let client = |this: &Self| client(this.clients());
        let first = client(self);
        let mut answer = Box::pin(ask(first.clone())).await;
        if let Err(error) = &answer
            && let Some(region) = error.raw_response().and_then(region::named)
            && first.config().region().is_none_or(|asked| asked.as_ref() != region)
        {
            self.move_to(&region);
            answer = Box::pin(ask(client(self))).await;
        }
        answer.map_err(|error| S3Error::new(action, bucket, &error))
    }

    fn clients(&self) -> Clients {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks in this region from now on.
    fn move_to(&self, region: &str) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        let moved = |client: &Client| {
            let config = client.config().to_builder().region(Region::new(region.to_owned()));
            Client::from_conf(config.build())
        };
        *clients = Clients { usual: moved(&clients.usual), large: moved(&clients.large) };
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
