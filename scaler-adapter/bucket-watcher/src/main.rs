//! The `kipper-bucket-watcher` process: watches one bucket for one function, without Kubernetes, as
//! `kip dev` needs it. In a cluster the watcher is a part of the scaler-adapter.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use humantime::parse_duration;
use kipper_bucket::Endpoint;
use kipper_bucket_watcher::{BucketArgs, BucketSources, BucketTrigger, BucketWatcher, Leader};
use kipper_process::{
    exit::{self, UsageError},
    signals,
    telemetry::{self, LogArgs},
};
use kipper_trigger::DEFAULT_STATE_BUCKET;
use prometheus::Registry;
use tokio::sync::watch;

/// Configuration of the process.
#[derive(Parser)]
#[command(
    name = "kipper-bucket-watcher",
    version,
    about = "Turns the changes of a bucket into events of a function"
)]
struct Config {
    /// Namespace of the function
    #[arg(long, default_value = "default")]
    namespace: String,

    /// Name of the function
    #[arg(long)]
    function: String,

    /// URL of the S3 service, with access key and secret key as user and password
    #[arg(long, env = "KIPPER_SOURCE_URL", hide_env_values = true)]
    source_url: String,

    /// Certificate authority of the service (PEM)
    #[arg(long, env = "KIPPER_SOURCE_CA", value_name = "FILE")]
    source_ca: Option<PathBuf>,

    /// Bucket of the service in which events wait
    #[arg(long, default_value = DEFAULT_STATE_BUCKET)]
    state_bucket: String,

    /// Bucket to watch
    #[arg(long)]
    bucket: String,

    /// Only keys that start with this text
    #[arg(long, default_value = "")]
    prefix: String,

    /// Only keys that end with this text
    #[arg(long, default_value = "")]
    suffix: String,

    /// Pause between two lists of the bucket
    #[arg(long, value_parser = parse_duration, default_value = "5s")]
    list_interval: Duration,

    /// The log; only `main` reads it.
    #[command(flatten)]
    log: LogArgs,
}

fn main() -> ExitCode {
    let config: Config = exit::parse();
    exit::main_result(start(config))
}

fn start(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log)?;
    // Fails only if a provider was installed before, and nothing before this could have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = BucketArgs { bucket_list_interval: config.list_interval, ..BucketArgs::default() };
    let triggers = [config.trigger()?];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = signals::shutdown_token()?;
        // The senders are gone at once: neither the trigger nor who watches it ever changes.
        let (_, triggers) = watch::channel(Some(Arc::from(triggers)));
        let (_, leader) = watch::channel(Leader::Me);
        let sources = BucketSources { triggers, leader };
        let watcher = BucketWatcher::bind(&args, Some(sources), &Registry::new()).await?;
        Ok(watcher.serve(shutdown).await?)
    })
}

impl Config {
    fn trigger(self) -> anyhow::Result<BucketTrigger> {
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("read {}", path.display()));
            text.map_err(|error| UsageError::new(format!("{error:#}")))
        };
        let authority = self.source_ca.map(read).transpose()?;
        // Not by clap, whose message would repeat the keys.
        let endpoint = Endpoint::from_url(&self.source_url).map_err(UsageError::new)?;
        Ok(BucketTrigger {
            namespace: self.namespace,
            function: self.function,
            endpoint: Endpoint { authority, ..endpoint },
            bucket: self.bucket,
            prefix: self.prefix,
            suffix: self.suffix,
            state_bucket: self.state_bucket,
        })
    }
}
