//! The environment of a function's container, and what is declared twice in it.
//!
//! One name has one value: `spec.env` gives way to bindings, bindings to the function's Secret,
//! and all of them to the names Kipper sets. The Secret comes by `envFrom`, which Kubernetes lets
//! any `env` entry beat, so what the Secret holds is left out of `env`. In the list bindings stand
//! before `spec.env`, so that a value may refer to one: `postgres://$(DB_USER)@$(DB_HOST)`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, SecretEnvSource, SecretKeySelector,
};
use kipper_function::{
    env_name, names,
    service::{ServiceKind, credentials},
};

use super::input::Input;
use crate::plan::Binding;

/// Who declares a variable, weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// `spec.env`.
    Env,
    /// A binding, by the Secret with its credentials.
    Binding(String),
    /// The function's Secret.
    Secret,
    /// Kipper itself.
    Reserved,
}

/// A name with more than one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The variable.
    pub name: String,
    /// Its holders, weakest first; at least two.
    pub holders: Vec<Holder>,
}

impl Clash {
    /// True when nothing says which value is meant: two bindings, and nothing that outranks both.
    /// Such a function is not rendered.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self.holders[..], [.., Holder::Binding(_), Holder::Binding(_)])
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env => f.write_str("spec.env"),
            Self::Binding(secret) => write!(f, "the binding of {secret}"),
            Self::Secret => f.write_str("the function's Secret"),
            Self::Reserved => f.write_str("Kipper"),
        }
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is set by ", self.name)?;
        for (at, holder) in self.holders.iter().enumerate() {
            let joint = if at == 0 { "" } else { " and by " };
            write!(f, "{joint}{holder}")?;
        }
        match self.holders.last() {
            Some(winner) if !self.is_ambiguous() => write!(f, "; {winner} wins"),
            _ => f.write_str("; give one of them another prefix"),
        }
    }
}

/// Every declared name with its holders, weakest first.
pub(super) type Holders = BTreeMap<String, Vec<Holder>>;

/// Names that are declared more than once, or that Kipper keeps for itself; sorted by name.
pub(super) fn clashes(holders: &Holders) -> Vec<Clash> {
    let several = holders.iter().filter(|(_, holders)| holders.len() > 1);
    several.map(|(name, holders)| Clash { name: name.clone(), holders: holders.clone() }).collect()
}

/// Who declares which variable.
pub(super) fn holders(input: &Input<'_>) -> Holders {
    let mut all = Holders::new();
    let mut hold = |name: String, holder| all.entry(name).or_default().push(holder);
    for name in input.function.spec.env.keys() {
        hold(name.clone(), Holder::Env);
    }
    for binding in input.bindings {
        for (name, _) in variables(binding) {
            hold(name, Holder::Binding(binding.secret.clone()));
        }
    }
    for key in input.secret_keys {
        hold(key.clone(), Holder::Secret);
    }
    for (name, holders) in &mut all {
        if env_name::is_reserved(name) {
            holders.push(Holder::Reserved);
        }
    }
    all
}

/// `env` of a container whose own variables are `reserved`.
pub(super) fn env(
    input: &Input<'_>,
    holders: &Holders,
    reserved: Vec<(&str, String)>,
) -> Vec<EnvVar> {
    let winner = |name: &str| holders.get(name).and_then(|holders| holders.last());
    let set: BTreeSet<&str> = reserved.iter().map(|(name, _)| *name).collect();

    let mut env: Vec<EnvVar> = Vec::new();
    env.extend(
        // Of the reserved names only those set below would hide a key of the Secret. An empty
        // value is what the runtimes take for an unset one.
        input
            .secret_keys
            .iter()
            .filter(|key| env_name::is_reserved(key) && !set.contains(key.as_str()))
            .map(|key| plain(key, "")),
    );
    env.extend(reserved.iter().map(|(name, value)| plain(name, value)));
    for binding in input.bindings {
        for (name, key) in variables(binding) {
            if let Some(Holder::Binding(_)) = winner(&name) {
                env.push(from_secret(name, binding, key));
            }
        }
    }
    let own = input.function.spec.env.iter();
    env.extend(
        own.filter(|(name, _)| winner(name) == Some(&Holder::Env))
            .map(|(name, value)| plain(name, value)),
    );
    env
}

/// The function's Secret, once there is one: the kubelet would look for it at every start. Optional,
/// because somebody may delete it before the controller hears of it.
pub(super) fn env_from(input: &Input<'_>, function: &str) -> Option<Vec<EnvFromSource>> {
    input.secret_digest?;
    let secret = SecretEnvSource { name: names::secrets(function), optional: Some(true) };
    Some(vec![EnvFromSource { secret_ref: Some(secret), ..EnvFromSource::default() }])
}

/// Name and key of everything that `binding` injects.
fn variables(binding: &Binding) -> impl Iterator<Item = (String, &'static str)> {
    // Clusters of old inject both.
    let username = binding.kind.is_database().then_some(credentials::USERNAME);
    binding.kind.variables().iter().copied().chain(username).map(|variable| {
        let key = if variable == "USER" { credentials::USERNAME } else { variable };
        (format!("{}{variable}", binding.prefix), key)
    })
}

fn plain(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn from_secret(name: String, binding: &Binding, key: &str) -> EnvVar {
    // A Redis without a password is a Redis; anything else without its key cannot be reached, and
    // the pod says so.
    let optional = binding.kind == ServiceKind::Redis && key == credentials::PASSWORD;
    let selector = SecretKeySelector {
        name: binding.secret.clone(),
        key: key.to_owned(),
        optional: optional.then_some(true),
    };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name, value: None, value_from: Some(source) }
}
