//! Databases of functions, on real servers: what a function gets, what it must not reach, and what
//! is left when it goes. Each scenario runs against every kind of server that can be had.

use std::time::Duration;

use futures_util::future::join_all;
use kipper_controller::bindings::{self, BindingError, Grant, Server, ensure, new_password};
use kipper_function::service::ServiceKind;
use tokio::net::TcpListener;

use crate::servers::{self, ADMIN, Session, server};

/// Longer than anything here takes on a busy machine; no scenario waits for it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs one scenario as a test per server.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(kipper_function::service::ServiceKind::Postgres).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::$name(kipper_function::service::ServiceKind::Mysql).await;
            })+
        }
    };
}

scenarios![
    what_is_there_stays,
    what_is_lost_is_made_again,
    the_password_is_the_last_one_given,
    functions_are_kept_apart,
    a_chosen_name_that_is_free_is_created_and_dropped,
    a_database_is_looked_for_and_nothing_made,
    a_chosen_database_of_others_is_shared_and_kept,
    functions_that_share_a_database_outlive_each_other,
    what_others_have_is_refused,
    hostile_names_stay_names,
    eight_at_once_agree,
    removal_ends_sessions_and_can_be_repeated,
    a_kept_database_is_found_again,
    wrong_password_is_refused,
    an_administrator_without_rights_is_told,
    an_administrator_needs_not_be_superuser,
    a_server_that_is_not_there_is_unreachable,
    certificates_are_verified,
];

/// A grant for function `name` as the controller would make it.
fn grant(name: &str) -> Grant {
    Grant {
        database: format!("db_{name}_dev"),
        user: format!("db_{name}_dev"),
        password: new_password(),
        owner: format!("shop-dev/{name}"),
        adopt: false,
    }
}

fn chosen(name: &str, database: &str) -> Grant {
    Grant { database: database.to_owned(), adopt: true, ..grant(name) }
}

async fn give(kind: ServiceKind, grant: &Grant) -> Result<(), BindingError> {
    ensure(kind, &server(kind), grant, TIMEOUT).await
}

async fn take(kind: ServiceKind, grant: &Grant) -> Result<(), BindingError> {
    remove(kind, &server(kind), grant).await
}

async fn remove(kind: ServiceKind, server: &Server, grant: &Grant) -> Result<(), BindingError> {
    bindings::remove(kind, server, &grant.database, &grant.user, &grant.owner, TIMEOUT).await
}

/// A session as the function would open it.
async fn login(kind: ServiceKind, grant: &Grant) -> Result<Session, String> {
    Session::open(kind, &grant.user, &grant.password, Some(&grant.database)).await
}

/// Quotes an identifier.
fn quoted(kind: ServiceKind, name: &str) -> String {
    match kind {
        ServiceKind::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        _ => format!("`{}`", name.replace('`', "``")),
    }
}

async fn has_database(kind: ServiceKind, name: &str) -> bool {
    let name = name.replace('\\', "\\\\").replace('\'', "''");
    let sql = match kind {
        ServiceKind::Postgres => format!("SELECT 1 FROM pg_database WHERE datname = E'{name}'"),
        _ => format!("SELECT '1' FROM information_schema.schemata WHERE schema_name = '{name}'"),
    };
    Session::admin(kind).await.value(&sql).await.unwrap().is_some()
}

async fn has_user(kind: ServiceKind, name: &str) -> bool {
    let sql = match kind {
        ServiceKind::Postgres => format!("SELECT 1 FROM pg_roles WHERE rolname = '{name}'"),
        _ => format!("SELECT '1' FROM mysql.user WHERE user = '{name}'"),
    };
    Session::admin(kind).await.value(&sql).await.unwrap().is_some()
}

async fn create_database(kind: ServiceKind, name: &str) {
    let sql = format!("CREATE DATABASE {}", quoted(kind, name));
    Session::admin(kind).await.run(&sql).await.unwrap();
}

