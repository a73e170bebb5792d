//! Inline code as files: of one file, of a folder, and what is wrong with a folder.

use std::collections::BTreeMap;

use kipper_function::{
    Function, FunctionSpec, code,
    function::{Runtime, Source},
};
use serde_json::{Value, json};

fn source(value: Value) -> Source {
    serde_json::from_value(value).unwrap()
}

/// Path and first line of each file.
fn files(runtime: Runtime, value: Value) -> Vec<(String, String)> {
    let files = code::files("f", runtime, &source(value));
    files
        .into_iter()
        .map(|(path, text)| (path, text.lines().next().unwrap_or_default().to_owned()))
        .collect()
}

#[track_caller]
fn check_files(runtime: Runtime, value: Value, expected: &[(&str, &str)]) {
    let found = files(runtime, value);
    let found: Vec<_> = found.iter().map(|(path, line)| (path.as_str(), line.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_source_is_the_files_its_runtime_loads() {
    use Runtime::{Node, Python};
    check_files(Node, json!({ "code": "x" }), &[("index.js", "x")]);
    check_files(Python, json!({ "code": "x", "npmrc": "a=b" }), &[("handler.py", "x")]);
    check_files(
        Node,
        json!({ "code": "x", "dependencies": { "pg": "8" }, "npmrc": "a=b" }),
        &[(".npmrc", "a=b"), ("index.js", "x"), ("package.json", "{")],
    );
    // A folder's own list of packages is the list, and the settings of npm are for it.
    check_files(
        Node,
        json!({ "files": { "index.js": "x", "lib/a.js": "y", "package.json": "{}" }, "npmrc": "a=b" }),
        &[(".npmrc", "a=b"), ("index.js", "x"), ("lib/a.js", "y"), ("package.json", "{}")],
    );
    check_files(
        Node,
        json!({ "files": { "index.js": "x" }, "npmrc": "a=b" }),
        &[("index.js", "x")],
    );
    // A list of the other runtime's is a file like any other.
    check_files(
        Python,
        json!({ "files": { "handler.py": "x", "package.json": "{}" }, "dependencies": { "six": "1" } }),
        &[("handler.py", "x"), ("package.json", "{}"), ("requirements.txt", "six==1")],
    );
    let typed = json!({ "files": { "index.ts": "x" }, "dependencies": { "pg": "8" } });
    let package = &code::files("f", Node, &source(typed))["package.json"];
    let package: Value = serde_json::from_str(package).unwrap();
    assert_eq!(
        (&package["main"], &package["dependencies"]),
        (&json!("index.ts"), &json!({ "pg": "8" }))
    );
}

#[track_caller]
fn check_problems(spec: Value, expected: &[&str]) {
    let spec: FunctionSpec = serde_json::from_value(spec).unwrap();
    let found: Vec<String> =
        Function::new("f", spec).validate().iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_folder_is_checked() {
    let files = |files: Value| json!({ "source": { "files": files } });
    check_problems(files(json!({ "index.js": "x", "lib/a.js": "" })), &[]);
    check_problems(files(json!({ "index.ts": "" })), &[]);
    check_problems(
        files(json!({ "src/a.js": "", "package.json": "{\"main\": \"./src/a.js\"}" })),
        &[],
    );
    let missing = "spec.source.files: has no file with the handler: none of index.js, index.mjs, \
                   index.cjs, index.ts, index.mts, index.cts, and \"main\" of its package.json names none";
    check_problems(files(json!({ "lib/index.js": "x" })), &[missing]);
    check_problems(
        json!({ "runtime": "python", "source": { "files": { "index.js": "x" } } }),
        &["spec.source.files: has no file with the handler: no handler.py"],
    );
    check_problems(
        json!({ "runtime": "ruby", "source": { "files": { "index.js": "x" } } }),
        &["spec.runtime: must be node or python"],
    );
    check_problems(
        json!({ "source": { "code": "x", "files": { "index.js": "x" } } }),
        &["spec.source: only one of code and files can be set"],
    );
    check_problems(
        json!({ "image": "i", "source": { "files": { "index.js": "x" } } }),
        &["spec: only one of image and source can be set"],
    );
    check_problems(
        files(
            json!({ "index.js": "x", "../a": "", "lib": "", "lib/b.js": "", "c\n": "", ".npmrc": "" }),
        ),
        &[
            "spec.source.files[\"../a\"]: must not have a part that begins with '..'",
            "spec.source.files[\"c\\n\"]: must not contain control characters",
            "spec.source.files[\"lib\"]: cannot be a file and the folder of lib/b.js",
            "spec.source.files[\".npmrc\"]: belongs into spec.source.npmrc",
        ],
    );
}

#[test]
fn packages_are_listed_in_one_place() {
    let both = json!({ "source": {
        "files": { "index.js": "x", "package.json": "{}" }, "dependencies": { "pg": "8" },
    } });
    let conflict = "spec.source.dependencies: cannot be set together with the folder's package.json; \
                    list them there";
    check_problems(both, &[conflict]);
    let one = json!({ "source": { "files": { "index.js": "x" }, "dependencies": { "pg": "8" } } });
    check_problems(one, &[]);
    let git = json!({ "runtime": "python", "source": { "files": {
        "handler.py": "x", "requirements.txt": "six\nx @ git+https://h/r\n",
    } } });
    check_problems(
        git,
        &[
            "spec.source.files[\"requirements.txt\"]: \"x @ git+https://h/r\": packages from git need git, \
           which the runtimes' images do not have; give the URL of an archive, such as \
           https://github.com/<owner>/<repository>/archive/<tag>.tar.gz",
        ],
    );
}

#[test]
fn a_folder_fits_a_config_map() {
    let spec = |files: BTreeMap<String, String>| json!({ "source": { "files": files } });
    let sized = |bytes: usize| {
        let text = "x".repeat(bytes - "index.js".len());
        spec([("index.js".to_owned(), text)].into())
    };
    check_problems(sized(code::MAX_CODE_BYTES), &[]);
    check_problems(
        sized(code::MAX_CODE_BYTES + 1),
        &[
            "spec.source.files: has 1000001 bytes, paths included; at most 1000000 are allowed, because it is \
           mounted from a ConfigMap",
        ],
    );
    let many = |count: usize| {
        let others = (1..count).map(|number| format!("{number}.js"));
        spec(others.chain(["index.js".to_owned()]).map(|path| (path, String::new())).collect())
    };
    check_problems(many(code::MAX_FILES), &[]);
    check_problems(
        many(code::MAX_FILES + 1),
        &["spec.source.files: has 101 files; at most 100 are allowed"],
    );
}
