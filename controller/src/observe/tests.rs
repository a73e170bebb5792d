use kipper_function::FunctionStatus;
use serde_json::json;

use super::*;
use crate::{
    cache::{Exit, Observed, Poller, Runs},
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
    Poller { digest: digest.to_owned(), ready, refused, waiting_since: None, metrics: None }
}

fn cache(pollers: Vec<Poller>) -> Cache {
    let cache = Cache::new();
    for (at, poller) in pollers.into_iter().enumerate() {
        let pod = Pod {
            function: Key::new("shop", "f"),
            server: true,
            job: None,
            has_run: true,
            created: None,
            ready: poller.ready,
            silent_since: None,
            creating_since: None,
            poller: Some(poller),
            failure: None,
            template: None,
            exit: None,
            evicted_at: None,
            code: None,
        };
        cache.pods.put(Key::new("shop", format!("f-{at}")), pod);
    }
    cache
}

#[track_caller]
fn check(function: &Function, pollers: Vec<Poller>, expected: Option<&str>) {
    let found = refusal(&cache(pollers), function, &Key::new("shop", "f"), "new", None);
    assert_eq!(found.as_deref(), expected);
}

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

#[test]
fn a_run_that_holds_up_others_is_told() {
    let triggers = json!([
        { "type": "cron", "schedule": "*/5 * * * *", "deadlineSeconds": 900 },
    ]);
    let function = function(triggers, None);
    let seen = |active: bool, last: Option<&str>, now: &str| {
        let cache = Cache::new();
        let observed = Observed {
            uid: "u".to_owned(),
            owner: None,
            owned: 0,
            workload: None,
            runs: Some(Runs { active, last: last.map(at) }),
            scaler: None,
            revision: None,
            holds_replicas: false,
        };
        cache.objects.put((Kind::CronJob, Key::new("shop", "f-cron")), observed);
        let seen = workload(&cache, &function, &Key::new("shop", "f"), at(now), None);
        (seen.schedule.unwrap(), seen.again.map(|again| again.as_secs()))
    };
    let on_time = Punctuality::OnTime;
    assert_eq!(seen(false, None, "10:00:00"), (on_time.clone(), None));
    assert_eq!(seen(false, Some("10:00:00"), "11:00:00"), (on_time.clone(), None));
    // The next one is due at 10:05, and may take a moment to start.
    assert_eq!(seen(true, Some("10:00:00"), "10:04:00"), (on_time.clone(), Some(75)));
    assert_eq!(seen(true, Some("10:00:00"), "10:05:10"), (on_time, Some(5)));
    let skipped = "the run of 2026-01-01T10:00:00Z goes on, and runs that come due meanwhile are \
                   skipped; a run is ended after 900 s (deadlineSeconds of the trigger)";
    let expected = (Punctuality::Skipped(skipped.to_owned()), None);
    assert_eq!(seen(true, Some("10:00:00"), "10:05:15"), expected);
    assert_eq!(seen(true, Some("10:00:00"), "10:40:00"), expected);
    let key = Key::new("shop", "f");
    let none = workload(&Cache::new(), &function, &key, at("10:00:00"), None);
    assert_eq!(none.schedule, None);
}

#[test]
fn what_is_due_follows_time_zone_and_suspension() {
    let punctuality = |more: serde_json::Value| {
        let mut cron = json!({ "type": "cron", "schedule": "0 12 * * *" });
        cron.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let cache = Cache::new();
        let cron_job = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {},
            "status": {
                "active": [{ "name": "f-cron-1" }], "lastScheduleTime": "2026-01-01T10:00:00Z",
            },
        });
        let observed = Observed::new(Kind::CronJob, &serde_json::from_value(cron_job).unwrap());
        cache.objects.put((Kind::CronJob, Key::new("shop", "f-cron")), observed);
        let function = function(json!([cron]), None);
        let seen = workload(&cache, &function, &Key::new("shop", "f"), at("11:30:00"), None);
        seen.schedule.unwrap()
    };
    // 12:00 in Berlin is 11:00 in UTC.
    let berlin = json!({ "timeZone": "Europe/Berlin" });
    assert!(matches!(punctuality(berlin), Punctuality::Skipped(_)));
    let suspended = json!({ "timeZone": "Europe/Berlin", "suspend": true });
    assert_eq!(punctuality(suspended), Punctuality::OnTime);
    assert_eq!(punctuality(json!({})), Punctuality::OnTime);
}

#[test]
fn an_eviction_counts_until_a_pod_was_ready_after_it() {
    let pod = |minute: &str, evicted: bool| Pod {
        function: Key::new("shop", "f"),
        server: true,
        job: None,
        has_run: true,
        created: Some(at(minute)),
        ready: !evicted,
        silent_since: None,
        creating_since: None,
        poller: None,
        failure: evicted.then(|| Failure { reason: "Evicted", message: "too much".to_owned() }),
        template: None,
        exit: None,
        evicted_at: evicted.then(|| at(minute)),
        code: None,
    };
    let told = |pods: &[Pod], ready_since: Option<&str>| {
        let conditions = ready_since.map(|since| {
            let facts = Facts::default();
            status(&function(json!([]), None), &facts, at(since))
        });
        let cache = Cache::new();
        for (number, pod) in pods.iter().enumerate() {
            cache.pods.put(Key::new("shop", format!("f-{number}")), pod.clone());
        }
        let function = function(json!([]), conditions);
        let key = Key::new("shop", "f");
        workload(&cache, &function, &key, at("12:00:00"), None).failure.is_some()
    };
    let evicted = pod("10:10:00", true);
    assert!(told(std::slice::from_ref(&evicted), None));
    assert!(told(std::slice::from_ref(&evicted), Some("10:00:00")));
    assert!(told(&[pod("10:05:00", false), evicted.clone()], Some("10:00:00")));
    assert!(!told(&[pod("10:15:00", false), evicted.clone()], Some("10:00:00")));
    // Scaled to zero since.
    assert!(!told(std::slice::from_ref(&evicted), Some("10:16:00")));
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
    let other = refusal(&cache(vec![]), &refused, &Key::new("shop", "f"), "newer", None);
    assert_eq!(other, None);

    // Its poller is left out beside requests, and one that runs for a moment proves nothing.
    let both = json!([{ "type": "http" }, refused.spec.triggers[0]]);
    check(&function(both, Some(told)), vec![poller("new", true, None)], Some("bad"));
}

