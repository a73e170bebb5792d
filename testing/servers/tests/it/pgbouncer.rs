//! PgBouncer before a PostgreSQL.

use kipper_servers::{PgBouncer, Postgres, pgbouncer, postgres};

use crate::{
    postgres::sql,
    support::{leaves_nothing, restarts},
};

#[test]
fn pools_transactions_for_every_user() {
    let postgres = Postgres::start(postgres::Options::default()).unwrap();
    let config = vec!["default_pool_size = 3".to_owned()];
    let bouncer = PgBouncer::start(&postgres, &pgbouncer::Options { config }).unwrap();
    let url = bouncer.url("postgres");
    sql(&url, "CREATE ROLE guest LOGIN PASSWORD 'x'").unwrap();
    let guest = format!("postgres://guest:x@127.0.0.1:{}/postgres", bouncer.port());
    assert_eq!(sql(&guest, "SELECT current_user").unwrap(), "guest");
    assert!(sql(&guest.replace(":x@", ":y@"), "SELECT 1").is_err());
    let encrypted =
        format!("{guest}?sslmode=verify-full&sslrootcert={}", bouncer.ca_file().display());
    assert_eq!(sql(&encrypted, "SELECT 1").unwrap(), "1");
    let shown = sql(&bouncer.url("pgbouncer"), "SHOW CONFIG").unwrap();
    assert!(shown.contains("pool_mode|transaction") && shown.contains("default_pool_size|3"));
    restarts(&bouncer);
    assert_eq!(sql(&url, "SELECT 1").unwrap(), "1");
    leaves_nothing(bouncer);
}
