//! Event triggers: rows of a real PostgreSQL, handled by real processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use kipper_servers::postgres::{Options, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    database::{Database, MARK_DONE, ON_FAILED, QUERY},
    support::{Kip, folder, is_gone, post, save, until},
};

/// Notes each event at its begin and its end in the file `log`, with its process. Between them it
/// waits for the file `gate`, if `GATED`.
fn handler(version: u32, gated: bool) -> String {
    format!(
        "const fs = require('node:fs');\n\
         const note = (what, id) => fs.appendFileSync('log', `${{what}} ${{id}} ${{process.pid}} {version}\\n`);\n\
         module.exports = async (row, context) => {{\n\
           if (context.headers['ce-id'] !== `local/f/${{row.id}}` || context.trigger !== 'postgres'\n\
             || process.env.KIPPER_TRIGGER !== 'postgres') throw new Error('not an event');\n\
           note('begin', row.id);\n\
           while ({gated} && !fs.existsSync('gate')) await new Promise((go) => setTimeout(go, 10));\n\
           note('end', row.id);\n\
         }};\n"
    )
}

/// A function `f` in a folder of its own, on a database of its own.
struct Case {
    database: Database,
    folder: TempDir,
}

/// What its handler noted: by row, how often it began and ended.
type Noted = BTreeMap<i64, (usize, usize)>;

impl Case {
    fn new(code: &str) -> Self {
        Self { database: Database::new(), folder: folder(&[("f.js", code)]) }
    }

