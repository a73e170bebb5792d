//! MariaDB.

use std::process::Command;

use kipper_servers::{ADMIN, ADMIN_PASSWORD, CertificateFor, MariaDb, mariadb::Options};

use crate::support::{leaves_nothing, output, restarts};

fn client(server: &MariaDb, host: &str, options: &[&str], sql: &str) -> Result<String, String> {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--protocol=tcp", "--batch", "--skip-column-names"]);
    client.args([&format!("--host={host}"), &format!("--port={}", server.port())]);
    client.args([&format!("--user={ADMIN}"), &format!("--password={ADMIN_PASSWORD}")]);
    output(client.args(options).args(["--execute", sql]))
}

#[test]
fn keeps_what_was_committed_when_it_is_killed() {
    let config = vec!["max-connections = 17".to_owned()];
    let server = MariaDb::start(&Options { config, ..Options::default() }).unwrap();
    let run = |sql: &str| client(&server, "127.0.0.1", &[], sql);
    run("CREATE DATABASE shop; CREATE TABLE shop.kept (id int); INSERT INTO shop.kept VALUES (7)")
        .unwrap();
    assert_eq!(run("SELECT @@max_connections").unwrap(), "17");
    restarts(&server);
    assert_eq!(run("SELECT id FROM shop.kept").unwrap(), "7");
    leaves_nothing(server);
}

#[test]
fn its_certificate_is_for_the_names_that_were_asked_for() {
    for certificate in [CertificateFor::NameAndAddress, CertificateFor::NameOnly] {
        let server = MariaDb::start(&Options { certificate, ..Options::default() }).unwrap();
        let ca = format!("--ssl-ca={}", server.ca_file().display());
        let login = |host: &str| {
            let options = [ca.as_str(), "--ssl-verify-server-cert"];
            client(&server, host, &options, "SHOW STATUS LIKE 'Ssl_cipher'")
        };
        assert!(login("localhost").unwrap().contains("TLS"));
        let verifies_address = certificate == CertificateFor::NameAndAddress;
        assert_eq!(login("127.0.0.1").is_ok(), verifies_address, "{certificate:?}");
    }
}
