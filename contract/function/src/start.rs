//! Why a container does not start, in the reasons that conditions have. Pure.
//!
//! The kubelet has a word of its own for every step that fails. It goes on trying after each; whether
//! anybody waits for that is for the reader to decide.

/// An image that cannot be had.
const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
/// A container that cannot be made of its image: a missing Secret, a command that is not there.
const CONTAINER_NOT_STARTED: &str = "ContainerNotStarted";

/// What the kubelet says where nothing is wrong with the function: its own copies of ConfigMaps, Secrets
/// and Services were not read within a second (`pkg/kubelet/util/manager/watch_based_manager.go`,
/// `pkg/kubelet/kubelet_pods.go`), or the container runtime did not answer in time. It tries again.
const NOT_YET: [&str; 4] = [
    "failed to sync configmap cache",
    "failed to sync secret cache",
    "services have not yet been read",
    "context deadline exceeded",
];

/// What is wrong with a container that waits for this reason, of which the kubelet says `message`; `None`
/// where it is on its way, or where its last end says more (`CrashLoopBackOff`).
pub fn fault(reason: &str, message: &str) -> Option<&'static str> {
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError" => Some(IMAGE_PULL_FAILED),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError"
            if NOT_YET.iter().any(|said| message.contains(said)) =>
        {
            None
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError" => Some(CONTAINER_NOT_STARTED),
        // ContainerCreating, PodInitializing.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_has_not_read_yet_is_no_fault_of_the_function() {
        let config = |message: &str| fault("CreateContainerConfigError", message);
        assert_eq!(config("configmap \"code\" not found"), Some(CONTAINER_NOT_STARTED));
        assert_eq!(config("couldn't find key TOKEN in Secret a/b"), Some(CONTAINER_NOT_STARTED));
        let timeout = "timed out waiting for the condition";
        assert_eq!(config(&format!("failed to sync configmap cache: {timeout}")), None);
        assert_eq!(config(&format!("failed to sync secret cache: {timeout}")), None);
        let services = "services have not yet been read at least once, cannot construct envs";
        assert_eq!(config(services), None);
        assert_eq!(fault("CreateContainerError", "context deadline exceeded"), None);
        // A registry that does not answer is one that somebody has to look at.
        assert_eq!(fault("ErrImagePull", "context deadline exceeded"), Some(IMAGE_PULL_FAILED));
        assert_eq!(fault("ContainerCreating", ""), None);
    }
}
