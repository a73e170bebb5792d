//! What the local cluster and the chart call things.

/// Namespace of the controller and the data plane.
pub(crate) const SYSTEM: &str = "kipper-system";
/// Service of the interceptors there.
pub(crate) const INTERCEPTOR: &str = "kipper-interceptor";
/// Service of the scaler-adapters there, and its port for notifications of buckets.
pub(crate) const SCALER_ADAPTER: &str = "kipper-scaler-adapter";
pub(crate) const WEBHOOK_PORT: u16 = 9092;
/// What notifications bring, from the local cluster's `install.sh`.
pub(crate) const WEBHOOK_TOKEN: &str = "local-cluster";
/// Domain of the functions' hosts, from the local cluster's `values.yaml`.
pub(crate) const CLUSTER_DOMAIN: &str = "127-0-0-1.kipper.run";
/// Image that answers every request and knows nothing of Kipper; it listens on 8080.
pub(crate) const SERVER_IMAGE: &str = "docker.io/kipper/test-server:dev";
/// Image of the Node runtime, for functions that are an image.
pub(crate) const NODE_IMAGE: &str = "docker.io/kipper/runtime-node:dev";
/// Address under which pods reach this machine.
pub(crate) const BRIDGE: &str = "10.233.0.1";
/// Names this test suite as the owner of fields.
pub(crate) const FIELD_MANAGER: &str = "cluster-test";
