//! PostgreSQL 13 and newer.
//!
//! The mark is the comment of the role, `kipper-function <namespace>/<function>`, written in the
//! transaction that creates it. A database is the function's if that role owns it: ownership comes
//! with `CREATE DATABASE` itself, so no crash leaves a database that nobody knows. Owning it is
//! also what migration tools expect, who drop and create schemas.
//!
//! Other functions' users stay out because `CONNECT` is taken from `PUBLIC`; the database accepts
//! no connection before that. A database that existed already is shared: its other users keep what
//! they have, and tables made later by one of them are open to all of them. On the way out, what
//! the user made in a shared database goes to the database's owner.
//!
//! The administrator needs `CREATEDB` and `CREATEROLE`, not more; it becomes a member of each role
//! it creates, without which it could neither give a database to the role nor drop it again (from
//! 16 on membership also has to be inherited, which is said explicitly). Passwords reach the
//! server as SCRAM verifiers (RFC 5803), so no log of statements can hold one; `CREATE ROLE` takes
//! no parameters, and a verifier needs no escaping, but gets it. Every session starts by fixing
//! `search_path`, so that nothing a function left in a database is run by the administrator.

use std::{sync::Arc, time::Duration};

use postgres_protocol::{
    escape::{escape_identifier, escape_literal},
    password::scram_sha_256,
};
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    error::BindingError,
    grant::{Engine, Grant, namespace},
    server::Server,
};

/// Begins the comment of every role made here.
const MARK: &str = "kipper-function ";
/// Database every installation has; connected to where the Service names none.
const MAINTENANCE: &str = "postgres";
/// Users of one shared database that get access to each other's tables; those after them, by
/// name, only get what exists when they are bound.
const MAX_PEERS: i64 = 64;
/// What default privileges are given for.
const SHARED_OBJECTS: [&str; 4] = ["TABLES", "SEQUENCES", "ROUTINES", "SCHEMAS"];

pub(super) struct Postgres;

/// A database as the catalogue has it.
struct Database {
    owner: String,
    /// `<namespace>/<function>` of the owner, if it is one of ours.
    owned_for: Option<String>,
    is_template: bool,
    accepts_connections: bool,
}

impl Engine for Postgres {
    async fn exists(
        server: &Server,
        database: &str,
        timeout: Duration,
    ) -> Result<bool, BindingError> {
        let maintenance = server.database.as_deref().unwrap_or(MAINTENANCE);
        let admin = open(server, maintenance, timeout).await?;
        Ok(find_database(&admin, server, database).await?.is_some())
    }

