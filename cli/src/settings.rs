//! Which cluster, which namespace, and how requests reach a function.
//!
//! Flags come before `KIP_*`, these before the file, and what none of them says is the kubeconfig's.
//! A namespace and a project with its environment are two ways to say one thing: the most specific
//! layer that says either decides which.

use std::{env, fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use kipper_client::{
    Target,
    cluster::SYSTEM_NAMESPACE,
    invoke::Gateway,
    loki::{Address, AddressError, Tenant, TenantError},
    namespaces::Place,
};
use kipper_process::exit::UsageError;
use serde::Deserialize;

/// Longest name of a namespace.
const MAX_NAMESPACE: usize = 63;

/// Which cluster, and where in it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ScopeArgs {
    /// Namespace [env: KIP_NAMESPACE]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Project; with its environment it names the namespace [env: KIP_PROJECT]
    #[arg(long, global = true, value_name = "NAME")]
    pub project: Option<String>,

    /// Environment of the project [env: KIP_ENVIRONMENT]
    #[arg(long, global = true, value_name = "NAME")]
    pub environment: Option<String>,

    /// Context of the kubeconfig [env: KIP_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Kubeconfig to read [env: KIP_KUBECONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<String>,

    /// Send requests to this interceptor instead of the function's URL [env: KIP_INTERCEPTOR]
    #[arg(long, global = true, value_name = "URL")]
    pub interceptor: Option<String>,
}

/// What one place says. The file's keys are these names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Layer {
    namespace: Option<String>,
    project: Option<String>,
    environment: Option<String>,
    context: Option<String>,
    kubeconfig: Option<String>,
    interceptor: Option<String>,
    loki: Option<String>,
    loki_tenant: Option<String>,
    system_namespace: Option<String>,
}

/// What all of them say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The cluster.
    pub target: Target,
    /// Project and environment, where they are what names the namespace.
    pub place: Option<Place>,
    /// How requests reach functions.
    pub gateway: Gateway,
    /// Where lines of pods are collected, if anywhere.
    pub loki: Option<Address>,
    /// Whose lines are meant there.
    pub loki_tenant: Option<Tenant>,
    /// Where the chart is installed.
    pub system_namespace: String,
    /// Whether flags name the namespace, which nothing else may then contradict.
    pub is_flagged: bool,
    /// The flags that were given, as a command that is to be pasted needs them: with a space before.
    pub flags: String,
}

impl ScopeArgs {
    /// Reads the environment and the file as well.
    ///
    /// # Errors
    /// When they contradict themselves, or the file cannot be read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let environment = Layer {
            namespace: variable("KIP_NAMESPACE"),
            project: variable("KIP_PROJECT"),
            environment: variable("KIP_ENVIRONMENT"),
            context: variable("KIP_CONTEXT"),
            kubeconfig: variable("KIP_KUBECONFIG"),
            interceptor: variable("KIP_INTERCEPTOR"),
            loki: variable("KIP_LOKI"),
            loki_tenant: variable("KIP_LOKI_TENANT"),
            system_namespace: variable("KIP_SYSTEM_NAMESPACE"),
        };
        let settings = resolve(&[self.layer(), environment, file()?])?;
        Ok(Settings { flags: self.flags(), ..settings })
    }

    /// The flags that were given, as they are written behind another command; with a space before.
    pub fn flags(&self) -> String {
        let flags = [
            ("-n", &self.namespace),
            ("--project", &self.project),
            ("--environment", &self.environment),
            ("--context", &self.context),
            ("--kubeconfig", &self.kubeconfig),
            ("--interceptor", &self.interceptor),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        given.map(|(flag, value)| format!(" {flag} {}", quoted(value))).collect()
    }

    fn layer(&self) -> Layer {
        Layer {
            namespace: self.namespace.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
            context: self.context.clone(),
            kubeconfig: self.kubeconfig.clone(),
            interceptor: self.interceptor.clone(),
            // The one command that reads them has their flags.
            loki: None,
            loki_tenant: None,
            system_namespace: None,
        }
    }
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// `KIP_CONFIG`, or `kip/config.yaml` where configuration is kept; only the latter may be absent.
fn file() -> anyhow::Result<Layer> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (path, must_exist) = match set("KIP_CONFIG") {
        Some(path) => (path, true),
        None => {
            let home = || set("HOME").map(|home| home.join(".config"));
            let Some(folder) = set("XDG_CONFIG_HOME").or_else(home) else {
                return Ok(Layer::default());
            };
            (folder.join("kip/config.yaml"), false)
        }
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
            return Ok(Layer::default());
        }
        Err(error) => return Err(error).context(path.display().to_string()),
    };
    read(&text).with_context(|| path.display().to_string())
}

