//! Starts a server under a guard, gives orders to the guard, and lets both end with this process.
//!
//! The guard is a shell (`guard.sh`), the parent of the server. Only this process holds the other
//! end of its standard input, so however it ends, the guard stops the server by its own id and
//! removes its directory. Nothing here knows one kind of server from another; each brings a
//! [`Plan`].

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    CertificateFor, ServerError,
    ports::free_port,
    tls::{self, Certificate},
};

/// Another process can take a port between choosing and using it; so often others are tried.
const START_ATTEMPTS: usize = 3;
/// What every server here writes, in whatever case, when its port is taken.
const PORT_TAKEN: &str = "already in use";
/// Where Debian keeps daemons, off the path of many users.
const SYSTEM_PROGRAMS: &str = "/usr/sbin";

/// How to start one kind of server.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    /// Defines `prepare` and `start` for `guard.sh`.
    pub(crate) script: &'static str,
    /// The programs that the script runs, each with the command that installs it.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// Where programs are looked for before the usual path.
    pub(crate) path: Vec<PathBuf>,
    /// Names and contents of what lies in the directory before the script runs.
    pub(crate) files: Vec<(&'static str, String)>,
    /// All that the script finds in its environment, beside the path.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) certificate: CertificateFor,
    pub(crate) user: RunAs,
}

/// Who runs a server when this process is root's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// Most servers refuse to be root.
    Nobody,
    /// For programs in a home directory that others may not enter.
    Caller,
}

/// A running server. Dropping it stops the server and removes its directory; both are gone when the
/// drop returns.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    port: u16,
    tls_port: u16,
    ca: String,
    directory: PathBuf,
    pid: AtomicU32,
    guard: Mutex<Guard>,
}

#[derive(Debug)]
struct Guard {
    child: Child,
    /// `None` only while this is dropped.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(plan: &Plan) -> Result<Self, ServerError> {
        let path = search_path(plan)?;
        for _ in 1..START_ATTEMPTS {
            match Self::attempt(plan, &path) {
                Err(ServerError::Failed { log, .. }) if is_about_port(&log) => {}
                done => return done,
            }
        }
        Self::attempt(plan, &path)
    }

    fn attempt(plan: &Plan, path: &OsString) -> Result<Self, ServerError> {
        let (port, tls_port) = (free_port()?, free_port()?);
        let certificate = tls::issue(plan.certificate)?;
        let directory = furnish(plan, &certificate)?;
        let child = spawn(plan, path, directory.path(), port, tls_port)?;
        let mut guard = Guard::new(child);
        // From here on the directory is the guard's to remove.
        let directory = directory.keep();
        let pid = guard.answer(plan.name)?;
        Ok(Self {
            name: plan.name,
            port,
            tls_port,
            ca: certificate.ca,
            directory,
            pid: AtomicU32::new(pid),
            guard: Mutex::new(guard),
        })
    }

    /// The port on 127.0.0.1, the same for as long as this lives.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// 127.0.0.1 with [`Self::port`].
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The authority of the server's certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// A file with [`Self::ca_pem`], for clients that want a path.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The id of the server's process, 0 after [`Self::kill`].
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Acquire)
    }

    /// Where the server keeps its data, and `log` what it says.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops the server by SIGKILL; a PostgreSQL in immediate mode, which is its way to end
    /// without a shutdown. Returns when it is gone. The data stays for [`Self::start_again`].
    ///
    /// # Errors
    /// When the server could not be stopped; then it is no longer usable.
    pub fn kill(&self) -> Result<(), ServerError> {
        self.order("stop")
    }

    /// Starts a stopped server with the same port and data and returns when it answers. Nothing
    /// happens while it runs.
    ///
    /// # Errors
    /// When it does not start; then it is no longer usable.
    pub fn start_again(&self) -> Result<(), ServerError> {
        self.order("start")
    }

    /// [`Self::kill`], then [`Self::start_again`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn restart(&self) -> Result<(), ServerError> {
        self.kill()?;
        self.start_again()
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port
    }

    fn order(&self, order: &str) -> Result<(), ServerError> {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = &mut guard.orders {
            writeln!(orders, "{order}").map_err(ServerError::io("give an order to a guard"))?;
        }
        self.pid.store(guard.answer(self.name)?, Ordering::Release);
        Ok(())
    }
}

