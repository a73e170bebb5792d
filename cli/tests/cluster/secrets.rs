//! Values that go in and never come out.

use kipper_cluster::{
    sandbox::run,
    wait::{expect, until},
};
use serde_json::json;

use crate::{kip::Kip, terminal::answered};

/// Tells the value's length, which the test may know.
const CODE: &str = "module.exports = async () => String((process.env.TOKEN ?? '').length)\n";

#[tokio::test]
async fn a_secret_is_set_rotated_and_deleted_without_being_shown() {
    run("secret", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("code.js", CODE), ("token", "four\n")]).await;
        let name = sandbox.name("secret");
        let name = name.as_str();
        let create = ["function", "create", name, "--code-file", "code.js", "--secret", "TOKEN"];
        let end = kip.with_stdin(&[&create[..], &["--wait"]].concat(), "hunter2\n").await;
        assert_eq!(end.code, 0, "{end:?}");
        let mut shown = format!("{end:?}");
        until("the first value", || async {
            let answer = kip.ok(&["function", "invoke", name]).await;
            expect(answer == "7", || answer.clone())
        })
        .await;

        let list = ["function", "secret", "list", name, "-o", "json"];
        until("the status to tell of the secret", || async {
            let keys = kip.json(&list).await;
            let expected = json!([{ "name": "TOKEN", "has_previous": false, "rotated_at": null }]);
            expect(keys == expected, || keys.to_string())
        })
        .await;
        let set = ["function", "secret", "set", name, "TOKEN"];
        // The same value is no rotation.
        let end = kip.with_stdin(&set, "hunter2").await;
        assert_eq!(end.code, 0, "{end:?}");
        assert_eq!(kip.json(&list).await[0]["has_previous"], json!(false));
        let end = kip.run(&[&set[..], &["--from-file", "token"]].concat()).await;
        assert_eq!((end.code, end.stderr.as_str()), (0, ""), "{end:?}");
        shown.push_str(&format!("{end:?}"));
        let keys = kip.json(&list).await;
        assert_eq!(keys[0]["has_previous"], json!(true), "{keys}");
        until("the second value", || async {
            let answer = kip.ok(&["function", "invoke", name]).await;
            // Without the newline at the end of the file.
            expect(answer == "4", || answer.clone())
        })
        .await;

        let described = kip.ok(&["function", "describe", name]).await;
        assert!(described.contains("TOKEN (value changed at "), "{described}");
        shown.push_str(&described);
        shown.push_str(&kip.ok(&["function", "get", name, "-o", "yaml"]).await);
        assert!(!shown.contains("hunter2") && !shown.contains("four"), "{shown}");

        // A variable of the same name has no effect, and whoever sets either is told.
        let variable = ["function", "env", "set", name, "TOKEN=longer than that", "--wait"];
        let end = kip.run(&variable).await;
        assert!(end.code == 0 && end.stderr.contains("TOKEN has no effect"), "{end:?}");
        assert_eq!(kip.ok(&["function", "invoke", name]).await, "4");
        let described = kip.ok(&["function", "describe", name]).await;
        assert!(described.contains("TOKEN=longer than that (overridden by the secret)"));
        let end = kip.run(&[&set[..], &["--from-file", "token"]].concat()).await;
        assert!(end.stderr.contains("the secret TOKEN overrides"), "{end:?}");
        kip.ok(&["function", "env", "set", name, "TOKEN-"]).await;

        let end = kip.with_stdin(&set, "").await;
        assert!(end.code == 1 && end.stderr.contains("no value on stdin"), "{end:?}");
        let stderr = kip.fails(1, &["function", "secret", "delete", name, "OTHER"]).await;
        assert!(stderr.contains("has no secret OTHER; it has TOKEN"), "{stderr}");
        kip.ok(&["function", "secret", "unset", name, "TOKEN"]).await;
        assert_eq!(kip.json(&list).await, json!([]));
        let end = kip.run(&["function", "secret", "list", name]).await;
        let expected = format!("no secrets found in function {name}\n");
        assert_eq!((end.code, end.stdout, end.stderr), (0, String::new(), expected));
    })
    .await;
}

#[tokio::test]
async fn a_value_typed_at_a_terminal_is_not_echoed() {
    run("typed", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("code.js", CODE)]).await;
        let name = sandbox.name("typed");
        kip.ok(&["function", "create", &name, "--code-file", "code.js"]).await;
        let command = kip.command(&["function", "secret", "set", &name, "TOKEN"]);
        let (code, terminal) = answered(command, "hunter2\r").await;
        assert_eq!(code, Some(0), "{terminal}");
        assert!(terminal.contains("Value of TOKEN: "), "{terminal}");
        assert!(!terminal.contains("hunter2"), "{terminal}");
        let secret = sandbox.object("Secret", &format!("{name}-secrets")).await.unwrap();
        assert_eq!(secret["data"]["TOKEN"], "aHVudGVyMg==");
        // It was made for the function and goes with it.
        assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], name);

        // Nothing changes after Ctrl-C, and the terminal echoes again.
        let command = kip.command(&["function", "secret", "set", &name, "TOKEN"]);
        let (code, terminal) = answered(command, "other\x03").await;
        assert_eq!(code, Some(130), "{terminal}");
        let after = sandbox.object("Secret", &format!("{name}-secrets")).await.unwrap();
        assert_eq!(after["data"], secret["data"]);
    })
    .await;
}
