//! The two gRPC contracts of the scaling path, generated from `proto/`.
//!
//! [`externalscaler`] is KEDA's; its names and field numbers are not ours to change.
//! [`counts`] is the stream on which interceptors report to scaler-adapters.
//! This is a leaf crate: it never depends on a process.

/// KEDA's external scaler service (`external` and `external-push` triggers).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod externalscaler {
    tonic::include_proto!("externalscaler");
}

/// The counts stream from interceptors to scaler-adapters.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod counts {
    tonic::include_proto!("kipper.counts.v1");
}
