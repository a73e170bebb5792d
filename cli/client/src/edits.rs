//! Changes of a Function's spec, one at a time. Pure.
//!
//! Each is total: it says what it found or why it makes no sense, and leaves what it was not asked
//! about as it is.

use kipper_function::{
    FunctionSpec,
    function::{ServiceBinding, Volume},
};

/// Why a change makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is nothing of that name to take away.
    #[error("it has no {what} {name}; {}", listed(known))]
    NotThere {
        /// `environment variable`, `binding`, …
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What is there.
        known: Vec<String>,
    },
    /// Only inline code has packages that Kipper installs.
    #[error("it runs an image, which brings its own packages")]
    ImageHasPackages,
    /// What was asked for does not fit the function, in words.
    #[error("{0}")]
    Misfit(String),
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) }
}

fn not_there<'a>(
    what: &'static str,
    name: &str,
    known: impl IntoIterator<Item = &'a String>,
) -> EditError {
    let known = known.into_iter().cloned().collect();
    EditError::NotThere { what, name: name.to_owned(), known }
}

/// Gives environment variables these values.
pub fn set_env(spec: &mut FunctionSpec, variables: &[(String, String)]) {
    spec.env.extend(variables.iter().cloned());
}

/// Takes environment variables away.
///
/// # Errors
/// When one is not there; then none is taken.
pub fn delete_env(spec: &mut FunctionSpec, names: &[String]) -> Result<(), EditError> {
    if let Some(name) = names.iter().find(|name| !spec.env.contains_key(*name)) {
        return Err(not_there("environment variable", name, spec.env.keys()));
    }
    spec.env.retain(|name, _| !names.contains(name));
    Ok(())
}

/// Adds packages, or gives them another version.
///
/// # Errors
/// When the function is an image.
pub fn add_dependencies(
    spec: &mut FunctionSpec,
    packages: &[(String, String)],
) -> Result<(), EditError> {
    match &mut spec.source {
        Some(source) => source.dependencies.extend(packages.iter().cloned()),
        None if packages.is_empty() => {}
        None => return Err(EditError::ImageHasPackages),
    }
    Ok(())
}

/// Takes packages away.
///
/// # Errors
/// When one is not there; then none is taken.
pub fn remove_dependencies(spec: &mut FunctionSpec, names: &[String]) -> Result<(), EditError> {
    let Some(source) = &mut spec.source else { return Err(EditError::ImageHasPackages) };
    if let Some(name) = names.iter().find(|name| !source.dependencies.contains_key(*name)) {
        return Err(not_there("dependency", name, source.dependencies.keys()));
    }
    source.dependencies.retain(|name, _| !names.contains(name));
    Ok(())
}

/// Binds a service, or says how it is bound from now on. What is absent in `binding` stays as it
/// was: the deletion policy above all.
pub fn bind(spec: &mut FunctionSpec, binding: &ServiceBinding) {
    let bound = spec.service_bindings.iter_mut().find(|bound| bound.name == binding.name);
    let Some(bound) = bound else {
        spec.service_bindings.push(binding.clone());
        return;
    };
    let ServiceBinding { name: _, prefix, database, create_database, deletion_policy } =
        binding.clone();
    bound.prefix = prefix.or(bound.prefix.take());
    // What was said of one database is not said of another.
    bound.create_database = create_database || (bound.create_database && database.is_none());
    bound.database = database.or(bound.database.take());
    bound.deletion_policy = deletion_policy.or(bound.deletion_policy.take());
}

/// Takes a binding away.
///
/// # Errors
/// When it is not there.
pub fn unbind(spec: &mut FunctionSpec, service: &str) -> Result<ServiceBinding, EditError> {
    let at = spec.service_bindings.iter().position(|bound| bound.name == service);
    match at {
        Some(at) => Ok(spec.service_bindings.remove(at)),
        None => {
            let bound = spec.service_bindings.iter().map(|bound| &bound.name);
            Err(not_there("binding", service, bound))
        }
    }
}

/// Mounts a volume; what was mounted at its path gives way.
pub fn mount(spec: &mut FunctionSpec, volume: &Volume) {
    match spec.volumes.iter_mut().find(|mounted| mounted.mount_path == volume.mount_path) {
        Some(mounted) => *mounted = volume.clone(),
        None => spec.volumes.push(volume.clone()),
    }
}

/// Takes a volume away, wherever it is mounted.
///
/// # Errors
/// When it is not mounted.
pub fn unmount(spec: &mut FunctionSpec, volume: &str) -> Result<(), EditError> {
    take(&mut spec.volumes, "volume", volume, |mounted| &mounted.name)
}

/// Takes a Secret with registry credentials away.
///
/// # Errors
/// When it is not there.
pub fn remove_image_pull_secret(spec: &mut FunctionSpec, name: &str) -> Result<(), EditError> {
    take(&mut spec.image_pull_secrets, "image pull secret", name, |secret| &secret.name)
}

/// Takes an origin of the Content-Security-Policy away.
///
/// # Errors
/// When it is not there.
pub fn remove_origin(spec: &mut FunctionSpec, origin: &str) -> Result<(), EditError> {
    take(&mut spec.csp_allowlist, "allowed origin", origin, |origin| origin)
}

