//! Cron triggers.

use crate::support::{Kip, folder};

const RUNS: &str = r#"
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: {name: beat}
spec:
  runtime: python
  source:
    code: |
      import os
      def handler(event, context):
          print("ran as", os.environ["KIPPER_TRIGGER"], os.environ["BEAT"], event)
  env: {BEAT: "1"}
  triggers: [{type: cron, schedule: "@every 1s"}]
---
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: {name: broken}
spec:
  source: {code: "module.exports = async () => { throw new Error('no luck') }"}
  triggers: [{type: cron, schedule: "@every 1s"}]
"#;

const ENDLESS: &str = r#"
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: {name: endless}
spec:
  source: {code: "module.exports = () => new Promise(() => setInterval(() => {}, 1000))"}
  triggers: [{type: cron, schedule: "@every 1s", deadlineSeconds: 2}]
"#;

const ON_DEMAND: &str = r#"
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: {name: nightly}
spec:
  source: {code: "module.exports = () => console.log('ran as', process.env.KIPPER_TRIGGER)"}
  triggers: [{type: cron, schedule: "0 2 1 1 *", timeZone: Europe/Berlin}]
---
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: {name: paused}
spec:
  source: {code: "module.exports = () => console.log('ran as', process.env.KIPPER_TRIGGER)"}
  triggers: [{type: cron, schedule: "@every 1s", suspend: true}]
"#;

#[test]
fn a_run_can_be_asked_for() {
    let folder = folder(&[("f.yaml", ON_DEMAND)]);
    let mut kip = Kip::start(folder.path(), &[]);
    let line = kip.wait_for("On day 1 of the month at 02:00 Europe/Berlin in January, next ");
    assert!(line.ends_with("-01-01 02:00:00 CET"), "{line}");
    kip.wait_for("Every second, suspended");
    kip.enter("run nightly");
    kip.wait_for("nightly | ran as test");
    kip.wait_for("nightly  run finished in ");
    kip.enter("run paused");
    kip.wait_for("paused  | ran as test");
    kip.wait_for("paused   run finished in ");
    kip.enter("run");
    kip.wait_for("which one? `run nightly` or `run paused`");
    // Nothing but what was asked for, and the end of the input is not the end of `kip`.
    let runs = kip.lines().iter().filter(|line| line.contains("| ran as")).count();
    assert_eq!(runs, 2, "{:#?}", kip.lines());
    kip.end_input();
    assert_eq!(kip.get("fn-nightly-localhost", "/").0, 404);
}

#[test]
fn a_run_that_never_ends_is_ended() {
    let folder = folder(&[("f.yaml", ENDLESS)]);
    let kip = Kip::start(folder.path(), &[]);
    let line = kip.wait_for("endless  run stopped: ");
    assert!(line.ends_with("it took longer than 2s (deadlineSeconds)"), "{line}");
    kip.wait_for("endless  run failed after ");
    kip.wait_for("endless  run skipped: the previous one was still running");
    kip.wait_for_nth("endless  run stopped: ", 2);
}

#[test]
fn every_firing_is_one_run_and_its_end_is_told() {
    let folder = folder(&[("f.yaml", RUNS)]);
    let kip = Kip::start(folder.path(), &[]);
    kip.wait_for_nth("beat   | ran as cron 1 None", 2);
    let line = kip.wait_for_nth("beat    run finished in ", 2);
    assert!(line.ends_with("(exit code 0)"), "{line}");
    kip.wait_for("no luck");
    let line = kip.wait_for("broken  run failed after ");
    assert!(line.ends_with("(exit code 1)"), "{line}");
    assert_eq!(kip.get("fn-beat-localhost", "/").0, 404, "no http trigger, no route");
}
