//! 100 requests a second on a warm function, what became of each, and the judgement that every
//! fault under load shares.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use kipper_cluster::{Cluster, Namespace, functions};
use kipper_function::{Function, function::Scaling};
use kipper_measure::{client::Client, samples::Samples};
use kube::ResourceExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::ledger::Execution;
use crate::{
    open_loop::{Fate, Sent},
    requests::{get, post},
    run::{PATIENCE, Run},
};

/// 100 requests a second.
const EVERY: Duration = Duration::from_millis(10);
const CONNECTIONS: usize = 16;
/// Without an answer by then, a request hangs.
const HUNG_AFTER: Duration = Duration::from_secs(10);
/// Connections that must be answered in a row before a function counts as reachable: each chooses
/// its interceptor anew.
const SETTLED: usize = 16;
/// Requests that are executed before a fault begins.
pub(super) const WARM_UP: usize = 100;
const SHOWN_FAILURES: usize = 5;

/// A fixed number of replicas.
pub(super) fn replicas(mut function: Function, count: i32) -> Function {
    function.spec.scaling = Some(Scaling {
        min_replicas: Some(count),
        max_replicas: Some(count),
        ..Scaling::default()
    });
    function
}

/// Applies a function and returns its host once `replicas` of it serve, through every interceptor.
pub(super) async fn serve(
    cluster: &Cluster,
    namespace: &Namespace,
    function: &Function,
    replicas: i32,
) -> Result<String, anyhow::Error> {
    let name = function.name_any();
    namespace.apply(function).await?;
    let ready = namespace.until_ready(&name).await?;
    namespace.until_replicas(&name, replicas, PATIENCE).await?;
    let host = functions::host(&ready).context("a function without a URL")?;
    settled(cluster, &host).await?;
    Ok(host)
}

/// Resolves once every interceptor serves the host.
pub(super) async fn settled(cluster: &Cluster, host: &str) -> Result<(), anyhow::Error> {
    let asking = async {
        let mut in_a_row = 0;
        while in_a_row < SETTLED {
            let mut client = Client::connect(cluster.interceptor).await?;
            let answer = client.ask(&get(host, "/")).await?;
            in_a_row = if answer.status == 200 { in_a_row + 1 } else { 0 };
        }
        Ok(())
    };
    timeout(PATIENCE, asking).await.context("the function is not served")?
}

/// Load that runs beside a fault, for as long as that takes.
pub(super) struct Traffic {
    running: AbortOnDropHandle<Vec<Sent>>,
    stop: CancellationToken,
}

impl Traffic {
    /// Begins at once; `prefix` makes the ids distinct from those of other loads.
    pub(super) fn start(cluster: &Cluster, host: &str, prefix: &str) -> Self {
        let stop = CancellationToken::new();
        let load = Arc::new(Load {
            proxy: cluster.interceptor,
            host: host.to_owned(),
            prefix: prefix.to_owned(),
            started: Instant::now(),
            next: AtomicU32::new(0),
            stop: stop.clone(),
        });
        let running = tokio::spawn(async move {
            let connections = (0..CONNECTIONS).map(|_| connection(Arc::clone(&load)));
            let all = connections.collect::<JoinSet<_>>().join_all().await;
            all.into_iter().flatten().collect()
        });
        Self { running: AbortOnDropHandle::new(running), stop }
    }

    /// No new requests; what became of all that were sent.
    pub(super) async fn end(self) -> Result<Vec<Sent>, anyhow::Error> {
        self.stop.cancel();
        Ok(self.running.await?)
    }
}

struct Load {
    proxy: SocketAddr,
    host: String,
    prefix: String,
    started: Instant,
    next: AtomicU32,
    stop: CancellationToken,
}

