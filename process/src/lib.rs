//! The shell around every Kipper server process.
//!
//! A process parses its configuration ([`exit::parse`]), starts its log ([`telemetry`]), takes its
//! readiness blockers ([`readiness`]), binds the admin port ([`admin`], served by [`port`]) with the process metrics
//! ([`metrics`]), may tell other parts something ([`post`]), waits for a signal ([`signals`]) and drains ([`drain`]). The modules below stand
//! in that order. They know nothing of functions, routes or scaling: a leaf crate never depends on
//! a process.
//!
//! ```no_run
//! # async fn run() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use kipper_process::{admin::AdminServer, drain::Drain, metrics, readiness::Readiness, signals};
//! use tokio_util::sync::CancellationToken;
//!
//! let shutdown = signals::shutdown_token()?;
//! let readiness = Readiness::new();
//! let routes = readiness.block("routes");
//! let registry = metrics::registry("interceptor", env!("CARGO_PKG_VERSION"))?;
//! let admin_stop = CancellationToken::new();
//! let admin = AdminServer::bind("0.0.0.0:9990".parse()?, readiness.clone(), registry).await?;
//! let admin = tokio::spawn(admin.serve(admin_stop.clone()));
//! let (trigger, watch) = Drain::new();
//! # let _ = watch;
//! // ... start the stages with clones of `watch`, then:
//! routes.ready();
//! shutdown.cancelled().await;
//! readiness.set_draining();
//! trigger.start(Duration::from_secs(5), Duration::from_secs(25));
//! let cut_off = trigger.finished().await;
//! tracing::info!(cut_off, "drained");
//! admin_stop.cancel();
//! admin.await?;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod exit;
pub mod telemetry;

pub mod backoff;

pub mod supervise;

pub mod readiness;

pub mod metrics;

pub mod port;

pub mod admin;

pub mod post;

pub mod signals;

pub mod drain;