async fn what_is_there_stays(kind: ServiceKind) {
    let grant = grant("stays");
    give(kind, &grant).await.unwrap();
    let mut function = login(kind, &grant).await.unwrap();
    function.run("CREATE TABLE orders (id int); INSERT INTO orders VALUES (7)").await.unwrap();
    give(kind, &grant).await.unwrap();
    let mut again = login(kind, &grant).await.unwrap();
    assert_eq!(again.value("SELECT id FROM orders").await.unwrap().unwrap(), "7");
    // Everything in it is the function's: migrations drop and create what they like.
    again.run("ALTER TABLE orders ADD COLUMN note text").await.unwrap();
    again.run("DROP TABLE orders").await.unwrap();
    if kind == ServiceKind::Postgres {
        again.run("DROP SCHEMA public; CREATE SCHEMA public; CREATE SCHEMA own").await.unwrap();
    }
    give(kind, &grant).await.unwrap();
    take(kind, &grant).await.unwrap();
    assert!(!has_database(kind, &grant.database).await && !has_user(kind, &grant.user).await);
}

async fn what_is_lost_is_made_again(kind: ServiceKind) {
    let grant = grant("lost");
    give(kind, &grant).await.unwrap();
    let (database, user) = (quoted(kind, &grant.database), quoted(kind, &grant.user));
    let mut admin = Session::admin(kind).await;
    admin.run(&format!("DROP DATABASE {database}")).await.unwrap();
    give(kind, &grant).await.unwrap();
    if kind == ServiceKind::Postgres {
        // What a controller leaves that dies right after creating the database.
        let sql = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false");
        admin.run(&sql).await.unwrap();
        admin.run(&format!("GRANT ALL ON DATABASE {database} TO PUBLIC")).await.unwrap();
        give(kind, &grant).await.unwrap();
        let sql =
            format!("SELECT has_database_privilege('public', '{}', 'CONNECT')", grant.database);
        assert_eq!(admin.value(&sql).await.unwrap().unwrap(), "f");
    }
    login(kind, &grant).await.unwrap();
    admin.run(&format!("DROP DATABASE {database}")).await.unwrap();
    let role = if kind == ServiceKind::Postgres { "ROLE" } else { "USER" };
    admin.run(&format!("DROP {role} {user}")).await.unwrap();
    give(kind, &grant).await.unwrap();
    login(kind, &grant).await.unwrap();
}

async fn the_password_is_the_last_one_given(kind: ServiceKind) {
    let before = grant("rotated");
    give(kind, &before).await.unwrap();
    let after = Grant { password: new_password(), ..before.clone() };
    give(kind, &after).await.unwrap();
    assert!(login(kind, &before).await.is_err());
    login(kind, &after).await.unwrap();
}

async fn functions_are_kept_apart(kind: ServiceKind) {
    // Every `_` of the first name, read as a wildcard, matches the second.
    let (one, other) =
        (grant("a_part"), Grant { database: "dbxa_part_dev".into(), ..grant("apart") });
    give(kind, &one).await.unwrap();
    give(kind, &other).await.unwrap();
    let mut mine = login(kind, &other).await.unwrap();
    mine.run("CREATE TABLE secrets (id int)").await.unwrap();

    let intruder = Grant { database: other.database.clone(), ..one.clone() };
    assert!(login(kind, &intruder).await.is_err());
    let mut intruder = login(kind, &one).await.unwrap();
    for sql in [
        "CREATE DATABASE more",
        "CREATE ROLE more",
        &format!("DROP DATABASE {}", other.database),
        "SELECT * FROM dbxa_part_dev.secrets",
        "SELECT * FROM kipper_functions.claims",
        "CREATE TABLE kipper_functions.more (id int)",
    ] {
        assert!(intruder.run(sql).await.is_err(), "{sql}");
    }
}

async fn a_chosen_name_that_is_free_is_created_and_dropped(kind: ServiceKind) {
    let grant = chosen("chooser", "Chosen Name");
    give(kind, &grant).await.unwrap();
    give(kind, &grant).await.unwrap();
    login(kind, &grant).await.unwrap().run("CREATE TABLE t (id int)").await.unwrap();
    take(kind, &grant).await.unwrap();
    assert!(!has_database(kind, "Chosen Name").await && !has_user(kind, &grant.user).await);
}

