//! Why a container does not start, in the reasons that conditions have. Pure.
//!
//! The kubelet has a word of its own for every step that fails. It goes on trying after each; whether
//! anybody waits for that is for the reader to decide.

/// An image that cannot be had.
const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
/// A container that cannot be made of its image: a missing Secret, a command that is not there.
const CONTAINER_NOT_STARTED: &str = "ContainerNotStarted";

/// What is wrong with a container that waits for this reason; `None` where it is on its way, or where
/// its last end says more (`CrashLoopBackOff`).
pub fn fault(waiting: &str) -> Option<&'static str> {
    match waiting {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError" => Some(IMAGE_PULL_FAILED),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError" => Some(CONTAINER_NOT_STARTED),
        // ContainerCreating, PodInitializing.
        _ => None,
    }
}
