//! The count that KEDA would scale on.

use clap::Parser as _;
use kipper_poller::{Backlog, Config, Error, check};
use kipper_servers::postgres::{Options, Postgres};

use super::database::{Database, MARK_DONE, QUERY, connect};
use crate::wait::until;

const TARGET: &str = "http://127.0.0.1:9/event";

fn config(flags: Vec<String>) -> Config {
    Config::try_parse_from(["kipper-poll".to_owned()].into_iter().chain(flags)).unwrap()
}

#[tokio::test]
async fn it_counts_what_matches_up_to_its_bound() {
    let database = Database::new().await;
    // It ends in a comment, which must not hide what follows.
    let query = format!("{QUERY} -- the oldest first;");
    let config = config(database.flags_with(TARGET, &query, Some(MARK_DONE)));
    check(&config).await.unwrap();
    let mut backlog = Backlog::new(&config, 25).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 0);
    database.fill(20).await;
    assert_eq!(backlog.count().await.unwrap(), 20);
    database.fill(20).await;
    assert_eq!(backlog.count().await.unwrap(), 25);
    database.client.batch_execute("UPDATE orders SET status = 'done'").await.unwrap();
    assert_eq!(backlog.count().await.unwrap(), 0);
    assert_eq!(database.locks().await, 0, "it claims nothing");
    let sessions = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'kipper-poll'";
    // Those of the check end in their own time.
    until("one connection for all counts", async || database.number(sessions).await == 1).await;
}

#[tokio::test]
async fn it_outlives_its_server() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    database.fill(3).await;
    let config = config(database.flags(TARGET));
    let mut backlog = Backlog::new(&config, 100).unwrap();
    assert_eq!(backlog.count().await.unwrap(), 3);
    server.stop_immediate().unwrap();
    backlog.count().await.unwrap_err();
    assert!(!check(&config).await.unwrap_err().is_usage(), "away is no mistake of the user's");
    server.start_again().unwrap();
    connect(&database.url).await;
    assert_eq!(backlog.count().await.unwrap(), 3);
}

#[tokio::test]
async fn a_trigger_that_cannot_work_is_found_without_a_poller() {
    let database = Database::new().await;
    let refused = async |query: &str, mark: &str| {
        let error = check(&config(database.flags_with(TARGET, query, Some(mark)))).await;
        let error = error.unwrap_err();
        assert!(error.is_usage(), "{error}");
        error.to_string()
    };
    assert!(refused(QUERY, "DELETE FROM orders WHERE id = {{nr}}").await.contains("nr"));
    let limited = format!("{QUERY} LIMIT 3");
    assert!(refused(&limited, MARK_DONE).await.contains("LIMIT"));
    let counted = Backlog::new(&config(database.flags_with(TARGET, &limited, None)), 10);
    assert!(matches!(counted, Err(Error::Source(_))));
}
