//! Functions from files.

use kipper_cluster::{names::SERVER_IMAGE, sandbox::run};
use serde_json::json;

use crate::kip::{Kip, service};

fn file(names: [&str; 2], port: u16) -> String {
    names.map(|name| one(name, &format!(", port: {port}"))).join("---\n")
}

fn one(name: &str, more: &str) -> String {
    format!(
        "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{ name: {name} }}\n\
         spec: {{ image: '{SERVER_IMAGE}'{more} }}\n"
    )
}

#[tokio::test]
async fn files_are_applied_and_compared() {
    run("apply", |sandbox| async move {
        let (a, b) = (sandbox.name("a"), sandbox.name("b"));
        let kip = Kip::new(&sandbox, &[("f.yaml", &file([&a, &b], 8080))]).await;
        let diff = kip.ok(&["function", "diff", "-f", "f.yaml"]).await;
        assert!(
            diff.contains(&format!("+++ files/{a}")) && diff.contains("+  port: 8080"),
            "{diff}"
        );
        let told = kip.ok(&["function", "apply", "-f", "f.yaml", "--dry-run=server"]).await;
        assert!(told.contains(&format!("function {a} created (server dry run)")), "{told}");
        assert_eq!(kip.ok(&["function", "list", "-o", "name"]).await, "");

        let apply = ["function", "apply", "-f", "f.yaml"];
        let told = kip.ok(&apply).await;
        assert_eq!(told, format!("function {a} created\nfunction {b} created\n"));
        let told = kip.ok(&apply).await;
        assert_eq!(told, format!("function {a} unchanged\nfunction {b} unchanged\n"));
        assert_eq!(kip.ok(&["function", "diff", "-f", "f.yaml", "--exit-code"]).await, "");

        std::fs::write(kip.folder.path().join("f.yaml"), file([&a, &b], 3000)).unwrap();
        let end = kip.run(&["function", "diff", "-f", "f.yaml", "--exit-code"]).await;
        assert_eq!(end.code, 1, "{end:?}");
        assert!(end.stdout.contains("-  port: 8080\n+  port: 3000\n"), "{end:?}");
        // What a command changed and the file is silent about stays.
        kip.ok(&["function", "env", "set", &a, "KEPT=1"]).await;
        kip.ok(&apply).await;
        let spec = kip.json(&["function", "get", &a, "-o", "json"]).await["spec"].clone();
        assert_eq!((&spec["port"], &spec["env"]), (&json!(3000), &json!({ "KEPT": "1" })));
        // What a command changed and the file says is as the file says.
        kip.ok(&["function", "update", &a, "--port", "4000"]).await;
        kip.ok(&apply).await;
        let spec = kip.json(&["function", "get", &a, "-o", "json"]).await["spec"].clone();
        assert_eq!(spec["port"], json!(3000));
    })
    .await;
}

#[tokio::test]
async fn fields_of_others_are_not_overwritten_unasked() {
    run("owned", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("owned");
        sandbox.apply(&name, json!({ "image": SERVER_IMAGE, "port": 5000 })).await;
        let create = ["function", "create", &name, "--image", SERVER_IMAGE, "--port", "8080"];
        let stderr = kip.fails(1, &create).await;
        assert!(stderr.contains(".spec.port (cluster-test)"), "{stderr}");
        assert!(stderr.contains("hint: take them over with --force-conflicts"), "{stderr}");
        kip.ok(&[&create[..], &["--force-conflicts"]].concat()).await;
        let object = kip.json(&["function", "get", &name, "-o", "json"]).await;
        assert_eq!(object["spec"]["port"], json!(8080));
    })
    .await;
}

