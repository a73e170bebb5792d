//! What is read of a file and of a folder, and what of it is deployed.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn source(code: &Code) -> Source {
    let mut source = Source::default();
    code.put(&mut source);
    source
}

/// Paths of the files that are deployed, and what is said of the others.
fn read_folder(folder: &TempDir) -> (Vec<String>, Vec<String>) {
    let code = Code::read(folder.path(), None).unwrap();
    (source(&code).files.into_keys().collect(), code.warnings(&BTreeSet::new()))
}

/// Why it is not read; its folder is `DIR`.
fn refused(folder: &TempDir, runtime: Option<Runtime>) -> String {
    let error = Code::read(folder.path(), runtime).unwrap_err().to_string();
    error.replace(folder.path().to_str().unwrap(), "DIR")
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_not_text_is_no_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.js");
    fs::write(&path, "module.exports = 1\0").unwrap();
    let error = Code::read(&path, None).unwrap_err().to_string();
    assert!(error.ends_with("a.js: the file is not text: it contains null characters"), "{error}");
}

#[test]
fn a_folder_is_its_text_files() {
    let folder = folder(&[
        ("index.js", b"require('./lib/shout')"),
        ("lib/shout.js", b""),
        ("package.json", b"{}"),
        ("package-lock.json", b"{}"),
        ("templates/mail.html", "\u{e9}".as_bytes()),
        ("node_modules/pg/index.js", b""),
        ("lib/__pycache__/x.pyc", b"\0"),
        (".git/config", b"[core]"),
        (".github/workflows/ci.yml", b""),
        (".eslintrc", b"{}"),
        ("env/pyvenv.cfg", b""),
        ("env/lib/site.py", b""),
        ("venv/lib/site.py", b""),
    ]);
    let (files, warnings) = read_folder(&folder);
    let expected =
        ["index.js", "lib/shout.js", "package-lock.json", "package.json", "templates/mail.html"];
    assert_eq!((files, warnings), (expected.map(str::to_owned).to_vec(), Vec::new()));
    let code = Code::read(folder.path(), None).unwrap();
    assert_eq!(code.runtime, Runtime::Node);
    // A list of packages brings all of them, and takes the place of other code.
    let mut changed = Source {
        code: Some("x".to_owned()),
        dependencies: [("pg".to_owned(), "8".to_owned())].into(),
        ..Source::default()
    };
    code.put(&mut changed);
    assert_eq!(changed, source(&code));
    assert_eq!(changed.files["templates/mail.html"], "\u{e9}");
}

#[test]
fn ignore_files_leave_out_what_git_and_npm_would() {
    let folder = folder(&[
        ("handler.py", b""),
        (".gitignore", b"*.log\n/data\n!keep.log\n"),
        ("a.log", b""),
        ("keep.log", b""),
        ("data/x.json", b""),
        ("pkg/data/x.json", b""),
        ("pkg/.gitignore", b"local.py\n"),
        ("pkg/local.py", b""),
        ("pkg/b.log", b""),
        ("npm/.gitignore", b"*\n"),
        ("npm/.npmignore", b"src\n"),
        ("npm/src/a.ts", b""),
        ("npm/a.js", b""),
    ]);
    let (files, warnings) = read_folder(&folder);
    assert_eq!(files, ["handler.py", "keep.log", "npm/a.js", "pkg/data/x.json"]);
    assert_eq!(warnings, NOTHING);
}

