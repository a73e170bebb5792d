//! What the controller is configured with: flags, `KIPPER_CONTROLLER_*`, defaults.

use std::{collections::BTreeMap, net::SocketAddr};

use clap::{Args, Parser, Subcommand};
use kipper_function::host;
use kipper_process::{exit::UsageError, telemetry::LogArgs};
use kipper_trigger::{DEFAULT_STATE_BUCKET, shard::MAX_SHARDS};

use crate::render::{IngressSettings, Settings};

const DEFAULT_ADMIN_LISTEN: &str = "0.0.0.0:9990";
/// Functions reconciled at a time. Each waits for the API server most of its time.
const DEFAULT_WORKERS: u16 = 16;

/// Configuration of `run`.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Domain of the functions' hosts
    #[arg(long, env = "KIPPER_CONTROLLER_CLUSTER_DOMAIN", value_parser = cluster_domain)]
    pub cluster_domain: String,

    /// Parent domains whose direct children are cluster domains joined with `-`
    #[arg(
        long,
        env = "KIPPER_CONTROLLER_SHARED_PARENTS",
        value_delimiter = ',',
        default_value = "kipper.run"
    )]
    pub shared_parents: Vec<String>,

    /// The controller's own place
    #[command(flatten)]
    pub own: Own,

    /// How functions are published
    #[command(flatten)]
    pub publication: Publication,

    /// Host and port of the scaler adapter, as KEDA reaches it; of each shard, in their order, where several
    /// share the functions
    #[arg(
        long = "scaler-address",
        env = "KIPPER_CONTROLLER_SCALER_ADDRESS",
        value_delimiter = ',',
        required = true,
        num_args = 1
    )]
    pub scaler_addresses: Vec<String>,

    /// Host and port of the scaler adapters, as pollers report backlogs to them [default: they do not]
    #[arg(long, env = "KIPPER_CONTROLLER_BACKLOG_ADDRESS")]
    pub backlog_address: Option<String>,

    /// Host and admin port of the scaler adapters, every address of the name: whether they scale ahead of the
    /// HPA is told on Functions [default: it is not]
    #[arg(long, env = "KIPPER_CONTROLLER_SCALER_ADMIN_ADDRESS")]
    pub scaler_admin_address: Option<String>,

    /// Image of the Node runtime
    #[arg(long, env = "KIPPER_CONTROLLER_NODE_IMAGE")]
    pub node_image: String,

    /// Image of the Python runtime
    #[arg(long, env = "KIPPER_CONTROLLER_PYTHON_IMAGE")]
    pub python_image: String,

    /// Image of the poller beside functions with an event trigger
    #[arg(long, env = "KIPPER_CONTROLLER_POLLER_IMAGE")]
    pub poller_image: String,

    /// Pull policy of the containers in function pods [default: as Kubernetes chooses by the tag]
    #[arg(long, env = "KIPPER_CONTROLLER_FUNCTION_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub function_image_pull_policy: Option<String>,

    /// Allow connections to function pods from interceptors only
    #[arg(long, env = "KIPPER_CONTROLLER_FUNCTION_NETWORK_POLICY")]
    pub function_network_policy: bool,

    /// Make the root of inline functions read-only for root as well; their cold starts then wait for
    /// volumes, some 300 ms
    #[arg(long, env = "KIPPER_CONTROLLER_FUNCTION_READ_ONLY_ROOT")]
    pub function_read_only_root: bool,

    /// Bucket in which events of a bucket wait, in the service of that bucket
    #[arg(long, env = "KIPPER_CONTROLLER_BUCKET_STATE_BUCKET", default_value = DEFAULT_STATE_BUCKET)]
    pub bucket_state_bucket: String,

    /// Namespaces in which Functions are refused
    #[arg(
        long,
        env = "KIPPER_CONTROLLER_DENIED_NAMESPACES",
        value_delimiter = ',',
        default_value = "kube-system,kube-public,kube-node-lease,keda"
    )]
    pub denied_namespaces: Vec<String>,

    /// Functions reconciled concurrently
    #[arg(long, env = "KIPPER_CONTROLLER_WORKERS", default_value_t = DEFAULT_WORKERS)]
    pub workers: u16,

    /// Listen address of /livez, /readyz and /metrics
    #[arg(long, env = "KIPPER_CONTROLLER_ADMIN_LISTEN", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,

    /// The log; only `main` reads it.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where this process runs and as whom.
#[derive(Clone, Debug, Args)]
pub struct Own {
    /// Namespace of the controller and the interceptor
    #[arg(long, env = "KIPPER_CONTROLLER_NAMESPACE")]
    pub namespace: String,

    /// Name of this controller, unique among its replicas: the pod's name
    #[arg(long, env = "KIPPER_CONTROLLER_NAME")]
    pub name: String,

    /// Service account it runs as
    #[arg(long, env = "KIPPER_CONTROLLER_SERVICE_ACCOUNT", default_value = "kipper-controller")]
    pub service_account: String,
}

