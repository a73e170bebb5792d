//! Code that has to be made JavaScript of before it runs. Pure.

use std::path::Path;

/// Endings of it.
const ENDINGS: [&str; 5] = ["ts", "mts", "cts", "tsx", "jsx"];

/// Why this file is not run, and what to do; `None` for any other file.
pub(crate) fn refusal(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?;
    let (file, stem) = (path.display(), path.file_stem()?.to_string_lossy());
    ENDINGS.contains(&ending).then(|| {
        format!(
            "{file}: neither TypeScript nor JSX is run; make JavaScript of it, for example with `npx \
             esbuild {file} --bundle --platform=node --outfile={stem}.js`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_refused_with_what_to_do() {
        assert_eq!(
            refusal(Path::new("src/hello.ts")).as_deref(),
            Some(
                "src/hello.ts: neither TypeScript nor JSX is run; make JavaScript of it, for \
                 example with `npx esbuild src/hello.ts --bundle --platform=node \
                 --outfile=hello.js`"
            )
        );
        for other in ["a.js", "a.mjs", "a.py", "ts", "-"] {
            assert_eq!(refusal(Path::new(other)), None, "{other}");
        }
    }
}
