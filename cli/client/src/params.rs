//! How everything here is written: by one field manager.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Resource,
    api::{PatchParams, PostParams},
};

/// Field manager of everything written here.
pub const FIELD_MANAGER: &str = "kip";

/// Of a new object.
pub(crate) fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Of a patch that is no apply.
pub(crate) fn patch() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// An object as the owner of a Secret: not its controller, and nothing that holds its end up.
pub(crate) fn owner<K: Resource<DynamicType = ()>>(object: &K) -> Option<OwnerReference> {
    let owner = object.controller_owner_ref(&())?;
    Some(OwnerReference { controller: None, block_owner_deletion: None, ..owner })
}
