//! Packages from a registry that wants a token: npm and pip get it as a pod's would, from a variable.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

use crate::support::{Kip, folder};

const TOKEN: &str = "s3cret";

/// A registry of one package, `lib` 1.0.0. Without `authorization` it has nothing.
struct Registry {
    address: SocketAddr,
}

impl Registry {
    /// Answers as `answer` says: path to content type and body.
    fn start(
        authorization: &'static str,
        answer: impl Fn(&str, SocketAddr) -> Option<(&'static str, Vec<u8>)> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), authorization, |path| answer(path, address));
            }
        });
        Self { address }
    }
}

/// One request of a connection.
fn serve(
    mut stream: TcpStream,
    authorization: &str,
    answer: impl Fn(&str) -> Option<(&'static str, Vec<u8>)>,
) {
    let mut lines = BufReader::new(&stream).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let head: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let is_known = head.iter().any(|line| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        name.eq_ignore_ascii_case("authorization") && value.trim() == authorization
    });
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, (kind, body)) = match answer(path) {
        _ if !is_known => ("401 Unauthorized", ("text/plain", Vec::new())),
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", ("text/plain", Vec::new())),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // A client that left is not waited for.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// The bytes of the file that this command writes.
fn made(command: &mut Command, file: &Path) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut bytes = Vec::new();
    fs::File::open(file).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn function(runtime: &str, code: &str, more: &str) -> String {
    format!(
        "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: f}}\nspec:\n  \
         runtime: {runtime}\n  source:\n    code: \"{code}\"\n    dependencies: {{lib: 1.0.0}}\n{more}"
    )
}

#[test]
fn npm_reads_its_token_from_a_variable() {
    let package = folder(&[]);
    fs::create_dir(package.path().join("package")).unwrap();
    let file = |name: &str| package.path().join("package").join(name);
    fs::write(file("package.json"), r#"{"name":"lib","version":"1.0.0"}"#).unwrap();
    fs::write(file("index.js"), "module.exports = 'from the registry'").unwrap();
    let archive = package.path().join("lib.tgz");
    let mut tar = Command::new("tar");
    tar.current_dir(package.path()).arg("czf").arg(&archive).arg("package");
    let archive = made(&mut tar, &archive);
    let registry = Registry::start("Bearer s3cret", move |path, address| match path {
        "/lib" => {
            let tarball = format!("http://{address}/lib/-/lib-1.0.0.tgz");
            let version =
                format!(r#"{{"name":"lib","version":"1.0.0","dist":{{"tarball":"{tarball}"}}}}"#);
            let packument = format!(
                r#"{{"name":"lib","dist-tags":{{"latest":"1.0.0"}},"versions":{{"1.0.0":{version}}}}}"#
            );
            Some(("application/json", packument.into_bytes()))
        }
        "/lib/-/lib-1.0.0.tgz" => Some(("application/octet-stream", archive.clone())),
        _ => None,
    });
    let address = registry.address;
    let npmrc = format!(
        "    npmrc: |\n      registry=http://{address}/\n      //{address}/:_authToken=${{NPM_TOKEN}}\n"
    );
    let text = function("node", "module.exports = async () => require('lib')", &npmrc);
    let source = folder(&[("f.yaml", &text)]);
    let kip = Kip::start(source.path(), &["--env", &format!("NPM_TOKEN={TOKEN}")]);
    assert_eq!(kip.get("fn-f-localhost", "/"), (200, "from the registry".to_owned()));
}

#[test]
fn pip_reads_its_index_from_a_variable() {
    let package = folder(&[]);
    let name = "lib-1.0.0-py3-none-any.whl";
    let wheel = package.path().join(name);
    let script = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n \
        wheel.writestr('lib.py', \"WORD = 'from the index'\\n\")\n \
        wheel.writestr('lib-1.0.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: lib\\nVersion: 1.0.0\\n')\n \
        wheel.writestr('lib-1.0.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n \
        wheel.writestr('lib-1.0.0.dist-info/RECORD', '')\n";
    let wheel = made(Command::new("python3").args(["-c", script]).arg(&wheel), &wheel);
    // `me:s3cret`
    let registry = Registry::start("Basic bWU6czNjcmV0", move |path, _| match path {
        "/simple/lib/" => {
            let page = format!("<!DOCTYPE html><a href=\"/files/{name}\">{name}</a>");
            Some(("text/html", page.into_bytes()))
        }
        _ if path == format!("/files/{name}") => Some(("application/zip", wheel.clone())),
        _ => None,
    });
    let code = "import lib\\ndef handler(event, context):\\n    return lib.WORD\\n";
    let source = folder(&[("f.yaml", &function("python", code, ""))]);
    let index = format!("PIP_INDEX_URL=http://me:{TOKEN}@{}/simple", registry.address);
    let kip = Kip::start(source.path(), &["--env", &index]);
    assert_eq!(kip.get("fn-f-localhost", "/"), (200, "from the index".to_owned()));
}
