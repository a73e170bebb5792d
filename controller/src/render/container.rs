//! What the containers of a pod have in common.

use k8s_openapi::api::core::v1::{Capabilities, SecurityContext};

/// A stopping pod goes on serving for this long before it is told to stop: interceptors hear of
/// it through the EndpointSlice, up to a second later, and requests they sent before still come.
pub(super) const PRE_STOP_SECONDS: i64 = 5;

/// The security context of every container.
pub(super) fn security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}
