//! Bindings tried with their variables against real servers.

use std::collections::HashMap;

use kipper_poller::{Bound, Error, bound};
use kipper_servers::{ADMIN, ADMIN_PASSWORD, mariadb, minio, postgres, redis};
use kipper_trigger::Kind;

/// The variables of a binding with prefix `X_`.
type Variables = Vec<(&'static str, String)>;

async fn tried(kind: Kind, variables: &Variables) -> Result<(), Error> {
    let binding = Bound { kind, prefix: "X_".to_owned(), ca: None };
    let known: HashMap<_, _> =
        variables.iter().map(|(name, value)| (format!("X_{name}"), value.clone())).collect();
    bound(&binding, |name| known.get(name).cloned()).await
}

/// What is right lets in; with another value in the place of `wrong`, the error is the user's to mend.
async fn check(kind: Kind, right: Variables, wrong: &[(&'static str, &str)]) {
    tried(kind, &right).await.unwrap();
    for (name, value) in wrong {
        let mut variables = right.clone();
        variables.iter_mut().filter(|(known, _)| known == name).for_each(|(_, it)| {
            (*value).clone_into(it);
        });
        let error = tried(kind, &variables).await.unwrap_err();
        assert!(error.is_usage(), "{kind} {name}: {error:?}");
        assert!(!error.to_string().contains(ADMIN_PASSWORD), "{error}");
    }
}

fn database(port: u16, name: &str) -> Variables {
    vec![
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", port.to_string()),
        ("USER", ADMIN.to_owned()),
        ("PASSWORD", ADMIN_PASSWORD.to_owned()),
        ("NAME", name.to_owned()),
    ]
}

#[tokio::test]
async fn a_function_is_let_in_with_what_its_binding_injects() {
    let server = postgres::Postgres::start(postgres::Options::default()).unwrap();
    let wrong = [("PASSWORD", "no"), ("NAME", "gone")];
    check(Kind::Postgres, database(server.port(), "postgres"), &wrong).await;
    let server = mariadb::MariaDb::start(&mariadb::Options::default()).unwrap();
    check(Kind::Mysql, database(server.port(), "mysql"), &wrong).await;
    let server = redis::Redis::start(redis::Options::default()).unwrap();
    let mut login = database(server.port(), "");
    login.retain(|(name, _)| ["HOST", "PORT", "PASSWORD"].contains(name));
    check(Kind::Redis, login, &[("PASSWORD", "no"), ("PASSWORD", "")]).await;
    let server = minio::Minio::start(&minio::Options::default()).unwrap();
    let keys = vec![
        ("ENDPOINT", server.endpoint()),
        ("ACCESS_KEY", minio::Minio::ACCESS_KEY.to_owned()),
        ("SECRET_KEY", minio::Minio::SECRET_KEY.to_owned()),
    ];
    check(Kind::Minio, keys, &[("ACCESS_KEY", "nobody"), ("SECRET_KEY", "no")]).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_not_the_users_to_mend() {
    let port = kipper_servers::free_port().unwrap();
    for kind in [Kind::Postgres, Kind::Mysql, Kind::Redis] {
        let error = tried(kind, &database(port, "x")).await.unwrap_err();
        assert!(!error.is_usage(), "{kind}: {error:?}");
    }
}
