//! What of a folder is not deployed: names that are no code of a function's own, and what looks like a
//! secret. Pure.
//!
//! A Function is read by many, so what looks like a secret never becomes a part of one, and is named.

use std::{ffi::OsStr, fmt};

/// Names of what tools write or install.
const TOOLS: [&str; 3] = ["node_modules", "__pycache__", "venv"];
/// Endings of what Python compiled.
const COMPILED: [&str; 2] = [".pyc", ".pyo"];
/// Names under which programs keep keys and passwords.
const SECRET_NAMES: [&str; 8] = [
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".git-credentials",
];
/// Endings of files with private keys.
const KEY_ENDINGS: [&str; 5] = [".key", ".p12", ".pfx", ".jks", ".ppk"];

/// One file, and why it is not deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) path: String,
    pub(crate) why: Why,
}

/// Why a file is not deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// By its name, or for a private key in it.
    Secret,
    /// An `.npmrc` that is refused, in words.
    Npmrc(&'static str),
    /// Its path cannot be mounted, in words.
    Path(&'static str),
    NotText,
    LinkOut,
    LinkToFolder,
    LinkToLeftOut,
    BrokenLink,
    NoFile,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not deployed: ", self.path)?;
        f.write_str(match self.why {
            Why::Secret => {
                "it looks like a secret; set what the function needs of it with `kip function secret \
                 set`"
            }
            Why::Npmrc(why) => return write!(f, "it {why}"),
            Why::Path(why) => return write!(f, "its path {why}"),
            Why::NotText => "it is not text (UTF-8)",
            Why::LinkOut => "it is a link to a place outside the folder",
            Why::LinkToFolder => "it is a link to a folder",
            Why::LinkToLeftOut => "it is a link to a file that is left out",
            Why::BrokenLink => "it is a link to nothing",
            Why::NoFile => "it is neither a file nor a folder",
        })
    }
}

/// Is a file or folder of this name no part of a function's code? Hidden ones are not, and neither is
/// what tools write. A name that is not UTF-8 cannot be deployed.
pub(crate) fn is_ignored(name: &OsStr) -> bool {
    name.to_str().is_none_or(|name| {
        name.starts_with('.')
            || TOOLS.contains(&name)
            || COMPILED.iter().any(|ending| name.ends_with(ending))
    })
}

/// Would a file of this path and text be read as a part of the code?
pub(crate) fn is_taken(path: &str, text: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let is_ignored = path.split('/').any(|name| is_ignored(OsStr::new(name)));
    !is_ignored && !is_secret(file) && !is_secret_pem(path, text)
}

/// Does a file of this name look like a secret?
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with(".env")
        || SECRET_NAMES.contains(&name.as_str())
        || KEY_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Does a `.pem` file look like one? Certificates alone are public: code that verifies a server brings
/// its authority.
pub(super) fn is_secret_pem(path: &str, text: &str) -> bool {
    let is_pem = path.to_ascii_lowercase().ends_with(".pem");
    let is_public = text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY");
    is_pem && !is_public
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_no_code_and_what_is_a_secret() {
        for (name, ignored, secret) in [
            ("index.js", false, false),
            ("keys.js", false, false),
            ("environment.json", false, false),
            ("node_modules", true, false),
            ("__pycache__", true, false),
            ("venv", true, false),
            (".venv", true, false),
            (".git", true, false),
            ("a.pyc", true, false),
            (".eslintrc", true, false),
            (".env", true, true),
            (".env.production", true, true),
            (".netrc", true, true),
            ("server.key", false, true),
            ("Server.KEY", false, true),
            ("id_rsa", false, true),
            ("id_rsa.pub", false, false),
        ] {
            assert_eq!(is_ignored(OsStr::new(name)), ignored, "{name}");
            assert_eq!(is_secret(name), secret, "{name}");
        }
    }

    #[test]
    fn what_is_left_out_anywhere_in_a_path_is_not_taken() {
        for path in ["a.js", "lib/a.js", "lib/data.txt"] {
            assert!(is_taken(path, ""), "{path}");
        }
        for path in
            [".env", "lib/.env", "node_modules/p/index.js", ".git/hooks/x", "a.key", "k.pem"]
        {
            assert!(!is_taken(path, ""), "{path}");
        }
    }

    #[test]
    fn a_certificate_is_public_and_a_key_is_not() {
        let block = |what: &str| format!("-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n");
        let (certificate, key) = (block("CERTIFICATE"), block("PRIVATE KEY"));
        for (path, text, expected) in [
            ("ca.pem", certificate.clone(), false),
            ("a/tls.PEM", certificate + &key, true),
            ("tls.pem", key.clone(), true),
            ("tls.pem", "something else".to_owned(), true),
            ("parse.js", key, false),
        ] {
            assert_eq!(is_secret_pem(path, &text), expected, "{path}: {text}");
        }
    }
}
