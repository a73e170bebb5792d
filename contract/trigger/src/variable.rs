//! Names of the environment variables that a poller is configured with.
//!
//! Those without `POLL` in them are what pods have always had.

/// A variable of the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    /// Kind of the source; the function's own container has it too.
    Trigger,
    /// Namespace of the function.
    Namespace,
    /// Name of the function.
    Function,
    /// Where events are posted.
    TargetUrl,
    /// Path that answers once the function takes events.
    HealthPath,
    /// Address of probes and metrics.
    AdminListen,
    /// Address of the drain port.
    DrainListen,
    /// How long a call of the drain port takes at the least.
    DrainDelay,
    /// What a call of the drain port must bring.
    DrainToken,
    /// What tells the runtime that an event is its own poller's; the function's container has it too.
    EventToken,
    /// Where the scaler-adapters are told how many events wait.
    BacklogAddress,
    /// What such a report must bring.
    BacklogToken,
    /// URL of the source.
    SourceUrl,
    /// File with the certificate authority of the source.
    SourceCa,
    /// Access key of an S3 service.
    SourceAccessKey,
    /// Its secret key.
    SourceSecretKey,
    /// Query whose rows are the events.
    Query,
    /// Statement that marks a row.
    MarkDone,
    /// Statement for a dead event.
    OnFailed,
    /// Columns that tell rows apart.
    KeyColumns,
    /// What marks share a transaction.
    MarkCommit,
    /// Redis list.
    List,
    /// End of the list from which items are taken.
    ListEnd,
    /// Bucket whose changes are the events.
    Bucket,
    /// Bucket in which they wait.
    StateBucket,
    /// Life of a claim that is not renewed.
    Lease,
    /// Pause after a look that found nothing.
    PollInterval,
    /// Events handled at once.
    Concurrency,
    /// Events claimed and not yet marked.
    MaxHeld,
    /// Bytes of their bodies.
    MaxHeldBytes,
    /// Attempts before an event is dead.
    MaxAttempts,
    /// Longest time of one delivery.
    DeliverTimeout,
}

impl Variable {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Trigger,
        Self::Namespace,
        Self::Function,
        Self::TargetUrl,
        Self::HealthPath,
        Self::AdminListen,
        Self::DrainListen,
        Self::DrainDelay,
        Self::DrainToken,
        Self::EventToken,
        Self::BacklogAddress,
        Self::BacklogToken,
        Self::SourceUrl,
        Self::SourceCa,
        Self::SourceAccessKey,
        Self::SourceSecretKey,
        Self::Query,
        Self::MarkDone,
        Self::OnFailed,
        Self::KeyColumns,
        Self::MarkCommit,
        Self::List,
        Self::ListEnd,
        Self::Bucket,
        Self::StateBucket,
        Self::Lease,
        Self::PollInterval,
        Self::Concurrency,
        Self::MaxHeld,
        Self::MaxHeldBytes,
        Self::MaxAttempts,
        Self::DeliverTimeout,
    ];

    /// Its name in the environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trigger => "KIPPER_TRIGGER",
            Self::Namespace => "KIPPER_POLL_NAMESPACE",
            Self::Function => "KIPPER_POLL_FUNCTION",
            Self::TargetUrl => "KIPPER_TARGET_URL",
            Self::HealthPath => "KIPPER_POLL_HEALTH_PATH",
            Self::AdminListen => "KIPPER_POLL_ADMIN_LISTEN",
            Self::DrainListen => "KIPPER_POLL_DRAIN_LISTEN",
            Self::DrainDelay => "KIPPER_POLL_DRAIN_DELAY",
            Self::DrainToken => "KIPPER_POLL_DRAIN_TOKEN",
            Self::EventToken => "KIPPER_EVENT_TOKEN",
            Self::BacklogAddress => "KIPPER_POLL_BACKLOG_ADDRESS",
            Self::BacklogToken => "KIPPER_POLL_BACKLOG_TOKEN",
            Self::SourceUrl => "KIPPER_SOURCE_URL",
            Self::SourceCa => "KIPPER_SOURCE_CA",
            Self::SourceAccessKey => "KIPPER_SOURCE_ACCESS_KEY",
            Self::SourceSecretKey => "KIPPER_SOURCE_SECRET_KEY",
            Self::Query => "KIPPER_QUERY",
            Self::MarkDone => "KIPPER_MARK_DONE",
            Self::OnFailed => "KIPPER_ON_FAILED",
            Self::KeyColumns => "KIPPER_POLL_KEY",
            Self::MarkCommit => "KIPPER_POLL_MARK_COMMIT",
            Self::List => "KIPPER_REDIS_LIST",
            Self::ListEnd => "KIPPER_POLL_LIST_END",
            Self::Bucket => "KIPPER_MINIO_BUCKET",
            Self::StateBucket => "KIPPER_POLL_STATE_BUCKET",
            Self::Lease => "KIPPER_POLL_LEASE",
            Self::PollInterval => "KIPPER_POLL_INTERVAL",
            Self::Concurrency => "KIPPER_POLL_CONCURRENCY",
            Self::MaxHeld => "KIPPER_POLL_MAX_HELD",
            Self::MaxHeldBytes => "KIPPER_POLL_MAX_HELD_BYTES",
            Self::MaxAttempts => "KIPPER_MAX_ATTEMPTS",
            Self::DeliverTimeout => "KIPPER_POLL_DELIVER_TIMEOUT",
        }
    }
}
