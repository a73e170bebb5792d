//! A thousand rows at once, and the pods that they get: KEDA counts every five seconds and the HPA looks
//! every fifteen, so the poller reports what it cannot keep up with.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kipper_cluster::{Cluster, Namespace, bridge::on_bridge};
use kipper_function::{Function, function::Scaling};
use kipper_servers::{
    ADMIN, ADMIN_PASSWORD,
    postgres::{Options, Postgres},
};
use tokio::{
    process::Command,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{source, waking};
use crate::{
    cluster::{
        replicas::{Change, Replicas},
        timeline,
    },
    run::{PATIENCE, Run},
};

const SOURCE: &str = "db";
const DATABASE: &str = "postgres";
const ROWS: u32 = 1000;
const FIVE: i32 = 5;
/// Eight at a time are 16 a second: one pod has work for a minute, five for twelve seconds.
const CODE: &str = "const { setTimeout } = require('timers/promises')\n\
                    module.exports = () => setTimeout(500)\n";
/// Until five pods have handled them.
const TO_DONE: Duration = Duration::from_secs(120);
/// A process each time.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// When rows appear after their function is in place, so that each time meets another moment of the HPA's
/// period.
const AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(10)];

/// From one pod and from zero to five.
pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let server = spawn_blocking(|| Postgres::start(Options::default())).await??;
    let table = Table(&server);
    table.run("CREATE TABLE orders (id serial PRIMARY KEY, done int NOT NULL DEFAULT 0)").await?;
    let namespace = cluster.namespace("backlog").await?;
    let address = on_bridge(server.port()).await;
    let login = [("USERNAME", ADMIN), ("PASSWORD", ADMIN_PASSWORD), ("NAME", DATABASE)];
    source::connect(&namespace, SOURCE, "postgres", address, &login).await?;

    let (mut awake, mut asleep) = (0.0_f64, 0.0_f64);
    for after in &AFTER[..run.size(AFTER.len(), 1)] {
        for (is_awake, slowest) in [(false, &mut asleep), (true, &mut awake)] {
            // Another name each time: what was asked for under it is held for a while.
            let from = if is_awake { "one" } else { "zero" };
            let name = format!("from-{from}-{}", after.as_secs());
            namespace.apply(&function(&name)).await?;
            namespace.until_ready(&name).await?;
            if is_awake {
                table.run("INSERT INTO orders SELECT").await?;
                namespace.until_replicas(&name, 1, PATIENCE).await?;
                table.until_done().await?;
            }
            sleep(*after).await;
            let took = one(&namespace, &table, &name).await?;
            let since = if is_awake { "rows were there" } else { "first pod was wanted" };
            println!("   {after:?} later: five pods ready {took:.1} s after the {since}");
            *slowest = slowest.max(took);
            namespace.delete(&name).await?;
            waking::until_no_pods(&namespace).await?;
        }
    }
    run.outcome.figure("backlog_to_five_ready", awake)?;
    run.outcome.figure("backlog_to_five_ready_from_zero", asleep)?;
    let missed = table.count("done <> 1").await?;
    run.outcome.condition("backlog_not_once", missed)
}

/// Seconds from a thousand rows, or from the first pod that was wanted for them, to five ready pods. Ends
/// when all rows are done.
async fn one(namespace: &Namespace, table: &Table<'_>, name: &str) -> Result<f64, anyhow::Error> {
    let replicas = Replicas::follow(namespace, name);
    let known = replicas.until(PATIENCE, |_| true).await?;
    table.run(&format!("INSERT INTO orders SELECT FROM generate_series(1, {ROWS})")).await?;
    let inserted = Timestamp::now();
    let began = match known.wanted {
        0 => replicas.until(PATIENCE, |change| change.wanted > 0).await?.at,
        _ => inserted,
    };
    let five = replicas.until(PATIENCE, |change| change.ready >= FIVE).await;
    let print = |change: &Change| {
        let at = timeline::between(inserted, change.at).as_secs_f64();
        println!("   {at:6.1} s after the rows: {} wanted, {} ready", change.wanted, change.ready);
    };
    replicas.changes().iter().for_each(print);
    let took = timeline::between(began, five?.at).as_secs_f64();
    table.until_done().await?;
    Ok(took)
}

fn function(name: &str) -> Function {
    let config = [
        ("source", SOURCE),
        ("query", "SELECT id FROM orders WHERE done = 0"),
        ("markDone", "UPDATE orders SET done = done + 1 WHERE id = {{id}}"),
    ];
    let mut function = source::fed(name, CODE, "postgres", &config);
    function.spec.scaling = Some(Scaling { max_replicas: Some(FIVE), ..Scaling::default() });
    function
}

/// The rows.
struct Table<'a>(&'a Postgres);

impl Table<'_> {
    async fn run(&self, sql: &str) -> Result<String, anyhow::Error> {
        let url = self.0.url(DATABASE);
        let args = ["--quiet", "--no-align", "--tuples-only", "--command", sql, &url];
        let output = Command::new("psql").args(args).output().await?;
        anyhow::ensure!(output.status.success(), "psql: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn until_done(&self) -> Result<(), anyhow::Error> {
        let deadline = Instant::now() + TO_DONE;
        while self.count("done = 0").await? > 0 {
            anyhow::ensure!(Instant::now() < deadline, "rows are not done within {TO_DONE:?}");
            sleep(COUNT_EVERY).await;
        }
        Ok(())
    }

    async fn count(&self, condition: &str) -> Result<usize, anyhow::Error> {
        let sql = format!("SELECT count(*) FROM orders WHERE {condition}");
        Ok(self.run(&sql).await?.trim().parse()?)
    }
}
