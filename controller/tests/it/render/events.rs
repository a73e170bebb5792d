//! Event triggers: the poller in the pod, and what KEDA is told to count.

use std::collections::BTreeSet;

use kipper_controller::plan::Kind;
use kipper_trigger::shard;
use serde_json::{Value, json};

use super::{
    env,
    fixtures::{self, Case},
    of, template, yaml,
};

fn scaled(case: &Case) -> Value {
    of(&case.render(), Kind::ScaledObject).clone()
}

fn pod(case: &Case) -> Value {
    of(&case.render(), Kind::Deployment).pointer("/spec/template/spec").unwrap().clone()
}

/// `name=value` of the poller's plain variables.
fn poller_env(pod: &Value) -> Vec<String> {
    let list = pod["initContainers"][0]["env"].as_array().unwrap().iter();
    let plain =
        list.filter_map(|v| Some(format!("{}={}", v["name"].as_str()?, v["value"].as_str()?)));
    plain.collect()
}

#[test]
fn postgres() {
    insta::assert_snapshot!(yaml(&fixtures::postgres_events().render()));
}

#[test]
fn mysql() {
    insta::assert_snapshot!(yaml(&fixtures::mysql_events().render()));
}

#[test]
fn redis() {
    insta::assert_snapshot!(yaml(&fixtures::redis_events().render()));
}

#[test]
fn minio() {
    insta::assert_snapshot!(yaml(&fixtures::minio_events().render()));
}

#[test]
fn beside_http() {
    insta::assert_snapshot!(yaml(&fixtures::http_and_events().render()));
}

#[test]
fn rows_that_nothing_marks_have_one_replica() {
    let cases = [
        ("{source: db, query: select 1}", json!([0, 1])),
        ("{source: db, query: select 1, markDone: ''}", json!([0, 1])),
        ("{source: db, query: select 1, markDone: update t set a = 1}", json!([0, 7])),
    ];
    for (config, expected) in cases {
        for (kind, scaling) in [("postgres", "{maxReplicas: 7}"), ("mysql", "{maxReplicas: 7}")] {
            let spec = format!(
                "{{image: x, scaling: {scaling}, triggers: [{{type: {kind}, config: {config}}}]}}"
            );
            let spec = &scaled(&Case::new("f", &spec).event(&["connection"]))["spec"];
            let found = json!([spec["minReplicaCount"], spec["maxReplicaCount"]]);
            assert_eq!(found, expected, "{kind} {config}");
        }
    }
    let spec = "{image: x, scaling: {minReplicas: 3, maxReplicas: 7}, triggers: \
                [{type: mysql, config: {source: db, query: select 1}}]}";
    let spec = &scaled(&Case::new("f", spec).event(&[]))["spec"];
    assert_eq!((&spec["minReplicaCount"], &spec["maxReplicaCount"]), (&json!(1), &json!(1)));
    let query = spec["triggers"][0]["metadata"]["query"].as_str().unwrap();
    assert!(query.ends_with("\nselect 1\n) q LIMIT 100) n"), "{query}");
}

