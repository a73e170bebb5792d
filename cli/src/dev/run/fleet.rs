//! The processes of one function: as many as asked for, of the version asked for.
//!
//! One task per function owns them. It starts and stops processes until there are as many as the
//! last order says, replaces them one by one after a save, restarts what ended by itself, and tells
//! the interceptor where they are. An address is listed before its process can answer only while
//! nothing else answers, and is taken away before its process is stopped, so no request is lost.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use kipper_interceptor::source::{EndpointState, FunctionId, memory::MemoryFeed};
use tokio::sync::mpsc;

use super::{
    super::{
        child::{STABLE, describe, pause_after},
        console::Voice,
    },
    launch::{Launch, Mode},
    output,
    port::Port,
    process::{Event, Exit, Starter, Stop},
    rollout::{self, Plan, Replica, Stage},
    wake::{Wake, WakeLog},
};

/// Orders on their way; who orders waits at the bound.
pub(crate) const ORDERS: usize = 16;
/// Reports of processes on their way; they wait at the bound.
const EVENTS: usize = 64;
/// Between taking an address away and stopping its process.
const RETIRE_DELAY: Duration = Duration::from_millis(100);
/// Starts that may fail because a port was taken after all.
const MAX_CLASHES: u32 = 3;

/// What a fleet is asked for.
#[derive(Debug)]
pub(crate) enum Order {
    /// Have this many replicas. `since` is when the reason for it came in.
    Scale { replicas: u32, since: Instant },
    /// The code changed: replace every replica.
    Reload(Box<Launch>),
}

/// The processes of one function.
pub(crate) struct Fleet {
    id: FunctionId,
    launch: Launch,
    starter: Starter,
    voice: Voice,
    feed: MemoryFeed,
    wakes: WakeLog,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    replicas: Vec<Member>,
    desired: u32,
    generation: u64,
    is_reloading: bool,
    /// The code did not start since it was saved: no process is tried with it while others answer.
    is_broken: bool,
    /// The last process ended before it could answer.
    start_failed: bool,
    /// The interceptor knows that.
    is_given_up: bool,
    next_id: u64,
    wake: Option<Wake>,
    failures: u32,
    clashes: u32,
    retry_at: Option<Instant>,
    last_words: Vec<String>,
}

/// One process.
struct Member {
    replica: Replica,
    address: SocketAddr,
    started: Instant,
    stop: Stop,
    _port: Port,
}

impl Fleet {
    pub(crate) fn new(
        id: FunctionId,
        launch: Launch,
        starter: Starter,
        feed: MemoryFeed,
        wakes: WakeLog,
    ) -> Self {
        Self {
            id,
            launch,
            voice: starter.context.voice.clone(),
            starter,
            feed,
            wakes,
            events: mpsc::channel(EVENTS),
            replicas: Vec::new(),
            desired: 0,
            generation: 0,
            is_reloading: false,
            is_broken: false,
            start_failed: false,
            is_given_up: false,
            next_id: 0,
            wake: None,
            failures: 0,
            clashes: 0,
            retry_at: None,
            last_words: Vec::new(),
        }
    }

