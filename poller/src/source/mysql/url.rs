//! The parameters of a MySQL URL as people have it from elsewhere. Pure.
//!
//! As for PostgreSQL: understood, or refused with what to write instead, and never without TLS unless
//! the URL says so or says nothing. The modes are those of MySQL's own clients (`--ssl-mode`); other
//! spellings are JDBC's, Go's, Prisma's and this driver's.

use crate::source::SourceError;

/// What a URL says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// Required, and verified: every mode that asks for it is `VERIFY_IDENTITY` here.
    Verified,
    /// Not wanted.
    No,
    /// Nothing.
    Unsaid,
}

/// Reads what follows the question mark.
pub(super) fn tls(parameters: &str) -> Result<Tls, SourceError> {
    let mut tls = Tls::Unsaid;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
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
        "sslcert" | "ssl-ca" | "sslca" | "sslrootcert" => {
            format!(
                "{name} is a file of this process: give the authority with --source-ca \
                 (KIPPER_SOURCE_CA), or as ca.crt in the Secret of the Service"
            )
        }
        "ssl-cert" | "ssl-key" | "sslidentity" => {
            format!("{name}: client certificates are not supported; use a password")
        }
        name => format!("unknown parameter {name:?}: leave it out"),
    }
}

fn refused(words: &str) -> SourceError {
    SourceError::Invalid(format!("source URL: {words}"))
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
