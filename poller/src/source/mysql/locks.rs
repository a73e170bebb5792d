//! Names of locks, and the statements that take and give up several of them in one round trip.

use std::sync::Arc;

use mysql_async::{Row, Value};
use ring::digest::{Context, SHA256};

use super::server::Server;

/// A user lock's name.
pub(super) type Lock = Arc<str>;

/// Most locks that one statement takes or gives up is two to this power. A batch is cut into powers
/// of two, so that few statements serve all sizes.
const LOCKS_POWER: u32 = 7;

/// Makes the names of one function's locks.
///
/// Names are the server's, not a database's, and short. The query's text is no part of them: the
/// old and the new pods of a rollout have to keep each other out.
#[derive(Clone)]
pub(super) struct Names(Context);

impl Names {
    pub(super) fn new(server: &Server, function: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in ["kipper-poll", &server.identity, &server.database, function] {
            context.update(part.as_bytes());
            context.update(b"\0");
        }
        Self(context)
    }

    /// Half of a hash: long enough that no two keys ever meet.
    pub(super) fn of(&self, key: &str) -> Lock {
        let mut context = self.0.clone();
        context.update(key.as_bytes());
        let hash = context.finish();
        let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Lock::from(format!("kp:{hex}"))
    }
}

/// One of the two functions for locks, asked for several of them at once.
pub(super) struct Batches(Vec<String>);

impl Batches {
    pub(super) fn take() -> Self {
        Self::of("GET_LOCK(?, 0)")
    }

    pub(super) fn give_up() -> Self {
        Self::of("RELEASE_LOCK(?)")
    }

    /// One letter for each lock. The server goes from the left to the right, and calls each once.
    fn of(call: &str) -> Self {
        let one = format!("IFNULL({call}, '-')");
        let sql = |power: u32| {
            format!("SELECT CONCAT({})", vec![one.as_str(); 1_usize << power].join(", "))
        };
        Self((0..=LOCKS_POWER).map(sql).collect())
    }

    /// The largest batch that these locks fill, with its statement and parameters.
    pub(super) fn first<'a>(&self, locks: &'a [Lock]) -> Option<(&'a [Lock], &str, Vec<Value>)> {
        let power = locks.len().checked_ilog2()?.min(LOCKS_POWER);
        let (batch, _) = locks.split_at_checked(1 << power)?;
        let sql = self.0.get(usize::try_from(power).ok()?)?;
        Some((batch, sql, batch.iter().map(|lock| Value::from(&**lock)).collect()))
    }
}

/// For which of a batch's locks the function answered 1.
pub(super) fn answers(rows: &[Row]) -> Vec<bool> {
    let letters = rows.first().and_then(|row| row.get_opt::<Vec<u8>, usize>(0)?.ok());
    letters.unwrap_or_default().iter().map(|letter| *letter == b'1').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(database: &str) -> Server {
        Server { identity: "1".to_owned(), database: database.to_owned(), is_mariadb: true }
    }

    #[test]
    fn names_are_one_functions_of_one_database() {
        let names = Names::new(&server("shop"), "ns/fn");
        assert_eq!(names.of("1"), Names::new(&server("shop"), "ns/fn").of("1"));
        assert_eq!(names.of("1").len(), 35);
        assert_ne!(names.of("1"), names.of("2"));
        assert_ne!(names.of("1"), Names::new(&server("shop"), "ns/other").of("1"));
        assert_ne!(names.of("1"), Names::new(&server("shop2"), "ns/fn").of("1"));
    }

    #[test]
    fn batches_are_powers_of_two() {
        let locks: Vec<Lock> = (0..300).map(|n| Lock::from(n.to_string())).collect();
        let batches = Batches::take();
        let (mut rest, mut sizes) = (&locks[..], Vec::new());
        while let Some((batch, sql, parameters)) = batches.first(rest) {
            assert_eq!(sql.matches('?').count(), batch.len());
            assert_eq!(parameters.len(), batch.len());
            sizes.push(batch.len());
            rest = &rest[batch.len()..];
        }
        assert_eq!(sizes, [128, 128, 32, 8, 4]);
    }
}
