//! What a change of the spec makes new, and what stays as it was.

use kipper_controller::plan::{Kind, Object};
use kipper_function::{
    names,
    revision::{Record, Revision},
};
use serde_json::{Value, from_value};

use super::{
    fixtures::{self, Case},
    of, yaml,
};

/// The code's ConfigMap, and the one that each template names.
fn code(objects: &[Object]) -> (String, Vec<String>) {
    let config_map = objects.iter().find(|object| object.kind == Kind::ConfigMap).unwrap();
    let templates = objects.iter().filter_map(super::template);
    let named = |template: &Value| {
        let env = template.pointer("/spec/containers/0/env").and_then(Value::as_array);
        let mut references =
            env.into_iter().flatten().filter_map(|it| it.pointer("/valueFrom/configMapKeyRef"));
        let volumes = template.pointer("/spec/volumes").and_then(Value::as_array);
        let mut volumes =
            volumes.into_iter().flatten().filter(|it| it["name"] == names::CODE_VOLUME);
        let source = references.next().or_else(|| volumes.next()?.get("configMap"));
        source.unwrap()["name"].as_str().unwrap().to_owned()
    };
    (config_map.name.clone(), templates.map(named).collect())
}

fn with_code(mut case: Case, code: &str) -> Case {
    case.function.spec.source.get_or_insert_default().code = Some(code.to_owned());
    case
}

#[test]
fn each_code_has_a_config_map_of_its_own() {
    let case = fixtures::http_and_cron;
    let (first, mounted) = code(&case().render());
    assert_eq!(mounted, [first.as_str(), first.as_str()]);
    let (again, _) = code(&case().annotate(names::RESTARTED_AT, "now").render());
    assert_eq!(again, first);
    let (other, mounted) = code(&with_code(case(), "module.exports = () => 1").render());
    assert_ne!(other, first);
    assert_eq!(mounted, [other.as_str(), other.as_str()]);
    // Packages are a part of what a pod starts with.
    let mut with_package = case();
    let source = with_package.function.spec.source.get_or_insert_default();
    source.dependencies.insert("pg".to_owned(), "8".to_owned());
    let (packaged, _) = code(&with_package.render());
    assert!(packaged != first && packaged != other);
    for object in case().render().iter().filter(|object| object.kind == Kind::ConfigMap) {
        assert_eq!(object.json["immutable"], true);
    }
}

#[test]
fn the_longest_name_leaves_room_for_the_digest() {
    let name = "f".repeat(names::MAX_NAME_LEN);
    let case = Case::new(&name, "{runtime: node, source: {code: x}}");
    assert_eq!(code(&case.render()).0.len(), 63);
    assert!(case.revision(1).name.len() < 63);
}

#[test]
fn a_revision() {
    let case = fixtures::environment().annotate(names::CHANGE_CAUSE, "the new ledger");
    insta::assert_snapshot!(yaml(&[case.revision(3)]));
}

#[test]
fn a_revision_says_what_it_needs_and_gives_the_spec_back() {
    for case in fixtures::all() {
        let object = case.revision(7);
        let revision = Revision::read(&from_value(object.json.clone()).unwrap()).unwrap();
        assert_eq!((revision.number, &revision.spec), (7, &case.function.spec));
        let record = Record::read(&from_value(object.json["metadata"].clone()).unwrap()).unwrap();
        assert_eq!(record.bytes, object.json["data"].to_string().len() as u64);
        let config_map = case.render().into_iter().find(|object| object.kind == Kind::ConfigMap);
        assert_eq!(record.code, config_map.map(|object| object.name));
    }
}

#[test]
fn equal_specs_are_one_revision() {
    let case = fixtures::node_hello;
    let name = case().revision(1).name;
    assert_eq!(case().revision(2).name, name);
    assert_eq!(case().annotate(names::CHANGE_CAUSE, "why").revision(2).name, name);
    assert_eq!(case().secrets(&["TOKEN"]).revision(2).name, name);
    assert_ne!(with_code(case(), "x").revision(2).name, name);
    let mut idle = case();
    idle.function.spec.idle_timeout_seconds = Some(60);
    assert_ne!(idle.revision(2).name, name);
}

/// Bytes that a spec with the most code that is admitted needs.
#[test]
fn the_largest_code_fits_into_a_revision() {
    let case = with_code(fixtures::node_hello(), &"x".repeat(1_000_000));
    let object = case.revision(1).json.to_string();
    assert!(object.len() < 1_500_000, "{}", object.len());
}

#[test]
fn a_restart_is_another_template_and_nothing_else() {
    let plain = fixtures::http_and_cron().render();
    let restarted = fixtures::http_and_cron().annotate(names::RESTARTED_AT, "10:00").render();
    let take = |objects: &[Object], annotation: &str| {
        let mut deployment = of(objects, Kind::Deployment).clone();
        let annotations = "/spec/template/metadata/annotations";
        let annotations: &mut Value = deployment.pointer_mut(annotations).unwrap();
        let annotations = annotations.as_object_mut().unwrap();
        let template = annotations.remove(names::TEMPLATE_DIGEST).unwrap();
        (annotations.remove(annotation), template, deployment)
    };
    let (time, template, deployment) = take(&restarted, names::RESTARTED_AT);
    let (_, plain_template, plain_deployment) = take(&plain, names::RESTARTED_AT);
    assert_eq!(time, Some("10:00".into()));
    assert_ne!(template, plain_template);
    assert_eq!(deployment, plain_deployment);
    let others = |objects: Vec<Object>| {
        objects.into_iter().filter(|object| object.kind != Kind::Deployment).collect::<Vec<_>>()
    };
    assert_eq!(others(restarted), others(plain));
}
