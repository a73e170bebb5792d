//! An adapter to test, a KEDA and an interceptor to test it with.

use std::{collections::HashMap, future::Future, net::SocketAddr, time::Duration};

use kipper_counts::{CountsReport, FunctionCounts, Welcome, counts_client::CountsClient};
use kipper_externalscaler::{
    GetMetricsRequest, IsActiveResponse, ScaledObjectRef,
    external_scaler_client::ExternalScalerClient,
};
use kipper_scaler_adapter::{Adapter, Config, Error};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming, transport::Channel};

/// No test waits longer for anything; far beyond what a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// A served adapter; shut down when dropped.
pub(crate) struct Served {
    pub(crate) grpc: SocketAddr,
    pub(crate) counts: SocketAddr,
    pub(crate) registry: prometheus::Registry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
    _guard: DropGuard,
}

pub(crate) async fn serve(config: &Config) -> Served {
    serve_adapter(Adapter::bind(config).await.unwrap())
}

pub(crate) fn serve_adapter(adapter: Adapter) -> Served {
    let shutdown = CancellationToken::new();
    Served {
        grpc: adapter.external_scaler_addr(),
        counts: adapter.counts_addr(),
        registry: adapter.registry(),
        task: tokio::spawn(adapter.serve(shutdown.clone())),
        _guard: shutdown.clone().drop_guard(),
        shutdown,
    }
}

impl Served {
    /// Sum of one of the adapter's metrics over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let name = format!("kipper_scaler_adapter_{name}");
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        metrics
            .iter()
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

/// What KEDA does, on one shared connection.
#[derive(Clone)]
pub(crate) struct Keda(pub(crate) ExternalScalerClient<Channel>);

impl Keda {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let endpoint = Channel::from_shared(format!("http://{addr}")).unwrap();
        Self(ExternalScalerClient::new(patiently("connection", endpoint.connect()).await.unwrap()))
    }

    pub(crate) async fn is_active(&mut self, name: &str) -> Result<bool, Status> {
        Ok(self.0.is_active(object(name)).await?.into_inner().result)
    }

    pub(crate) async fn metric(&mut self, name: &str, metric: &str) -> Result<f64, Status> {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(object(name)),
            metric_name: metric.to_owned(),
        };
        let response = self.0.get_metrics(request).await?.into_inner();
        Ok(response.metric_values[0].metric_value_float)
    }

    pub(crate) async fn stream(&mut self, name: &str) -> Streaming<IsActiveResponse> {
        patiently("stream", self.0.stream_is_active(object(name))).await.unwrap().into_inner()
    }

    /// Polls until the answer is as wanted. Between polls other tasks run.
    pub(crate) async fn until_active(&mut self, name: &str, wanted: bool) {
        let poll = async {
            while self.is_active(name).await.ok() != Some(wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patiently("activity as wanted", poll).await;
    }
}

pub(crate) fn object(name: &str) -> ScaledObjectRef {
    object_with(name, &[])
}

pub(crate) fn object_with(name: &str, metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "shop-prod".to_owned(),
        scaler_metadata: pairs.collect::<HashMap<_, _>>(),
    }
}

/// One stream of an interceptor.
pub(crate) struct Interceptor {
    name: String,
    epoch: u64,
    reports: mpsc::Sender<CountsReport>,
    pub(crate) inbound: Streaming<Welcome>,
}

impl Interceptor {
    /// Opens a stream and sends the snapshot.
    pub(crate) async fn connect(
        addr: SocketAddr,
        name: &str,
        epoch: u64,
        snapshot: Vec<FunctionCounts>,
    ) -> Self {
        let endpoint = Channel::from_shared(format!("http://{addr}")).unwrap();
        let channel = patiently("connection", endpoint.connect()).await.unwrap();
        Self::open(channel, name, epoch, snapshot).await.unwrap()
    }

    pub(crate) async fn open(
        channel: Channel,
        name: &str,
        epoch: u64,
        snapshot: Vec<FunctionCounts>,
    ) -> Result<Self, Status> {
        let (reports, rx) = mpsc::channel(8);
        let mut client = CountsClient::new(channel);
        let call = client.report(ReceiverStream::new(rx));
        let mut inbound = patiently("response", call).await?.into_inner();
        let welcome = patiently("welcome", inbound.message()).await?.unwrap();
        assert_ne!(welcome.epoch, 0);
        assert!(welcome.numbers);
        let interceptor = Self { name: name.to_owned(), epoch, reports, inbound };
        interceptor.send(true, snapshot).await;
        Ok(interceptor)
    }

    pub(crate) async fn report(&self, functions: Vec<FunctionCounts>) {
        self.send(false, functions).await;
    }

    pub(crate) async fn send(&self, snapshot: bool, functions: Vec<FunctionCounts>) {
        let (interceptor, epoch) = (self.name.clone(), self.epoch);
        let report = CountsReport { interceptor, epoch, snapshot, functions, freed: Vec::new() };
        patiently("room for a report", self.reports.send(report)).await.unwrap();
    }

    /// How the adapter ends the stream.
    pub(crate) async fn end(mut self) -> Result<(), Status> {
        let end = patiently("end of the stream", self.inbound.message()).await?;
        assert!(end.is_none());
        Ok(())
    }
}

/// Counts of a function of that name.
pub(crate) fn counts(name: &str, total: u64) -> FunctionCounts {
    FunctionCounts {
        namespace: "shop-prod".to_owned(),
        name: name.to_owned(),
        total,
        ..FunctionCounts::default()
    }
}

/// Counts of a function whose request waits for a wake.
pub(crate) fn waiting(name: &str, total: u64) -> FunctionCounts {
    FunctionCounts { held: 1, waiting: 1, ..counts(name, total) }
}
