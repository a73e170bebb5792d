//! Three adapters that share the functions: each is told of its own ones alone and answers for no other.
//! One that dies takes nothing from the others, and has its functions back when it is.

use std::time::Duration;

use anyhow::Context as _;
use kipper_measure::client::Client;
use kipper_trigger::shard;
use tokio::time::timeout;
use tonic::Code;

use crate::{
    control::{NAMESPACE, function, host},
    keda::Keda,
    processes::{Adapter, Interceptor, Setting},
    requests::get,
    run::{PATIENCE, POLL, Run},
};

const SHARDS: u32 = 3;
/// The shard whose adapter dies.
const DYING: u32 = 2;
const KNOWN: &str = "kipper_scaler_adapter_functions";
/// A `true` that is later than this is missing.
const MISSING_AFTER: Duration = Duration::from_secs(10);

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let count = run.size(300, 90);
    let mut adapters = Vec::new();
    for index in 0..SHARDS {
        let flag = format!("--shard={index}/{SHARDS}");
        adapters.push(Adapter::configured(run, &[Setting::Flag(&flag)]).await?);
    }
    let addresses: Vec<_> = adapters.iter().map(|adapter| adapter.counts.to_string()).collect();
    let interceptor = Interceptor::start(run, count, &["--adapter", &addresses.join(",")]).await?;
    let kedas: Vec<_> = adapters.iter().map(|it| Keda::new(it.grpc)).collect::<Result<_, _>>()?;
    let mut scene = Scene {
        interceptor,
        kedas,
        missing: 0,
        foreign: 0,
        held: Vec::new(),
        is_away: [false; SHARDS as usize],
    };

    let third = count / 3;
    for index in 0..third {
        scene.wake(index).await?;
    }
    let mut told = 0;
    for (shard, adapter) in (0..).zip(&adapters) {
        let own = (0..third).filter(|index| shard_of(*index) == shard).count();
        let known = adapter.metric(KNOWN).await?;
        #[allow(clippy::cast_precision_loss)] // a few hundred
        let is_all = (known - own as f64).abs() < 0.5;
        println!("   shard {shard} knows {known} functions, and has {own}");
        told += usize::from(!is_all);
    }
    run.outcome.condition("shards_told_of_others", told)?;
    adapters[DYING as usize].kill()?;
    scene.is_away[DYING as usize] = true;
    for index in (third..2 * third).filter(|index| shard_of(*index) != DYING) {
        scene.wake(index).await?;
    }
    // Somebody of its own asks meanwhile, and is told of when it is back.
    let asleep = (third..2 * third).find(|index| shard_of(*index) == DYING);
    let asleep = asleep.context("a shard without a function")?;
    scene.ask(asleep).await?;
    adapters[DYING as usize].start_again(run).await?;
    scene.told(asleep).await?;
    scene.is_away[DYING as usize] = false;
    for index in 2 * third..count {
        scene.wake(index).await?;
    }
    println!("   {} wakes by way of {SHARDS} shards", scene.held.len());
    run.outcome.condition("shards_missing", scene.missing)?;
    run.outcome.condition("shards_foreign_answers", scene.foreign)
}

fn shard_of(index: usize) -> u32 {
    shard::index(NAMESPACE, &function(index), SHARDS)
}

struct Scene {
    interceptor: Interceptor,
    kedas: Vec<Keda>,
    /// Wakes that KEDA was not told of.
    missing: usize,
    /// Answers by another shard than the function's.
    foreign: usize,
    held: Vec<Client>,
    /// Whose adapter is dead.
    is_away: [bool; SHARDS as usize],
}

impl Scene {
    /// Asks for a function at zero; its adapter must tell KEDA, and the others know nothing of it.
    async fn wake(&mut self, index: usize) -> Result<(), anyhow::Error> {
        for (shard, keda) in self.kedas.iter_mut().enumerate() {
            let answer = keda.is_active(&function(index)).await;
            let is_dead = matches!(&answer, Err(status) if status.code() == Code::Unavailable);
            let is_refused =
                matches!(&answer, Err(status) if status.code() == Code::FailedPrecondition);
            let is_own = shard == shard_of(index) as usize;
            let is_right = is_own || is_refused || (is_dead && self.is_away[shard]);
            self.foreign += usize::from(!is_right);
        }
        let keda = &mut self.kedas[shard_of(index) as usize];
        let mut stream = keda.stream(&function(index)).await?;
        self.ask(index).await?;
        let answer = timeout(MISSING_AFTER, stream.message()).await;
        let is_told = matches!(answer, Ok(Ok(Some(answer))) if answer.result);
        self.missing += usize::from(!is_told);
        Ok(())
    }

    /// A request that is held from now on.
    async fn ask(&mut self, index: usize) -> Result<(), anyhow::Error> {
        let mut client = Client::connect(self.interceptor.proxy).await?;
        client.send(&get(&host(index), "/")).await?;
        self.held.push(client);
        Ok(())
    }

    /// Waits until the adapter of a function that was asked for calls it active.
    async fn told(&mut self, index: usize) -> Result<(), anyhow::Error> {
        let keda = &mut self.kedas[shard_of(index) as usize];
        let active = async {
            // Until then the adapter is not there, or has not heard from the interceptor.
            while !keda.is_active(&function(index)).await.unwrap_or(false) {
                tokio::time::sleep(POLL).await;
            }
        };
        self.missing += usize::from(timeout(PATIENCE, active).await.is_err());
        Ok(())
    }
}
