//! The host rule and the form in which request hosts are compared.

use std::borrow::Cow;

use kipper_function::host::{DEFAULT_SHARED_PARENTS, HostError, host, normalize};
use proptest::prelude::*;

#[test]
fn one_host_per_function_and_domain() {
    let long = "a".repeat(47);
    let cases = [
        // The example of the documentation.
        (
            "webhook-handler",
            "46-225-91-12.kipper.run",
            Ok("fn-webhook-handler-46-225-91-12.kipper.run"),
        ),
        ("x", "example.com", Ok("fn-x.example.com")),
        ("x", "Example.COM.", Ok("fn-x.example.com")),
        ("x", "apps.example.com", Ok("fn-x.apps.example.com")),
        // Two labels below the parent, the parent itself, and a look-alike are domains of one's own.
        ("x", "a.b.kipper.run", Ok("fn-x.a.b.kipper.run")),
        ("x", "kipper.run", Ok("fn-x.kipper.run")),
        ("x", "a.notkipper.run", Ok("fn-x.a.notkipper.run")),
        ("x", "", Err(HostError::BadDomain(String::new()))),
        ("x", "a..b", Err(HostError::BadDomain("a..b".into()))),
        ("x", "-a.b", Err(HostError::BadDomain("-a.b".into()))),
        ("x", "a.b:80", Err(HostError::BadDomain("a.b:80".into()))),
        ("", "a.b", Err(HostError::BadName(String::new()))),
        ("x.y", "a.b", Err(HostError::BadName("x.y".into()))),
        ("X", "a.b", Err(HostError::BadName("X".into()))),
        (
            &long,
            "46-225-91-12.kipper.run",
            Ok("fn-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-46-225-91-12.kipper.run"),
        ),
        (
            &long,
            "146-225-91-123.kipper.run",
            Err(HostError::LabelTooLong(format!("fn-{long}-146-225-91-123"))),
        ),
    ];
    for (name, domain, expected) in cases {
        let actual = host(name, domain, DEFAULT_SHARED_PARENTS);
        assert_eq!(actual, expected.map(str::to_owned), "{name} in {domain}");
    }
}

#[test]
fn shared_parents_are_a_setting() {
    assert_eq!(host("x", "a.my.cloud", &["kipper.run", ".my.cloud."]).unwrap(), "fn-x-a.my.cloud");
    assert_eq!(host("x", "a.kipper.run", &[""; 0]).unwrap(), "fn-x.a.kipper.run");
    // The root as parent is what `kip dev` passes.
    assert_eq!(host("x", "localhost", &[""]).unwrap(), "fn-x-localhost");
    let total = format!("{0}.{0}.{0}.{0}", "a".repeat(62));
    assert_eq!(host("x", &total, DEFAULT_SHARED_PARENTS), Err(HostError::TooLong));
}

#[test]
fn request_hosts_are_compared_in_one_form() {
    let cases = [
        ("fn-x.example.com", Ok("fn-x.example.com")),
        ("FN-X.Example.COM", Ok("fn-x.example.com")),
        ("fn-x.example.com:8080", Ok("fn-x.example.com")),
        ("fn-x.example.com:", Ok("fn-x.example.com")),
        ("fn-x.example.com.:443", Ok("fn-x.example.com")),
        ("under_score.local", Ok("under_score.local")),
        ("127.0.0.1:80", Ok("127.0.0.1")),
        ("[::1]", Ok("[::1]")),
        ("[2001:DB8::1]:443", Ok("[2001:db8::1]")),
        ("", Err(HostError::Empty)),
        (".", Err(HostError::Empty)),
        (":80", Err(HostError::Empty)),
        ("a..", Err(HostError::Malformed)),
        ("a..b", Err(HostError::Malformed)),
        (".a", Err(HostError::Malformed)),
        ("a:80:90", Err(HostError::Malformed)),
        ("a:http", Err(HostError::Malformed)),
        ("a:65536", Err(HostError::Malformed)),
        ("a:+1", Err(HostError::Malformed)),
        ("user@a", Err(HostError::Malformed)),
        ("a b", Err(HostError::Malformed)),
        ("a/b", Err(HostError::Malformed)),
        ("bücher.example", Err(HostError::Malformed)),
        ("::1", Err(HostError::Malformed)),
        ("[::1", Err(HostError::Malformed)),
        ("[::1]x", Err(HostError::Malformed)),
        ("[v1.x]", Err(HostError::Malformed)),
        ("[fe80::1%eth0]", Err(HostError::Malformed)),
    ];
    for (raw, expected) in cases {
        assert_eq!(normalize(raw).as_deref().map_err(Clone::clone), expected, "{raw:?}");
    }
    assert_eq!(normalize(&"a".repeat(254)), Err(HostError::TooLong));
}

#[test]
fn a_normal_host_is_borrowed() {
    assert!(matches!(normalize("fn-x.example.com.:80"), Ok(Cow::Borrowed("fn-x.example.com"))));
    assert!(matches!(normalize("FN.example.com"), Ok(Cow::Owned(_))));
}

proptest! {
    #[test]
    fn normalizing_twice_changes_nothing(raw in ".{0,80}|[a-zA-Z0-9.:_\\[\\]-]{0,40}") {
        if let Ok(once) = normalize(&raw) {
            prop_assert_eq!(normalize(&once).unwrap(), once.clone());
            prop_assert!(!once.bytes().any(|b| b.is_ascii_uppercase()));
            prop_assert!(!once.ends_with('.'));
        }
    }

    #[test]
    fn every_host_made_is_found_again(
        name in "[a-z]([-a-z0-9]{0,20}[a-z0-9])?",
        domain in "[a-z0-9]{1,12}(\\.[a-z0-9]{1,12}){0,3}",
        shared in any::<bool>(),
    ) {
        let domain = if shared { format!("{domain}.kipper.run") } else { domain };
        let host = host(&name, &domain, DEFAULT_SHARED_PARENTS).unwrap();
        let raw = format!("{}:443", host.to_uppercase());
        prop_assert_eq!(normalize(&raw).unwrap(), host.as_str());
    }

    #[test]
    fn two_functions_never_share_a_host(
        a in "[a-z]([-a-z0-9]{0,10}[a-z0-9])?",
        b in "[a-z]([-a-z0-9]{0,10}[a-z0-9])?",
        domain in "[a-z0-9]{1,8}\\.(kipper\\.run|example\\.com)",
    ) {
        prop_assume!(a != b);
        prop_assert_ne!(
            host(&a, &domain, DEFAULT_SHARED_PARENTS),
            host(&b, &domain, DEFAULT_SHARED_PARENTS)
        );
    }
}
