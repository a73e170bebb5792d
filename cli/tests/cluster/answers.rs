//! What is said where there is nothing, or nobody answers.

use kipper_cluster::{names::SERVER_IMAGE, sandbox::run};

use crate::kip::Kip;

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_no_empty_one() {
    run("nowhere", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let nowhere = format!("{}-gone", sandbox.namespace);
        for (group, things) in
            [("function", "functions"), ("service", "services"), ("volume", "volumes")]
        {
            let end = kip.run(&[group, "list", "-n", &nowhere]).await;
            assert_eq!(end.code, 0, "{end:?}");
            let warning = format!("warning: namespace {nowhere} does not exist\n");
            assert_eq!(end.stderr, warning, "{end:?}");
            let end = kip.run(&[group, "list", "-n", &nowhere, "-o", "name"]).await;
            assert_eq!((end.stdout.as_str(), end.stderr.as_str()), ("", &*warning), "{end:?}");
            let end = kip.run(&[group, "list"]).await;
            let none = format!("no {things} found in namespace {}\n", sandbox.namespace);
            assert_eq!(end.stderr, none, "{end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_its_host_and_the_cause() {
    run("silent", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("silent");
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE, "--wait"]).await;
        let host = sandbox.host(&name);
        let invoke = ["function", "invoke", &name, "--path", "/some/path?a=b"];
        let end = kip.run(&invoke).await;
        assert!(end.stderr.contains(&format!("{host}/some/path?a=b\n")), "{end:?}");
        let closed = ["--interceptor", "http://127.0.0.1:1"];
        let stderr = kip.fails(1, &[&invoke[..], &closed].concat()).await;
        let expected = format!(
            "error: function {name}: cannot connect to {host} through the interceptor 127.0.0.1:1: \
             Connection refused\n"
        );
        assert!(stderr.contains(&expected), "{stderr}");
        assert!(stderr.contains("hint: check the address that --interceptor"), "{stderr}");
    })
    .await;
}