    async fn ensure(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError> {
        let maintenance = server.database.as_deref().unwrap_or(MAINTENANCE);
        let admin = open(server, maintenance, timeout).await?;
        lock(&admin, server, &grant.database).await?;
        ensure_role(&admin, server, grant).await?;
        let found = match find_database(&admin, server, &grant.database).await? {
            Some(found) => found,
            None => create_database(&admin, server, grant).await?,
        };
        if found.owner == grant.user {
            return close_to_others(&admin, server, grant, &found).await;
        }
        let foreign = found.owned_for.as_deref().is_some_and(|o| namespace(o) != grant.namespace());
        if !grant.adopt || found.is_template || foreign {
            return Err(BindingError::Taken { what: "database", name: grant.database.clone() });
        }
        share(&admin, server, grant, timeout).await
    }

    async fn remove(server: &Server, grant: &Grant, timeout: Duration) -> Result<(), BindingError> {
        let maintenance = server.database.as_deref().unwrap_or(MAINTENANCE);
        let admin = open(server, maintenance, timeout).await?;
        lock(&admin, server, &grant.database).await?;
        if find_role(&admin, server, &grant.user).await?.as_deref() != Some(&grant.owner) {
            return Ok(());
        }
        let (user, database) = (ident(&grant.user), ident(&grant.database));
        // No session begins after this; those there are end with the database or in `release`.
        run(&admin, server, &format!("ALTER ROLE {user} NOLOGIN")).await?;
        if let Some(found) = find_database(&admin, server, &grant.database).await? {
            let peers = peers(&admin, server, grant).await?;
            if found.owner == grant.user && !peers.iter().any(|peer| peer.is_function) {
                let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
                run(&admin, server, &drop).await?;
            } else {
                release(&admin, server, grant, peers.first(), timeout).await?;
            }
        }
        match admin.batch_execute(&format!("DROP ROLE IF EXISTS {user}")).await {
            // It has another database, which is kept: so is the role, without login.
            Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => Ok(()),
            result => result.map_err(|error| explain(server, error)),
        }
    }
}

/// Connects as the administrator. The connection's task ends when the client is dropped.
async fn open(server: &Server, database: &str, timeout: Duration) -> Result<Client, BindingError> {
    let mut config = Config::new();
    config
        .host(&server.host)
        .port(server.port)
        .user(&server.user)
        .password(&server.password)
        .dbname(database)
        .application_name("kipper-controller")
        .connect_timeout(timeout);
    let client = match server.tls()? {
        None => {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) =
                config.connect(NoTls).await.map_err(|error| explain(server, error))?;
            tokio::spawn(connection);
            client
        }
        Some(tls) => {
            config.ssl_mode(SslMode::Require);
            let tls = MakeRustlsConnect::new(Arc::unwrap_or_clone(tls));
            let (client, connection) =
                config.connect(tls).await.map_err(|error| explain(server, error))?;
            tokio::spawn(connection);
            client
        }
    };
    // The server gives up when the caller does: an abandoned statement would keep its lock.
    let settings = format!(
        "SET search_path = pg_catalog, pg_temp; SET statement_timeout = {}; \
         SET client_min_messages = error",
        timeout.as_millis().max(1)
    );
    run(&client, server, &settings).await?;
    Ok(client)
}

