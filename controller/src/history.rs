//! Which revision a spec is, and what of a Function's history is kept.
//!
//! The rules are pure; what is there is read from the cache, and nothing here writes. A revision is an
//! object like any other: rendered, applied, and removed with what else is not needed any more.
//!
//! A ConfigMap with code stays while it is that of the present spec, of a kept revision, or of a pod
//! that could start again. So no pod of a rollout ever finds its code gone, or other code in its place.

use std::collections::HashSet;

use kipper_function::{
    Function, names,
    revision::{Record, last_change},
};
use kube::ResourceExt as _;

use crate::{
    cache::{Cache, Key, Observed},
    plan::{Kind, Stamp},
};

/// Revisions of a function that are kept, the present one included. As many as a Deployment keeps.
pub(crate) const MAX_REVISIONS: usize = 10;
/// Bytes of a function's revisions that are kept. The largest spec that etcd takes has 1.5 MiB, so the
/// present one and the one before it always fit.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// A revision that is there: its name, and what it says of itself.
type Known = (String, Record);

/// Number and origin of the revision with this name, which is that of the present spec.
pub(crate) fn stamp(cache: &Cache, function: &Function, key: &Key, name: &str) -> Stamp {
    let (changed_at, changed_by) = last_change(function);
    next(&known(cache, function, key), name, Stamp { number: 1, changed_at, changed_by })
}

/// Kinds and names of what is not rendered and stays all the same.
pub(crate) fn kept(cache: &Cache, function: &Function, key: &Key) -> HashSet<(Kind, String)> {
    let revisions = newest(known(cache, function, key));
    let codes = revisions.iter().filter_map(|(_, record)| record.code.clone());
    let pods = cache.pods.filter(|_, pod| pod.function == *key);
    let mounted = pods.into_iter().filter_map(|(_, pod)| pod.code);
    let codes = codes.chain(mounted).chain(former(cache, key));
    let codes = codes.map(|name| (Kind::ConfigMap, name));
    let revisions = revisions.iter().map(|(name, _)| (Kind::ControllerRevision, name.clone()));
    revisions.chain(codes).collect()
}

/// The one ConfigMap of all code from before there were revisions. No revision has it, so it stays until
/// the Deployment says that none of its pods are of an earlier template.
fn former(cache: &Cache, key: &Key) -> Option<String> {
    let deployment = cache.objects.get(&(Kind::Deployment, key.clone()));
    let workload = deployment.and_then(|observed| observed.workload)?;
    (!workload.rolled_out).then(|| names::former_code_config_map(&key.name))
}

/// The revisions of the function.
fn known(cache: &Cache, function: &Function, key: &Key) -> Vec<Known> {
    let uid = function.uid();
    let found = cache.objects.filter(|(kind, _), observed| {
        let owner = observed.owner.as_ref();
        *kind == Kind::ControllerRevision
            && owner.is_some_and(|owner| owner.function == *key && owner.uid == uid)
    });
    let known = |(id, observed): ((Kind, Key), Observed)| {
        // One that somebody changed beyond recognition is the oldest.
        (id.1.name, observed.revision.map(|record| *record).unwrap_or_default())
    };
    found.into_iter().map(known).collect()
}

/// What the revision `name` is once it is the present one; `change` is how it came to be that.
fn next(known: &[Known], name: &str, change: Stamp) -> Stamp {
    let last = known.iter().max_by(|(a, x), (b, y)| (x.number, a).cmp(&(y.number, b)));
    match last {
        None => change,
        Some((last, record)) if last == name && record.number > 0 => Stamp {
            number: record.number,
            changed_at: record.changed_at.clone(),
            changed_by: record.changed_by.clone(),
        },
        Some((_, record)) => Stamp { number: record.number.max(0).saturating_add(1), ..change },
    }
}

/// The last ones, as many as are kept.
fn newest(mut known: Vec<Known>) -> Vec<Known> {
    known.sort_by(|(a, x), (b, y)| (y.number, b).cmp(&(x.number, a)));
    let mut bytes: u64 = 0;
    let fits = |(_, record): &Known| {
        bytes = bytes.saturating_add(record.bytes);
        bytes <= MAX_BYTES
    };
    known.into_iter().take(MAX_REVISIONS).take_while(fits).collect()
}

#[cfg(test)]
mod tests;
