//! Writes the table of the page's files, which the crate embeds: path and bytes of everything in
//! `web/dist`. Without that folder the table is empty.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const DIST: &str = "web/dist";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DIST}");
    let dist = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join(DIST);
    let mut table = String::from("&[\n");
    if dist.is_dir() {
        add(&dist, &dist, &mut table)?;
    }
    table.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("files.rs"), table)?;
    Ok(())
}

/// The files of a folder; the folders in it are as deep as a build makes them.
fn add(dist: &Path, folder: &Path, table: &mut String) -> Result<(), Box<dyn Error>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add(dist, &path, table)?;
        } else {
            let name = path.strip_prefix(dist)?;
            writeln!(table, "({:?}, include_bytes!({:?})),", name, path)?;
        }
    }
    Ok(())
}
