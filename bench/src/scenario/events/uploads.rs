//! How long an upload waits for its handler, by each of the ways in which a bucket's changes become
//! known.
//!
//! The bucket watcher runs in this process, on a thread of its own: an adapter alone takes its
//! triggers from Kubernetes. Uploads come one by one, spread evenly over the pause of whoever looks
//! next, so that the median is that of an upload at any moment.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kipper_bucket::{Condition, S3Error};
use kipper_bucket_watcher::{BucketArgs, BucketSources, BucketTrigger, Leader};
use kipper_measure::figures::{Figure, Goal, median};
use kipper_scaler_adapter::{Adapter, Config};
use kipper_servers::{
    free_address,
    minio::{Minio, Webhook},
};
use kipper_trigger::DEFAULT_STATE_BUCKET;
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{
    bed::{Bed, figure},
    drain::{FUNCTION, NAMESPACE, Poller},
    latency::{Handled, handler, millis, next},
    minio::{BUCKET, Service, all, key, until},
};
use crate::budget::Budget;

/// What a poller has by default, and what the goals of a second and more are met with.
const USUAL_POLL: Duration = Duration::from_secs(1);
/// Of the default alone half a second would be waited for: a poller gets no notification.
const SHORT_POLL: Duration = Duration::from_millis(20);
/// MinIO looks into its queue directory so often.
const QUEUE_TICK: Duration = Duration::from_secs(3);
/// Where the webhook alone is to tell.
const NEVER: Duration = Duration::from_secs(3600);
/// The watcher's pause between two lists, unless a list takes more than this part of the time.
const LIST_INTERVAL: Duration = Duration::from_secs(5);
const LIST_SHARE: u32 = 10;
/// Lists timed beforehand.
const LISTS: usize = 3;
/// Objects in the bucket that is watched by lists.
const OBJECTS: usize = 10_000;
/// Each takes seconds.
const QUEUED_SAMPLES: usize = 10;
const LISTED_SAMPLES: usize = 12;
const TOKEN: &str = "sesame";

/// A bucket, who watches it, and who handles its events. Ends in this order.
struct World {
    _poller: Poller,
    _watcher: Runtime,
    service: Service,
    handled: mpsc::Receiver<Handled>,
    uploaded: usize,
}

/// A webhook that passes events on at once.
pub(super) fn pushed(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let mut world = by_webhook(bed, runtime, false, SHORT_POLL)?;
    let waits = world.waits(bed, runtime, bed.size.samples, SHORT_POLL, SHORT_POLL)?;
    print(&waits, SHORT_POLL);
    let goal = Goal::AtMost(50.0);
    Ok(figure("events_minio_upload_to_handler", &waits, "ms", goal).into_iter().collect())
}

/// A webhook whose events wait in MinIO's queue directory, where none is lost.
pub(super) fn queued(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let mut world = by_webhook(bed, runtime, true, USUAL_POLL)?;
    let waits = world.waits(bed, runtime, QUEUED_SAMPLES, USUAL_POLL, QUEUE_TICK)?;
    print(&waits, USUAL_POLL);
    let goal = Goal::AtMost(3_200.0);
    Ok(figure("events_minio_upload_to_handler_queued", &waits, "ms", goal).into_iter().collect())
}

/// No webhook, and a bucket that is not small.
pub(super) fn listed(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let service = Service::start(&bed.budget, runtime, None)?;
    let puts = (0..OBJECTS).map(|number| upload(&service, number));
    runtime.block_on(all(&bed.budget, puts))?;
    let mut took = Vec::new();
    for _ in 0..LISTS {
        let begin = Instant::now();
        runtime.block_on(service.s3.count(BUCKET, "", u64::MAX))?;
        took.push(begin.elapsed().as_secs_f64());
    }
    let took = Duration::from_secs_f64(median(took).unwrap_or_default());
    let interval = LIST_INTERVAL.max(took * LIST_SHARE);
    println!(
        "{OBJECTS} objects: a list takes {:.0} ms, so there is one every {:.1} s",
        millis(took),
        interval.as_secs_f64()
    );
    let lists = BucketArgs { bucket_list_interval: LIST_INTERVAL, ..BucketArgs::default() };
    let mut world = World::start(bed, runtime, service, lists, OBJECTS, USUAL_POLL)?;
    let waits = world.waits(bed, runtime, LISTED_SAMPLES, USUAL_POLL, interval)?;
    print(&waits, USUAL_POLL);
    let goal = Goal::AtMost(millis(interval).round() + 100.0);
    Ok(figure("events_minio_upload_to_handler_listed", &waits, "ms", goal).into_iter().collect())
}

