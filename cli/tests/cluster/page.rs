//! The documentation's own examples, word for word, at a shell.

use std::sync::Arc;

use kipper_cluster::{
    objects,
    sandbox::{Sandbox, create_namespace, delete_namespace, run_alone},
    wait::{expect, until},
};
use serde_json::json;

use crate::{
    kip::{Kip, service},
    terminal::answered,
};

const HANDLER: &str = "module.exports = async () => console.log('synced')\n";
const WARMER: &str = "def handler(event, context=None):\n    return {'warmed': True}\n";

/// Namespaces that the examples name.
const DOMAINS: &str = "domains-prod";
const YOURR_NAME: &str = "yourr-name-prod";

/// A host is a name in the whole cluster, and these are the page's: nobody else may be at it.
#[tokio::test]
async fn every_example_of_the_page_works_as_it_stands() {
    run_alone("page", |sandbox| async move {
        let files = [("opensrs-sync.js", HANDLER), ("warmer.py", WARMER)];
        let kip = Arc::new(Kip::new(&sandbox, &files).await);
        for namespace in [DOMAINS, YOURR_NAME] {
            create_namespace(&sandbox.client, namespace).await;
        }
        let (others, typed) = (sandbox.inside(DOMAINS), Arc::clone(&kip));
        let done = tokio::spawn(async move {
            create(&sandbox, &typed).await;
            keys(&typed).await;
            bindings(&others, &typed).await;
            manage(&sandbox, &typed).await;
        })
        .await;
        for namespace in [DOMAINS, YOURR_NAME] {
            delete_namespace(&kipper_cluster::sandbox::client().await, namespace).await;
        }
        done.unwrap();
    })
    .await;
}

async fn create(sandbox: &Sandbox, kip: &Kip) {
    let told = kip
        .typed(
            r#"kip function create opensrs-sync \
  --code-file ./opensrs-sync.js \
  --runtime node \
  --trigger cron --schedule "0 2 * * *" \
  --dependency pg@8.11.5 \
  --dependency axios@1.6.7"#,
        )
        .await;
    assert!(told.contains("schedule  Every day at 02:00 UTC\n"), "{told}");
    assert_eq!(told.lines().filter(|line| line.ends_with(" 02:00 UTC")).count(), 6, "{told}");
    let deps = kip.json(&["function", "deps", "list", "opensrs-sync", "-o", "json"]).await;
    let expected = json!([
        { "name": "axios", "version": "1.6.7" },
        { "name": "pg", "version": "8.11.5" },
    ]);
    assert_eq!(deps, expected);

    kip.typed("kip volume create cache").await;
    kip.typed(
        r"kip function create cache-warmer \
  --code-file ./warmer.py \
  --runtime python \
  --volume cache:/data",
    )
    .await;
    let warmer = sandbox.object("Function", "cache-warmer").await.unwrap();
    assert_eq!(warmer["spec"]["volumes"], json!([{ "name": "cache", "mountPath": "/data" }]));

    let told = kip
        .typed(
            r"kip function create webhook-handler \
  --image registry.example.com/webhook-handler:latest \
  --trigger http \
  --port 8080 \
  --project yourr-name --environment prod",
        )
        .await;
    assert!(told.contains(&format!("https://{}", sandbox.host("webhook-handler"))), "{told}");

    service(sandbox, "mydb", "postgres").await;
    kip.typed(
        r#"kip function create process-orders \
  --image registry.example.com/order-processor:latest \
  --trigger postgres \
  --source mydb \
  --query "SELECT * FROM orders WHERE status = 'pending'" \
  --mark-done "UPDATE orders SET status = 'done' WHERE id = {{id}}" \
  --port 8080"#,
    )
    .await;
    let orders = sandbox.object("Function", "process-orders").await.unwrap();
    let mark = &orders["spec"]["triggers"][0]["config"]["markDone"];
    assert_eq!(*mark, "UPDATE orders SET status = 'done' WHERE id = {{id}}");
}

async fn keys(kip: &Kip) {
    kip.typed("kip function env set opensrs-sync OPENSRS_HOST=horizon.opensrs.net").await;
    let list = kip.typed("kip function env list opensrs-sync").await;
    assert_eq!(list, "NAME           VALUE\nOPENSRS_HOST   horizon.opensrs.net\n");
    kip.typed("kip function env delete opensrs-sync OPENSRS_HOST").await;
    assert_eq!(kip.typed("kip function env list opensrs-sync").await, "");

    let set = kip.shell("kip function secret set opensrs-sync OPENSRS_API_KEY");
    let (code, terminal) = answered(set, "from the registrar\r").await;
    assert!(code == Some(0) && terminal.contains("Value of OPENSRS_API_KEY: "), "{terminal}");
    assert!(!terminal.contains("registrar"), "{terminal}");
    let list = kip.typed("kip function secret list opensrs-sync").await;
    assert_eq!(list, "NAME              HAS PREVIOUS\nOPENSRS_API_KEY   no\n");
    kip.typed("kip function secret delete opensrs-sync OPENSRS_API_KEY").await;
    assert_eq!(kip.typed("kip function secret list opensrs-sync").await, "");
}

async fn bindings(domains: &Sandbox, kip: &Kip) {
    kip.typed(
        "kip function create opensrs-sync --code-file ./opensrs-sync.js --trigger cron \
         --schedule '0 2 * * *' --project domains --environment prod",
    )
    .await;
    service(domains, "eventdb", "postgres").await;
    let told = kip
        .typed("kip function bind opensrs-sync eventdb --project domains --environment prod")
        .await;
    assert_eq!(
        told,
        "service eventdb bound to function opensrs-sync\n\
         injects   DB_HOST DB_PORT DB_USER DB_PASSWORD DB_NAME\n"
    );
    let bound = domains.object("Function", "opensrs-sync").await.unwrap();
    assert_eq!(bound["spec"]["serviceBindings"], json!([{ "name": "eventdb" }]));
    kip.typed("kip function unbind opensrs-sync eventdb --project domains --environment prod")
        .await;
    let free = domains.object("Function", "opensrs-sync").await.unwrap();
    assert_eq!(free["spec"]["serviceBindings"].as_array().map_or(0, Vec::len), 0);
    let told = kip
        .typed(
            "kip function bind opensrs-sync eventdb --prefix PG_ --database shared -n domains-prod",
        )
        .await;
    assert!(told.contains("injects   PG_HOST PG_PORT PG_USER PG_PASSWORD PG_NAME"), "{told}");
}

async fn manage(sandbox: &Sandbox, kip: &Kip) {
    let list = kip.typed("kip function list").await;
    for name in ["cache-warmer", "opensrs-sync", "process-orders"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    kip.typed("kip function logs opensrs-sync").await;
    let told = kip.typed("kip function delete cache-warmer opensrs-sync process-orders").await;
    assert_eq!(
        told,
        "function cache-warmer deleted\nfunction opensrs-sync deleted\n\
         function process-orders deleted\n"
    );
    let left = objects::list(&sandbox.client, "Function", &sandbox.namespace, "").await;
    assert_eq!(left.len(), 0);
    // What the Function owned goes with it.
    until("the end of the secrets", || async {
        let secret = sandbox.object("Secret", "opensrs-sync-secrets").await;
        expect(secret.is_none(), || format!("{secret:?}"))
    })
    .await;
}
