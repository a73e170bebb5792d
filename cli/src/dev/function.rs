//! One function at work: its route, its fleet, its KEDA and its cron trigger. What serves requests
//! or handles events has a fleet; only what serves requests has a route.
//!
//! Starts and stops the tasks of a function and carries changes to them. Holds no logic of its own.

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use kipper_function::{Timestamp, cron::Schedule, host, route::Route};
use kipper_interceptor::source::{self, FunctionId, Probe, RouteSpec};
use kipper_trigger::Setting;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    console::Voice,
    data_plane::DataPlane,
    events::{
        backlog::Counts,
        trigger::{EventTrigger, Unavailable},
    },
    journal::Journal,
    load::{Code, LocalFunction, NAMESPACE},
    run::{
        cron,
        fleet::{Fleet, ORDERS, Order},
        launch::Launch,
        process::Starter,
        wake::WakeLog,
    },
    scale::{
        keda::{self, ScaledObject},
        scaler::Policy,
    },
};

/// Domain of the hosts.
const DOMAIN: &str = "localhost";

/// The periods that are the same for every function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periods {
    /// Instead of the function's own idle time.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) polling_interval: Duration,
    pub(crate) scale_down_window: Duration,
}

/// A function at work.
pub(crate) struct Running {
    pub(crate) function: LocalFunction,
    voice: Voice,
    starter: Starter,
    launch: watch::Sender<Launch>,
    server: Option<Server>,
    cron: Option<Cron>,
}

/// What starts its runs.
struct Cron {
    asked: mpsc::Sender<()>,
    _task: AbortOnDropHandle<()>,
}

/// What serves its requests and handles its events.
struct Server {
    orders: mpsc::Sender<Order>,
    fleet: JoinHandle<()>,
    keda: AbortOnDropHandle<()>,
    /// What KEDA ordered last.
    replicas: Arc<AtomicU32>,
}

/// What every function runs on.
pub(crate) struct Platform<'a> {
    pub(crate) data_plane: &'a DataPlane,
    pub(crate) periods: Periods,
}

impl Running {
    /// Starts what the function needs; no process yet, unless it keeps replicas while idle.
    pub(crate) fn start(
        function: LocalFunction,
        launch: Launch,
        platform: &Platform<'_>,
        starter: Starter,
    ) -> Self {
        let server = serves(&function, launch.events.as_ref())
            .then(|| Server::start(&function, launch.clone(), platform, starter.clone()));
        let (launch, launched) = watch::channel(launch);
        let voice = starter.context.voice.clone();
        let cron = start_cron(&function, launched, &starter);
        Self { function, voice, starter, launch, server, cron }
    }

    /// The code, or what goes with it, changed.
    pub(crate) async fn reload(&self, launch: Launch) {
        self.launch.send_replace(launch.clone());
        if let Some(server) = &self.server {
            // A fleet ends only after this.
            let _ = server.orders.send(Order::Reload(Box::new(launch))).await;
        } else {
            self.voice.say("changed, the next run starts the new version");
        }
    }

    /// Can it become this function without being started anew?
    pub(crate) fn may_become(
        &self,
        function: &LocalFunction,
        events: Option<&EventTrigger>,
    ) -> bool {
        let runs = self.server.is_some() || self.cron.is_some();
        runs && self.function.spec.is_http() == function.spec.is_http()
            && self.server.is_some() == serves(function, events)
    }

    /// The Function changed, but not what it has; see [`Running::may_become`].
    pub(crate) async fn update(
        &mut self,
        function: LocalFunction,
        launch: Launch,
        platform: &Platform<'_>,
    ) {
        if let Some(server) = &mut self.server {
            if function.spec.is_http() {
                // The feed is closed only when everything ends.
                let _ = platform.data_plane.feed.apply(route(&function, platform.periods));
            }
            server.keda =
                play(&function, &launch, platform, &server.replicas, &server.orders, &self.starter);
        }
        if timetable(&function) != timetable(&self.function) {
            self.cron = start_cron(&function, self.launch.subscribe(), &self.starter);
        }
        self.function = function;
        if launch != *self.launch.borrow() || self.launch_reads_other_code() {
            self.reload(launch).await;
        }
    }

    /// What became of it.
    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.voice.journal
    }

    /// Does it have a cron trigger?
    pub(crate) fn is_scheduled(&self) -> bool {
        self.cron.is_some()
    }

    /// Runs it now, or after the run that goes on.
    pub(crate) fn run_now(&self) {
        if self.cron.as_ref().is_some_and(|cron| cron.asked.try_send(()).is_err()) {
            self.voice.warn("another run is waiting already");
        }
    }

    /// Inline code is written to one place, so the launch alone does not tell that it changed.
    fn launch_reads_other_code(&self) -> bool {
        self.function.code == Code::Inline
    }

    /// Takes the route away and has every process stopped; resolves when they are.
    pub(crate) fn stop(self, data_plane: &DataPlane) -> Option<JoinHandle<()>> {
        // Its run is stopped with it.
        drop(self.cron);
        let server = self.server?;
        let _ = data_plane.feed.remove(id(&self.function.name));
        // KEDA's task has the other sender until it is gone.
        drop((server.keda, server.orders));
        Some(server.fleet)
    }
}

impl Server {
    fn start(
        function: &LocalFunction,
        launch: Launch,
        platform: &Platform<'_>,
        starter: Starter,
    ) -> Self {
        let data_plane = platform.data_plane;
        let route = route(function, platform.periods);
        let wakes = WakeLog {
            voice: starter.context.voice.clone(),
            router: Arc::clone(&data_plane.router),
            host: route.hosts.first().cloned().unwrap_or_default(),
        };
        if function.spec.is_http() {
            // The feed is closed only when everything ends.
            let _ = data_plane.feed.apply(route);
        }
        let (orders, receiver) = mpsc::channel(ORDERS);
        let replicas = Arc::default();
        let keda = play(function, &launch, platform, &replicas, &orders, &starter);
        let fleet = Fleet::new(id(&function.name), launch, starter, data_plane.feed.clone(), wakes);
        Self { orders, fleet: tokio::spawn(fleet.run(receiver)), keda, replicas }
    }
}