#[test]
fn what_is_no_text_or_looks_like_a_secret_is_named() {
    let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let folder = folder(&[
        ("handler.py", b""),
        (".gitignore", b".env\n"),
        (".env", b"KEY=1"),
        ("sub/.env.local", b"KEY=1"),
        ("tls/server.key", b"k"),
        ("tls/both.pem", b"-----BEGIN PRIVATE KEY-----"),
        ("tls/ca.pem", certificate),
        ("id_rsa", b"k"),
        ("logo.png", b"\x89PNG\r\n"),
        ("nul.txt", b"a\0b"),
        ("back\\slash.py", b""),
        ("line\nbreak.py", b""),
    ]);
    let (files, warnings) = read_folder(&folder);
    assert_eq!(files, ["handler.py", "tls/ca.pem"]);
    let named: Vec<_> = warnings
        .iter()
        .map(|text| {
            let (path, why) = text.split_once(" is not deployed: ").unwrap();
            (path, why.split([';', '(']).next().unwrap().trim_end())
        })
        .collect();
    let secret = "it looks like a secret";
    assert_eq!(
        named,
        [
            (".env", secret),
            ("back\\slash.py", "its path must have '/' between folders, not '\\'"),
            ("id_rsa", secret),
            ("line\nbreak.py", "its path must not contain control characters"),
            ("logo.png", "it is not text"),
            ("nul.txt", "it is not text"),
            ("sub/.env.local", secret),
            ("tls/both.pem", secret),
            ("tls/server.key", secret),
        ]
    );
}

#[test]
fn no_link_leads_out_of_the_folder() {
    let outside = folder(&[("secret.js", b"x"), ("lib/a.js", b"x")]);
    let folder = folder(&[
        ("index.js", b"1"),
        ("lib/real.js", b"2"),
        (".env", b"KEY=1"),
        (".hidden/a.js", b""),
    ]);
    let link = |target: &Path, name: &str| symlink(target, folder.path().join(name)).unwrap();
    link(Path::new("lib/real.js"), "inside.js");
    link(&outside.path().join("secret.js"), "out.js");
    link(Path::new("../../../../etc/hostname"), "etc.js");
    link(&outside.path().join("lib"), "outlib");
    link(Path::new("lib"), "inlib");
    link(Path::new("gone"), "broken.js");
    link(Path::new(".env"), "settings.txt");
    link(Path::new(".hidden/a.js"), "hidden.js");
    link(Path::new("loop"), "loop");
    let code = Code::read(folder.path(), None).unwrap();
    let files = source(&code).files;
    let paths: Vec<_> = files.keys().collect();
    assert_eq!(paths, ["index.js", "inside.js", "lib/real.js"]);
    assert_eq!(files["inside.js"], "2");
    let named = code.warnings(&BTreeSet::new());
    let of = |name: &str| {
        let begins = format!("{name} is not deployed: it ");
        named.iter().find_map(|text| text.strip_prefix(&begins)).unwrap_or_default()
    };
    assert_eq!(of("out.js"), "is a link to a place outside the folder");
    assert_eq!(of("outlib"), "is a link to a place outside the folder");
    assert_eq!(of("inlib"), "is a link to a folder");
    assert_eq!(of("broken.js"), "is a link to nothing");
    assert_eq!(of("loop"), "is a link to nothing");
    assert_eq!(of("hidden.js"), "is a link to a file that is left out");
    assert!(of("settings.txt").starts_with("looks like a secret"), "{named:?}");
    // By way of a link, the folder is the same.
    let link = outside.path().join("link");
    symlink(folder.path(), &link).unwrap();
    assert_eq!(source(&Code::read(&link, None).unwrap()).files, files);
}

#[test]
fn what_does_not_fit_is_refused_with_its_size_and_the_bound() {
    let text = vec![b'x'; 600_000];
    let folder =
        folder(&[("handler.py", b"x"), ("a.txt", &text), ("b.txt", &text), ("c.bin", &[0xff; 9])]);
    // 2 × 600,000, the handler's byte, and the paths.
    assert_eq!(
        refused(&folder, None),
        "DIR: its files have 1200021 bytes, paths included; at most 1000000 are allowed, because they \
         are mounted from a ConfigMap; leave out what the function does not need with a .gitignore or \
         .npmignore; the largest are b.txt (600000), a.txt (600000), handler.py (1)"
    );
    fs::write(folder.path().join(".npmignore"), "b.txt\n").unwrap();
    assert_eq!(read_folder(&folder).0, ["a.txt", "handler.py"]);
    // A film is no text, however large it is.
    fs::write(folder.path().join("film.mp4"), vec![0xfe; 2_000_000]).unwrap();
    assert_eq!(read_folder(&folder).0, ["a.txt", "handler.py"]);
    for number in 0..99 {
        fs::write(folder.path().join(format!("{number}.txt")), "x").unwrap();
    }
    assert!(refused(&folder, None).starts_with("DIR: holds 101 files; at most 100 are allowed;"));
}

