//! The URL of a database or cache, taken apart. Pure.
//!
//! It holds a password, so no message quotes any of it.

use kipper_function::service::ServiceKind;
use kipper_trigger::url::decoded;

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Parts {
    pub(super) kind: ServiceKind,
    /// Its scheme asks for TLS.
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
}

const ENCODING: &str = "has a '%' that encodes no character: write %25 for the character itself";

/// Takes `<type>://<user>:<password>@<host>:<port>/<database>` apart.
pub(super) fn parse(text: &str) -> Result<Parts, &'static str> {
    let (scheme, rest) =
        text.trim().split_once("://").ok_or("has no <type>:// at its beginning")?;
    let (kind, is_tls) = match scheme {
        "postgres" | "postgresql" => (ServiceKind::Postgres, false),
        "mysql" | "mariadb" => (ServiceKind::Mysql, false),
        "mongodb" => (ServiceKind::Mongodb, false),
        "redis" => (ServiceKind::Redis, false),
        "rediss" => (ServiceKind::Redis, true),
        "mongodb+srv" => return Err("is mongodb+srv://, which names no server: use mongodb://"),
        "http" | "https" => return Err("is http(s)://: use --endpoint for a bucket store"),
        _ => return Err("must begin with postgres://, mysql://, mongodb:// or redis://"),
    };
    if rest.contains(['?', '#']) {
        return Err(
            "has parameters, which a service does not keep: leave out '?' and all behind it; \
                    --ca-file turns TLS on",
        );
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, authority),
    };
    let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
        None => (None, None),
        Some(Ok((user, password))) => (Some(user), Some(password)),
        Some(Err(user)) => (Some(user), None),
    };
    let (host, port) = address_of(address)?;
    let text = |part: Option<&str>| -> Result<Option<String>, &'static str> {
        let part = part.map(|part| decoded(part).ok_or(ENCODING)).transpose()?;
        Ok(part.filter(|part| !part.is_empty()))
    };
    let database = text(Some(path))?;
    let database = match (kind, database.as_deref()) {
        (ServiceKind::Redis, None | Some("0")) => None,
        (ServiceKind::Redis, Some(_)) => return Err("names a database: functions use 0 of Redis"),
        _ => database,
    };
    let (username, password) = (text(user)?, text(password)?);
    Ok(Parts { kind, is_tls, host, port, username, password, database })
}

fn address_of(address: &str) -> Result<(String, Option<u16>), &'static str> {
    if address.contains(',') {
        return Err("names several hosts; a service has one");
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("names no host");
    }
    let port = port.map(|port| port.parse().ok().filter(|port| *port != 0));
    let port = port.map(|port| port.ok_or("has a port that is not a number from 1 to 65535"));
    Ok((host.to_owned(), port.transpose()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let parts = parse(text).unwrap();
        let port = parts.port.map(|port| port.to_string());
        let given = [Some(parts.host), port, parts.username, parts.password, parts.database];
        let given = given.map(|part| part.unwrap_or_else(|| "-".to_owned()));
        let (kind, tls) = (parts.kind, if parts.is_tls { " tls" } else { "" });
        assert_eq!(format!("{kind}{tls} {}", given.join(" ")), expected, "{text}");
    }

    #[test]
    fn a_url_is_taken_apart() {
        check(
            "postgres://u:p%40s%3As@db.shop:5432/my%20shop\n",
            "postgres db.shop 5432 u p@s:s my shop",
        );
        check("postgresql://u@db", "postgres db - u - -");
        check("mariadb://u:a@b@[fd00::7]:3306/", "mysql fd00::7 3306 u a@b -");
        check("mongodb://u:p@[fd00::7]/x", "mongodb fd00::7 - u p x");
        check("redis://:p@cache:6379/0", "redis cache 6379 - p -");
        check("rediss://cache", "redis tls cache - - - -");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_without_a_word_of_it() {
        for (text, expected) in [
            ("u:hunter2@db", "<type>://"),
            ("kafka://u:hunter2@db", "must begin with"),
            ("https://u:hunter2@db", "--endpoint"),
            ("mongodb+srv://u:hunter2@db", "mongodb://"),
            ("postgres://u:hunter2@db/x?sslmode=require", "--ca-file"),
            ("postgres://u:hunter2@a,b/x", "several hosts"),
            ("postgres://u:hunter2@/x", "no host"),
            ("postgres://u:hunter2@db:0/x", "port"),
            ("postgres://u:hunter2@db:70000/x", "port"),
            ("postgres://u:hunter2%zz@db/x", "%25"),
            ("redis://u:hunter2@cache/3", "of Redis"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
