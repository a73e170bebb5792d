//! Event objects of a bucket, with leases inside them.
//!
//! What bounds a poller here is how many requests the server answers. So every drain has the same
//! requests beside it, made by the same client, as many at once and with nothing else: GET, PUT with
//! If-Match, DELETE. How many an event needs in the end, lists and the poller's start included, the
//! server has counted.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use kipper_bucket::{Condition, Endpoint, Event, Origin, Record, S3, S3Error, names};
use kipper_measure::{
    exposition::total,
    figures::{Figure, Goal},
};
use kipper_servers::minio::{Minio, Options, Webhook};
use tokio::runtime::Runtime;

use super::{
    bed::{Bed, figure},
    drain::{Drained, FUNCTION, NAMESPACE, Poller, metrics},
    latency::PATIENCE,
};
use crate::budget::Budget;

/// The bucket whose changes are the events.
pub(super) const BUCKET: &str = "photos";
/// Where they wait, as a poller has it by default.
const STATE_BUCKET: &str = "kipper-events";
/// When the first of the objects was written, a millisecond before the next, and as what.
const MODIFIED_MS: u64 = 1_764_118_800_000;
const ETAG: &str = "9b2cf535f27731c974343645a3985328";
/// As many at once as the client lets have a request under way.
const PARALLEL: usize = 16;
/// GET and PUT to claim, DELETE to mark.
const BARE_REQUESTS: usize = 3;
/// Where the server counts its requests, and under which name.
const COUNTS_PATH: &str = "/minio/metrics/v3/api/requests";
const COUNTS: &str = "minio_api_requests_total";
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server with both buckets, and its administrator's client.
pub(super) struct Service {
    pub(super) s3: S3,
    pub(super) endpoint: Endpoint,
    server: Minio,
}

/// One poller's drain.
struct Round {
    drained: Drained,
    /// Requests for one event.
    requests: f64,
    /// What the server does in a second with nothing but requests.
    floor: f64,
}

impl Service {
    pub(super) fn start(
        budget: &Budget,
        runtime: &Runtime,
        webhook: Option<Webhook>,
    ) -> Result<Self, anyhow::Error> {
        let open = ("MINIO_PROMETHEUS_AUTH_TYPE".to_owned(), "public".to_owned());
        let server = Minio::start(&Options { webhook, env: vec![open], ..Options::default() })?;
        let endpoint = Endpoint {
            url: server.endpoint(),
            access_key: Minio::ACCESS_KEY.to_owned(),
            secret_key: Minio::SECRET_KEY.to_owned(),
            authority: None,
        };
        let service = Self { s3: S3::new(&endpoint)?, endpoint, server };
        for bucket in [BUCKET, STATE_BUCKET] {
            // A server that has just started says so for a moment longer than it seems ready.
            until(budget, "a bucket", || {
                runtime.block_on(service.s3.create_bucket(bucket)).is_ok()
            })?;
        }
        Ok(service)
    }

    /// A poller's arguments.
    pub(super) fn flags(&self, more: &[String]) -> Vec<String> {
        let Endpoint { url, access_key, secret_key, .. } = &self.endpoint;
        let pairs = [
            ("--trigger", "minio"),
            ("--source-url", url),
            ("--source-access-key", access_key),
            ("--source-secret-key", secret_key),
            ("--bucket", BUCKET),
        ];
        let own = pairs.iter().flat_map(|(flag, value)| [*flag, *value]).map(str::to_owned);
        own.chain(more.iter().cloned()).collect()
    }

    /// Stores so many events of uploads as the bucket watcher does.
    async fn fill(&self, budget: &Budget, events: usize) -> Result<(), anyhow::Error> {
        all(budget, (0..events).map(|number| self.store(number))).await
    }

    async fn store(&self, number: usize) -> Result<(), S3Error> {
        let event = Event {
            name: "s3:ObjectCreated:Put".to_owned(),
            bucket: BUCKET.to_owned(),
            key: key(number),
            size: Some(48_213),
            etag: Some(ETAG.to_owned()),
            time: "2026-11-26T01:00:00.123Z".to_owned(),
            origin: Origin::Webhook,
        };
        let record = Record::new(event).to_bytes();
        self.s3.put(STATE_BUCKET, &pending(number), record, Condition::Absent).await?;
        Ok(())
    }