async fn a_database_is_looked_for_and_nothing_made(kind: ServiceKind) {
    let exists = |name: &'static str| async move {
        bindings::exists(kind, &server(kind), name, TIMEOUT).await
    };
    for name in ["looked_for", "looked'for\\", ""] {
        assert_eq!(exists(name).await, Ok(false), "{name}");
        assert!(!has_database(kind, name).await, "{name}");
    }
    create_database(kind, "looked_for").await;
    assert_eq!(exists("looked_for").await, Ok(true));
    assert_eq!(exists("looked_fo_").await, Ok(false));
    let wrong = Server { password: "sesame-9".to_owned(), ..server(kind) };
    let refused = bindings::exists(kind, &wrong, "looked_for", TIMEOUT).await;
    assert_eq!(refused, Err(BindingError::Refused(ADMIN.to_owned())));
}

async fn a_chosen_database_of_others_is_shared_and_kept(kind: ServiceKind) {
    create_database(kind, "app").await;
    let mut owner = Session::admin_in(kind, "app").await;
    owner.run("CREATE TABLE old (id int); INSERT INTO old VALUES (1)").await.unwrap();
    let grant = chosen("guest", "app");
    give(kind, &grant).await.unwrap();
    give(kind, &grant).await.unwrap();
    let mut guest = login(kind, &grant).await.unwrap();
    guest.run("UPDATE old SET id = 2").await.unwrap();
    guest.run("CREATE TABLE made (id int); INSERT INTO made VALUES (3)").await.unwrap();
    owner.run("CREATE TABLE later (id int)").await.unwrap();
    guest.run("INSERT INTO later VALUES (4)").await.unwrap();

    take(kind, &grant).await.unwrap();
    assert!(guest.run("INSERT INTO later VALUES (5)").await.is_err());
    assert!(!has_user(kind, &grant.user).await);
    // The guest's table stays too: the application may have come to use it.
    assert_eq!(owner.value("SELECT id FROM made").await.unwrap().unwrap(), "3");
    owner.run("DROP TABLE made").await.unwrap();
}

async fn functions_that_share_a_database_outlive_each_other(kind: ServiceKind) {
    let (one, two) = (chosen("first", "common"), chosen("second", "common"));
    let three = chosen("third", "common");
    for grant in [&one, &two, &three] {
        give(kind, grant).await.unwrap();
    }
    let mut sessions = Vec::new();
    for grant in [&one, &two, &three] {
        let mut session = login(kind, grant).await.unwrap();
        let name = &grant.owner["shop-dev/".len()..];
        session.run(&format!("CREATE TABLE of_{name} (id int)")).await.unwrap();
        sessions.push(session);
    }
    for session in &mut sessions {
        for name in ["first", "second", "third"] {
            session.run(&format!("INSERT INTO of_{name} VALUES (1)")).await.unwrap();
        }
    }
    // The one it was created for goes first; the last one takes the database along.
    take(kind, &one).await.unwrap();
    for name in ["first", "second", "third"] {
        sessions[1].run(&format!("INSERT INTO of_{name} VALUES (1)")).await.unwrap();
    }
    take(kind, &two).await.unwrap();
    assert!(has_database(kind, "common").await);
    sessions[2].run("INSERT INTO of_first VALUES (1)").await.unwrap();
    take(kind, &three).await.unwrap();
    assert!(!has_database(kind, "common").await);
}

