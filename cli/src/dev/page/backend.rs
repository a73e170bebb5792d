//! The console's backend for local functions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kipper_client::{invoke::Gateway, restart::nothing_to_restart};
use kipper_console::{
    Problem, Reason,
    assistant::{self, Setup},
    backend::{Backend, LogQuery, Name, Result, Watch, Written, request, updates},
    model::{
        Checked, Detail, Draft, Invoke, Invoked, Line, Lines, Meta, New, Outcome, RateSource,
        Saved, SecretChanges, SecretKey, Summary, Update,
    },
};
use kipper_function::{
    FunctionSpec, FunctionStatus, Timestamp,
    function::{Phase, ScheduleStatus},
    names::condition::READY,
};
use kipper_interceptor::router::Router;
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};

use super::{
    super::{
        function::hosts,
        journal::{Facts, Said},
        load::{MAX_FUNCTIONS, NAMESPACE},
    },
    board::{Board, Entry, Order, Secret},
    files::{self, FileError, Stored, Write},
};

/// Updates on their way to a page; whoever makes them waits at the bound.
const QUEUE: usize = 256;
/// Between two counts of requests.
const RATE_INTERVAL: Duration = Duration::from_secs(2);
/// What `kip dev` does not have, and why.
const LACKS: [(&str, &str); 6] = [
    ("namespaces", "kip dev has one namespace"),
    ("images", "images need a cluster: kip dev runs inline code"),
    ("bindings", "service bindings need a cluster; give their variables to kip dev with --env"),
    ("services", "services need a cluster; kip dev takes the URL of a source with --source"),
    ("volumes", "volumes need a cluster: kip dev functions use this machine's files"),
    ("revisions", "kip dev keeps no history: that is for your version control"),
];

/// The functions of this `kip dev`.
pub(crate) struct Local {
    board: Board,
    /// Where functions are reached: `http://127.0.0.1:8080`.
    url: String,
    router: Arc<Router>,
    /// What flags set the assistant up with.
    assistant: Option<assistant::Stored>,
    /// Functions are made one after the other, so that the limit holds and a name is given once.
    making: tokio::sync::Mutex<()>,
}

impl Local {
    pub(crate) fn new(
        board: Board,
        url: String,
        router: Arc<Router>,
        assistant: Option<assistant::Stored>,
    ) -> Self {
        Self { board, url, router, assistant, making: tokio::sync::Mutex::default() }
    }

    fn entry(&self, name: Name<'_>) -> Result<Entry> {
        let found = self.board.get(name.name).filter(|_| name.namespace == NAMESPACE);
        let missing = || format!("kip dev has no function {}", name.name);
        found.ok_or_else(|| Problem::new(Reason::NotFound, missing()))
    }

    async fn order(&self, order: Order) -> Result<()> {
        let given = self.board.order(order).await;
        given.map_err(|why| Problem::new(Reason::Internal, why))
    }
}

/// A function as the page has it, from its files and its journal.
fn detail(board: &Board, url: &str, entry: &Entry) -> Detail {
    shown(board, url, entry, files::read(&entry.function))
}

fn shown(board: &Board, url: &str, entry: &Entry, stored: Stored) -> Detail {
    let function = &entry.function;
    let facts = entry.journal.facts().borrow().clone();
    let secrets = board.secrets.lock();
    let secrets = secrets.get(&function.name).into_iter().flatten();
    let secrets = secrets.map(|(name, secret)| SecretKey {
        name: name.clone(),
        has_previous: secret.rotated_at.is_some(),
        rotated_at: secret.rotated_at.map(|time| time.to_string()),
    });
    let generation = generation(&stored.spec);
    let url = stored.spec.is_http().then(|| format!("{url}/_fn/{}/", function.name));
    Detail {
        name: function.name.clone(),
        namespace: NAMESPACE.to_owned(),
        generation,
        version: None,
        status: status(facts, generation, url.clone()),
        spec: stored.spec,
        url,
        secrets: secrets.collect(),
        origin: Some(function.origin.display().to_string()),
        read_only: stored.read_only,
        notices: stored.notices,
    }
}

/// Moves with every change of a spec, however it was made: files have no counter.
fn generation(spec: &FunctionSpec) -> i64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    // Never fails for these types, whose keys are strings.
    serde_json::to_string(spec).unwrap_or_default().hash(&mut hasher);
    // As large as a number of JavaScript may be.
    i64::try_from(hasher.finish() >> 12).unwrap_or_default()
}

