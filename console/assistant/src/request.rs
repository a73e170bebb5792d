//! What is asked: the conversation, the function as it stands in the form, and the files that were attached.
//!
//! No type here has a field for a value of a variable or of a secret: what cannot be said cannot leave.

use std::collections::BTreeMap;

use kipper_function::{function::Runtime, service::ServiceKind};
use serde::{Deserialize, Serialize};

/// One question with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The conversation, oldest first; it begins and ends with the user's.
    pub messages: Vec<Message>,
    /// The function.
    pub draft: Draft,
    /// Files for the last message.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Whose it is.
    pub role: Role,
    /// Its text.
    pub text: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person in front of the editor.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// As all protocols call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// The function as it stands in the form, saved or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// What loads its code.
    #[serde(with = "runtime")]
    pub runtime: Runtime,
    /// Path → text.
    #[serde(default)]
    pub code: BTreeMap<String, String>,
    /// Services that it is bound to.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// Names of its environment variables.
    #[serde(default)]
    pub env_names: Vec<String>,
    /// Keys of its Secret.
    #[serde(default)]
    pub secret_names: Vec<String>,
    /// Package → version, as declared.
    #[serde(default)]
    pub dependencies: BTreeMap<String, String>,
}

/// A Service that the function is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Its name.
    pub service: String,
    /// What it is.
    #[serde(with = "kind")]
    pub kind: ServiceKind,
    /// Names of the variables that are injected.
    #[serde(default)]
    pub env: Vec<String>,
}

/// A text file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Its name, with or without folders.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// A closed set of words of `contract/function`, as JSON.
macro_rules! word {
    ($module:ident, $type:ty) => {
        mod $module {
            use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

            pub(super) fn serialize<S: Serializer>(word: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(word.as_str())
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$type, D::Error> {
                let word = String::deserialize(from)?;
                <$type>::parse(&word).ok_or_else(|| {
                    let known: Vec<_> = <$type>::ALL.iter().map(|known| known.as_str()).collect();
                    D::Error::custom(format!("{word:?} is not one of {}", known.join(", ")))
                })
            }
        }
    };
}

word!(runtime, kipper_function::function::Runtime);
word!(kind, kipper_function::service::ServiceKind);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn whole() -> Value {
        json!({
            "messages": [{"role": "user", "text": "hello"}],
            "draft": {
                "runtime": "node",
                "code": {"index.js": "module.exports = 1"},
                "bindings": [{"service": "eventdb", "kind": "postgres", "env": ["DB_HOST"]}],
                "envNames": ["REGION"],
                "secretNames": ["API_KEY"],
                "dependencies": {"pg": "8.11.5"}
            },
            "attachments": [{"name": "pom.xml", "text": "<project/>"}]
        })
    }

    #[test]
    fn comes_back_as_it_was() {
        let request: Request = serde_json::from_value(whole()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), whole());
        let least = json!({"messages": [], "draft": {"runtime": "python"}});
        let request: Request = serde_json::from_value(least).unwrap();
        assert_eq!(request.draft.runtime, Runtime::Python);
    }

    #[test]
    fn has_no_place_for_a_value() {
        let refused = |pointer: &str, field: &str| {
            let mut request = whole();
            let object = request.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.insert(field.to_owned(), json!("canary"));
            serde_json::from_value::<Request>(request).unwrap_err().to_string()
        };
        for (pointer, field) in [
            ("", "secrets"),
            ("/draft", "env"),
            ("/draft", "secrets"),
            ("/draft/bindings/0", "password"),
            ("/messages/0", "name"),
            ("/attachments/0", "path"),
        ] {
            let error = refused(pointer, field);
            assert!(error.starts_with(&format!("unknown field `{field}`")), "{error}");
        }
        // Names are lists: an object of names and values does not fit.
        let mut request = whole();
        request["draft"]["secretNames"] = json!({"API_KEY": "canary"});
        assert!(serde_json::from_value::<Request>(request).is_err());
    }

    #[test]
    fn unknown_words_are_named() {
        let mut request = whole();
        request["draft"]["runtime"] = json!("ruby");
        let error = serde_json::from_value::<Request>(request).unwrap_err().to_string();
        assert_eq!(error, "\"ruby\" is not one of node, python");
    }
}
