//! Prints the CustomResourceDefinitions as YAML; `deploy/crds` holds what it prints.

use kipper_function::{Function, Service};
use kube::CustomResourceExt as _;

fn main() -> anyhow::Result<()> {
    for crd in [Function::crd(), Service::crd()] {
        println!("---\n{}", serde_saphyr::to_string(&crd)?.trim_end());
    }
    Ok(())
}
