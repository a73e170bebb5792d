//! What can be done with the functions of a cluster, over the Kubernetes API.
//!
//! `params` is how everything is written. `connect` finds the cluster, `identity` says as whom, `rights` with which rights, and `namespaces` a place in it; `check` says what is wrong with a Function before it is written;
//! `functions`, `secrets`, `volumes` and `services` are the objects, with `edits` as the pure changes
//! of a spec and `changes` as what an apply made of one, `credentials` as what a Service is made of, and `history` as the specs a function had; `names` are those of all of them; `restart` replaces the pods of one, `events` and `wait` follow
//! what becomes of it and `load` says how busy it is; `invoke` sends it a request, `test_run` runs its
//! schedule now and `source_check` tries to reach its source, `binding_check` what it is bound to (both by way of `check_job`), `logs` reads what its pods say and `loki` what they said; `cluster` is what the chart tells of the
//! cluster, and `hosts` who has a host in it. A later module may use an earlier one, never the
//! other way round.
//!
//! A leaf crate: `kip` is its first user and a web console's API can be the second. It prints
//! nothing, reads no flag and no environment, and never hands out a value of a Secret.

#![warn(missing_docs)]

pub mod error;

mod params;

pub mod connect;

pub mod identity;

pub mod rights;

pub mod namespaces;

pub mod check;

pub mod edits;

pub mod changes;

pub mod functions;

pub mod history;

pub mod services;

pub mod secrets;

pub mod credentials;

pub mod assistant;

pub mod volumes;

pub mod names;

pub mod restart;

pub mod events;

pub mod load;

pub mod wait;

pub mod invoke;

pub mod logs;

pub mod loki;

pub mod cluster;

pub mod hosts;

pub mod test_run;

mod check_job;

pub mod source_check;

pub mod binding_check;

pub use connect::{ConnectError, Connection, Server, Target};
pub use error::ApiError;
pub use params::FIELD_MANAGER;
