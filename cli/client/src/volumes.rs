//! Kipper volumes: PersistentVolumeClaims `shared-<name>` that functions and apps mount.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Node, PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use kipper_function::{Function, names};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};

use crate::{ApiError, Connection, params};

/// Volumes of a namespace that are looked at.
const MAX_VOLUMES: u32 = 1000;
/// Value of `kipper.run/resource-type` on claims.
const VOLUME: &str = "volume";

/// How many pods may mount a volume, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// Pods of one node.
    ReadWriteOnce,
    /// Pods of every node.
    ReadWriteMany,
}

impl AccessMode {
    /// The word of Kubernetes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}

/// A volume to be.
#[derive(Clone, Debug)]
pub struct NewVolume {
    /// Its name, without `shared-`.
    pub name: String,
    /// `1Gi`.
    pub size: String,
    /// Who may mount it.
    pub access_mode: AccessMode,
    /// StorageClass; the cluster's default where absent.
    pub class: Option<String>,
}

/// A volume as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name, without `shared-`.
    pub name: String,
    /// `Bound`, `Pending` or `Lost`.
    pub phase: String,
    /// The size it has, or asks for until it is bound.
    pub size: String,
    /// Who may mount it.
    pub access_modes: Vec<String>,
    /// StorageClass, where it has one.
    pub class: Option<String>,
}

/// The volumes of one namespace.
#[derive(Clone)]
pub struct Volumes {
    api: Api<PersistentVolumeClaim>,
    nodes: Api<Node>,
    namespace: String,
}

impl Volumes {
    /// Those of the connection's namespace.
    pub fn new(connection: &Connection) -> Self {
        let (client, namespace) = (connection.client.clone(), connection.namespace.clone());
        let nodes = Api::all(client.clone());
        Self { api: Api::namespaced(client, &namespace), nodes, namespace }
    }

    fn error(&self, name: &str) -> impl Fn(kube::Error) -> ApiError {
        let (what, namespace) = (format!("volume {name}"), self.namespace.clone());
        move |error| ApiError::read(error, &what, &namespace)
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// [`ApiError::Exists`] where there is one of that name.
    pub async fn create(
        &self,
        volume: &NewVolume,
    ) -> Result<(Volume, PersistentVolumeClaim), ApiError> {
        let created = self.api.create(&params::post(), &claim(volume)).await;
        let created = created.map_err(self.error(&volume.name))?;
        Ok((read(&created).unwrap_or_else(|| asked(volume)), created))
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn list(&self) -> Result<Vec<(Volume, PersistentVolumeClaim)>, ApiError> {
        let listed = self.api.list(&ListParams::default().limit(MAX_VOLUMES)).await;
        let listed = listed.map_err(|error| ApiError::read(error, "volumes", &self.namespace))?;
        let volumes = listed.items.into_iter();
        let mut found: Vec<_> = volumes.filter_map(|claim| Some((read(&claim)?, claim))).collect();
        found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Whether a volume is there.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn exists(&self, name: &str) -> Result<bool, ApiError> {
        let claim = self.api.get_metadata_opt(&names::volume_claim(name)).await;
        claim.map(|claim| claim.is_some()).map_err(self.error(name))
    }

    /// Asks for the end of a volume and what is in it; its uid. Pods that run go on with it until
    /// they end.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] where there is none.
    pub async fn delete(&self, name: &str) -> Result<String, ApiError> {
        let claim = names::volume_claim(name);
        let found = self.api.get_metadata(&claim).await.map_err(self.error(name))?;
        let deleted = self.api.delete(&claim, &DeleteParams::background()).await;
        deleted.map_err(self.error(name))?;
        Ok(found.metadata.uid.unwrap_or_default())
    }

    /// How many nodes the cluster has; `None` where the user may not know.
    pub async fn nodes(&self) -> Option<usize> {
        self.nodes.list_metadata(&ListParams::default()).await.ok().map(|nodes| nodes.items.len())
    }
}

/// Names of the functions that mount a volume.
pub fn mounted_by(functions: &[Function], volume: &str) -> Vec<String> {
    let mounts = |f: &&Function| f.spec.volumes.iter().any(|mounted| mounted.name == volume);
    functions.iter().filter(mounts).map(|function| function.name_any()).collect()
}

fn claim(volume: &NewVolume) -> PersistentVolumeClaim {
    let labels = [
        (names::MANAGED_BY, names::KIPPER),
        (names::PART_OF, names::KIPPER),
        (names::RESOURCE_TYPE, VOLUME),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let size = BTreeMap::from([("storage".to_owned(), Quantity(volume.size.clone()))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::volume_claim(&volume.name)),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![volume.access_mode.as_str().to_owned()]),
            resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
            storage_class_name: volume.class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn asked(volume: &NewVolume) -> Volume {
    Volume {
        name: volume.name.clone(),
        phase: "Pending".to_owned(),
        size: volume.size.clone(),
        access_modes: vec![volume.access_mode.as_str().to_owned()],
        class: volume.class.clone(),
    }
}

/// A claim as a volume; `None` for one that is none of Kipper's.
fn read(claim: &PersistentVolumeClaim) -> Option<Volume> {
    let name = name_of(claim.metadata.name.as_deref()?)?;
    let (spec, status) = (claim.spec.as_ref(), claim.status.as_ref());
    let has = status.and_then(|status| status.capacity.as_ref());
    let asks = spec.and_then(|spec| spec.resources.as_ref()).and_then(|r| r.requests.as_ref());
    let size = has.or(asks).and_then(|sizes| sizes.get("storage"));
    Some(Volume {
        name,
        phase: status.and_then(|s| s.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
        size: size.map(|size| size.0.clone()).unwrap_or_default(),
        access_modes: spec.and_then(|spec| spec.access_modes.clone()).unwrap_or_default(),
        class: spec.and_then(|spec| spec.storage_class_name.clone()),
    })
}

/// Name of the volume that a claim of this name is, if it is one.
pub(crate) fn name_of(claim: &str) -> Option<String> {
    claim.strip_prefix(&names::volume_claim("")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_is_a_claim_of_its_name() {
        let new = NewVolume {
            name: "cache".to_owned(),
            size: "2Gi".to_owned(),
            access_mode: AccessMode::ReadWriteMany,
            class: Some("nfs".to_owned()),
        };
        let claim = claim(&new);
        assert_eq!(claim.metadata.name.as_deref(), Some("shared-cache"));
        assert_eq!(read(&claim), Some(asked(&new)));
    }

    #[test]
    fn the_size_is_what_it_has_once_it_is_bound() {
        let bound: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": { "name": "shared-cache" },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } },
            },
            "status": { "phase": "Bound", "capacity": { "storage": "5Gi" } },
        }))
        .unwrap();
        let volume = read(&bound).unwrap();
        assert_eq!((volume.phase.as_str(), volume.size.as_str()), ("Bound", "5Gi"));
        let mut other = bound;
        other.metadata.name = Some("data-postgres-0".to_owned());
        assert_eq!(read(&other), None);
    }
}