/// Room in the lock table, which all sessions of the server share (manual, 20.12).
pub(super) async fn lock_capacity(server: &Server, timeout: Duration) -> Result<u64, BindingError> {
    let database = server.database.as_deref().unwrap_or(MAINTENANCE);
    let client = open(server, database, timeout).await?;
    let sql = "SELECT current_setting('max_locks_per_transaction')::int8 \
               * current_setting('max_connections')::int8";
    let row = client.query_one(sql, &[]).await.map_err(|error| explain(server, error))?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// Waits for other controllers that work on the same database; held until the session ends.
async fn lock(admin: &Client, server: &Server, database: &str) -> Result<(), BindingError> {
    let key = format!("{MARK}{database}");
    let sql = "SELECT pg_advisory_lock(hashtextextended($1, 0))";
    let locked = admin.execute(sql, &[&key]).await;
    locked.map(drop).map_err(|error| explain(server, error))
}

/// For whom the role exists: `None` if there is none, empty if it is none of ours.
async fn find_role(
    admin: &Client,
    server: &Server,
    user: &str,
) -> Result<Option<String>, BindingError> {
    let sql = "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') \
               FROM pg_roles WHERE rolname = $1";
    let row = admin.query_opt(sql, &[&user]).await.map_err(|error| explain(server, error))?;
    Ok(row.map(|row| function_of(&row.get::<_, String>(0)).unwrap_or_default().to_owned()))
}

fn function_of(comment: &str) -> Option<&str> {
    comment.strip_prefix(MARK)
}

async fn ensure_role(admin: &Client, server: &Server, grant: &Grant) -> Result<(), BindingError> {
    let user = ident(&grant.user);
    let verifier = literal(&scram_sha_256(grant.password.as_bytes()));
    let found = find_role(admin, server, &grant.user).await?;
    if found.as_ref().is_some_and(|owner| *owner != grant.owner) {
        return Err(BindingError::Taken { what: "user", name: grant.user.clone() });
    }
    let mut sql = match found {
        Some(_) => format!("BEGIN; ALTER ROLE {user} LOGIN PASSWORD {verifier}"),
        None => format!(
            "BEGIN; CREATE ROLE {user} LOGIN PASSWORD {verifier}; COMMENT ON ROLE {user} IS {}",
            literal(&format!("{MARK}{}", grant.owner))
        ),
    };
    let query = "SELECT rolsuper, current_setting('server_version_num')::int >= 160000 \
                 FROM pg_roles WHERE rolname = current_user";
    let row = admin.query_one(query, &[]).await.map_err(|error| explain(server, error))?;
    match (row.get(0), row.get(1)) {
        // A superuser needs no membership.
        (true, _) => {}
        (false, true) => {
            sql += &format!("; GRANT {user} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE");
        }
        (false, false) => sql += &format!("; GRANT {user} TO CURRENT_USER"),
    }
    run(admin, server, &format!("{sql}; COMMIT")).await
}

async fn find_database(
    admin: &Client,
    server: &Server,
    database: &str,
) -> Result<Option<Database>, BindingError> {
    let sql = "SELECT pg_get_userbyid(datdba)::text, \
               coalesce(shobj_description(datdba, 'pg_authid'), ''), datistemplate, datallowconn \
               FROM pg_database WHERE datname = $1";
    let row = admin.query_opt(sql, &[&database]).await.map_err(|error| explain(server, error))?;
    Ok(row.map(|row| Database {
        owner: row.get(0),
        owned_for: function_of(&row.get::<_, String>(1)).map(str::to_owned),
        is_template: row.get(2),
        accepts_connections: row.get(3),
    }))
}

async fn create_database(
    admin: &Client,
    server: &Server,
    grant: &Grant,
) -> Result<Database, BindingError> {
    let (database, user) = (ident(&grant.database), ident(&grant.user));
    let sql = format!("CREATE DATABASE {database} OWNER {user} ALLOW_CONNECTIONS false");
    run(admin, server, &sql).await?;
    Ok(Database {
        owner: grant.user.clone(),
        owned_for: Some(grant.owner.clone()),
        is_template: false,
        accepts_connections: false,
    })
}

/// Keeps everyone but the owner out of the function's own database. A `REVOKE` without the right
/// to revoke is only a warning, so the result is looked at.
async fn close_to_others(
    admin: &Client,
    server: &Server,
    grant: &Grant,
    found: &Database,
) -> Result<(), BindingError> {
    let database = ident(&grant.database);
    run(admin, server, &format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")).await?;
    let sql = "SELECT has_database_privilege('public', $1, 'CONNECT')";
    let row = admin.query_one(sql, &[&grant.database]).await;
    if row.map_err(|error| explain(server, error))?.get(0) {
        let what = format!("close database {:?} to other users", grant.database);
        return Err(BindingError::Forbidden(what));
    }
    if !found.accepts_connections {
        run(admin, server, &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).await?;
    }
    Ok(())
}

/// Lets the user into a database that is somebody else's.
async fn share(
    admin: &Client,
    server: &Server,
    grant: &Grant,
    timeout: Duration,
) -> Result<(), BindingError> {
    let (database, user) = (ident(&grant.database), ident(&grant.user));
    let sql = format!("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {user}");
    run(admin, server, &sql).await?;
    let sql = "SELECT has_database_privilege($1, $2, 'CREATE')";
    let row = admin.query_one(sql, &[&grant.user, &grant.database]).await;
    if !row.map_err(|error| explain(server, error))?.get::<_, bool>(0) {
        let what = format!("grant access to database {:?}", grant.database);
        return Err(BindingError::Forbidden(what));
    }
    let inside = open(server, &grant.database, timeout).await?;
    let public = "SELECT FROM pg_namespace WHERE nspname = 'public'";
    let mut sql = String::from("BEGIN");
    if inside.query_opt(public, &[]).await.map_err(|error| explain(server, error))?.is_some() {
        sql += &format!("; GRANT ALL ON SCHEMA public TO {user}");
        for objects in ["TABLES", "SEQUENCES", "ROUTINES"] {
            sql += &format!("; GRANT ALL ON ALL {objects} IN SCHEMA public TO {user}");
        }
    }
    for peer in peers(&inside, server, grant).await? {
        let peer = ident(&peer.name);
        for (maker, reader) in [(&peer, &user), (&user, &peer)] {
            for objects in SHARED_OBJECTS {
                sql += &format!(
                    "; ALTER DEFAULT PRIVILEGES FOR ROLE {maker} GRANT ALL ON {objects} TO {reader}"
                );
            }
        }
    }
    run(&inside, server, &format!("{sql}; COMMIT")).await
}

/// Another user of the same database.
struct Peer {
    name: String,
    is_function: bool,
}

/// Users of the grant's database besides its own whom the administrator may act for: the owner
/// first, then functions.
async fn peers(admin: &Client, server: &Server, grant: &Grant) -> Result<Vec<Peer>, BindingError> {
    let sql = "SELECT r.rolname::text, \
                 starts_with(coalesce(shobj_description(r.oid, 'pg_authid'), ''), $3) AS ours \
               FROM pg_database d \
               CROSS JOIN LATERAL (SELECT d.datdba AS oid UNION \
                 SELECT grantee FROM aclexplode(d.datacl) WHERE privilege_type = 'CREATE') h \
               JOIN pg_roles r ON r.oid = h.oid \
               WHERE d.datname = $1 AND r.rolname <> $2 \
                 AND pg_has_role(current_user, r.oid, 'USAGE') \
               ORDER BY (r.oid = d.datdba) DESC, ours DESC, r.rolname LIMIT $4";
    let rows = admin.query(sql, &[&grant.database, &grant.user, &MARK, &MAX_PEERS]).await;
    let rows = rows.map_err(|error| explain(server, error))?;
    Ok(rows.iter().map(|row| Peer { name: row.get(0), is_function: row.get(1) }).collect())
}

/// Takes the user out of a database that others use: what it owns there goes to `heir`, and where
/// it owns the database itself, that too.
async fn release(
    admin: &Client,
    server: &Server,
    grant: &Grant,
    heir: Option<&Peer>,
    timeout: Duration,
) -> Result<(), BindingError> {
    let user = ident(&grant.user);
    let heir = heir.map_or_else(|| "CURRENT_USER".to_owned(), |peer| ident(&peer.name));
    let inside = open(server, &grant.database, timeout).await?;
    // REASSIGN OWNED hands over every database of the role, so its other ones are handed back.
    let others = "SELECT d.datname::text FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba \
                  WHERE r.rolname = $1 AND d.datname <> $2";
    let others = inside.query(others, &[&grant.user, &grant.database]).await;
    let others = others.map_err(|error| explain(server, error))?;
    let mut sql = format!("BEGIN; REASSIGN OWNED BY {user} TO {heir}");
    for row in &others {
        sql += &format!("; ALTER DATABASE {} OWNER TO {user}", ident(row.get(0)));
    }
    run(&inside, server, &format!("{sql}; DROP OWNED BY {user}; COMMIT")).await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE usename = $1 AND datname = $2";
    let ended = admin.execute(end, &[&grant.user, &grant.database]).await;
    ended.map(drop).map_err(|error| explain(server, error))
}

async fn run(client: &Client, server: &Server, sql: &str) -> Result<(), BindingError> {
    client.batch_execute(sql).await.map_err(|error| explain(server, error))
}

fn ident(name: &str) -> String {
    escape_identifier(name)
}

fn literal(text: &str) -> String {
    // The library puts a space before an E'' literal, for callers who do not.
    escape_literal(text)
}

/// The server's message is passed on: with identifiers and verifiers in the statements, it can
/// hold names but no password.
fn explain(server: &Server, error: tokio_postgres::Error) -> BindingError {
    let Some(answer) = error.as_db_error() else {
        // The driver's own text is "error connecting to server"; its source says why.
        let source = std::error::Error::source(&error).map(ToString::to_string);
        return BindingError::Unreachable(source.unwrap_or_else(|| error.to_string()));
    };
    let text = format!("{} ({})", answer.message(), answer.code().code());
    match *answer.code() {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            BindingError::Refused(server.user.clone())
        }
        SqlState::INSUFFICIENT_PRIVILEGE => BindingError::Forbidden(text),
        SqlState::CANNOT_CONNECT_NOW
        | SqlState::TOO_MANY_CONNECTIONS
        | SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::QUERY_CANCELED
        | SqlState::OBJECT_IN_USE => BindingError::Unreachable(text),
        _ => BindingError::Failed(text),
    }
}
