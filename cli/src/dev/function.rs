//! One function at work: its route, its fleet, its KEDA and its cron trigger.
//!
//! Starts and stops the tasks of a function and carries changes to them. Holds no logic of its own.

use std::{sync::Arc, time::Duration};

use kipper_api::{Timestamp, cron::Schedule, function::Protocol as ApiProtocol, host};
use kipper_interceptor::source::{
    FunctionId, Probe, Protocol, RouteSpec, SecurityHeaders, Timeouts,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    console::Voice,
    cron,
    fleet::{Fleet, ORDERS, Order},
    keda::{self, ScaledObject},
    launch::Launch,
    load::LocalFunction,
    plane::Plane,
    process::Starter,
    wake::WakeLog,
};

/// Namespace of every local function.
const NAMESPACE: &str = "local";
/// Domain of the hosts.
const DOMAIN: &str = "localhost";

/// The periods that are the same for every function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Periods {
    /// Instead of the function's own idle time.
    pub(super) idle_timeout: Option<Duration>,
    pub(super) polling_interval: Duration,
    pub(super) scale_down_window: Duration,
}

/// A function at work.
pub(super) struct Running {
    pub(super) function: LocalFunction,
    pub(super) voice: Voice,
    launch: watch::Sender<Launch>,
    server: Option<Server>,
    cron: Option<AbortOnDropHandle<()>>,
}

/// What serves its requests.
struct Server {
    orders: mpsc::Sender<Order>,
    fleet: JoinHandle<()>,
    keda: AbortOnDropHandle<()>,
}

impl Running {
    /// Starts what the function needs; no process yet, unless it keeps replicas while idle.
    pub(super) fn start(
        function: LocalFunction,
        launch: Launch,
        plane: &Plane,
        periods: Periods,
        new_starter: impl Fn() -> Starter,
    ) -> Self {
        let id = id(&function.name);
        let starter = new_starter();
        let voice = starter.voice.clone();
        let server = function.spec.is_http().then(|| {
            let route = route(&function, periods);
            let wakes = WakeLog {
                voice: voice.clone(),
                router: Arc::clone(&plane.router),
                host: route.hosts.first().cloned().unwrap_or_default(),
            };
            // The feed is closed only when everything ends.
            let _ = plane.feed.apply(route);
            let (orders, receiver) = mpsc::channel(ORDERS);
            let fleet = Fleet::new(id.clone(), launch.clone(), starter, plane.feed.clone(), wakes);
            let keda = play(&function, plane, periods, &orders, &voice);
            Server { orders, fleet: tokio::spawn(fleet.run(receiver)), keda }
        });
        let (launch, launched) = watch::channel(launch);
        let cron = schedule(&function).map(|schedule| {
            AbortOnDropHandle::new(tokio::spawn(cron::run(schedule, launched, new_starter())))
        });
        Self { function, voice, launch, server, cron }
    }

    /// The code or the way to start it changed.
    pub(super) async fn reload(&self, launch: Launch) {
        self.launch.send_replace(launch.clone());
        if let Some(server) = &self.server {
            // A fleet ends only after this.
            let _ = server.orders.send(Order::Reload(Box::new(launch))).await;
        } else {
            self.voice.say("changed, the next run starts the new version");
        }
    }

    /// Stops deciding: the replicas stay as they are, and no cron run starts any more.
    pub(super) fn stop_deciding(&mut self) {
        self.cron = None;
        if let Some(server) = &self.server {
            server.keda.abort();
        }
    }

    /// Takes the route away and stops every process.
    pub(super) async fn stop(mut self, plane: &Plane) {
        self.stop_deciding();
        if let Some(server) = self.server {
            let _ = plane.feed.remove(id(&self.function.name));
            drop(server.orders);
            // KEDA's task holds the other sender until it is gone.
            drop(server.keda);
            let _ = server.fleet.await;
        }
    }
}

fn play(
    function: &LocalFunction,
    plane: &Plane,
    periods: Periods,
    orders: &mpsc::Sender<Order>,
    voice: &Voice,
) -> AbortOnDropHandle<()> {
    let Periods { polling_interval, scale_down_window, .. } = periods;
    let idle_timeout = idle_timeout(function, periods);
    let id = id(&function.name);
    let scaled =
        ScaledObject::new(&id, &function.spec, idle_timeout, polling_interval, scale_down_window);
    let playing = keda::play(plane.scaler.clone(), scaled, 0, orders.clone(), voice.clone());
    AbortOnDropHandle::new(tokio::spawn(playing))
}

fn id(name: &str) -> FunctionId {
    FunctionId::new(NAMESPACE, name)
}

fn idle_timeout(function: &LocalFunction, periods: Periods) -> Duration {
    periods.idle_timeout.unwrap_or_else(|| function.spec.idle_timeout())
}

fn schedule(function: &LocalFunction) -> Option<Schedule> {
    // Validated when it was loaded.
    Schedule::parse(function.spec.cron_trigger()?.schedule()?).ok()
}

/// `fn-<name>-localhost`, as a cluster forms it, and `fn-<name>.localhost`, which every browser
/// resolves to this machine.
pub(super) fn hosts(name: &str) -> Vec<String> {
    let joined = host::host(name, DOMAIN, &[""]);
    let below = host::host(name, DOMAIN, host::DEFAULT_SHARED_PARENTS);
    [joined, below].into_iter().flatten().collect()
}

fn route(function: &LocalFunction, periods: Periods) -> RouteSpec {
    let spec = &function.spec;
    let allowlist = || SecurityHeaders { csp_allowlist: spec.csp_allowlist.clone() };
    RouteSpec {
        event_trigger: spec.event_trigger().is_some(),
        concurrency: spec.concurrency(),
        timeouts: Timeouts {
            cold_start: spec.cold_start_timeout(),
            response_header: spec.response_header_timeout(),
            request: spec.request_timeout(),
        },
        idle_timeout: idle_timeout(function, periods),
        // The runtimes listen only once the handler is loaded, so listening is ready.
        probe: Probe::Tcp,
        protocol: match spec.protocol() {
            ApiProtocol::Auto => Protocol::Auto,
            ApiProtocol::Http1 => Protocol::Http1,
            ApiProtocol::H2c => Protocol::H2c,
        },
        security: (!spec.no_security_headers).then(allowlist),
        retry_idempotent: function.retry_idempotent,
        ..RouteSpec::new(id(&function.name), hosts(&function.name))
    }
}

/// How the function is reached, for the list at start.
pub(super) fn summary(function: &LocalFunction, url: &str) -> String {
    let mut parts = Vec::new();
    if function.spec.is_http() {
        parts.push(format!("curl {url}/_fn/{}/", function.name));
    }
    if let Some(schedule) = schedule(function) {
        let next = schedule.next(Timestamp::now()).map(|next| format!(", next {next}"));
        parts.push(format!("{}{}", schedule.describe(), next.unwrap_or_default()));
    }
    format!("{:<6}  {}", function.runtime, parts.join("  ·  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hosts_lead_to_a_function() {
        assert_eq!(hosts("hello"), ["fn-hello-localhost", "fn-hello.localhost"]);
    }
}
