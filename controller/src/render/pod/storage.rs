//! Where a pod's files are: `/tmp`, the inline code, Kipper volumes, as volumes or without one.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapKeySelector, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvVar, EnvVarSource,
        PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kipper_function::{names, quantity};

use crate::render::{
    code, env,
    subject::{Code, Subject},
};

/// Where the runtimes find inline code.
pub(super) const CODE_PATH: &str = "/app/function";
const CODE: &str = names::CODE_VOLUME;
const TMP_PATH: &str = "/tmp";
const TMP: &str = names::TMP_VOLUME;
/// What the kubelet keeps of a container's log: five files of 10 MiB, unless a node has other settings,
/// and what is written while it turns to the next one.
const LOG_BYTES: u64 = 64 << 20;

pub(super) fn volumes(subject: &Subject<'_>) -> Vec<Volume> {
    let mut volumes = Vec::new();
    if let Some(code) = mounted_code(subject) {
        volumes.push(Volume {
            name: CODE.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: code.config_map.clone(),
                items: code::items(code.files.keys()),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    if has_tmp(subject) {
        // Beyond it the kubelet evicts the pod.
        let size_limit = Some(Quantity(subject.spec().tmp_limit().to_owned()));
        volumes.push(Volume {
            name: TMP.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource { size_limit, medium: None }),
            ..Volume::default()
        });
    }
    volumes.extend(shared(subject).into_iter().enumerate().map(|(at, volume)| Volume {
        name: shared_name(at),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: names::volume_claim(volume),
            read_only: None,
        }),
        ..Volume::default()
    }));
    volumes
}

pub(super) fn mounts(subject: &Subject<'_>) -> Vec<VolumeMount> {
    let mount = |name: String, path: &str| VolumeMount {
        name,
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    let mut mounts = Vec::new();
    if mounted_code(subject).is_some() {
        let code = mount(CODE.to_owned(), CODE_PATH);
        mounts.push(VolumeMount { read_only: Some(true), ..code });
    }
    if has_tmp(subject) {
        mounts.push(mount(TMP.to_owned(), TMP_PATH));
    }
    let shared = shared(subject);
    for volume in &subject.spec().volumes {
        if let Some(at) = shared.iter().position(|name| *name == volume.name) {
            mounts.push(mount(shared_name(at), path(&volume.mount_path)));
        }
    }
    mounts
}

/// Inline code as variables: the list of its paths, and the text of each from the ConfigMap.
pub(super) fn variables(subject: &Subject<'_>) -> Vec<EnvVar> {
    let Some(code) = subject.code_in_environment() else { return Vec::new() };
    let paths: Vec<&str> = code.files.keys().map(String::as_str).collect();
    let text = |(place, path): (usize, &String)| EnvVar {
        name: names::file_variable(place),
        value: None,
        value_from: Some(EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector {
                name: code.config_map.clone(),
                key: code::key(path),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    };
    let texts = code.files.keys().enumerate().map(text);
    std::iter::once(env::literal(names::FILES_VARIABLE, &paths.join("\n"))).chain(texts).collect()
}

/// What the function's container may write where `/tmp` is its image's: the kubelet counts its log too.
pub(super) fn container_limit(subject: &Subject<'_>) -> Option<String> {
    subject.code_in_environment()?;
    Some(quantity::plus(subject.spec().tmp_limit(), LOG_BYTES))
}

fn mounted_code<'a>(subject: &'a Subject<'_>) -> Option<&'a Code> {
    subject.code.as_ref().filter(|code| !code.in_environment)
}

/// Names of the Kipper volumes, each once: one may be mounted at two paths.
fn shared<'a>(subject: &Subject<'a>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for volume in &subject.spec().volumes {
        if !names.contains(&volume.name.as_str()) {
            names.push(&volume.name);
        }
    }
    names
}

/// By number: `shared-<name>` may be longer than the 63 characters that a volume of a pod has.
fn shared_name(at: usize) -> String {
    format!("shared-{at}")
}

/// Kubernetes compares mount paths as text, so each is written one way.
fn path(mount_path: &str) -> &str {
    mount_path.trim_end_matches('/')
}

/// False when a volume of the user's own takes the place of the pod's `/tmp`, when the image has one, or
/// when none is wanted.
fn has_tmp(subject: &Subject<'_>) -> bool {
    let spec = subject.spec();
    let own = spec.no_tmp || subject.code_in_environment().is_some();
    !own && !spec.volumes.iter().any(|volume| path(&volume.mount_path) == TMP_PATH)
}
