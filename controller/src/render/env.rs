//! The environment of a function's container, and what is declared twice in it.
//!
//! One name has one value: `spec.env` gives way to bindings, bindings to the function's Secret,
//! and all of them to the names Kipper sets. The Secret comes by `envFrom`, which Kubernetes lets
//! any `env` entry beat, so what the Secret holds is left out of `env`. In the list bindings stand
//! before `spec.env`, so that a value may refer to one: `postgres://$(DB_USER)@$(DB_HOST)`. Anything
//! else that Kubernetes would take for a reference is escaped: a function gets the text that its user
//! gave.

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
pub(super) fn env(input: &Input<'_>, holders: &Holders, reserved: Vec<EnvVar>) -> Vec<EnvVar> {
    let winner = |name: &str| holders.get(name).and_then(|holders| holders.last());
    let is_bound = |name: &str| matches!(winner(name), Some(Holder::Binding(_)));
    let set: BTreeSet<String> = reserved.iter().map(|variable| variable.name.clone()).collect();

    let mut env: Vec<EnvVar> = Vec::new();
    env.extend(
        // Of the reserved names only those set below would hide a key of the Secret. An empty
        // value is what the runtimes take for an unset one.
        input
            .secret_keys
            .iter()
            .filter(|key| env_name::is_reserved(key) && !set.contains(*key))
            .map(|key| literal(key, "")),
    );
    env.extend(reserved);
    for binding in input.bindings {
        for (name, key) in variables(binding) {
            if is_bound(&name) {
                env.push(from_secret(name, binding, key));
            }
        }
    }
    let own = input.function.spec.env.iter();
    env.extend(
        own.filter(|(name, _)| winner(name) == Some(&Holder::Env))
            .map(|(name, value)| plain(name, with_references(value, is_bound))),
    );
    env
}

/// A variable with exactly this value.
pub(super) fn literal(name: &str, value: &str) -> EnvVar {
    plain(name, escaped(value))
}

/// Kubernetes would put the value of a variable in the place of `$(NAME)`, and `$` in that of `$$`.
fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

/// The same, but for references to what `is_bound` says is a binding's: they stay, and so does their
/// escaped form, `$$(NAME)`.
fn with_references(value: &str, is_bound: impl Fn(&str) -> bool) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        let (before, found) = rest.split_at(at);
        text.push_str(before);
        let kept = reference(found).filter(|(name, _)| is_bound(name));
        let length = kept.map_or(1, |(_, length)| length);
        match kept {
            Some(_) => text.push_str(&found[..length]),
            None => text.push_str("$$"),
        }
        rest = &found[length..];
    }
    text.push_str(rest);
    text
}

/// Name and length of a `$(NAME)` or `$$(NAME)` that a text begins with.
fn reference(text: &str) -> Option<(&str, usize)> {
    let inside = text.strip_prefix("$(").or_else(|| text.strip_prefix("$$("))?;
    let (name, _) = inside.split_once(')')?;
    Some((name, text.len() - inside.len() + name.len() + 1))
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

fn plain(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_gets_the_text_that_was_given() {
        let is_bound = |name: &str| name == "DB_USER";
        for (given, expected) in [
            ("plain", "plain"),
            ("a$$b", "a$$$$b"),
            ("cost: $5", "cost: $$5"),
            ("$(PORT)", "$$(PORT)"),
            ("$(DB_USER)", "$(DB_USER)"),
            ("p://$(DB_USER):$(X)@$", "p://$(DB_USER):$$(X)@$$"),
            ("$$(DB_USER)", "$$(DB_USER)"),
            ("$$(X)", "$$$$(X)"),
            ("$(DB_USER", "$$(DB_USER"),
            ("$(DB_USER)$(DB_USER)", "$(DB_USER)$(DB_USER)"),
        ] {
            assert_eq!(with_references(given, is_bound), expected, "{given}");
        }
        for text in ["a$$b", "$5", "$(PORT)", "$$(X)", "$", "$$"] {
            assert_eq!(expand(&with_references(text, is_bound)), text);
            assert_eq!(expand(&escaped(text)), text);
        }
        assert_eq!(
            expand(&with_references("$(DB_USER)-$$(DB_USER)", is_bound)),
            "VALUE-$(DB_USER)"
        );
    }

    /// What Kubernetes makes of a value where every name has one
    /// (`k8s.io/kubernetes/third_party/forked/golang/expansion`).
    fn expand(text: &str) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            rest = if let Some(literal) = after.strip_prefix('$') {
                expanded.push('$');
                literal
            } else if let Some((_, behind)) =
                after.strip_prefix('(').and_then(|inside| inside.split_once(')'))
            {
                expanded.push_str("VALUE");
                behind
            } else {
                expanded.push('$');
                after
            };
        }
        expanded + rest
    }
}
