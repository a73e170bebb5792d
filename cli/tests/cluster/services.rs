//! Services and their Secrets, as users make, look at and delete them.

use kipper_cluster::{bridge::on_bridge, names::SERVER_IMAGE, sandbox::run};
use kipper_servers::redis::{Options, Redis};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::kip::{Kip, service};

#[tokio::test]
async fn a_service_is_made_shown_changed_and_kept_while_it_is_used() {
    run("service", |sandbox| async move {
        let files = [("url", "redis://:hunter2@cache.example.com:6380\n"), ("new", "hunter3\n")];
        let kip = Kip::new(&sandbox, &files).await;
        let (name, namespace) = (sandbox.name("service"), &sandbox.namespace);
        let told = kip.ok(&["service", "create", "cache", "--url-file", "url"]).await;
        assert_eq!(
            told,
            format!(
                "service cache (redis) created in namespace {namespace}\n\
                 bind it with kip function bind <function> cache -n {namespace}\n"
            )
        );
        let secret = sandbox.object("Secret", "cache-credentials").await.unwrap();
        assert_eq!(secret["data"]["PASSWORD"], "aHVudGVyMg==");
        let owner = &secret["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["name"]), (&json!("Service"), &json!("cache")));
        let stderr = kip.fails(1, &["service", "create", "cache", "--url-file", "url"]).await;
        assert!(stderr.contains("service cache already exists in namespace"), "{stderr}");

        let stderr = kip.fails(1, &["service", "test", "cache"]).await;
        assert!(stderr.contains("no function uses service cache"), "{stderr}");
        let create = ["function", "create", &name, "--image", SERVER_IMAGE, "--bind", "cache"];
        kip.ok(&create).await;
        let list = kip.ok(&["service", "list"]).await;
        let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..4], ["cache", "redis", "cache.example.com:6380", &name]);
        let shown = kip.ok(&["service", "describe", "cache"]).await;
        assert!(shown.contains("\nsecret    cache-credentials: HOST, PASSWORD, PORT\n"), "{shown}");
        assert!(shown.contains(&format!("\n  {name}: binding\n")), "{shown}");
        assert!(!(list + &shown).contains("hunter2"));

        kip.ok(&["service", "update", "cache", "--password-file", "new"]).await;
        let secret = sandbox.object("Secret", "cache-credentials").await.unwrap();
        assert_eq!(secret["data"]["PASSWORD"], "aHVudGVyMw==");
        assert_eq!(secret["data"]["HOST"], "Y2FjaGUuZXhhbXBsZS5jb20=");

        let stderr = kip.fails(1, &["service", "delete", "cache"]).await;
        assert!(stderr.contains(&format!("service cache is used by {name}")), "{stderr}");
        kip.ok(&["function", "delete", &name]).await;
        let told = kip.ok(&["service", "delete", "cache"]).await;
        assert_eq!(told, "service cache deleted; the server and the data on it stay\n");
        sandbox.until_gone("Secret", "cache-credentials").await;
        let stderr = kip.fails(1, &["service", "describe", "cache"]).await;
        assert!(stderr.contains("service cache does not exist"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_secret_of_others_stays() {
    run("secretof", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        service(&sandbox, "files", "minio").await;
        sandbox.secret("files-credentials", &[("ENDPOINT", "http://me:hunter2@files:9000")]).await;
        let shown = kip.ok(&["service", "describe", "files"]).await;
        assert!(shown.contains("\nhost      http://files:9000\n"), "{shown}");
        assert!(shown.contains("\nmissing   ACCESS_KEY, SECRET_KEY\n"), "{shown}");
        let told = kip.ok(&["service", "delete", "files"]).await;
        assert!(
            told.contains("so does Secret files-credentials, which kip did not create"),
            "{told}"
        );
        assert!(sandbox.object("Secret", "files-credentials").await.is_some());
        // A Service is not left without its Secret.
        let create = ["service", "create", "files", "--type=redis", "--host=files"];
        let stderr = kip.fails(1, &create).await;
        assert!(stderr.contains("Secret files-credentials already exists"), "{stderr}");
        assert_eq!(kip.json(&["service", "list", "-o", "json"]).await["items"], json!([]));
    })
    .await;
}

/// A pod with the function's variables logs in, or says why it cannot.
#[tokio::test]
async fn a_binding_is_tried_with_what_the_function_gets() {
    run("bindtest", |sandbox| async move {
        let server = spawn_blocking(|| Redis::start(Options::default()).unwrap()).await.unwrap();
        let address = on_bridge(server.port()).await;
        let files = [("right", server.password().unwrap()), ("wrong", "hunter2")];
        let kip = Kip::new(&sandbox, &files).await;
        let name = sandbox.name("bindtest");
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let create =
            ["service", "create", "cache", "--type=redis", "--host", &host, "--port", &port];
        kip.ok(&[&create[..], &["--password-file", "right"]].concat()).await;
        let create = ["function", "create", &name, "--image", SERVER_IMAGE, "--bind", "cache"];
        kip.ok(&create).await;
        sandbox.until_object("Deployment", &name).await;
        let told = kip.ok(&["service", "test", "cache"]).await;
        assert_eq!(told, format!("function {name} can connect to service cache\n"));

        kip.ok(&["service", "update", "cache", "--password-file", "wrong"]).await;
        let end = kip.run(&["service", "test", "cache", "--function", &name]).await;
        assert_eq!(end.code, 1, "{end:?}");
        let expected = format!("function {name} cannot connect to cache: ");
        assert!(end.stderr.contains(&expected), "{end:?}");
        assert!(end.stdout.contains("WRONGPASS") && !end.stdout.contains("hunter2"), "{end:?}");
    })
    .await;
}

/// The poller of the function says what is wrong, from inside the cluster.
#[tokio::test]
async fn a_source_is_tried_with_what_the_function_has() {
    run("sourcetest", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("hello.js", "module.exports = async () => 'hi'\n")]).await;
        let name = sandbox.name("sourcetest");
        // A name that is never resolved.
        let create = ["service", "create", "jobs", "--type=redis", "--host=no-such-host.invalid"];
        kip.ok(&create).await;
        let trigger = ["--trigger=redis", "--source=jobs", "--list=work"];
        let create = ["function", "create", &name, "--code-file=hello.js"];
        kip.ok(&[&create[..], &trigger].concat()).await;
        sandbox.until_object("Deployment", &name).await;
        let end = kip.run(&["service", "test", "jobs", "--function", &name]).await;
        assert_eq!(end.code, 1, "{end:?}");
        let expected = format!("function {name} cannot take events from jobs: ");
        assert!(end.stderr.contains(&expected), "{end:?}");
        assert!(end.stdout.contains("no-such-host.invalid"), "{end:?}");
    })
    .await;
}
