//! Where an S3 service is, and who asks.

use std::fmt;

use crate::{error::S3Error, escape::unescape};

/// Where an S3 service is and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http(s)://host:port`; buckets are paths under it. It may end in `?region=…`, which requests are
    /// signed for; without it a service is followed where it names its own.
    pub url: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
    /// Certificate authority (PEM), which then is the only one trusted.
    pub authority: Option<String>,
}

impl Endpoint {
    /// Of a URL that may have the keys as user and password, percent-encoded. They are taken out of
    /// it; without them both are empty. Secret keys often have slashes, so the last `@` ends them.
    ///
    /// # Errors
    /// [`S3Error::Endpoint`] when they are not percent-encoded.
    pub fn from_url(url: &str) -> Result<Self, S3Error> {
        let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
        let (login, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (access_key, secret_key) = login.split_once(':').unwrap_or((login, ""));
        Ok(Self {
            url: format!("{scheme}{address}"),
            access_key: decoded(access_key)?,
            secret_key: decoded(secret_key)?,
            authority: None,
        })
    }

    /// The URL without its parameter, and the region that the parameter names.
    pub(crate) fn place(&self) -> Result<(&str, Option<&str>), S3Error> {
        let (url, parameters) = self.url.split_once('?').unwrap_or((&self.url, ""));
        match parameters.split_once('=') {
            None if parameters.is_empty() => Ok((url, None)),
            Some(("region", region)) if !region.is_empty() && !region.contains('&') => {
                Ok((url, Some(region)))
            }
            _ => {
                let words = "the one parameter of an S3 URL is region, as in ?region=eu-central-1";
                Err(S3Error::Endpoint(words.to_owned()))
            }
        }
    }
}

/// A plus is one here, and not the space it is in a query string.
fn decoded(part: &str) -> Result<String, S3Error> {
    let words = "user and password in an S3 URL must be percent-encoded";
    unescape(&part.replace('+', "%2B")).ok_or_else(|| S3Error::Endpoint(words.to_owned()))
}

/// Without the secret.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("access_key", &self.access_key)
            .field("authority", &self.authority.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_may_stand_in_the_url() {
        for (url, address, access_key, secret_key) in [
            ("https://minio:9000", "https://minio:9000", "", ""),
            ("http://me:s%2F%2b%40@h:9000/", "http://h:9000/", "me", "s/+@"),
            // As AWS gives them out.
            ("https://AKIA:a/b+c=@s3.example.com", "https://s3.example.com", "AKIA", "a/b+c="),
            ("https://me@h", "https://h", "me", ""),
            // No URL, but what is said about it must not have the secret.
            ("me:secret@h", "h", "me", "secret"),
        ] {
            let endpoint = Endpoint::from_url(url).unwrap();
            let found = (&*endpoint.url, &*endpoint.access_key, &*endpoint.secret_key);
            assert_eq!(found, (address, access_key, secret_key), "{url}");
        }
        let endpoint = Endpoint::from_url("https://me:a?b@h?region=eu-central-1").unwrap();
        assert_eq!(endpoint.secret_key, "a?b");
        assert_eq!(endpoint.place().unwrap(), ("https://h", Some("eu-central-1")));
        for other in ["https://h?region=", "https://h?zone=1", "https://h?region=a&b=c"] {
            let error = Endpoint::from_url(other).unwrap().place().unwrap_err().to_string();
            assert!(error.contains("?region="), "{error}");
        }
        let error = Endpoint::from_url("http://me:100%@h").unwrap_err().to_string();
        assert!(!error.contains("100%"), "{error}");
    }
}