impl Guard {
    fn new(mut child: Child) -> Self {
        let orders = child.stdin.take();
        let answers = child.stdout.take().expect("the guard's standard output is piped");
        Self { child, orders, answers: BufReader::new(answers) }
    }

    /// The process id that the guard answers with, or why it has given up.
    fn answer(&mut self, server: &'static str) -> Result<u32, ServerError> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(ServerError::io("read a guard's answer"))?;
        if let Some(pid) = answer.strip_prefix("ok ").and_then(|pid| pid.trim().parse().ok()) {
            return Ok(pid);
        }
        let mut log = Vec::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_end(&mut log).map_err(ServerError::io("read a guard's log"))?;
        }
        Err(ServerError::Failed { server, log: String::from_utf8_lossy(&log).into_owned() })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.orders = None;
        // What the guard does now is a kill and a removal; nothing in it waits for anybody.
        let _ = self.child.wait();
    }
}

/// The search path for the script, on which each of the plan's programs is found.
fn search_path(plan: &Plan) -> Result<OsString, ServerError> {
    let usual = env::var_os("PATH").unwrap_or_default();
    let mut directories = plan.path.clone();
    directories.extend(env::split_paths(&usual));
    directories.push(SYSTEM_PROGRAMS.into());
    for &(program, install) in plan.programs {
        if !directories.iter().any(|directory| directory.join(program).is_file()) {
            return Err(ServerError::Missing { program, install });
        }
    }
    // A directory with a colon in its name cannot be on a path, so joining gives back what was split.
    Ok(env::join_paths(directories).unwrap_or(usual))
}

/// A new directory with everything that the guard reads.
fn furnish(plan: &Plan, certificate: &Certificate) -> Result<tempfile::TempDir, ServerError> {
    let prefix = format!("kipper-{}-", plan.name);
    let directory = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir()
        .map_err(ServerError::io("make a directory"))?;
    let write = |name: &str, content: &str| {
        fs::write(directory.path().join(name), content).map_err(ServerError::io("write a file"))
    };
    write("guard.sh", include_str!("guard.sh"))?;
    write("server.sh", plan.script)?;
    write("ca.pem", &certificate.ca)?;
    write("server.pem", &certificate.certificate)?;
    write("server.key", &certificate.key)?;
    for (name, content) in &plan.files {
        write(name, content)?;
    }
    Ok(directory)
}

/// Runs the guard. Its process group is its own, so that a Ctrl-C in a terminal reaches only this
/// process, whose end then ends it in order.
fn spawn(
    plan: &Plan,
    path: &OsString,
    directory: &Path,
    port: u16,
    tls_port: u16,
) -> Result<Child, ServerError> {
    let is_root = fs::metadata("/proc/self").map_err(ServerError::io("read /proc"))?.uid() == 0;
    let drops_root = is_root && plan.user == RunAs::Nobody;
    let mut command = Command::new(if drops_root { "setpriv" } else { "bash" });
    if drops_root {
        give_to_nobody(directory)?;
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash"]);
    }
    command
        .arg(directory.join("guard.sh"))
        .arg(directory)
        .args([port.to_string(), tls_port.to_string()])
        .env_clear()
        .env("PATH", path)
        .env("HOME", directory)
        .env("LC_ALL", "C.UTF-8")
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().map_err(ServerError::io("run bash"))
}

fn give_to_nobody(directory: &Path) -> Result<(), ServerError> {
    let output = Command::new("chown")
        .args(["-R", "nobody:"])
        .arg(directory)
        .output()
        .map_err(ServerError::io("run chown"))?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(ServerError::Client { client: "chown", output })
}

fn is_about_port(log: &str) -> bool {
    log.to_lowercase().contains(PORT_TAKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_installs_it() {
        let plan = Plan {
            name: "missing",
            script: "",
            programs: &[("sh", "nothing"), ("no-such-server", "apt-get install no-such")],
            path: Vec::new(),
            files: Vec::new(),
            env: Vec::new(),
            certificate: CertificateFor::NameOnly,
            user: RunAs::Caller,
        };
        let error = Server::start(&plan).unwrap_err().to_string();
        assert_eq!(error, "no-such-server is not installed: apt-get install no-such");
    }
}
