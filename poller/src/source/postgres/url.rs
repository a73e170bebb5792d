//! A PostgreSQL URL as people have it from elsewhere. Pure.
//!
//! What other clients understand is understood, or refused with what to write instead; nothing is
//! ignored, and no connection is without TLS unless its URL says so or says nothing. The names are
//! libpq's (PostgreSQL manual, 32.1.2) and those that Prisma, JDBC and node-postgres add.

use crate::source::{
    SourceError,
    url::{Tls, authority_file, client_certificate, parameters, refused, unknown},
};

/// Parameters that the driver knows by themselves.
const KNOWN: &[&str] = &[
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// A URL without what the driver does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) tls: Tls,
}

impl Address {
    /// Reads a URL. No error quotes it.
    pub(super) fn parse(url: &str) -> Result<Self, SourceError> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let Some(rest) = rest else {
            return Err(refused("it must begin with postgres:// or postgresql://"));
        };
        let authority = rest.find('/').unwrap_or(rest.len());
        let login = rest[..authority].find('@').map_or(0, |at| at + 1);
        let (head, query) = match rest[login..].find('?') {
            Some(at) => (&rest[..login + at], &rest[login + at + 1..]),
            None => (rest, ""),
        };
        let (mut tls, mut kept) = (Tls::Unsaid, Vec::new());
        for (parameter, name, value) in parameters(query) {
            match name {
                "sslmode" => tls = mode(value)?,
                // The public authorities, which are trusted anyway where there is no other.
                "sslrootcert" if value == "system" => {}
                name if KNOWN.contains(&name) => kept.push(parameter),
                name => return Err(refused(&instead(name, value))),
            }
        }
        let question = if kept.is_empty() { "" } else { "?" };
        Ok(Self { url: format!("postgres://{head}{question}{}", kept.join("&")), tls })
    }
}

fn mode(value: &str) -> Result<Tls, SourceError> {
    match value {
        "disable" => Ok(Tls::No),
        "require" | "verify-ca" | "verify-full" => Ok(Tls::Verified),
        "prefer" | "allow" => Err(refused(&format!(
            "sslmode={value} goes without TLS where a server, or somebody between, offers none: \
             write sslmode=require, which verifies the server, or sslmode=disable"
        ))),
        _ => Err(refused("sslmode is disable, require, verify-ca or verify-full")),
    }
}

/// What to write in the place of a parameter of other clients.
fn instead(name: &str, value: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match name {
        "sslrootcert" => authority_file(name),
        "sslcert" | "sslkey" | "sslpassword" | "sslidentity" => client_certificate(name),
        "ssl" | "sslaccept" | "tls" => format!("{name} is another client's: write sslmode=require"),
        "schema" | "currentSchema" | "search_path" => {
            let schema = if value.chars().all(is_name) { value } else { "<schema>" };
            format!(
                "{name} is another client's: write options=-csearch_path%3D{schema}, or name tables \
                 with their schema"
            )
        }
        "pgbouncer" => {
            "pgbouncer is another client's: connect to the server itself, or to a pool in \
                        session mode, and leave it out"
                .to_owned()
        }
        name => unknown(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_other_clients_are_understood_or_answered() {
        let check = |url: &str, expected: Result<(&str, Tls), &str>| match (
            Address::parse(url),
            expected,
        ) {
            (Ok(found), Ok((url, tls))) => {
                assert_eq!(found, Address { url: url.to_owned(), tls });
            }
            (Err(error), Err(words)) => {
                let error = error.to_string();
                assert!(error.contains(words) && !error.contains("p4ss"), "{url}: {error}");
            }
            (found, _) => panic!("{url}: {found:?}"),
        };
        check("postgres://u:p@h/db", Ok(("postgres://u:p@h/db", Tls::Unsaid)));
        check("postgresql://h:5433/db?", Ok(("postgres://h:5433/db", Tls::Unsaid)));
        check("postgres://h/db?sslmode=disable", Ok(("postgres://h/db", Tls::No)));
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgres://u:a?b@h/db?sslmode={mode}&application_name=x@y");
            check(&url, Ok(("postgres://u:a?b@h/db?application_name=x@y", Tls::Verified)));
        }
        let system = "postgres://h/db?sslrootcert=system&sslmode=verify-full&options=-cx%3D1";
        check(system, Ok(("postgres://h/db?options=-cx%3D1", Tls::Verified)));
        let with = |parameter: &str| format!("postgres://u:p4ss@h/db?{parameter}");
        check(&with("sslmode=prefer"), Err("sslmode=require"));
        check(&with("sslmode=allow"), Err("sslmode=disable"));
        check(&with("sslmode=on"), Err("verify-full"));
        check(&with("sslrootcert=/etc/ca.pem"), Err("--source-ca"));
        check(&with("sslcert=/etc/me.pem"), Err("password"));
        check(&with("ssl=true"), Err("sslmode=require"));
        check(&with("schema=shop"), Err("options=-csearch_path%3Dshop"));
        check(&with("currentSchema=a%20b"), Err("options=-csearch_path%3D<schema>"));
        check(&with("pgbouncer=true"), Err("session mode"));
        check(&with("connection_limit=1"), Err("\"connection_limit\""));
        check("jdbc:postgresql://h/db", Err("postgres://"));
        check("postgresql+psycopg2://u:p4ss@h/db", Err("postgres://"));
        check("host=h user=u password=p4ss", Err("postgres://"));
    }
}
