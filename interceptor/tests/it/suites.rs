//! What others wrote: h2spec, the cases of http_desync_guardian, slowhttptest, usual clients. What was
//! decided where they leave room is in `suites/README.md`.

mod desync;
mod early;
mod h2spec;
mod slow;

use std::path::PathBuf;

/// A program of this name in PATH or among what `go install` and Debian put elsewhere; a suite
/// that is not installed fails, with how to install it.
fn program(name: &str, install: &str) -> PathBuf {
    let mut places: Vec<_> =
        std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    if let Some(go) = std::env::var_os("GOPATH") {
        places.extend(std::env::split_paths(&go).map(|p| p.join("bin")));
    }
    if let Some(home) = std::env::var_os("HOME") {
        places.push(PathBuf::from(home).join("go/bin"));
    }
    let found = places.into_iter().map(|p| p.join(name)).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed; install it with: {install}"))
}