    /// Works until no further order can come, then stops every process and waits for their end.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let retry = self.retry_at;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => break,
                },
                Some(event) = self.events.1.recv() => self.hear(event),
                () = until(retry), if retry.is_some() => self.retry_at = None,
            }
            self.reconcile();
        }
        self.desired = 0;
        self.reconcile();
        while !self.replicas.is_empty() {
            if let Some(Event::Exited(exit)) = self.events.1.recv().await {
                self.replicas.retain(|member| member.replica.id != exit.id);
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Scale { replicas, since } => {
                if self.desired == 0 && replicas > 0 {
                    self.wake = Some(self.wakes.begin(since));
                }
                if replicas == 0 {
                    self.forgive();
                    self.is_reloading = false;
                    self.wake = None;
                }
                self.desired = replicas;
                if self.is_given_up {
                    self.publish();
                }
            }
            Order::Reload(launch) => {
                self.launch = *launch;
                self.generation += 1;
                self.voice.journal.healed();
                self.is_reloading = self.is_rolling();
                self.is_broken = false;
                self.forgive();
                if self.desired == 0 {
                    let next = if self.launch.needs_source { "event" } else { "request" };
                    self.voice.say(format!("changed, the next {next} starts the new version"));
                }
            }
        }
    }

    /// Failures of the past say nothing about the next start.
    fn forgive(&mut self) {
        self.failures = 0;
        self.clashes = 0;
        self.retry_at = None;
        self.start_failed = false;
        self.last_words.clear();
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Listening { id, at } => self.listening(id, at),
            Event::Exited(exit) => {
                let index = self.replicas.iter().position(|member| member.replica.id == exit.id);
                if let Some(index) = index {
                    let member = self.replicas.swap_remove(index);
                    self.publish();
                    if member.replica.stage != Stage::Stopping {
                        self.ended(&member, exit);
                    }
                }
            }
        }
    }

    fn listening(&mut self, id: u64, at: Instant) {
        let Some(member) = self.replicas.iter_mut().find(|member| member.replica.id == id) else {
            return;
        };
        if member.replica.stage != Stage::Starting {
            return;
        }
        let is_present = member.replica.generation == self.generation;
        member.replica.stage = Stage::Listening;
        self.clashes = 0;
        if is_present {
            self.voice.journal.healed();
        }
        self.publish();
        if let Some(wake) = self.wake.take() {
            self.wakes.end(wake, at);
        }
    }

    fn is_rolling(&self) -> bool {
        let generation = self.generation;
        let is_old = |r: &Replica| r.generation < generation && r.stage == Stage::Listening;
        self.replicas.iter().any(|member| is_old(&member.replica))
    }

    /// A process ended that nobody stopped.
    fn ended(&mut self, member: &Member, exit: Exit) {
        let never_listened = member.replica.stage == Stage::Starting;
        let is_clash = exit.last_words.iter().any(|line| line.starts_with("kipper: cannot listen"));
        if never_listened && is_clash && self.clashes < MAX_CLASHES {
            self.clashes += 1;
            return;
        }
        if self.failures > 0 && exit.last_words != self.last_words {
            let lines = exit.last_words.iter().flat_map(|line| output::record(line));
            self.voice.print_now(lines);
        }
        // What a runtime said while it served is no reason why it ended later.
        let said = || output::reason(&exit.last_words).filter(|_| never_listened);
        let reason = exit.failure.as_deref().or_else(said);
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let how = match exit.failure {
            Some(_) => String::new(),
            None => format!(" ({})", describe(exit.status)),
        };
        if never_listened && self.is_rolling() {
            let what = format!("reload failed, keeping the running version{why}{how}");
            self.voice.journal.failed(&what);
            self.voice.warn(what);
            self.give_up_reload();
            return;
        }
        if !never_listened && member.started.elapsed() >= STABLE {
            self.voice.warn(format!("exited unexpectedly{how}, restarting"));
            self.forgive();
            return;
        }
        let pause = pause_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + pause);
        self.start_failed = never_listened;
        let pause = humantime::format_duration(pause);
        let what = if never_listened { "failed to start" } else { "exited unexpectedly" };
        self.voice.journal.failed(&format!("{what}{why}{how}"));
        self.voice.warn(format!("{what}{why}{how}, next try in {pause} or after a save"));
        self.last_words = exit.last_words;
    }

    /// The youngest version that answers becomes the wanted one, until the next save. Older ones go:
    /// two versions never answer for longer than a replacement takes.
    fn give_up_reload(&mut self) {
        self.is_reloading = false;
        self.is_broken = true;
        let answers = |member: &&Member| member.replica.stage == Stage::Listening;
        let youngest = self.replicas.iter().filter(answers).map(|m| m.replica.generation).max();
        let mut retired = Vec::new();
        for member in &mut self.replicas {
            let replica = &mut member.replica;
            match replica.stage {
                Stage::Stopping => {}
                Stage::Listening if Some(replica.generation) == youngest => {
                    replica.generation = self.generation;
                }
                Stage::Listening => retired.push(replica.id),
                Stage::Starting => {
                    replica.stage = Stage::Stopping;
                    stop(member, Duration::ZERO);
                }
            }
        }
        self.retire(&retired);
    }

    /// Takes their addresses away, then stops them.
    fn retire(&mut self, ids: &[u64]) {
        if ids.is_empty() {
            return;
        }
        let chosen = |member: &&mut Member| ids.contains(&member.replica.id);
        self.replicas.iter_mut().filter(chosen).for_each(|m| m.replica.stage = Stage::Stopping);
        self.publish();
        for member in self.replicas.iter().filter(|m| ids.contains(&m.replica.id)) {
            stop(member, RETIRE_DELAY);
        }
    }

    /// Starts and stops until there is what was ordered, or what has to come first is on its way.
    fn reconcile(&mut self) {
        let replicas: Vec<Replica> = self.replicas.iter().map(|member| member.replica).collect();
        let Plan { mut start, retire } = rollout::plan(&replicas, self.desired, self.generation);
        self.retire(&retire);
        if self.is_reloading && !self.is_rolling() {
            self.is_reloading = false;
            self.voice.say("reloaded");
        }
        let is_served = self.replicas.iter().any(|m| m.replica.stage == Stage::Listening);
        if self.is_broken && is_served {
            return;
        }
        while start > 0 && self.retry_at.is_none() {
            start -= 1;
            self.start();
        }
        self.give_up();
    }

    /// Whoever waits is told when nothing is on its way: the next try may be half a minute off.
    fn give_up(&mut self) {
        let is_over = self.replicas.iter().all(|m| m.replica.stage == Stage::Stopping);
        let is_hopeless = is_over && self.start_failed && self.retry_at.is_some();
        if is_hopeless && !std::mem::replace(&mut self.is_given_up, true) {
            // The feed is closed only when everything ends.
            let _ = self.feed.fail(self.id.clone());
        }
    }

    fn start(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let started = Port::free().and_then(|port| {
            let is_muted = self.failures > 0;
            let (mode, events) = (Mode::Serve(port.number), self.events.0.clone());
            let stop = self.starter.start(&self.launch, mode, id, is_muted, events)?;
            Ok((port, stop))
        });
        match started {
            Ok((port, stop)) => {
                let replica = Replica { id, generation: self.generation, stage: Stage::Starting };
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
                let started = Instant::now();
                self.replicas.push(Member { replica, address, started, stop, _port: port });
                self.publish();
                if let Some(wake) = &mut self.wake {
                    wake.spawned.get_or_insert_with(Instant::now);
                }
            }
            Err(error) => {
                let pause = pause_after(self.failures);
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(Instant::now() + pause);
                self.start_failed = true;
                let pause = humantime::format_duration(pause);
                self.voice.journal.failed(&format!("failed to start: {error}"));
                self.voice.warn(format!("failed to start: {error}, next try in {pause}"));
            }
        }
    }

    /// Tells the interceptor where the function is.
    fn publish(&mut self) {
        self.is_given_up = false;
        let count = |stage| self.replicas.iter().filter(|m| m.replica.stage == stage).count();
        self.voice.journal.replicas(count(Stage::Listening), count(Stage::Starting));
        let endpoints = endpoints(self.replicas.iter().map(|m| (m.address, m.replica.stage)));
        // The feed is closed only when everything ends.
        let _ = self.feed.set_endpoints(self.id.clone(), endpoints);
    }
}

