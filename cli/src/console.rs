//! `kip console`: the web console on this machine, with the rights of the kubeconfig's user.

use std::{
    io::{self, IsTerminal as _},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use kipper_client::identity;
use kipper_console::{
    Access, Console,
    backend::cluster::{Cluster, Place},
};
use kipper_process::signals;

use crate::{ai_args::AiArgs, output, session::Session, settings::ScopeArgs};

/// Open the web console on this machine, with your own rights in the cluster.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,

    /// Print the URL only, open no browser
    #[arg(long)]
    pub no_open: bool,

    /// The assistant's provider, instead of the cluster's.
    #[command(flatten)]
    pub ai: AiArgs,

    /// Which cluster.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Runs the command until a signal.
///
/// # Errors
/// When there is no cluster, or no port.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let assistant = args.ai.stored()?.map(Place::Flags).unwrap_or_default();
    let session = Session::open(&args.scope).await?;
    let user = identity::user(&session.connection).await?;
    let settings = session.settings;
    let cluster = Cluster::new(session.connection, &user, settings.gateway)
        .with_system_namespace(&settings.system_namespace)
        .with_assistant(assistant)
        .with_loki(settings.loki.map(|address| (address, settings.loki_tenant)));
    let token = crate::token::random()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let console = Console::new(Access::token(&token, Arc::new(cluster)));
    let bound = console.bind(address).await.with_context(|| format!("port {}", args.port))?;
    let shutdown = signals::shutdown_token()?;
    let url = format!("http://{}/#token={token}", bound.address());
    output::line(format!("console on {url}"))?;
    output::note(format!("logged in as {user}; press Ctrl-C to stop"));
    if !args.no_open && io::stdout().is_terminal() && open::that_detached(&url).is_err() {
        output::note("no browser could be opened; open the URL above");
    }
    bound.serve(shutdown).await;
    Ok(())
}
