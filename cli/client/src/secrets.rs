//! The Secret `<fn>-secrets`: values go in and never come out.
//!
//! Each change reads the Secret, merges the keys it is about under the version it was read at, and
//! notes in [`names::SECRET_ROTATIONS`] when a key was given another value. The former value is kept
//! nowhere. Which keys there are stands in the Function's status, so that listing needs no right to
//! read Secrets.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kipper_function::{Function, Timestamp, env_name, names};
use kube::{Api, ResourceExt as _, api::Patch};
use serde_json::{Map, Value, json};

use crate::{ApiError, Connection, functions::CONFLICTS, params};

/// Times a change is made anew because somebody was quicker.
const MAX_TRIES: u32 = 20;

/// A value on its way into a Secret. It is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl SecretValue {
    /// Takes a value as it is.
    ///
    /// # Errors
    /// When no environment variable can hold it.
    pub fn new(value: String) -> Result<Self, SecretError> {
        if value.contains('\0') { Err(SecretError::NullCharacter) } else { Ok(Self(value)) }
    }

    /// As it is stored.
    pub(crate) fn bytes(&self) -> ByteString {
        ByteString(self.0.clone().into_bytes())
    }
}

/// Why a secret was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A key is no name of a variable.
    #[error("secret {key}: the name {source}")]
    Name {
        /// The key.
        key: String,
        /// Why.
        source: env_name::EnvNameError,
    },
    /// The value has a character that no variable can hold.
    #[error("the value contains a null character")]
    NullCharacter,
    /// There is no such key.
    #[error("function {function} has no secret {key}; {}", listed(known))]
    NotThere {
        /// The function.
        function: String,
        /// What was asked for.
        key: String,
        /// Keys that are there.
        known: Vec<String>,
    },
    /// Others changed it every time.
    #[error("the secrets of {0} were changed by others {MAX_TRIES} times in a row")]
    Contended(String),
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) }
}

/// Keys that were given a value, each with the time of its last rotation, if there was one: what the
/// Function's status will show them.
pub type Stored = BTreeMap<String, Option<String>>;

/// Checks the name of a key.
///
/// # Errors
/// When it cannot be the name of a variable of the user's.
pub fn check_key(key: &str) -> Result<(), SecretError> {
    env_name::check(key).map_err(|source| SecretError::Name { key: key.to_owned(), source })
}

/// The Secrets of the functions of one namespace.
#[derive(Clone)]
pub struct Secrets {
    api: Api<Secret>,
    namespace: String,
}

impl Secrets {
    /// Those of the connection's namespace.
    pub fn new(connection: &Connection) -> Self {
        let namespace = connection.namespace.clone();
        Self { api: Api::namespaced(connection.client.clone(), &namespace), namespace }
    }

    fn error(&self, name: &str) -> impl Fn(kube::Error) -> ApiError {
        let (what, namespace) = (format!("secret {name}"), self.namespace.clone());
        move |error| ApiError::read(error, &what, &namespace)
    }

