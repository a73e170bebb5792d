//! How poller and scaler reach a source, from the Secret of its Service. Pure.
//!
//! The poller reads one URL in which everything is percent-encoded. KEDA's scalers read the fields
//! their sources name, from another namespace: a host without a dot gets the namespace it is in.
//! KEDA verifies a certificate authority of the source's own for Redis only; its database drivers
//! take one from files, and here encrypt without verifying.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kipper_function::service::{ServiceKind, credentials};
use kipper_trigger::{SecretKey, Values, url::encoded};

use crate::{
    bindings::{
        BindingError, Server,
        server::{address, authority, complete, invalid, optional, required},
    },
    credentials::qualified,
};

/// KEDA's count of a PostgreSQL's rows is given up after this.
const COUNT_TIMEOUT_MS: u32 = 5000;

/// What is in a Service's Secret.
pub(super) type Credentials = BTreeMap<String, Vec<u8>>;

/// The values for a source of this kind; `database` takes the place of the one that the Secret names.
pub(super) fn values(
    kind: ServiceKind,
    credentials: &Credentials,
    database: Option<&str>,
    namespace: &str,
) -> Result<Values, BindingError> {
    // MySQL has no database of its own to fall back to.
    let name = (kind == ServiceKind::Mysql && database.is_none()).then_some(credentials::NAME);
    complete(kind, name.as_slice(), credentials)?;
    let server = || -> Result<Server, BindingError> {
        let mut server = Server::from_secret(kind, credentials)?;
        server.database = database.map(str::to_owned).or(server.database);
        Ok(server)
    };
    let (values, ca) = match kind {
        ServiceKind::Postgres => {
            let server = server()?;
            (postgres(&server, namespace), server.ca)
        }
        ServiceKind::Mysql => {
            let server = server()?;
            (mysql(&server, namespace), server.ca)
        }
        ServiceKind::Redis => {
            let ca = authority(credentials)?;
            (redis(credentials, namespace, ca.is_some())?, ca)
        }
        ServiceKind::Minio => {
            let ca = authority(credentials)?;
            (minio(credentials, namespace, ca.is_some())?, ca)
        }
        ServiceKind::Mongodb => return Err(BindingError::Unsupported(kind)),
    };
    Ok(values.into_iter().chain(ca.map(|ca| (SecretKey::Ca, ca))).collect())
}

/// The same for a client in another namespace.
pub(super) fn from_elsewhere(
    kind: ServiceKind,
    mut credentials: Credentials,
    database: Option<&str>,
    namespace: &str,
) -> Result<Values, BindingError> {
    if let Some(host) = credentials.get_mut(credentials::HOST)
        && let Ok(name) = std::str::from_utf8(host)
    {
        *host = qualified(name.trim(), namespace).into_bytes();
    }
    values(kind, &credentials, database, namespace)
}

type Pairs = Vec<(SecretKey, String)>;

fn postgres(server: &Server, namespace: &str) -> Pairs {
    let url = |host: &str, parameters: &str| {
        let login = login(Some(&server.user), Some(&server.password));
        let database = server.database.as_deref().map(encoded).unwrap_or_default();
        format!("postgres://{login}{}/{database}{parameters}", authority_of(host, server.port))
    };
    let tls = server.ca.is_some();
    let for_poller = url(&server.host, if tls { "?sslmode=require" } else { "" });
    let parameters = format!(
        "?sslmode={}&statement_timeout={COUNT_TIMEOUT_MS}&application_name=kipper-keda",
        if tls { "require" } else { "disable" }
    );
    let for_keda = url(&qualified(&server.host, namespace), &parameters);
    vec![(SecretKey::Url, for_poller), (SecretKey::Connection, for_keda)]
}

fn mysql(server: &Server, namespace: &str) -> Pairs {
    let database = server.database.as_deref().unwrap_or_default();
    let login_part = login(Some(&server.user), Some(&server.password));
    let tls = server.ca.is_some();
    let for_poller = format!(
        "mysql://{login_part}{}/{}{}",
        authority_of(&server.host, server.port),
        encoded(database),
        if tls { "?ssl-mode=required" } else { "" }
    );
    let host = qualified(&server.host, namespace);
    let mut pairs = vec![(SecretKey::Url, for_poller)];
    if tls {
        // Only a connection string can ask for TLS. Its user and password are taken as they stand,
        // from the first colon to the last "@" before the last "/".
        let server_part = authority_of(&host, server.port);
        let (user, password) = (&server.user, &server.password);
        let text = format!("{user}:{password}@tcp({server_part})/{database}?tls=skip-verify");
        pairs.push((SecretKey::ConnectionString, text));
    } else {
        pairs.extend([
            (SecretKey::Host, host),
            (SecretKey::Port, server.port.to_string()),
            (SecretKey::Username, server.user.clone()),
            (SecretKey::Password, server.password.clone()),
            (SecretKey::DbName, database.to_owned()),
        ]);
    }
    pairs
}

fn redis(credentials: &Credentials, namespace: &str, tls: bool) -> Result<Pairs, BindingError> {
    let (host, port) = address(credentials)?;
    let user = optional(credentials, credentials::USERNAME)?;
    let password = optional(credentials, credentials::PASSWORD)?;
    let scheme = if tls { "rediss" } else { "redis" };
    let login = login(user.as_deref(), password.as_deref());
    let mut pairs = vec![
        (SecretKey::Url, format!("{scheme}://{login}{}/0", authority_of(&host, port))),
        (SecretKey::Address, authority_of(&qualified(&host, namespace), port)),
        (SecretKey::Tls, if tls { "enable" } else { "disable" }.to_owned()),
    ];
    pairs.extend(user.map(|user| (SecretKey::Username, user)));
    pairs.extend(password.map(|password| (SecretKey::Password, password)));
    Ok(pairs)
}

/// One URL for both, as the bucket watcher needs the full name.
fn minio(credentials: &Credentials, namespace: &str, tls: bool) -> Result<Pairs, BindingError> {
    let endpoint = required(credentials, credentials::ENDPOINT)?.trim();
    let (scheme, address) =
        endpoint.split_once("://").unwrap_or((if tls { "https" } else { "http" }, endpoint));
    let address = address.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@');
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if !matches!(scheme, "http" | "https")
        || host.is_empty()
        || host.contains(wrong)
        || !port.is_none_or(is_port)
    {
        return Err(invalid(credentials::ENDPOINT, "is not the http or https URL of a server"));
    }
    let host = qualified(host, namespace);
    let address = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    Ok(vec![
        (SecretKey::Url, format!("{scheme}://{address}")),
        (SecretKey::AccessKey, required(credentials, credentials::ACCESS_KEY)?.trim().to_owned()),
        (SecretKey::SecretKey, required(credentials, credentials::SECRET_KEY)?.trim().to_owned()),
    ])
}

/// As the data of a Secret.
pub(super) fn data<'k, 'v>(
    values: impl Iterator<Item = (&'k str, &'v str)>,
) -> BTreeMap<String, ByteString> {
    values.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}

/// `user:password@` of a URL, or as much of it as there is.
fn login(user: Option<&str>, password: Option<&str>) -> String {
    let user = user.map(encoded).unwrap_or_default();
    match password.map(encoded) {
        Some(password) => format!("{user}:{password}@"),
        None if user.is_empty() => String::new(),
        None => format!("{user}@"),
    }
}

/// Host and port as a URL has them (RFC 3986, 3.2).
fn authority_of(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests;