async fn what_others_have_is_refused(kind: ServiceKind) {
    let is_taken = |result: Result<(), BindingError>| {
        assert!(matches!(result, Err(BindingError::Taken { .. })), "{result:?}");
    };
    let held = grant("held");
    give(kind, &held).await.unwrap();
    // Two functions whose names come out the same.
    is_taken(give(kind, &Grant { owner: "shop-dev/other".into(), ..held.clone() }).await);
    // A database that was made for a function of another project.
    let stranger =
        Grant { owner: "blog-dev/stranger".into(), ..chosen("stranger", &held.database) };
    is_taken(give(kind, &stranger).await);
    // The name of a database, and of a user, that nobody chose for this function.
    create_database(kind, "db_foreign_dev").await;
    is_taken(give(kind, &grant("foreign")).await);
    let sql = match kind {
        ServiceKind::Postgres => "CREATE ROLE db_person_dev LOGIN PASSWORD 'theirs'",
        _ => "CREATE USER db_person_dev@'%' IDENTIFIED BY 'theirs'",
    };
    Session::admin(kind).await.run(sql).await.unwrap();
    is_taken(give(kind, &grant("person")).await);
    take(kind, &grant("person")).await.unwrap();
    Session::open(kind, "db_person_dev", "theirs", None).await.unwrap();
    // The server's own.
    for system in ["template1", "mysql", "information_schema", "KIPPER_functions"] {
        if has_database(kind, &system.to_lowercase()).await {
            is_taken(give(kind, &chosen("system", system)).await);
        }
    }
    // Nobody else can have it dropped.
    take(kind, &Grant { owner: "blog-dev/held".into(), ..held.clone() }).await.unwrap();
    login(kind, &held).await.unwrap();
}

async fn hostile_names_stay_names(kind: ServiceKind) {
    let cases = [
        ("quote\"s'and`ticks", "u\"'`1", "pass'word\"`"),
        ("back\\slash\\'", "u\\2'", "\\'; DROP DATABASE postgres; --"),
        ("dätabäse $1 ? %s ;", "üser 3", "пароль\u{1F511} \\"),
        ("a--b/*c*/", "u--4", "$$ $1 ? %s \t"),
        ("%", "u_%", "%"),
    ];
    for (database, user, password) in cases {
        let grant = Grant {
            user: user.to_owned(),
            password: password.to_owned(),
            owner: format!("shop-dev/{}", user.len()),
            ..chosen("hostile", database)
        };
        give(kind, &grant).await.unwrap();
        give(kind, &grant).await.unwrap();
        let mut session = login(kind, &grant).await.unwrap();
        session.run("CREATE TABLE t (id int)").await.unwrap();
        take(kind, &grant).await.unwrap();
        assert!(!has_database(kind, database).await, "{database}");
        assert!(login(kind, &grant).await.is_err());
    }
    for name in ["", " x", "x\0y", "x\ny", &"x".repeat(65), &"ü".repeat(33)] {
        let refused = give(kind, &chosen("hostile", name)).await;
        assert!(matches!(refused, Err(BindingError::Name { what: "database", .. })), "{refused:?}");
    }
}

async fn eight_at_once_agree(kind: ServiceKind) {
    // The same function from eight controllers, and eight functions that share a database.
    let same = grant("crowd");
    let shared: Vec<Grant> = (0..8).map(|n| chosen(&format!("crowd{n}"), "crowded")).collect();
    let all = (0..8).map(|_| &same).chain(&shared);
    for result in join_all(all.map(|grant| give(kind, grant))).await {
        result.unwrap();
    }
    login(kind, &same).await.unwrap();
    for grant in &shared {
        login(kind, grant).await.unwrap();
    }
    let all = (0..8).map(|_| &same).chain(&shared);
    for result in join_all(all.map(|grant| take(kind, grant))).await {
        result.unwrap();
    }
    assert!(!has_database(kind, &same.database).await && !has_database(kind, "crowded").await);
}

