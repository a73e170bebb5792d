//! What stands where in a revision.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kipper_function::{
    Function,
    names::{CHANGE_CAUSE, REVISION},
    revision::{self, Record, Revision},
};
use serde_json::{Value, json};

fn function(managed: Value) -> Function {
    serde_json::from_value(json!({
        "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
        "metadata": { "name": "f", "managedFields": managed },
        "spec": { "source": { "code": "a => a" }, "env": { "A": "1" } },
    }))
    .unwrap()
}

#[test]
fn what_is_written_is_read() {
    let record = Record {
        number: 3,
        bytes: 40,
        code: Some("f-code-0123456789".to_owned()),
        changed_at: Some(serde_json::from_value(json!("2026-01-01T10:00:00Z")).unwrap()),
        changed_by: Some("kip".to_owned()),
    };
    let spec = function(json!([])).spec;
    let mut object: ControllerRevision = serde_json::from_value(json!({
        "metadata": {
            "name": "f-0", "creationTimestamp": "2025-01-01T10:00:00Z",
            "annotations": { REVISION: record.write().unwrap(), CHANGE_CAUSE: "new greeting" },
        },
        "data": revision::data(&spec).unwrap(),
        "revision": 3,
    }))
    .unwrap();
    assert_eq!(Record::read(&object.metadata), Some(record.clone()));
    let read = Revision::read(&object).unwrap();
    assert_eq!((read.number, &read.spec), (3, &spec));
    assert_eq!(read.cause.as_deref(), Some("new greeting"));
    assert_eq!((read.changed_at, read.changed_by), (record.changed_at, record.changed_by));
    assert_eq!(read.code, record.code);

    // Its annotations are anybody's to change; number and spec stand beside them.
    object.metadata.annotations = Some([(REVISION.to_owned(), "nonsense".to_owned())].into());
    assert_eq!(Record::read(&object.metadata), None);
    let read = Revision::read(&object).unwrap();
    assert_eq!((read.number, &read.spec, read.code), (3, &spec, None));
    assert_eq!(read.changed_at, object.metadata.creation_timestamp);
    object.data = None;
    assert_eq!(Revision::read(&object), None);
}

#[test]
fn the_last_write_of_the_spec_says_who_changed_it() {
    let entry = |manager: &str, time: &str, fields: Value, subresource: &str| {
        json!({ "manager": manager, "time": time, "operation": "Apply", "fieldsType": "FieldsV1",
            "fieldsV1": fields, "subresource": subresource })
    };
    let spec = || json!({ "f:spec": { "f:env": {} } });
    let managed = json!([
        entry("kubectl", "2026-01-01T10:00:00Z", spec(), ""),
        entry("kip", "2026-01-01T11:00:00Z", spec(), ""),
        entry("kipper-controller", "2026-01-01T12:00:00Z", json!({ "f:metadata": {} }), ""),
        entry("kipper-controller", "2026-01-01T13:00:00Z", spec(), "status"),
    ]);
    let (at, by) = revision::last_change(&function(managed));
    assert_eq!(json!(at), json!("2026-01-01T11:00:00Z"));
    assert_eq!(by.as_deref(), Some("kip"));
    assert_eq!(revision::last_change(&function(json!([]))), (None, None));
}
