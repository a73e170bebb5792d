//! Derived names and labels.

use kipper_function::{
    function::{Runtime, TriggerKind},
    names::{self, NameError},
    service::ServiceKind,
};
use proptest::prelude::*;

#[test]
fn function_names_are_short_dns_labels() {
    let longest = "a".repeat(47);
    let cases = [
        ("a", Ok(())),
        ("webhook-handler2", Ok(())),
        (&longest, Ok(())),
        ("", Err(NameError::Empty)),
        ("2a", Err(NameError::Malformed)),
        ("-a", Err(NameError::Malformed)),
        ("a-", Err(NameError::Malformed)),
        ("a_b", Err(NameError::Malformed)),
        ("A", Err(NameError::Malformed)),
        ("a.b", Err(NameError::Malformed)),
        ("ä", Err(NameError::Malformed)),
        (&format!("{longest}a"), Err(NameError::TooLong(47))),
    ];
    for (name, expected) in cases {
        assert_eq!(names::check_function_name(name), expected, "{name:?}");
    }
}

#[test]
fn names_are_derived_in_one_place() {
    assert_eq!(names::code_config_map("f", "0123456789abcdef"), "f-code-0123456789");
    assert_eq!(names::former_code_config_map("f"), "f-code");
    assert_eq!(names::revision("f", "0123456789abcdef"), "f-0123456789");
    assert_eq!(names::revision("f", "01"), "f-01");
    let longest = "f".repeat(names::MAX_NAME_LEN);
    assert_eq!(names::code_config_map(&longest, "0123456789abcdef").len(), 63);
    assert_eq!(names::secrets("f"), "f-secrets");
    assert_eq!(names::cron_job("f"), "f-cron");
    assert_eq!(names::test_job("f", 0xab), "f-test-000000ab");
    assert_eq!(names::volume_claim("cache"), "shared-cache");
    assert_eq!(names::service_credentials("db"), "db-credentials");
}

#[test]
fn a_server_selector_never_selects_a_batch_pod() {
    let selector = names::server_selector("f");
    let selects = |component| {
        let labels = names::labels("f", component, TriggerKind::Cron, Some(Runtime::Node));
        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    assert!(selects(names::SERVER));
    assert!(!selects(names::BATCH));
}

#[test]
fn labels_say_what_the_object_is() {
    let labels = names::labels("f", names::SERVER, TriggerKind::Http, None);
    assert_eq!(labels["app"], "f");
    assert_eq!(labels["kipper.run/resource-type"], "function");
    assert_eq!(labels["kipper.run/trigger"], "http");
    assert!(!labels.contains_key("kipper.run/runtime"));
    let (key, value) = names::FUNCTION_SELECTOR.split_once('=').unwrap();
    assert_eq!(labels[key], value);
}

#[test]
fn databases_are_named_after_service_function_and_environment() {
    let name = names::database(ServiceKind::Postgres, "event-db", "opensrs-sync", "dev");
    assert_eq!(name, "event_db_opensrs_sync_dev");
    // Truncated with a hash of the whole, so that names with one beginning stay apart.
    let user =
        |function| names::database_user(ServiceKind::Mysql, "eventdb", function, "production");
    let (a, b) = (user("nightly-domain-sync-a"), user("nightly-domain-sync-b"));
    assert_eq!(a.len(), 32);
    assert!(a.starts_with("eventdb_nightly_domain_"), "{a}");
    assert_ne!(a, b);
    // Stable forever: an existing database must be found again after an upgrade.
    assert_eq!(a, "eventdb_nightly_domain__fa6496d2");
    assert_eq!(names::identifier(&["1db", "X"], 63), "f1db_x");
}

proptest! {
    #[test]
    fn identifiers_fit_and_need_no_quotes(
        parts in proptest::collection::vec(".{0,40}", 1..4),
        max in 32usize..65,
    ) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let name = names::identifier(&parts, max);
        prop_assert!(name.len() <= max);
        prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase()));
        prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
    }
}