async fn removal_ends_sessions_and_can_be_repeated(kind: ServiceKind) {
    let grant = grant("busy");
    take(kind, &grant).await.unwrap();
    give(kind, &grant).await.unwrap();
    let mut idle = login(kind, &grant).await.unwrap();
    let mut writing = login(kind, &grant).await.unwrap();
    writing.run("CREATE TABLE t (id int)").await.unwrap();
    // An open transaction holds locks that a drop would wait for.
    writing.run("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    take(kind, &grant).await.unwrap();
    assert!(!has_database(kind, &grant.database).await && !has_user(kind, &grant.user).await);
    assert!(idle.run("SELECT 1").await.is_err() && writing.run("COMMIT").await.is_err());
    take(kind, &grant).await.unwrap();
    give(kind, &grant).await.unwrap();
    login(kind, &grant).await.unwrap();
}

async fn a_kept_database_is_found_again(kind: ServiceKind) {
    // First its own database, then a chosen one by the same user; the own one is kept throughout.
    let own = grant("mover");
    give(kind, &own).await.unwrap();
    login(kind, &own).await.unwrap().run("CREATE TABLE kept (id int)").await.unwrap();
    create_database(kind, "elsewhere").await;
    let moved = Grant { database: "elsewhere".into(), adopt: true, ..own.clone() };
    give(kind, &moved).await.unwrap();
    login(kind, &moved).await.unwrap().run("CREATE TABLE made (id int)").await.unwrap();
    take(kind, &moved).await.unwrap();
    assert!(has_database(kind, &own.database).await && has_database(kind, "elsewhere").await);
    assert!(login(kind, &own).await.is_err(), "nobody is bound, so nobody logs in");
    give(kind, &own).await.unwrap();
    login(kind, &own).await.unwrap().run("INSERT INTO kept VALUES (1)").await.unwrap();
    let mut there = login(kind, &moved).await;
    if let Ok(there) = &mut there {
        assert!(there.run("INSERT INTO made VALUES (1)").await.is_err());
    }
    take(kind, &own).await.unwrap();
    assert!(!has_database(kind, &own.database).await && !has_user(kind, &own.user).await);
}

async fn wrong_password_is_refused(kind: ServiceKind) {
    let server = Server { password: "sesame-9".to_owned(), ..server(kind) };
    for result in [
        ensure(kind, &server, &grant("refused"), TIMEOUT).await,
        remove(kind, &server, &grant("refused")).await,
    ] {
        assert_eq!(result, Err(BindingError::Refused(ADMIN.to_owned())));
        assert!(!result.unwrap_err().is_retryable());
    }
    let shown = format!("{server:?} {:?}", grant("refused"));
    assert!(!shown.contains("sesame-9") && !shown.contains(&server.password));
}

async fn an_administrator_without_rights_is_told(kind: ServiceKind) {
    let sql = match kind {
        ServiceKind::Postgres => "CREATE ROLE powerless LOGIN PASSWORD 'x'",
        _ => "CREATE USER powerless@'%' IDENTIFIED BY 'x'",
    };
    Session::admin(kind).await.run(sql).await.unwrap();
    let server = Server { user: "powerless".into(), password: "x".into(), ..server(kind) };
    let error = ensure(kind, &server, &grant("forbidden"), TIMEOUT).await.unwrap_err();
    assert!(matches!(error, BindingError::Forbidden(_)), "{error}");
    assert!(!has_user(kind, &grant("forbidden").user).await);
}

async fn an_administrator_needs_not_be_superuser(kind: ServiceKind) {
    let sql = match kind {
        ServiceKind::Postgres => "CREATE ROLE deputy LOGIN CREATEDB CREATEROLE PASSWORD 'x'",
        _ => {
            "CREATE USER deputy@'%' IDENTIFIED BY 'x'; \
             GRANT ALL ON *.* TO deputy@'%' WITH GRANT OPTION"
        }
    };
    Session::admin(kind).await.run(sql).await.unwrap();
    let server = Server { user: "deputy".into(), password: "x".into(), ..server(kind) };
    let own = grant("deputised");
    for _ in 0..2 {
        ensure(kind, &server, &own, TIMEOUT).await.unwrap();
    }
    let mut open = login(kind, &own).await.unwrap();
    open.run("CREATE TABLE t (id int)").await.unwrap();
    // The usual case of a chosen name: the database the Service came with.
    let mut deputy = Session::open(kind, "deputy", "x", None).await.unwrap();
    deputy.run("CREATE DATABASE service").await.unwrap();
    let mut inside = Session::open(kind, "deputy", "x", Some("service")).await.unwrap();
    inside.run("CREATE TABLE served (id int)").await.unwrap();
    let (one, two) = (chosen("deputy1", "service"), chosen("deputy2", "service"));
    let through = Server { database: Some("service".into()), ..server.clone() };
    for grant in [&one, &two, &one] {
        ensure(kind, &through, grant, TIMEOUT).await.unwrap();
    }
    login(kind, &one).await.unwrap().run("CREATE TABLE made (id int)").await.unwrap();
    let mut second = login(kind, &two).await.unwrap();
    second.run("INSERT INTO made VALUES (1); INSERT INTO served VALUES (1)").await.unwrap();
    for grant in [&one, &two] {
        remove(kind, &through, grant).await.unwrap();
    }
    inside.run("DROP TABLE made").await.unwrap();
    remove(kind, &server, &own).await.unwrap();
    assert!(open.run("SELECT 1").await.is_err());
    for grant in [&own, &one, &two] {
        assert!(!has_user(kind, &grant.user).await, "{grant:?}");
    }
    // Somebody else's database is not theirs to give.
    create_database(kind, "boss").await;
    let refused = ensure(kind, &server, &chosen("deputy3", "boss"), TIMEOUT).await;
    if kind == ServiceKind::Postgres {
        assert!(matches!(refused, Err(BindingError::Forbidden(_))), "{refused:?}");
    }
}

async fn a_server_that_is_not_there_is_unreachable(kind: ServiceKind) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = Server { port, ..server(kind) };
    // Nobody accepts: the connection stands, and nothing is ever said on it.
    let short = Duration::from_millis(200);
    let error = ensure(kind, &silent, &grant("nowhere"), short).await.unwrap_err();
    assert!(matches!(error, BindingError::Unreachable(_)) && error.is_retryable(), "{error}");
    drop(listener);
    let error = ensure(kind, &silent, &grant("nowhere"), TIMEOUT).await.unwrap_err();
    assert!(matches!(error, BindingError::Unreachable(_)), "{error}");
    let unknown = Server { host: "db.invalid".into(), ..server(kind) };
    let error = remove(kind, &unknown, &grant("nowhere")).await.unwrap_err();
    assert!(matches!(error, BindingError::Unreachable(_)), "{error}");
}