fn phase(facts: &Facts) -> Phase {
    match facts {
        Facts { failure: Some(_), .. } => Phase::Failed,
        Facts { replicas: 1.., .. } => Phase::Running,
        Facts { starting: 1.., .. } => Phase::Scaling,
        _ => Phase::Idle,
    }
}

fn status(facts: Facts, generation: i64, endpoint: Option<String>) -> FunctionStatus {
    let phase = phase(&facts);
    let failing = facts.failure.as_ref().map(|(_, since)| Time(*since));
    let (status, reason, message) = match (facts.failure, facts.unhandled) {
        (Some((why, _)), _) => ("False", "CannotStart", why),
        (None, Some(why)) => ("False", "EventsNotHandled", why),
        (None, None) => ("True", "Ready", "it runs when it is called".to_owned()),
    };
    let ready = Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: failing.clone().unwrap_or(Time(Timestamp::now())),
        observed_generation: Some(generation),
    };
    let runs = (facts.runs != ScheduleStatus::default()).then_some(facts.runs);
    FunctionStatus {
        phase: Some(phase.as_str().to_owned()),
        replicas: i32::try_from(facts.replicas).ok(),
        endpoint,
        observed_generation: Some(generation),
        conditions: vec![ready],
        failing_since: failing,
        schedule: runs,
        ..FunctionStatus::default()
    }
}

fn line(said: Said, name: &str) -> Line {
    let (pod, container) = (name.to_owned(), said.speaker.as_str().to_owned());
    Line { time: Some(said.time), pod, container, text: said.text }
}

/// A file that cannot be written is about what was to be written.
fn refused(error: FileError) -> Problem {
    let reason = match &error {
        FileError::Exists(_) => Reason::Exists,
        FileError::Read { .. } | FileError::Write { .. } => Reason::Internal,
        FileError::FolderSettings(_)
        | FileError::FlaggedTrigger
        | FileError::HasSiblings(_)
        | FileError::LeftOut(_)
        | FileError::Link(_)
        | FileError::Several => Reason::Unsupported,
        FileError::Document { .. } => Reason::Conflict,
    };
    Problem::new(reason, error.to_string())
}

/// What of a spec needs a cluster.
fn needs_cluster(spec: &FunctionSpec) -> Result<()> {
    if spec.image().is_some() {
        return Err(Problem::field("spec.image", LACKS[1].1));
    }
    Ok(())
}

#[async_trait::async_trait]
impl Backend for Local {
    async fn meta(&self) -> Result<Meta> {
        let pattern = Some(format!("{}/_fn/{{name}}/", self.url));
        Ok(Meta::new("dev", "you", NAMESPACE, pattern, LACKS.into()))
    }

    fn namespace(&self) -> &str {
        NAMESPACE
    }

    async fn namespaces(&self) -> Result<Option<Vec<String>>> {
        Ok(Some(vec![NAMESPACE.to_owned()]))
    }

    async fn list(&self, namespace: &str) -> Result<Vec<Summary>> {
        if namespace != NAMESPACE {
            return Ok(Vec::new());
        }
        Ok(summaries(&self.board, &self.url))
    }

    async fn get(&self, name: Name<'_>) -> Result<Detail> {
        Ok(detail(&self.board, &self.url, &self.entry(name)?))
    }

    async fn create(&self, namespace: &str, new: New) -> Result<Saved> {
        needs_cluster(&new.spec)?;
        let _turn = self.making.lock().await;
        // Only now, because the one whose turn it was may have made it.
        if self.board.get(&new.name).is_some() {
            let error = format!("function {} exists already", new.name);
            return Err(Problem::new(Reason::Exists, error));
        }
        if self.board.len() >= MAX_FUNCTIONS {
            let error = format!("kip dev runs at most {MAX_FUNCTIONS} functions");
            return Err(Problem::new(Reason::Unsupported, error));
        }
        let name = Name { namespace, name: &new.name };
        let former = self.board.secrets.lock().get(&new.name).cloned();
        let mut written = Vec::new();
        if !new.secrets.is_empty() {
            self.keep(&new.name, &new.secrets)?;
            written.push("secrets");
        }
        let made = files::create(&self.board.home, &new.name, &new.spec);
        let path = made.map_err(|error| {
            self.restore(&new.name, former);
            refused(error)
        })?;
        written.push("spec");
        let taken = self.order(Order::Written(path)).await;
        let function = match taken {
            Ok(()) => self.get(name).await,
            Err(problem) => Err(problem),
        };
        let function = function.map_err(|problem| problem.after(written.clone()))?;
        Ok(Saved::created(function, written, None))
    }

