//! A folder is one function, and the same one to `kip dev`, to `kip function create` and in a manifest.

use std::fs;

use serde_json::{Value, json};

use crate::{
    function::run,
    support::{Kip, folder, save, until},
};

const INDEX: &str = "const { shout } = require('./lib/shout')\n\
    module.exports = async (event, context) => shout(context.path)\n";
const SHOUT: &str = "exports.shout = (text) => text.toUpperCase() + '!'\n";
/// Nothing to install.
const PACKAGE: &str = "{\"private\": true, \"main\": \"./src/index.js\"}\n";

fn shouting() -> tempfile::TempDir {
    folder(&[
        ("shout/package.json", PACKAGE),
        ("shout/src/index.js", INDEX),
        ("shout/src/lib/shout.js", SHOUT),
        ("shout/.env", "KEY=1\n"),
        ("shout/node_modules/unused/index.js", "x"),
    ])
}

#[test]
fn a_folder_runs_and_says_what_a_cluster_would_not_have() {
    let home = shouting();
    let kip = Kip::start(&home.path().join("shout"), &[]);
    kip.wait_for(
        "shout: .env is not deployed: it looks like a secret; set what the function needs",
    );
    assert_eq!(kip.get("fn-shout-localhost", "/hello"), (200, "/HELLO!".to_owned()));
    save(&home.path().join("shout/src/lib/shout.js"), &SHOUT.replace('!', "?"));
    let expected = (200, "/HELLO?".to_owned());
    until("the new version answers", || kip.get("fn-shout-localhost", "/hello") == expected);
}

#[test]
fn the_same_folder_is_deployed_and_runs_as_it_was_deployed() {
    let home = shouting();
    let create = ["function", "create", "shout", "--code-file", "shout", "--dry-run=client"];
    let (code, stdout, stderr) = run(home.path(), &[], &[&create[..], &["-o", "json"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        object["spec"],
        json!({
            "runtime": "node",
            "source": { "files": {
                "package.json": PACKAGE, "src/index.js": INDEX, "src/lib/shout.js": SHOUT,
            } },
            "triggers": [{ "type": "http" }],
        })
    );
    assert_eq!(
        stderr,
        "warning: .env is not deployed: it looks like a secret; set what the function needs of it with \
         `kip function secret set`\n"
    );

    let (code, yaml, stderr) = run(home.path(), &[], &[&create[..], &["-o", "yaml"]].concat());
    assert_eq!(code, 0, "{stderr}");
    fs::write(home.path().join("shout.yaml"), &yaml).unwrap();
    let apply = ["function", "apply", "-f", "shout.yaml", "--dry-run=client", "-o", "name"];
    let (code, stdout, stderr) = run(home.path(), &[], &apply);
    assert_eq!((code, stdout.as_str()), (0, "function.kipper.run/shout\n"), "{stderr}");

    let file = home.path().join("shout.yaml");
    let kip = Kip::start(&file, &[]);
    assert_eq!(kip.get("fn-shout-localhost", "/hello"), (200, "/HELLO!".to_owned()));
    save(&file, &yaml.replace('!', "?"));
    let expected = (200, "/HELLO?".to_owned());
    until("the new version answers", || kip.get("fn-shout-localhost", "/hello") == expected);
}

#[test]
fn a_python_package_runs() {
    let home = folder(&[
        (
            "greet/handler.py",
            "from pkg.sub import greet\n\ndef handler(event, context):\n    return greet()\n",
        ),
        ("greet/pkg/__init__.py", ""),
        ("greet/pkg/sub/__init__.py", "from .words import greet\n"),
        ("greet/pkg/sub/words.py", "def greet():\n    return 'hello'\n"),
    ]);
    let kip = Kip::start(&home.path().join("greet"), &[]);
    assert_eq!(kip.get("fn-greet-localhost", "/"), (200, "hello".to_owned()));
}

#[test]
fn what_cannot_be_deployed_is_refused_before_a_cluster_is_asked() {
    let home = folder(&[
        ("lib/shout.js", SHOUT),
        ("both/package.json", "{\"dependencies\": {\"pg\": \"8\"}}"),
        ("both/index.js", "x"),
        ("one.js", "require('./lib/shout')"),
    ]);
    let create = |flags: &[&str]| {
        let create = ["function", "create", "f", "--dry-run=client", "--code-file"];
        run(home.path(), &[], &[&create[..], flags].concat())
    };
    let (code, _, stderr) = create(&["lib"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("lib: the folder has no file with the handler: none of index.js"),
        "{stderr}"
    );
    let (code, _, stderr) = create(&["both", "--dependency=ms@2"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("cannot be set together with the folder's package.json"), "{stderr}");
    let (code, _, stderr) = create(&["one.js"]);
    assert_eq!(code, 0, "{stderr}");
    let told = "warning: only the code file itself is deployed; it refers to ./lib/shout, which a pod will \
                not have: deploy the folder instead: --code-file ., with the handler in index.js\n";
    assert_eq!(stderr, told);
}