fn read(text: &str) -> Result<Layer, UsageError> {
    // A file of comments says nothing.
    let layer: Option<Layer> =
        serde_saphyr::from_str(text).map_err(|error| UsageError::new(error.without_snippet()))?;
    Ok(layer.unwrap_or_default())
}

/// Strongest layer first; the first are the flags.
fn resolve(layers: &[Layer; 3]) -> Result<Settings, UsageError> {
    let first = |field: fn(&Layer) -> &Option<String>| layers.iter().find_map(|l| field(l).clone());
    let (namespace, place) = namespace(layers)?;
    let flags = &layers[0];
    let is_flagged =
        flags.namespace.is_some() || flags.project.is_some() || flags.environment.is_some();
    let interceptor = first(|layer| &layer.interceptor).map(|url| interceptor(&url)).transpose()?;
    let reported = |error: &dyn std::error::Error| UsageError::new(error.to_string());
    let loki = first(|layer| &layer.loki).map(|text| text.parse()).transpose();
    let tenant = first(|layer| &layer.loki_tenant).map(|text| text.parse()).transpose();
    Ok(Settings {
        target: Target {
            kubeconfig: first(|layer| &layer.kubeconfig).map(PathBuf::from),
            context: first(|layer| &layer.context),
            namespace,
        },
        place,
        gateway: Gateway { interceptor },
        loki: loki.map_err(|error: AddressError| reported(&error))?,
        loki_tenant: tenant.map_err(|error: TenantError| reported(&error))?,
        system_namespace: first(|layer| &layer.system_namespace)
            .unwrap_or_else(|| SYSTEM_NAMESPACE.to_owned()),
        is_flagged,
        flags: String::new(),
    })
}

fn namespace(layers: &[Layer; 3]) -> Result<(Option<String>, Option<Place>), UsageError> {
    for (at, layer) in layers.iter().enumerate() {
        let is_placed = layer.project.is_some() || layer.environment.is_some();
        match &layer.namespace {
            Some(_) if is_placed => {
                let message = "specify either a namespace, or a project and an environment";
                return Err(UsageError::new(message));
            }
            Some(namespace) => return Ok((Some(namespace.clone()), None)),
            None if is_placed => {
                // What this layer leaves open, weaker ones may say.
                let rest = &layers[at..];
                let project = rest.iter().find_map(|layer| layer.project.clone());
                let environment = rest.iter().find_map(|layer| layer.environment.clone());
                let place = place(project, environment)?;
                let namespace = format!("{}-{}", place.project, place.environment);
                check(&namespace)?;
                return Ok((Some(namespace), Some(place)));
            }
            None => {}
        }
    }
    Ok((None, None))
}

fn place(project: Option<String>, environment: Option<String>) -> Result<Place, UsageError> {
    match (project, environment) {
        (Some(project), Some(environment)) => Ok(Place { project, environment }),
        (Some(_), None) => Err(UsageError::new("--project needs --environment")),
        _ => Err(UsageError::new("--environment needs --project")),
    }
}

