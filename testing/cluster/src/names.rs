//! What the local cluster and the chart call things.

/// Namespace of the controller and the data plane.
pub const SYSTEM: &str = "kipper-system";
/// Service of the interceptors there.
pub const INTERCEPTOR: &str = "kipper-interceptor";
/// Service of the scaler-adapters there, and its port for notifications of buckets.
pub const SCALER_ADAPTER: &str = "kipper-scaler-adapter";
pub const WEBHOOK_PORT: u16 = 9092;
/// What notifications bring, from the local cluster's `install.sh`.
pub const WEBHOOK_TOKEN: &str = "local-cluster";
/// Domain of the functions' hosts, from the local cluster's `values.yaml`.
pub const CLUSTER_DOMAIN: &str = "127-0-0-1.kipper.run";
/// Image that answers every request and knows nothing of Kipper; it listens on 8080.
pub const SERVER_IMAGE: &str = "docker.io/kipper/test-server:dev";
/// The same, with `/tmp` declared as a volume.
pub const SERVER_TMP_IMAGE: &str = "docker.io/kipper/test-server-tmp:dev";
/// Image of the Node runtime, for functions that are an image.
pub const NODE_IMAGE: &str = "docker.io/kipper/runtime-node:dev";
/// Address under which pods reach this machine.
pub const BRIDGE: &str = "10.233.0.1";
/// Names the cluster tests as the owner of fields.
pub const FIELD_MANAGER: &str = "cluster-test";
