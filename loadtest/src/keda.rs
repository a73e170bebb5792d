//! KEDA's side of the external scaler: what it asks, and how.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use kipper_externalscaler::{
    GetMetricsRequest, IsActiveResponse, ScaledObjectRef,
    external_scaler_client::ExternalScalerClient,
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::control::NAMESPACE;

/// KEDA itself has no deadline; a scenario must end.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection to an adapter, reconnected by itself when it breaks.
#[derive(Clone, Debug)]
pub(crate) struct Keda(ExternalScalerClient<Channel>);

impl Keda {
    /// Connects with the first call.
    pub(crate) fn new(addr: SocketAddr) -> Result<Self, anyhow::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))?
            .connect_timeout(CALL_TIMEOUT)
            .tcp_nodelay(true);
        Ok(Self(ExternalScalerClient::new(endpoint.connect_lazy())))
    }

    pub(crate) async fn is_active(&mut self, function: &str) -> Result<bool, Status> {
        let call = self.0.is_active(object(function));
        Ok(bounded(call).await?.into_inner().result)
    }

    pub(crate) async fn stream(
        &mut self,
        function: &str,
    ) -> Result<Streaming<IsActiveResponse>, Status> {
        self.open(object(function)).await
    }

    /// The same of a function that may be scaled ahead of its HPA.
    pub(crate) async fn stream_bursting(
        &mut self,
        function: &str,
        max_replicas: u32,
    ) -> Result<Streaming<IsActiveResponse>, Status> {
        let mut object = object(function);
        object.scaler_metadata.insert("burstMaxReplicas".to_owned(), max_replicas.to_string());
        self.open(object).await
    }

    async fn open(
        &mut self,
        object: ScaledObjectRef,
    ) -> Result<Streaming<IsActiveResponse>, Status> {
        // No deadline for the stream itself: it stays open for as long as the function exists.
        Ok(self.0.stream_is_active(object).await?.into_inner())
    }

    /// Held and in flight of a function over the whole fleet.
    pub(crate) async fn open_requests(&mut self, function: &str) -> Result<f64, Status> {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(object(function)),
            metric_name: "concurrency".to_owned(),
        };
        let response = bounded(self.0.get_metrics(request)).await?.into_inner();
        Ok(response.metric_values.first().map_or(0.0, |value| value.metric_value_float))
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(CALL_TIMEOUT, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
}

fn object(function: &str) -> ScaledObjectRef {
    let metadata = [("concurrency", "10")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    ScaledObjectRef {
        name: function.to_owned(),
        namespace: NAMESPACE.to_owned(),
        scaler_metadata: HashMap::from(metadata),
    }
}
