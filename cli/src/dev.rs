//! `kip dev`: functions on this machine, as a cluster would run them.
//!
//! load → data_plane (interceptor, reporter, scaler-adapter) → per function: scale (KEDA's part) → run
//! (its processes), with events (Kipper's own programs beside it) where it has an event trigger. The
//! data plane and these programs are the real ones and KEDA is played through its real contract; what
//! a cluster adds around it (images, services, volumes) is left out with a notice. Everything but the
//! interceptor's own workers runs on one thread, which is also the one that starts processes.

mod args;
mod console;
mod input;

mod load;
mod missing;
mod watch;

mod child;
mod journal;
mod lines;

mod events;
mod run;
mod scale;

mod data_plane;

mod function;

mod page;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use kipper_console::{Access, BoundConsole, assistant::Stored};
use kipper_function::function::Runtime;
use kipper_process::{exit::UsageError, signals};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

pub use args::Args;

use crate::{env_file, token};

use child::Groups;
use console::Console;
use data_plane::DataPlane;
use events::{
    companion::Context,
    log::LogFilter,
    program::Program,
    trigger::{self, EventTrigger, Sources, Unavailable},
};
use function::{Periods, Platform, Running};
use input::Input;
use journal::Journal;
use load::{Code, LoadError, Loaded, LocalFunction};
use missing::Missing;
use page::{
    backend::Local,
    board::{Board, Given, Order},
};
use run::{
    launch::{self, Launch},
    process::Starter,
    runtime::{Cache, Interpreter},
};
use watch::{Changed, Watch};

/// Where the console listens, unless that is taken.
const CONSOLE_PORT: u16 = 8088;

/// Runs the command on this thread until a signal. `log_filter` is that of this process's log.
///
/// # Errors
/// When nothing can be served, in one line.
pub fn main(args: Args, log_filter: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args, LogFilter::new(log_filter)))
}

async fn serve(mut args: Args, log: LogFilter) -> anyhow::Result<()> {
    args.env.splice(..0, env_file::read_all(&args.env_file)?);
    let mut loaded = load::load(&args.sources)?;
    trigger::declare(&args.trigger, &mut loaded.functions)?;
    let sources = Sources {
        urls: args.source.iter().cloned().collect(),
        authorities: args.source_ca.iter().cloned().collect(),
        event_token: token::random()?,
    };
    can_handle_any(&loaded.functions, &sources)?;
    loaded.notices.extend(unused(&loaded.functions, &sources));
    if let [function] = loaded.functions.as_slice() {
        can_run(function, &sources).await?;
    }
    let console = Console::start()?;
    for notice in &loaded.notices {
        console.warn(notice);
    }
    if loaded.functions.is_empty() {
        console.flush().await;
        anyhow::bail!("none of these functions can run in kip dev");
    }
    let groups = Groups::default();
    let forced = groups.clone();
    let shutdown = signals::shutdown_token_or(move |signal| {
        forced.kill_all();
        std::process::exit(signal.exit_code());
    })?;
    let mut dev = Dev::start(args, sources, console, groups, log, &loaded.functions).await?;
    let result = dev.start_all(loaded.functions).await;
    let result = match result {
        Ok(()) => dev.serve(&shutdown).await,
        Err(error) => Err(error),
    };
    dev.stop().await;
    result
}

/// Where there is only one function and it has nothing but events to handle, it must be able to. A
/// source that is away is none of its faults.
async fn can_run(function: &LocalFunction, sources: &Sources) -> anyhow::Result<()> {
    if function.spec.is_http() || function.spec.cron_trigger().is_some() {
        return Ok(());
    }
    let why = match EventTrigger::of(function, sources) {
        Some(Ok(trigger)) => trigger.check().refusal().await?,
        Some(Err(unknown)) => Some(unknown.to_string()),
        None => None,
    };
    match why {
        Some(why) => Err(UsageError::new(format!("{}: {why}", function.name)).into()),
        None => Ok(()),
    }
}

/// The programs that handle events must be installed, unless there is something to do without them.
fn can_handle_any(functions: &[LocalFunction], sources: &Sources) -> Result<(), Unavailable> {
    for function in functions {
        if function.spec.is_http() || function.spec.cron_trigger().is_some() {
            return Ok(());
        }
    }
    let triggers = functions.iter().filter_map(|function| EventTrigger::of(function, sources));
    triggers.flatten().try_for_each(|trigger| trigger.programs().iter().try_for_each(installed))
}

fn installed(program: &Program) -> Result<(), Unavailable> {
    program.find().map(drop).map_err(|missing| Unavailable::Program(missing.to_string()))
}