    fn start(&self, flags: &[&str]) -> Kip {
        let own = [
            "--trigger=postgres",
            "--source-url",
            &self.database.url,
            "--query",
            QUERY,
            "--mark-done",
            MARK_DONE,
            "--polling-interval=200ms",
        ];
        Kip::start(&self.path("f.js"), &[&own, flags].concat())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn open_gate(&self) {
        fs::write(self.path("gate"), "").unwrap();
    }

    fn log(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    /// The values of one column of the log.
    fn noted(&self, column: usize) -> BTreeSet<String> {
        self.log().into_iter().map(|mut line| line.swap_remove(column)).collect()
    }

    fn by_row(&self) -> Noted {
        let mut rows = Noted::new();
        for line in self.log() {
            let (begins, ends) = rows.entry(line[1].parse().unwrap()).or_default();
            *(if line[0] == "begin" { begins } else { ends }) += 1;
        }
        rows
    }

    /// Each of the first `count` rows was handled once, and no other.
    fn assert_each_once(&self, count: i64) {
        let expected: Noted = (1..=count).map(|id| (id, (1, 1))).collect();
        assert_eq!(self.by_row(), expected);
    }
}

fn function(name: &str, source: &str, code: &str, config: &str) -> String {
    let code = code.replace('\n', "\n      ");
    format!(
        "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: {name}}}\nspec:\n  source:\n    \
         code: |\n      {code}\n  triggers:\n  - type: postgres\n    config:\n      source: {source}\n      \
         query: {QUERY}\n      markDone: {MARK_DONE}\n{config}"
    )
}

#[test]
fn rows_wake_a_function_and_it_goes_back_to_zero() {
    let case = Case::new(&handler(1, false));
    let kip = case.start(&["--idle-timeout=1s"]);
    kip.wait_for("f  node    postgres trigger");
    assert!(kip.functions().is_empty(), "nothing runs before it is needed");
    for round in 1..=2 {
        // In one statement, so that one look sees all of them.
        case.database.fill(3);
        kip.wait_for_nth("f  3 rows waiting → 1 replica", round);
        kip.wait_for_nth("f  started in ", round);
        until("all rows are marked", || case.database.count("pending") == 0);
        kip.wait_for_nth("idle, scaled to 0", round);
        until("no process runs", || kip.functions().is_empty());
        assert_eq!(case.database.locks(), 0);
    }
    case.assert_each_once(6);
}

#[test]
fn more_rows_than_one_replica_takes_are_shared() {
    let code = handler(1, true);
    let folder = folder(&[("f.yaml", "")]);
    // Inline code runs in a folder of the cache.
    let code = code.replace("'log'", "process.env.LOG").replace("'gate'", "process.env.GATE");
    let database = Database::new();
    let more = "      batch: '12'\n  scaling: {maxReplicas: 3}\n";
    save(&folder.path().join("f.yaml"), &function("f", "shop-db", &code, more));
    let case = Case { database, folder };
    case.database.fill(60);
    let (source, log, gate) = (
        format!("--source=shop-db={}", case.database.url),
        format!("--env=LOG={}", case.path("log").display()),
        format!("--env=GATE={}", case.path("gate").display()),
    );
    let flags = [&source, &log, &gate, "--polling-interval=200ms"];
    let kip = Kip::start(&case.path("f.yaml"), &flags);
    kip.wait_for("f  node    postgres trigger on shop-db");
    // Counted up to what three replicas take.
    kip.wait_for("f  36 rows or more waiting → 1 replica");
    kip.wait_for("f  36 rows or more waiting → 3 replicas");
    until("three processes handle rows", || case.noted(2).len() == 3);
    case.open_gate();
    until("all rows are marked", || case.database.count("done") == 60);
    case.assert_each_once(60);
    assert_eq!(kip.functions().len(), 3, "no more processes than allowed");
}

#[test]
fn a_save_in_the_middle_loses_and_repeats_nothing() {
    let case = Case::new(&handler(1, true));
    case.database.fill(40);
    let kip = case.start(&["--grace=10min"]);
    until("the first version is at work", || case.noted(2).len() == 1);
    let [first] = kip.functions()[..] else { panic!("one process runs") };
    save(&case.path("f.js"), &handler(2, false));
    kip.wait_for("reloaded");
    // What the first version has in its hands is its own; all others go to the second.
    until("the others are handled", || {
        let begun = case.by_row();
        begun.len() == 40 && case.noted(3).len() == 2
    });
    assert!(!is_gone(first), "the first version was cut off");
    case.open_gate();
    until("all rows are marked", || case.database.count("done") == 40);
    until("the first version is gone", || is_gone(first));
    case.database.fill(5);
    until("the new rows are marked", || case.database.count("done") == 45);
    case.assert_each_once(45);
    until("nothing stays claimed", || case.database.locks() == 0);
}

#[test]
fn ctrl_c_finishes_what_runs_and_leaves_no_lock() {
    let case = Case::new(&handler(1, true));
    case.database.fill(40);
    let mut kip = case.start(&["--grace=10min"]);
    until("events are handled", || !case.log().is_empty());
    let children = kip.children();
    assert_eq!(children.len(), 3, "the function, its poller, and the count");
    kip.signal(Signal::INT);
    kip.wait_for("stopping");
    // What waited for its turn is given back; what runs stays claimed.
    until("only what runs is claimed", || {
        let running = case.by_row().len();
        case.database.locks() == i64::try_from(running).unwrap()
    });
    case.open_gate();
    assert_eq!(kip.wait().code(), Some(0));
    assert!(children.into_iter().all(is_gone));
    let noted = case.by_row();
    assert!(noted.values().all(|counts| *counts == (1, 1)), "a handler was cut: {noted:?}");
    assert!(noted.len() < 40, "it went on claiming");
    assert_eq!(case.database.count("done"), i64::try_from(noted.len()).unwrap());
    assert_eq!(case.database.locks(), 0);
}

#[test]
fn a_poller_that_is_killed_is_started_again() {
    let case = Case::new(&handler(1, false));
    case.database.fill(3);
    let kip = case.start(&[]);
    until("the first rows are marked", || case.database.count("done") == 3);
    let pollers = kip.programs("kipper-poll");
    assert_eq!(pollers.len(), 2, "one delivers, one counts");
    for pid in pollers {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    kip.wait_for_nth("f  kipper-poll exited unexpectedly (signal 9), next try in 1s", 2);
    case.database.fill(2);
    until("the new rows are marked", || case.database.count("done") == 5);
    case.assert_each_once(5);
}

#[test]
fn nothing_outlives_a_kip_that_is_killed() {
    let case = Case::new(&handler(1, true));
    case.database.fill(3);
    let mut kip = case.start(&[]);
    until("events are handled", || !case.log().is_empty());
    let children = kip.children();
    kip.signal(Signal::KILL);
    kip.wait();
    until("its processes are gone", || children.iter().all(|pid| is_gone(*pid)));
    until("nothing stays claimed", || case.database.locks() == 0);
}

#[test]
fn a_handler_that_outlives_the_grace_is_cut_and_its_row_comes_again() {
    let case = Case::new(&handler(1, true));
    case.database.fill(1);
    let mut kip = case.start(&["--grace=500ms"]);
    until("the event is handled", || !case.log().is_empty());
    kip.signal(Signal::INT);
    assert_eq!(kip.wait().code(), Some(0));
    kip.wait_for("f  event 1, attempt 1: delivery failed");
    assert_eq!((case.database.count("pending"), case.database.locks()), (1, 0));
}

#[test]
fn a_source_that_is_away_is_waited_for() {
    let server = Postgres::start(Options::default()).unwrap();
    let mut case =
        Case { database: Database::on(&server), folder: folder(&[("f.js", &handler(1, false))]) };
    server.stop_immediate().unwrap();
    let kip = case.start(&[]);
    let line = kip.wait_for(", trying again");
    assert!(line.starts_with("f  ") && line.contains("onnect"), "{line}");
    server.start_again().unwrap();
    kip.wait_for("f  the source is available again, events are handled");
    case.database.reconnect();
    case.database.fill(2);
    until("all rows are marked", || case.database.count("done") == 2);
    case.assert_each_once(2);
}

/// The first delivery of row 1 fails; row 2 cannot be handled.
#[test]
fn failures_and_dead_letters_are_told() {
    let code = "const seen = new Set();\n\
        module.exports = async ({ id }) => {\n\
          if (id === 2) return { statusCode: 422, body: 'no such customer' };\n\
          if (!seen.has(id)) { seen.add(id); throw new Error('no stock'); }\n\
        };\n";
    let case = Case::new(code);
    case.database.fill(2);
    let kip = case.start(&["--on-failed", ON_FAILED]);
    let line = kip.wait_for("f  event 1, attempt 1: delivery failed: 500: ");
    assert!(line.contains("no stock") && line.contains(", next try in "), "{line}");
    kip.wait_for("f  event 2, attempt 1: event is dead: 422: no such customer");
    until("the first was handled", || case.database.count("done") == 1);
    until("the second is dead", || case.database.count("failed") == 1);
}

#[test]
fn a_trigger_that_cannot_work_is_listed_and_the_others_run() {
    let database = Database::new();
    let broken = function("broken", "db", "module.exports = async () => 'ok'", "");
    let broken = broken.replace("{{id}}", "{{nr}}");
    let missing = function("missing", "elsewhere", "module.exports = async () => 'ok'", "");
    let code = "module.exports = async (event, context) => `${event?.id} ${context.method}`";
    let both = function("both", "db", code, "  - type: http\n");
    let folder = folder(&[("f.yaml", &[broken, missing, both].join("\n---\n"))]);
    let kip = Kip::start(folder.path(), &[&format!("--source=db={}", database.url)]);
    kip.wait_for("missing  node    postgres trigger: needs --source elsewhere=<url> or KIPPER_SOURCE_ELSEWHERE");
    let line = kip.wait_for("broken   events are not handled: ");
    assert!(line.contains("nr"), "{line}");
    assert_eq!(kip.get("fn-both-localhost", "/"), (200, "undefined GET".to_owned()));
    assert_eq!(post(kip.address, "fn-both-localhost", "/event").0, 404, "events come from inside");
    assert_eq!(post(kip.address, "localhost", "/_fn/both/event").0, 404);
    assert_eq!(kip.get("fn-broken-localhost", "/").0, 404);
    database.fill(1);
    until("its row is marked", || database.count("done") == 1);
}

#[test]
fn an_edit_that_breaks_the_trigger_leaves_the_running_version() {
    let database = Database::new();
    let text = function("f", &database.url, "module.exports = async () => 'ok'", "");
    let folder = folder(&[("f.yaml", &text)]);
    let path = folder.path().join("f.yaml");
    let kip = Kip::start(&path, &["--polling-interval=200ms"]);
    database.fill(1);
    until("the first row is marked", || database.count("done") == 1);
    save(&path, &text.replace("ORDER BY id", "LIMIT 5"));
    let line = kip.wait_for("f  reload failed, keeping the running version: ");
    assert!(line.contains("LIMIT"), "{line}");
    database.fill(1);
    until("the running version goes on", || database.count("done") == 2);
    save(&path, &text.replace("'done'", "'finished'"));
    kip.wait_for("reloaded");
    database.fill(1);
    until("the new version works", || database.count("finished") == 1);
}

/// Which rows were handled is known to nobody but the one poller.
#[test]
fn without_a_mark_one_process_handles_each_row_once() {
    let case = Case::new(&handler(1, false));
    let text = function("f", &case.database.url, &handler(1, false), "      batch: '1'\n");
    let text = text.replace(&format!("markDone: {MARK_DONE}"), "key: id");
    let log = format!("--env=LOG={}", case.path("log").display());
    save(&case.path("f.yaml"), &text.replace("'log'", "process.env.LOG"));
    case.database.fill(5);
    let kip = Kip::start(&case.path("f.yaml"), &[&log, "--polling-interval=200ms"]);
    kip.wait_for("f  node    postgres trigger, without markDone: one process at most");
    kip.wait_for("f  1 row or more waiting → 1 replica");
    until("all rows are handled", || case.by_row().len() == 5);
    case.database.fill(1);
    until("the new row is handled", || case.by_row().len() == 6);
    case.assert_each_once(6);
    assert_eq!(kip.functions().len(), 1);
}

#[test]
fn the_example_handles_orders() {
    let database = Database::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/orders.yaml");
    let kip = Kip::start(Path::new(example), &[&format!("--source=shopdb={}", database.url)]);
    database.execute("INSERT INTO orders (customer, amount) VALUES ('acme', 99.99), ('free', 0)");
    kip.wait_for("local/orders/1: acme pays 99.99");
    kip.wait_for("order 2 has no amount");
    until("the first is marked", || database.count("done") == 1);
}
