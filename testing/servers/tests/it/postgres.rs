//! PostgreSQL and its standby.

use std::process::Command;

use kipper_servers::{ADMIN, ADMIN_PASSWORD, CertificateFor, Postgres, postgres::Options};

use crate::support::{await_that, is_gone, leaves_nothing, output, restarts};

pub(crate) fn sql(url: &str, sql: &str) -> Result<String, String> {
    output(Command::new("psql").args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql, url]))
}

#[test]
fn keeps_what_was_committed_over_an_immediate_restart() {
    let config = vec!["max_connections = 17".to_owned()];
    let postgres = Postgres::start(Options { config, ..Options::default() }).unwrap();
    let url = postgres.url("postgres");
    sql(&url, "CREATE TABLE kept AS SELECT generate_series(1, 100) AS id").unwrap();
    assert_eq!(sql(&url, "SHOW max_connections").unwrap(), "17");
    restarts(&postgres);
    assert_eq!(sql(&url, "SELECT count(*) FROM kept").unwrap(), "100");
    postgres.stop_immediate().unwrap();
    assert!(sql(&url, "SELECT 1").is_err());
    postgres.start_again().unwrap();
    postgres.restart_immediate().unwrap();
    assert_eq!(sql(&url, "SELECT count(*) FROM kept").unwrap(), "100");
    leaves_nothing(postgres);
}

#[test]
fn a_standby_follows_its_primary() {
    let primary = Postgres::start(Options::default()).unwrap();
    let standby = primary.standby().unwrap();
    let url = standby.url("postgres");
    assert_eq!(sql(&url, "SELECT pg_is_in_recovery()").unwrap(), "t");
    sql(&primary.url("postgres"), "CREATE TABLE streamed (id int)").unwrap();
    let arrived = || sql(&url, "SELECT to_regclass('streamed') IS NOT NULL").unwrap() == "t";
    await_that("the table arrives", arrived);
    restarts(&standby);
    sql(&primary.url("postgres"), "DROP TABLE streamed").unwrap();
    await_that("it follows after its restart", || !arrived());
    let follower = standby.pid();
    leaves_nothing(primary);
    assert!(!is_gone(follower));
    leaves_nothing(standby);
}

#[test]
fn its_certificate_is_for_the_names_that_were_asked_for() {
    for certificate in [CertificateFor::NameAndAddress, CertificateFor::NameOnly] {
        let options = Options { certificate, ..Options::default() };
        let postgres = Postgres::start(options).unwrap();
        let login = |host: &str| {
            let url = format!(
                "host={host} port={} user={ADMIN} dbname=postgres sslmode=verify-full sslrootcert={}",
                postgres.port(),
                postgres.ca_file().display()
            );
            let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let mut psql = Command::new("psql");
            psql.env("PGPASSWORD", ADMIN_PASSWORD).args(["-X", "-At", "-c", query, &url]);
            output(&mut psql)
        };
        assert_eq!(login("localhost").unwrap(), "t");
        let verifies_address = certificate == CertificateFor::NameAndAddress;
        assert_eq!(login("127.0.0.1").is_ok(), verifies_address, "{certificate:?}");
    }
}