    /// Claims and marks so many events with nothing in between. Returns requests per second.
    async fn floor(&self, budget: &Budget, events: usize) -> Result<f64, anyhow::Error> {
        let begin = Instant::now();
        all(budget, (0..events).map(|number| self.claim_and_mark(number))).await?;
        Ok((events * BARE_REQUESTS) as f64 / begin.elapsed().as_secs_f64())
    }

    async fn claim_and_mark(&self, number: usize) -> Result<(), S3Error> {
        let name = pending(number);
        let object = self.s3.get(STATE_BUCKET, &name).await?;
        let unchanged = Condition::Unchanged(&object.etag);
        self.s3.put(STATE_BUCKET, &name, object.body, unchanged).await?;
        self.s3.delete(STATE_BUCKET, &name).await
    }

    /// Requests since the server's start, by its own count.
    fn requests(&self) -> Result<f64, anyhow::Error> {
        let metrics = metrics(self.server.address(), COUNTS_PATH)?;
        total(&metrics, COUNTS).context("the server does not count its requests")
    }

    fn round(&self, bed: &Bed, runtime: &Runtime) -> Result<Round, anyhow::Error> {
        let events = bed.size.consumed;
        runtime.block_on(self.fill(&bed.budget, events))?;
        let handler = format!("http://{}/event", bed.handler.addr);
        let before = self.requests()?;
        let drained = Poller::start(bed, &handler, &self.flags(&[]))?.drain(bed, events)?;
        let requests = (self.requests()? - before) / events as f64;
        let prefix = names::pending(NAMESPACE, FUNCTION);
        let left = runtime.block_on(self.s3.count(STATE_BUCKET, &prefix, 1))?;
        anyhow::ensure!(left == 0, "events are not marked");
        runtime.block_on(self.fill(&bed.budget, events))?;
        let floor = runtime.block_on(self.floor(&bed.budget, events))?;
        Ok(Round { drained, requests, floor })
    }
}

/// Rate of a poller, of what the server allows.
pub(super) fn drained(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let service = Service::start(&bed.budget, runtime, None)?;
    let mut shares = Vec::new();
    for _ in 0..bed.size.rounds {
        let Round { drained, requests, floor } = service.round(bed, runtime)?;
        let share = 100.0 * drained.rate * requests / floor;
        println!(
            "{:.0}/s, {:.0} us CPU, {:.1} MiB; {requests:.2} requests per event by the server's \
             count; bare GET, PUT If-Match, DELETE, {PARALLEL} at once: {floor:.0} requests/s; \
             {share:.0} % of that",
            drained.rate, drained.cpu_micros, drained.peak_mib,
        );
        shares.push(share);
    }
    let share = figure("events_minio_vs_server", &shares, "%", Goal::AtLeast(50.0));
    Ok(share.into_iter().collect())
}

/// Runs all of these, a few at once, unless the run ends before.
pub(super) async fn all<F: Future<Output = Result<(), S3Error>>>(
    budget: &Budget,
    acts: impl Iterator<Item = F>,
) -> Result<(), anyhow::Error> {
    let mut acts = stream::iter(acts).buffer_unordered(PARALLEL);
    while let Some(done) = acts.next().await {
        budget.check()?;
        done?;
    }
    Ok(())
}

/// Waits until something holds.
pub(super) fn until(
    budget: &Budget,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> Result<(), anyhow::Error> {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        budget.check()?;
        anyhow::ensure!(Instant::now() < give_up, "waited in vain for {what}");
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Key of an object in the bucket.
pub(super) fn key(number: usize) -> String {
    format!("in/{number}.jpg")
}

/// Name of the object of an event.
fn pending(number: usize) -> String {
    let id = names::created(BUCKET, &key(number), ETAG, MODIFIED_MS + number as u64);
    format!("{}{id}{}", names::pending(NAMESPACE, FUNCTION), names::SUFFIX)
}
