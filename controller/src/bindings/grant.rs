//! What one function gets on one server, and what a kind of server does about it.

use std::{fmt, time::Duration};

use kipper_function::service::ServiceKind;

use super::{error::BindingError, server::Server};

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
    pub(super) fn namespace(&self) -> &str {
        namespace(&self.owner)
    }

    /// Checks what the engine would truncate or misread. `Taken` and the others need a server to
    /// find out; this does not.
    pub(super) fn check(&self, kind: ServiceKind) -> Result<(), BindingError> {
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
pub(super) fn namespace(owner: &str) -> &str {
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
pub(super) trait Engine {
    /// Whether there is a database of this name, whoever it belongs to.
    async fn exists(
        server: &Server,
        database: &str,
        timeout: Duration,
    ) -> Result<bool, BindingError>;

    /// Creates what is missing of `grant`, and sets the user's password.
    async fn ensure(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError>;

    /// Takes away what `ensure` made.
    async fn remove(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError>;
}
