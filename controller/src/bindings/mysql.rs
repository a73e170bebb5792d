//! MySQL 8 and MariaDB 10.5 and newer.
//!
//! Neither keeps an owner of a database or (both of them) a comment on a user, so the mark is a
//! row: table `kipper_functions.claims` of the same server says which function uses which database
//! by which user, and whether the database was created for it. The row is written after looking
//! and before creating, so a crash in between leaves a row for something that does not exist yet,
//! which the next run creates; never something that nobody knows. Function users see nothing of
//! that table: they have rights in their own database only.
//!
//! Statements about users take no parameters here, so names and passwords are escaped, under an
//! SQL mode that this module sets itself. In `GRANT`, `_` and `%` of a database name are wildcards
//! unless escaped (or unless `partial_revokes` makes them literal): `a_b` would also open `axb`.
//!
//! The administrator needs all privileges with grant option, or at least those on databases plus
//! `CREATE USER`, reading `mysql.user`, and `CONNECTION ADMIN` (older: `SUPER`) to end the sessions
//! of a user that goes.

use std::time::Duration;

use mysql_async::{
    Conn, Error, OptsBuilder, Params, SslOpts,
    prelude::{FromRow, Queryable},
};

use super::{
    error::BindingError,
    grant::{Engine, Grant, namespace},
    server::Server,
};

/// Where the marks are; no function can have this database.
const BOOKS: &str = "kipper_functions";
/// Databases of the server itself.
const SYSTEM: [&str; 5] = ["mysql", "information_schema", "performance_schema", "sys", BOOKS];
/// What makes the books.
const CREATE_BOOKS: [&str; 2] = [
    "CREATE DATABASE IF NOT EXISTS kipper_functions CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS kipper_functions.claims (\
       database_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
       user_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
       owner VARCHAR(320) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
       created BOOLEAN NOT NULL, \
       PRIMARY KEY (database_name, user_name), KEY (user_name))",
];

/// `Unknown database`, `table doesn't exist`.
const NO_BOOKS: [u16; 2] = [1049, 1146];
/// `There is no such grant defined`.
const NO_SUCH_GRANT: u16 = 1141;
/// `Unknown thread id`.
const NO_SUCH_THREAD: u16 = 1094;

pub(super) struct Mysql;

/// A session of the administrator.
struct Admin<'a> {
    conn: Conn,
    server: &'a Server,
}

/// A row of the books.
struct Claim {
    user: String,
    owner: String,
    created: bool,
}

impl Engine for Mysql {
    async fn exists(
        server: &Server,
        database: &str,
        timeout: Duration,
    ) -> Result<bool, BindingError> {
        let mut admin = Admin::open(server, timeout).await?;
        let found = admin.has_database(database).await?;
        admin.close().await?;
        Ok(found)
    }

