//! MongoDB 4.4 and newer, by its official driver. **Unproven against a server**: none can be had
//! where this project is tested. What the tests hold is the commands; that a server takes them is
//! read from its manual, not seen.
//!
//! A user is created in the database it is for, which is where drivers authenticate by default, and
//! gets `readWrite` and `dbAdmin` there. The mark is the user's `customData`: for whom it is and
//! whether the database was created for it. MongoDB creates a database with its first document, so
//! there is nothing else to create. The administrator authenticates against `admin`.
//!
//! With a certificate authority the driver wants a file, which lives in the temporary directory as
//! long as the connection.

use std::{io::Write, time::Duration};

use mongodb::{
    Client,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions},
};
use tempfile::NamedTempFile;

use super::{
    error::BindingError,
    grant::{Engine, Grant, namespace},
    server::Server,
};

/// Database of the server's own users.
const ADMIN: &str = "admin";
/// Databases of the server itself.
const SYSTEM: [&str; 3] = [ADMIN, "local", "config"];
/// `Location51003`: user already exists.
const USER_EXISTS: i32 = 51003;
/// `UserNotFound`.
const USER_NOT_FOUND: i32 = 11;

pub(super) struct Mongodb;

/// A connection and the file its certificate authority is in.
struct Admin<'a> {
    client: Client,
    server: &'a Server,
    _ca: Option<NamedTempFile>,
}

/// A user of a database, as far as the mark goes.
#[derive(Debug, PartialEq)]
struct User {
    name: String,
    /// `<namespace>/<function>`; `None` for a user made by somebody else.
    owner: Option<String>,
    created: bool,
}

impl Engine for Mongodb {
    async fn exists(
        server: &Server,
        database: &str,
        timeout: Duration,
    ) -> Result<bool, BindingError> {
        let admin = Admin::open(server, timeout)?;
        // A database without documents is not listed, but its users are.
        Ok(admin.has_database(database).await? || !admin.users(database).await?.is_empty())
    }

