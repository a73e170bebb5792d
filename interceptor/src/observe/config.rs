//! What is told of requests, and to whom.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::Args;
use http::Uri;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

/// Part of the requests that are traced where nobody who counts has decided.
const DEFAULT_SAMPLING: f64 = 0.01;

/// What is told of requests, and to whom.
#[derive(Clone, Debug, Args)]
pub struct ObserveConfig {
    /// Write one JSON object per request to stdout. Its path is without the query.
    #[arg(long, env = "KIPPER_INTERCEPTOR_ACCESS_LOG")]
    pub access_log: bool,
    /// Collector of traces, OTLP over gRPC: http://host:4317, or https:// for TLS. Without it the
    /// traceparent of clients passes unchanged.
    #[arg(long, env = "KIPPER_INTERCEPTOR_OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    pub otlp_endpoint: Option<Uri>,
    /// Header fields for the collector, such as a token: name=value,… with what is special in a value
    /// percent-encoded.
    #[arg(
        long,
        env = "KIPPER_INTERCEPTOR_OTLP_HEADERS",
        hide_env_values = true,
        requires = "otlp_endpoint"
    )]
    pub otlp_headers: Option<OtlpHeaders>,
    /// CA of the collector's certificate (PEM), instead of the public ones.
    #[arg(long, env = "KIPPER_INTERCEPTOR_OTLP_CA", requires = "otlp_endpoint")]
    pub otlp_ca: Option<PathBuf>,
    /// Part of the requests that are traced, 0 to 1, unless one of --trusted-proxies says so in
    /// traceparent. What other clients say about it does not count.
    #[arg(
        long,
        env = "KIPPER_INTERCEPTOR_TRACE_SAMPLING",
        value_name = "RATIO",
        value_parser = ratio,
        default_value_t = DEFAULT_SAMPLING
    )]
    pub trace_sampling: f64,
    /// Whether /metrics tells functions apart. Without it, there are no more series with more functions.
    #[arg(
        long,
        env = "KIPPER_INTERCEPTOR_FUNCTION_METRICS",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = true
    )]
    pub function_metrics: bool,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self {
            access_log: false,
            otlp_endpoint: None,
            otlp_headers: None,
            otlp_ca: None,
            trace_sampling: DEFAULT_SAMPLING,
            function_metrics: true,
        }
    }
}

/// Fields of every call to the collector. Their values are secrets.
#[derive(Clone, Default)]
pub struct OtlpHeaders(pub(super) Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>);

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl FromStr for OtlpHeaders {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        pairs.map(field).collect::<Result<_, _>>().map(Self)
    }
}

fn field(pair: &str) -> Result<(MetadataKey<Ascii>, MetadataValue<Ascii>), &'static str> {
    let (name, value) = pair.split_once('=').ok_or("not name=value")?;
    let name = name.trim().to_ascii_lowercase();
    let name = name.parse().map_err(|_| "not the name of a header field")?;
    let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<_>>();
    let value = MetadataValue::try_from(value.as_slice());
    Ok((name, value.map_err(|_| "not the value of a header field")?))
}

fn endpoint(text: &str) -> Result<Uri, &'static str> {
    let uri = Uri::from_str(text).map_err(|_| "not a URL")?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("not http://host:port or https://host:port"),
    }
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse().map_err(|_| "not a number")?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("not between 0 and 1") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_are_read_as_the_sdks_read_them() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let headers = text.parse::<OtlpHeaders>().unwrap();
            let pairs: Vec<_> =
                headers.0.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
            assert_eq!(pairs, expected, "{text}");
        };
        check("", &[]);
        check("Api-Key=a", &[("api-key", "a")]);
        check("authorization=Bearer%20x%3D, b = c,", &[("authorization", "Bearer x="), ("b", "c")]);
        for bad in ["a", "a b=c", "a=b%0Ac"] {
            bad.parse::<OtlpHeaders>().unwrap_err();
        }
        let shown = format!("{:?}", "authorization=secret".parse::<OtlpHeaders>().unwrap());
        assert!(!shown.contains("secret") && shown.contains("authorization"), "{shown}");
    }

    #[test]
    fn an_endpoint_has_a_scheme_and_a_host() {
        for good in ["http://otel.test:4317", "https://api.example.com"] {
            endpoint(good).unwrap();
        }
        for bad in ["otel:4317", "grpc://otel:4317", "/v1/traces", ""] {
            endpoint(bad).unwrap_err();
        }
    }
}
