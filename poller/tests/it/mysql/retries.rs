//! What follows a delivery that fails.

use super::database::Database;
use crate::scenario::retries;

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
