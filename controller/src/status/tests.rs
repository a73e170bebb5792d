use super::*;

fn function(previous: Option<FunctionStatus>, generation: i64) -> Function {
    let mut function = Function::new("f", kipper_function::FunctionSpec::default());
    function.metadata.generation = Some(generation);
    function.status = previous;
    function
}

fn served(desired: i32, ready: i32) -> Facts {
    Facts {
        reservation: Some(Reservation::Reserved("fn-f.test".into())),
        serves: ready > 0,
        workload: Some(Workload { desired, ready, updated: ready, ..Workload::default() }),
        ..Facts::default()
    }
}

#[track_caller]
fn check(facts: &Facts, phase: &str, ready: &str) -> FunctionStatus {
    let status = status(&function(None, 1), facts, Timestamp::UNIX_EPOCH);
    assert_eq!(status.phase.as_deref(), Some(phase));
    assert_eq!(status.condition(READY).map(|c| c.reason.as_str()), Some(ready));
    status
}

#[test]
fn phases() {
    check(&served(0, 0), "Idle", "Reconciled");
    check(&served(1, 0), "Scaling", "Reconciled");
    check(&served(2, 2), "Running", "Reconciled");
    let failure = Failure { reason: "ImagePullFailed", message: "no such image".into() };
    check(&Facts { failure: Some(failure.clone()), ..served(1, 0) }, "Failed", "ImagePullFailed");
    // A rollout that fails while old pods serve is no outage.
    check(&Facts { failure: Some(failure), ..served(1, 1) }, "Running", "ImagePullFailed");
    let clash = Some(Reason::new("Precedence", "A is set twice"));
    let clashing = check(&Facts { clash, ..served(0, 0) }, "Idle", "Reconciled");
    assert!(clashing.condition(ENVIRONMENT_CLASH).is_some());
    let trigger = Some(Reason::new("ServiceNotFound", ""));
    check(&Facts { trigger, ..Facts::default() }, "Failed", "ServiceNotFound");
    let trigger_notice = Some(Reason::new("NoMarkDone", "one replica"));
    let noticed = check(&Facts { trigger_notice, ..served(0, 0) }, "Idle", "Reconciled");
    let valid = noticed.condition(TRIGGER_VALID).map(|c| (&*c.status, &*c.reason));
    assert_eq!(valid, Some(("True", "NoMarkDone")));
}

#[test]
fn a_function_that_is_not_scaled_ahead_says_so_where_it_asks_for_it() {
    let told = |previous, burst_unavailable, spec: serde_json::Value| {
        let mut function = function(previous, 1);
        function.spec = serde_json::from_value(spec).unwrap_or_default();
        let pass = Pass::blocked(Blocked::new(Concern::Bindings, "Absent", ""));
        let seen = Seen { burst_unavailable, ..Seen::default() };
        let facts = Facts::new(&function, pass, Applied::default(), seen);
        status(&function, &facts, Timestamp::UNIX_EPOCH)
    };
    let served = || serde_json::json!({ "image": "i", "triggers": [{ "type": "http" }] });
    let says = |status: &FunctionStatus| status.is_true(BURST_UNAVAILABLE);
    let without = told(None, Some(true), served());
    assert!(says(&without));
    // A new leader does not know yet.
    assert!(says(&told(Some(without.clone()), None, served())));
    assert!(!says(&told(Some(without), Some(false), served())));
    assert!(!says(&told(None, None, served())));
    let mut declined = served();
    declined["scaling"] = serde_json::json!({ "burst": false });
    assert!(!says(&told(None, Some(true), declined)));
    // Runs of a schedule have no HPA.
    let cron = serde_json::json!({ "image": "i",
        "triggers": [{ "type": "cron", "schedule": "* * * * *" }] });
    assert!(!says(&told(None, Some(true), cron)));
}

#[test]
fn what_keda_says_is_told() {
    let told = |scaler: Option<Scaler>| {
        let status = check(&Facts { scaler, ..served(0, 0) }, "Idle", "Reconciled");
        let condition = status.condition(SCALER_READY);
        condition.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
    };
    assert_eq!(told(None), None);
    let (status, reason, message) = told(Some(Scaler::Pending)).unwrap_or_default();
    assert_eq!((&*status, &*reason), ("False", "Pending"));
    assert!(message.contains("--kube-api-qps"), "{message}");
    let failing = told(Some(Scaler::Failing("no such host".into()))).unwrap_or_default();
    assert_eq!(failing.2, "KEDA: no such host");
    assert_eq!(told(Some(Scaler::Ready)).unwrap_or_default().0, "True");
}

