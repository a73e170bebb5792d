//! From a trigger's settings to the poller's configuration, as controller and kubelet hand them on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::CommandFactory as _;
use kipper_poller::{Config, Error, drain::DrainToken};
use kipper_trigger::{
    EventTrigger, Kind, ListEnd, SecretKey, Setting, Sidecar, Value, Values, Variable,
};

type Settings = BTreeMap<String, String>;

fn settings(pairs: &[(Setting, &str)]) -> Settings {
    pairs.iter().map(|(setting, value)| (setting.name().to_owned(), (*value).to_owned())).collect()
}

/// What a trigger of this kind has to say.
fn required(kind: Kind) -> Settings {
    Setting::required(kind).iter().map(|it| (it.name().to_owned(), format!("a {it}"))).collect()
}

fn secret(kind: Kind) -> Values {
    let url = match kind {
        Kind::Minio => "http://minio:9000",
        _ => "scheme://user:password@host/db",
    };
    let common = [
        (SecretKey::Url, url),
        (SecretKey::DrainToken, "0123456789abcdef"),
        (SecretKey::EventToken, "fedcba9876543210"),
        (SecretKey::BacklogToken, "0011223344556677"),
    ];
    let keys = [(SecretKey::AccessKey, "access"), (SecretKey::SecretKey, "secret")];
    let keys = keys.into_iter().filter(|_| kind == Kind::Minio);
    common.into_iter().chain(keys).map(|(key, value)| (key, value.to_owned())).collect()
}

/// The poller's configuration in a pod with this trigger and this Secret.
fn configured(kind: Kind, settings: &Settings, secret: &Values) -> Result<Config, Error> {
    let keys: BTreeSet<_> = secret.iter().filter_map(|(key, _)| SecretKey::parse(key)).collect();
    let trigger = EventTrigger::new(kind, settings);
    let sidecar = Sidecar {
        trigger,
        namespace: "shop",
        function: "orders",
        port: 8081,
        health_path: Some("/ready"),
        admin_port: 9992,
        drain_port: 9993,
        drain_delay: Some(Duration::from_secs(5)),
        max_held: trigger.max_held().unwrap_or(160),
        state_bucket: "waiting",
        backlog_address: (kind != Kind::Minio).then_some("adapters:9093"),
        keys: &keys,
    };
    let resolved = |value| match value {
        Value::Text(text) => text,
        Value::Secret(key) => secret.get(key).unwrap().to_owned(),
    };
    let environment = sidecar.environment().into_iter();
    Config::from_variables(environment.map(|(variable, value)| (variable, resolved(value))))
}

#[test]
fn every_variable_of_the_contract_is_read() {
    let command = Config::command();
    let read: BTreeSet<_> = command.get_arguments().filter_map(|arg| arg.get_env()).collect();
    for variable in Variable::ALL {
        assert!(read.contains(std::ffi::OsStr::new(variable.name())), "{}", variable.name());
    }
}

#[test]
fn what_a_trigger_does_not_say_has_the_defaults_of_the_contract() {
    for kind in Kind::ALL {
        let settings = required(kind);
        let trigger = EventTrigger::new(kind, &settings);
        let config = configured(kind, &settings, &secret(kind)).unwrap();
        assert_eq!((config.trigger, config.max_held), (kind, 160));
        assert_eq!(config.concurrency, usize::try_from(trigger.concurrency()).unwrap());
        assert_eq!(config.max_attempts, kipper_trigger::defaults::MAX_ATTEMPTS);
        assert_eq!(config.poll_interval, kipper_trigger::defaults::POLL_INTERVAL);
        assert_eq!(config.deliver_timeout, trigger.deliver_timeout());
        assert_eq!(config.lease, kipper_trigger::defaults::LEASE);
        assert_eq!(config.list_end, ListEnd::Left);
        assert_eq!((&*config.namespace, &*config.function), ("shop", "orders"));
        assert_eq!(config.target_url, "http://127.0.0.1:8081/event".parse().unwrap());
        assert_eq!(config.admin_listen, "0.0.0.0:9992".parse().unwrap());
        assert_eq!(config.drain_listen, "0.0.0.0:9993".parse().unwrap());
        assert_eq!(config.drain_delay, Duration::from_secs(5));
        assert_eq!(config.drain_token, "0123456789abcdef".parse::<DrainToken>().ok());
        assert_eq!(config.event_token, "fedcba9876543210".parse().ok());
        assert_eq!(config.source_url.0, secret(kind).get(SecretKey::Url).unwrap());
        assert_eq!(config.source_ca, None);
    }
}

