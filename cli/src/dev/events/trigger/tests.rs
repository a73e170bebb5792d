//! What becomes of a declared trigger, and of the flags that declare one.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use kipper_function::{
    FunctionSpec,
    function::{Runtime, TriggerKind},
};

use crate::trigger_flags::{CronArgs, EventArgs};

use super::*;

fn function(kind: &str, config: &[(&str, &str)]) -> LocalFunction {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let trigger =
        Trigger { type_: kind.to_owned(), config: config.collect(), ..Trigger::default() };
    LocalFunction {
        name: "orders".to_owned(),
        spec: FunctionSpec { triggers: vec![trigger], ..FunctionSpec::default() },
        retry_idempotent: false,
        runtime: Runtime::Node,
        code: Code::File(PathBuf::from("/d/orders.js")),
        origin: PathBuf::from("/d/orders.js"),
    }
}

fn sources() -> Sources {
    let urls = [("shop-db", "postgres://u:p@h/db"), ("store", "https://k:s%2F+@h:9000")];
    let authorities = [("shop-db", "/named.pem"), ("", "/of-urls.pem")];
    Sources {
        urls: urls.map(|(name, url)| (name.to_owned(), SourceUrl::from(url))).into(),
        authorities: authorities.map(|(name, file)| (name.to_owned(), PathBuf::from(file))).into(),
        event_token: "t0ken".to_owned(),
    }
}

