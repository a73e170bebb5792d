//! What Deployment and pods show of a Function, read from the cache.
//!
//! A poller that ended because its trigger cannot work is believed: the trigger is invalid until it
//! is another one, or until a poller with the same trigger reaches its source. That outlives the
//! pods, in the Function's status.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kipper_function::{Function, names::condition::TRIGGER_VALID};

use crate::{
    cache::{Cache, Failure, Key, Pod},
    plan::Kind,
    status::Seen,
};

/// Reason of a trigger that its poller refuses.
pub(crate) const REFUSED: &str = "TriggerRefused";

/// What Deployment and pods show.
pub(crate) fn workload(cache: &Cache, function: &Function, key: &Key) -> Seen {
    let deployment = cache.objects.get(&(Kind::Deployment, key.clone()));
    let pods = pods(cache, key);
    let mut seen = Seen {
        workload: deployment.and_then(|observed| observed.workload),
        failure: pods.iter().find_map(|pod| pod.failure.clone()),
        again: None,
    };
    let limit = function.spec.cold_start_timeout();
    for (since, failure) in pods.iter().filter_map(|pod| silent(pod, function, limit)) {
        let silent = Timestamp::now().duration_since(since).unsigned_abs();
        if silent < limit {
            seen.again = Some(limit - silent + Duration::from_secs(1));
        } else if seen.failure.is_none() {
            seen.failure = Some(failure);
        }
    }
    seen
}

/// Why a poller refused the trigger with this digest, if none has taken it since.
pub(crate) fn refusal(
    cache: &Cache,
    function: &Function,
    key: &Key,
    digest: &str,
) -> Option<String> {
    let pods = pods(cache, key);
    let pollers = pods.iter().filter_map(|pod| pod.poller.as_ref());
    let pollers: Vec<_> = pollers.filter(|poller| poller.digest == digest).collect();
    // Beside requests a poller is called ready as soon as it runs, which says nothing.
    if !function.spec.is_http() && pollers.iter().any(|poller| poller.ready) {
        return None;
    }
    let refused = pollers.iter().find_map(|poller| poller.refused.clone());
    refused.or_else(|| {
        let status = function.status.as_ref()?;
        let kept = status.refused_trigger.as_deref() == Some(digest);
        let condition = status.condition(TRIGGER_VALID).filter(|c| c.reason == REFUSED);
        kept.then(|| condition.map(|c| c.message.clone()).unwrap_or_default())
    })
}

/// Serving pods, the newest first: its fault is the newest, and those of a former version say what
/// was repaired.
fn pods(cache: &Cache, key: &Key) -> Vec<Pod> {
    let pods = cache.pods.filter(|_, pod| pod.server && pod.function == *key);
    let mut pods: Vec<_> = pods.into_iter().map(|(_, pod)| pod).collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.created));
    pods
}

/// Since when a pod that does not fail does not get ready either, and what that is if it goes on.
fn silent(pod: &Pod, function: &Function, limit: Duration) -> Option<(Timestamp, Failure)> {
    if pod.failure.is_some() {
        return None;
    }
    let seconds = limit.as_secs();
    if let Some(since) = pod.silent_since {
        let port = function.spec.port();
        let message = format!(
            "the container runs but does not answer on port {port}, for {seconds} s so far"
        );
        return Some((since, Failure { reason: "NotListening", message }));
    }
    let since = pod.poller.as_ref()?.waiting_since?;
    let message =
        format!("the poller has been waiting for its source for {seconds} s; see its log");
    Some((since, Failure { reason: "SourceUnavailable", message }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kipper_function::FunctionStatus;
    use serde_json::json;

    use super::*;
    use crate::{
        cache::Poller,
        plan::Reason,
        status::{Facts, status},
    };

    fn function(triggers: serde_json::Value, status: Option<FunctionStatus>) -> Function {
        let spec = serde_json::from_value(json!({ "image": "x", "triggers": triggers })).unwrap();
        let mut function = Function::new("f", spec);
        function.metadata.namespace = Some("shop".to_owned());
        function.status = status;
        function
    }

    fn poller(digest: &str, ready: bool, refused: Option<&str>) -> Poller {
        let refused = refused.map(str::to_owned);
        Poller { digest: digest.to_owned(), ready, refused, waiting_since: None }
    }

    fn cache(pollers: Vec<Poller>) -> Cache {
        let cache = Cache::new();
        for (at, poller) in pollers.into_iter().enumerate() {
            let pod = Pod {
                function: Key::new("shop", "f"),
                server: true,
                created: None,
                ready: poller.ready,
                silent_since: None,
                poller: Some(poller),
                failure: None,
            };
            cache.pods.put(Key::new("shop", format!("f-{at}")), pod);
        }
        cache
    }

    #[track_caller]
    fn check(function: &Function, pollers: Vec<Poller>, expected: Option<&str>) {
        let found = refusal(&cache(pollers), function, &Key::new("shop", "f"), "new");
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_refusal_holds_for_its_trigger_until_a_poller_takes_it() {
        let event = json!([{ "type": "redis", "config": { "source": "cache", "list": "jobs" } }]);
        let fresh = function(event.clone(), None);
        check(&fresh, vec![], None);
        check(&fresh, vec![poller("new", false, None)], None);
        check(&fresh, vec![poller("new", false, Some("no such list"))], Some("no such list"));
        check(&fresh, vec![poller("old", false, Some("no such list"))], None);
        // Old pods go on beside the new one.
        let rollout = vec![poller("old", true, None), poller("new", false, Some("bad"))];
        check(&fresh, rollout, Some("bad"));

        let facts = Facts {
            trigger: Some(Reason::new(REFUSED, "bad")),
            refused_trigger: Some("new".to_owned()),
            ..Facts::default()
        };
        let told = status(&fresh, &facts, Timestamp::UNIX_EPOCH);
        let refused = function(event, Some(told.clone()));
        check(&refused, vec![], Some("bad"));
        check(&refused, vec![poller("new", false, None)], Some("bad"));
        check(&refused, vec![poller("old", true, None)], Some("bad"));
        check(&refused, vec![poller("new", true, None)], None);
        let other = refusal(&cache(vec![]), &refused, &Key::new("shop", "f"), "newer");
        assert_eq!(other, None);

        // Its poller is left out beside requests, and one that runs for a moment proves nothing.
        let both = json!([{ "type": "http" }, refused.spec.triggers[0]]);
        check(&function(both, Some(told)), vec![poller("new", true, None)], Some("bad"));
    }
}
