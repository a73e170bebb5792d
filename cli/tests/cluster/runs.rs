//! Test runs of a schedule, and logs that are followed.

use kipper_cluster::{
    names::SERVER_IMAGE,
    objects,
    sandbox::run,
    wait::{expect, until},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::kip::Kip;

const RUN: &str = "module.exports = async () => {
  console.log('invoked by', process.env.KIPPER_TRIGGER)
  if (process.env.FAIL) throw new Error('no ledger today')
}
";

#[tokio::test]
async fn a_test_run_tells_its_lines_and_how_it_ended() {
    run("runs", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("run.js", RUN)]).await;
        let name = sandbox.name("runs");
        let cron = ["--trigger", "cron", "--schedule", "0 4 1 1 *", "--wait"];
        let create = ["function", "create", &name, "--code-file", "run.js"];
        let told = kip.ok(&[&create[..], &cron].concat()).await;
        assert!(told.contains("schedule  "), "{told}");
        assert!(told.contains(&format!("try       kip function test {name}")), "{told}");

        let end = kip.run(&["function", "test", &name]).await;
        assert_eq!(end.code, 0, "{end:?}");
        assert!(end.stdout.contains("invoked by test"), "{end:?}");
        assert!(end.stderr.contains("succeeded"), "{end:?}");

        kip.ok(&["function", "env", "set", &name, "FAIL=1"]).await;
        until("the CronJob to have the variable", || async {
            let job = sandbox.object("CronJob", &format!("{name}-cron")).await.unwrap();
            expect(job.to_string().contains("\"FAIL\""), || job["spec"].to_string())
        })
        .await;
        let end = kip.run(&["function", "test", &name]).await;
        assert_eq!(end.code, 1, "{end:?}");
        assert!(end.stdout.contains("no ledger today"), "{end:?}");
        assert!(end.stderr.contains("failed: exit code "), "{end:?}");
        let stderr = kip.fails(1, &["function", "invoke", &name]).await;
        assert!(stderr.contains(&format!("kip function test {name}")), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_test_run_goes_on_when_nobody_follows_it_any_more() {
    run("left", |sandbox| async move {
        let code = "module.exports = async () => {
  console.log('begun')
  await new Promise((resolve) => setTimeout(resolve, 3000))
  console.log('done')
}
";
        let kip = Kip::new(&sandbox, &[("slow.js", code)]).await;
        let name = sandbox.name("left");
        let cron = ["--trigger", "cron", "--schedule", "0 4 1 1 *", "--wait"];
        let create = ["function", "create", &name, "--code-file", "slow.js"];
        kip.ok(&[&create[..], &cron].concat()).await;
        let mut test = kip.command(&["function", "test", &name]).spawn().unwrap();
        let mut lines = BufReader::new(test.stdout.take().unwrap()).lines();
        while !lines.next_line().await.unwrap().unwrap().contains("begun") {}
        let pid = Pid::from_raw(test.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let end = test.wait_with_output().await.unwrap();
        let stderr = String::from_utf8(end.stderr).unwrap();
        assert_eq!(end.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("the test run continues"), "{stderr}");
        until("the end of the run", || async {
            let jobs = objects::list(&sandbox.client, "Job", &sandbox.namespace, "").await;
            let succeeded = jobs.iter().any(|job| job["status"]["succeeded"] == 1);
            expect(jobs.len() == 1 && succeeded, || format!("{jobs:?}"))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_function_without_a_schedule_has_no_test_run() {
    run("norun", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("norun");
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let stderr = kip.fails(1, &["function", "test", &name]).await;
        assert!(stderr.contains("only cron functions have test runs"), "{stderr}");
        let invoke = format!("`kip function invoke {name}");
        assert!(stderr.contains(&invoke), "{stderr}");
    })
    .await;
}

/// Without the cause it would be followed up to its deadline, an hour.
#[tokio::test]
async fn a_test_run_that_cannot_start_ends_with_the_cause() {
    run("nopull", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("nopull");
        let cron = ["--trigger", "cron", "--schedule", "0 4 1 1 *"];
        let create = ["function", "create", &name, "--image", "registry.invalid/none:1"];
        kip.ok(&[&create[..], &cron].concat()).await;
        sandbox.until_object("CronJob", &format!("{name}-cron")).await;
        let stderr = kip.fails(1, &["function", "test", &name]).await;
        assert!(stderr.contains("cannot start, and was deleted: ImagePullFailed: "), "{stderr}");
        until("the run to be gone", || async {
            let jobs = objects::list(&sandbox.client, "Job", &sandbox.namespace, "").await;
            expect(jobs.is_empty(), || format!("{jobs:?}"))
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn lines_are_followed_from_zero_on() {
    run("follow", |sandbox| async move {
        let code = "module.exports = async (event) => console.log('got', event.n)\n";
        let kip = Kip::new(&sandbox, &[("code.js", code)]).await;
        let name = sandbox.name("follow");
        kip.ok(&["function", "create", &name, "--code-file", "code.js"]).await;
        let mut logs = kip.command(&["function", "logs", &name, "-f"]).spawn().unwrap();
        let mut told = BufReader::new(logs.stderr.take().unwrap()).lines();
        let zero = told.next_line().await.unwrap().unwrap();
        assert!(zero.contains("has no pods now"), "{zero}");
        let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
        let mut seen = Vec::new();
        for n in 1..=3 {
            let data = format!("{{\"n\":{n}}}");
            kip.ok(&["function", "invoke", &name, "--data", &data]).await;
            // The test's own deadline is the sandbox's caller's; a line that never comes hangs here.
            let wanted = format!("got {n}");
            while !seen.iter().any(|line: &String| line.ends_with(&wanted)) {
                let next =
                    tokio::time::timeout(kipper_cluster::wait::DEADLINE, lines.next_line()).await;
                seen.push(next.unwrap().unwrap().unwrap());
            }
        }
        let own: Vec<_> = seen.iter().filter(|line| line.contains("got ")).collect();
        assert_eq!(own.len(), 3, "{seen:?}");
        logs.kill().await.unwrap();
    })
    .await;
}
