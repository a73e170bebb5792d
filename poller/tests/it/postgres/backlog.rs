//! The count that KEDA would scale on.

use clap::Parser as _;
use kipper_poller::{Backlog, Config, Error, check};
use kipper_servers::postgres::{Options, Postgres};

use super::database::{Database, connect};
use crate::{
    poller::TARGET,
    scenario::delivery,
    table::{MARK_DONE, QUERY, Table as _},
};

fn config(flags: Vec<String>) -> Config {
    Config::try_parse_from(["kipper-poll".to_owned()].into_iter().chain(flags)).unwrap()
}

#[tokio::test]
async fn it_counts_what_matches_up_to_its_bound() {
    delivery::backlog(Database::new().await).await;
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
