//! The limits that the binary was built with.

use kipper_loadtest::run::{Run, RunArgs};

#[test]
fn the_built_in_limits_are_whole() {
    Run::new(&RunArgs::default()).unwrap();
}