    async fn ensure(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError> {
        if SYSTEM.iter().any(|name| grant.database.eq_ignore_ascii_case(name)) {
            return Err(taken("database", &grant.database));
        }
        let mut admin = Admin::open(server, timeout).await?;
        admin.lock(&grant.database, timeout).await?;
        for sql in CREATE_BOOKS {
            admin.run(sql).await?;
        }
        let created = admin.claim(grant).await?;
        let sql = "INSERT INTO kipper_functions.claims VALUES (?, ?, ?, ?) \
                   ON DUPLICATE KEY UPDATE created = VALUES(created)";
        admin.exec(sql, (&grant.database, &grant.user, &grant.owner, created)).await?;
        let (database, account) = (ident(&grant.database), account(&grant.user));
        let password = literal(&grant.password);
        admin
            .run(&format!("CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4"))
            .await?;
        admin.run(&format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password}")).await?;
        admin.run(&format!("ALTER USER {account} IDENTIFIED BY {password} ACCOUNT UNLOCK")).await?;
        let pattern = admin.pattern(&grant.database).await?;
        admin.run(&format!("GRANT ALL PRIVILEGES ON {pattern}.* TO {account}")).await?;
        admin.close().await
    }

    async fn remove(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError> {
        let mut admin = Admin::open(server, timeout).await?;
        admin.lock(&grant.database, timeout).await?;
        let claims = admin.claims(&grant.database).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| claim.user == grant.user);
        let Some(own) = own.first().filter(|claim| claim.owner == grant.owner) else {
            return admin.close().await;
        };
        let (database, account) = (ident(&grant.database), account(&grant.user));
        admin.end_sessions(&grant.user).await?;
        match others.first() {
            None if own.created => {
                admin.run(&format!("DROP DATABASE IF EXISTS {database}")).await?;
            }
            // Whoever of those it was shared with stays longest takes it along.
            Some(heir) if own.created => {
                let sql = "UPDATE kipper_functions.claims SET created = TRUE \
                           WHERE database_name = ? AND user_name = ?";
                admin.exec(sql, (&grant.database, &heir.user)).await?;
            }
            _ => {}
        }
        let pattern = admin.pattern(&grant.database).await?;
        let revoke = format!("REVOKE ALL PRIVILEGES ON {pattern}.* FROM {account}");
        admin.run_unless(&revoke, NO_SUCH_GRANT).await?;
        // A user with another database, which is kept, is kept too: locked.
        let sql = "SELECT COUNT(*) FROM kipper_functions.claims \
                   WHERE user_name = ? AND database_name <> ?";
        let elsewhere: Vec<i64> = admin.rows(sql, (&grant.user, &grant.database)).await?;
        if elsewhere == [0] {
            admin.run(&format!("DROP USER IF EXISTS {account}")).await?;
        }
        let sql = "DELETE FROM kipper_functions.claims WHERE database_name = ? AND user_name = ?";
        admin.exec(sql, (&grant.database, &grant.user)).await?;
        admin.close().await
    }
}

impl<'a> Admin<'a> {
    async fn open(server: &'a Server, timeout: Duration) -> Result<Self, BindingError> {
        server.tls()?;
        let tls = server.ca.as_ref().map(|ca| {
            SslOpts::default()
                .with_root_certs(vec![ca.clone().into_bytes().into()])
                .with_disable_built_in_roots(true)
        });
        // Literals are read as `literal` writes them, and a blocked DDL statement gives up.
        let settings = format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES', lock_wait_timeout = {}",
            timeout.as_secs().max(1)
        );
        let options = OptsBuilder::default()
            .ip_or_hostname(&server.host)
            .tcp_port(server.port)
            .user(Some(&server.user))
            .pass(Some(&server.password))
            .prefer_socket(false)
            .ssl_opts(tls)
            .init(vec![settings]);
        let conn = Conn::new(options).await.map_err(|error| explain(server, &error))?;
        Ok(Self { conn, server })
    }

    /// Waits for other controllers that work on the same database; held until the session ends.
    async fn lock(&mut self, database: &str, timeout: Duration) -> Result<(), BindingError> {
        let sql = "SELECT GET_LOCK(CONCAT('kipper:', SHA1(?)), ?)";
        let locked: Vec<Option<i64>> = self.rows(sql, (database, timeout.as_secs())).await?;
        if locked == [Some(1)] {
            return Ok(());
        }
        Err(BindingError::Unreachable(format!("database {database:?} is being worked on")))
    }

    /// Decides whether the function may have its database and user, and whether the database is
    /// one that was (or will be) created for it.
    async fn claim(&mut self, grant: &Grant) -> Result<bool, BindingError> {
        let sql = "SELECT owner FROM kipper_functions.claims WHERE user_name = ?";
        let owners: Vec<String> = self.rows(sql, (&grant.user,)).await?;
        if owners.iter().any(|owner| *owner != grant.owner) {
            return Err(taken("user", &grant.user));
        }
        let sql = "SELECT COUNT(*) FROM mysql.user WHERE user = ? AND host = '%'";
        if owners.is_empty() && self.rows::<i64>(sql, (&grant.user,)).await? != [0] {
            return Err(taken("user", &grant.user));
        }
        let claims = self.claims(&grant.database).await?;
        let foreign = |claim: &Claim| namespace(&claim.owner) != grant.namespace();
        if claims.iter().any(foreign) {
            return Err(taken("database", &grant.database));
        }
        if !self.has_database(&grant.database).await? {
            return Ok(true);
        }
        match claims.iter().find(|claim| claim.user == grant.user) {
            Some(own) => Ok(own.created),
            None if grant.adopt => Ok(false),
            None => Err(taken("database", &grant.database)),
        }
    }

    async fn has_database(&mut self, database: &str) -> Result<bool, BindingError> {
        let sql = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?";
        Ok(self.rows::<i64>(sql, (database,)).await? != [0])
    }

    async fn claims(&mut self, database: &str) -> Result<Vec<Claim>, BindingError> {
        let sql = "SELECT user_name, owner, created FROM kipper_functions.claims \
                   WHERE database_name = ? ORDER BY user_name";
        let rows: Result<Vec<(String, String, bool)>, Error> =
            self.conn.exec(sql, (database,)).await;
        match rows {
            Ok(rows) => Ok(rows
                .into_iter()
                .map(|(user, owner, created)| Claim { user, owner, created })
                .collect()),
            Err(Error::Server(error)) if NO_BOOKS.contains(&error.code) => Ok(Vec::new()),
            Err(error) => Err(explain(self.server, &error)),
        }
    }