#[test]
fn skipped_runs_are_told_and_leave_the_function_ready() {
    let skipped = Some(Punctuality::Skipped("the run of 10:00".into()));
    let status = check(&Facts { schedule: skipped, ..Facts::default() }, "Idle", "Reconciled");
    let told = status.condition(ON_SCHEDULE).map(|c| (&*c.status, &*c.reason, &*c.message));
    assert_eq!(told, Some(("False", "RunsSkipped", "the run of 10:00")));
    let on_time = Facts { schedule: Some(Punctuality::OnTime), ..Facts::default() };
    assert!(check(&on_time, "Idle", "Reconciled").is_true(ON_SCHEDULE));
    assert_eq!(check(&served(0, 0), "Idle", "Reconciled").condition(ON_SCHEDULE), None);
}

#[test]
fn a_failed_run_is_told_and_leaves_the_function_ready() {
    let told = |result: RunResult, reason: Option<&str>| {
        let last_run = Some(RunStatus {
            job: "f-cron-1".to_owned(),
            result: Some(result.as_str().to_owned()),
            reason: reason.map(str::to_owned),
            message: reason.map(|_| "why".to_owned()),
            ..RunStatus::default()
        });
        let runs = Some(ScheduleStatus { last_run, ..ScheduleStatus::default() });
        let facts = Facts { runs: runs.clone(), ..Facts::default() };
        let status = check(&facts, "Idle", "Reconciled");
        assert_eq!(status.schedule, runs);
        let condition = status.condition(LAST_RUN_SUCCEEDED);
        condition.map(|c| format!("{} {}: {}", c.status, c.reason, c.message))
    };
    let told_well = told(RunResult::Succeeded, None);
    assert_eq!(told_well.as_deref(), Some("True Succeeded: "));
    for (reason, expected) in [
        ("OutOfMemory", "False OutOfMemory: why"),
        ("DeadlineExceeded", "False DeadlineExceeded: why"),
        ("OfALaterVersion", "False RunFailed: why"),
    ] {
        assert_eq!(told(RunResult::Failed, Some(reason)).as_deref(), Some(expected));
    }
    let none = Facts { runs: Some(ScheduleStatus::default()), ..Facts::default() };
    assert_eq!(check(&none, "Idle", "Reconciled").condition(LAST_RUN_SUCCEEDED), None);
}

#[test]
fn runs_that_cannot_start_stay_a_failure_until_one_did() {
    let failure = Failure { reason: "ImagePullFailed", message: "no such image".into() };
    let runs = Facts { runs: Some(ScheduleStatus::default()), ..Facts::default() };
    let failing = Facts { failure: Some(failure), ..runs.clone() };
    let failed = check(&failing, "Failed", "ImagePullFailed");
    let later = |facts: &Facts| {
        let status = status(&function(Some(failed.clone()), 1), facts, Timestamp::UNIX_EPOCH);
        status.condition(READY).map(|c| c.reason.clone()).unwrap_or_default()
    };
    assert_eq!(later(&runs), "ImagePullFailed");
    assert_eq!(later(&Facts { has_run: true, ..runs }), "Reconciled");
}

#[test]
fn a_block_is_told_by_the_condition_it_concerns() {
    let refused =
        FunctionStatus { refused_trigger: Some("digest".to_owned()), ..FunctionStatus::default() };
    let function = function(Some(refused), 1);
    for (concern, type_, expected, kept) in [
        (Concern::Function, READY, "Why", None),
        (Concern::Bindings, BINDINGS_RESOLVED, "Why", None),
        (Concern::Trigger, TRIGGER_VALID, "Why", Some("digest")),
        (Concern::Environment, ENVIRONMENT_CLASH, "Ambiguous", None),
        (Concern::Name, NAME_TAKEN, "NameTaken", None),
    ] {
        let pass = Pass::blocked(Blocked::new(concern, "Why", "because"));
        let facts = Facts::new(&function, pass, Applied::default(), Seen::default());
        let status = status(&function, &facts, Timestamp::UNIX_EPOCH);
        let told = status.condition(type_).map(|c| (c.reason.as_str(), c.message.as_str()));
        assert_eq!(told, Some((expected, "because")), "{concern:?}");
        assert_eq!(status.refused_trigger.as_deref(), kept, "{concern:?}");
        assert_eq!(status.applied_digest, None);
    }
}

#[test]
fn the_owner_of_a_host_is_named() {
    let (host, owner) = ("fn-f.test".to_owned(), "Function b/f".to_owned());
    let facts = Facts { reservation: Some(Reservation::Taken { host, owner }), ..served(0, 0) };
    let status = check(&facts, "Failed", "HostTaken");
    let reserved = status.condition(HOST_RESERVED).map(|c| c.message.clone());
    assert_eq!(reserved.as_deref(), Some("fn-f.test belongs to Function b/f"));
    assert_eq!(status.endpoint, None);
}