    async fn write(&self, current: &Detail, spec: &FunctionSpec) -> Result<Written> {
        needs_cluster(spec)?;
        let name = Name { namespace: &current.namespace, name: &current.name };
        let entry = self.entry(name)?;
        let stored = files::read(&entry.function);
        if let Some(why) = stored.read_only {
            return Err(Problem::new(Reason::Unsupported, why));
        }
        if generation(&stored.spec) != current.generation {
            let error = format!("{} was changed in the meantime", current.name);
            return Err(Problem::new(Reason::Conflict, error));
        }
        if stored.spec == *spec {
            return Ok((Outcome::Unchanged, current.clone()));
        }
        match files::write(&entry.function, spec).map_err(refused)? {
            Write::Written(paths) => {
                for path in paths {
                    self.order(Order::Written(path)).await?;
                }
            }
            Write::Moved { from, to } => self.order(Order::Moved { from, to }).await?,
        }
        Ok((Outcome::Changed, self.get(name).await?))
    }

    async fn write_secrets(&self, name: Name<'_>, changes: &SecretChanges) -> Result<()> {
        self.entry(name)?;
        self.keep(name.name, changes)?;
        self.order(Order::Restart(name.name.to_owned())).await
    }

    async fn delete(&self, name: Name<'_>) -> Result<()> {
        let entry = self.entry(name)?;
        files::remove(&entry.function).map_err(refused)?;
        self.board.secrets.lock().remove(name.name);
        self.order(Order::Removed(name.name.to_owned())).await
    }

    async fn check(&self, draft: &Draft) -> Result<Checked> {
        let mut checked = Checked::default();
        if let Err(mut problem) = needs_cluster(&draft.spec) {
            checked.problems.append(&mut problem.problems);
        }
        if draft.is_new && self.board.get(&draft.name).is_some() {
            let problem = Problem::field("metadata.name", "a function of this name exists already");
            checked.problems.extend(problem.problems);
        }
        let spec = &draft.spec;
        for (is_used, what) in
            [(!spec.service_bindings.is_empty(), "bindings"), (!spec.volumes.is_empty(), "volumes")]
        {
            let why = LACKS.iter().find(|(name, _)| *name == what).filter(|_| is_used);
            checked.warnings.extend(why.map(|(_, why)| (*why).to_owned()));
        }
        Ok(checked)
    }

    async fn logs(&self, name: Name<'_>, query: &LogQuery) -> Result<Lines> {
        let entry = self.entry(name)?;
        let since = Timestamp::now().checked_sub(query.since).unwrap_or(Timestamp::UNIX_EPOCH);
        let is_meant =
            |said: &Said| query.search.as_ref().is_none_or(|search| search.matches(&said.text));
        let lines = entry.journal.since(since).into_iter().filter(is_meant);
        let lines = lines.map(|said| line(said, name.name)).collect();
        Ok(Lines { lines, notices: Vec::new(), source: "process" })
    }

    async fn restart(&self, name: Name<'_>) -> Result<Option<&'static str>> {
        let entry = self.entry(name)?;
        let phase = phase(&entry.journal.facts().borrow());
        let nothing = nothing_to_restart(&entry.function.spec, Some(phase));
        if nothing.is_none() {
            self.order(Order::Restart(name.name.to_owned())).await?;
        }
        Ok(nothing)
    }

    async fn test_run(&self, name: Name<'_>) -> Result<String> {
        let entry = self.entry(name)?;
        if entry.function.spec.cron_trigger().is_none() {
            let error = format!("{} has no cron trigger", name.name);
            return Err(Problem::new(Reason::Unsupported, error));
        }
        self.order(Order::Run(name.name.to_owned())).await?;
        Ok(name.name.to_owned())
    }

    async fn invoke(&self, name: Name<'_>, invoke: Invoke) -> Result<Invoked> {
        let entry = self.entry(name)?;
        if !entry.function.spec.is_http() {
            let error = format!("{} takes no requests", name.name);
            return Err(Problem::new(Reason::Unsupported, error));
        }
        let path = format!("/_fn/{}{}", name.name, request::path(&invoke)?);
        request::send(&Gateway::default(), &self.url, &Invoke { path, ..invoke }).await
    }

    async fn assistant(&self) -> Result<Setup> {
        let fixed = "kip dev takes the assistant's provider from --ai-provider, --ai-url, --ai-model \
                     and KIPPER_AI_KEY";
        let stored = self.assistant.clone();
        Ok(Setup { stored, fixed: Some(fixed.to_owned()), allow_private: true })
    }

    fn watch(&self, watch: Watch) -> BoxStream<'static, Update> {
        let (board, url) = (self.board.clone(), self.url.clone());
        let router = Arc::clone(&self.router);
        updates(QUEUE, |updates| async move {
            match watch.name {
                None => list(&board, &url, &updates).await,
                Some(name) => one(&board, &url, &router, &name, watch.logs, &updates).await,
            };
        })
    }
}