/// Names of `--source` and `--source-ca` that no function has.
fn unused(functions: &[LocalFunction], sources: &Sources) -> Vec<String> {
    let known: BTreeSet<String> =
        functions.iter().filter_map(|f| Some(f.spec.event()?.source().to_owned())).collect();
    let urls = sources.urls.keys().map(|name| ("--source", name));
    let authorities = sources.authorities.keys().map(|name| ("--source-ca", name));
    let given = urls.chain(authorities).filter(|(_, name)| !name.is_empty());
    let unused = given.filter(|(_, name)| !known.contains(*name));
    unused
        .map(|(flag, name)| format!("{flag} {name}: no function has a source of this name"))
        .collect()
}

/// What tells one content of a file from another without reading it.
type Stamp = (std::time::SystemTime, u64, u64);

/// All of it.
struct Dev {
    args: Args,
    sources: Sources,
    console: Console,
    input: Input,
    groups: Groups,
    log: LogFilter,
    tracker: TaskTracker,
    /// Cancelled when no more events are to be claimed.
    stop_events: CancellationToken,
    cache: Cache,
    interpreters: BTreeMap<Runtime, Interpreter>,
    data_plane: DataPlane,
    watch: Option<Watch>,
    running: BTreeMap<String, Running>,
    /// What of this the web console sees, and what comes from there.
    board: Board,
    orders: mpsc::Receiver<Given>,
    page: Option<AbortOnDropHandle<()>>,
    /// Files whose change was carried out before the watcher told it.
    settled: BTreeMap<PathBuf, Stamp>,
    missing: Missing,
    /// What flags set the assistant up with.
    assistant: Option<Stored>,
    /// Functions started so far, and the length of the longest name at start.
    started: usize,
    width: usize,
}

impl Dev {
    /// Everything that may fail before a port is bound comes before the port.
    async fn start(
        args: Args,
        sources: Sources,
        console: Console,
        groups: Groups,
        log: LogFilter,
        functions: &[LocalFunction],
    ) -> anyhow::Result<Self> {
        let assistant = args.ai.stored()?;
        let cache = Cache::open()?;
        let mut interpreters = BTreeMap::new();
        for function in functions {
            let interpreter = resolve(&mut interpreters, function.runtime, &args, &cache).await?;
            // Where there are others, they run, and this one is told why it does not start.
            let refusal = function.handler_file().and_then(|file| interpreter.refusal(&file));
            if let (Some(why), 1) = (refusal, functions.len()) {
                anyhow::bail!(why);
            }
        }
        let watch = (!args.no_watch).then(Watch::start).transpose();
        let watch = watch.context("cannot watch files, try --no-watch")?;
        let listen = SocketAddr::new(args.host, args.port);
        let data_plane = DataPlane::start(listen, args.grace).await;
        let data_plane = data_plane.with_context(|| {
            format!("port {}; choose another one with --port, or 0 for a free one", args.port)
        })?;
        let (board, orders) = Board::new(&load::home(&args.sources));
        Ok(Self {
            board,
            orders,
            page: None,
            settled: BTreeMap::new(),
            missing: Missing::default(),
            assistant,
            args,
            sources,
            console,
            input: Input::start()?,
            groups,
            log,
            tracker: TaskTracker::new(),
            stop_events: CancellationToken::new(),
            cache,
            interpreters,
            data_plane,
            watch,
            running: BTreeMap::new(),
            started: 0,
            width: functions.iter().map(|function| function.name.len()).max().unwrap_or(0),
        })
    }

    /// Starts the functions and says how to reach them.
    async fn start_all(&mut self, functions: Vec<LocalFunction>) -> anyhow::Result<()> {
        let url = self.url();
        let mut started = Vec::with_capacity(functions.len());
        for function in functions {
            let summary = self.summary(&function, &url);
            started.push((self.start_function(function).await?, summary));
        }
        let listening = format!("kip dev listening on {url}");
        self.console.say(self.console.bold(&listening));
        for (voice, summary) in started {
            voice.say(summary);
        }
        self.serve_console(&url).await?;
        if io::stdin().is_terminal() && self.running.values().any(Running::is_scheduled) {
            self.console.say("type `run NAME` and Enter to run a cron function now");
        }
        Ok(())
    }

