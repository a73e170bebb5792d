//! What runs a file, going by its name, and which file of a folder has the handler.
//!
//! The rule of folders is `kipper_function::code`'s; here it is asked of the files of this machine.

use std::{fs::File, io::Read as _, path::Path};

use kipper_function::{
    code::{self, Ambiguous, MAX_CODE_BYTES},
    function::Runtime,
};

/// Endings of JavaScript.
const JAVASCRIPT: [&str; 3] = ["js", "mjs", "cjs"];
/// Endings of TypeScript, whose types Node strips.
pub(crate) const TYPESCRIPT: [&str; 3] = ["ts", "mts", "cts"];
/// Endings of what has to be made JavaScript of before it runs.
const JSX: [&str; 2] = ["tsx", "jsx"];

/// What runs a file of this name; `None` for what is no code.
pub(crate) fn runtime_of_file(path: &Path) -> Option<Runtime> {
    let ending = path.extension()?.to_str()?;
    if JAVASCRIPT.contains(&ending) || typescript_ending(path).is_some() {
        return Some(Runtime::Node);
    }
    (ending == "py").then_some(Runtime::Python)
}

/// The ending of a TypeScript file; `None` for declarations (`.d.ts`), which have no code.
pub(crate) fn typescript_ending(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.rsplit_once('.')?;
    let ending = TYPESCRIPT.into_iter().find(|known| *known == ending)?;
    (!stem.ends_with(".d")).then_some(ending)
}

/// Why this file is not run, and what to do; `None` for any other file.
pub(crate) fn refusal(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?;
    let (file, stem) = (path.display(), path.file_stem()?.to_string_lossy());
    JSX.contains(&ending).then(|| {
        format!(
            "{file}: JSX is not run; make JavaScript of it, for example with `npx esbuild {file} \
             --bundle --platform=node --outfile={stem}.js`"
        )
    })
}

/// The runtime of a folder that is one function; `None` when it is none.
///
/// # Errors
/// When it has an entry file of both runtimes.
pub(crate) fn runtime_of_folder(folder: &Path) -> Result<Option<Runtime>, Ambiguous> {
    code::runtime_of(package_json(folder).as_deref(), |path| folder.join(path).is_file())
}

/// The file of a folder that has the handler, relative to it.
pub(crate) fn entry_of_folder(folder: &Path, runtime: Runtime) -> Option<String> {
    code::entry(runtime, package_json(folder).as_deref(), |path| folder.join(path).is_file())
}

fn package_json(folder: &Path) -> Option<String> {
    // One that cannot be read, or is too large to be deployed, names nothing.
    let file = File::open(folder.join("package.json")).ok()?;
    let mut text = String::new();
    file.take(MAX_CODE_BYTES as u64).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsx_is_refused_with_what_to_do() {
        assert_eq!(
            refusal(Path::new("src/hello.tsx")).as_deref(),
            Some(
                "src/hello.tsx: JSX is not run; make JavaScript of it, for example with `npx esbuild \
                 src/hello.tsx --bundle --platform=node --outfile=hello.js`"
            )
        );
        for other in ["a.js", "a.mjs", "a.ts", "a.py", "tsx", "-"] {
            assert_eq!(refusal(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn an_ending_says_what_runs_a_file() {
        use Runtime::{Node, Python};
        for (name, expected, typescript) in [
            ("a.js", Some(Node), None),
            ("a.b.mjs", Some(Node), None),
            ("a.cjs", Some(Node), None),
            ("a.ts", Some(Node), Some("ts")),
            ("a.mts", Some(Node), Some("mts")),
            ("a.cts", Some(Node), Some("cts")),
            ("a.d.ts", None, None),
            ("a.d.mts", None, None),
            ("a.py", Some(Python), None),
            ("a.pyc", None, None),
            ("ts", None, None),
            ("-", None, None),
        ] {
            let path = Path::new(name);
            assert_eq!(runtime_of_file(path), expected, "{name}");
            assert_eq!(typescript_ending(path), typescript, "{name}");
        }
    }
}