async fn certificates_are_verified(kind: ServiceKind) {
    let ca = servers::authority(kind);
    let named = Server { host: "localhost".into(), ca: Some(ca.clone()), ..server(kind) };
    let grant = grant("verified");
    ensure(kind, &named, &grant, TIMEOUT).await.unwrap();
    remove(kind, &named, &grant).await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let wrong = [
        // The certificate is for localhost.
        Server { host: "127.0.0.1".into(), ..named.clone() },
        Server { ca: Some(stranger.pem()), ..named.clone() },
    ];
    for server in wrong {
        let error = ensure(kind, &server, &grant, TIMEOUT).await.unwrap_err();
        assert!(matches!(error, BindingError::Unreachable(_)), "{error}");
    }
}

/// Whoever owns a database decides where names are looked up in it, for an administrator too.
#[tokio::test]
async fn nothing_that_a_function_left_is_run_by_the_administrator() {
    let kind = ServiceKind::Postgres;
    let trap = chosen("trapper", "trap");
    give(kind, &trap).await.unwrap();
    let mut trapper = login(kind, &trap).await.unwrap();
    trapper
        .run(
            "CREATE FUNCTION public.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE plpgsql \
               AS $$ BEGIN ALTER ROLE db_trapper_dev SUPERUSER; RETURN true; END $$; \
             ALTER DATABASE trap SET search_path = public, pg_catalog",
        )
        .await
        .unwrap();
    give(kind, &chosen("bait", "trap")).await.unwrap();
    let sql = "SELECT rolsuper FROM pg_roles WHERE rolname = 'db_trapper_dev'";
    assert_eq!(Session::admin(kind).await.value(sql).await.unwrap().unwrap(), "f");
}
