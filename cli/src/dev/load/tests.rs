//! Which files become which functions.
#![allow(clippy::unwrap_used)]

use kipper_process::exit::plain;
use tempfile::TempDir;

use super::*;

const CRON: &str = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: nightly}\n\
    spec:\n  runtime: python\n  source: {code: 'def handler(event): pass'}\n  \
    triggers: [{type: cron, schedule: '0 2 * * *'}]\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn names(sources: &[PathBuf]) -> Vec<(String, Runtime)> {
    let loaded = load(sources).unwrap();
    loaded.functions.into_iter().map(|f| (f.name, f.runtime)).collect()
}

fn named(name: &str, runtime: Runtime) -> (String, Runtime) {
    (name.to_owned(), runtime)
}

#[test]
fn a_folder_is_everything_in_it() {
    let dir = folder(&[
        ("hello.js", ""),
        ("greet.py", ""),
        ("My_Thing.v2.mjs", ""),
        ("nightly.yaml", CRON),
        ("values.yaml", "replicas: 3\n"),
        ("README.md", ""),
        ("._hello.js", "\0\0"),
        (".nightly.yaml", "a: [\n"),
        ("node_modules/x/index.js", ""),
    ]);
    let expected = [
        named("my-thing-v2", Runtime::Node),
        named("greet", Runtime::Python),
        named("hello", Runtime::Node),
        named("nightly", Runtime::Python),
    ];
    assert_eq!(names(&[dir.path().to_owned()]), expected);
}

#[test]
fn an_entry_file_makes_its_folder_one_function() {
    let dir = folder(&[
        ("api/index.js", ""),
        ("api/lib.js", ""),
        ("sync/handler.py", ""),
        ("app/package.json", r#"{"main": "src/app.js"}"#),
        ("app/src/app.js", ""),
        ("typed/index.ts", ""),
        ("both/index.ts", ""),
        ("both/handler.py", ""),
    ]);
    let expected = [
        named("api", Runtime::Node),
        named("sync", Runtime::Python),
        named("app", Runtime::Node),
        named("typed", Runtime::Node),
    ];
    let sources = ["api", "sync/handler.py", "app", "typed"].map(|name| dir.path().join(name));
    assert_eq!(names(&sources), expected);
    let error = load(&[dir.path().join("both")]).unwrap_err().to_string();
    assert!(error.ends_with("both: contains both index.ts and handler.py"), "{error}");
}

#[test]
fn what_a_cluster_would_not_have_is_told() {
    let dir = folder(&[
        ("one/index.js", "require('../shared')"),
        ("one/.env", "A=1"),
        ("two/main.js", "require('./lib')"),
        ("two/lib.js", ""),
        ("three/handler.py", ""),
        (".gitignore", "index.js\n"),
        ("four/index.js", ""),
        ("four/.gitignore", "index.js\n"),
    ]);
    let sources = ["one", "two/main.js", "three", "four"].map(|name| dir.path().join(name));
    let notices = load(&sources).unwrap().notices;
    let [secret, outside, beside, ignored] = &notices[..] else { panic!("{notices:?}") };
    assert!(secret.starts_with("one: .env is not deployed: it looks like a secret"), "{secret}");
    assert!(outside.starts_with("one: index.js refers to ../shared, outside"), "{outside}");
    assert!(beside.starts_with("main: only the code file itself is deployed"), "{beside}");
    let begins = "four: it cannot be deployed as it is: ";
    assert!(ignored.starts_with(begins) && ignored.contains("index.js is ignored"), "{ignored}");
}

#[test]
fn a_link_has_its_own_name() {
    let dir = folder(&[("real.js", ""), ("folder/index.js", "")]);
    let at = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(at("real.js"), at("shortcut.js")).unwrap();
    std::os::unix::fs::symlink(at("folder"), at("other")).unwrap();
    let loaded = load(&[at("shortcut.js"), at("other")]).unwrap().functions;
    let real = dir.path().canonicalize().unwrap();
    let found: Vec<_> = loaded.iter().map(|f| (f.name.as_str(), &f.code)).collect();
    // What runs is the file itself, so that a change of it is seen.
    let expected = [
        ("shortcut", &Code::File(real.join("real.js"))),
        ("other", &Code::Folder(real.join("folder"))),
    ];
    assert_eq!(found, expected);
    assert_eq!(names(&[at("folder/../other")]), [named("folder", Runtime::Node)]);
}

#[test]
fn what_needs_a_cluster_is_left_out_with_a_notice() {
    let manifest = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: hook}\n\
        spec: {image: 'registry.example.com/hook:1'}\n";
    let dir = folder(&[("f.yaml", manifest)]);
    let loaded = load(&[dir.path().join("f.yaml")]).unwrap();
    assert!(loaded.functions.is_empty());
    let expected = ["hook: kip dev runs inline code only, not images"];
    assert_eq!(loaded.notices, expected);
}

