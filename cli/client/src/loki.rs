//! What the pods of a function said, from a Loki that collects it: also of pods that are long gone.
//!
//! Read by the labels `namespace` and `app`, which every collector for Kubernetes sets, over
//! `GET /loki/api/v1/query_range` (Loki's HTTP API). Straight to its URL, or through the API server's
//! proxy to a Service, with the kubeconfig's rights (`get services/proxy`). From the newest line
//! back, page by page.

mod address;
mod page;
mod query;

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::{client::Body, core::Status};

use crate::{
    ApiError, Connection,
    invoke::{self, Gateway, InvokeError, Request},
    logs::{Line, Query, Recent},
};

pub use address::{Address, AddressError, Tenant, TenantError};
use page::Entry;

/// Lines of one answer. Servers refuse more than their `max_entries_limit_per_query`, 5,000 unless
/// set lower.
const PAGE: usize = 1_000;
/// Lines read at the most, the last ones.
const MAX_LINES: usize = 10_000;
/// Bytes of one answer.
const MAX_BYTES: usize = 64 << 20;
/// How long an answer's head, and each part of its body, may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of a refusal that are shown.
const MAX_MESSAGE: usize = 500;

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum LokiError {
    /// It cannot be reached at its URL.
    #[error("Loki: {0}")]
    Url(#[from] InvokeError),
    /// It cannot be reached through the API server.
    #[error("Loki: {0}")]
    Api(#[from] ApiError),
    /// It did not take the query.
    #[error("Loki answered {status}: {message}")]
    Refused {
        /// Its answer's status.
        status: StatusCode,
        /// In its words.
        message: String,
    },
    /// Its answer is none of a Loki.
    #[error("unexpected response from Loki: {0}")]
    Unreadable(String),
    /// An answer is longer than is read.
    #[error("{PAGE} lines from Loki are more than {} MiB", MAX_BYTES >> 20)]
    TooLong,
}

/// A Loki.
#[derive(Clone)]
pub struct Loki {
    connection: Connection,
    address: Address,
    tenant: Option<HeaderValue>,
}

impl Loki {
    /// The Loki at this address; a tenant is needed where it has several.
    pub fn new(connection: &Connection, address: Address, tenant: Option<&Tenant>) -> Self {
        let tenant = tenant.map(Tenant::header);
        Self { connection: connection.clone(), address, tenant }
    }

    /// What a function of the connection's namespace said up to now.
    ///
    /// # Errors
    /// When it cannot be asked or does not answer.
    pub async fn recent(&self, function: &str, query: &Query) -> Result<Recent, LokiError> {
        let logql = query::logql(&self.connection.namespace, function, query);
        let now = SystemTime::now();
        let start = nanoseconds(now.checked_sub(query.since).unwrap_or(SystemTime::UNIX_EPOCH));
        // The end of a range is not in it.
        let mut end = nanoseconds(now).saturating_add(1);
        let mut pages: Vec<Vec<Entry>> = Vec::new();
        let mut edge: HashSet<Entry> = HashSet::new();
        let mut is_cut = false;
        let wanted = query.tail.unwrap_or(MAX_LINES).min(MAX_LINES);
        let is_all = loop {
            let page = self.page(&logql, start, end).await?;
            let is_last = page.len() < PAGE;
            let Some(oldest) = page.iter().map(|entry| entry.time).min() else { break true };
            // Lines of one nanosecond may lie on both sides of a page's edge.
            let at_edge: Vec<_> = page.iter().filter(|e| e.time == oldest).cloned().collect();
            let fresh: Vec<_> = page.into_iter().filter(|entry| !edge.contains(entry)).collect();
            let stands_still = fresh.is_empty();
            edge.retain(|entry| entry.time == oldest);
            edge.extend(at_edge);
            pages.push(fresh);
            if is_last {
                break true;
            }
            if pages.iter().map(Vec::len).sum::<usize>() >= wanted {
                break false;
            }
            // A page of nothing but one nanosecond is as much of it as can be had.
            is_cut |= stands_still;
            end = if stands_still { oldest } else { oldest.saturating_add(1) };
        };
        // Of lines of one nanosecond Loki keeps no order; what it has is left as it is.
        let mut found: Vec<Entry> = pages.into_iter().rev().flatten().collect();
        found.sort_by_key(|entry| entry.time);
        let left_out = found.len().saturating_sub(wanted);
        let lines: Vec<Line> = found.drain(left_out..).map(Line::from).collect();
        let pods = lines.iter().map(|line| &line.pod).collect::<HashSet<_>>().len();
        let last = format!("only the last {MAX_LINES} lines");
        let cut = format!("only {PAGE} lines of one nanosecond");
        let is_short = query.tail.is_none_or(|tail| tail > MAX_LINES);
        let notices = [(is_short && (!is_all || left_out > 0), last), (is_cut, cut)];
        let notices = notices.into_iter().filter_map(|(is_so, notice)| is_so.then_some(notice));
        Ok(Recent { lines, pods, notices: notices.collect() })
    }

    async fn page(&self, logql: &str, start: u64, end: u64) -> Result<Vec<Entry>, LokiError> {
        let path = query::path(logql, start, end, PAGE);
        let (status, body) = match &self.address {
            Address::Url { url, prefix } => self.at_url(url, &format!("{prefix}{path}")).await?,
            Address::Service { namespace, name, port } => {
                let proxy = format!("/api/v1/namespaces/{namespace}/services/{name}:{port}/proxy");
                let what = format!("service {name}");
                self.behind(&format!("{proxy}{path}"), &what, namespace).await?
            }
        };
        if status.is_success() {
            return page::read(&body).map_err(|error| LokiError::Unreadable(error.to_string()));
        }
        let message = String::from_utf8_lossy(&body);
        let message = message.trim().chars().take(MAX_MESSAGE).collect();
        Err(LokiError::Refused { status, message })
    }

    async fn at_url(&self, url: &str, path: &str) -> Result<(StatusCode, Bytes), LokiError> {
        let mut request = Request { timeout: TIMEOUT, ..Request::new(Method::GET, path) };
        request.headers.extend(self.tenant.clone().map(|id| (Tenant::HEADER, id)));
        let mut answer = invoke::send(&Gateway::default(), url, &request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(LokiError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status, body.into()))
    }

    /// Through the API server, whose own refusals have the form of a `Status`.
    async fn behind(
        &self,
        path: &str,
        what: &str,
        namespace: &str,
    ) -> Result<(StatusCode, Bytes), LokiError> {
        let reported = |error| LokiError::Api(ApiError::read(error, what, namespace));
        let mut request = http::Request::new(Body::empty());
        *request.uri_mut() = path
            .parse()
            .map_err(|error: http::uri::InvalidUri| LokiError::Unreadable(error.to_string()))?;
        request.headers_mut().extend(self.tenant.clone().map(|id| (Tenant::HEADER, id)));
        let answer = self.connection.client.send(request).await.map_err(reported)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => LokiError::TooLong,
            Err(error) => LokiError::Api(ApiError::Unreachable(error.to_string())),
        })?;
        let body = body.to_bytes();
        match serde_json::from_slice::<Status>(&body) {
            Ok(refusal) if !status.is_success() && refusal.code != 0 => {
                Err(reported(kube::Error::Api(Box::new(refusal))))
            }
            _ => Ok((status, body)),
        }
    }
}

/// Since 1970, as far as 64 bits go.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
