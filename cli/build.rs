//! Embeds the runtimes' files, so that an installed `kip` needs nothing beside it.
//!
//! Writes a list of (relative path, text) per runtime and one hash over all of it, which names the
//! folder they are unpacked into.

use std::{
    env,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

type BuildError = Box<dyn std::error::Error>;

/// Constant, folder under `runtimes/`, and what of it runs: folders and the ending of their files.
const RUNTIMES: [(&str, &str, &[&str], &str); 2] =
    [("NODE", "node", &[""], "js"), ("PYTHON", "python", &["", "kipper_runtime"], "py")];

fn main() -> Result<(), BuildError> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../runtimes");
    let mut hash = DefaultHasher::new();
    let mut code = String::new();
    for (constant, runtime, folders, ending) in RUNTIMES {
        let base = root.join(runtime);
        writeln!(code, "pub(super) const {constant}: &[(&str, &str)] = &[")?;
        for relative in files(&base, folders, ending)? {
            let path = base.join(&relative).canonicalize()?;
            (runtime, &relative, fs::read(&path)?).hash(&mut hash);
            writeln!(code, "    ({relative:?}, include_str!({path:?})),")?;
        }
        writeln!(code, "];")?;
    }
    writeln!(code, "pub(super) const HASH: &str = \"{:016x}\";", hash.finish())?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("runtimes.rs"), code)?;
    Ok(())
}

/// The files that run, relative to `base`, sorted.
fn files(base: &Path, folders: &[&str], ending: &str) -> Result<Vec<String>, BuildError> {
    let mut found = Vec::new();
    for folder in folders {
        let directory = base.join(folder);
        println!("cargo::rerun-if-changed={}", directory.display());
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_file() && path.extension().is_some_and(|e| e == ending) {
                let relative = path.strip_prefix(base)?;
                found.push(relative.to_str().ok_or("a file name is not UTF-8")?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}
