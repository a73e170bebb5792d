//! Volumes of a pod and where they are mounted: `/tmp`, the inline code, Kipper volumes.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, Volume,
        VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kipper_function::names;

use crate::render::{code, subject::Subject};

/// Where the runtimes find inline code.
pub(super) const CODE_PATH: &str = "/app/function";
const CODE: &str = names::CODE_VOLUME;
const TMP_PATH: &str = "/tmp";
const TMP: &str = names::TMP_VOLUME;

pub(super) fn volumes(subject: &Subject<'_>) -> Vec<Volume> {
    let mut volumes = Vec::new();
    if let Some(code) = &subject.code {
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
    if subject.code.is_some() {
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

/// False when a volume of the user's own takes the place of the pod's `/tmp`, or none is wanted.
fn has_tmp(subject: &Subject<'_>) -> bool {
    let spec = subject.spec();
    !spec.no_tmp && !spec.volumes.iter().any(|volume| path(&volume.mount_path) == TMP_PATH)
}
