//! An event that fails again and again, told while it does.

use kipper_cluster::{
    sandbox::{condition_is, run},
    wait::{expect, until},
};
use kipper_function::{names::condition::EVENTS_DELIVERED, service::ServiceKind};
use serde_json::json;

use super::{orders::Orders, with};

#[tokio::test]
async fn a_poison_row_is_told_until_the_function_takes_it() {
    run("poison", |sandbox| async move {
        let name = sandbox.name("poison");
        let orders = Orders::create(&sandbox, ServiceKind::Postgres).await;
        orders.insert(1..=3).await;
        let code = "module.exports = async (event) => {
                        if (event.id === 2) throw new Error('indigestible')
                    }";
        let trigger = with(orders.trigger(), &json!({ "maxAttempts": "100" }));
        let spec = json!({ "source": { "code": code }, "triggers": [trigger.clone()] });
        sandbox.apply(&name, spec).await;
        let told = |status: &'static str, reason: &'static str| {
            let (sandbox, name) = (sandbox.clone(), name.clone());
            async move {
                let holds = |f: &kipper_function::Function| {
                    condition_is(f, EVENTS_DELIVERED, status, reason)
                };
                let function = sandbox.function_that(&name, reason, holds).await;
                function.status.unwrap().condition(EVENTS_DELIVERED).unwrap().message.clone()
            }
        };
        let message = told("False", "EventsFailing").await;
        assert!(message.starts_with("1 event failed and is tried again"), "{message}");
        assert!(message.contains("onFailed"), "{message}");
        sandbox.until_event(&name, "EventsFailing", "1 event failed").await;
        sandbox.until_ready(&name).await;

        let repaired = json!({ "code": "module.exports = async () => null" });
        let spec = json!({ "source": repaired, "triggers": [trigger] });
        sandbox.apply(&name, spec).await;
        told("True", "Delivered").await;
        until("the end of the row", || async {
            let left = orders.unfinished().await;
            expect(left == 0, || format!("{left} rows"))
        })
        .await;
    })
    .await;
}
