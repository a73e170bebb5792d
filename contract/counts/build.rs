//! Compiles the contract with a pure-Rust protobuf compiler, so that no `protoc` is needed.

use std::io::{Error, Result};

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/counts.proto"], ["proto"]).map_err(Error::other)?;
    tonic_prost_build::configure().compile_fds(descriptors)
}
