//! The web console beside `kip`: what a save takes, what it writes, and what the process needs while twenty
//! users watch.

mod deployed;

use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use kipper_cluster::Cluster;
use kipper_console_contract::{Console, Stream};
use kipper_measure::{
    processes::{self, Size},
    samples::Samples,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::kip::timed;
use crate::run::Run;

const SCENARIO: &str = "console";
const NAME: &str = "edited";
const CODE: &str = "module.exports = async () => ({ message: 'hello' })\n";
/// Users with a page open, half of them with the log of a function.
const USERS: usize = 20;

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let rounds = run.size(50, 10);
    let namespace = cluster.namespace(SCENARIO).await?;
    let kip = run.binary().with_file_name("kip");
    anyhow::ensure!(kip.exists(), "{} is missing: build it first", kip.display());
    let (process, listen) = deployed::start(run, cluster).await?;
    let users = deployed::users(listen, &namespace, USERS).await?;
    let console = users.first().context("a user")?;
    let list = format!("/api/v1/ns/{}/functions", namespace.name);
    let spec = json!({ "runtime": "node", "source": { "code": CODE } });
    let created = console.send(Method::POST, &list, &json!({ "name": NAME, "spec": spec })).await;
    anyhow::ensure!(created.status == 201, "create: {created:?}");
    namespace.until_ready(NAME).await?;

    let one = format!("{list}/{NAME}");
    let manifest = run.dir().join("edited.yaml");
    let (mut saves, mut applies) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        saves.push(save(console, &one, &format!("console {round}")).await?);
        std::fs::write(&manifest, self::manifest(&format!("kip {round}")))?;
        let file = manifest.to_str().context("the folder's name is not UTF-8")?;
        applies.push(
            timed(&kip, &namespace, &["function", "apply", "-f", file, "--force-conflicts"])
                .await?,
        );
    }
    let (saves, applies): (Samples, Samples) =
        (saves.into_iter().collect(), applies.into_iter().collect());
    println!("   save     {}\n   apply    {}", saves.summary(), applies.summary());
    run.outcome.figure("console_save_ratio", saves.quantile(0.5) / applies.quantile(0.5))?;
    run.outcome.condition("console_unchanged_writes", unchanged(console, &one, rounds).await?)?;

    let watching = watch(&users, &namespace.name).await;
    for round in 0..rounds {
        save(console, &one, &format!("watched {round}")).await?;
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    let memory = processes::kib(process.pid(), Size::Resident)? as f64 / 1000.0;
    drop(watching);
    run.outcome.figure("console_memory", memory)
}

/// From the request of a page that has the Function to the answer that it was written.
async fn save(console: &Console, one: &str, value: &str) -> Result<Duration, anyhow::Error> {
    let loaded = console.get(one).await.body;
    let mut spec = loaded["spec"].clone();
    spec["env"] = json!({ "VALUE": value });
    let form = form(&loaded, &spec);
    let started = Instant::now();
    let saved = console.send(Method::PUT, one, &form).await;
    let took = started.elapsed();
    anyhow::ensure!(saved.body["outcome"] == "changed", "save: {saved:?}");
    Ok(took)
}

fn form(loaded: &Value, spec: &Value) -> Value {
    json!({ "spec": spec, "base": { "generation": loaded["generation"], "spec": loaded["spec"] } })
}

fn manifest(value: &str) -> String {
    format!(
        "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: {NAME}}}\nspec:\n  \
         runtime: node\n  env: {{VALUE: {value}}}\n  source: {{code: {CODE:?}}}\n"
    )
}

/// Saves of what is stored that were not without an effect.
async fn unchanged(console: &Console, one: &str, rounds: usize) -> Result<usize, anyhow::Error> {
    let mut writes = 0;
    let loaded = console.get(one).await.body;
    for _ in 0..rounds {
        let saved = console.send(Method::PUT, one, &form(&loaded, &loaded["spec"])).await;
        anyhow::ensure!(saved.status == 200, "save: {saved:?}");
        let is_same = saved.body["outcome"] == "unchanged"
            && saved.body["function"]["generation"] == loaded["generation"];
        writes += usize::from(!is_same);
    }
    Ok(writes)
}

/// A page of each user, having heard how it is now.
async fn watch(users: &[Console], namespace: &str) -> Vec<Stream> {
    let mut watching = Vec::new();
    for (user, console) in users.iter().enumerate() {
        let one = format!("ns={namespace}&fn={NAME}&logs=true");
        let query = if user % 2 == 0 { format!("ns={namespace}") } else { one };
        let mut stream = console.stream(&query).await;
        stream.until("the first update", |_| true).await;
        watching.push(stream);
    }
    watching
}