/// Ingress settings.
#[derive(Clone, Debug, Args)]
pub struct Publication {
    /// Service of the interceptors, in the controller's namespace
    #[arg(
        long,
        env = "KIPPER_CONTROLLER_INTERCEPTOR_SERVICE",
        default_value = "kipper-interceptor"
    )]
    pub interceptor_service: String,

    /// Port of that Service
    #[arg(long, env = "KIPPER_CONTROLLER_INTERCEPTOR_PORT", default_value_t = 80)]
    pub interceptor_port: u16,

    /// Ingress class [default: the cluster's]
    #[arg(long, env = "KIPPER_CONTROLLER_INGRESS_CLASS")]
    pub ingress_class: Option<String>,

    /// Secret with a certificate for all hosts
    #[arg(
        long,
        env = "KIPPER_CONTROLLER_INGRESS_TLS_SECRET",
        conflicts_with = "ingress_cluster_issuer"
    )]
    pub ingress_tls_secret: Option<String>,

    /// cert-manager ClusterIssuer of a certificate per host
    #[arg(long, env = "KIPPER_CONTROLLER_INGRESS_CLUSTER_ISSUER")]
    pub ingress_cluster_issuer: Option<String>,

    /// Annotations of every Ingress, `name=value`
    #[arg(long, env = "KIPPER_CONTROLLER_INGRESS_ANNOTATIONS", value_delimiter = ',', value_parser = annotation)]
    pub ingress_annotations: Vec<(String, String)>,
}

/// The Kubernetes controller of Kipper Functions.
#[derive(Clone, Debug, Parser)]
#[command(name = "kipper-controller", version)]
pub struct Cli {
    /// Command to run
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the process.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Reconcile Functions
    Run(Box<Config>),
    /// Release all Functions before uninstalling, so that their namespaces can be deleted
    Release(ReleaseConfig),
}

/// Configuration of `release`.
#[derive(Clone, Debug, Args)]
pub struct ReleaseConfig {
    /// Namespace of the controller
    #[arg(long, env = "KIPPER_CONTROLLER_NAMESPACE")]
    pub namespace: String,

    /// Deployment of the controller
    #[arg(long, env = "KIPPER_CONTROLLER_DEPLOYMENT", default_value = "kipper-controller")]
    pub deployment: String,

    /// The log; only `main` reads it.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Config {
    /// What no flag can say by itself.
    ///
    /// # Errors
    /// When there are too many shards, or one without an address.
    pub fn check(&self) -> Result<(), UsageError> {
        let shards = self.scaler_addresses.len();
        if shards > MAX_SHARDS as usize {
            let text = format!("--scaler-address: {shards} shards are more than {MAX_SHARDS}");
            return Err(UsageError::new(text));
        }
        if self.scaler_addresses.iter().any(String::is_empty) {
            return Err(UsageError::new("--scaler-address: a shard has no address".to_owned()));
        }
        Ok(())
    }

    /// What rendering needs of it.
    pub(crate) fn settings(&self) -> Settings {
        let publication = &self.publication;
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        Settings {
            node_image: self.node_image.clone(),
            python_image: self.python_image.clone(),
            poller_image: self.poller_image.clone(),
            image_pull_policy: set(&self.function_image_pull_policy),
            scaler_addresses: self.scaler_addresses.clone(),
            backlog_address: set(&self.backlog_address),
            network_policy: self.function_network_policy,
            read_only_root: self.function_read_only_root,
            state_bucket: self.bucket_state_bucket.clone(),
            ingress: IngressSettings {
                namespace: self.own.namespace.clone(),
                service: publication.interceptor_service.clone(),
                port: publication.interceptor_port,
                class: set(&publication.ingress_class),
                tls_secret: set(&publication.ingress_tls_secret),
                cluster_issuer: set(&publication.ingress_cluster_issuer),
                annotations: publication
                    .ingress_annotations
                    .iter()
                    .cloned()
                    .collect::<BTreeMap<_, _>>(),
            },
        }
    }
}

fn cluster_domain(text: &str) -> Result<String, String> {
    let probe = host::host("f", text, host::DEFAULT_SHARED_PARENTS);
    probe.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn annotation(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be name=value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(flags: &[&str]) -> Config {
        let required = [
            "kipper-controller",
            "run",
            "--cluster-domain=example.com",
            "--node-image=n",
            "--python-image=p",
            "--poller-image=e",
            "--namespace=kipper-system",
            "--name=c",
        ];
        let cli = Cli::try_parse_from([&required[..], flags].concat()).unwrap();
        let Command::Run(config) = cli.command else { unreachable!() };
        *config
    }

    #[test]
    fn every_shard_has_an_address() {
        let config = parse(&["--scaler-address=a:1,b:1"]);
        assert!(config.check().is_ok());
        assert_eq!(config.settings().scaler_addresses, ["a:1", "b:1"]);
        assert!(parse(&["--scaler-address=a:1,,b:1"]).check().is_err());
        let many = vec!["a:1"; 33].join(",");
        assert!(parse(&[&format!("--scaler-address={many}")]).check().is_err());
    }

    #[test]
    fn an_empty_address_is_none() {
        let config = parse(&["--scaler-address=a:1", "--backlog-address="]);
        assert_eq!(config.settings().backlog_address, None);
    }
}
