//! Rendering, held by snapshots of whole objects and by tables where a rule has cases.
//!
//! Snapshots are never written under `CI=true`. To accept a change, read its diff after
//! `INSTA_UPDATE=always cargo test -p kipper-controller --test it render`.

mod events;
pub(crate) mod fixtures;
mod history;

use std::collections::BTreeSet;

use kipper_controller::{
    plan::{Kind, Object},
    render::{Holder, RenderError},
};
use kipper_function::{code, names, service::ServiceKind};
use serde_json::Value;

use fixtures::Case;

/// The objects as one YAML stream.
fn yaml(objects: &[Object]) -> String {
    let documents: Vec<String> =
        objects.iter().map(|object| serde_saphyr::to_string(&object.json).unwrap()).collect();
    documents.join("---\n")
}

fn of(objects: &[Object], kind: Kind) -> &Value {
    &objects.iter().find(|object| object.kind == kind).unwrap().json
}

fn kinds(case: &Case) -> Vec<Kind> {
    case.render().iter().map(|object| object.kind).collect()
}

/// The pod template of a Deployment or CronJob; `None` for the other kinds.
fn template(object: &Object) -> Option<&Value> {
    match object.kind {
        Kind::Deployment => object.json.pointer("/spec/template"),
        Kind::CronJob => object.json.pointer("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// `name=value`, or `name<secret/key` for a reference, in the order of the container.
fn env(template: &Value) -> Vec<String> {
    let list = template.pointer("/spec/containers/0/env").unwrap().as_array().unwrap();
    list.iter()
        .map(|variable| {
            let name = variable["name"].as_str().unwrap();
            let reference = ["secretKeyRef", "configMapKeyRef"];
            match reference
                .into_iter()
                .find_map(|kind| variable.pointer(&format!("/valueFrom/{kind}")))
            {
                Some(reference) => {
                    let text = |field: &str| reference[field].as_str().unwrap().to_owned();
                    format!("{name}<{}/{}", text("name"), text("key"))
                }
                None => format!("{name}={}", variable["value"].as_str().unwrap()),
            }
        })
        .collect()
}

#[test]
fn inline_node() {
    insta::assert_snapshot!(yaml(&fixtures::node_hello().render()));
}

#[test]
fn inline_python_with_dependencies() {
    insta::assert_snapshot!(yaml(&fixtures::python_with_dependencies().render()));
}

#[test]
fn inline_node_with_dependencies() {
    let objects = fixtures::node_with_dependencies().render();
    insta::assert_snapshot!(yaml(&objects[..1]));
}

#[test]
fn node_folder() {
    insta::assert_snapshot!(yaml(&fixtures::node_folder().render()));
}

#[test]
fn python_package() {
    insta::assert_snapshot!(yaml(&fixtures::python_package().render()));
}

#[test]
fn the_pods_change_with_every_file_of_a_folder() {
    let digest = |change: &dyn Fn(&mut std::collections::BTreeMap<String, String>)| {
        let mut case = fixtures::node_folder();
        change(&mut case.function.spec.source.as_mut().unwrap().files);
        let objects = case.render();
        let template = template(objects.iter().find(|o| o.kind == Kind::Deployment).unwrap());
        let annotations = template.unwrap().pointer("/metadata/annotations").unwrap();
        annotations[names::CONFIG_DIGEST].as_str().unwrap().to_owned()
    };
    let moved = |files: &mut std::collections::BTreeMap<String, String>| {
        let text = files.remove("lib/shout.js").unwrap();
        files.insert("lib/other.js".to_owned(), text);
    };
    let digests = BTreeSet::from([
        digest(&|_| {}),
        digest(&|files| drop(files.insert("lib/shout.js".to_owned(), String::new()))),
        digest(&|files| drop(files.insert("lib/more.js".to_owned(), String::new()))),
        digest(&|files| drop(files.remove("templates/hello world.txt"))),
        digest(&moved),
    ]);
    assert_eq!(digests.len(), 5, "{digests:?}");
}

#[test]
fn env_secrets_and_bindings() {
    insta::assert_snapshot!(yaml(&fixtures::environment().render()));
}

#[test]
fn image_with_resources_volumes_and_pull_secrets() {
    insta::assert_snapshot!(yaml(&fixtures::image().render()));
}

#[test]
fn cron_only() {
    insta::assert_snapshot!(yaml(&fixtures::cron().render()));
}

#[test]
fn http_and_cron() {
    insta::assert_snapshot!(yaml(&fixtures::http_and_cron().render()));
}

#[test]
fn scaling_and_timeouts() {
    insta::assert_snapshot!(yaml(&fixtures::warm().render()));
}

#[test]
fn network_policy() {
    let case = fixtures::node_hello().set(|settings| settings.network_policy = true);
    let objects = case.render();
    let policy = objects.iter().position(|object| object.kind == Kind::NetworkPolicy).unwrap();
    insta::assert_snapshot!(yaml(&objects[policy..=policy]));
}

/// A policy that selects nobody would shut every function off.
#[test]
fn the_network_policy_selects_the_interceptors_that_are_installed() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kipper.yaml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let installed: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let interceptor = |object: &&Value| {
        object["kind"] == "Deployment" && object["metadata"]["name"] == "kipper-interceptor"
    };
    let interceptor = installed.iter().find(interceptor).unwrap();
    let labels = interceptor.pointer("/spec/template/metadata/labels").unwrap();
    for (key, value) in names::interceptor_selector() {
        assert_eq!(labels[&key], value.as_str(), "{key}");
    }
}

#[test]
fn ingress_variants() {
    let variants = [
        fixtures::node_hello(),
        fixtures::node_hello().set(|settings| {
            settings.ingress.class = Some("traefik".into());
            settings.ingress.tls_secret = Some("wildcard".into());
            settings.ingress.port = 8080;
            settings.ingress.annotations.insert("example.com/a".into(), "b".into());
        }),
        fixtures::node_hello()
            .set(|settings| settings.ingress.cluster_issuer = Some("letsencrypt".into())),
    ];
    let ingresses: Vec<Object> = variants.iter().map(|case| case.render().pop().unwrap()).collect();
    insta::assert_snapshot!(yaml(&ingresses));
}

#[test]
fn triggers_decide_which_objects_there_are() {
    use Kind::{
        ConfigMap, CronJob, Deployment, Ingress, ScaledObject, Service, TriggerAuthentication,
    };
    let event = "{type: postgres, config: {source: db, query: select 1}}";
    let http = [ConfigMap, Service, Deployment, ScaledObject, Ingress];
    let cases = [
        ("[]".to_owned(), &http[..]),
        ("[{type: http}]".to_owned(), &http),
        ("[{type: cron, schedule: '@daily'}]".to_owned(), &[ConfigMap, CronJob]),
        (
            "[{type: cron, schedule: '@daily'}, {type: http}]".to_owned(),
            &[ConfigMap, Service, Deployment, ScaledObject, CronJob, Ingress],
        ),
        // Nothing was prepared for these events.
        (format!("[{event}]"), &[ConfigMap]),
        (format!("[{event}, {{type: http}}]"), &http),
        ("[{type: carrier-pigeon}]".to_owned(), &[ConfigMap]),
    ];
    let polled = [ConfigMap, Deployment, TriggerAuthentication, ScaledObject];
    let both = [ConfigMap, Service, Deployment, TriggerAuthentication, ScaledObject, Ingress];
    let daily = "{type: cron, schedule: '@daily'}";
    let bucket = "{type: minio, config: {source: files, bucket: b}}";
    let prepared = [
        (format!("[{event}]"), &polled[..]),
        (format!("[{event}, {{type: http}}]"), &both),
        (format!("[{event}, {daily}]"), &[&polled[..], &[CronJob]].concat()),
        // The scaler of these asks nobody but the adapter.
        (format!("[{bucket}]"), &[ConfigMap, Deployment, ScaledObject]),
    ];
    for (triggers, expected) in prepared {
        let spec = format!("{{source: {{code: x}}, triggers: {triggers}}}");
        assert_eq!(kinds(&Case::new("f", &spec).event(&["connection"])), expected, "{triggers}");
    }
    for (triggers, expected) in cases {
        let spec = format!("{{source: {{code: x}}, triggers: {triggers}}}");
        assert_eq!(kinds(&Case::new("f", &spec)), expected, "{triggers}");
    }
    let mut private = Case::new("f", "{image: x}");
    private.host = None;
    assert_eq!(kinds(&private), [Service, Deployment, ScaledObject]);
}

#[test]
fn a_name_has_the_value_of_its_strongest_holder() {
    let case = fixtures::environment();
    let objects = case.render();
    let code = format!(
        "KIPPER_FILE_0<{}/index.js",
        of(&objects, Kind::ConfigMap)["metadata"]["name"].as_str().unwrap()
    );
    let expected = [
        "KIPPER_HOST=",
        "PORT=8080",
        "KIPPER_TRIGGER=http",
        "KIPPER_MODE=http",
        "KIPPER_FUNCTION_PATH=/app/function",
        "KIPPER_FILES=index.js",
        &code,
        "KIPPER_DRAIN_SECONDS=300",
        "DB_HOST<orders.eventdb/HOST",
        "DB_PORT<orders.eventdb/PORT",
        "DB_USER<orders.eventdb/USERNAME",
        "DB_PASSWORD<orders.eventdb/PASSWORD",
        "DB_NAME<orders.eventdb/NAME",
        "DB_USERNAME<orders.eventdb/USERNAME",
        "REDIS_HOST<cache-credentials/HOST",
        "REDIS_PORT<cache-credentials/PORT",
        "REDIS_PASSWORD<cache-credentials/PASSWORD",
        "FILES_ENDPOINT<files-credentials/ENDPOINT",
        "FILES_ACCESS_KEY<files-credentials/ACCESS_KEY",
        "DATABASE_URL=postgres://$(DB_USER):$(DB_PASSWORD)@$(DB_HOST)/$(DB_NAME)",
        "LOG_LEVEL=debug",
    ];
    let template = of(&objects, Kind::Deployment).pointer("/spec/template").unwrap();
    assert_eq!(env(template), expected);

    let told: Vec<String> = case.clashes().iter().map(ToString::to_string).collect();
    let expected = [
        "API_KEY is set by spec.env and by the function's Secret; the function's Secret wins",
        "DB_HOST is set by spec.env and by the binding of orders.eventdb; \
         the binding of orders.eventdb wins",
        "FILES_SECRET_KEY is set by the binding of files-credentials and by the function's Secret; \
         the function's Secret wins",
        "KIPPER_HOST is set by the function's Secret and by Kipper; Kipper wins",
        "KIPPER_MODE is set by spec.env and by Kipper; Kipper wins",
        "PORT is set by spec.env and by the function's Secret and by Kipper; Kipper wins",
    ];
    assert_eq!(told, expected);
}

#[test]
fn two_bindings_never_decide_by_their_order() {
    let two = |first: &str, second: &str| {
        Case::new("f", "{image: x}").bind(ServiceKind::Redis, first, "a-credentials").bind(
            ServiceKind::Redis,
            second,
            "b-credentials",
        )
    };
    assert!(two("A_", "B_").clashes().is_empty());
    assert!(two("A_", "B_").try_render().is_ok());

    let error = two("REDIS_", "REDIS_").try_render().unwrap_err();
    assert_eq!(
        error.to_string(),
        "REDIS_HOST is set by the binding of a-credentials and by the binding of b-credentials; \
         give one of them another prefix"
    );
    // Prefixes differ and names still meet.
    let case = Case::new("f", "{image: x}").bind(ServiceKind::Mysql, "A_", "a-credentials").bind(
        ServiceKind::Mysql,
        "A_USER",
        "b-credentials",
    );
    assert!(
        matches!(case.try_render(), Err(RenderError::Ambiguous(clash)) if clash.name == "A_USERNAME")
    );

    let settled = two("REDIS_", "REDIS_").secrets(&["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"]);
    assert!(settled.try_render().is_ok());
    let found = settled.clashes();
    assert!(
        found
            .iter()
            .all(|clash| !clash.is_ambiguous() && clash.holders.last() == Some(&Holder::Secret)),
        "{found:?}"
    );
}

#[test]
fn a_stopping_pod_has_time_for_the_longest_request() {
    let cases = [
        ("{}", 300),
        ("{responseHeaderSeconds: 60}", 60),
        ("{responseHeaderSeconds: 60, requestSeconds: 90}", 90),
        ("{requestSeconds: 5}", 30),
        ("{responseHeaderSeconds: 86400}", 3600),
    ];
    for (timeouts, drain) in cases {
        let case = Case::new("f", &format!("{{source: {{code: x}}, timeouts: {timeouts}}}"));
        let objects = case.render();
        let template = of(&objects, Kind::Deployment).pointer("/spec/template").unwrap();
        let stop = template.pointer("/spec/containers/0/lifecycle/preStop/sleep/seconds");
        let grace = template.pointer("/spec/terminationGracePeriodSeconds");
        let margin = 5 + stop.unwrap().as_i64().unwrap();
        assert_eq!(grace.unwrap(), drain + margin, "{timeouts}");
        let told = format!("KIPPER_DRAIN_SECONDS={drain}");
        assert!(env(template).contains(&told), "{timeouts}");
    }
}

#[test]
fn a_volume_at_tmp_takes_its_place() {
    for path in ["/tmp", "/tmp/"] {
        let spec = format!("{{image: x, volumes: [{{name: tmp, mountPath: {path}}}]}}");
        let objects = Case::new("f", &spec).render();
        let pod = of(&objects, Kind::Deployment).pointer("/spec/template/spec").unwrap();
        assert_eq!(
            pod["volumes"],
            serde_json::json!([
                {"name": "shared-0", "persistentVolumeClaim": {"claimName": "shared-tmp"}}
            ])
        );
        assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/tmp");
    }
}

#[test]
fn a_named_handler_is_told_to_the_runtime() {
    let objects = Case::new("f", "{source: {code: x, handler: greet}}").render();
    let template = of(&objects, Kind::Deployment).pointer("/spec/template").unwrap();
    assert!(env(template).contains(&"KIPPER_HANDLER=greet".to_owned()));
    let objects = Case::new("f", "{source: {code: x}}").render();
    let template = of(&objects, Kind::Deployment).pointer("/spec/template").unwrap();
    assert!(!env(template).iter().any(|variable| variable.starts_with("KIPPER_HANDLER")));
}

#[test]
fn without_tmp_a_pod_mounts_nothing() {
    let objects = Case::new("f", "{image: x, noTmp: true}").render();
    let pod = of(&objects, Kind::Deployment).pointer("/spec/template/spec").unwrap();
    assert_eq!(pod.get("volumes"), None);
    assert_eq!(pod["containers"][0].get("volumeMounts"), None);
}

/// Whether the pods of a case have a volume, whether the root of the function's container is read-only,
/// and what else its files may take.
fn files_of(case: &Case) -> (bool, bool, Option<String>) {
    let objects = case.render();
    let template = objects.iter().find_map(template).unwrap();
    let container = template.pointer("/spec/containers/0").unwrap();
    let limit = container.pointer("/resources/limits/ephemeral-storage").and_then(Value::as_str);
    let read_only = &container["securityContext"]["readOnlyRootFilesystem"];
    let has_volume = template.pointer("/spec/volumes").is_some();
    assert_eq!(container.get("volumeMounts").is_some(), has_volume);
    (has_volume, read_only.as_bool().unwrap(), limit.map(str::to_owned))
}

#[test]
fn small_code_needs_no_volume() {
    let large = "x".repeat(code::MAX_ENVIRONMENT_BYTES);
    let mounted = || (true, true, None);
    let in_environment = |limit: &str| (false, false, Some(limit.to_owned()));
    for (spec, expected) in [
        ("{source: {code: x}}".to_owned(), in_environment("576Mi")),
        ("{source: {code: x}, resources: {tmpLimit: 1Gi}}".to_owned(), in_environment("1088Mi")),
        (
            "{source: {code: x}, triggers: [{type: cron, schedule: '@daily'}]}".to_owned(),
            in_environment("576Mi"),
        ),
        ("{source: {code: x, dependencies: {pg: '8'}}}".to_owned(), mounted()),
        ("{source: {code: x}, volumes: [{name: v, mountPath: /data}]}".to_owned(), mounted()),
        (format!("{{source: {{code: {large}}}}}"), mounted()),
        ("{image: x}".to_owned(), mounted()),
        ("{image: x, noTmp: true}".to_owned(), (false, true, None)),
    ] {
        let case = Case::new("f", &spec);
        assert_eq!(files_of(&case), expected, "{spec:.80}");
        let (_, read_only, _) = files_of(&case.set(|settings| settings.read_only_root = true));
        assert!(read_only, "{spec:.80}");
    }
}

#[test]
fn every_file_of_a_folder_travels_under_its_path() {
    let spec = "{source: {files: {index.js: a, lib/b.js: b, a b.js: c, .npmrc: d}}}";
    let objects = Case::new("f", spec).render();
    let env = env(objects.iter().find_map(template).unwrap());
    let paths = env.iter().find_map(|line| line.strip_prefix("KIPPER_FILES=")).unwrap();
    let paths: Vec<&str> = paths.lines().collect();
    let config_map = of(&objects, Kind::ConfigMap);
    let texts: Vec<&str> = (0..paths.len())
        .map(|place| {
            let name = format!("{}<", names::file_variable(place));
            let (map, key) = env
                .iter()
                .find_map(|line| line.strip_prefix(&name))
                .unwrap()
                .split_once('/')
                .unwrap();
            assert_eq!(map, config_map["metadata"]["name"]);
            config_map["data"][key].as_str().unwrap()
        })
        .collect();
    let found: Vec<_> = paths.into_iter().zip(texts).collect();
    assert_eq!(found, [(".npmrc", "d"), ("a b.js", "c"), ("index.js", "a"), ("lib/b.js", "b")]);
}

#[test]
fn the_runtime_is_told_to_log_requests() {
    let variable = |spec: &str| {
        let objects = Case::new("f", spec).render();
        let env = "/spec/template/spec/containers/0/env";
        let env = of(&objects, Kind::Deployment).pointer(env).unwrap().as_array().unwrap().clone();
        let found = env.into_iter().find(|variable| variable["name"] == "KIPPER_LOG_REQUESTS");
        found.map(|variable| variable["value"].clone())
    };
    assert_eq!(variable("{source: {code: x}, logRequests: true}"), Some("true".into()));
    assert_eq!(variable("{source: {code: x}}"), None);
    // One that was stored before it was refused.
    assert_eq!(variable("{image: x, logRequests: true}"), None);
}

#[test]
fn the_digest_follows_what_pods_read_at_their_start() {
    let digest = |case: &Case| {
        let objects = case.render();
        let path = "/spec/template/metadata/annotations/kipper.run~1config-digest";
        of(&objects, Kind::Deployment).pointer(path).unwrap().as_str().unwrap().to_owned()
    };
    let base = fixtures::environment();
    let changes: [fn(&mut Case); 5] = [
        |case| case.function.spec.source.as_mut().unwrap().code = Some("x".to_owned()),
        |case| {
            let source = case.function.spec.source.as_mut().unwrap();
            source.dependencies.insert("pg".to_owned(), "8.11.5".to_owned());
        },
        |case| case.secret_digest = Some("another".to_owned()),
        |case| case.secret_digest = None,
        |case| case.bindings[1].digest = "another".to_owned(),
    ];
    let mut seen = BTreeSet::from([digest(&base)]);
    for change in changes {
        let mut case = base.clone();
        change(&mut case);
        assert!(seen.insert(digest(&case)), "a change left the digest as it was");
    }
    let mut same = base.clone();
    same.function.spec.idle_timeout_seconds = Some(7);
    same.function.metadata.resource_version = Some("42".to_owned());
    assert_eq!(digest(&same), digest(&base));
    assert!(digest(&base).len() == 16);
}

#[test]
fn what_cannot_be_rendered_is_said() {
    let mut unnamed = Case::new("f", "{image: x}");
    unnamed.function.metadata.uid = None;
    let cases = [
        (Case::new("f", "{}"), "the function has neither an image nor code for a known runtime"),
        (
            Case::new("f", "{runtime: perl, source: {code: x}}"),
            "the function has neither an image nor code for a known runtime",
        ),
        (
            Case::new("f", "{image: x, triggers: [{type: cron}]}"),
            "the cron trigger has no schedule",
        ),
        (unnamed, "the function has no uid"),
    ];
    for (case, expected) in cases {
        assert_eq!(case.try_render().unwrap_err().to_string(), expected);
    }
}

/// Every value of `json`, itself included.
fn walk<'a>(json: &'a Value, path: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(path, json);
    match json {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), visit));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| walk(item, &format!("{path}/{at}"), visit));
        }
        _ => {}
    }
}

