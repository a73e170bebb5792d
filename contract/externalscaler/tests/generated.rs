//! The checked-in code is what `proto/externalscaler.proto` generates.
//! `UPDATE=1 cargo test -p kipper-externalscaler` writes it anew.
#![allow(clippy::unwrap_used)]

use std::{env, fs};

#[test]
fn the_code_is_generated_from_the_contract() {
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(["proto/externalscaler.proto"], ["proto"]).unwrap();
    let generator = tonic_prost_build::configure().codec_path("crate::codec::SmallCodec");
    generator.out_dir(out.path()).compile_fds(descriptors).unwrap();
    let generated = fs::read_to_string(out.path().join("externalscaler.rs")).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/generated.rs");
    if env::var_os("UPDATE").is_some() {
        fs::write(path, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(path).unwrap();
    assert!(checked_in == generated, "run it with UPDATE=1 to write {path}");
}