#[test]
fn a_failure_outlives_its_pods_until_a_change_or_success() {
    let failure = Some(Failure { reason: "ContainerCrashed", message: "exit code 1".into() });
    let now = Timestamp::UNIX_EPOCH;
    let failed = status(&function(None, 1), &Facts { failure, ..served(1, 0) }, now);
    let later = |generation, facts: &Facts| {
        let status = status(&function(Some(failed.clone()), generation), facts, now);
        status.condition(READY).map(|c| c.reason.clone()).unwrap_or_default()
    };
    assert_eq!(later(1, &served(0, 0)), "ContainerCrashed");
    assert_eq!(later(1, &served(1, 1)), "Reconciled");
    assert_eq!(later(2, &served(0, 0)), "Reconciled");
}

#[test]
fn what_did_not_change_keeps_its_time() {
    let first = status(&function(None, 1), &served(0, 0), Timestamp::UNIX_EPOCH);
    let now = Timestamp::from_second(60).unwrap_or(Timestamp::UNIX_EPOCH);
    let second = status(&function(Some(first.clone()), 1), &served(0, 0), now);
    assert_eq!(first, second);
    let third = status(
        &function(Some(first), 1),
        &Facts { broken: Some(Reason::new("Invalid", "")), ..served(0, 0) },
        now,
    );
    assert_eq!(third.condition(READY).map(|c| c.last_transition_time.0), Some(now));
}

#[test]
fn a_trigger_that_was_not_tried_is_neither_valid_nor_invalid() {
    let status = check(&Facts { is_untried: true, ..served(0, 0) }, "Idle", CHECKING);
    let told = |type_| status.condition(type_).map(|c| (&*c.status, &*c.reason));
    assert_eq!(told(READY), Some(("Unknown", CHECKING)));
    assert_eq!(told(TRIGGER_VALID), Some(("Unknown", CHECKING)));
    let trigger = Some(Reason::new("SourceUnavailable", "away"));
    let away = Facts { is_untried: true, trigger, ..served(0, 0) };
    check(&away, "Failed", "SourceUnavailable");
}

#[test]
fn the_deepest_cause_stays_until_a_pod_is_ready() {
    let failure = |reason| Some(Failure { reason, message: format!("{reason} it is") });
    let now = Timestamp::UNIX_EPOCH;
    let later = Timestamp::from_second(60).unwrap_or(now);
    let next = |previous: &FunctionStatus, reason: Option<&'static str>, ready: i32| {
        let facts = Facts { failure: reason.and_then(failure), ..served(1, ready) };
        status(&function(Some(previous.clone()), 1), &facts, later)
    };
    let reason = |status: &FunctionStatus| status.condition(READY).map(|c| c.reason.clone());
    let first = Facts { failure: failure("ContainerCrashed"), ..served(1, 0) };
    let crashed = status(&function(None, 1), &first, now);
    assert_eq!(crashed.failing_since, Some(Time(now)));
    // Started again, it runs, is silent for long, and crashes once more.
    let running = next(&crashed, None, 0);
    assert_eq!(reason(&running).as_deref(), Some("ContainerCrashed"));
    assert_eq!(running.failing_since, None);
    let silent = next(&crashed, Some("NotListening"), 0);
    assert_eq!(reason(&silent).as_deref(), Some("ContainerCrashed"));
    assert_eq!(silent.failing_since, Some(Time(now)));
    let killed = next(&silent, Some("OutOfMemory"), 0);
    assert_eq!(reason(&killed).as_deref(), Some("OutOfMemory"));
    let ready = next(&killed, None, 1);
    assert_eq!(reason(&ready).as_deref(), Some("Reconciled"));
    // What nothing deeper is known of.
    let silent = next(&ready, Some("NotListening"), 0);
    assert_eq!(reason(&silent).as_deref(), Some("NotListening"));
}

#[test]
fn the_last_exit_outlives_the_pod_and_not_the_version() {
    let exit =
        Exit { at: Timestamp::UNIX_EPOCH, reason: "OOMKilled".to_owned(), code: 137, restarts: 2 };
    let now = Timestamp::UNIX_EPOCH;
    let first = Facts { exit: Some(exit), ..served(1, 1) };
    let told = status(&function(None, 1), &first, now);
    assert_eq!(told.last_exit.as_ref().map(|exit| exit.exit_code), Some(137));
    let gone = status(&function(Some(told.clone()), 1), &served(0, 0), now);
    assert_eq!(gone.last_exit, told.last_exit);
    let other = status(&function(Some(told), 2), &served(0, 0), now);
    assert_eq!(other.last_exit, None);
}
