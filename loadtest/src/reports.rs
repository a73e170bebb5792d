//! The interceptors' side of the counts contract, without an interceptor: whatever is to be said, as fast
//! as an adapter takes it in.

use std::net::SocketAddr;

use anyhow::Context as _;
use kipper_counts::{CountsReport, FunctionCounts, Welcome, counts_client::CountsClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use crate::{
    control::{NAMESPACE, function},
    run::PATIENCE,
};

/// One stream to one adapter.
pub(crate) struct Reports {
    interceptor: String,
    reports: mpsc::Sender<CountsReport>,
    inbound: Streaming<Welcome>,
}

impl Reports {
    /// Opens a stream and sends the snapshot.
    pub(crate) async fn open(
        adapter: SocketAddr,
        interceptor: &str,
        snapshot: Vec<FunctionCounts>,
    ) -> Result<Self, anyhow::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{adapter}"))?.tcp_nodelay(true);
        let (reports, rx) = mpsc::channel(1);
        let mut client = CountsClient::new(endpoint.connect().await?);
        let mut inbound = client.report(ReceiverStream::new(rx)).await?.into_inner();
        let welcome = timeout(PATIENCE, inbound.message()).await??;
        anyhow::ensure!(welcome.is_some_and(|it| it.numbers), "the adapter wants names");
        let stream = Self { interceptor: interceptor.to_owned(), reports, inbound };
        stream.send(true, snapshot).await?;
        Ok(stream)
    }

    /// Says what has changed; returns when there is room for the next report.
    pub(crate) async fn report(&self, functions: Vec<FunctionCounts>) -> Result<(), anyhow::Error> {
        self.send(false, functions).await
    }

    async fn send(
        &self,
        snapshot: bool,
        functions: Vec<FunctionCounts>,
    ) -> Result<(), anyhow::Error> {
        let interceptor = self.interceptor.clone();
        let report = CountsReport { interceptor, epoch: 1, snapshot, functions, freed: Vec::new() };
        let sent = timeout(PATIENCE, self.reports.send(report)).await;
        sent.context("the adapter hangs")?.context("the adapter ended the stream")
    }

    /// Ends the stream, and waits until the adapter has taken everything in.
    pub(crate) async fn end(self) -> Result<(), anyhow::Error> {
        let Self { reports, mut inbound, .. } = self;
        drop(reports);
        let end = timeout(PATIENCE, inbound.message()).await.context("the adapter hangs")??;
        anyhow::ensure!(end.is_none(), "a second welcome");
        Ok(())
    }
}

/// Counts of function number `index` with its name, which an adapter wants to hear first.
pub(crate) fn named(index: usize, total: u64) -> Result<FunctionCounts, anyhow::Error> {
    let (namespace, name) = (NAMESPACE.to_owned(), function(index));
    Ok(FunctionCounts { namespace, name, ..numbered(index, total)? })
}

/// The same without a name.
pub(crate) fn numbered(index: usize, total: u64) -> Result<FunctionCounts, anyhow::Error> {
    let number = u32::try_from(index + 1)?;
    Ok(FunctionCounts { number, total, in_flight: 1, idle_ms: 150, ..FunctionCounts::default() })
}
