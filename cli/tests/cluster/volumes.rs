//! Volumes that functions mount.

use kipper_cluster::{names::SERVER_IMAGE, sandbox::run};
use serde_json::json;

use crate::kip::Kip;

#[tokio::test]
async fn a_volume_is_made_listed_and_kept_while_it_is_mounted() {
    run("volume", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("volume");
        let told = kip.ok(&["volume", "create", "cache", "--size", "2Gi"]).await;
        assert!(told.starts_with("volume cache of 2Gi created in namespace "), "{told}");
        let claim = sandbox_claim(&kip).await;
        assert_eq!(claim["metadata"]["name"], "shared-cache");
        assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "2Gi");
        let stderr = kip.fails(1, &["volume", "create", "cache"]).await;
        assert!(stderr.contains("volume cache already exists"), "{stderr}");

        let create = ["function", "create", &name, "--image", SERVER_IMAGE];
        kip.ok(&[&create[..], &["--volume", "cache:/data"]].concat()).await;
        let list = kip.ok(&["volume", "list"]).await;
        let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[0], "cache");
        assert_eq!(row.last(), Some(&name.as_str()));
        let stderr = kip.fails(1, &["volume", "delete", "cache"]).await;
        assert!(stderr.contains(&format!("volume cache is mounted by {name}")), "{stderr}");

        // What is not there is not mounted, and what is mounted can be taken back.
        let update = ["function", "update", &name];
        let stderr = kip.fails(1, &[&update[..], &["--volume", "nosuch:/data2"]].concat()).await;
        assert!(stderr.contains("volume nosuch does not exist in namespace"), "{stderr}");
        let twice = [&create[..], &["--volume", "nosuch:/data2"]].concat();
        let stderr = kip.fails(1, &twice).await;
        assert!(stderr.contains("volume nosuch does not exist in namespace"), "{stderr}");
        kip.ok(&[&update[..], &["--volume", "cache:/data2"]].concat()).await;
        let end = kip.run(&[&create[..], &["--volume", "cache:/data"]].concat()).await;
        assert_eq!(end.code, 0, "{end:?}");
        assert!(end.stderr.contains("set by another command: volume cache at /data2"));
        kip.ok(&[&update[..], &["--volume", "cache-"]].concat()).await;
        let spec = kip.json(&["function", "get", &name, "-o", "json"]).await["spec"].clone();
        assert_eq!(spec["volumes"].as_array().map_or(0, Vec::len), 0, "{spec}");
        let end = kip.run(&[&update[..], &["--image-pull-secret", "nosuch"]].concat()).await;
        assert!(end.stderr.contains("image pull secret nosuch does not exist"), "{end:?}");

        kip.ok(&["function", "delete", &name]).await;
        assert_eq!(kip.ok(&["volume", "delete", "cache"]).await, "volume cache deleted\n");
        let stderr = kip.fails(1, &["volume", "delete", "cache"]).await;
        assert!(stderr.contains("volume cache does not exist"), "{stderr}");
    })
    .await;
}

async fn sandbox_claim(kip: &Kip) -> serde_json::Value {
    kip.json(&["volume", "list", "-o", "json"]).await["items"][0].clone()
}
