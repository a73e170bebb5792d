//! The checked-in code is what `proto/counts.proto` generates.
//! `UPDATE=1 cargo test -p kipper-counts` writes it anew.
#![allow(clippy::unwrap_used)]

use std::{env, fs};

#[test]
fn the_code_is_generated_from_the_contract() {
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(["proto/counts.proto"], ["proto"]).unwrap();
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(descriptors).unwrap();
    let generated = fs::read_to_string(out.path().join("kipper.counts.v1.rs")).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/generated.rs");
    if env::var_os("UPDATE").is_some() {
        fs::write(path, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(path).unwrap();
    assert!(checked_in == generated, "run it with UPDATE=1 to write {path}");
}
