//! The command, in a folder and with an environment of a test's own.

use std::{borrow::BorrowMut, fs, path::Path, process::Stdio};

use kipper_cluster::{
    names::{INTERCEPTOR, SYSTEM},
    objects,
    sandbox::Sandbox,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// How a command ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `kip` for the namespace of a sandbox.
pub(crate) struct Kip {
    pub(crate) folder: TempDir,
    namespace: String,
    interceptor: String,
    kubeconfig: Option<String>,
}

impl Kip {
    /// With these files in its folder, some of them in folders below.
    pub(crate) async fn new(sandbox: &Sandbox, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let service = objects::get(&sandbox.client, "Service", SYSTEM, INTERCEPTOR).await.unwrap();
        let ip = service["spec"]["clusterIP"].as_str().unwrap();
        let interceptor = format!("http://{ip}:80");
        Self { folder, namespace: sandbox.namespace.clone(), interceptor, kubeconfig: None }
    }

    /// The same, for whoever this kubeconfig is.
    pub(crate) fn with_kubeconfig(self, text: &str) -> Self {
        let path = self.folder.path().join("kubeconfig");
        fs::write(&path, text).unwrap();
        Self { kubeconfig: Some(path.to_str().unwrap().to_owned()), ..self }
    }

    pub(crate) fn interceptor(&self) -> &str {
        &self.interceptor
    }

    /// What every command of it has in its environment.
    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("KIP_NAMESPACE", &self.namespace)
            .env("KIP_INTERCEPTOR", &self.interceptor)
            .env("NO_COLOR", "1")
            .env_remove("KIP_PROJECT")
            .env_remove("KIP_ENVIRONMENT")
            .env_remove("KIP_CONTEXT")
            .env_remove("KIP_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KIP_KUBECONFIG", kubeconfig);
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kip"));
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> End {
        ended(self.command(arguments)).await
    }

    /// Its stdout; it has to succeed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let end = self.run(arguments).await;
        assert_eq!(end.code, 0, "{arguments:?}: {end:?}");
        end.stdout
    }

    /// What it prints as JSON; it has to succeed.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments).await).unwrap()
    }

    /// Its stderr; it has to fail with this exit code.
    pub(crate) async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let end = self.run(arguments).await;
        assert_eq!(end.code, code, "{arguments:?}: {end:?}");
        end.stderr
    }

    /// Runs it with this text on stdin.
    pub(crate) async fn with_stdin(&self, arguments: &[&str], stdin: &str) -> End {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(stdin.as_bytes()).await.unwrap();
        drop(pipe);
        end(child.wait_with_output().await.unwrap())
    }

    /// A line as it is typed at a shell.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        self.prepare(&mut command);
        let folder = Path::new(env!("CARGO_BIN_EXE_kip")).parent().unwrap().to_str().unwrap();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{folder}:{path}")).arg("-c").arg(line);
        command
    }

    /// Runs such a line; it has to succeed.
    pub(crate) async fn typed(&self, line: &str) -> String {
        let end = ended(self.shell(line)).await;
        assert_eq!(end.code, 0, "{line}: {end:?}");
        end.stdout
    }
}

pub(crate) async fn ended(mut command: impl BorrowMut<Command>) -> End {
    end(command.borrow_mut().output().await.unwrap())
}

fn end(output: std::process::Output) -> End {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    End { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A Service of Kipper's in a namespace.
pub(crate) async fn service(sandbox: &Sandbox, name: &str, type_: &str) {
    let json = json!({ "metadata": { "name": name }, "spec": { "type": type_ } });
    objects::create(&sandbox.client, "KipperService", &sandbox.namespace, json).await;
}
