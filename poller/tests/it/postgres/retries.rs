//! What follows a delivery that fails.

use super::database::Database;
use crate::{scenario::retries, table::Table as _};

#[tokio::test]
async fn retryable_answers_end_among_the_dead_letters() {
    retries::retryable_answers_end_among_the_dead_letters(Database::new).await;
}

#[tokio::test]
async fn other_client_errors_are_dead_at_once() {
    retries::other_client_errors_are_dead_at_once(Database::new).await;
}

#[tokio::test]
async fn a_redrive_delivers_once() {
    retries::a_redrive_delivers_once(Database::new().await).await;
}

#[tokio::test]
async fn a_mended_row_is_delivered_as_it_is() {
    retries::a_mended_row_is_delivered_as_it_is(Database::new().await).await;
}

#[tokio::test]
async fn a_row_that_left_is_not_delivered_again() {
    retries::a_row_that_left_is_not_delivered_again(Database::new().await).await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    retries::retry_after_is_honoured(Database::new().await).await;
}

#[tokio::test]
async fn silence_is_a_failure_too() {
    retries::silence_is_a_failure_too(Database::new().await).await;
}

#[tokio::test]
async fn poison_never_blocks_the_others() {
    retries::poison_never_blocks_the_others(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_uses_up_no_attempt() {
    retries::an_outage_uses_up_no_attempt(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_rows_do_not_fill_the_lock_table() {
    let database = Database::new().await;
    let room = "SELECT current_setting('max_locks_per_transaction')::int8 \
                * current_setting('max_connections')::int8";
    let (room, url) = (database.number(room).await, database.url.clone());
    let connect = async || drop(super::database::connect(&url).await);
    retries::failing_rows_do_not_fill_the_lock_table(database, room, connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_front_hides_nothing_for_long() {
    retries::poison_in_front_hides_nothing_for_long(Database::new().await).await;
}
