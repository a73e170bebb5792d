//! What a poller beside a function is started with.

use std::{collections::BTreeSet, time::Duration};

use crate::{event::EventTrigger, kind::Kind, secret::SecretKey, variable::Variable};

/// Path that the runtimes of inline code answer their readiness on.
pub const DEFAULT_HEALTH_PATH: &str = "/health";
/// Where the certificate authority of a source is mounted.
pub const CA_DIRECTORY: &str = "/var/run/kipper/source";
/// Its file there.
pub const CA_FILE: &str = "ca.crt";

/// Everything that decides on the variables of the sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Sidecar<'a> {
    /// The trigger.
    pub trigger: EventTrigger<'a>,
    /// Namespace of the function.
    pub namespace: &'a str,
    /// Its name.
    pub function: &'a str,
    /// Port it listens on, on the pod's loopback.
    pub port: u16,
    /// Path that answers once it takes events; without one an accepted connection is enough.
    pub health_path: Option<&'a str>,
    /// Port of the poller's probes and metrics.
    pub admin_port: u16,
    /// Its drain port.
    pub drain_port: u16,
    /// How long a drain takes at the least.
    pub drain_delay: Option<Duration>,
    /// Events claimed and not yet marked at most.
    pub max_held: u32,
    /// Bucket in which events of a bucket wait.
    pub state_bucket: &'a str,
    /// `host:port` of the scaler-adapters, where they scale this function ahead of the HPA.
    pub backlog_address: Option<&'a str>,
    /// Keys that its Secret has.
    pub keys: &'a BTreeSet<SecretKey>,
}

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it stands.
    Text(String),
    /// What the Secret `<fn>-trigger` has under this key.
    Secret(SecretKey),
}

impl Sidecar<'_> {
    /// The variables, in a fixed order.
    pub fn environment(&self) -> Vec<(Variable, Value)> {
        let seconds = |duration: Duration| format!("{}s", duration.as_secs());
        let health_path = self.health_path.map(|path| (Variable::HealthPath, path.to_owned()));
        let drain_delay = self.drain_delay.map(|delay| (Variable::DrainDelay, seconds(delay)));
        let state_bucket = (Variable::StateBucket, self.state_bucket.to_owned());
        let state_bucket = (self.trigger.kind == Kind::Minio).then_some(state_bucket);
        let backlog = self.backlog_address.map(|to| (Variable::BacklogAddress, to.to_owned()));
        let has_ca = self.keys.contains(&SecretKey::Ca);
        let ca = has_ca.then(|| (Variable::SourceCa, format!("{CA_DIRECTORY}/{CA_FILE}")));
        let texts = [
            (Variable::Trigger, self.trigger.kind.to_string()),
            (Variable::Namespace, self.namespace.to_owned()),
            (Variable::Function, self.function.to_owned()),
            (Variable::TargetUrl, target_url(self.port)),
        ];
        let texts = texts
            .into_iter()
            .chain(health_path)
            .chain([
                (Variable::AdminListen, format!("0.0.0.0:{}", self.admin_port)),
                (Variable::DrainListen, format!("0.0.0.0:{}", self.drain_port)),
            ])
            .chain(drain_delay)
            .chain([(Variable::MaxHeld, self.max_held.to_string())])
            .chain(backlog)
            .chain(self.trigger.variables())
            .chain(state_bucket)
            .chain(ca)
            .map(|(variable, text)| (variable, Value::Text(text)));
        let secrets = SecretKey::VARIABLES.into_iter().filter(|(_, key)| self.keys.contains(key));
        texts.chain(secrets.map(|(variable, key)| (variable, Value::Secret(key)))).collect()
    }
}

/// Where a function that listens on this port of the loopback takes events.
pub fn target_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/event")
}
