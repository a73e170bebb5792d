//! Watches and leader election over the Kubernetes API, once for every process.
//!
//! [`follow()`] keeps a [`Mirror`] of the objects of one kind for as long as it runs, whatever the
//! API server does meanwhile. [`Values`] is a mirror for what is small: one value per object, all of
//! them handed over after each change, and [`states`] follows a single object. [`Election`] makes one
//! of several replicas the leader, and [`Scales`] sets the replicas of Deployments. Nothing here knows
//! what the objects mean: a leaf crate never depends on a process.

#![warn(missing_docs)]

mod client;
mod election;
mod follow;
mod mirror;
mod object;
mod scale;

pub use client::client;
pub use election::{Candidacy, Election, Leader};
pub use follow::{Settings, follow};
pub use mirror::{Mirror, ObjectName, Values};
pub use object::states;
pub use scale::{Scale, ScaleError, Scales};
