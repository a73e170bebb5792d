//! `kip function` as far as it goes without a cluster: what it refuses, what it finds out about where
//! it would work, and what a dry run makes of flags.

use std::{fs, net::TcpListener, path::Path, process::Output};

use tempfile::TempDir;

use crate::support::{folder, kip};

/// A command's end: exit code, stdout, stderr.
type End = (i32, String, String);

fn end(output: Output) -> End {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs `kip` in `home`, where nothing else says which cluster is meant.
pub(crate) fn run(home: &Path, environment: &[(&str, &str)], flags: &[&str]) -> End {
    let mut command = kip();
    for variable in ["KUBECONFIG", "KIP_CONFIG", "KIP_CONTEXT", "KIP_KUBECONFIG", "KIP_NAMESPACE"] {
        command.env_remove(variable);
    }
    for variable in ["KIP_PROJECT", "KIP_ENVIRONMENT", "KIP_INTERCEPTOR", "KUBERNETES_SERVICE_HOST"]
    {
        command.env_remove(variable);
    }
    command.env("HOME", home).env("XDG_CONFIG_HOME", home.join(".config")).current_dir(home);
    command.envs(environment.iter().copied()).args(flags);
    end(command.output().unwrap())
}

/// A home with a handler in it.
fn home() -> TempDir {
    folder(&[
        ("hello.js", "module.exports = async () => 'hello'\n"),
        ("hello.py", "def handler(event, context):\n    return 'hello'\n"),
    ])
}

/// A kubeconfig of the contexts `one` and `two`, whose cluster is at this address.
pub(crate) fn kubeconfig(address: &str, current: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: {current}
clusters:
- name: here
  cluster: {{ server: 'http://{address}' }}
users:
- name: me
  user: {{}}
contexts:
- name: one
  context: {{ cluster: here, user: me, namespace: shop-one }}
- name: two
  context: {{ cluster: here, user: me }}
"
    )
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_2() {
    let home = home();
    let create = ["function", "create", "hello"];
    for (flags, expected) in [
        (&["function"][..], "Usage: kip function"),
        (&["function", "frobnicate"], "unrecognized subcommand"),
        (&["function", "create"], "<NAME>"),
        (&create, "either --image or --code-file is required"),
        (&[&create[..], &["--image=x", "--code-file=hello.js"]].concat(), "cannot be used with"),
        (&[&create[..], &["--image=x", "--trigger=cron"]].concat(), "needs --schedule"),
        (
            &[&create[..], &["--image=x", "--trigger=cron", "--schedule=often"]].concat(),
            "schedule must have 5 fields",
        ),
        (&[&create[..], &["--image=x", "--env=PORT=1"]].concat(), "is set by Kipper"),
        (
            &[&create[..], &["--image=x", "--secret=KIPPER_X", "--dry-run=client"]].concat(),
            "is set by Kipper",
        ),
        (&["function", "create", "Hello", "--image=x"], "metadata.name: must consist of"),
        (
            &[
                "function",
                "create",
                "orders",
                "--image=x",
                "--trigger=postgres",
                "--source=db",
                "--query=SELECT * FROM orders LIMIT 3",
            ],
            "spec.triggers[0].config.query: ",
        ),
        (
            &[
                "function",
                "create",
                "orders",
                "--image=x",
                "--trigger=postgres",
                "--source=db",
                "--query=SELECT * FROM orders",
                "--mark-done=UPDATE orders SET status = 'of {{id}}'",
            ],
            "spec.triggers[0].config.markDone: ",
        ),
        (&["function", "update", "hello"], "nothing to change: pass at least one flag"),
        (&["function", "secret", "set", "hello", "KEY=value"], "shell's history"),
        (&["function", "secret", "set", "hello", "KEY-"], "kip function secret delete hello KEY"),
        (&["function", "update", "hello", "--idle-timeout=soon"], "such as 300, 5m or 1h30m"),
        (&["function", "update", "hello", "--deadline=8d"], "must be from 1 to 604800 seconds"),
        (&["function", "list", "--project=shop"], "--project needs --environment"),
        (
            &["function", "list", "--project=shop", "--environment=dev", "-n", "x"],
            "specify either a namespace",
        ),
        (&["function", "list", "--interceptor=ftp://x"], "is not a valid URL of an interceptor"),
        (&["function", "invoke", "hello", "-H", "x"], "expected NAME: VALUE"),
        (&["function", "logs", "hello", "--since=yesterday"], "such as 30s, 5m, 1h30m or 7d"),
        (&["function", "create", "hello", "--image=x", "--timeout=5"], "such as 30s, 5m"),
        (
            &["function", "create", "hello", "--image=x", "--schedule=@daily"],
            "--schedule needs --trigger cron",
        ),
        (&["function", "apply"], "--filename"),
        (&["function", "bind", "hello", "db", "--create-database"], "--database <NAME>"),
        (&["service", "create", "db"], "--type is required, or a connection URL"),
        (&["service", "create", "Db", "--type=redis"], "service Db: the name must consist of"),
        (&["service", "create", "db", "--type=kafka"], "must be one of postgres, mysql, mongodb"),
        (
            &["service", "create", "db", "--type=postgres", "--host=db"],
            "a postgres service needs --username, --password-stdin or --password-file",
        ),
        (
            &["service", "create", "db", "--type=minio", "--host=db"],
            "--host is not for a minio service",
        ),
        (&["service", "create", "db", "--type=postgres", "--password=x"], "unexpected argument"),
        (&["service", "update", "db"], "nothing to change: pass at least one flag"),
        (&["function", "diff"], "either --filename, or a function and --revision, is required"),
        (&["function", "diff", "hello"], "--revision <N>"),
        (&["function", "diff", "--revision=1"], "<NAME>"),
        (&["function", "diff", "hello", "--revision=1", "-f", "x"], "cannot be used with"),
        (&["function", "history"], "<NAME>"),
        (&["function", "rollback", "hello", "--to=first"], "--to <N>"),
        (&["function", "restart"], "<NAME>"),
        (&["volume", "create", "Cache"], "volume Cache: the name must consist of"),
        (&["volume", "create", "cache", "--size=much"], "--size must be a quantity"),
    ] {
        let (code, stdout, stderr) = run(home.path(), &[], flags);
        assert_eq!((code, stdout.as_str()), (2, ""), "{flags:?}: {stderr}");
        assert!(stderr.contains(expected), "{flags:?}: {stderr}");
    }
}

#[test]
fn without_a_cluster_it_says_how_to_name_one() {
    let home = home();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let configs = folder(&[
        ("good", &kubeconfig(&closed, "one")),
        ("none", &kubeconfig(&closed, "''")),
        ("bad", "clusters: [\n"),
    ]);
    let path = |name: &str| configs.path().join(name).to_str().unwrap().to_owned();
    let list = ["function", "list"];
    for (kubeconfig, flags, expected, hint) in [
        (None, &list[..], "no kubeconfig found at", "--kubeconfig"),
        (Some(path("gone")), &list, "no kubeconfig found at", "--kubeconfig"),
        (Some(path("bad")), &list, "cannot read the kubeconfig", "kubectl config view"),
        (Some(path("none")), &list, "no current context; it knows one, two", "--context"),
        (
            Some(path("good")),
            &["function", "list", "--context=three"],
            "has no context \"three\"; it knows one, two",
            "--context",
        ),
        (Some(path("good")), &list, "the cluster does not answer: ", "--context"),
        (
            Some(path("good")),
            &["function", "create", "hello", "--code-file=hello.js"],
            "the cluster does not answer: ",
            "--context",
        ),
        (Some(path("good")), &["volume", "list"], "the cluster does not answer: ", "--context"),
    ] {
        let environment = kubeconfig.as_ref().map(|path| ("KUBECONFIG", path.as_str()));
        let environment: Vec<_> = environment.into_iter().collect();
        let (code, stdout, stderr) = run(home.path(), &environment, flags);
        assert_eq!((code, stdout.as_str()), (1, ""), "{flags:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        let [error, reported] = lines[..] else { panic!("{flags:?}: {stderr}") };
        assert!(error.starts_with("error: ") && error.contains(expected), "{stderr}");
        assert!(reported.starts_with("hint: ") && reported.contains(hint), "{stderr}");
    }
}

/// The namespace that a dry run puts into the Function.
fn namespace(home: &Path, environment: &[(&str, &str)], flags: &[&str]) -> Option<String> {
    let dry = ["function", "create", "hello", "--image=x", "--dry-run=client", "-o", "json"];
    let (code, stdout, stderr) = run(home, environment, &[&dry[..], flags].concat());
    assert_eq!(code, 0, "{stderr}");
    let object: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    object["metadata"]["namespace"].as_str().map(str::to_owned)
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let home = home();
    assert_eq!(namespace(home.path(), &[], &[]), None);
    let config = home.path().join(".config/kip");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.yaml"), "project: shop\nenvironment: dev\n").unwrap();
    let of = |environment: &[(&str, &str)], flags: &[&str]| {
        namespace(home.path(), environment, flags).unwrap()
    };
    assert_eq!(of(&[], &[]), "shop-dev");
    assert_eq!(of(&[("KIP_ENVIRONMENT", "prod")], &[]), "shop-prod");
    assert_eq!(of(&[("KIP_NAMESPACE", "mine")], &[]), "mine");
    assert_eq!(of(&[("KIP_NAMESPACE", "mine")], &["--environment=test"]), "shop-test");
    assert_eq!(of(&[("KIP_NAMESPACE", "mine")], &["-n", "yours"]), "yours");

    fs::write(home.path().join("other.yaml"), "namespace: other\n").unwrap();
    assert_eq!(of(&[("KIP_CONFIG", "other.yaml")], &[]), "other");
    let list = ["function", "list"];
    fs::write(home.path().join("typo.yaml"), "namspace: other\n").unwrap();
    let (code, _, stderr) = run(home.path(), &[("KIP_CONFIG", "typo.yaml")], &list);
    assert!(code == 2 && stderr.contains("typo.yaml: ") && stderr.contains("namspace"), "{stderr}");
    let (code, _, stderr) = run(home.path(), &[("KIP_CONFIG", "gone.yaml")], &list);
    assert!(code == 1 && stderr.contains("gone.yaml: No such file"), "{stderr}");
}

/// What `create` with these flags prints without asking a cluster.
fn dry_run(home: &Path, flags: &[&str]) -> String {
    let flags = [&["function", "create", "--dry-run=client"], flags].concat();
    let (exit, stdout, stderr) = run(home, &[], &flags);
    assert_eq!(exit, 0, "{flags:?}: {stderr}");
    stdout
}

#[test]
fn a_dry_run_prints_what_would_be_applied() {
    let home = home();
    let code = fs::read_to_string(home.path().join("hello.js")).unwrap();
    assert_eq!(
        dry_run(home.path(), &["hello", "--code-file=hello.js"]),
        "function hello would be created (dry run, no cluster contacted)\n"
    );
    let named = dry_run(home.path(), &["hello", "--image=x", "-o", "name"]);
    assert_eq!(named, "function.kipper.run/hello\n");
    let cron = ["--trigger=cron", "--schedule=0 2 * * *"];
    let packages = ["--dependency=pg@8.11.5", "--dependency=axios@1.6.7"];
    let flags = ["opensrs-sync", "--code-file=./hello.js", "--volume=cache:/data", "-o", "json"];
    let sync = dry_run(home.path(), &[&flags[..], &cron, &packages].concat());
    let sync: serde_json::Value = serde_json::from_str(&sync).unwrap();
    assert_eq!(
        sync,
        serde_json::json!({
            "apiVersion": "kipper.run/v1alpha1",
            "kind": "Function",
            "metadata": { "name": "opensrs-sync" },
            "spec": {
                "runtime": "node",
                "source": {
                    "code": code,
                    "dependencies": { "axios": "1.6.7", "pg": "8.11.5" },
                },
                "volumes": [{ "name": "cache", "mountPath": "/data" }],
                "triggers": [{ "type": "cron", "schedule": "0 2 * * *" }],
            },
        })
    );
}

#[test]
fn a_dry_run_prints_yaml_that_can_be_applied() {
    let home = home();
    let flags = [
        "--image=registry.example.com/order-processor:latest",
        "--trigger=postgres",
        "--source=mydb",
        "--query=SELECT * FROM orders WHERE status = 'pending'",
        "--mark-done=UPDATE orders SET status = 'done' WHERE id = {{id}}",
        "--port=8080",
    ];
    let yaml = dry_run(home.path(), &[&["process-orders", "-o", "yaml"], &flags[..]].concat());
    assert_eq!(
        yaml,
        "\
apiVersion: kipper.run/v1alpha1
kind: Function
metadata:
  name: process-orders
spec:
  image: registry.example.com/order-processor:latest
  port: 8080
  triggers:
  - config:
      markDone: UPDATE orders SET status = 'done' WHERE id = {{id}}
      query: SELECT * FROM orders WHERE status = 'pending'
      source: mydb
    type: postgres
"
    );
    fs::write(home.path().join("orders.yaml"), &yaml).unwrap();
    let apply = ["function", "apply", "-f", "orders.yaml", "--dry-run=client", "-o", "name"];
    let (code, stdout, stderr) = run(home.path(), &[], &apply);
    assert_eq!((code, stdout.as_str()), (0, "function.kipper.run/process-orders\n"), "{stderr}");
}

#[test]
fn files_are_all_checked_before_one_is_applied() {
    let home = home();
    let function = |name: &str, spec: &str| {
        format!(
            "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    let folder = folder(&[
        ("a.yaml", &function("a", "{image: x}")),
        ("b.yml", &(function("b", "{image: x}") + "---\nkind: ConfigMap\nmetadata: {name: c}\n")),
        ("notes.txt", "no manifest"),
    ]);
    let path = folder.path().to_str().unwrap();
    let dry = ["function", "apply", "--dry-run=client", "-f"];
    let (code, stdout, stderr) = run(home.path(), &[], &[&dry[..], &[path, "-o", "name"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "function.kipper.run/a\nfunction.kipper.run/b\n");
    assert!(stderr.contains("skipped ConfigMap c"), "{stderr}");

    for (name, text, expected) in [
        ("c.yaml", function("c", "{image: x, prot: 1}"), "spec.prot: is not a known field"),
        (
            "c.yaml",
            function("c", "{port: 1}"),
            "one of image, source.code and source.files is required",
        ),
        ("c.yaml", function("a", "{image: z}"), "function a is defined twice"),
        ("c.yaml", "a: [".to_owned(), "not valid YAML"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        let (code, stdout, stderr) = run(home.path(), &[], &[&dry[..], &[path]].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(name) && stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn man_pages_know_every_command() {
    let home = home();
    let (code, _, stderr) = run(home.path(), &[], &["man", "pages"]);
    assert_eq!(code, 0, "{stderr}");
    let page = fs::read_to_string(home.path().join("pages/kip-function-create.1")).unwrap();
    assert!(page.contains("code\\-file"), "{page}");
}
