//! What the Secret of a Service must hold, and the passwords that are made.

use std::collections::BTreeMap;

use kipper_controller::bindings::{BindingError, Server, new_password};
use kipper_function::service::ServiceKind;

#[test]
fn functions_get_no_database_in_redis_and_minio() {
    for kind in [ServiceKind::Redis, ServiceKind::Minio] {
        let refused = Server::from_secret(kind, &BTreeMap::new());
        assert_eq!(refused, Err(BindingError::Unsupported(kind)));
    }
}

#[test]
fn the_secret_says_what_is_wrong_with_it() {
    let secret = |changes: &[(&str, Option<&[u8]>)]| {
        let mut data: BTreeMap<String, Vec<u8>> = [
            ("HOST", "db.shop.svc\n"),
            ("PORT", "5432\n"),
            ("USERNAME", "postgres"),
            ("PASSWORD", " p\n"),
            ("NAME", "app"),
        ]
        .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
        .into();
        for (key, value) in changes {
            match value {
                Some(value) => drop(data.insert((*key).to_owned(), value.to_vec())),
                None => drop(data.remove(*key)),
            }
        }
        Server::from_secret(ServiceKind::Postgres, &data)
    };
    let server = secret(&[]).unwrap();
    assert_eq!((server.host.as_str(), server.port), ("db.shop.svc", 5432));
    assert_eq!((server.user.as_str(), server.password.as_str()), ("postgres", " p\n"));
    assert_eq!((server.database.as_deref(), server.ca), (Some("app"), None));
    assert_eq!(secret(&[("NAME", None)]).unwrap().database, None);

    let cases: [(&str, Option<&[u8]>, &str); 8] = [
        ("HOST", Some(b"/run/postgresql"), "is not a host name"),
        ("HOST", Some(b"a b"), "is not a host name"),
        ("PORT", Some(b"0"), "is not a port number"),
        ("PORT", Some(b"70000"), "is not a port number"),
        ("PORT", Some(b"tcp://10.0.0.1:5432"), "is not a port number"),
        ("USERNAME", Some(b"\xff"), "is not UTF-8"),
        ("USERNAME", Some(b"a\0b"), "has a null character"),
        ("CA", Some(b"no certificate"), "holds no certificates in PEM"),
    ];
    for (key, value, expected) in cases {
        let error = secret(&[(key, value)]).unwrap_err();
        assert_eq!(error, BindingError::Credentials { key, problem: expected });
        assert_eq!(error.to_string(), format!("key {key} of the service's credentials {expected}"));
    }
}

#[test]
fn every_key_without_a_value_is_named_at_once() {
    let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
        let pairs = pairs.iter();
        pairs.map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    };
    let missing = |pairs: &[(&str, &str)]| {
        let error = Server::from_secret(ServiceKind::Mongodb, &data(pairs)).unwrap_err();
        assert_eq!(error.reason(), "InvalidCredentials");
        match error {
            BindingError::Incomplete(missing) => missing.keys,
            other => panic!("{other}"),
        }
    };
    assert_eq!(missing(&[]), ["HOST", "PORT", "USERNAME", "PASSWORD"]);
    assert_eq!(missing(&[("HOST", "db"), ("PORT", "\n"), ("USERNAME", "u")]), ["PORT", "PASSWORD"]);
}

#[test]
fn passwords_are_long_and_plain() {
    let password = new_password();
    assert_eq!(password.len(), 32);
    assert!(password.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    assert_ne!(password, new_password());
}