    /// Whether there is a Secret of this name.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn exists(&self, name: &str) -> Result<bool, ApiError> {
        let found = self.api.get_metadata_opt(name).await;
        found.map(|secret| secret.is_some()).map_err(self.error(name))
    }

    /// Gives keys these values. The function itself need not be there yet: it then starts with them.
    ///
    /// # Errors
    /// When a key is no name, or the cluster says no.
    pub async fn set(
        &self,
        function: &str,
        values: &BTreeMap<String, SecretValue>,
    ) -> Result<Stored, SecretError> {
        for key in values.keys() {
            check_key(key)?;
        }
        let changes = values.iter().map(|(key, value)| (key.clone(), Some(value))).collect();
        let stored = self.change(function, &changes).await?;
        let rotations = rotations(&stored);
        Ok(values.keys().map(|key| (key.clone(), rotations.get(key).cloned())).collect())
    }

    /// Takes keys away.
    ///
    /// # Errors
    /// When one is not there; then none is taken.
    pub async fn delete(&self, function: &str, keys: &[String]) -> Result<(), SecretError> {
        let changes = keys.iter().map(|key| (key.clone(), None)).collect();
        self.change(function, &changes).await.map(drop)
    }

    async fn change(
        &self,
        function: &str,
        changes: &BTreeMap<String, Option<&SecretValue>>,
    ) -> Result<Secret, SecretError> {
        let name = names::secrets(function);
        let reported = self.error(&name);
        let mut backoff = CONFLICTS;
        for _ in 0..MAX_TRIES {
            let stored = self.api.get_opt(&name).await.map_err(&reported)?;
            has_all(function, stored.as_ref(), changes)?;
            let written = match &stored {
                Some(stored) => {
                    let patch = patch(stored, changes, Timestamp::now());
                    self.api.patch(&name, &params::patch(), &Patch::Merge(patch)).await
                }
                None => self.api.create(&params::post(), &created(function, changes)).await,
            };
            match written.map_err(&reported) {
                Ok(written) => return Ok(written),
                // Somebody was quicker: to change it, to create it, or to delete it.
                Err(
                    ApiError::Conflict(_) | ApiError::Exists { .. } | ApiError::NotFound { .. },
                ) => tokio::time::sleep(backoff.pause()).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(SecretError::Contended(function.to_owned()))
    }

    /// Makes the Secret go with the Function. One that others made, or own, is left to them.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn adopt(&self, function: &Function) -> Result<(), ApiError> {
        let name = names::secrets(&function.name_any());
        let reported = self.error(&name);
        let Some(secret) = self.api.get_metadata_opt(&name).await.map_err(&reported)? else {
            return Ok(());
        };
        let Some(owner) =
            params::owner(function).filter(|owner| is_to_adopt(&secret.metadata, owner))
        else {
            return Ok(());
        };
        let patch = json!({
            "metadata": {
                "resourceVersion": secret.metadata.resource_version,
                "ownerReferences": [owner],
            },
        });
        match self
            .api
            .patch_metadata(&name, &params::patch(), &Patch::Merge(patch))
            .await
            .map_err(&reported)
        {
            // Whoever changed it meanwhile adopts it as well.
            Err(ApiError::Conflict(_)) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Whether a Secret was made here and belongs to nobody, or to a former function of that name.
fn is_to_adopt(secret: &ObjectMeta, owner: &OwnerReference) -> bool {
    let ours = secret.labels.as_ref().and_then(|labels| labels.get(names::MANAGED_BY));
    let owners = secret.owner_references.as_deref().unwrap_or_default();
    ours.is_some_and(|by| by == names::KIPPER)
        && owners.iter().all(|other| other.kind == owner.kind && other.uid != owner.uid)
}

/// Whether every key that is to go is there.
fn has_all(
    function: &str,
    stored: Option<&Secret>,
    changes: &BTreeMap<String, Option<&SecretValue>>,
) -> Result<(), SecretError> {
    let data = stored.and_then(|secret| secret.data.as_ref());
    let known = || data.into_iter().flat_map(|data| data.keys().cloned()).collect();
    for (key, value) in changes {
        if value.is_none() && !data.is_some_and(|data| data.contains_key(key)) {
            let (function, key) = (function.to_owned(), key.clone());
            return Err(SecretError::NotThere { function, key, known: known() });
        }
    }
    Ok(())
}

fn created(function: &str, changes: &BTreeMap<String, Option<&SecretValue>>) -> Secret {
    let labels = [
        (names::APP, function),
        (names::MANAGED_BY, names::KIPPER),
        (names::PART_OF, names::KIPPER),
        (names::RESOURCE_TYPE, names::FUNCTION),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let data = changes.iter().filter_map(|(key, value)| Some((key.clone(), (*value)?.bytes())));
    Secret {
        metadata: ObjectMeta {
            name: Some(names::secrets(function)),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        ..Secret::default()
    }
}

/// The merge patch that makes `changes`, and notes which keys were given another value `now`.
fn patch(
    stored: &Secret,
    changes: &BTreeMap<String, Option<&SecretValue>>,
    now: Timestamp,
) -> Value {
    let mut rotations = rotations(stored);
    let mut data = Map::new();
    for (key, value) in changes {
        let former = stored.data.as_ref().and_then(|data| data.get(key));
        match value {
            None => {
                data.insert(key.clone(), Value::Null);
                rotations.remove(key);
            }
            Some(value) => {
                if former.is_some_and(|former| former.0 != value.0.as_bytes()) {
                    rotations.insert(key.clone(), seconds(now));
                }
                data.insert(key.clone(), json!(value.bytes()));
            }
        }
    }
    let rotations =
        if rotations.is_empty() { Value::Null } else { json!(json!(rotations).to_string()) };
    json!({
        "metadata": {
            "resourceVersion": stored.metadata.resource_version,
            "annotations": { names::SECRET_ROTATIONS: rotations },
        },
        "data": data,
    })
}

fn rotations(stored: &Secret) -> BTreeMap<String, String> {
    let text = stored.annotations().get(names::SECRET_ROTATIONS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// RFC 3339, without fractions.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned()).unwrap()
    }

    fn stored() -> Secret {
        serde_json::from_value(json!({
            "metadata": {
                "name": "f-secrets",
                "resourceVersion": "7",
                "annotations": {
                    names::SECRET_ROTATIONS: "{\"GONE\":\"2025-01-01T00:00:00Z\",\"OLD\":\"2025-01-02T00:00:00Z\"}",
                },
            },
            "data": { "GONE": "Z29uZQ==", "OLD": "b2xk", "SAME": "c2FtZQ==" },
        }))
        .unwrap()
    }

    #[test]
    fn only_another_value_is_a_rotation() {
        let (new, same) = (value("new"), value("same"));
        let changes = BTreeMap::from([
            ("FIRST".to_owned(), Some(&new)),
            ("GONE".to_owned(), None),
            ("OLD".to_owned(), Some(&new)),
            ("SAME".to_owned(), Some(&same)),
        ]);
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        assert_eq!(
            patch(&stored(), &changes, now),
            json!({
                "metadata": {
                    "resourceVersion": "7",
                    "annotations": { names::SECRET_ROTATIONS: "{\"OLD\":\"2026-01-01T00:00:00Z\"}" },
                },
                "data": { "FIRST": "bmV3", "GONE": null, "OLD": "bmV3", "SAME": "c2FtZQ==" },
            })
        );
    }

    #[test]
    fn what_is_not_there_cannot_go() {
        let gone = BTreeMap::from([("SAME".to_owned(), None), ("NEVER".to_owned(), None)]);
        let error = has_all("f", Some(&stored()), &gone).unwrap_err();
        assert_eq!(error.to_string(), "function f has no secret NEVER; it has GONE, OLD, SAME");
        let error = has_all("f", None, &gone).unwrap_err();
        assert_eq!(error.to_string(), "function f has no secret NEVER; it has none");
    }

    #[test]
    fn only_what_was_made_here_goes_with_the_function() {
        let owner = |kind: &str, uid: &str| OwnerReference {
            kind: kind.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        };
        let ours = created("f", &BTreeMap::new()).metadata;
        let owned = |other: OwnerReference| ObjectMeta {
            owner_references: Some(vec![other]),
            ..ours.clone()
        };
        let function = owner("Function", "now");
        assert!(is_to_adopt(&ours, &function));
        assert!(is_to_adopt(&owned(owner("Function", "before")), &function));
        assert!(!is_to_adopt(&owned(function.clone()), &function));
        assert!(!is_to_adopt(&owned(owner("ExternalSecret", "e")), &function));
        assert!(!is_to_adopt(&ObjectMeta::default(), &function));
    }

    #[test]
    fn a_value_is_not_printed() {
        let secret = value("hunter2");
        assert_eq!(format!("{secret:?}"), "(secret)");
        assert!(matches!(SecretValue::new("a\0b".into()), Err(SecretError::NullCharacter)));
        let error = check_key("PORT").unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret PORT: the name is set by Kipper and cannot be overridden"
        );
    }
}
