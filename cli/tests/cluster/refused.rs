//! What is refused before it is written, and what is said about it.

use std::fs;

use kipper_function::names::condition::HOST_RESERVED;

use serde_json::json;

use crate::{
    kip::{Kip, service},
    names::SERVER_IMAGE,
    objects,
    sandbox::{condition_is, create_namespace, delete_namespace, run},
};

#[tokio::test]
async fn what_a_function_needs_must_be_there() {
    run("needs", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("needs");
        let create = ["function", "create", &name, "--image", SERVER_IMAGE];
        let redis = ["--trigger", "redis", "--list", "jobs", "--source"];
        let stderr = kip.fails(1, &[&create[..], &["--bind", "db"]].concat()).await;
        assert!(stderr.contains("service db does not exist in namespace"), "{stderr}");
        assert!(stderr.contains("it has no services"), "{stderr}");
        service(&sandbox, "cache", "redis").await;
        service(&sandbox, "other", "redis").await;
        let both = ["--bind", "cache", "--bind", "other"];
        for (flags, expected) in [
            (&["--bind", "db"][..], "it has cache (redis), other (redis)"),
            (&[&redis[..], &["queue"]].concat(), "service queue does not exist"),
            (&both, "other and cache would both inject REDIS_HOST"),
            (
                &["--trigger", "postgres", "--query", "SELECT 1", "--source", "cache"],
                "service cache has type redis, but the trigger needs postgres",
            ),
        ] {
            let stderr = kip.fails(1, &[&create[..], flags].concat()).await;
            assert!(stderr.contains(expected), "{flags:?}: {stderr}");
        }
        assert_eq!(sandbox.object("Function", &name).await, None);
        let dry = ["--dry-run=server", "-o", "name"];
        let told = kip.ok(&[&create[..], &["--bind", "cache"], &dry].concat()).await;
        assert_eq!(told, format!("function.kipper.run/{name}\n"));
        assert_eq!(sandbox.object("Function", &name).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_host_has_one_owner_and_the_owner_is_named() {
    run("hosts", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("hosts");
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        sandbox
            .function_that(&name, "the host", |f| {
                condition_is(f, HOST_RESERVED, "True", "Reserved")
            })
            .await;
        let other = sandbox.beside("other");
        create_namespace(&sandbox.client, &other.namespace).await;
        let create = ["function", "create", &name, "--image", SERVER_IMAGE, "-n", &other.namespace];
        let stderr = kip.fails(1, &create).await;
        let owner = format!("belongs to function {name} of namespace {}", sandbox.namespace);
        assert!(stderr.contains(&owner), "{stderr}");
        assert_eq!(other.object("Function", &name).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_host_of_somebody_elses_ingress_is_told_before_anything_is_written() {
    run("foreign", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("f.yaml", "")]).await;
        let name = sandbox.name("foreign");
        let backend = json!({ "service": { "name": "shop", "port": { "number": 80 } } });
        let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
        let host = sandbox.host(&name);
        let ingress = json!({
            "metadata": { "name": "shop" },
            "spec": { "rules": [{ "host": host, "http": { "paths": [path] } }] },
        });
        objects::create(&sandbox.client, "Ingress", &sandbox.namespace, ingress).await;
        let owner = format!("{host} belongs to Ingress shop of namespace {}", sandbox.namespace);
        let create = ["function", "create", &name, "--image", SERVER_IMAGE];
        for dry in [&["--dry-run=server"][..], &[]] {
            let stderr = kip.fails(1, &[&create[..], dry].concat()).await;
            assert!(stderr.contains(&owner), "{stderr}");
        }
        assert_eq!(sandbox.object("Function", &name).await, None);
        // A cron function has no host.
        let cron = ["--trigger", "cron", "--schedule", "0 4 1 1 *"];
        kip.ok(&[&create[..], &cron].concat()).await;
        kip.ok(&["function", "delete", &name]).await;

        // `apply` may come before the host is free, and says that it is not.
        let yaml = kip.ok(&[&create[..], &["--dry-run=client", "-o", "yaml"]].concat()).await;
        fs::write(kip.folder.path().join("f.yaml"), yaml).unwrap();
        let end = kip.run(&["function", "apply", "-f", "f.yaml"]).await;
        assert_eq!(end.code, 0, "{end:?}");
        assert!(end.stderr.contains(&format!("warning: function {name}: {owner}")), "{end:?}");
    })
    .await;
}

#[tokio::test]
async fn a_namespace_is_made_on_request_only() {
    run("ns", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let (name, project) = (sandbox.name("ns"), sandbox.name("kip"));
        let namespace = format!("{project}-dev");
        let place = ["--project", &project, "--environment", "dev"];
        let create = [&["function", "create", &name, "--image", SERVER_IMAGE][..], &place].concat();
        let stderr = kip.fails(1, &create).await;
        assert!(stderr.contains(&format!("namespace {namespace} does not exist")), "{stderr}");
        assert!(stderr.contains("--create-namespace"), "{stderr}");
        let created = kip.run(&[&create[..], &["--create-namespace"]].concat()).await;
        let client = sandbox.client.clone();
        let found = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone())
            .get_opt(&namespace)
            .await
            .unwrap();
        delete_namespace(&client, &namespace).await;
        assert_eq!(created.code, 0, "{created:?}");
        let labels = found.unwrap().metadata.labels.unwrap();
        assert_eq!(labels["kipper.run/environment"], "dev");
        assert_eq!(labels["kipper.run/project"], project);
    })
    .await;
}
