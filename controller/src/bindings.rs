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
mod mongodb;
mod mysql;
mod postgres;
pub(crate) mod server;

use std::{fmt, time::Duration};

use kipper_function::service::ServiceKind;
use ring::rand::{SecureRandom, SystemRandom};

pub use error::BindingError;
pub use server::{CA, Server};

/// Characters of a generated password: 192 bits.
const PASSWORD_LEN: usize = 32;

/// What one binding of one function needs on a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its database.
    pub database: String,
    /// Its user, who may do everything in that database and nothing elsewhere.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// Whose they are: `<namespace>/<function>`.
    pub owner: String,
    /// True where the Function names the database itself. One that exists already is then shared
    /// instead of refused, unless it was made for a function of another namespace.
    pub adopt: bool,
}

impl Grant {
    fn namespace(&self) -> &str {
        namespace(&self.owner)
    }

    /// Checks what the engine would truncate or misread. `Taken` and the others need a server to
    /// find out; this does not.
    fn check(&self, kind: ServiceKind) -> Result<(), BindingError> {
        let (database, user) = match kind {
            ServiceKind::Mysql => (64, 32),
            _ => (63, 63),
        };
        check_name("database", &self.database, database)?;
        check_name("user", &self.user, user)?;
        match self.owner.split_once('/') {
            Some((namespace, function)) if !namespace.is_empty() && !function.is_empty() => Ok(()),
            _ => Err(BindingError::Name { what: "owner", problem: "is not namespace/function" }),
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("database", &self.database)
            .field("user", &self.user)
            .field("owner", &self.owner)
            .field("adopt", &self.adopt)
            .finish_non_exhaustive()
    }
}

/// The namespace in `<namespace>/<function>`.
fn namespace(owner: &str) -> &str {
    owner.split_once('/').map_or(owner, |(namespace, _)| namespace)
}

fn check_name(what: &'static str, name: &str, max: usize) -> Result<(), BindingError> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > max {
        "is longer than the server stores"
    } else if name.chars().any(char::is_control) {
        "has control characters"
    } else if name.trim() != name {
        "starts or ends with a space"
    } else {
        return Ok(());
    };
    Err(BindingError::Name { what, problem })
}

/// A kind of server.
trait Engine {
    /// Creates what is missing of `grant`, and sets the user's password.
    async fn ensure(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError>;

    /// Takes away what `ensure` made.
    async fn remove(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError>;
}

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