/// Takes the next request that is due, again and again.
async fn connection(load: Arc<Load>) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut client = None;
    loop {
        let number = load.next.fetch_add(1, Relaxed);
        let due = load.started + EVERY * number;
        tokio::select! {
            () = sleep_until(due) => {}
            () = load.stop.cancelled() => return all,
        }
        let sent = Instant::now();
        let id = format!("{}-{number}", load.prefix);
        let fate = timeout(HUNG_AFTER, ask(&load, &mut client, &id)).await;
        all.push(Sent { id, due, sent, took: due.elapsed(), fate: fate.unwrap_or(Fate::Hung) });
    }
}

/// Keeps the connection only after an answer that lets it.
async fn ask(load: &Load, kept: &mut Option<Client>, id: &str) -> Fate {
    let asked = async {
        let mut client = match kept.take().filter(is_open) {
            Some(client) => client,
            None => Client::connect(load.proxy).await?,
        };
        let answer = client.ask(&post(&load.host, id)).await?;
        Ok::<_, std::io::Error>((client, answer))
    };
    match asked.await {
        Ok((client, answer)) if answer.status == 200 => {
            *kept = (!answer.close).then_some(client);
            Fate::Answered
        }
        Ok((_, answer)) => {
            Fate::Failed(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        }
        Err(error) => Fate::Failed(error.to_string()),
    }
}

/// Whether the other side has left an idle connection open: no client writes into one that it
/// was told is closed.
fn is_open(client: &Client) -> bool {
    let read = client.stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// What a load came to.
pub(super) struct Fates<'a> {
    pub(super) failed: Vec<&'a Sent>,
    hung: usize,
    twice: usize,
    not_executed: usize,
}

impl<'a> Fates<'a> {
    /// Compares what clients saw with what functions did, and prints both.
    pub(super) fn of(sent: &'a [Sent], executed: &[Execution]) -> Self {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for execution in executed {
            *times.entry(&execution.id).or_default() += 1;
        }
        let is = |fate: fn(&Fate) -> bool| sent.iter().filter(move |sent| fate(&sent.fate));
        let answered = is(|fate| *fate == Fate::Answered);
        let failed: Vec<&Sent> = is(|fate| matches!(fate, Fate::Failed(_))).collect();
        let latency: Samples = answered.clone().map(|sent| sent.took).collect();
        println!(
            "   {} sent, {} failed; answered: {}",
            sent.len(),
            failed.len(),
            latency.summary()
        );
        for (cause, count) in causes(&failed) {
            println!("   {count} × {cause}");
        }
        Self {
            failed,
            hung: is(|fate| *fate == Fate::Hung).count(),
            twice: sent.iter().filter(|sent| times.get(&*sent.id) > Some(&1)).count(),
            not_executed: answered.filter(|sent| !times.contains_key(&*sent.id)).count(),
        }
    }

    /// Judges everything but failures, which differ.
    pub(super) fn judge(&self, run: &mut Run, scenario: &str) -> Result<(), anyhow::Error> {
        let mut condition =
            |what: &str, count: usize| run.outcome.condition(&format!("{scenario}_{what}"), count);
        condition("hung", self.hung)?;
        condition("executed_twice", self.twice)?;
        condition("answered_not_executed", self.not_executed)
    }

    /// Judges a load of which nothing may fail.
    pub(super) fn judge_all(&self, run: &mut Run, scenario: &str) -> Result<(), anyhow::Error> {
        show(&self.failed);
        run.outcome.condition(&format!("{scenario}_failed"), self.failed.len())?;
        self.judge(run, scenario)
    }
}

/// Shows some of the failures nothing excuses.
pub(super) fn show(failed: &[&Sent]) {
    for failed in failed.iter().take(SHOWN_FAILURES) {
        println!("   failed: {failed:?}");
    }
}

/// Failures by what the client was told, without what differs between requests.
fn causes(failed: &[&Sent]) -> BTreeMap<String, usize> {
    let mut causes = BTreeMap::new();
    for sent in failed {
        let Fate::Failed(told) = &sent.fate else { continue };
        let cause = told.split("\"requestId\"").next().unwrap_or(told).to_owned();
        *causes.entry(cause).or_default() += 1;
    }
    causes
}