#[test]
fn a_refused_trigger_stops_the_scaler_and_leaves_requests_alone() {
    let paused = "/metadata/annotations/autoscaling.keda.sh~1paused";
    let alone = fixtures::postgres_events();
    assert_eq!(scaled(&alone).pointer(paused), None);
    let refused = alone.clone().refused();
    assert_eq!(scaled(&refused).pointer(paused), Some(&json!("true")));
    // The pods stay as they are: the kubelet goes on trying.
    assert_eq!(pod(&refused), pod(&alone));

    let both = fixtures::http_and_events().refused();
    let objects = both.render();
    let scaled = of(&objects, Kind::ScaledObject);
    assert_eq!(scaled.pointer(paused), None);
    let triggers = scaled["spec"]["triggers"].as_array().unwrap();
    assert_eq!(triggers.len(), 1);
    assert_eq!(
        triggers[0]["metadata"]["scalerAddress"],
        both.settings.scaler_addresses[0].as_str()
    );
    assert!(objects.iter().all(|object| object.kind != Kind::TriggerAuthentication));
    let pod = pod(&both);
    assert_eq!(pod.get("initContainers"), None);
    assert_eq!(pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
}

/// Each function asks its own shard; the events of buckets are counted by the first one.
#[test]
fn the_address_is_that_of_the_function_s_shard() {
    let addresses = || (0..3).map(|shard| format!("adapter-{shard}:9090")).collect();
    let mut seen = BTreeSet::new();
    for case in [
        fixtures::http_and_events(),
        fixtures::postgres_events(),
        fixtures::minio_events(),
        fixtures::node_hello(),
    ] {
        let case = case.set(|settings| settings.scaler_addresses = addresses());
        let function = &case.function.metadata;
        let (namespace, name) = (function.namespace.as_deref(), function.name.as_deref());
        let own = shard::index(namespace.unwrap(), name.unwrap(), 3);
        for trigger in scaled(&case)["spec"]["triggers"].as_array().unwrap() {
            let metadata = &trigger["metadata"];
            let Some(address) = metadata["scalerAddress"].as_str() else { continue };
            let shard = if metadata["bucket"] == "true" { 0 } else { own };
            assert_eq!(address, format!("adapter-{shard}:9090"));
            seen.insert(address.to_owned());
        }
    }
    assert!(seen.len() > 1, "all of one shard: {seen:?}");
}

#[test]
fn a_stopping_pod_has_time_for_the_longest_delivery() {
    let grace = |case: &Case| pod(case)["terminationGracePeriodSeconds"].as_i64().unwrap();
    assert_eq!(grace(&fixtures::redis_events()), 300 + 30);
    assert_eq!(grace(&fixtures::postgres_events()), 90 + 30);
    // The poller drains first, and requests after it.
    assert_eq!(grace(&fixtures::http_and_events()), 300 + 30 + 5 + 60 + 5);
}

#[test]
fn the_poller_has_ports_of_its_own() {
    for (port, admin, drain) in [(8080, 9990, 9991), (9990, 9992, 9993), (9991, 9992, 9993)] {
        let config = "{type: redis, config: {source: cache, list: jobs}}";
        let spec = format!("{{image: x, port: {port}, triggers: [{config}]}}");
        let pod = pod(&Case::new("f", &spec).event(&["address"]));
        let env = poller_env(&pod);
        for expected in [
            format!("KIPPER_TARGET_URL=http://127.0.0.1:{port}/event"),
            format!("KIPPER_POLL_ADMIN_LISTEN=0.0.0.0:{admin}"),
            format!("KIPPER_POLL_DRAIN_LISTEN=0.0.0.0:{drain}"),
        ] {
            assert!(env.contains(&expected), "{expected}: {env:?}");
        }
        let ports = &pod["initContainers"][0]["ports"];
        assert_eq!(ports[0]["containerPort"], admin);
        let hook = &pod["containers"][0]["lifecycle"]["preStop"]["httpGet"];
        assert_eq!(hook["port"], drain);
    }
}

/// Kubernetes expands `$(NAME)` in values, and `$$` to `$`.
#[test]
fn a_statement_reaches_the_poller_as_it_is() {
    let case = fixtures::postgres_events();
    let query = case.event.as_ref().unwrap().query.clone().unwrap();
    let expanded = poller_env(&pod(&case)).join("\n").replace("$$", "$");
    assert!(query.contains("$$done$$"));
    assert!(expanded.contains(&format!("KIPPER_QUERY={query}\n")), "{expanded}");
    // KEDA expands nothing.
    let counted = scaled(&case);
    let counted = counted.pointer("/spec/triggers/0/metadata/query").unwrap().as_str().unwrap();
    assert!(counted.contains(&query), "{counted}");
}

#[test]
fn no_credential_stands_in_an_object() {
    for case in fixtures::all() {
        for object in case.render() {
            let Some(template) = template(&object) else { continue };
            for container in template["spec"]["initContainers"].as_array().into_iter().flatten() {
                let secret = ["URL", "KEY", "TOKEN"].map(|part| format!("_{part}"));
                for variable in container["env"].as_array().unwrap() {
                    let name = variable["name"].as_str().unwrap();
                    let is_secret = secret.iter().any(|part| name.ends_with(part))
                        && !matches!(name, "KIPPER_TARGET_URL" | "KIPPER_POLL_KEY");
                    assert_eq!(variable.get("value").is_none(), is_secret, "{name}");
                }
            }
        }
    }
}

#[test]
fn the_function_knows_its_trigger() {
    for (case, trigger) in
        [(fixtures::minio_events(), "minio"), (fixtures::http_and_events(), "redis")]
    {
        let objects = case.render();
        let template = of(&objects, Kind::Deployment).pointer("/spec/template").unwrap();
        let env = env(template);
        assert!(env.contains(&format!("KIPPER_TRIGGER={trigger}")), "{env:?}");
        assert!(env.contains(&"KIPPER_MODE=http".to_owned()), "{env:?}");
        assert_eq!(template["metadata"]["labels"]["kipper.run/trigger"], trigger);
    }
}

#[test]
fn the_digest_follows_what_the_poller_reads_at_its_start() {
    let digest = |case: &Case| {
        let objects = case.render();
        let path = "/spec/template/metadata/annotations/kipper.run~1trigger-digest";
        let told = of(&objects, Kind::Deployment).pointer(path).unwrap().as_str().unwrap();
        assert_eq!(case.trigger_digest().as_deref(), Some(told));
        told.to_owned()
    };
    fn config(case: &mut Case, key: &str, value: &str) {
        let trigger = &mut case.function.spec.triggers[0];
        trigger.config.insert(key.to_owned(), value.to_owned());
    }
    let base = fixtures::postgres_events();
    let changes: [fn(&mut Case); 5] = [
        |case| case.event.as_mut().unwrap().digest = "another".to_owned(),
        |case| case.event.as_mut().unwrap().max_held = 7,
        |case| config(case, "query", "SELECT 2"),
        |case| config(case, "markDone", "DELETE FROM orders WHERE id = {{id}}"),
        |case| config(case, "concurrency", "5"),
    ];
    let mut seen = BTreeSet::from([digest(&base)]);
    for change in changes {
        let mut case = base.clone();
        change(&mut case);
        assert!(seen.insert(digest(&case)), "a change left the digest as it was");
    }
    let mut same = base.clone();
    config(&mut same, "batch", "7");
    same.function.spec.idle_timeout_seconds = Some(7);
    assert_eq!(digest(&same), digest(&base));
    assert_eq!(digest(&base.clone().refused()), digest(&base));
    let plain = fixtures::node_hello();
    assert_eq!(plain.trigger_digest(), None);
}