impl Local {
    /// Changes secrets, which are kept in memory alone.
    fn keep(&self, name: &str, changes: &SecretChanges) -> Result<()> {
        let mut all = self.board.secrets.lock();
        let secrets = all.entry(name.to_owned()).or_default();
        if let Some(key) = changes.delete.iter().find(|key| !secrets.contains_key(*key)) {
            return Err(Problem::field("secrets", format!("there is no secret {key}")));
        }
        for key in &changes.delete {
            secrets.remove(key);
        }
        for (key, value) in &changes.set {
            let former = secrets.get(key);
            let rotated_at = match former {
                Some(former) if former.value != *value => Some(Timestamp::now()),
                Some(former) => former.rotated_at,
                None => None,
            };
            secrets.insert(key.clone(), Secret { value: value.clone(), rotated_at });
        }
        Ok(())
    }

    /// Gives a function the secrets again that it had.
    fn restore(&self, name: &str, former: Option<BTreeMap<String, Secret>>) {
        let mut all = self.board.secrets.lock();
        match former {
            Some(former) => drop(all.insert(name.to_owned(), former)),
            None => drop(all.remove(name)),
        }
    }
}

fn summaries(board: &Board, url: &str) -> Vec<Summary> {
    let entries = board.entries().borrow().clone();
    // A list shows nothing of the code, for which alone the files would be read.
    let running = |entry: &Entry| {
        let spec = entry.function.spec.clone();
        let stored = Stored { spec, notices: Vec::new(), read_only: None };
        Summary::of(&shown(board, url, entry, stored), None)
    };
    entries.values().map(running).collect()
}

/// Waits until one of these facts changes; for ever where there are none.
async fn any_changed(facts: &mut [watch::Receiver<Facts>]) {
    if facts.is_empty() {
        return std::future::pending().await;
    }
    let changes = facts.iter_mut().map(|facts| Box::pin(facts.changed()));
    // A journal ends with its function, which is a change too.
    let _ = futures_util::future::select_all(changes).await;
}

async fn list(board: &Board, url: &str, updates: &mpsc::Sender<Update>) -> Option<()> {
    let mut entries = board.entries();
    loop {
        let known: BTreeMap<String, Entry> = entries.borrow_and_update().clone();
        let mut facts: Vec<_> = known.values().map(|entry| entry.journal.facts()).collect();
        for facts in &mut facts {
            facts.mark_unchanged();
        }
        updates.send(Update::Functions { items: summaries(board, url) }).await.ok()?;
        tokio::select! {
            changed = entries.changed() => changed.ok()?,
            () = any_changed(&mut facts) => {}
        }
    }
}

async fn one(
    board: &Board,
    url: &str,
    router: &Router,
    name: &str,
    logs: bool,
    updates: &mpsc::Sender<Update>,
) -> Option<()> {
    let mut entries = board.entries();
    let mut rate = tokio::time::interval(RATE_INTERVAL);
    let mut counted: Option<(Instant, u64)> = None;
    loop {
        let Some(entry) = entries.borrow_and_update().get(name).cloned() else {
            updates.send(Update::Gone).await.ok()?;
            entries.changed().await.ok()?;
            continue;
        };
        let mut facts = entry.journal.facts();
        facts.mark_unchanged();
        let mut said = entry.journal.listen();
        let function = Box::new(detail(board, url, &entry));
        updates.send(Update::Function { function }).await.ok()?;
        loop {
            tokio::select! {
                changed = entries.changed() => { changed.ok()?; break }
                changed = facts.changed() => {
                    changed.ok()?;
                    let function = Box::new(detail(board, url, &entry));
                    updates.send(Update::Function { function }).await.ok()?;
                }
                heard = said.recv() => match heard {
                    Ok(heard) if logs => {
                        updates.send(Update::Line { line: line(heard, name) }).await.ok()?;
                    }
                    // Lines that were missed can be read again.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                now = rate.tick() => {
                    let former = counted.take();
                    counted = requests(router, name).map(|total| (now, total));
                    if let Some(per_second) = former.zip(counted).and_then(mean) {
                        let time = Timestamp::now();
                        let replicas = i32::try_from(facts.borrow().replicas).unwrap_or_default();
                        let source = RateSource::Counter;
                        let update = Update::Rate { time, per_second, replicas, source };
                        updates.send(update).await.ok()?;
                    }
                }
            }
        }
    }
}

