//! The `Function` resource, `kipper.run/v1alpha1`, as it is stored.
//!
//! The types are lenient and the schema is strict: whatever an older cluster stored can be read
//! (unknown enum strings stay strings, every field may be absent), while the generated CRD refuses
//! at admission what can be refused there. Effective values, with every default applied, come from
//! the accessors in [`effective`]; `kip` and `kip dev` report problems through
//! [`FunctionSpec::validate`]. The types themselves never interpret a field.

mod defaults;
pub mod effective;
mod event;
mod problem;
mod schema_default;
mod spec;
mod status;
pub mod validate;

pub use crate::{
    kinds::{DeletionPolicy, Phase, Protocol, RunResult, Runtime, TriggerKind},
    names::MAX_NAME_LEN,
};
pub use problem::Problem;
pub use spec::{
    Function, FunctionSpec, ImagePullSecret, Resources, Scaling, ServiceBinding, Source, Timeouts,
    Trigger, Volume,
};
pub use status::{ExitStatus, FunctionStatus, RunStatus, ScheduleStatus, SecretKeyStatus};
