//! The block "Kipper knows": everything about the function, beside its code, that the model sees.
//!
//! One value for both: the prompt has its text, and the page shows its fields.

use std::fmt;

use kipper_function::function::Runtime;
use serde::Serialize;

use crate::request::{Binding, Draft};

/// What the model is told about the function: names, never values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Knows {
    /// `Node 22`.
    pub runtime: &'static str,
    /// `eventdb (postgres) → DB_HOST DB_PORT`.
    pub bindings: Vec<String>,
    /// Names of environment variables.
    pub env: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// `pg@8.11.5`.
    pub dependencies: Vec<String>,
    /// Paths of the files of its code.
    pub files: Vec<String>,
}

impl Knows {
    /// What is known of a draft.
    pub fn of(draft: &Draft) -> Self {
        Self {
            runtime: match draft.runtime {
                Runtime::Node => "Node 22",
                Runtime::Python => "Python 3.12",
            },
            bindings: draft.bindings.iter().map(binding).collect(),
            env: draft.env_names.clone(),
            secrets: draft.secret_names.clone(),
            dependencies: draft.dependencies.iter().map(|(name, at)| package(name, at)).collect(),
            files: draft.code.keys().cloned().collect(),
        }
    }
}

impl fmt::Display for Knows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Runtime: {}", self.runtime)?;
        for (label, items, separator) in [
            ("Service bindings and the variables that they inject", &self.bindings, "; "),
            ("Environment variables", &self.env, ", "),
            ("Secrets, as environment variables", &self.secrets, ", "),
            ("Installed packages", &self.dependencies, ", "),
            ("Files", &self.files, ", "),
        ] {
            let items = items.join(separator);
            writeln!(f, "{label}: {}", if items.is_empty() { "none" } else { &items })?;
        }
        Ok(())
    }
}

fn binding(binding: &Binding) -> String {
    format!("{} ({}) \u{2192} {}", binding.service, binding.kind, binding.env.join(" "))
}

/// The URL of an archive stands in place of a version and may have a password in it.
fn package(name: &str, version: &str) -> String {
    if version.contains("://") {
        return format!("{name} (from a URL)");
    }
    format!("{name}@{version}")
}

#[cfg(test)]
mod tests {
    use kipper_function::service::ServiceKind;

    use super::*;

    #[test]
    fn names_and_versions_are_listed() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let draft = Draft {
            runtime: Runtime::Node,
            code: pairs(&[("index.js", "secret text"), ("lib/a.js", "")]),
            bindings: vec![Binding {
                service: "eventdb".to_owned(),
                kind: ServiceKind::Postgres,
                env: texts(&["DB_HOST", "DB_PORT"]),
            }],
            env_names: texts(&["OPENSRS_HOST"]),
            secret_names: texts(&["OPENSRS_API_KEY"]),
            dependencies: pairs(&[
                ("pg", "8.11.5"),
                ("ours", "https://ada:canary@example.com/ours.tgz"),
            ]),
        };
        let expected = "Runtime: Node 22\n\
            Service bindings and the variables that they inject: eventdb (postgres) \u{2192} DB_HOST DB_PORT\n\
            Environment variables: OPENSRS_HOST\n\
            Secrets, as environment variables: OPENSRS_API_KEY\n\
            Installed packages: ours (from a URL), pg@8.11.5\n\
            Files: index.js, lib/a.js\n";
        assert_eq!(Knows::of(&draft).to_string(), expected);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let draft = Draft {
            runtime: Runtime::Python,
            code: [].into(),
            bindings: Vec::new(),
            env_names: Vec::new(),
            secret_names: Vec::new(),
            dependencies: [].into(),
        };
        let text = Knows::of(&draft).to_string();
        assert!(text.starts_with("Runtime: Python 3.12\n"), "{text}");
        assert!(text.contains("\nEnvironment variables: none\n"), "{text}");
    }
}
