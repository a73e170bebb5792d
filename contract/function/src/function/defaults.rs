//! What a Function that does not say otherwise has.

use std::time::Duration;

/// Port a function listens on.
pub const DEFAULT_PORT: u16 = 8080;
/// Idle time before scale-to-zero.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Replicas kept while idle.
pub const DEFAULT_MIN_REPLICAS: u32 = 0;
/// Replicas never exceeded.
pub const DEFAULT_MAX_REPLICAS: u32 = 10;
/// Requests per second and replica.
pub const DEFAULT_TARGET_REQUEST_RATE: f64 = 5.0;
/// Under the usual 60 s of an ingress, so that our answer arrives before the ingress gives up.
pub const DEFAULT_COLD_START_TIMEOUT: Duration = Duration::from_secs(50);
/// From the request's last byte to the response's head.
pub const DEFAULT_RESPONSE_HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// CPU reserved for a pod.
pub const DEFAULT_CPU_REQUEST: &str = "50m";
/// Memory reserved for a pod.
pub const DEFAULT_MEMORY_REQUEST: &str = "64Mi";
/// What a pod may write to `/tmp`.
pub const DEFAULT_TMP_LIMIT: &str = "512Mi";
/// Time after which a run of a schedule is ended, where neither the trigger nor a limit of requests
/// says another.
pub const DEFAULT_CRON_DEADLINE: Duration = Duration::from_secs(3600);
/// Memory a pod may use.
pub const DEFAULT_MEMORY_LIMIT: &str = "256Mi";
/// Path the runtimes of inline code answer their readiness on.
pub const INLINE_HEALTH_PATH: &str = "/health";
