//! Several people at one function.

use std::collections::{BTreeMap, BTreeSet};

use kipper_cluster::{names::SERVER_IMAGE, sandbox::run};
use serde_json::json;

use crate::kip::{Kip, service};

/// People who change one function at once, each in two ways.
const PEOPLE: usize = 5;

/// An editor's text is checked and written; what is refused stays in its file.
#[tokio::test]
async fn an_editor_changes_a_function() {
    run("editor", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("editor");
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE, "--env", "A=1"]).await;
        let edit = |script: &str| {
            let mut command = kip.command(&["function", "edit", &name]);
            command.env("KUBE_EDITOR", format!("sed -i '{script}'"));
            command
        };
        let output = edit("s/A: .1./A: \"2\"/").output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let spec = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!(spec["env"], json!({ "A": "2" }));

        let output = edit("s/nothing/at all/").output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.contains("no changes made"), "{stderr}");

        // The second round of this editor changes nothing.
        let output = edit("s/^  env:/  envs:/").output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("did you mean env?"), "{stderr}");
        let kept = stderr.lines().find_map(|line| line.split_once("your text is kept in "));
        let path = kept.map(|(_, path)| path.to_owned()).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("  envs:"));
        std::fs::remove_file(path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn nobody_loses_a_change_to_another() {
    run("crowd", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("crowd");
        for person in 0..PEOPLE {
            service(&sandbox, &format!("cache-{person}"), "redis").await;
        }
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let mut children = Vec::new();
        let mut expected = BTreeMap::new();
        for person in 0..PEOPLE {
            let variable = format!("PERSON_{person}={person}");
            expected.insert(format!("PERSON_{person}"), person.to_string());
            children.push(kip.command(&["function", "env", "set", &name, &variable]).spawn());
            // A list is written as a whole: here a change made on an old version would be seen.
            let (cache, prefix) = (format!("cache-{person}"), format!("C{person}_"));
            let bind = ["function", "bind", &name, &cache, "--prefix", &prefix];
            children.push(kip.command(&bind).spawn());
        }
        children.push(kip.command(&["function", "update", &name, "--memory=300Mi"]).spawn());
        for child in children {
            let output = child.unwrap().wait_with_output().await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let spec = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!(spec["env"], json!(expected));
        let bound = spec["serviceBindings"].as_array().unwrap().iter();
        let bound: BTreeSet<_> =
            bound.map(|binding| binding["prefix"].clone().to_string()).collect();
        assert_eq!(bound.len(), PEOPLE, "{bound:?}");
        assert_eq!(spec["resources"], json!({ "memoryLimit": "300Mi" }));
        let text = kip.run(&["function", "env", "set", &name, "PERSON_1-", "TEXT=a\nb"]).await;
        assert_eq!(text.code, 0, "{text:?}");
        let listed = kip.ok(&["function", "env", "list", &name]).await;
        assert!(listed.contains("a\\nb\n") && !listed.contains("PERSON_1 "), "{listed}");
        let first = format!("PERSON_{}", 0);
        kip.ok(&["function", "env", "unset", &name, &first]).await;
        let again = kip.fails(1, &["function", "env", "delete", &name, &first]).await;
        assert!(
            again.contains("it has no environment variable PERSON_0; it has PERSON_2"),
            "{again}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_change_that_would_be_wrong_is_not_made() {
    run("wrong", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("wrong");
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let before = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        let list = ["function", "env", "list", &name];
        let end = kip.run(&list).await;
        let expected = format!("no environment variables found in function {name}\n");
        assert_eq!((end.code, end.stdout, end.stderr), (0, String::new(), expected));
        assert_eq!(kip.json(&[&list[..], &["-o", "json"]].concat()).await, json!([]));
        for (flags, expected) in [
            (&["update", &name, "--cpu=much"][..], "spec.resources.cpuLimit: must be a quantity"),
            (&["update", &name, "--min-replicas=20"], "must not exceed maxReplicas"),
            (&["update", &name, "--volume=cache:/app/function"], "would hide the function's code"),
            (&["update", &name, "--schedule=@daily"], "--schedule needs --trigger cron"),
            (&["deps", "add", &name, "pg@8.11.5"], "it runs an image"),
            (&["unbind", &name, "db"], "it has no binding db; it has none"),
            (&["bind", &name, "db"], "service db does not exist in namespace"),
        ] {
            let stderr = kip.fails(1, &[&["function"], flags].concat()).await;
            assert!(stderr.contains(expected), "{flags:?}: {stderr}");
        }
        let after = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!(after, before);
    })
    .await;
}
