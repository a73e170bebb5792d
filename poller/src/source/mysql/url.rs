//! The parameters of a MySQL URL as people have it from elsewhere. Pure.
//!
//! As for PostgreSQL: understood, or refused with what to write instead, and never without TLS unless
//! the URL says so or says nothing. The modes are those of MySQL's own clients (`--ssl-mode`); other
//! spellings are JDBC's, Go's, Prisma's and this driver's.

use crate::source::{
    SourceError,
    url::{Tls, authority_file, client_certificate, parameters, refused, unknown},
};

/// Reads what follows the question mark.
pub(super) fn tls(query: &str) -> Result<Tls, SourceError> {
    let mut tls = Tls::Unsaid;
    for (_, name, value) in parameters(query) {
        tls = match name {
            "ssl-mode" | "sslMode" | "sslmode" => mode(name, value)?,
            name => return Err(refused(&instead(name))),
        };
    }
    Ok(tls)
}

fn mode(name: &str, value: &str) -> Result<Tls, SourceError> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disabled" | "disable" => Ok(Tls::No),
        "required" | "require" | "verify-ca" | "verify-identity" | "verify-full" => {
            Ok(Tls::Verified)
        }
        "preferred" | "prefer" => Err(refused(&format!(
            "{name}={value} goes without TLS where a server, or somebody between, offers none: write \
             ssl-mode=required, which verifies the server, or ssl-mode=disabled"
        ))),
        _ => Err(refused("ssl-mode is disabled, required, verify_ca or verify_identity")),
    }
}

/// What to write in the place of a parameter of other clients.
fn instead(name: &str) -> String {
    match name {
        "ssl" | "tls" | "useSSL" | "requireSSL" | "require_ssl" | "sslaccept" => {
            format!("{name} is another client's: write ssl-mode=required")
        }
        "verify_ca" | "verify_identity" => {
            format!("{name} is another client's: ssl-mode=required verifies the server always")
        }
        "sslcert" | "ssl-ca" | "sslca" | "sslrootcert" => authority_file(name),
        "ssl-cert" | "ssl-key" | "sslidentity" => client_certificate(name),
        name => unknown(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_other_clients_are_understood_or_answered() {
        for (parameters, expected) in [
            ("", Ok(Tls::Unsaid)),
            ("ssl-mode=disabled", Ok(Tls::No)),
            ("ssl-mode=required", Ok(Tls::Verified)),
            ("ssl-mode=VERIFY_IDENTITY", Ok(Tls::Verified)),
            ("sslMode=VERIFY_CA&", Ok(Tls::Verified)),
            ("sslmode=require", Ok(Tls::Verified)),
            ("ssl-mode=PREFERRED", Err("ssl-mode=required")),
            ("ssl-mode=maybe", Err("verify_identity")),
            ("useSSL=true", Err("ssl-mode=required")),
            ("tls=skip-verify", Err("ssl-mode=required")),
            ("ssl-ca=/etc/ca.pem", Err("--source-ca")),
            ("sslaccept=strict", Err("ssl-mode=required")),
            ("pool_min=3", Err("\"pool_min\"")),
        ] {
            match (tls(parameters), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{parameters}"),
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{parameters}: {error}");
                }
                (found, _) => panic!("{parameters}: {found:?}"),
            }
        }
    }
}
