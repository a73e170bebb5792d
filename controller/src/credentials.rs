//! The Service that a binding or an event trigger names, and its Secret.
//!
//! Both are looked for in one way and found wanting in the same words; only the condition that tells
//! it differs. Values are looked at by whoever connects; here it is the keys, all of them at once.

use std::{collections::BTreeMap, net::IpAddr};

use kipper_function::{names, service::ServiceKind};

use crate::{
    bindings::{BindingError, Server},
    cache::{Cache, Key},
    namespaces::{Namespaces, SecretView},
    plan::{Blocked, Concern, PlanError},
};

/// What the Service is.
pub(crate) fn kind(concern: Concern, service: &Key, cache: &Cache) -> Result<ServiceKind, Blocked> {
    let name = &service.name;
    let Some(type_) = cache.services.get(service) else {
        let message = format!("service {name} does not exist");
        return Err(Blocked::new(concern, "ServiceNotFound", message));
    };
    let unknown = || {
        let message = format!("service {name} has unknown type {type_}");
        Blocked::new(concern, "ServiceUnknown", message)
    };
    ServiceKind::parse(&type_).ok_or_else(unknown)
}

/// Name and view of its Secret.
pub(crate) async fn secret(
    concern: Concern,
    kind: ServiceKind,
    service: &Key,
    namespaces: &Namespaces,
) -> Result<(Key, SecretView), PlanError> {
    let key = Key::new(&service.namespace, names::service_credentials(&service.name));
    match namespaces.view(&key).await? {
        Some(view) => Ok((key, view)),
        None => {
            let (secret, name) = (&key.name, &service.name);
            let needed = kind.required_keys().join(", ");
            let message = format!(
                "Secret {secret} of service {name} does not exist; it needs the keys {needed} \
                 (cli/docs/service.md)"
            );
            Err(Blocked::new(concern, "CredentialsNotFound", message).into())
        }
    }
}

/// A Secret that does not describe its Service.
pub(crate) fn invalid(concern: Concern, secret: &Key, error: impl std::fmt::Display) -> Blocked {
    let message = format!("Secret {}: {error}", secret.name);
    Blocked::new(concern, "CredentialsInvalid", message)
}

/// The server of a database Service as this process reaches it.
pub(crate) fn server(
    kind: ServiceKind,
    values: &BTreeMap<String, Vec<u8>>,
    namespace: &str,
) -> Result<Server, BindingError> {
    let server = Server::from_secret(kind, values)?;
    Ok(Server { host: qualified(&server.host, namespace), ..server })
}

/// The name by which other namespaces know a host: one word is a Service beside the function.
pub(crate) fn qualified(host: &str, namespace: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if host.contains('.') || host == "localhost" || bare.parse::<IpAddr>().is_ok() {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_word_is_a_service_beside_the_function() {
        for (host, expected) in [
            ("db", "db.shop-dev.svc"),
            ("db.shop", "db.shop"),
            ("localhost", "localhost"),
            ("10.0.0.7", "10.0.0.7"),
            ("fd00::7", "fd00::7"),
            ("[fd00::7]", "[fd00::7]"),
        ] {
            let pairs = [("HOST", host), ("PORT", "1"), ("USERNAME", "u"), ("PASSWORD", "p")];
            let values = pairs.map(|(key, text)| (key.to_owned(), text.as_bytes().to_vec()));
            let server = server(ServiceKind::Postgres, &values.into(), "shop-dev").unwrap();
            assert_eq!(server.host, expected);
        }
    }
}
