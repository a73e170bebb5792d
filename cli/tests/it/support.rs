//! A running `kip dev`, and what a test asks of it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

pub(crate) use kipper_servers::until_blocking as until;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary with a cache of the tests' own.
pub(crate) fn kip() -> Command {
    kip_at(Path::new(env!("CARGO_BIN_EXE_kip")))
}

fn kip_at(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("NO_COLOR", "1")
        .env_remove("KIPPER_LOG")
        .env_remove("KIPPER_SOURCE_URL")
        .stdin(Stdio::null());
    command
}

/// Kipper's own programs that `kip dev` starts for event triggers.
const PROGRAMS: [&str; 2] = ["kipper-poll", "kipper-bucket-watcher"];

/// They are beside `kip` once the workspace's tests are built.
pub(crate) fn require(programs: &[&str]) {
    let folder = Path::new(env!("CARGO_BIN_EXE_kip")).parent().unwrap();
    for program in programs {
        assert!(
            folder.join(program).is_file(),
            "{program} is not built: `cargo build -p kipper-poller -p kipper-bucket-watcher` with this \
             profile and target puts it into {}",
            folder.display()
        );
    }
}

/// A folder with these files, some of them in folders below.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// As editors save: a new file in the place of the old one.
pub(crate) fn save(path: &Path, text: &str) {
    let new = path.with_extension("new~");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[derive(Default)]
struct Lines {
    list: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running `kip dev`. Dropping it kills it, and with it what it started.
pub(crate) struct Kip {
    child: Child,
    pub(crate) address: SocketAddr,
    lines: Arc<Lines>,
}

impl Kip {
    /// Starts it on `folder` and waits until it listens.
    pub(crate) fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::start_as(Path::new(env!("CARGO_BIN_EXE_kip")), folder, flags)
    }

    /// The same of a copy of it.
    pub(crate) fn start_as(program: &Path, folder: &Path, flags: &[&str]) -> Self {
        let mut child = kip_at(program)
            .args(["dev", "--port", "0"])
            .arg(folder)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Lines::default());
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        let mut kip = Self { child, address: SocketAddr::from(([0; 4], 0)), lines };
        let line = kip.wait_for("kip dev listening on http://");
        kip.address = line.rsplit('/').next().unwrap().parse().unwrap();
        kip
    }

    /// Types a line.
    pub(crate) fn enter(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes its stdin.
    pub(crate) fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Everything printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.list.lock().unwrap().clone()
    }

    /// The first line that contains `text`, once there is one.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(text, 1)
    }

    /// The `nth` such line, counted from 1.
    pub(crate) fn wait_for_nth(&self, text: &str, nth: usize) -> String {
        let found = |lines: &Vec<String>| {
            lines.iter().filter(|line| line.contains(text)).nth(nth - 1).cloned()
        };
        let list = self.lines.list.lock().unwrap();
        let (list, _) = self
            .lines
            .more
            .wait_timeout_while(list, PATIENCE, |list| found(list).is_none())
            .unwrap();
        found(&list).unwrap_or_else(|| panic!("{text:?} was never printed: {list:#?}"))
    }

    /// Waits until the function of this name has this line.
    pub(crate) fn wait_for_voice(&self, name: &str, text: &str) {
        until(&format!("{name} says {text:?}"), || {
            let lines = self.lines();
            let mut own = lines.iter().filter_map(|line| line.strip_prefix(name));
            own.any(|line| line.trim_start() == text)
        });
    }

    /// One request; the answer's status and body.
    pub(crate) fn get(&self, host: &str, target: &str) -> (u16, String) {
        get(self.address, host, target).unwrap()
    }

    /// Processes of functions that still run.
    pub(crate) fn functions(&self) -> Vec<i32> {
        let all = self.children().into_iter();
        all.filter(|pid| !PROGRAMS.iter().any(|program| is_named(*pid, program))).collect()
    }

    /// Processes of one of Kipper's own programs.
    pub(crate) fn programs(&self, name: &str) -> Vec<i32> {
        self.children().into_iter().filter(|pid| is_named(*pid, name)).collect()
    }

    /// Processes it started that still run.
    pub(crate) fn children(&self) -> Vec<i32> {
        let parent = self.child.id().to_string();
        let is_child = |pid: &i32| {
            let stat = stat(*pid).unwrap_or_default();
            stat.get(1) == Some(&parent) && stat.first().is_some_and(|state| state != "Z")
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_child).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("kip has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Kip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel keeps the first 15 bytes of a program's name.
fn is_named(pid: i32, program: &str) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end() == &program[..program.len().min(15)]
}

/// State and parent of a process.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().take(2).map(str::to_owned).collect())
}

/// The process runs no more.
pub(crate) fn is_gone(pid: i32) -> bool {
    stat(pid).is_none_or(|stat| stat.first().is_some_and(|state| state == "Z"))
}

fn collect(from: impl std::io::Read + Send + 'static, lines: &Arc<Lines>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.list.lock().unwrap().push(line);
            lines.more.notify_all();
        }
    });
}

/// Sends a request and leaves the answer unread.
pub(crate) fn send(address: SocketAddr, host: &str, target: &str) -> std::io::Result<TcpStream> {
    begin(address, &format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n"))
}

/// Sends an empty JSON object; the answer's status and body.
pub(crate) fn post(address: SocketAddr, host: &str, target: &str) -> (u16, String) {
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n"
    );
    let mut stream = begin(address, &head).unwrap();
    stream.write_all(b"2\r\n{}\r\n0\r\n\r\n").unwrap();
    receive(stream).unwrap()
}

fn begin(address: SocketAddr, head: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{head}connection: close\r\n\r\n")?;
    Ok(stream)
}

/// The whole answer: status and body.
pub(crate) fn receive(mut stream: TcpStream) -> std::io::Result<(u16, String)> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let bad = || std::io::Error::other(format!("no answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}

pub(crate) fn get(address: SocketAddr, host: &str, target: &str) -> std::io::Result<(u16, String)> {
    receive(send(address, host, target)?)
}
