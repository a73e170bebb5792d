//! KEDA, as far as one function is concerned: its ScaledObject, played through the real contract.
//!
//! Holds a `StreamIsActive` open, polls `IsActive` and the metrics, and orders the replicas that
//! [`super::scaler`] decides on. Knows nothing of the interceptor: all it hears of requests comes
//! from the scaler-adapter over gRPC, and of events from a count of the source, as in a cluster.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use kipper_externalscaler::{
    GetMetricsRequest, MetricSpec, ScaledObjectRef, external_scaler_client::ExternalScalerClient,
};
use kipper_function::FunctionSpec;
use kipper_interceptor::source::FunctionId;
use kipper_trigger::scaler::{Metadata, Target};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tonic::transport::Channel;

use super::{
    super::{console::Voice, events::backlog::Counts, run::fleet::Order},
    asks::Ask,
    scaler::{Policy, Reading, Scaler},
};

/// Pause before a stream is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Client of the adapter.
pub(crate) type Client = ExternalScalerClient<Channel>;

/// What a ScaledObject says about one function.
#[derive(Clone, Debug)]
pub(crate) struct ScaledObject {
    name: String,
    /// What the external scaler is asked about; `None` for a function that takes no requests.
    requests: Option<ScaledObjectRef>,
    policy: Policy,
    polling_interval: Duration,
}

impl ScaledObject {
    /// The ScaledObject of a function, with the idle time and periods that are in force here.
    pub(crate) fn new(
        id: &FunctionId,
        spec: &FunctionSpec,
        policy: Policy,
        polling_interval: Duration,
    ) -> Self {
        let metadata = Metadata {
            function: Some(id.name.to_string()),
            idle_timeout: whole_seconds(policy.cooldown),
            polling_interval: whole_seconds(polling_interval).max(Duration::from_secs(1)),
            burst_max_replicas: spec.burst_max_replicas(),
            target: Target::Requests {
                rate: spec.target_request_rate(),
                concurrency: spec.concurrency(),
            },
        };
        let texts = metadata.texts().into_iter().map(|(key, value)| (key.to_owned(), value));
        let requests = spec.is_http().then(|| ScaledObjectRef {
            name: id.name.to_string(),
            namespace: id.namespace.to_string(),
            scaler_metadata: texts.collect(),
        });
        Self { name: id.name.to_string(), requests, policy, polling_interval }
    }
}

/// Rounded up: the contract has no fractions.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

/// What one trigger says in a poll. `None` stands for an answer that did not come.
#[derive(Clone, Debug, Default, PartialEq)]
struct Signal {
    active: Option<bool>,
    readings: Option<Vec<Reading>>,
}

impl Signal {
    /// What two triggers of one function say together: active if either is, inactive only if both
    /// are known to be; and all metrics or none, because the HPA scales down on nothing less.
    fn and(self, other: Self) -> Self {
        let active = match (self.active, other.active) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        let readings = self.readings.zip(other.readings);
        Self { active, readings: readings.map(|(one, other)| [one, other].concat()) }
    }
}