#[test]
fn every_mistake_is_one_clear_line() {
    let other = CRON.replace("python", "ruby");
    let cases = [
        ("gone.js", None, "cannot read DIR/gone.js: No such file or directory"),
        ("a.rb", Some(""), "DIR/a.rb: not a .js, .mjs, .cjs, .ts, .mts, .cts, .py or .yaml file"),
        (
            "a.d.ts",
            Some(""),
            "DIR/a.d.ts: not a .js, .mjs, .cjs, .ts, .mts, .cts, .py or .yaml file",
        ),
        (".a.js", Some(""), "DIR/.a.js: a hidden file is no function"),
        (
            "a.tsx",
            Some(""),
            "DIR/a.tsx: JSX is not run; make JavaScript of it, for example with `npx esbuild DIR/a.tsx \
             --bundle --platform=node --outfile=a.js`",
        ),
        ("a.yaml", Some("a: 1\n"), "DIR/a.yaml: no functions found"),
        (
            "b.yaml",
            Some(&*other),
            "DIR/b.yaml: Function \"nightly\": spec.runtime: must be node or python",
        ),
        (
            "1st.js",
            Some(""),
            "DIR/1st.js: a function cannot be named \"1st\": it must consist of lower-case letters, \
             digits and '-', start with a letter and end with a letter or digit; rename the file",
        ),
    ];
    let dir = folder(&[]);
    let root = dir.path().canonicalize().unwrap();
    for (name, text, expected) in cases {
        let path = root.join(name);
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let error = load(&[path]).unwrap_err().to_string();
        assert_eq!(plain(&error).replace(root.to_str().unwrap(), "DIR"), expected);
    }
    fs::write(root.join("c.yaml"), "kind: [\n").unwrap();
    let error = load(&[root.join("c.yaml")]).unwrap_err().to_string();
    assert!(error.contains("not valid YAML") && !error.contains('\n'), "{error}");
}

#[test]
fn two_functions_of_one_name_are_refused() {
    let dir = folder(&[("a.yaml", CRON), ("b.yaml", CRON)]);
    let error = load(&[dir.path().to_owned()]).unwrap_err();
    assert!(matches!(error, LoadError::Duplicate { .. }), "{error}");
    let dir = folder(&[("x.js", ""), ("x.py", ""), ("x/index.js", "")]);
    let at = |name: &str| dir.path().join(name);
    let root = dir.path().canonicalize().unwrap();
    for (sources, first, second) in [
        (vec![dir.path().to_owned()], "x.js", "x.py"),
        (vec![at("x.py"), at("x.js")], "x.py", "x.js"),
        (vec![at("x.js"), at("x")], "x.js", "x"),
    ] {
        let error = load(&sources).unwrap_err().to_string();
        let expected =
            "two functions are named \"x\": DIR/FIRST and DIR/SECOND; rename one of them";
        let expected = expected.replace("FIRST", first).replace("SECOND", second);
        assert_eq!(error.replace(root.to_str().unwrap(), "DIR"), expected);
    }
    let twice = format!("{CRON}---\nkind: Other\n---\n{CRON}");
    let dir = folder(&[("c.yaml", &twice)]);
    let error = load(&[dir.path().join("c.yaml")]).unwrap_err().to_string();
    assert!(error.ends_with("two functions are named \"nightly\": documents 1 and 3"), "{error}");
}
