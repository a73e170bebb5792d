//! Functions from files.

use serde_json::json;

use crate::{kip::Kip, names::SERVER_IMAGE, sandbox::run};

fn file(names: [&str; 2], port: u16) -> String {
    let function = |name: &str| {
        format!(
            "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{ name: {name} }}\n\
             spec: {{ image: '{SERVER_IMAGE}', port: {port} }}\n"
        )
    };
    names.map(function).join("---\n")
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