/// Plays until dropped or until orders are no longer taken. `replicas` is what the function has
/// now, and outlives this player; `asks` are for more of them. `counts` is there for a function with an event trigger.
pub(crate) async fn play(
    client: Client,
    scaled: ScaledObject,
    counts: Option<Counts>,
    replicas: Arc<AtomicU32>,
    mut asks: mpsc::Receiver<Ask>,
    orders: mpsc::Sender<Order>,
    voice: Voice,
) {
    let (activated, mut activations) = mpsc::channel(1);
    let stream = activations_of(client.clone(), scaled.requests.clone(), activated);
    let mut player = Player {
        client,
        scaler: Scaler::new(scaled.policy, replicas.load(Relaxed)),
        replicas,
        scaled,
        specs: None,
        orders,
        voice,
        began: Instant::now(),
    };
    let mut waiting = counts.as_ref().map(|counts| counts.waiting.clone());
    let playing = async {
        let mut ticks = interval(player.scaled.polling_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let before = player.scaler.replicas();
            let since = tokio::select! {
                biased;
                Some(at) = activations.recv() => {
                    player.scaler.activated(player.began.elapsed());
                    at
                }
                () = events_come(&mut waiting), if before == 0 => {
                    player.scaler.activated(player.began.elapsed());
                    Instant::now()
                }
                Some(Ask { from, to, answer }) = asks.recv() => {
                    // Who asked may have given up.
                    let _ = answer.send(player.scaler.asked(from, to));
                    Instant::now()
                }
                _ = ticks.tick() => player.poll(counts.as_ref()).await,
            };
            if player.order(before, since, counts.as_ref()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = stream => {}
        () = playing => {}
    }
}

/// Resolves with the next count that is above zero.
async fn events_come(waiting: &mut Option<watch::Receiver<Option<u64>>>) {
    let Some(waiting) = waiting else { return pending().await };
    loop {
        if waiting.changed().await.is_err() {
            return pending().await;
        }
        if waiting.borrow_and_update().is_some_and(|count| count > 0) {
            return;
        }
    }
}

/// Forwards every `true` with its time, for as long as it is wanted. One that finds the last one
/// still waiting is dropped: it says nothing new.
async fn activations_of(
    mut client: Client,
    object: Option<ScaledObjectRef>,
    activated: mpsc::Sender<Instant>,
) {
    let Some(object) = object else { return pending().await };
    loop {
        match client.stream_is_active(object.clone()).await {
            Ok(response) => {
                let mut stream = response.into_inner();
                while let Ok(Some(activity)) = stream.message().await {
                    if activity.result {
                        let _ = activated.try_send(Instant::now());
                    }
                }
            }
            Err(status) => tracing::debug!(function = object.name, %status, "no activity stream"),
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

struct Player {
    client: Client,
    scaled: ScaledObject,
    scaler: Scaler,
    replicas: Arc<AtomicU32>,
    /// Metrics and targets; asked for until the adapter has answered once.
    specs: Option<Vec<MetricSpec>>,
    orders: mpsc::Sender<Order>,
    voice: Voice,
    began: Instant,
}

impl Player {
    /// One poll; returns when it was decided.
    async fn poll(&mut self, counts: Option<&Counts>) -> Instant {
        let requests = match self.scaled.requests.clone() {
            Some(object) => Some(self.requests(object).await),
            None => None,
        };
        let events = counts.map(|counts| {
            let waiting = *counts.waiting.borrow();
            let target = counts.trigger.batch as f64;
            let readings = waiting.map(|count| vec![Reading { value: count as f64, target }]);
            Signal { active: waiting.map(|count| count > 0), readings }
        });
        let signal = match (requests, events) {
            (Some(requests), Some(events)) => requests.and(events),
            (one, other) => one.or(other).unwrap_or_default(),
        };
        self.scaler.polled(self.began.elapsed(), signal.active, signal.readings.as_deref());
        Instant::now()
    }

    /// What the external scaler says.
    async fn requests(&mut self, object: ScaledObjectRef) -> Signal {
        let active = match self.client.is_active(object.clone()).await {
            Ok(response) => Some(response.into_inner().result),
            Err(status) => {
                tracing::debug!(function = self.scaled.name, %status, "activity unknown");
                None
            }
        };
        // The HPA sleeps while there is nothing to scale.
        let is_awake = self.scaler.replicas() > 0;
        let readings = if is_awake { self.readings(object).await } else { None };
        Signal { active, readings }
    }

    /// Every metric; `None` when one of them is missing, because the HPA scales on all or,
    /// downwards, on none.
    async fn readings(&mut self, object: ScaledObjectRef) -> Option<Vec<Reading>> {
        if self.specs.is_none() {
            let response = self.client.get_metric_spec(object.clone()).await.ok()?;
            self.specs = Some(response.into_inner().metric_specs);
        }
        let mut readings = Vec::new();
        for spec in self.specs.iter().flatten() {
            let request = GetMetricsRequest {
                scaled_object_ref: Some(object.clone()),
                metric_name: spec.metric_name.clone(),
            };
            let response = self.client.get_metrics(request).await.ok()?;
            let values = response.into_inner().metric_values;
            let value = values.iter().map(|value| value.metric_value_float).sum();
            readings.push(Reading { value, target: spec.target_size_float });
        }
        Some(readings)
    }

    /// Orders what was decided, if it is something new.
    async fn order(
        &self,
        before: u32,
        since: Instant,
        counts: Option<&Counts>,
    ) -> Result<(), mpsc::error::SendError<Order>> {
        let replicas = self.scaler.replicas();
        if replicas == before {
            return Ok(());
        }
        let reason = counts.and_then(Counts::in_words).filter(|_| replicas > before);
        match reason {
            Some(waiting) => {
                let replicas =
                    if replicas == 1 { "1 replica" } else { &format!("{replicas} replicas") };
                self.voice.say(format!("{waiting} → {replicas}"));
            }
            None if replicas == 0 => self.voice.say("idle, scaled to 0"),
            None if before > 0 => self.voice.say(format!("scaled {before} → {replicas}")),
            None => {}
        }
        self.replicas.store(replicas, Relaxed);
        self.orders.send(Order::Scale { replicas, since }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_triggers_say_one_thing() {
        let reading = Reading { value: 1.0, target: 5.0 };
        let signal =
            |active, known: bool| Signal { active, readings: known.then(|| vec![reading]) };
        let check = |one: Signal, other: Signal, active, readings: Option<usize>| {
            for together in [one.clone().and(other.clone()), other.and(one)] {
                assert_eq!(together.active, active);
                assert_eq!(together.readings.map(|readings| readings.len()), readings);
            }
        };
        let (no, yes) = (signal(Some(false), true), signal(Some(true), true));
        check(no.clone(), no.clone(), Some(false), Some(2));
        check(no.clone(), yes.clone(), Some(true), Some(2));
        check(no, signal(None, false), None, None);
        check(yes, signal(None, false), Some(true), None);
    }
}