/// Requests per second between two counts; a count that begins anew tells nothing.
fn mean(((then, former), (now, total)): ((Instant, u64), (Instant, u64))) -> Option<f64> {
    let seconds = now.saturating_duration_since(then).as_secs_f64();
    let requests = u32::try_from(total.checked_sub(former)?).ok()?;
    (seconds > 0.0).then(|| f64::from(requests) / seconds)
}

/// Requests so far, where it takes any.
fn requests(router: &Router, name: &str) -> Option<u64> {
    let host = hosts(name).into_iter().next()?;
    Some(router.route(&host)?.counters.total())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use kipper_interceptor::{
        destination::DestinationContext,
        inflight::Changes,
        metrics::Metrics,
        queue::{Held, HoldLimits},
    };
    use prometheus::Registry;
    use serde_json::json;

    use super::*;
    use crate::dev::{journal::Journal, load::load, page::board::Given};

    fn local(home: &Path) -> (Local, mpsc::Receiver<Given>) {
        let (board, orders) = Board::new(home);
        let context = DestinationContext {
            held: Arc::new(Held::new(HoldLimits::default())),
            changes: Changes::default(),
            metrics: Arc::new(Metrics::new(&Registry::new(), true).unwrap()),
            workers: 1,
            fleet: Default::default(),
        };
        let router = Arc::new(Router::new(Arc::new(context), true));
        (Local::new(board, "http://127.0.0.1:8080".to_owned(), router, None), orders)
    }

    /// The function `hello` with a secret.
    fn hello(secret: &str) -> New {
        let spec = json!({ "runtime": "node", "source": { "code": "1" } });
        let set = BTreeMap::from([("KEY".to_owned(), secret.to_owned())]);
        New {
            name: "hello".to_owned(),
            spec: serde_json::from_value(spec).unwrap(),
            secrets: SecretChanges { set, delete: Vec::new() },
        }
    }

    fn secrets(local: &Local) -> Vec<String> {
        local.board.secrets_of("hello").into_iter().map(|(_, value)| value).collect()
    }

    /// Takes a function over, as `kip dev` does.
    async fn take_over(local: &Local, orders: &mut mpsc::Receiver<Given>) {
        let (order, done) = orders.recv().await.unwrap();
        let Order::Written(path) = order else { panic!("another order") };
        let function = load(&[path]).unwrap().functions.remove(0);
        local.board.put(&function, &Arc::new(Journal::default()));
        done.send(Ok(())).unwrap();
    }

    #[tokio::test]
    async fn of_two_creates_of_one_name_the_second_takes_nothing_from_the_first() {
        let home = tempfile::tempdir().unwrap();
        let (local, mut orders) = local(home.path());
        let (first, second, ()) = tokio::join!(
            local.create(NAMESPACE, hello("first")),
            local.create(NAMESPACE, hello("second")),
            take_over(&local, &mut orders),
        );
        assert!(first.is_ok(), "{first:?}");
        assert_eq!(second.err().map(|problem| problem.reason), Some(Reason::Exists));
        assert_eq!(secrets(&local), ["first"]);
    }

    #[tokio::test]
    async fn a_create_that_fails_leaves_the_secrets_as_they_were() {
        let home = tempfile::tempdir().unwrap();
        let (local, _orders) = local(home.path());
        // A file that kip dev does not serve, and has secrets for.
        std::fs::write(home.path().join("hello.js"), "").unwrap();
        local.keep("hello", &hello("former").secrets).unwrap();
        let failed = local.create(NAMESPACE, hello("next")).await;
        assert_eq!(failed.err().map(|problem| problem.reason), Some(Reason::Exists));
        assert_eq!(secrets(&local), ["former"]);
    }
}