#[test]
fn a_folder_without_a_handler_is_refused() {
    let node = "none of index.js, index.mjs, index.cjs, index.ts, index.mts, index.cts, and \"main\" of \
                its package.json names none";
    let lib = folder(&[("lib/index.js", b"")]);
    assert_eq!(
        refused(&lib, None),
        format!("DIR: the folder has no file with the handler: {node}")
    );
    let python = refused(&lib, Some(Runtime::Python));
    assert_eq!(python, "DIR: the folder has no file with the handler: no handler.py");
    let both = folder(&[("index.js", b"1"), ("handler.py", b"2")]);
    let which = "DIR: contains both index.js and handler.py; say which with --runtime";
    assert_eq!(refused(&both, None), which);
    assert_eq!(Code::read(both.path(), Some(Runtime::Python)).unwrap().runtime, Runtime::Python);
    let built = folder(&[
        ("package.json", b"{\"main\": \"dist/index.js\"}"),
        ("dist/index.js", b""),
        (".gitignore", b"dist\n"),
    ]);
    assert_eq!(
        refused(&built, None),
        "DIR: the file with the handler cannot be deployed: dist/index.js is ignored; an .npmignore takes \
         the place of the .gitignore beside it"
    );
    let binary = folder(&[("index.js", b"\0")]);
    assert_eq!(
        refused(&binary, None),
        "DIR: the file with the handler cannot be deployed: index.js is not deployed: it is not text (UTF-8)"
    );
    fs::write(built.path().join(".npmignore"), "src\n").unwrap();
    assert_eq!(read_folder(&built).0, ["dist/index.js", "package.json"]);
}

#[test]
fn the_settings_of_npm_are_taken_without_their_token() {
    let plain = "@acme:registry=https://npm.acme.com/\n//npm.acme.com/:_authToken=${NPM_TOKEN}\n";
    let with = |npmrc: &str| folder(&[("index.js", b"1"), (".npmrc", npmrc.as_bytes())]);
    let folder = with(plain);
    let code = Code::read(folder.path(), None).unwrap();
    assert_eq!(source(&code).npmrc.as_deref(), Some(plain));
    assert_eq!(code.warnings(&BTreeSet::new()), NOTHING);
    let folder = with("//npm.acme.com/:_authToken=npm_abc\n");
    let code = Code::read(folder.path(), None).unwrap();
    assert_eq!(source(&code).npmrc, None);
    let [told] = &code.warnings(&BTreeSet::new())[..] else { panic!() };
    assert!(
        told.starts_with(".npmrc is not deployed: it holds a token: write ${NPM_TOKEN}"),
        "{told}"
    );
}

#[test]
fn typescript_keeps_its_ending_and_jsx_is_refused() {
    let folder = folder(&[("hello.ts", b"x"), ("hello.mts", b"y"), ("hello.js", b"z")]);
    let of = |name: &str| source(&Code::read(&folder.path().join(name), None).unwrap());
    assert_eq!(of("hello.ts").files, [("index.ts".to_owned(), "x".to_owned())].into());
    assert_eq!(of("hello.mts").files, [("index.mts".to_owned(), "y".to_owned())].into());
    assert_eq!((of("hello.js").code.as_deref(), of("hello.js").files.len()), (Some("z"), 0));
    // An update from a folder to a file takes the files away.
    let mut source = of("hello.ts");
    Code::read(&folder.path().join("hello.js"), None).unwrap().put(&mut source);
    assert_eq!(source, of("hello.js"));
    let error = Code::read(Path::new("hello.ts"), Some(Runtime::Python)).unwrap_err();
    assert!(error.is_usage(), "{error}");
    let error = Code::read(Path::new("src/hello.tsx"), Some(Runtime::Node)).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("esbuild"), "{error}");
}
