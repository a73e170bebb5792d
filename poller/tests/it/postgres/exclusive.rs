//! Several pollers on one table: each row once, none by two at a time.

use super::database::Database;
use crate::scenario::exclusive;

#[tokio::test(flavor = "multi_thread")]
async fn four_pollers_deliver_ten_thousand_rows_once_each() {
    exclusive::four_pollers(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_pods_of_a_rollout_keep_each_other_out() {
    exclusive::rollout(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_takes_more_than_twice_what_it_can_run() {
    exclusive::fair_shares(Database::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_may_do_anything_to_their_rows() {
    exclusive::meddling_handlers(Database::new().await).await;
}

#[tokio::test]
async fn without_a_mark_a_row_comes_again_only_when_it_changed() {
    exclusive::no_mark(Database::new().await).await;
}

#[tokio::test]
async fn a_row_that_matches_after_its_mark_waits_for_a_change() {
    exclusive::mark_that_changes_little(Database::new().await).await;
}
