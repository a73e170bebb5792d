//! What kind of server it is, and whether its locks keep anybody out.

use std::collections::HashMap;

use mysql_async::{Row, Value};

use super::connection::{Link, Turn, invalid};
use crate::source::SourceError;

const FACTS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
    ('read_only', 'super_read_only', 'wsrep_on', 'server_uuid', 'server_uid', 'server_id')";

/// What is known of a server.
#[derive(Debug)]
pub(super) struct Server {
    /// Tells servers apart, as well as they let themselves be told apart.
    pub(super) identity: String,
    /// The connection's database.
    pub(super) database: String,
    /// MariaDB, not MySQL.
    pub(super) is_mariadb: bool,
}

/// Refuses a server whose locks do not keep every other writer out, and a proxy behind which two
/// statements of one connection may come to two sessions.
///
/// `claims` takes a random lock; `marks`, inside a transaction, must not get it, and neither may
/// share a session with the other.
pub(super) async fn check(claims: &Link, marks: &Link) -> Result<Server, SourceError> {
    let mut claims = claims.turn().await;
    let mut marks = marks.turn().await;
    let server = facts(&mut claims).await?;
    let name = format!("kp:test:{:032x}", fastrand::u128(..));
    let lock = "SELECT GET_LOCK(?, 0)";
    let parameter = || vec![Value::from(&name)];
    let id = "SELECT CONNECTION_ID()";
    let first = number(&claims.text(id).await?);
    let taken = number(&claims.rows(lock, parameter()).await?);
    marks.text("START TRANSACTION").await?;
    let other = number(&marks.text(id).await?);
    let stolen = number(&marks.rows(lock, parameter()).await?);
    // With the other session busy a proxy has to show another one here.
    let second = number(&claims.text(id).await?);
    let release = "SELECT RELEASE_LOCK(?)";
    if stolen == Some(1) {
        marks.rows(release, parameter()).await?;
    }
    marks.text("ROLLBACK").await?;
    let freed = number(&claims.rows(release, parameter()).await?);
    let pinned = number(&claims.text("SELECT @@session.autocommit").await?);
    let seen = Seen { first, second, other, taken, stolen, freed, pinned };
    if seen.is_exclusive() { Ok(server) } else { Err(invalid(NO_LOCKS)) }
}

const NO_LOCKS: &str = "session locks do not hold on this connection, as behind a proxy that shares \
    sessions between its clients: connect to the server itself, or switch multiplexing off";

/// What two connections saw of one lock.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The first connection's session, before and after the other was at work.
    first: Option<i64>,
    second: Option<i64>,
    /// The other's.
    other: Option<i64>,
    taken: Option<i64>,
    stolen: Option<i64>,
    freed: Option<i64>,
    /// What was set at the beginning still holds.
    pinned: Option<i64>,
}

impl Seen {
    fn is_exclusive(self) -> bool {
        let own = self.first.is_some() && self.first == self.second && self.first != self.other;
        own && [self.taken, self.freed, self.pinned] == [Some(1); 3] && self.stolen == Some(0)
    }
}

async fn facts(turn: &mut Turn<'_>) -> Result<Server, SourceError> {
    let rows = turn.text(FACTS).await?;
    let facts: HashMap<String, String> = rows.iter().filter_map(pair).collect();
    if let Some(why) = refusal(&facts) {
        return Err(invalid(why));
    }
    let identity = ["server_uuid", "server_uid", "server_id"];
    let identity = identity.into_iter().find_map(|name| facts.get(name));
    let about = turn.text("SELECT DATABASE(), VERSION()").await?;
    let (database, version) = about.first().and_then(pair).unwrap_or_default();
    Ok(Server {
        identity: identity.cloned().unwrap_or_default(),
        database,
        is_mariadb: version.to_ascii_lowercase().contains("mariadb"),
    })
}

/// Why events cannot be claimed on a server with these variables.
fn refusal(facts: &HashMap<String, String>) -> Option<&'static str> {
    let is_on = |name: &str| {
        facts.get(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("OFF"))
    };
    if is_on("wsrep_on") {
        return Some(
            "the source is a Galera cluster: its nodes do not know of each other's locks, and two \
             pods could handle one event",
        );
    }
    if is_on("read_only") || is_on("super_read_only") {
        return Some("the source is read only: events can be claimed on the primary only");
    }
    None
}

fn pair(row: &Row) -> Option<(String, String)> {
    let text = |at| row.get_opt::<String, usize>(at)?.ok();
    Some((text(0)?, text(1)?))
}

/// First value of the first row.
pub(super) fn number(rows: &[Row]) -> Option<i64> {
    rows.first()?.get_opt::<i64, usize>(0)?.ok()
}

#[cfg(test)]
mod tests {
    use super::{Seen, refusal};

    #[test]
    fn servers_that_are_refused() {
        let check = |facts: &[(&str, &str)], says: Option<&str>| {
            let facts = facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let why = refusal(&facts);
            assert_eq!(why.is_some(), says.is_some(), "{facts:?}");
            assert!(says.is_none_or(|says| why.is_some_and(|why| why.contains(says))), "{facts:?}");
        };
        check(&[], None);
        check(&[("wsrep_on", "OFF"), ("read_only", "OFF"), ("super_read_only", "OFF")], None);
        check(&[("wsrep_on", "ON"), ("read_only", "OFF")], Some("Galera"));
        check(&[("read_only", "ON")], Some("read only"));
        check(&[("read_only", "NO_LOCK_NO_ADMIN")], Some("read only"));
        check(&[("read_only", "0"), ("super_read_only", "1")], Some("read only"));
    }

    /// What a proxy shows that hands every statement to whichever session is free.
    #[test]
    fn sessions_that_are_shared() {
        let well = Seen {
            first: Some(7),
            second: Some(7),
            other: Some(8),
            taken: Some(1),
            stolen: Some(0),
            freed: Some(1),
            pinned: Some(1),
        };
        assert!(well.is_exclusive());
        for shared in [
            Seen { second: Some(9), ..well },
            Seen { other: Some(7), stolen: Some(1), ..well },
            Seen { stolen: Some(1), ..well },
            Seen { taken: Some(0), ..well },
            Seen { taken: None, ..well },
            Seen { freed: Some(0), ..well },
            Seen { freed: None, ..well },
            Seen { pinned: Some(0), ..well },
        ] {
            assert!(!shared.is_exclusive(), "{shared:?}");
        }
    }
}