/// Image, code and folder take each other's place, whichever command wrote the one before.
#[tokio::test]
async fn one_form_replaces_another() {
    run("forms", |sandbox| async move {
        let files = [
            ("a.js", "module.exports = async () => 'a'\n"),
            ("f/index.js", "module.exports = async () => 'f'\n"),
            ("f/package.json", "{}\n"),
        ];
        let kip = Kip::new(&sandbox, &files).await;
        let name = sandbox.name("forms");
        let image = ["--image", SERVER_IMAGE];
        let (file, folder) = (["--code-file", "a.js"], ["--code-file", "f"]);
        let (create, update) = (["function", "create", &name], ["function", "update", &name]);
        kip.ok(&[&create[..], &file].concat()).await;
        for (before, form, expected) in [
            (&file[..], &folder[..], "files"),
            (&image, &folder, "files"),
            (&image, &file, "code"),
            (&folder, &file, "code"),
            (&file, &image, "image"),
            (&folder, &image, "image"),
        ] {
            for how in [&["--dry-run=server"][..], &[]] {
                kip.ok(&[&update[..], before].concat()).await;
                let flags = [&create[..], form, how, &["-o", "json"]].concat();
                let spec = kip.json(&flags).await["spec"].clone();
                let has = |path: &str| spec.pointer(path).is_some();
                let found = [has("/image"), has("/source/code"), has("/source/files")];
                let expected = ["image", "code", "files"].map(|it| it == expected);
                assert_eq!(found, expected, "{before:?} {form:?} {how:?}: {spec}");
            }
        }
        // What declared packages for the code before is gone with a folder that lists its own.
        kip.ok(&[&update[..], &file].concat()).await;
        kip.ok(&["function", "deps", "add", &name, "ms@2.1.3"]).await;
        let end = kip.run(&["function", "create", &name, "--code-file", "f"]).await;
        assert_eq!(end.code, 0, "{end:?}");
        assert!(end.stderr.contains("no flag mentions it: package ms"), "{end:?}");
        // A file that is applied replaces as well.
        std::fs::write(kip.folder.path().join("f.yaml"), one(&name, "")).unwrap();
        kip.ok(&["function", "apply", "-f", "f.yaml"]).await;
        let spec = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!((&spec["image"], &spec["source"]), (&json!(SERVER_IMAGE), &json!(null)));
        // And so does an earlier revision, before it is replaced again.
        kip.ok(&["function", "rollback", &name]).await;
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let spec = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!((&spec["image"], &spec["source"]), (&json!(SERVER_IMAGE), &json!(null)));
    })
    .await;
}

#[tokio::test]
async fn one_event_trigger_replaces_another() {
    run("triggers", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("triggers");
        service(&sandbox, "db", "postgres").await;
        service(&sandbox, "cache", "redis").await;
        let create = ["function", "create", &name, "--image", SERVER_IMAGE];
        let redis = ["--trigger=redis", "--source=cache", "--list=jobs"];
        let postgres = ["--trigger=postgres", "--source=db", "--query=SELECT * FROM orders"];
        kip.ok(&[&create[..], &redis].concat()).await;
        kip.ok(&[&["function", "update", &name], &postgres[..]].concat()).await;
        // Where no flag is about it, the trigger stays, and no URL is added.
        let object = kip.json(&[&create[..], &["-o", "json"]].concat()).await;
        let triggers = object["spec"]["triggers"].as_array().unwrap();
        assert_eq!((triggers.len(), &triggers[0]["type"]), (1, &json!("postgres")), "{object}");
        for how in [&["--dry-run=server"][..], &[]] {
            let object = kip.json(&[&create[..], &redis, how, &["-o", "json"]].concat()).await;
            let triggers = object["spec"]["triggers"].as_array().unwrap();
            assert_eq!((triggers.len(), &triggers[0]["type"]), (1, &json!("redis")), "{object}");
        }
    })
    .await;
}

/// What `create` and `update` wrote in part each goes as a whole.
#[tokio::test]
async fn what_two_commands_wrote_is_removed_as_one() {
    run("parts", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("parts");
        let create = ["function", "create", &name, "--image", SERVER_IMAGE];
        let cron = ["--trigger=cron", "--schedule=@daily"];
        let update = ["function", "update", &name];
        kip.ok(&create).await;
        kip.ok(&[&update[..], &cron].concat()).await;
        kip.ok(&[&create[..], &["--trigger=cron", "--schedule=@hourly"]].concat()).await;
        for how in [&["--dry-run=server"][..], &[]] {
            let object = kip.json(&[&create[..], how, &["-o", "json"]].concat()).await;
            assert_eq!(object["spec"]["triggers"], json!([{ "type": "http" }]), "{object}");
        }
        for volume in ["a", "b"] {
            kip.ok(&["volume", "create", volume]).await;
        }
        kip.ok(&[&create[..], &["--volume=a:/data"]].concat()).await;
        kip.ok(&[&update[..], &["--volume=b:/data"]].concat()).await;
        for how in [&["--dry-run=server"][..], &[]] {
            let end = kip.run(&[&create[..], how].concat()).await;
            assert_eq!(end.code, 0, "{end:?}");
            assert!(end.stderr.contains("no flag mentions it: volume b at /data"), "{end:?}");
        }
    })
    .await;
}

/// A form that another manager wrote is replaced when that is asked for, and not before.
#[tokio::test]
async fn a_form_of_others_is_not_replaced_unasked() {
    run("others", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("a.js", "module.exports = async () => 'a'\n")]).await;
        let name = sandbox.name("others");
        sandbox.apply(&name, json!({ "image": SERVER_IMAGE })).await;
        let create = ["function", "create", &name, "--code-file", "a.js"];
        let stderr = kip.fails(1, &create).await;
        assert!(stderr.contains(".spec.image (cluster-test)"), "{stderr}");
        assert!(stderr.contains("hint: take them over with --force-conflicts"), "{stderr}");
        kip.ok(&[&create[..], &["--force-conflicts"]].concat()).await;
        let spec = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!((&spec["image"], spec["source"]["code"].is_string()), (&json!(null), true));
    })
    .await;
}
