//! A host's claim: the Lease named after the host. Pure.

use k8s_openapi::api::coordination::v1::Lease;
use kipper_function::names;
use kube::ResourceExt as _;

use crate::cache::{Claim, Key};

/// Annotation with the uid of the Function that holds the claim.
pub(crate) const HOLDER_UID: &str = "kipper.run/holder-uid";

/// A Lease as a claim; `None` for one that is none.
pub(crate) fn claim(object: &Lease) -> Option<Claim> {
    object.labels().get(names::RESOURCE_TYPE).filter(|kind| *kind == names::HOST_CLAIM)?;
    let holder = object.spec.as_ref()?.holder_identity.as_deref()?;
    let (namespace, name) = holder.split_once('/')?;
    Some(Claim {
        uid: object.uid().unwrap_or_default(),
        holder: Key::new(namespace, name),
        holder_uid: object.annotations().get(HOLDER_UID).cloned().unwrap_or_default(),
        route: object.annotations().get(names::ROUTE).cloned(),
        created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
    })
}
