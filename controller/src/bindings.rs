//! Databases of functions: created, granted, taken away.
//!
//! A binding to a database Service gives its function a database and a user of its own on that
//! server. [`ensure`] brings both into being and [`remove`] takes them away; both look at what is
//! there first, so they can be repeated and may run in two controllers at once. The one trait
//! [`Engine`] has an implementation per kind of server. Called by the reconciler before rendering;
//! nothing here knows Kubernetes.
//!
//! What this module must never do: touch a user or a database that is not its function's. Each
//! engine therefore keeps a mark of who made what (the module of the engine says where), a name
//! that somebody else holds is [`BindingError::Taken`], and a database that was only adopted is
//! never dropped. Passwords appear in no error and no log line.

mod error;
mod grant;
mod mongodb;
mod mysql;
mod postgres;
pub(crate) mod server;

use std::time::Duration;

use kipper_function::service::ServiceKind;
use ring::rand::{SecureRandom, SystemRandom};

use grant::Engine as _;

pub use error::BindingError;
pub use grant::Grant;
pub use server::Server;

/// Characters of a generated password: 192 bits.
const PASSWORD_LEN: usize = 32;

/// Creates the database and the user where they are missing, sets the user's password, and lets
/// the user do everything in that database and nothing in any other. Takes at most `timeout`.
pub async fn ensure(
    kind: ServiceKind,
    server: &Server,
    grant: &Grant,
    timeout: Duration,
) -> Result<(), BindingError> {
    grant.check(kind)?;
    let done = async {
        match kind {
            ServiceKind::Postgres => postgres::Postgres::ensure(server, grant, timeout).await,
            ServiceKind::Mysql => mysql::Mysql::ensure(server, grant, timeout).await,
            ServiceKind::Mongodb => mongodb::Mongodb::ensure(server, grant, timeout).await,
            ServiceKind::Redis | ServiceKind::Minio => Err(BindingError::Unsupported(kind)),
        }
    };
    within(timeout, done).await
}

/// Whether the server has this database: of MongoDB, which creates one with its first document, one
/// with documents or users. Takes at most `timeout`.
pub async fn exists(
    kind: ServiceKind,
    server: &Server,
    database: &str,
    timeout: Duration,
) -> Result<bool, BindingError> {
    let found = async {
        match kind {
            ServiceKind::Postgres => postgres::Postgres::exists(server, database, timeout).await,
            ServiceKind::Mysql => mysql::Mysql::exists(server, database, timeout).await,
            ServiceKind::Mongodb => mongodb::Mongodb::exists(server, database, timeout).await,
            ServiceKind::Redis | ServiceKind::Minio => Err(BindingError::Unsupported(kind)),
        }
    };
    within(timeout, found).await
}

/// Ends the user's sessions and drops the user, and the database too if it was made for this
/// function and no other function was given access to it since. What is gone already, or was never
/// made for `owner` (as in [`Grant::owner`]), is left as it is. Takes at most `timeout`.
pub async fn remove(
    kind: ServiceKind,
    server: &Server,
    database: &str,
    user: &str,
    owner: &str,
    timeout: Duration,
) -> Result<(), BindingError> {
    let grant = &Grant {
        database: database.to_owned(),
        user: user.to_owned(),
        password: String::new(),
        owner: owner.to_owned(),
        adopt: false,
    };
    grant.check(kind)?;
    let done = async {
        match kind {
            ServiceKind::Postgres => postgres::Postgres::remove(server, grant, timeout).await,
            ServiceKind::Mysql => mysql::Mysql::remove(server, grant, timeout).await,
            ServiceKind::Mongodb => mongodb::Mongodb::remove(server, grant, timeout).await,
            ServiceKind::Redis | ServiceKind::Minio => Err(BindingError::Unsupported(kind)),
        }
    };
    within(timeout, done).await
}

/// How many locks a PostgreSQL holds for all its sessions together. Takes at most `timeout`.
pub async fn lock_capacity(server: &Server, timeout: Duration) -> Result<u64, BindingError> {
    within(timeout, postgres::lock_capacity(server, timeout)).await
}

/// Ends `work` with the error for a server that does not answer. The large futures of the three
/// engines are kept off the caller's stack.
async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, BindingError>>,
) -> Result<T, BindingError> {
    match tokio::time::timeout(timeout, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(BindingError::Unreachable(format!("no answer within {timeout:?}"))),
    }
}

/// A random password of letters, digits, `-` and `_`: nothing that a URL, a shell or a
/// configuration file would need escaped.
///
/// # Panics
/// Where the kernel gives no random numbers: any other password could be guessed.
pub fn new_password() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; PASSWORD_LEN];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random numbers");
    // 64 divides 256, so every character is equally likely.
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}