    async fn ensure(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError> {
        check(grant)?;
        let admin = Admin::open(server, timeout)?;
        let users = admin.users(&grant.database).await?;
        let exists = admin.has_database(&grant.database).await?;
        let created = claim(grant, &users, exists)?;
        let known = users.iter().any(|user| user.name == grant.user);
        let command = if known { "updateUser" } else { "createUser" };
        let document = set_user(command, grant, created);
        match admin.run(&grant.database, document).await {
            // Another controller was faster; what it wrote has another password.
            Err(error) if code(&error) == Some(USER_EXISTS) => {
                admin.run(&grant.database, set_user("updateUser", grant, created)).await
            }
            done => done,
        }
        .map(drop)
        .map_err(|error| explain(server, &error))
    }

    async fn remove(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError> {
        check(grant)?;
        let admin = Admin::open(server, timeout)?;
        let users = admin.users(&grant.database).await?;
        let own = users.iter().find(|user| user.name == grant.user);
        let Some(own) = own.filter(|user| user.owner.as_ref() == Some(&grant.owner)) else {
            return Ok(());
        };
        let heir = users.iter().find(|user| user.owner.is_some() && user.name != grant.user);
        let failed = |error| explain(server, &error);
        match heir {
            None if own.created => {
                admin.run(&grant.database, doc! { "dropDatabase": 1 }).await.map_err(failed)?;
            }
            Some(heir) if own.created => {
                admin.run(&grant.database, inherit(heir)).await.map_err(failed)?;
            }
            _ => {}
        }
        // The server ends what a dropped user may do on connections that are open.
        match admin.run(&grant.database, doc! { "dropUser": &grant.user }).await {
            Err(error) if code(&error) == Some(USER_NOT_FOUND) => Ok(()),
            done => done.map(drop).map_err(failed),
        }
    }
}

impl<'a> Admin<'a> {
    fn open(server: &'a Server, timeout: Duration) -> Result<Self, BindingError> {
        server.tls()?;
        let ca = server.ca.as_deref().map(ca_file).transpose()?;
        let mut options = ClientOptions::default();
        let (host, port) = (server.host.clone(), Some(server.port));
        options.hosts = vec![ServerAddress::Tcp { host, port }];
        options.app_name = Some("kipper-controller".to_owned());
        options.connect_timeout = Some(timeout);
        options.server_selection_timeout = Some(timeout);
        options.max_pool_size = Some(1);
        let mut credential = Credential::default();
        credential.username = Some(server.user.clone());
        credential.password = Some(server.password.clone());
        credential.source = Some(ADMIN.to_owned());
        options.credential = Some(credential);
        options.tls = Some(match &ca {
            Some(file) => {
                let mut tls = TlsOptions::default();
                tls.ca_file_path = Some(file.path().to_owned());
                Tls::Enabled(tls)
            }
            None => Tls::Disabled,
        });
        let client = Client::with_options(options).map_err(|error| explain(server, &error))?;
        Ok(Self { client, server, _ca: ca })
    }

    async fn run(&self, database: &str, command: Document) -> Result<Document, Error> {
        self.client.database(database).run_command(command).await
    }

    async fn users(&self, database: &str) -> Result<Vec<User>, BindingError> {
        let answer = self.run(database, doc! { "usersInfo": 1, "showCustomData": true }).await;
        Ok(read_users(&answer.map_err(|error| explain(self.server, &error))?))
    }

    async fn has_database(&self, database: &str) -> Result<bool, BindingError> {
        let names = self.client.list_database_names().await;
        let names = names.map_err(|error| explain(self.server, &error))?;
        Ok(names.iter().any(|name| name.eq_ignore_ascii_case(database)))
    }
}

fn ca_file(ca: &str) -> Result<NamedTempFile, BindingError> {
    let written = NamedTempFile::new().and_then(|mut file| {
        file.write_all(ca.as_bytes())?;
        Ok(file)
    });
    written.map_err(|error| BindingError::Failed(format!("no file for the CA: {error}")))
}

/// Names that MongoDB does not allow for a database, and its own.
fn check(grant: &Grant) -> Result<(), BindingError> {
    if grant.database.contains(['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?']) {
        let problem = "has characters that MongoDB does not allow";
        return Err(BindingError::Name { what: "database", problem });
    }
    if SYSTEM.contains(&grant.database.as_str()) {
        return Err(BindingError::Taken { what: "database", name: grant.database.clone() });
    }
    Ok(())
}

/// Decides whether the function may have its database and user, and whether the database counts as
/// created for it.
fn claim(grant: &Grant, users: &[User], exists: bool) -> Result<bool, BindingError> {
    let taken = |what, name: &str| BindingError::Taken { what, name: name.to_owned() };
    let own = users.iter().find(|user| user.name == grant.user);
    if own.is_some_and(|user| user.owner.as_ref() != Some(&grant.owner)) {
        return Err(taken("user", &grant.user));
    }
    let owners = users.iter().filter_map(|user| user.owner.as_deref());
    if owners.into_iter().any(|owner| namespace(owner) != grant.namespace()) {
        return Err(taken("database", &grant.database));
    }
    match own {
        Some(own) => Ok(own.created || !exists),
        // A database without documents is not listed, but its users are.
        None if !exists && users.is_empty() => Ok(true),
        None if grant.adopt => Ok(false),
        None => Err(taken("database", &grant.database)),
    }
}

fn set_user(command: &str, grant: &Grant, created: bool) -> Document {
    doc! {
        command: &grant.user,
        "pwd": &grant.password,
        "roles": [
            { "role": "readWrite", "db": &grant.database },
            { "role": "dbAdmin", "db": &grant.database },
        ],
        "customData": { "kipperFunction": &grant.owner, "created": created },
    }
}

/// Makes `heir` the one with whom the database goes.
fn inherit(heir: &User) -> Document {
    let owner = heir.owner.as_deref().unwrap_or_default();
    doc! {
        "updateUser": &heir.name,
        "customData": { "kipperFunction": owner, "created": true },
    }
}

fn read_users(answer: &Document) -> Vec<User> {
    let users = answer.get_array("users").map(Vec::as_slice).unwrap_or_default();
    let read = |user: &Document| {
        let data = user.get_document("customData").ok();
        let owner = data.and_then(|data| data.get_str("kipperFunction").ok());
        Some(User {
            name: user.get_str("user").ok()?.to_owned(),
            owner: owner.map(str::to_owned),
            created: data.and_then(|data| data.get_bool("created").ok()).unwrap_or(false),
        })
    };
    users.iter().filter_map(|user| user.as_document().and_then(read)).collect()
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        _ => None,
    }
}

/// Messages of the server are not passed on, only the names of their codes: a command with a
/// password in it is quoted back by some of them.
fn explain(server: &Server, error: &Error) -> BindingError {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => BindingError::Refused(server.user.clone()),
        ErrorKind::Command(error) => match error.code {
            // AuthenticationFailed
            18 => BindingError::Refused(server.user.clone()),
            // Unauthorized
            13 => BindingError::Forbidden(error.code_name.clone()),
            _ => BindingError::Failed(format!("{} ({})", error.code_name, error.code)),
        },
        ErrorKind::Io(error) => BindingError::Unreachable(error.to_string()),
        ErrorKind::DnsResolve { message, .. } | ErrorKind::ServerSelection { message, .. } => {
            BindingError::Unreachable(message.clone())
        }
        ErrorKind::ConnectionPoolCleared { .. } => {
            BindingError::Unreachable("the connection was lost".to_owned())
        }
        _ => BindingError::Failed("an answer that makes no sense".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Bson;

    use super::*;

    fn grant(adopt: bool) -> Grant {
        Grant {
            database: "db_report_dev".into(),
            user: "db_report_dev".into(),
            password: "secret".into(),
            owner: "shop-dev/report".into(),
            adopt,
        }
    }

    fn user(name: &str, owner: Option<&str>, created: bool) -> User {
        User { name: name.into(), owner: owner.map(str::to_owned), created }
    }

    #[test]
    fn the_user_gets_this_database_only() {
        let command = set_user("createUser", &grant(false), true);
        // The first key of a command is its name.
        assert_eq!(command.keys().next().map(String::as_str), Some("createUser"));
        let expected = doc! {
            "createUser": "db_report_dev",
            "pwd": "secret",
            "roles": [
                { "role": "readWrite", "db": "db_report_dev" },
                { "role": "dbAdmin", "db": "db_report_dev" },
            ],
            "customData": { "kipperFunction": "shop-dev/report", "created": true },
        };
        assert_eq!(command, expected);
    }

    #[test]
    fn marks_are_read_back() {
        let marked = set_user("createUser", &grant(false), true);
        let mark = marked.get_document("customData").unwrap().clone();
        let answer = doc! { "ok": 1.0, "users": [
            { "user": "db_report_dev", "db": "db_report_dev", "customData": mark },
            { "user": "person", "db": "db_report_dev" },
            { "user": "odd", "customData": { "kipperFunction": 7, "created": "yes" } },
            Bson::Null,
        ] };
        let expected = [
            user("db_report_dev", Some("shop-dev/report"), true),
            user("person", None, false),
            user("odd", None, false),
        ];
        assert_eq!(read_users(&answer), expected);
        assert_eq!(read_users(&doc! { "ok": 1.0 }), []);
        let expected = doc! {
            "updateUser": "db_report_dev",
            "customData": { "kipperFunction": "shop-dev/report", "created": true },
        };
        assert_eq!(inherit(&user("db_report_dev", Some("shop-dev/report"), false)), expected);
    }

    #[test]
    fn only_its_own_names_are_claimed() {
        let own = || user("db_report_dev", Some("shop-dev/report"), true);
        let other = || user("db_other_dev", Some("shop-dev/other"), true);
        let cases = [
            (false, vec![], false, Ok(true)),
            (false, vec![], true, Err("database")),
            (true, vec![], true, Ok(false)),
            (false, vec![own()], true, Ok(true)),
            (false, vec![own(), other()], true, Ok(true)),
            (false, vec![other()], false, Err("database")),
            (true, vec![other()], true, Ok(false)),
            (true, vec![user("x", Some("blog-dev/x"), true)], true, Err("database")),
            (true, vec![user("db_report_dev", None, false)], true, Err("user")),
            (true, vec![user("db_report_dev", Some("shop-dev/other"), true)], true, Err("user")),
        ];
        for (adopt, users, exists, expected) in cases {
            let claimed = claim(&grant(adopt), &users, exists).map_err(|error| match error {
                BindingError::Taken { what, .. } => what,
                other => panic!("{other}"),
            });
            assert_eq!(claimed, expected, "{adopt} {users:?} {exists}");
        }
    }

    #[test]
    fn names_it_cannot_hold_are_refused() {
        for name in ["a.b", "a b", "a$b", "a/b", "admin", "config"] {
            assert!(check(&Grant { database: name.into(), ..grant(true) }).is_err(), "{name}");
        }
        assert_eq!(check(&grant(true)), Ok(()));
    }
}