#[test]
fn rendering_is_deterministic_and_complete() {
    for case in fixtures::all() {
        let objects = case.render();
        assert_eq!(objects, case.clone().render());
        for object in &objects {
            let json = &object.json;
            let at = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
            assert_eq!(at("/kind"), Some(format!("{:?}", object.kind).as_str()));
            assert!(at("/apiVersion").is_some());
            assert_eq!(at("/metadata/name"), Some(object.name.as_str()));
            assert_eq!(at("/metadata/namespace"), Some(object.namespace.as_str()));
            assert_eq!(at("/metadata/labels/app"), case.function.metadata.name.as_deref());
            assert!(json.get("status").is_none());
            walk(json, "", &mut |path, value| {
                assert!(!value.is_null(), "{:?} {path} is null", object.kind);
                assert!(!path.ends_with("/replicas"), "{:?} has {path}", object.kind);
            });
        }
    }
}

#[test]
fn everything_is_owned_but_the_ingress_is_only_named() {
    for case in fixtures::all() {
        let uid = case.function.metadata.uid.as_deref();
        for object in case.render() {
            let at = |pointer: &str| object.json.pointer(pointer);
            let owner = at("/metadata/ownerReferences/0/uid").and_then(Value::as_str);
            let name = at("/metadata/annotations/kipper.run~1function").and_then(Value::as_str);
            if object.kind == Kind::Ingress {
                let expected =
                    format!("shop-prod/{}", case.function.metadata.name.clone().unwrap());
                assert_eq!((owner, name), (None, Some(expected.as_str())));
            } else {
                assert_eq!((owner, name), (uid, None), "{:?}", object.kind);
                assert_eq!(at("/metadata/ownerReferences/0/controller"), Some(&true.into()));
            }
        }
    }
}

#[test]
fn no_request_reaches_a_batch_pod_and_names_are_unique() {
    for case in fixtures::all() {
        let selector = names::server_selector(case.function.metadata.name.as_deref().unwrap());
        for object in case.render() {
            let Some(template) = template(&object) else { continue };
            let labels = template.pointer("/metadata/labels").unwrap();
            let selected = selector.iter().all(|(key, value)| labels[key] == value.as_str());
            assert_eq!(selected, object.kind == Kind::Deployment);
            let has_port = template.pointer("/spec/containers/0/ports").is_some();
            assert_eq!(has_port, object.kind == Kind::Deployment);

            // Server-side apply refuses a list with two entries of one key.
            for (list, key) in [
                ("/spec/volumes", "name"),
                ("/spec/containers/0/volumeMounts", "mountPath"),
                ("/spec/containers/0/env", "name"),
            ] {
                let Some(items) = template.pointer(list).and_then(Value::as_array) else {
                    continue;
                };
                let keys: BTreeSet<_> = items.iter().map(|item| item[key].as_str()).collect();
                assert_eq!(keys.len(), items.len(), "{list} of {:?}", object.kind);
            }
        }
    }
}
