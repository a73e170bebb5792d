//! Where the replicas of functions are read and asked for.

use futures_util::future::BoxFuture;
use kipper_kubernetes::{Scale, ScaleError, Scales};

use crate::config::ForeignDeployment;

/// Name under which our changes are recorded.
const FIELD_MANAGER: &str = "kipper-scaler-adapter";
/// The policy that limits which Deployments may be scaled from here, as the API server quotes it where that
/// one refuses.
const POLICY: &str = "'kipper-scaler-adapter-scale'";
/// And the one that knows what a Function allows.
const MAXIMUM_POLICY: &str = "'kipper-scaler-adapter-maximum'";
/// What the API server says where no role allows a read or a write.
const NO_ROLE: [&str; 2] = ["cannot get resource", "cannot patch resource"];

/// Who refuses a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refuser {
    /// No role allows it, for whichever function.
    Role,
    /// One of our own policies: this function may want something else by now than KEDA was told.
    OwnPolicy,
    /// Anybody else, such as a cluster's own webhook or policy: for one function or for all.
    Other,
}

impl Refuser {
    /// By the API server's words.
    pub(super) fn of(reason: &str) -> Self {
        if [POLICY, MAXIMUM_POLICY].iter().any(|policy| reason.contains(policy)) {
            Self::OwnPolicy
        } else if NO_ROLE.iter().any(|words| reason.contains(words)) {
            Self::Role
        } else {
            Self::Other
        }
    }
}

/// The replicas of functions, wherever these run.
pub trait Replicas: Send + Sync + 'static {
    /// Replicas that a function should have, and pods that there are.
    fn read(&self, namespace: &str, name: &str) -> BoxFuture<'static, Result<Scale, ScaleError>>;

    /// Raises the replicas of a function that has `from`; false when it has another number by now.
    fn raise(
        &self,
        namespace: &str,
        name: &str,
        from: u32,
        to: u32,
    ) -> BoxFuture<'static, Result<bool, ScaleError>>;

    /// Whether functions may be scaled from here, and why not. Asked again and again.
    fn check(&self) -> BoxFuture<'static, Result<(), String>>;
}

/// Functions that are Deployments of Kubernetes.
pub struct Deployments {
    scales: Scales,
    /// The policy must refuse to scale this one.
    foreign: ForeignDeployment,
}

impl Deployments {
    /// With a client whose account may get and patch `deployments/scale`, as far as an admission
    /// policy lets it. That it does not let it scale `foreign` shows that there is one.
    pub fn new(client: kube::Client, foreign: ForeignDeployment) -> Self {
        Self { scales: Scales::new(client, FIELD_MANAGER), foreign }
    }
}

impl Replicas for Deployments {
    fn read(&self, namespace: &str, name: &str) -> BoxFuture<'static, Result<Scale, ScaleError>> {
        let (scales, namespace, name) =
            (self.scales.clone(), namespace.to_owned(), name.to_owned());
        Box::pin(async move { scales.read(&namespace, &name).await })
    }

    fn raise(
        &self,
        namespace: &str,
        name: &str,
        from: u32,
        to: u32,
    ) -> BoxFuture<'static, Result<bool, ScaleError>> {
        let (scales, namespace, name) =
            (self.scales.clone(), namespace.to_owned(), name.to_owned());
        Box::pin(async move { scales.set(&namespace, &name, from, to).await })
    }

    fn check(&self) -> BoxFuture<'static, Result<(), String>> {
        let (scales, ForeignDeployment { namespace, name }) =
            (self.scales.clone(), self.foreign.clone());
        Box::pin(async move {
            let replicas =
                scales.read(&namespace, &name).await.map_err(|error| error.to_string())?;
            let (from, to) = (replicas.wanted, replicas.wanted + 1);
            match scales.dry_run().set(&namespace, &name, from, to).await {
                Err(ScaleError::Forbidden(reason)) if reason.contains(POLICY) => Ok(()),
                Err(error) => Err(error.to_string()),
                // Its replicas changed meanwhile, so nobody was asked whether they may.
                Ok(false) => Err("not known yet".to_owned()),
                Ok(true) => {
                    Err("no admission policy limits which deployments may be scaled".to_owned())
                }
            }
        })
    }
}
