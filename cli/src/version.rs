//! `kip version`.

use clap::Args as ClapArgs;
use kipper_client::{cluster::Cluster, connect};
use serde_json::json;

use crate::{
    output::{self, Format, OutputArgs},
    settings::ScopeArgs,
};

/// This program's.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Print the versions of kip, of Kipper in the cluster, and of the cluster.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Print only kip's own version
    #[arg(long)]
    pub client: bool,

    /// Which cluster.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs the command on this thread.
///
/// # Errors
/// When the cluster does not answer; kip's own version is printed before.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let format = args.output.output;
    if format.is_none() {
        output::line(format!("kip         {OWN}"))?;
    }
    let server = match args.client {
        true => None,
        false => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Some(runtime.block_on(server(&args.scope))?)
        }
    };
    match (format, server) {
        (None, None) => Ok(()),
        (None, Some(Server { kipper, kubernetes })) => {
            let kipper = kipper.as_deref().unwrap_or("unknown");
            output::line(format!("kipper      {kipper}\nkubernetes  {kubernetes}"))
        }
        (Some(Format::Name), _) => output::line(OWN),
        (Some(format), None) => output::value(format, &json!({ "kip": OWN })),
        (Some(format), Some(Server { kipper, kubernetes })) => {
            let versions = json!({ "kip": OWN, "kipper": kipper, "kubernetes": kubernetes });
            output::value(format, &versions)
        }
    }
}

struct Server {
    /// `None` where the chart is not there, or may not be asked.
    kipper: Option<String>,
    kubernetes: String,
}

async fn server(scope: &ScopeArgs) -> anyhow::Result<Server> {
    let settings = scope.settings()?;
    let connection = connect::connect(&settings.target).await?;
    let kubernetes = connection.kubernetes_version().await?;
    let cluster = Cluster::read(&connection, &settings.system_namespace).await?;
    Ok(Server { kipper: cluster.and_then(|cluster| cluster.version), kubernetes })
}
