//! Whether a server lets a function in with what its binding injects: tried once, said in one line.
//!
//! `kip service test` runs this in a pod that has the function's variables. It logs in and leaves:
//! nothing is read, written or claimed. No other part of the poller takes part.

use std::{fs, path::PathBuf};

use clap::Args;
use futures_util::{FutureExt as _, future::BoxFuture};
use kipper_bucket::Endpoint;
use kipper_trigger::{Kind, url::encoded};

use crate::{
    config::kinds,
    error::Error,
    source::{minio, mysql, postgres, redis},
};

/// Which binding.
#[derive(Clone, Debug, Args)]
pub struct Bound {
    /// Kind of the service
    #[arg(long, value_parser = kinds())]
    pub kind: Kind,

    /// What the names of its variables begin with
    #[arg(long)]
    pub prefix: String,

    /// Certificate authority of the server (PEM), if the file exists; enables TLS, verified against it
    /// alone
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Logs in with the variables that `variable` knows.
///
/// # Errors
/// [`Error::is_usage`] tells what only the user can mend from a server that is away.
pub fn bound<'a>(
    bound: &'a Bound,
    variable: impl Fn(&str) -> Option<String> + Send + Sync + 'a,
) -> BoxFuture<'a, Result<(), Error>> {
    async move {
        let authority = bound.authority()?;
        let authority = authority.as_deref();
        let given = |name: &str| variable(&format!("{}{name}", bound.prefix));
        let needed = |name: &str| {
            let missing = || Error::Config(format!("{}{name} is not set", bound.prefix));
            given(name).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let tried = match bound.kind {
            Kind::Postgres => postgres::login(&database("postgres", needed)?, authority).await,
            Kind::Mysql => mysql::login(&database("mysql", needed)?, authority).await,
            Kind::Redis => {
                let password = given("PASSWORD").filter(|password| !password.is_empty());
                let login = password.map(|password| format!(":{}@", encoded(&password)));
                let (login, server) = (login.unwrap_or_default(), server(needed)?);
                redis::login(&format!("redis://{login}{server}/0"), authority).await
            }
            Kind::Minio => {
                let endpoint = Endpoint {
                    url: needed("ENDPOINT")?,
                    access_key: needed("ACCESS_KEY")?,
                    secret_key: needed("SECRET_KEY")?,
                    authority: authority.map(str::to_owned),
                };
                minio::login(&endpoint).await
            }
        };
        tried.map_err(Error::from)
    }
    .boxed()
}

impl Bound {
    fn authority(&self) -> Result<Option<String>, Error> {
        let Some(path) = self.ca.as_ref().filter(|path| path.exists()) else { return Ok(None) };
        let read = fs::read_to_string(path);
        read.map(Some).map_err(|source| Error::File { path: path.clone(), source })
    }
}

/// URL of a database server.
fn database(scheme: &str, needed: impl Fn(&str) -> Result<String, Error>) -> Result<String, Error> {
    let (user, password) = (encoded(&needed("USER")?), encoded(&needed("PASSWORD")?));
    let (server, name) = (server(&needed)?, encoded(&needed("NAME")?));
    Ok(format!("{scheme}://{user}:{password}@{server}/{name}"))
}

/// Host and port as a URL has them.
fn server(needed: impl Fn(&str) -> Result<String, Error>) -> Result<String, Error> {
    let (host, port) = (needed("HOST")?, needed("PORT")?);
    let is_bare = host.contains(':') && !host.starts_with('[');
    Ok(if is_bare { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// For tests of what is not set; what a server says is `tests/it`'s.
#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_variable_that_is_missing_is_named() {
        for kind in [Kind::Postgres, Kind::Mysql, Kind::Redis, Kind::Minio] {
            let binding = Bound { kind, prefix: "X_".to_owned(), ca: None };
            let tried = bound(&binding, |_| None).await;
            let words = tried.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(words.starts_with("X_") && words.ends_with(" is not set"), "{kind}: {words}");
        }
    }
}
