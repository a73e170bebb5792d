//! A collector of traces: a gRPC server on a socket of its own.

use std::{net::SocketAddr, sync::Arc};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    metadata::MetadataMap,
    transport::{Identity, Server, ServerTlsConfig},
};

/// What one was sent.
#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    calls: Arc<Mutex<Vec<MetadataMap>>>,
    services: Arc<Mutex<Vec<String>>>,
    hangs: bool,
}

/// A running collector; it ends with the test.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Received,
    serving: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::with(Received::default(), Server::builder()).await
    }

    /// One that takes calls and never answers them.
    pub(crate) async fn hanging() -> Self {
        Self::with(Received { hangs: true, ..Received::default() }, Server::builder()).await
    }

    /// One behind TLS.
    pub(crate) async fn secure(certificate: &str, key: &str) -> Self {
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::with(Received::default(), Server::builder().tls_config(tls).unwrap()).await
    }

    async fn with(received: Received, mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(received.clone());
        let serving = server.add_service(service);
        let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, received, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far, in the order of their starts.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = self.received.spans.lock().clone();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    /// Server spans, in the order of their starts.
    pub(crate) fn servers(&self) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.kind == SERVER);
        spans
    }

    /// Header fields of the calls so far.
    pub(crate) fn calls(&self) -> Vec<MetadataMap> {
        self.received.calls.lock().clone()
    }

    /// `service.name` of all resources so far.
    pub(crate) fn services(&self) -> Vec<String> {
        self.received.services.lock().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// SPAN_KIND_SERVER.
const SERVER: i32 = 2;

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.calls.lock().push(request.metadata().clone());
        if self.hangs {
            std::future::pending::<()>().await;
        }
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap().attributes;
            let name = attributes.into_iter().find(|a| a.key == "service.name").unwrap();
            self.services.lock().push(string(name.value.unwrap().value));
            for of_scope in of_resource.scope_spans {
                self.spans.lock().extend(of_scope.spans);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// An attribute as text.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|a| a.key == key)?;
    Some(string(found.value.clone()?.value))
}

fn string(value: Option<Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}