    /// Starts the web console and says where it is.
    async fn serve_console(&mut self, url: &str) -> anyhow::Result<()> {
        if !self.args.console {
            return Ok(());
        }
        let token = token::random()?;
        let router = self.data_plane.router.clone();
        let local = Local::new(self.board.clone(), url.to_owned(), router, self.assistant.clone());
        let access = Access::token(&token, Arc::new(local));
        let bound = bind_console(access, self.args.console_port).await.context("console")?;
        let address = bound.address();
        let serving = tokio::spawn(bound.serve(CancellationToken::new()));
        self.page = Some(AbortOnDropHandle::new(serving));
        let page = format!("console on http://{address}/#token={token}");
        self.console.say(self.console.bold(&page));
        Ok(())
    }

    async fn serve(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                error = self.data_plane.failed() => return Err(error),
                changed = next_change(&mut self.watch) => self.hear(changed).await,
                () = watch::sleep_until(self.missing.next()), if self.missing.next().is_some() => {
                    self.end_missing();
                }
                Some((order, done)) = self.orders.recv() => {
                    let carried_out = self.carry_out(order).await;
                    // Who gave it may be gone.
                    let _ = done.send(carried_out.map_err(|error| format!("{error:#}")));
                }
                line = self.input.next() => self.obey(&line),
            }
        }
    }

    /// Takes in what the watcher tells, without what was carried out already.
    async fn hear(&mut self, changed: Changed) {
        let changed = match changed {
            Changed::Everything => Changed::Everything,
            Changed::Paths(mut paths) => {
                paths.retain(|path| match self.settled.get(path) {
                    Some(stamp) => Some(*stamp) != stamp_of(path),
                    None => true,
                });
                Changed::Paths(paths)
            }
        };
        self.apply(&changed).await;
    }

    /// Carries out what the console asks for.
    async fn carry_out(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Written(path) => {
                if !self.serves(&path) && !self.is_part(&path) {
                    self.args.sources.push(path.clone());
                }
                self.settle(&path);
                self.apply(&Changed::Paths([path].into())).await;
            }
            Order::Moved { from, to } => {
                for source in &mut self.args.sources {
                    if std::path::absolute(&*source).is_ok_and(|source| source == from) {
                        source.clone_from(&to);
                    }
                }
                self.settle(&to);
                for function in load::load_manifest(&to)?.functions {
                    self.apply_function(function).await?;
                }
            }
            Order::Removed(name) => {
                if let Some(running) = self.running.get(&name) {
                    let origin = &running.function.origin;
                    self.args.sources.retain(|source| source != origin || source.exists());
                }
                self.remove(&name);
            }
            Order::Restart(name) => self.reload(&name).await?,
            Order::Run(name) => self.running.get(&name).into_iter().for_each(Running::run_now),
        }
        Ok(())
    }

    /// Is a file of this path a function, as the command line says or the console added to it?
    fn serves(&self, path: &Path) -> bool {
        let is_it = |source: &PathBuf| source.canonicalize().is_ok_and(|source| source == path);
        load::folders(&self.args.sources).iter().any(|folder| path.parent() == Some(folder))
            || self.args.sources.iter().any(is_it)
    }

    /// Looks which functions have no file at the moment.
    fn note_missing(&mut self, now: Instant) {
        let origins = self.running.values().map(|running| running.function.origin.clone());
        self.missing.note(origins.filter(|origin| !origin.exists()), now);
    }

    /// Ends the functions whose files stayed away.
    fn end_missing(&mut self) {
        let now = Instant::now();
        self.note_missing(now);
        let is_gone = |running: &&Running| self.missing.is_gone(&running.function.origin, now);
        let gone = self.running.values().filter(is_gone);
        let gone: Vec<String> = gone.map(|running| running.function.name.clone()).collect();
        for name in gone {
            self.remove(&name);
        }
        self.note_missing(now);
    }

    /// Ends a function that is in no file any more.
    fn remove(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            self.console.say(format!("{name}: removed"));
            running.stop(&self.data_plane);
        }
        self.board.remove(name);
    }

    /// Does a file belong to what runs?
    fn is_part(&self, path: &Path) -> bool {
        let own: BTreeSet<PathBuf> = self.running.values().filter_map(own_file).collect();
        self.running.values().any(|running| {
            let function = &running.function;
            function.origin == path || watch::concerns(function, path, &own)
        })
    }

    /// The watcher will tell of this file too.
    fn settle(&mut self, path: &Path) {
        if let Some(stamp) = stamp_of(path) {
            self.settled.insert(path.to_owned(), stamp);
        }
    }

    /// Carries out what the user typed.
    fn obey(&self, line: &str) {
        let scheduled = self.running.iter().filter(|(_, running)| running.is_scheduled());
        let scheduled: Vec<_> = scheduled.map(|(name, _)| name.as_str()).collect();
        match input::run(line, &scheduled) {
            Ok(None) => {}
            Ok(Some(name)) => self.running.get(name).into_iter().for_each(Running::run_now),
            Err(why) => self.console.warn(why),
        }
    }

    /// Lets requests and events finish, then stops every process, then the data plane.
    async fn stop(mut self) {
        self.console.say("stopping; press Ctrl-C again to stop immediately");
        self.stop_events.cancel();
        let cut = self.data_plane.drain().await;
        if cut > 0 {
            self.console.warn(format!("{cut} connections were cut"));
        }
        self.page = None;
        let running = std::mem::take(&mut self.running);
        let stopping: Vec<_> =
            running.into_values().filter_map(|running| running.stop(&self.data_plane)).collect();
        for fleet in stopping {
            // A fleet that panicked left no process behind that the tracker does not know.
            let _ = fleet.await;
        }
        self.tracker.close();
        self.tracker.wait().await;
        self.data_plane.stop().await;
        self.console.flush().await;
    }

    async fn start_function(&mut self, function: LocalFunction) -> anyhow::Result<console::Voice> {
        let launch = self.launch(&function).await?;
        if let Some(watch) = &mut self.watch {
            watch
                .add(&function)
                .with_context(|| format!("cannot watch {}", function.origin.display()))?;
        }
        let voice = self.console.voice(&function.name, self.started, self.width);
        self.started += 1;
        let context =
            Context { voice: voice.clone(), groups: self.groups.clone(), log: self.log.clone() };
        let starter = Starter {
            context,
            tracker: self.tracker.clone(),
            stop_events: self.stop_events.clone(),
        };
        let name = function.name.clone();
        self.post(&function, &voice.journal);
        let running = Running::start(function, launch, &self.platform(), starter);
        self.running.insert(name, running);
        self.data_plane.feed.applied().await.context("routes")?;
        Ok(voice)
    }

    async fn launch(&mut self, function: &LocalFunction) -> anyhow::Result<Launch> {
        let events = self.events(function).and_then(Result::ok);
        let (args, cache) = (&self.args, &self.cache);
        let interpreter = resolve(&mut self.interpreters, function.runtime, args, cache).await?;
        let secrets = self.board.secrets_of(&function.name);
        let env = [secrets, args.env.clone()].concat();
        Launch::prepare(function, interpreter, cache, &env, args.grace, events)
            .map(|launch| Launch { log_requests: args.log_requests, ..launch })
            .with_context(|| format!("{}: cannot write its code to the cache", function.name))
    }

    fn events(&self, function: &LocalFunction) -> Option<Result<EventTrigger, Unavailable>> {
        let trigger = EventTrigger::of(function, &self.sources)?;
        Some(trigger.and_then(|trigger| {
            trigger.programs().iter().try_for_each(installed).map(|()| trigger)
        }))
    }

    /// Says on the board what runs, and whether its events are handled.
    fn post(&self, function: &LocalFunction, journal: &Arc<Journal>) {
        journal.unhandled(function::unhandled(function, self.events(function).as_ref()));
        self.board.put(function, journal);
    }

    fn summary(&self, function: &LocalFunction, url: &str) -> String {
        function::summary(function, self.events(function).as_ref(), url)
    }

    fn platform(&self) -> Platform<'_> {
        let periods = Periods {
            idle_timeout: self.args.idle_timeout,
            polling_interval: self.args.polling_interval,
            scale_down_window: self.args.scale_down_window,
        };
        Platform { data_plane: &self.data_plane, periods }
    }

    /// Carries changes of files to the functions they concern. Nothing that is wrong with a save
    /// stops what runs.
    async fn apply(&mut self, changed: &Changed) {
        if let Err(error) = self.start_new(changed).await {
            self.console.warn(format!("{error:#}"));
        }
        let own: BTreeSet<PathBuf> = self.running.values().filter_map(own_file).collect();
        let mut manifests = BTreeSet::new();
        let mut reloaded = Vec::new();
        for (name, running) in &self.running {
            let function = &running.function;
            // An editor may have moved the file away for a moment; its return is a change too.
            if !function.origin.exists()
                || !changed.any(|path| watch::concerns(function, path, &own))
            {
                continue;
            }
            match function.code {
                Code::Inline => drop(manifests.insert(function.origin.clone())),
                Code::File(_) | Code::Folder(_) => reloaded.push(name.clone()),
            }
        }
        changed.paths().for_each(launch::forget_compiled);
        for name in reloaded {
            if let Err(error) = self.reload(&name).await {
                self.console.warn(format!("{name}: {error:#}"));
            }
        }
        for path in manifests {
            if let Err(error) = self.apply_manifest(&path).await {
                self.console.warn(format!("{error:#}; keeping the running version"));
            }
        }
        self.note_missing(Instant::now());
    }

    /// Starts the functions of files that were added to a folder.
    async fn start_new(&mut self, changed: &Changed) -> anyhow::Result<()> {
        let is_known = |path: &Path| self.running.values().any(|r| r.function.origin == path);
        let is_new = |path: &Path| load::is_source(path) && !is_known(path) && self.serves(path);
        if !changed.any(is_new) {
            return Ok(());
        }
        let mut sources = self.args.sources.clone();
        sources.retain(|source| source.exists());
        let Loaded { mut functions, .. } = load::load(&sources)?;
        trigger::declare(&self.args.trigger, &mut functions)?;
        let url = self.url();
        for function in functions {
            if !self.running.contains_key(&function.name) {
                let summary = self.summary(&function, &url);
                self.start_function(function).await?.say(summary);
            }
        }
        Ok(())
    }

    async fn reload(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(running) = self.running.remove(name) else {
            return Ok(());
        };
        let launch = self.launch(&running.function).await;
        // Its folders may be others by now.
        let watched = self.watch.as_mut().map_or(Ok(()), |watch| watch.add(&running.function));
        if let Ok(launch) = &launch {
            running.reload(launch.clone()).await;
        }
        self.post(&running.function, running.journal());
        self.running.insert(name.to_owned(), running);
        launch?;
        Ok(watched?)
    }

    /// Brings what runs in line with a manifest.
    async fn apply_manifest(&mut self, path: &Path) -> anyhow::Result<()> {
        let Loaded { functions, notices } = load::load_manifest(path)?;
        for function in &functions {
            if let Some(other) = self.running.get(&function.name)
                && other.function.origin != path
            {
                anyhow::bail!(LoadError::Duplicate {
                    name: function.name.clone(),
                    first: other.function.origin.clone(),
                    second: path.to_owned(),
                });
            }
        }
        for notice in notices {
            self.console.warn(notice);
        }
        let is_gone = |running: &Running| {
            running.function.origin == path
                && !functions.iter().any(|function| function.name == running.function.name)
        };
        let gone: Vec<String> =
            self.running.values().filter(|r| is_gone(r)).map(|r| r.function.name.clone()).collect();
        for name in gone {
            self.remove(&name);
        }
        for function in functions {
            self.apply_function(function).await?;
        }
        Ok(())
    }

    async fn apply_function(&mut self, function: LocalFunction) -> anyhow::Result<()> {
        let name = function.name.clone();
        let events = self.events(&function).and_then(Result::ok);
        match self.running.remove(&name) {
            Some(running) if running.function == function => {
                self.running.insert(name, running);
            }
            Some(mut running) if running.may_become(&function, events.as_ref()) => {
                let launch = self.launch(&function).await;
                if let Ok(launch) = launch.as_ref() {
                    running.update(function, launch.clone(), &self.platform()).await;
                    self.post(&running.function, running.journal());
                }
                self.running.insert(name, running);
                launch?;
            }
            replaced => {
                if let Some(running) = replaced {
                    running.stop(&self.data_plane);
                }
                let summary = self.summary(&function, &self.url());
                self.start_function(function).await?.say(summary);
            }
        }
        Ok(())
    }

    fn url(&self) -> String {
        let mut address = self.data_plane.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("http://{address}")
    }
}

async fn resolve(
    known: &mut BTreeMap<Runtime, Interpreter>,
    runtime: Runtime,
    args: &Args,
    cache: &Cache,
) -> anyhow::Result<Interpreter> {
    if let Some(interpreter) = known.get(&runtime) {
        return Ok(interpreter.clone());
    }
    let program = match runtime {
        Runtime::Node => &args.node,
        Runtime::Python => &args.python,
    };
    let interpreter = Interpreter::resolve(runtime, program, cache).await?;
    known.insert(runtime, interpreter.clone());
    Ok(interpreter)
}

async fn bind_console(access: Access, port: Option<u16>) -> std::io::Result<BoundConsole> {
    let bind = |port| {
        let console = kipper_console::Console::new(access.clone());
        console.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    match port {
        Some(port) => bind(port).await,
        // Another kip dev may have it.
        None => match bind(CONSOLE_PORT).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(0).await,
            bound => bound,
        },
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

async fn next_change(watch: &mut Option<Watch>) -> Changed {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

fn own_file(running: &Running) -> Option<PathBuf> {
    match &running.function.code {
        Code::File(file) => Some(file.clone()),
        Code::Folder(_) | Code::Inline => None,
    }
}