#[test]
fn a_check_refuses_and_heals_what_no_pod_says_otherwise() {
    let event = json!([{ "type": "redis", "config": { "source": "cache", "list": "jobs" } }]);
    let key = Key::new("shop", "f");
    let fresh = function(event.clone(), None);
    let facts = Facts {
        trigger: Some(Reason::new(REFUSED, "former")),
        refused_trigger: Some("new".to_owned()),
        ..Facts::default()
    };
    let told = status(&fresh, &facts, Timestamp::UNIX_EPOCH);
    let refused = function(event, Some(told));
    let check = |function, pollers, verdict: Verdict, expected: Option<&str>| {
        let found = refusal(&cache(pollers), function, &key, "new", Some(&verdict));
        assert_eq!(found.as_deref(), expected, "{verdict:?}");
    };
    let bad = || Verdict::Refused("bad".to_owned());
    let away = || Verdict::Unreachable("away".to_owned());
    check(&fresh, vec![], bad(), Some("bad"));
    check(&fresh, vec![poller("new", false, Some("worse"))], bad(), Some("worse"));
    check(&fresh, vec![poller("new", true, None)], bad(), None);
    check(&fresh, vec![], away(), None);
    check(&refused, vec![], away(), Some("former"));
    check(&refused, vec![], Verdict::Works, None);
    check(&refused, vec![poller("new", false, Some("bad"))], Verdict::Works, Some("bad"));
}

#[test]
fn a_source_that_keda_reaches_is_not_called_away() {
    let event = json!([{ "type": "redis", "config": { "source": "cache", "list": "jobs" } }]);
    let fresh = function(event.clone(), None);
    let key = Key::new("shop", "f");
    let check = |function: &Function, scaler: Option<Scaler>, verdict: Option<Verdict>| {
        let cache = Cache::new();
        let observed = Observed {
            uid: "u".to_owned(),
            owner: None,
            owned: 0,
            workload: None,
            runs: None,
            scaler,
            revision: None,
            holds_replicas: false,
        };
        cache.objects.put((Kind::ScaledObject, key.clone()), observed);
        source(&cache, function, &key, verdict.as_ref()).map(|reason| reason.message)
    };
    let words = || "no answer".to_owned();
    let away = || Some(Verdict::Unreachable(words()));
    let failing = || Some(Scaler::Failing(String::new()));
    assert_eq!(check(&fresh, None, away()), Some(words()));
    assert_eq!(check(&fresh, failing(), away()), Some(words()));
    assert_eq!(check(&fresh, Some(Scaler::Ready), away()), None);
    assert_eq!(check(&fresh, Some(Scaler::Ready), Some(Verdict::Failing(words()))), Some(words()));
    assert_eq!(check(&fresh, failing(), Some(Verdict::Works)), None);

    // A controller that starts knows of no check yet.
    let facts =
        Facts { trigger: Some(Reason::new(SOURCE_UNAVAILABLE, words())), ..Facts::default() };
    let told = status(&fresh, &facts, Timestamp::UNIX_EPOCH);
    let known = function(event, Some(told));
    assert_eq!(check(&known, None, None), Some(words()));
    assert!(is_untried(&fresh, None) && !is_untried(&fresh, Some(&Verdict::Works)));
    assert!(!is_untried(&known, None));
    let untried =
        status(&fresh, &Facts { is_untried: true, ..Facts::default() }, Timestamp::UNIX_EPOCH);
    let mut untried_yet = fresh.clone();
    untried_yet.status = Some(untried);
    assert!(is_untried(&untried_yet, None));
}

#[test]
fn pods_of_another_version_say_nothing_of_this_one() {
    let pod = |name: &str, template: &str| {
        let pod = Pod {
            function: Key::new("shop", "f"),
            server: true,
            job: None,
            has_run: true,
            created: Some(at("10:00:00")),
            ready: false,
            silent_since: None,
            creating_since: None,
            poller: None,
            failure: Some(Failure { reason: "ContainerCrashed", message: name.to_owned() }),
            template: Some(template.to_owned()),
            exit: Some(Exit {
                at: at("10:01:00"),
                reason: "Error".to_owned(),
                code: 1,
                restarts: 0,
            }),
            code: None,
            evicted_at: None,
        };
        (Key::new("shop", name), pod)
    };
    let cache = Cache::new();
    let (key, old) = pod("old", "a");
    cache.pods.put(key, old);
    let (function, key) = (function(json!([]), None), Key::new("shop", "f"));
    let says = |template| {
        let seen = workload(&cache, &function, &key, at("10:02:00"), template);
        (seen.failure.map(|failure| failure.message), seen.exit.is_some())
    };
    assert_eq!(says(None), (Some("old".to_owned()), true));
    assert_eq!(says(Some("a")), (Some("old".to_owned()), true));
    assert_eq!(says(Some("b")), (None, false));
}