/// The value of a variable.
fn variable_of(invocation: &Invocation, name: Variable) -> Option<&str> {
    let mut variables = invocation.variables.iter();
    variables.find(|(variable, _)| *variable == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_source_is_a_url_or_a_name_that_is_known() {
    let url = |source: &str| {
        let function = function("postgres", &[("source", source), ("query", "SELECT 1")]);
        let trigger = EventTrigger::of(&function, &sources()).unwrap();
        let url = |trigger: EventTrigger| {
            variable_of(&trigger.check(), Variable::SourceUrl).map(str::to_owned)
        };
        trigger.map(url)
    };
    assert_eq!(url("shop-db").unwrap().as_deref(), Some("postgres://u:p@h/db"));
    assert_eq!(url("postgres://other/db").unwrap().as_deref(), Some("postgres://other/db"));
    let error = url("orders-db").unwrap_err().to_string();
    assert_eq!(error, "needs --source orders-db=<url> or KIPPER_SOURCE_ORDERS_DB");
}

#[test]
fn a_trigger_may_name_another_database_of_its_source() {
    let config = [("source", "shop-db"), ("query", "SELECT 1"), ("database", "orders")];
    let trigger = EventTrigger::of(&function("postgres", &config), &sources()).unwrap().unwrap();
    let url = |invocation: &Invocation| {
        variable_of(invocation, Variable::SourceUrl).map(str::to_owned).unwrap()
    };
    assert_eq!(url(&trigger.check()), "postgres://u:p@h/orders");
    assert_eq!(url(&trigger.poller(8080)), "postgres://u:p@h/orders");
}

#[test]
fn only_who_delivers_has_the_token() {
    let function = function("redis", &[("source", "redis://h"), ("list", "jobs")]);
    let trigger = EventTrigger::of(&function, &sources()).unwrap().unwrap();
    assert_eq!(trigger.poller(8080).event_token.as_deref(), Some("t0ken"));
    assert_eq!(trigger.check().event_token, None);
    assert_eq!(trigger.counter(1, Duration::from_secs(1)).event_token, None);
    assert!(!format!("{trigger:?}").contains("t0ken"));
}

#[test]
fn an_authority_belongs_to_a_name_or_to_urls() {
    for (kind, setting) in [("postgres", "query"), ("mysql", "query"), ("redis", "list")] {
        let authority = |source: &str| {
            let function = function(kind, &[("source", source), (setting, "x")]);
            let trigger = EventTrigger::of(&function, &sources()).unwrap().unwrap();
            variable_of(&trigger.check(), Variable::SourceCa).map(str::to_owned)
        };
        assert_eq!(authority("shop-db").as_deref(), Some("/named.pem"));
        assert_eq!(authority("redis://h").as_deref(), Some("/of-urls.pem"));
        assert_eq!(authority("store"), None);
    }
}

#[test]
fn a_bucket_is_watched_as_its_trigger_says() {
    let of = |source: &str, prefix: &str| {
        let config = [("source", source), ("bucket", "photos"), ("prefix", prefix)];
        EventTrigger::of(&function("minio", &config), &sources()).unwrap().unwrap()
    };
    let trigger = of("store", "in/");
    let watcher = trigger.bucket_watcher(Duration::from_millis(1500)).unwrap();
    let url = (Variable::SourceUrl, "https://k:s%2F+@h:9000".to_owned());
    assert_eq!(watcher.variables, [url]);
    assert_eq!(
        watcher.arguments,
        [
            "--namespace=local",
            "--function=orders",
            "--bucket=photos",
            "--prefix=in/",
            "--list-interval=1s 500ms",
        ]
    );
    assert_eq!(trigger.programs(), [Program::Poller, Program::BucketWatcher]);
    assert!(trigger != of("store", "out/") && trigger == of("store", "in/"));
    let postgres = function("postgres", &[("source", "shop-db"), ("query", "SELECT 1")]);
    let postgres = EventTrigger::of(&postgres, &sources()).unwrap().unwrap();
    assert!(postgres.bucket_watcher(Duration::ZERO).is_none());
    assert_eq!(postgres.programs(), [Program::Poller]);
}

#[test]
fn settings_reach_the_poller_and_no_password_is_printed() {
    let settings = [
        ("source", "shop-db"),
        ("query", "SELECT * FROM a WHERE b = '--x'"),
        ("markDone", "UPDATE a SET b = {{id}}"),
        ("maxAttempts", "3"),
        ("batch", "7"),
    ];
    let trigger = EventTrigger::of(&function("postgres", &settings), &sources()).unwrap().unwrap();
    let poller = trigger.poller(8081);
    assert!(poller.arguments.is_empty());
    for (variable, expected) in [
        (Variable::Trigger, "postgres"),
        (Variable::Namespace, "local"),
        (Variable::Function, "orders"),
        (Variable::Query, "SELECT * FROM a WHERE b = '--x'"),
        (Variable::MarkDone, "UPDATE a SET b = {{id}}"),
        (Variable::MaxAttempts, "3"),
        (Variable::TargetUrl, "http://127.0.0.1:8081/event"),
        (Variable::AdminListen, "127.0.0.1:0"),
    ] {
        assert_eq!(variable_of(&poller, variable), Some(expected));
    }
    let counter = trigger.counter(70, Duration::from_millis(200));
    assert_eq!(counter.arguments, ["count", "--bound=70", "--interval=200ms"]);
    assert_eq!(variable_of(&counter, Variable::TargetUrl), None);
    assert_eq!((trigger.batch, trigger.is_marked), (7, true));
    assert!(!format!("{trigger:?}").contains("u:p"), "{trigger:?}");
}

#[test]
fn what_cannot_be_polled_says_why() {
    let why = |config: &[(&str, &str)]| {
        let config = [&[("source", "shop-db"), ("query", "SELECT 1")], config].concat();
        let trigger = EventTrigger::of(&function("postgres", &config), &sources()).unwrap();
        trigger.unwrap_err().to_string()
    };
    assert_eq!(why(&[("batch", "0")]), "batch must be a whole number from 1 to 1000000");
    assert_eq!(
        why(&[("maxAttempts", "many")]),
        "maxAttempts must be a whole number from 1 to 1000"
    );
}

#[test]
fn flags_declare_the_trigger_of_one_code_file() {
    let flags = |kind| TriggerArgs {
        trigger: Some(kind),
        source_url: Some("postgres://h/db".into()),
        events: EventArgs { query: Some("SELECT 1".to_owned()), ..EventArgs::default() },
        ..TriggerArgs::default()
    };
    let mut functions = [function("http", &[])];
    declare(&flags(TriggerKind::Postgres), &mut functions).unwrap();
    let trigger = EventTrigger::of(&functions[0], &Sources::default()).unwrap().unwrap();
    assert_eq!(variable_of(&trigger.check(), Variable::Query), Some("SELECT 1"));
    let refused = |args: &TriggerArgs, functions: &mut [LocalFunction]| {
        declare(args, functions).unwrap_err().to_string()
    };
    for kind in [TriggerKind::Http, TriggerKind::Cron, TriggerKind::Redis] {
        let expected = format!("--query is not for --trigger {kind}");
        assert_eq!(refused(&flags(kind), &mut functions), expected);
    }
    let bare = |kind| TriggerArgs { events: EventArgs::default(), ..flags(kind) };
    assert_eq!(refused(&bare(TriggerKind::Redis), &mut functions), "a redis trigger needs --list");
    let cron = refused(&bare(TriggerKind::Cron), &mut functions);
    assert_eq!(cron, "a cron trigger needs --schedule");
    let late = TriggerArgs {
        cron: CronArgs { deadline: Some(5), ..CronArgs::default() },
        ..bare(TriggerKind::Http)
    };
    assert_eq!(refused(&late, &mut functions), "--deadline is for --trigger cron, not http");
    let nothing = TriggerArgs { trigger: None, ..flags(TriggerKind::Http) };
    assert_eq!(refused(&nothing, &mut functions), "--query needs --trigger postgres or mysql");
    let two = [function("http", &[]), function("http", &[])];
    let postgres = flags(TriggerKind::Postgres);
    assert_eq!(refused(&postgres, &mut two.clone()), "--trigger needs exactly one function");
    let inline = LocalFunction { code: Code::Inline, ..function("http", &[]) };
    let error = refused(&postgres, &mut [inline]);
    assert_eq!(error, "--trigger is for code files; a Function defines its own trigger");
}
