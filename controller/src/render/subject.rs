//! One Function as its objects are made of it.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kipper_function::{Function, FunctionSpec, code, function::effective::Workload, names};
use kipper_trigger::Kind;
use kube::Resource;

use super::{
    env::{self, Holders},
    error::RenderError,
    input::{Input, Settings},
};
use crate::{digest::digest, plan::Event};

/// What is being rendered, with what several objects need of it worked out once.
pub(super) struct Subject<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) settings: &'a Settings,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    uid: &'a str,
    pub(super) workload: Workload<'a>,
    /// `None` for an image.
    pub(super) code: Option<Code>,
    /// Who declares which variable.
    pub(super) holders: Holders,
    /// Digest of all that the poller reads at its start, if there is an event trigger.
    pub(super) trigger_digest: Option<String>,
    /// A poller found that this very trigger cannot work.
    pub(super) refused: bool,
}

/// Inline code as a pod has it.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) files: BTreeMap<String, String>,
    /// The ConfigMap with exactly these files.
    pub(super) config_map: String,
    /// Whether they come in the environment, and the pod has no volume at all.
    pub(super) in_environment: bool,
}

impl Code {
    fn new(function: &str, files: BTreeMap<String, String>, in_environment: bool) -> Self {
        let parts = files.iter().flat_map(|(file, text)| [file.as_bytes(), text.as_bytes()]);
        let config_map = names::code_config_map(function, &digest(parts));
        Self { files, config_map, in_environment }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn new(input: &'a Input<'a>, settings: &'a Settings) -> Result<Self, RenderError> {
        fn part<'a>(field: &'a Option<String>, name: &'static str) -> Result<&'a str, RenderError> {
            let text = field.as_deref().filter(|text| !text.is_empty());
            text.ok_or(RenderError::Incomplete(name))
        }
        let meta = &input.function.metadata;
        let name = part(&meta.name, "name")?;
        let workload = input.function.spec.workload().ok_or(RenderError::NoWorkload)?;
        let code = match workload {
            Workload::Image(_) => None,
            Workload::Inline(runtime, source) => {
                let files = code::files(name, runtime, source);
                let reason = code::volume_reason(&input.function.spec, runtime, &files);
                let in_environment = !settings.read_only_root && reason.is_none();
                Some(Code::new(name, files, in_environment))
            }
        };
        Ok(Self {
            input,
            settings,
            name,
            namespace: part(&meta.namespace, "namespace")?,
            uid: part(&meta.uid, "uid")?,
            workload,
            code,
            holders: env::holders(input),
            trigger_digest: None,
            refused: false,
        })
    }

    pub(super) fn spec(&self) -> &'a FunctionSpec {
        &self.input.function.spec
    }

    /// An annotation of the Function.
    pub(super) fn annotation(&self, name: &str) -> Option<&'a str> {
        let annotations = self.input.function.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(name)).map(String::as_str)
    }

    /// The event trigger, if its poller is to run. A poller that ends at once would keep a pod from
    /// getting ready, so requests are served without it.
    pub(super) fn event(&self) -> Option<&'a Event> {
        self.input.event.filter(|_| !(self.refused && self.spec().is_http()))
    }

    /// Where pollers report the backlog to: if the function has one, and is scaled ahead of the HPA by it.
    /// Events of a bucket the scaler adapter counts itself.
    pub(super) fn reported_to(&self) -> Option<&'a str> {
        let spec = self.spec();
        let counted_by_keda = spec.event().is_some_and(|event| event.kind != Kind::Minio);
        let address = self.settings.backlog_address.as_deref();
        address.filter(|_| counted_by_keda && spec.burst_max_replicas() > 1)
    }

    /// The code where it comes in the environment. Such a pod has no volume, and writes to the `/tmp` of
    /// its runtime's image.
    pub(super) fn code_in_environment(&self) -> Option<&Code> {
        self.code.as_ref().filter(|code| code.in_environment)
    }

    /// What runs the function in the first place: its server, or its runs.
    pub(super) fn component(&self) -> &'static str {
        if self.spec().is_served() { names::SERVER } else { names::BATCH }
    }

    pub(super) fn labels(&self, component: &str) -> BTreeMap<String, String> {
        let spec = self.spec();
        names::labels(self.name, component, spec.main_trigger(), spec.effective_runtime())
    }

    /// Metadata of an object beside the Function.
    pub(super) fn meta(&self, name: String, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels(component)),
            owner_references: Some(vec![OwnerReference {
                api_version: Function::api_version(&()).into_owned(),
                kind: Function::kind(&()).into_owned(),
                name: self.name.to_owned(),
                uid: self.uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }

    /// Digest of what the pods read once, at their start: code, Secret, bindings.
    pub(super) fn config_digest(&self) -> String {
        let files = self.code.iter().flat_map(|code| &code.files);
        let files = files.flat_map(|(file, text)| [file, text]);
        let bindings = self.input.bindings.iter().map(|binding| &binding.digest);
        let parts = files.map(String::as_str);
        let parts = parts.chain([self.input.secret_digest.unwrap_or_default()]);
        digest(parts.chain(bindings.map(String::as_str)).map(str::as_bytes))
    }
}

/// Whole seconds as Kubernetes counts them.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
