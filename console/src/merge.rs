//! A form that was loaded from a spec which somebody else has changed meanwhile: fields that only one
//! side changed are merged, those that both changed differently are conflicts. Pure.
//!
//! Lists whose items have a key (`serviceBindings`, `volumes`, `triggers`, `imagePullSecrets`) are
//! merged item by item, as server-side apply merges them; every other list is one value.

use serde_json::{Map, Value};

use crate::error::Conflict;

/// Lists that are maps, and their items' key.
const KEYED: [(&str, &str); 4] = [
    ("serviceBindings", "name"),
    ("volumes", "mountPath"),
    ("triggers", "type"),
    ("imagePullSecrets", "name"),
];

/// What comes of a merge.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Merged {
    pub(crate) value: Value,
    /// Fields that are theirs.
    pub(crate) theirs: Vec<String>,
    pub(crate) conflicts: Vec<Conflict>,
}

/// Merges what two sides made of `base`. `path` is where it stands.
pub(crate) fn merge(path: &str, base: &Value, yours: &Value, theirs: &Value) -> Merged {
    let mut merged = Merged::default();
    let value = merged.fields(path, Some(base), Some(yours), Some(theirs));
    Merged { value: value.unwrap_or_default(), ..merged }
}

impl Merged {
    /// The value to be; `None` where the field goes. As deep as the types are.
    fn fields(
        &mut self,
        path: &str,
        base: Option<&Value>,
        yours: Option<&Value>,
        theirs: Option<&Value>,
    ) -> Option<Value> {
        if yours == theirs || base == theirs {
            return yours.cloned();
        }
        if base == yours {
            self.theirs.push(path.to_owned());
            return theirs.cloned();
        }
        if let (Some(yours), Some(theirs)) = (keyed(path, yours), keyed(path, theirs)) {
            let base = keyed(path, base).unwrap_or_default();
            let keys = order(&yours, &theirs);
            let merged = keys.into_iter().filter_map(|key| {
                let path = format!("{path}[{key}]");
                let of = |items: &[(String, Value)]| {
                    items.iter().find(|(name, _)| *name == key).map(|(_, item)| item.clone())
                };
                let (base, yours, theirs) = (of(&base), of(&yours), of(&theirs));
                self.fields(&path, base.as_ref(), yours.as_ref(), theirs.as_ref())
            });
            return Some(Value::Array(merged.collect()));
        }
        if let (Some(Value::Object(yours)), Some(Value::Object(theirs))) = (yours, theirs) {
            let none = Map::new();
            let base = base.and_then(Value::as_object).unwrap_or(&none);
            let mut merged = Map::new();
            for key in yours.keys().chain(theirs.keys().filter(|key| !yours.contains_key(*key))) {
                let path = format!("{path}.{key}");
                let (base, yours, theirs) = (base.get(key), yours.get(key), theirs.get(key));
                if let Some(value) = self.fields(&path, base, yours, theirs) {
                    merged.insert(key.clone(), value);
                }
            }
            return Some(Value::Object(merged));
        }
        let value = |value: Option<&Value>| value.cloned().unwrap_or_default();
        self.conflicts.push(Conflict {
            path: path.to_owned(),
            base: value(base),
            yours: value(yours),
            theirs: value(theirs),
        });
        yours.cloned()
    }
}

/// The items of a list that is a map, by their keys; `None` where the field is none.
fn keyed(path: &str, value: Option<&Value>) -> Option<Vec<(String, Value)>> {
    let field = path.rsplit('.').next()?;
    let (_, key) = KEYED.iter().find(|(name, _)| *name == field)?;
    let items = value.map_or(Some(&[][..]), |value| value.as_array().map(Vec::as_slice))?;
    items.iter().map(|item| Some((item.get(*key)?.as_str()?.to_owned(), item.clone()))).collect()
}

/// Keys in your order, then theirs.
fn order(yours: &[(String, Value)], theirs: &[(String, Value)]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in yours.iter().chain(theirs) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(base: Value, yours: Value, theirs: Value, expected: Value, of_them: &[&str]) {
        let merged = merge("spec", &base, &yours, &theirs);
        assert_eq!(merged.conflicts, []);
        assert_eq!(
            (merged.value, merged.theirs),
            (expected, of_them.iter().map(|&p| p.to_owned()).collect())
        );
    }

    #[test]
    fn fields_that_one_side_changed_are_merged() {
        check(
            json!({ "env": { "A": "1", "B": "2" }, "port": 1 }),
            json!({ "env": { "A": "9", "B": "2" }, "port": 1 }),
            json!({ "env": { "A": "1", "C": "3" }, "port": 2 }),
            json!({ "env": { "A": "9", "C": "3" }, "port": 2 }),
            &["spec.env.B", "spec.env.C", "spec.port"],
        );
        check(
            json!({ "triggers": [{ "type": "http" }] }),
            json!({ "triggers": [{ "type": "http" }, { "type": "cron", "schedule": "x" }] }),
            json!({}),
            json!({ "triggers": [{ "type": "cron", "schedule": "x" }] }),
            &["spec.triggers[http]"],
        );
        check(json!({ "a": 1 }), json!({ "a": 2 }), json!({ "a": 2 }), json!({ "a": 2 }), &[]);
        check(json!({ "a": 1 }), json!({}), json!({ "a": 1 }), json!({}), &[]);
    }

    #[test]
    fn a_field_that_both_changed_is_a_conflict() {
        let merged = merge(
            "spec",
            &json!({ "source": { "code": "a" }, "env": { "A": "1" }, "cspAllowlist": ["x"] }),
            &json!({ "source": { "code": "b" }, "env": {}, "cspAllowlist": ["x", "y"] }),
            &json!({ "source": { "code": "c" }, "env": { "A": "2" }, "cspAllowlist": [] }),
        );
        let paths: Vec<_> = merged.conflicts.iter().map(|c| c.path.as_str()).collect();
        assert_eq!(paths, ["spec.cspAllowlist", "spec.env.A", "spec.source.code"]);
        let env = &merged.conflicts[1];
        assert_eq!((&env.base, &env.yours, &env.theirs), (&json!("1"), &Value::Null, &json!("2")));
    }
}
