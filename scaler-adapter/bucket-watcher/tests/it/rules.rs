//! Notification rules of buckets.

use kipper_bucket::Rule;
use kipper_servers::{
    Minio,
    minio::{Options, Webhook},
};

use crate::world::{Watcher, World, endpoint, token, until};

const OTHERS: &str = "arn:minio:sqs::OTHER:webhook";

fn rule(prefix: &str, suffix: &str) -> Rule {
    Rule { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
}

async fn rules(world: &World, arn: &str) -> Vec<Rule> {
    let mut rules = world.s3.rules(&world.bucket, arn).await.unwrap();
    rules.sort();
    rules
}

#[tokio::test]
async fn rules_of_others_stay_and_own_ones_come_and_go_with_their_functions() {
    let endpoint_of = |name: &str| format!("http://127.0.0.1:9/{name}");
    let webhook = Webhook { endpoint: endpoint_of("ours"), token: token(), keeps_events: true };
    let env = vec![
        ("MINIO_NOTIFY_WEBHOOK_ENABLE_OTHER".to_owned(), "on".to_owned()),
        ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_OTHER".to_owned(), endpoint_of("other")),
    ];
    let options = Options { webhook: Some(webhook), env, ..Options::default() };
    let server = Minio::start(&options).unwrap();
    let world = World::at(endpoint(&server)).await;
    let others = rule("theirs/", ".png");
    let made = world.s3.change_rules(&world.bucket, OTHERS, std::slice::from_ref(&others), &[]);
    assert!(made.await.unwrap());

    let mut first = world.trigger();
    (first.prefix, first.suffix) = ("in/ä b/".to_owned(), ".jpg".to_owned());
    let mut second = world.trigger();
    second.function = "second".to_owned();
    let config = world.listening(([127, 0, 0, 1], 0).into());
    let watcher = Watcher::start(&config, &[first.clone(), second.clone()]).await;
    let ours = rule("in/ä b/", ".jpg");
    let all = rule("", "");
    let own = async || rules(&world, Minio::WEBHOOK_ARN).await;
    until("rules of both", async || own().await == [all.clone(), ours.clone()]).await;
    assert_eq!(rules(&world, OTHERS).await, std::slice::from_ref(&others));
    // What somebody removes is made again.
    let removed =
        world.s3.change_rules(&world.bucket, Minio::WEBHOOK_ARN, &[], std::slice::from_ref(&ours));
    assert!(removed.await.unwrap());
    until("made again", async || own().await == [all.clone(), ours.clone()]).await;

    watcher.triggers.send_replace(Some(vec![second].into()));
    until("the second function's rule alone", async || own().await == [all.clone()]).await;
    watcher.triggers.send_replace(Some(Vec::new().into()));
    until("no rules", async || own().await.is_empty()).await;
    assert_eq!(rules(&world, OTHERS).await, [others]);
}