    /// Locks the user out and ends its sessions, so that no transaction of theirs blocks a drop.
    async fn end_sessions(&mut self, user: &str) -> Result<(), BindingError> {
        /// `Operation ALTER USER failed`: there is no such user.
        const NO_SUCH_USER: u16 = 1396;
        let lock = format!("ALTER USER {} ACCOUNT LOCK", account(user));
        self.run_unless(&lock, NO_SUCH_USER).await?;
        let sql = "SELECT id FROM information_schema.processlist WHERE user = ?";
        for id in self.rows::<u64>(sql, (user,)).await? {
            self.run_unless(&format!("KILL {id}"), NO_SUCH_THREAD).await?;
        }
        Ok(())
    }

    /// The database as `GRANT` wants it: quoted, and nothing in it a wildcard.
    async fn pattern(&mut self, database: &str) -> Result<String, BindingError> {
        let sql = "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'";
        let found: Vec<(String, String)> = self.rows(sql, ()).await?;
        let literal = found.iter().any(|(_, value)| value.eq_ignore_ascii_case("ON"));
        Ok(if literal { ident(database) } else { ident(&escape_wildcards(database)) })
    }

    async fn rows<T: FromRow + Send + 'static>(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Vec<T>, BindingError> {
        let rows = self.conn.exec(sql, params.into()).await;
        rows.map_err(|error| explain(self.server, &error))
    }

    async fn exec(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<(), BindingError> {
        let done = self.conn.exec_drop(sql, params.into()).await;
        done.map_err(|error| explain(self.server, &error))
    }

    async fn run(&mut self, sql: &str) -> Result<(), BindingError> {
        self.conn.query_drop(sql).await.map_err(|error| explain(self.server, &error))
    }

    /// Runs `sql`; the server's error `code` means that there is nothing to do.
    async fn run_unless(&mut self, sql: &str, code: u16) -> Result<(), BindingError> {
        match self.conn.query_drop(sql).await {
            Err(Error::Server(error)) if error.code == code => Ok(()),
            done => done.map_err(|error| explain(self.server, &error)),
        }
    }

    async fn close(self) -> Result<(), BindingError> {
        let server = self.server;
        self.conn.disconnect().await.map_err(|error| explain(server, &error))
    }
}

fn taken(what: &'static str, name: &str) -> BindingError {
    BindingError::Taken { what, name: name.to_owned() }
}

fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn escape_wildcards(name: &str) -> String {
    name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The user from any host.
fn account(user: &str) -> String {
    format!("{}@'%'", literal(user))
}

/// The server's message is passed on, except for syntax errors: those quote the statement, and the
/// statement may hold a password.
fn explain(server: &Server, error: &Error) -> BindingError {
    let Error::Server(answer) = error else {
        return match error {
            Error::Io(error) => BindingError::Unreachable(error.to_string()),
            Error::Driver(error) => BindingError::Unreachable(error.to_string()),
            _ => BindingError::Failed("an answer that makes no sense".to_owned()),
        };
    };
    match answer.code {
        // ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_ACCOUNT_HAS_BEEN_LOCKED
        1045 | 1698 | 3118 | 4151 => BindingError::Refused(server.user.clone()),
        // Access denied to a database, table, column, or for want of a global privilege.
        1044 | 1142 | 1143 | 1227 | 1370 | 1410 => {
            BindingError::Forbidden(format!("{} ({})", answer.message, answer.code))
        }
        // Too many connections, shutting down, killed, lock wait timeouts, deadlock.
        1040 | 1053 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 => {
            BindingError::Unreachable(format!("{} ({})", answer.message, answer.code))
        }
        // ER_PARSE_ERROR
        1064 => BindingError::Failed("a syntax error (1064)".to_owned()),
        code => BindingError::Failed(format!("{} ({code})", answer.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_quotes() {
        let cases = [
            ("plain", "`plain`", "'plain'", "plain"),
            ("a`b", "`a``b`", "'a`b'", "a`b"),
            ("a'b\\", "`a'b\\`", "'a''b\\\\'", "a'b\\\\"),
            ("a_b%", "`a_b%`", "'a_b%'", "a\\_b\\%"),
            ("\\' OR 1", "`\\' OR 1`", "'\\\\'' OR 1'", "\\\\' OR 1"),
        ];
        for (text, identifier, quoted, pattern) in cases {
            assert_eq!(ident(text), identifier);
            assert_eq!(literal(text), quoted);
            assert_eq!(escape_wildcards(text), pattern);
        }
    }
}
