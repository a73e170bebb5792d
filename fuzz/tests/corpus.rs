//! Every target over its corpus.
#![cfg(not(feature = "libfuzzer"))]
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use kipper_fuzz::TARGETS;

#[test]
fn every_target_holds_over_its_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut files = 0;
        for file in fs::read_dir(corpora.join(name)).unwrap() {
            target(&fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "{name} has no corpus");
    }
}
