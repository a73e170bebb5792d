//! Names that are both in a function's environment and in its Secret: the Secret's value is the one
//! that the function gets, and whoever sets either is told.

use std::collections::BTreeSet;

use kipper_function::Function;
use kube::ResourceExt as _;

use crate::output;

/// Variables of the environment that a secret of the same name overrides.
pub(super) fn variables(function: &Function) -> BTreeSet<&str> {
    let keys = function.status.iter().flat_map(|status| &status.secret_keys);
    let keys = keys.map(|key| key.name.as_str());
    keys.filter(|key| function.spec.env.contains_key(*key)).collect()
}

/// Warns of variables that were set now and that a secret overrides. `flags` are those of the cluster.
pub(super) fn warn_of_env<'a>(
    function: &Function,
    set: impl IntoIterator<Item = &'a str>,
    flags: &str,
) {
    let overridden = variables(function);
    let set: BTreeSet<&str> = set.into_iter().filter(|name| overridden.contains(name)).collect();
    for variable in set {
        output::note(of_env(&function.name_any(), variable, flags));
    }
}

/// Warns of secrets that were set now and that override a variable.
pub(super) fn warn_of_secrets<'a>(
    function: &Function,
    set: impl IntoIterator<Item = &'a str>,
    flags: &str,
) {
    for secret in set.into_iter().filter(|key| function.spec.env.contains_key(*key)) {
        output::note(of_secret(&function.name_any(), secret, flags));
    }
}

fn of_env(function: &str, name: &str, flags: &str) -> String {
    format!(
        "warning: {name} has no effect, because function {function} has a secret of the same name; \
         `kip function secret delete {function} {name}{flags}` removes the secret"
    )
}

fn of_secret(function: &str, name: &str, flags: &str) -> String {
    format!(
        "warning: the secret {name} overrides the environment variable of the same name; \
         `kip function env delete {function} {name}{flags}` removes the variable"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_in_both_is_named() {
        let object = json!({
            "metadata": { "name": "hello" },
            "spec": { "image": "x", "env": { "A": "1", "B": "2" } },
            "status": { "secretKeys": [{ "name": "B" }, { "name": "C" }] },
        });
        let function: Function = serde_json::from_value(object).unwrap();
        assert_eq!(variables(&function), BTreeSet::from(["B"]));
        assert!(
            of_env("hello", "B", " -n x").contains("`kip function secret delete hello B -n x`")
        );
        assert!(of_secret("hello", "B", "").contains("`kip function env delete hello B`"));
    }
}
