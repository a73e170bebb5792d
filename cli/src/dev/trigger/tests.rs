//! What becomes of a declared trigger, and of the flags that declare one.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use kipper_function::{
    FunctionSpec,
    function::{Runtime, TriggerKind},
};

use crate::trigger_flags::EventArgs;

use super::*;

fn function(kind: &str, config: &[(&str, &str)]) -> LocalFunction {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let trigger = Trigger { type_: kind.to_owned(), schedule: None, config: config.collect() };
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
        urls: urls.map(|(name, url)| (name.to_owned(), Secret::from(url))).into(),
        authorities: authorities.map(|(name, file)| (name.to_owned(), PathBuf::from(file))).into(),
    }
}

#[test]
fn a_source_is_a_url_or_a_name_that_is_known() {
    let url = |source: &str| {
        let function = function("postgres", &[("source", source), ("query", "SELECT 1")]);
        let trigger = EventTrigger::of(&function, &sources()).unwrap();
        trigger.map(|trigger| trigger.config().source_url.0.clone())
    };
    assert_eq!(url("shop-db").unwrap(), "postgres://u:p@h/db");
    assert_eq!(url("postgres://other/db").unwrap(), "postgres://other/db");
    let error = url("orders-db").unwrap_err().to_string();
    assert_eq!(error, "needs --source orders-db=<url> or KIPPER_SOURCE_ORDERS_DB");
}

#[test]
fn an_authority_belongs_to_a_name_or_to_urls() {
    for kind in ["postgres", "mysql", "redis"] {
        let authority = |source: &str| {
            let config = [("source", source), ("query", "SELECT 1"), ("list", "l")];
            let config: Vec<_> = match kind {
                "redis" => config[..1].iter().chain(&config[2..]).copied().collect(),
                _ => config[..2].to_vec(),
            };
            let function = function(kind, &config);
            let trigger = EventTrigger::of(&function, &sources()).unwrap().unwrap();
            trigger.config().source_ca.clone()
        };
        assert_eq!(authority("shop-db"), Some("/named.pem".into()));
        assert_eq!(authority("redis://h"), Some("/of-urls.pem".into()));
        assert_eq!(authority("store"), None);
    }
}

#[test]
fn a_bucket_is_watched_as_its_trigger_says() {
    let of = |source: &str, prefix: &str| {
        let config = [("source", source), ("bucket", "photos"), ("prefix", prefix)];
        EventTrigger::of(&function("minio", &config), &sources()).unwrap()
    };
    let trigger = of("store", "in/").unwrap();
    let bucket = trigger.bucket.clone().unwrap();
    assert_eq!((&*bucket.namespace, &*bucket.function), ("local", "orders"));
    assert_eq!((&*bucket.bucket, &*bucket.prefix, &*bucket.suffix), ("photos", "in/", ""));
    let endpoint = &bucket.endpoint;
    assert_eq!(endpoint.url, "https://h:9000");
    assert_eq!((&*endpoint.access_key, &*endpoint.secret_key), ("k", "s/+"));
    assert!(trigger != of("store", "out/").unwrap() && trigger == of("store", "in/").unwrap());
    // The authority of URLs is read where the trigger is: it is not there.
    assert!(of("http://k:s@h", "").unwrap_err().to_string().contains("/of-urls.pem"));
    let postgres = function("postgres", &[("source", "shop-db"), ("query", "SELECT 1")]);
    assert!(EventTrigger::of(&postgres, &sources()).unwrap().unwrap().bucket.is_none());
}

#[test]
fn settings_reach_the_poller_and_no_password_is_printed() {
    let settings = [
        ("source", "shop-db"),
        ("query", "SELECT * FROM a WHERE b = '--x'"),
        ("markDone", "UPDATE a SET b = {{id}}"),
        ("key", "id,nr"),
        ("maxAttempts", "3"),
        ("batch", "7"),
        ("concurrency", "2"),
        ("deliverTimeout", "1m30s"),
    ];
    let trigger = EventTrigger::of(&function("postgres", &settings), &sources()).unwrap().unwrap();
    let config = trigger.config_for(8081).unwrap();
    assert_eq!(config.target_url, "http://127.0.0.1:8081/event".parse().unwrap());
    assert_eq!((config.namespace.as_str(), config.function.as_str()), ("local", "orders"));
    assert_eq!(config.query.as_deref(), Some("SELECT * FROM a WHERE b = '--x'"));
    assert_eq!(config.mark_done.as_deref(), Some("UPDATE a SET b = {{id}}"));
    assert_eq!((config.key, config.max_attempts), (vec!["id".to_owned(), "nr".to_owned()], 3));
    assert_eq!((config.concurrency, config.deliver_timeout.as_secs()), (2, 90));
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
    let error = why(&[("maxAttempts", "many")]);
    assert_eq!(error, "maxAttempts must be a whole number from 1 to 1000");
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
    assert_eq!(trigger.config().query.as_deref(), Some("SELECT 1"));
    let refused = |args: &TriggerArgs, functions: &mut [LocalFunction]| {
        declare(args, functions).unwrap_err().to_string()
    };
    assert_eq!(refused(&flags(TriggerKind::Redis), &mut functions), "a redis trigger needs --list");
    let cron = refused(&flags(TriggerKind::Cron), &mut functions);
    assert_eq!(cron, "a cron trigger needs --schedule");
    let nothing = TriggerArgs { trigger: None, ..flags(TriggerKind::Http) };
    assert_eq!(refused(&nothing, &mut functions), "--query needs --trigger");
    let two = [function("http", &[]), function("http", &[])];
    let postgres = flags(TriggerKind::Postgres);
    assert_eq!(refused(&postgres, &mut two.clone()), "--trigger needs exactly one function");
    let inline = LocalFunction { code: Code::Inline, ..function("http", &[]) };
    let error = refused(&postgres, &mut [inline]);
    assert_eq!(error, "--trigger is for code files; a Function has its own");
}