#[test]
fn what_a_trigger_says_reaches_its_poller() {
    let rows = [
        (Setting::Source, "db"),
        (Setting::Query, "SELECT * FROM a WHERE b = '--x' AND c = $$d$$"),
        (Setting::Key, "id, shop "),
        (Setting::MarkDone, "UPDATE a SET b = {{id}}"),
        (Setting::OnFailed, "UPDATE a SET e = {{_error}}"),
        (Setting::MaxAttempts, "3"),
        (Setting::PollInterval, "1.5s"),
        (Setting::DeliverTimeout, "1m30s"),
        (Setting::Concurrency, "2"),
        (Setting::MaxHeld, "7"),
    ];
    for kind in [Kind::Postgres, Kind::Mysql] {
        let config = configured(kind, &settings(&rows), &secret(kind)).unwrap();
        assert_eq!(config.query.as_deref(), Some(rows[1].1));
        assert_eq!(config.key, ["id", "shop"]);
        assert_eq!(config.mark_done.as_deref(), Some(rows[3].1));
        assert_eq!(config.on_failed.as_deref(), Some(rows[4].1));
        assert_eq!((config.max_attempts, config.concurrency, config.max_held), (3, 2, 7));
        assert_eq!(config.poll_interval, Duration::from_millis(1500));
        assert_eq!(config.deliver_timeout, Duration::from_secs(90));
    }
    let items = [(Setting::List, "--jobs"), (Setting::ListEnd, "right"), (Setting::Lease, "1m")];
    let config = configured(Kind::Redis, &settings(&items), &secret(Kind::Redis)).unwrap();
    assert_eq!((config.list.as_deref(), config.list_end), (Some("--jobs"), ListEnd::Right));
    assert_eq!(config.lease, Duration::from_secs(60));
}

#[test]
fn poller_and_watcher_of_a_bucket_use_one_state_bucket() {
    let bucket = settings(&[(Setting::Bucket, "photos"), (Setting::Lease, "10s")]);
    let secret = secret(Kind::Minio);
    let config = configured(Kind::Minio, &bucket, &secret).unwrap();
    assert_eq!((config.bucket.as_deref(), &*config.state_bucket), (Some("photos"), "waiting"));
    let source = config.minio().unwrap();
    assert_eq!(source.endpoint.access_key, "access");
    assert_eq!(
        (source.endpoint.secret_key, source.state_bucket),
        ("secret".into(), "waiting".into())
    );
}

#[test]
fn an_authority_is_a_file() {
    let mut secret = secret(Kind::Postgres);
    secret.insert(SecretKey::Ca, "pem".to_owned());
    let config = configured(Kind::Postgres, &required(Kind::Postgres), &secret).unwrap();
    assert_eq!(config.source_ca, Some("/var/run/kipper/source/ca.crt".into()));
}

/// A value is a problem of the trigger exactly if a poller would refuse it too.
#[test]
fn bounds_are_the_same_on_both_sides() {
    let cases = [
        (Setting::Concurrency, Variable::Concurrency, ["0", "1001"], ["1", "1000"]),
        (Setting::MaxHeld, Variable::MaxHeld, ["0", "10001"], ["1", "10000"]),
        (Setting::MaxAttempts, Variable::MaxAttempts, ["0", "1001"], ["1", "1000"]),
        (Setting::PollInterval, Variable::PollInterval, ["9ms", "3601s"], ["10ms", "1h"]),
        (Setting::DeliverTimeout, Variable::DeliverTimeout, ["999ms", "3601s"], ["1s", "1h"]),
        (Setting::Lease, Variable::Lease, ["9999ms", "3601s"], ["10s", "1h"]),
        (Setting::ListEnd, Variable::ListEnd, ["top", "Left"], ["left", "right"]),
    ];
    let base = [
        (Variable::Trigger, "redis"),
        (Variable::Function, "f"),
        (Variable::SourceUrl, "redis://h"),
        (Variable::List, "l"),
    ];
    for (setting, variable, refused, taken) in cases {
        let values =
            refused.map(|value| (value, false)).into_iter().chain(taken.map(|v| (v, true)));
        for (value, expected) in values {
            let mut settings = required(Kind::Redis);
            settings.insert(setting.name().to_owned(), value.to_owned());
            if setting != Setting::Concurrency {
                settings.insert(Setting::Concurrency.name().to_owned(), "1".to_owned());
            }
            let is_valid = EventTrigger::new(Kind::Redis, &settings).problems().is_empty();
            assert_eq!(is_valid, expected, "{setting} {value}");
            let variables = base.into_iter().chain([(variable, value)]);
            let config =
                Config::from_variables(variables.map(|(name, text)| (name, text.to_owned())));
            assert_eq!(config.is_ok(), expected, "{setting} {value}: {config:?}");
        }
    }
}

#[test]
fn a_refused_value_is_told_with_its_flag() {
    let variables = [
        (Variable::Trigger, "redis"),
        (Variable::Function, "f"),
        (Variable::SourceUrl, "redis://h"),
        (Variable::Lease, "9s"),
    ];
    let variables = variables.map(|(variable, value)| (variable, value.to_owned()));
    let error = Config::from_variables(variables).unwrap_err();
    let expected = "invalid value '9s' for '--lease <LEASE>': must be a duration such as 30s or 5m, \
                    from 10s to 3600s";
    assert_eq!(error.to_string(), expected);
    assert!(error.is_usage());
}