/// Takes everything of that name away.
fn take<T>(
    list: &mut Vec<T>,
    what: &'static str,
    name: &str,
    name_of: fn(&T) -> &String,
) -> Result<(), EditError> {
    if !list.iter().any(|item| name_of(item) == name) {
        return Err(not_there(what, name, list.iter().map(name_of)));
    }
    list.retain(|item| name_of(item) != name);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kipper_function::function::{ImagePullSecret, Source};

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn variables_are_taken_all_or_none() {
        let mut spec = FunctionSpec::default();
        set_env(&mut spec, &pairs(&[("A", "1"), ("B", "2")]));
        set_env(&mut spec, &pairs(&[("B", "3")]));
        let error = delete_env(&mut spec, &names(&["A", "C"])).unwrap_err();
        assert_eq!(error.to_string(), "it has no environment variable C; it has A, B");
        assert_eq!(spec.env.into_iter().collect::<Vec<_>>(), pairs(&[("A", "1"), ("B", "3")]));
        let mut none = FunctionSpec::default();
        let error = delete_env(&mut none, &names(&["A"])).unwrap_err();
        assert_eq!(error.to_string(), "it has no environment variable A; it has none");
    }

    #[test]
    fn packages_belong_to_code() {
        let mut image = FunctionSpec { image: Some("x".into()), ..FunctionSpec::default() };
        assert_eq!(
            add_dependencies(&mut image, &pairs(&[("pg", "8")])),
            Err(EditError::ImageHasPackages)
        );
        assert_eq!(add_dependencies(&mut image, &[]), Ok(()));
        assert_eq!(
            remove_dependencies(&mut image, &names(&["pg"])),
            Err(EditError::ImageHasPackages)
        );
        let source = Some(Source { code: Some("x".into()), ..Source::default() });
        let mut code = FunctionSpec { source, ..FunctionSpec::default() };
        add_dependencies(&mut code, &pairs(&[("pg", "8"), ("axios", "1")])).unwrap();
        add_dependencies(&mut code, &pairs(&[("pg", "9")])).unwrap();
        remove_dependencies(&mut code, &names(&["axios"])).unwrap();
        let left: Vec<_> = code.source.as_ref().unwrap().dependencies.clone().into_iter().collect();
        assert_eq!(left, pairs(&[("pg", "9")]));
        let error = remove_dependencies(&mut code, &names(&["left-pad"])).unwrap_err();
        assert_eq!(error.to_string(), "it has no dependency left-pad; it has pg");
    }

    #[test]
    fn a_binding_keeps_what_it_is_not_told_about() {
        let named = |name: &str| ServiceBinding { name: name.into(), ..ServiceBinding::default() };
        let mut spec = FunctionSpec::default();
        let policy = Some("Delete".to_owned());
        bind(&mut spec, &ServiceBinding { deletion_policy: policy.clone(), ..named("db") });
        bind(&mut spec, &named("cache"));
        bind(&mut spec, &ServiceBinding { prefix: Some("PG_".into()), ..named("db") });
        assert_eq!(spec.service_bindings[0].prefix.as_deref(), Some("PG_"));
        assert_eq!(spec.service_bindings[0].deletion_policy, policy);
        assert_eq!(unbind(&mut spec, "db").unwrap().name, "db");
        let error = unbind(&mut spec, "db").unwrap_err();
        assert_eq!(error.to_string(), "it has no binding db; it has cache");
    }

    #[test]
    fn one_path_has_one_volume() {
        let volume = |name: &str, path: &str| Volume { name: name.into(), mount_path: path.into() };
        let mut spec = FunctionSpec::default();
        mount(&mut spec, &volume("a", "/a"));
        mount(&mut spec, &volume("b", "/b"));
        mount(&mut spec, &volume("c", "/a"));
        assert_eq!(spec.volumes, [volume("c", "/a"), volume("b", "/b")]);
    }

    #[test]
    fn a_named_database_is_created_where_that_was_said_of_it() {
        let binding = |database: Option<&str>, create_database: bool| ServiceBinding {
            name: "db".into(),
            database: database.map(str::to_owned),
            create_database,
            ..ServiceBinding::default()
        };
        let mut spec = FunctionSpec::default();
        for (change, expected) in [
            (binding(Some("shop"), true), ("shop", true)),
            (binding(None, false), ("shop", true)),
            (binding(Some("sohp"), false), ("sohp", false)),
            (binding(None, true), ("sohp", true)),
        ] {
            bind(&mut spec, &change);
            let bound = &spec.service_bindings[0];
            assert_eq!((bound.database().unwrap(), bound.create_database), expected);
        }
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let volume = |name: &str, path: &str| Volume { name: name.into(), mount_path: path.into() };
        let secret = |name: &str| ImagePullSecret { name: name.into() };
        let mut spec = FunctionSpec {
            volumes: vec![volume("a", "/a"), volume("b", "/b"), volume("a", "/c")],
            image_pull_secrets: vec![secret("registry")],
            csp_allowlist: names(&["https://cdn.example.com"]),
            ..FunctionSpec::default()
        };
        unmount(&mut spec, "a").unwrap();
        assert_eq!(spec.volumes, [volume("b", "/b")]);
        let error = unmount(&mut spec, "a").unwrap_err();
        assert_eq!(error.to_string(), "it has no volume a; it has b");
        let error = remove_image_pull_secret(&mut spec, "other").unwrap_err();
        assert_eq!(error.to_string(), "it has no image pull secret other; it has registry");
        remove_image_pull_secret(&mut spec, "registry").unwrap();
        remove_origin(&mut spec, "https://cdn.example.com").unwrap();
        assert!(spec.image_pull_secrets.is_empty() && spec.csp_allowlist.is_empty());
        let error = remove_origin(&mut spec, "x").unwrap_err();
        assert_eq!(error.to_string(), "it has no allowed origin x; it has none");
    }
}