fn start_cron(
    function: &LocalFunction,
    launch: watch::Receiver<Launch>,
    starter: &Starter,
) -> Option<Cron> {
    let (asked, asking) = mpsc::channel(cron::ASKED);
    let running = cron::run(timetable(function)?, asking, launch, starter.clone());
    Some(Cron { asked, _task: AbortOnDropHandle::new(tokio::spawn(running)) })
}

/// Does it have processes that stay, for requests or for events?
fn serves(function: &LocalFunction, events: Option<&EventTrigger>) -> bool {
    function.spec.is_http() || events.is_some()
}

fn play(
    function: &LocalFunction,
    launch: &Launch,
    platform: &Platform<'_>,
    replicas: &Arc<AtomicU32>,
    orders: &mpsc::Sender<Order>,
    starter: &Starter,
) -> AbortOnDropHandle<()> {
    let Periods { polling_interval, scale_down_window, .. } = platform.periods;
    let (spec, voice) = (&function.spec, starter.context.voice.clone());
    let (min, max) = spec.replica_limits();
    let policy =
        Policy { min, max, cooldown: idle_timeout(function, platform.periods), scale_down_window };
    let scaled = ScaledObject::new(&id(&function.name), spec, policy, polling_interval);
    let counts = launch.events.clone().map(|events| {
        let (context, stop) = (starter.context.clone(), starter.stop_events.clone());
        Counts::start(events, max, polling_interval, context, stop)
    });
    let client = platform.data_plane.scaler.clone();
    let asks = platform.data_plane.asks.of(&function.name, Arc::clone(replicas));
    let replicas = Arc::clone(replicas);
    let playing = keda::play(client, scaled, counts, replicas, asks, orders.clone(), voice);
    AbortOnDropHandle::new(tokio::spawn(playing))
}

fn id(name: &str) -> FunctionId {
    FunctionId::new(NAMESPACE, name)
}

fn idle_timeout(function: &LocalFunction, periods: Periods) -> Duration {
    periods.idle_timeout.unwrap_or_else(|| function.spec.idle_timeout())
}

/// When a function with a cron trigger runs by itself: never, while that is suspended.
fn timetable(function: &LocalFunction) -> Option<Option<Schedule>> {
    let is_suspended = function.spec.cron_trigger()?.suspend;
    // Validated when it was loaded.
    let schedule = function.spec.schedule()?;
    Some((!is_suspended).then_some(schedule))
}

/// `fn-<name>-localhost`, as a cluster forms it, and `fn-<name>.localhost`, which every browser
/// resolves to this machine.
pub(crate) fn hosts(name: &str) -> Vec<String> {
    let joined = host::host(name, DOMAIN, &[""]);
    let below = host::host(name, DOMAIN, host::DEFAULT_SHARED_PARENTS);
    [joined, below].into_iter().flatten().collect()
}

fn route(function: &LocalFunction, periods: Periods) -> RouteSpec {
    let (id, hosts) = (id(&function.name), hosts(&function.name));
    RouteSpec {
        idle_timeout: idle_timeout(function, periods),
        // The runtimes listen only once the handler is loaded, so listening is ready.
        probe: Probe::Tcp,
        ..source::function::route(id, hosts, &Route::new(&function.spec, function.retry_idempotent))
    }
}

/// Why nothing handles its events; `None` where something does, or it has no event trigger.
pub(crate) fn unhandled(
    function: &LocalFunction,
    events: Option<&Result<EventTrigger, Unavailable>>,
) -> Option<String> {
    let why = events?.as_ref().err()?;
    Some(format!("{} trigger: {why}", function.spec.event()?.kind))
}

/// How the function is reached, for the list at start.
pub(crate) fn summary(
    function: &LocalFunction,
    events: Option<&Result<EventTrigger, Unavailable>>,
    url: &str,
) -> String {
    let mut parts = Vec::new();
    if function.spec.is_http() {
        parts.push(format!("curl {url}/_fn/{}/", function.name));
    }
    if let Some(schedule) = function.spec.schedule() {
        let is_suspended = function.spec.cron_trigger().is_some_and(|trigger| trigger.suspend);
        let next = schedule.next(Timestamp::now()).filter(|_| !is_suspended);
        let when = match next {
            Some(next) => schedule.local(next).strftime("next %Y-%m-%d %H:%M:%S %Z").to_string(),
            None => "suspended".to_owned(),
        };
        parts.push(format!("{}, {when}", schedule.describe()));
    }
    match (function.spec.event(), events) {
        (Some(_), Some(Err(_))) => parts.extend(unhandled(function, events)),
        (Some(trigger), events) => {
            let source = trigger.setting(Setting::Source);
            let name = source.filter(|source| !source.contains("://"));
            let from = name.map(|name| format!(" on {name}")).unwrap_or_default();
            let is_marked = !matches!(events, Some(Ok(events)) if !events.is_marked);
            let unmarked = if is_marked { "" } else { ", without markDone: one process at most" };
            parts.push(format!("{} trigger{from}{unmarked}", trigger.kind));
        }
        (None, _) => {}
    }
    format!("{:<6}  {}", function.runtime.as_str(), parts.join("  ·  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hosts_lead_to_a_function() {
        assert_eq!(hosts("hello"), ["fn-hello-localhost", "fn-hello.localhost"]);
    }
}