fn by_webhook(
    bed: &Bed,
    runtime: &Runtime,
    keeps_events: bool,
    poll: Duration,
) -> Result<World, anyhow::Error> {
    let addr = free_address()?;
    let token = kipper_trigger::token::webhook(TOKEN.as_bytes(), NAMESPACE);
    let webhook = Webhook { endpoint: format!("http://{addr}/"), token, keeps_events };
    let service = Service::start(&bed.budget, runtime, Some(webhook))?;
    let bucket = BucketArgs {
        bucket_listen: Some(addr),
        bucket_token: Some(TOKEN.into()),
        bucket_list_interval: NEVER,
        bucket_backstop_interval: NEVER,
        ..BucketArgs::default()
    };
    World::start(bed, runtime, service, bucket, 0, poll)
}

impl World {
    /// Returns once an upload was handled. The bucket has `uploaded` objects.
    fn start(
        bed: &Bed,
        runtime: &Runtime,
        service: Service,
        bucket: BucketArgs,
        uploaded: usize,
        poll: Duration,
    ) -> Result<Self, anyhow::Error> {
        let webhook = bucket.bucket_listen;
        let watcher = watch_bucket(&bed.budget, &service, bucket)?;
        if webhook.is_some() {
            until(&bed.budget, "the bucket's rules", || {
                let rules = runtime.block_on(service.s3.rules(BUCKET, Minio::WEBHOOK_ARN));
                rules.is_ok_and(|rules| !rules.is_empty())
            })?;
        }
        let (addr, handled) = handler()?;
        let interval = humantime::format_duration(poll).to_string();
        let flags = service.flags(&["--poll-interval".to_owned(), interval]);
        let poller = Poller::start(bed, &format!("http://{addr}/event"), &flags)?;
        let mut world = Self { _poller: poller, _watcher: watcher, service, handled, uploaded };
        world.wait(runtime)?;
        Ok(world)
    }

    /// Milliseconds from uploads to their handlers. After each the poller is idle again, and an even
    /// part of `period` goes by.
    fn waits(
        &mut self,
        bed: &Bed,
        runtime: &Runtime,
        samples: usize,
        poll: Duration,
        period: Duration,
    ) -> Result<Vec<f64>, anyhow::Error> {
        let mut waits = Vec::new();
        for sample in 0..samples {
            bed.budget.check()?;
            thread::sleep(poll + period.mul_f64(sample as f64 / samples as f64));
            waits.push(millis(self.wait(runtime)?));
        }
        Ok(waits)
    }

    fn wait(&mut self, runtime: &Runtime) -> Result<Duration, anyhow::Error> {
        let begin = Instant::now();
        runtime.block_on(upload(&self.service, self.uploaded))?;
        self.uploaded += 1;
        Ok(next(&self.handled)?.seen.saturating_duration_since(begin))
    }
}

async fn upload(service: &Service, number: usize) -> Result<(), S3Error> {
    let body = vec![b'x'; 1_024];
    service.s3.put(BUCKET, &key(number), body, Condition::None).await?;
    Ok(())
}

/// An adapter that watches the bucket and knows by now what was in it. Dropping the runtime ends it.
fn watch_bucket(
    budget: &Budget,
    service: &Service,
    bucket: BucketArgs,
) -> Result<Runtime, anyhow::Error> {
    let trigger = BucketTrigger {
        namespace: NAMESPACE.to_owned(),
        function: FUNCTION.to_owned(),
        endpoint: service.endpoint.clone(),
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        suffix: String::new(),
        state_bucket: DEFAULT_STATE_BUCKET.to_owned(),
    };
    let (_, triggers) = watch::channel(Some([trigger].into()));
    let (_, leader) = watch::channel(Leader::Me);
    let sources = BucketSources { triggers, leader };
    let config = Config { bucket, ..Config::in_process() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let adapter = runtime.block_on(Adapter::bind_with_buckets(&config, Some(sources)))?;
    let registry = adapter.registry();
    runtime.spawn(adapter.serve(CancellationToken::new()));
    until(budget, "the first list", || {
        let families = registry.gather();
        let lists = families
            .iter()
            .filter(|family| family.name() == "kipper_scaler_adapter_bucket_lists_total");
        lists.flat_map(|family| family.get_metric()).any(|lists| {
            let is_ok = lists.get_label().iter().any(|label| label.value() == "ok");
            is_ok && lists.get_counter().get_value() > 0.0
        })
    })?;
    Ok(runtime)
}

fn print(waits: &[f64], poll: Duration) {
    let p50 = median(waits.iter().copied()).unwrap_or_default();
    let longest = waits.iter().copied().fold(0.0, f64::max);
    println!(
        "p50 {p50:.1} ms, longest {longest:.1} ms of {}; the idle poller looks every {}",
        waits.len(),
        humantime::format_duration(poll)
    );
}
