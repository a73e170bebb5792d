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