/// What the interceptor may know: what listens; while nothing does, what is starting.
fn endpoints(replicas: impl Iterator<Item = (SocketAddr, Stage)> + Clone) -> Vec<EndpointState> {
    let all = |wanted, ready| {
        let matching = replicas.clone().filter(move |(_, stage)| *stage == wanted);
        matching.map(move |(address, _)| EndpointState { address, ready, terminating: false })
    };
    let listening: Vec<EndpointState> = all(Stage::Listening, true).collect();
    if listening.is_empty() { all(Stage::Starting, false).collect() } else { listening }
}

fn stop(member: &Member, delay: Duration) {
    member.stop.send_replace(Some(delay));
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_starting_is_listed_only_while_nothing_listens() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let check = |given: &[(u16, Stage)], expected: &[(u16, bool)]| {
            let given = given.iter().map(|(port, stage)| (at(*port), *stage));
            let found = endpoints(given).into_iter().map(|e| (e.address.port(), e.ready));
            assert_eq!(found.collect::<Vec<_>>(), expected);
        };
        check(&[], &[]);
        check(&[(1, Stage::Starting), (2, Stage::Stopping)], &[(1, false)]);
        check(&[(1, Stage::Starting), (2, Stage::Listening)], &[(2, true)]);
        check(&[(1, Stage::Stopping)], &[]);
    }
}