/// Whether a project and an environment make a namespace (RFC 1123 label).
fn check(namespace: &str) -> Result<(), UsageError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = namespace.len() <= MAX_NAMESPACE
        && namespace.bytes().all(allowed)
        && !namespace.starts_with('-')
        && !namespace.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(UsageError::new(format!(
        "project and environment form {namespace:?}, which is not a valid namespace: use lower-case \
         letters, digits and '-', at most {MAX_NAMESPACE} characters"
    )))
}

fn interceptor(url: &str) -> Result<http::Uri, UsageError> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let bad = || UsageError::new(format!("{url:?} is not a valid URL of an interceptor"));
    let uri: http::Uri = with_scheme.parse().map_err(|_| bad())?;
    let has_path = uri.path() != "/" || uri.query().is_some();
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http || uri.host().is_none_or(str::is_empty) || has_path { Err(bad()) } else { Ok(uri) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layer(text: &str) -> Layer {
        read(text).unwrap()
    }

    #[track_caller]
    fn check(layers: [&str; 3], expected: Result<Option<&str>, &str>) {
        let reported = resolve(&layers.map(layer));
        let reported = reported.map(|settings| settings.target.namespace);
        let expected = expected.map(|name| name.map(str::to_owned));
        assert_eq!(reported.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_strongest_layer_says_where() {
        check(["", "", ""], Ok(None));
        check(["", "", "namespace: file"], Ok(Some("file")));
        check(["", "namespace: env", "namespace: file"], Ok(Some("env")));
        check(["namespace: flag", "project: p", "environment: e"], Ok(Some("flag")));
        check(["project: p", "namespace: env", "environment: e"], Ok(Some("p-e")));
        check(["environment: prod", "project: shop\nenvironment: dev", ""], Ok(Some("shop-prod")));
        check(["project: p", "namespace: n", ""], Err("--project needs --environment"));
        check(["", "environment: e", ""], Err("--environment needs --project"));
        let both = "specify either a namespace, or a project and an environment";
        check(["namespace: n\nproject: p", "", ""], Err(both));
        check(
            ["project: P\nenvironment: e", "", ""],
            Err(
                "project and environment form \"P-e\", which is not a valid namespace: use lower-case \
                 letters, digits and '-', at most 63 characters",
            ),
        );
    }

    #[test]
    fn the_rest_comes_from_whoever_says_it_first() {
        let layers = ["context: flag", "context: env\nkubeconfig: k", "interceptor: 10.0.0.7"];
        let settings = resolve(&layers.map(layer)).unwrap();
        assert_eq!(settings.target.context.as_deref(), Some("flag"));
        assert_eq!(settings.target.kubeconfig, Some(PathBuf::from("k")));
        assert_eq!(settings.gateway.interceptor, Some("http://10.0.0.7".parse().unwrap()));
        assert!(!settings.is_flagged);
        let layers = ["", "loki: logs/loki", "loki: http://loki:3100\nlokiTenant: shop"];
        let settings = resolve(&layers.map(layer)).unwrap();
        assert_eq!(settings.loki, Some("logs/loki:3100".parse().unwrap()));
        assert_eq!(settings.loki_tenant, Some("shop".parse().unwrap()));
        let error = resolve(&["loki: loki", "", ""].map(layer)).unwrap_err().to_string();
        assert!(error.contains("neither the URL of a Loki nor a Service"), "{error}");
        assert!(resolve(&["namespace: n", "", ""].map(layer)).unwrap().is_flagged);
        for bad in ["ftp://x", "http://x/path", "http://", "a b"] {
            let layer = Layer { interceptor: Some(bad.to_owned()), ..Layer::default() };
            resolve(&[layer, Layer::default(), Layer::default()]).unwrap_err();
        }
    }

    #[test]
    fn a_file_of_comments_says_nothing_and_a_typo_is_told() {
        assert_eq!(layer("# nothing yet\n"), Layer::default());
        let error = read("namspace: x\n").unwrap_err();
        assert!(error.to_string().contains("namspace"), "{error}");
    }
}
