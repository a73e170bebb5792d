//! Traces on their way to a collector: OTLP over gRPC, in batches, beside the workers.
//!
//! A request never waits for this. A collector that is slow, hangs or is gone lets the queue fill up;
//! what does not fit, and what a failed call was for, is dropped and counted. Nothing is sent twice.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use http::Uri;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prometheus::IntCounter;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tonic::{
    Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    config::{ObserveConfig, OtlpHeaders},
    record::Record,
    span::{spans, text},
};

/// Requests whose traces wait to be sent; with the longest paths and user agents some 5 MiB, and twice that
/// where they are not UTF-8.
const QUEUE: usize = 2048;
/// Requests per call. A batch takes as much again: as records, as spans, and as the bytes of the call.
const BATCH: usize = 512;
/// A batch waits this long for more.
const LINGER: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one call.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

const SERVICE: &str = "kipper-interceptor";

/// Why traces cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file with the collector's CA cannot be read.
    #[error("read {0}")]
    Ca(PathBuf, #[source] io::Error),
    /// The endpoint cannot be used.
    #[error("collector of traces")]
    Endpoint(#[from] tonic::transport::Error),
}

/// Where workers put what is to be traced.
pub(super) struct Traces {
    queue: mpsc::Sender<Arc<Record>>,
    dropped: IntCounter,
}

impl Traces {
    pub(super) fn put(&self, record: Arc<Record>) {
        if let Err(error) = self.queue.try_send(record) {
            self.dropped.inc_by(error.into_inner().spans());
        }
    }
}

/// The other end of the queue.
pub(super) struct Exporter {
    endpoint: Endpoint,
    headers: OtlpHeaders,
    resource: Resource,
    records: mpsc::Receiver<Arc<Record>>,
    dropped: IntCounter,
}

/// The two ends of a queue to the collector at `uri`. `name` is the one of this interceptor.
pub(super) fn queue(
    uri: &Uri,
    config: &ObserveConfig,
    name: Option<&str>,
    dropped: &IntCounter,
) -> Result<(Traces, Exporter), ExportError> {
    let mut endpoint = Endpoint::from(uri.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT)
        .user_agent(concat!("kipper-interceptor/", env!("CARGO_PKG_VERSION")))?;
    if uri.scheme_str() == Some("https") {
        let tls = match &config.otlp_ca {
            Some(path) => {
                let pem = std::fs::read(path).map_err(|e| ExportError::Ca(path.clone(), e))?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
                ClientTlsConfig::new().trust_anchors(roots)
            }
        };
        endpoint = endpoint.tls_config(tls)?;
    }
    let mut attributes =
        vec![text("service.name", SERVICE), text("service.version", env!("CARGO_PKG_VERSION"))];
    attributes.extend(name.map(|name| text("service.instance.id", name)));
    let (queue, records) = mpsc::channel(QUEUE);
    let exporter = Exporter {
        endpoint,
        headers: config.otlp_headers.clone().unwrap_or_default(),
        resource: Resource { attributes, ..Resource::default() },
        records,
        dropped: dropped.clone(),
    };
    Ok((Traces { queue, dropped: dropped.clone() }, exporter))
}

impl Exporter {
    /// Sends batches until no record can come any more.
    pub(super) async fn run(mut self) {
        let mut client = TraceServiceClient::new(self.endpoint.connect_lazy());
        let mut failing = false;
        while let Some(batch) = self.batch().await {
            let count = batch.iter().map(|record| record.spans()).sum();
            let sent = self.send(&mut client, &batch).await;
            match &sent {
                Ok(rejected) => self.dropped.inc_by(*rejected),
                Err(error) => {
                    self.dropped.inc_by(count);
                    if !failing {
                        tracing::warn!(%error, "cannot send traces, dropping them");
                    }
                }
            }
            failing = sent.is_err();
        }
    }

    /// What comes together, or within a moment; `None` = nothing will.
    async fn batch(&mut self) -> Option<Vec<Arc<Record>>> {
        let mut batch = Vec::new();
        if self.records.recv_many(&mut batch, BATCH).await == 0 {
            return None;
        }
        let until = Instant::now() + LINGER;
        while batch.len() < BATCH {
            let most = BATCH - batch.len();
            tokio::select! {
                more = self.records.recv_many(&mut batch, most) => if more == 0 { break },
                () = sleep_until(until) => break,
            }
        }
        Some(batch)
    }

    /// One call; the number of spans that the collector did not take.
    async fn send(
        &self,
        client: &mut TraceServiceClient<Channel>,
        batch: &[Arc<Record>],
    ) -> Result<u64, Status> {
        let new_id = || fastrand::u64(1..);
        let spans = batch.iter().flat_map(|record| spans(record, new_id)).collect();
        let scope = InstrumentationScope { name: SERVICE.to_owned(), ..Default::default() };
        let mut request = Request::new(ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        });
        for (name, value) in &self.headers.0 {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        let answered = timeout(EXPORT_TIMEOUT, client.export(request)).await;
        let answer = answered.map_err(|_| Status::deadline_exceeded("no answer in time"))??;
        let partial = answer.into_inner().partial_success;
        Ok(partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0)))
    }
}
