//! How long a user waits for `kip`: each command a process of its own, as a shell starts it.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use kipper_cluster::{Cluster, Namespace, functions, watch};
use kipper_function::Function;
use kipper_measure::samples::Samples;
use tokio::{process::Command, time::Instant};

use crate::run::{PATIENCE, Run};

const SCENARIO: &str = "kip";
const CODE: &str = "module.exports = async () => ({ message: 'hello' })\n";
/// What a project has.
const FUNCTIONS: usize = 20;

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let rounds = run.size(50, 10);
    let namespace = cluster.namespace(SCENARIO).await?;
    let kip = run.binary().with_file_name("kip");
    anyhow::ensure!(kip.exists(), "{} is missing: build it first", kip.display());
    let code = run.dir().join("hello.js");
    std::fs::write(&code, CODE)?;
    for n in 1..FUNCTIONS {
        namespace.apply(&functions::inline(&format!("f{n}"), "node", CODE, &[])).await?;
    }
    let functions = namespace.api::<Function>();
    watch::objects(&functions, FUNCTIONS - 1, PATIENCE, functions::is_ready).await?;

    let code = code.to_str().context("the folder's name is not UTF-8")?;
    let create = ["function", "create", "hello", "--code-file", code, "--runtime", "node"];
    let door = format!("http://{}", cluster.interceptor);
    let wait = ["--wait", "--interceptor", &door];
    let created = timed(&kip, &namespace, &[&create[..], &wait].concat()).await?;
    let invoke = ["function", "invoke", "hello", "--interceptor", &door];
    let invoked = timed(&kip, &namespace, &invoke).await?;
    let logs = timed(&kip, &namespace, &["function", "logs", "hello"]).await?;
    let (mut lists, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        lists.push(timed(&kip, &namespace, &["function", "list"]).await?);
        gets.push(timed(Path::new("kubectl"), &namespace, &["get", "functions"]).await?);
    }
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    println!(
        "   create --wait {:.0} ms, invoke {:.0} ms, logs {:.0} ms",
        ms(created),
        ms(invoked),
        ms(logs)
    );
    let (lists, gets): (Samples, Samples) =
        (lists.into_iter().collect(), gets.into_iter().collect());
    println!("   list     {}\n   kubectl  {}", lists.summary(), gets.summary());
    run.outcome.figure("kip_list_p50", lists.quantile(0.5))
}

/// From the start of the process to its end, which has to be a good one.
pub(super) async fn timed(
    program: &Path,
    namespace: &Namespace,
    args: &[&str],
) -> Result<Duration, anyhow::Error> {
    let mut command = Command::new(program);
    command.args(args).args(["-n", &namespace.name]).kill_on_drop(true);
    let started = Instant::now();
    let output = command.output().await.with_context(|| program.display().to_string())?;
    let took = started.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} {args:?}: {stderr}", program.display());
    Ok(took)
}
