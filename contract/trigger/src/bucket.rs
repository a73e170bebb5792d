//! The Secret `bucket.<namespace>.<fn>`, by which the bucket watcher knows of a minio trigger.

use std::{collections::BTreeMap, fmt};

/// Bucket in which events wait, in the service of the bucket that is watched.
pub const DEFAULT_STATE_BUCKET: &str = "kipper-events";

/// A certificate authority has a few certificates of two kilobytes; the watcher keeps every trigger's.
const MAX_CA_BYTES: usize = 64 << 10;
/// Keys of objects have a kilobyte, and names and keys of users less.
const MAX_VALUE_BYTES: usize = 4 << 10;

const NAMESPACE: &str = "namespace";
const FUNCTION: &str = "function";
const ENDPOINT: &str = "endpoint";
const ACCESS_KEY: &str = "access-key";
const SECRET_KEY: &str = "secret-key";
const CA: &str = "ca";
const BUCKET: &str = "bucket";
const PREFIX: &str = "prefix";
const SUFFIX: &str = "suffix";
const STATE_BUCKET: &str = "state-bucket";

/// What the watcher has to know of one trigger.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BucketSecret {
    /// Namespace of the function.
    pub namespace: String,
    /// Name of the function.
    pub function: String,
    /// URL of the service.
    pub endpoint: String,
    /// Access key there.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: String,
    /// Certificate authority of the service, in PEM.
    pub ca: Option<String>,
    /// The bucket that is watched.
    pub bucket: String,
    /// Keys of interest begin with it.
    pub prefix: String,
    /// And end with it.
    pub suffix: String,
    /// Bucket in which events wait. Secrets of older controllers do not say.
    pub state_bucket: String,
}

/// Why a Secret is not that of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketSecretError {
    /// A key is not there, or empty.
    #[error("key {0} is missing")]
    Missing(&'static str),
    /// A value is not UTF-8.
    #[error("key {0} is not text")]
    NotText(&'static str),
    /// A value is longer than any that makes sense.
    #[error("key {0} is too long")]
    TooLong(&'static str),
}

impl BucketSecret {
    /// The data of the Secret. What is empty is left out.
    pub fn data(&self) -> BTreeMap<&'static str, &str> {
        let all = [
            (NAMESPACE, self.namespace.as_str()),
            (FUNCTION, &self.function),
            (ENDPOINT, &self.endpoint),
            (ACCESS_KEY, &self.access_key),
            (SECRET_KEY, &self.secret_key),
            (CA, self.ca.as_deref().unwrap_or_default()),
            (BUCKET, &self.bucket),
            (PREFIX, &self.prefix),
            (SUFFIX, &self.suffix),
            (STATE_BUCKET, &self.state_bucket),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// Reads the data of a Secret; `value` gives that of a key.
    ///
    /// # Errors
    /// When something is missing, or is not text.
    pub fn read<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, BucketSecretError> {
        let text = |key: &'static str| {
            let limit = if key == CA { MAX_CA_BYTES } else { MAX_VALUE_BYTES };
            if value(key).is_some_and(|bytes| bytes.len() > limit) {
                return Err(BucketSecretError::TooLong(key));
            }
            let text = value(key).map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
            let text = text.map_err(|_| BucketSecretError::NotText(key))?;
            Ok(text.filter(|text| !text.is_empty()))
        };
        let needed = |key| text(key)?.ok_or(BucketSecretError::Missing(key));
        Ok(Self {
            namespace: needed(NAMESPACE)?,
            function: needed(FUNCTION)?,
            endpoint: needed(ENDPOINT)?,
            access_key: needed(ACCESS_KEY)?,
            secret_key: needed(SECRET_KEY)?,
            ca: text(CA)?,
            bucket: needed(BUCKET)?,
            prefix: text(PREFIX)?.unwrap_or_default(),
            suffix: text(SUFFIX)?.unwrap_or_default(),
            state_bucket: text(STATE_BUCKET)?.unwrap_or_else(|| DEFAULT_STATE_BUCKET.to_owned()),
        })
    }
}

impl fmt::Debug for BucketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, function, endpoint, bucket, prefix, suffix, state_bucket, .. } = self;
        f.debug_struct("BucketSecret")
            .field("function", &format_args!("{namespace}/{function}"))
            .field("endpoint", endpoint)
            .field("bucket", &format_args!("{bucket}/{prefix}*{suffix}"))
            .field("state_bucket", state_bucket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> BucketSecret {
        BucketSecret {
            namespace: "shop-prod".to_owned(),
            function: "thumbs".to_owned(),
            endpoint: "http://minio:9000".to_owned(),
            access_key: "a".to_owned(),
            secret_key: "s3cret".to_owned(),
            ca: Some("pem".to_owned()),
            bucket: "photos".to_owned(),
            prefix: "in/".to_owned(),
            suffix: ".jpg".to_owned(),
            state_bucket: "waiting".to_owned(),
        }
    }

    fn read(secret: &BucketSecret, without: &str) -> Result<BucketSecret, BucketSecretError> {
        let data = secret.data();
        BucketSecret::read(|key| {
            data.get(key).filter(|_| key != without).map(|value| value.as_bytes())
        })
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        assert_eq!(read(&full(), ""), Ok(full()));
        let (none, state_bucket) = (String::new(), DEFAULT_STATE_BUCKET.to_owned());
        let (prefix, suffix) = (none.clone(), none.clone());
        let plain = BucketSecret { ca: None, prefix, suffix, state_bucket: none, ..full() };
        assert_eq!(plain.data().len(), 6);
        assert_eq!(read(&plain, ""), Ok(BucketSecret { state_bucket, ..plain.clone() }));
        assert!(!format!("{plain:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_missing_or_no_text_is_named() {
        for key in [NAMESPACE, FUNCTION, ENDPOINT, ACCESS_KEY, SECRET_KEY, BUCKET] {
            assert_eq!(read(&full(), key), Err(BucketSecretError::Missing(key)));
        }
        for (key, length) in [(CA, MAX_CA_BYTES + 1), (PREFIX, MAX_VALUE_BYTES + 1)] {
            let (secret, long) = (full(), "x".repeat(length));
            let data = secret.data();
            let value = |name: &str| {
                let value = if name == key { Some(&*long) } else { data.get(name).copied() };
                value.map(str::as_bytes)
            };
            assert_eq!(BucketSecret::read(value), Err(BucketSecretError::TooLong(key)));
        }
        let error = BucketSecret::read(|_| Some(&b"\xff"[..])).map_err(|error| error.to_string());
        assert_eq!(error, Err("key namespace is not text".to_owned()));
    }
}
