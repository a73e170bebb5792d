//! `kipper-bench events`: the poller on real sources, beside a plain consumer of the same table, or
//! beside the same requests of the same server alone.
//!
//! The servers are those of the tests, with commits that reach the disk. The handler answers 200 and
//! does nothing. Poller and consumer take turns in every round; a drain is timed from the start of
//! the poller's process, connecting included, until everything is marked and released.

mod bed;
mod consumer;
mod drain;
mod latency;
mod mariadb;
mod minio;
mod postgres;
mod redis;
mod uploads;

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::ValueEnum;

use bed::{Bed, Size};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Part {
    /// Rows of PostgreSQL: rate against a plain consumer, memory
    Postgres,
    /// The same with every mark its own commit
    PostgresEach,
    /// Rows of 1 MB: memory
    PostgresLarge,
    /// Insert until handler, answer until commit
    PostgresLatency,
    /// Rows of MariaDB: rate
    Mariadb,
    /// Items of a Redis list: rate
    Redis,
    /// Event objects of MinIO: rate against what the server allows
    Minio,
    /// Upload until handler, by MinIO's webhook at once
    MinioWebhook,
    /// The same with MinIO's queue directory
    MinioQueued,
    /// The same by lists of 10,000 objects alone
    MinioListed,
}

/// Options of the comparison.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsArgs {
    /// What is measured, in this order
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "postgres,postgres_each,postgres_large,postgres_latency,mariadb,redis,\
                         minio,minio_webhook,minio_queued,minio_listed"
    )]
    parts: Vec<Part>,
    /// How often poller and consumer take turns
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Events pending when the poller starts
    #[arg(long, default_value = "100000")]
    events: NonZeroUsize,
    /// Events the plain consumer takes, with as many pending; event objects of MinIO
    #[arg(long, default_value = "2000")]
    consumed: NonZeroUsize,
    /// Events measured one by one for latency
    #[arg(long, default_value = "100")]
    samples: NonZeroUsize,
    /// The poller's binary [default: the one beside this binary]
    #[arg(long)]
    poller: Option<PathBuf>,
    /// The whole run ends with an error after this time
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    max_time: Duration,
}

/// Runs the comparison and prints `FIGURE` lines.
///
/// # Errors
/// When a server or the poller is missing or fails, or the run is ended.
pub fn run(args: &EventsArgs) -> Result<(), anyhow::Error> {
    let size = Size {
        rounds: args.rounds.get(),
        events: args.events.get(),
        consumed: args.consumed.get(),
        samples: args.samples.get(),
    };
    let bed = Bed::start(size, args.poller.clone(), args.max_time)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Vec::new();
    for part in &args.parts {
        let name = part.to_possible_value();
        println!("\n{}", name.as_ref().map_or("", |name| name.get_name()));
        figures.extend(match part {
            Part::Postgres => postgres::batches(&bed, &runtime)?,
            Part::PostgresEach => postgres::each(&bed, &runtime)?,
            Part::PostgresLarge => postgres::large(&bed, &runtime)?,
            Part::PostgresLatency => latency::postgres(&bed, &runtime)?,
            Part::Mariadb => mariadb::batches(&bed, &runtime)?,
            Part::Redis => redis::batches(&bed)?,
            Part::Minio => minio::drained(&bed, &runtime)?,
            Part::MinioWebhook => uploads::pushed(&bed, &runtime)?,
            Part::MinioQueued => uploads::queued(&bed, &runtime)?,
            Part::MinioListed => uploads::listed(&bed, &runtime)?,
        });
    }
    println!();
    for figure in figures {
        println!("{figure}");
    }
    Ok(())
}
