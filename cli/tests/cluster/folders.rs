//! A folder as a function of a cluster.

use kipper_cluster::{
    sandbox::run,
    wait::{expect, until},
};

use crate::kip::Kip;

const INDEX: &str = "const { shout } = require('./lib/shout')\n\
    module.exports = async (event, context) => shout(context.path)\n";
const SHOUT: &str = "exports.shout = (text) => text.toUpperCase() + '!'\n";

#[tokio::test]
async fn a_folder_is_deployed_with_the_folders_in_it() {
    run("folder", |sandbox| async move {
        let files = [
            ("shout/index.js", INDEX),
            ("shout/lib/shout.js", SHOUT),
            ("shout/package.json", "{\"private\": true}\n"),
            ("shout/with space/\u{e9}t\u{e9}.txt", "summer"),
        ];
        let kip = Kip::new(&sandbox, &files).await;
        let name = sandbox.name("shout");
        let name = name.as_str();
        kip.ok(&["function", "create", name, "--code-file", "shout", "--wait"]).await;
        let invoke = ["function", "invoke", name, "--path", "/hello"];
        assert_eq!(kip.ok(&invoke).await.trim_end(), "/HELLO!");
        let described = kip.ok(&["function", "describe", name]).await;
        assert!(described.contains("runs      node, 5 lines of code in 4 files"), "{described}");

        // Once more is no change; a file that is gone goes, and the pods are replaced.
        let create = ["function", "create", name, "--code-file", "shout"];
        let told = kip.ok(&create).await;
        assert!(told.starts_with(&format!("function {name} unchanged in ")), "{told}");
        let folder = kip.folder.path().join("shout");
        std::fs::remove_dir_all(folder.join("lib")).unwrap();
        std::fs::write(folder.join("lib.js"), SHOUT.replace('!', "?")).unwrap();
        std::fs::write(folder.join("index.js"), INDEX.replace("./lib/shout", "./lib")).unwrap();
        kip.ok(&["function", "update", name, "--code-file", "shout", "--wait"]).await;
        until("the new files answer", || async {
            let answer = kip.run(&invoke).await;
            expect(answer.stdout.trim_end() == "/HELLO?", || format!("{answer:?}"))
        })
        .await;
        let object = kip.json(&["function", "get", name, "-o", "json"]).await;
        let files = object["spec"]["source"]["files"].as_object().unwrap();
        assert!(files.contains_key("lib.js") && !files.contains_key("lib/shout.js"), "{object}");
    })
    .await;
}

#[tokio::test]
async fn typescript_and_a_python_package_run() {
    run("folders", |sandbox| async move {
        let files = [
            ("typed/index.ts", "import { shout } from './lib/shout.ts'\n\
                export default async (event: unknown, context: { path: string }) => shout(context.path)\n"),
            ("typed/lib/shout.ts", "export const shout = (text: string): string => text.toUpperCase()\n"),
            ("greet/handler.py", "from pkg.sub import greet\n\ndef handler(event):\n    return greet()\n"),
            ("greet/pkg/__init__.py", ""),
            ("greet/pkg/sub/__init__.py", "def greet():\n    return 'hello'\n"),
        ];
        let kip = Kip::new(&sandbox, &files).await;
        for (folder, expected) in [("typed", "/A"), ("greet", "hello")] {
            let name = sandbox.name(folder);
            kip.ok(&["function", "create", &name, "--code-file", folder, "--wait"]).await;
            let answer = kip.ok(&["function", "invoke", &name, "--path", "/a"]).await;
            assert_eq!(answer.trim_end(), expected, "{folder}");
        }
    })
    .await;
}
