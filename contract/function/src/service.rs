//! The `Service` resource, `kipper.run/v1alpha1`: a database, cache or bucket store of a project.
//!
//! Kipper Functions reads Services and their credentials and never installs or changes one. The
//! spec is open: fields of other owners are kept by the API server and ignored here.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use kipper_trigger::Kind;

use crate::words::words;

/// Desired state of a Service, as far as functions need it.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "kipper.run",
    version = "v1alpha1",
    kind = "Service",
    plural = "services",
    category = "kipper",
    namespaced,
    derive = "PartialEq",
    doc = "A database, cache or bucket store that functions can bind.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ServiceSpec {
    /// postgres, mysql, mongodb, redis or minio.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["postgres", "mysql", "mongodb", "redis", "minio"]))]
    pub type_: String,
}

words! {
    /// What a Service is.
    ServiceKind {
        /// PostgreSQL.
        Postgres = "postgres",
        /// MySQL or MariaDB.
        Mysql = "mysql",
        /// MongoDB.
        Mongodb = "mongodb",
        /// Redis.
        Redis = "redis",
        /// MinIO or another S3.
        Minio = "minio",
    }
}

impl From<Kind> for ServiceKind {
    /// The kind of Service that events of this kind come from.
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Postgres => Self::Postgres,
            Kind::Mysql => Self::Mysql,
            Kind::Redis => Self::Redis,
            Kind::Minio => Self::Minio,
        }
    }
}

impl ServiceKind {
    /// True where a function gets a database and a user of its own.
    pub const fn is_database(self) -> bool {
        matches!(self, Self::Postgres | Self::Mysql | Self::Mongodb)
    }

    /// Prefix of the injected variables, unless the binding has its own.
    pub const fn default_prefix(self) -> &'static str {
        match self {
            Self::Postgres | Self::Mysql | Self::Mongodb => "DB_",
            Self::Redis => "REDIS_",
            Self::Minio => "S3_",
        }
    }

    /// Names injected after the prefix, in the order they are shown. Databases get `USERNAME`
    /// beside `USER` too, because clusters of old inject it.
    pub const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Postgres | Self::Mysql | Self::Mongodb => {
                &["HOST", "PORT", "USER", "PASSWORD", "NAME"]
            }
            Self::Redis => &["HOST", "PORT", "PASSWORD"],
            Self::Minio => &["ENDPOINT", "ACCESS_KEY", "SECRET_KEY"],
        }
    }
}

impl ServiceKind {
    /// Keys that the Secret of such a Service must have.
    pub const fn required_keys(self) -> &'static [&'static str] {
        use credentials::{ACCESS_KEY, ENDPOINT, HOST, PASSWORD, PORT, SECRET_KEY, USERNAME};
        match self {
            Self::Postgres | Self::Mysql | Self::Mongodb => &[HOST, PORT, USERNAME, PASSWORD],
            Self::Redis => &[HOST, PORT],
            Self::Minio => &[ENDPOINT, ACCESS_KEY, SECRET_KEY],
        }
    }

    /// Keys that it may have besides.
    pub const fn optional_keys(self) -> &'static [&'static str] {
        use credentials::{CA, NAME, PASSWORD, USERNAME};
        match self {
            Self::Postgres | Self::Mysql | Self::Mongodb => &[NAME, CA],
            Self::Redis => &[USERNAME, PASSWORD, CA],
            Self::Minio => &[CA],
        }
    }

    /// Whether a Secret describes such a Service; `more` is what this use of it needs besides.
    ///
    /// # Errors
    /// Every key that has no value.
    pub fn check_keys(
        self,
        more: &[&'static str],
        has_value: impl Fn(&str) -> bool,
    ) -> Result<(), MissingKeys> {
        let needed = self.required_keys().iter().chain(more).copied();
        let needed: Vec<_> = needed.collect();
        let keys: Vec<_> = needed.iter().copied().filter(|key| !has_value(key)).collect();
        if keys.is_empty() { Ok(()) } else { Err(MissingKeys { kind: self, keys, needed }) }
    }

    /// Port that such a server listens on unless it is told otherwise; `None` where an endpoint
    /// says it.
    pub const fn default_port(self) -> Option<u16> {
        match self {
            Self::Postgres => Some(5432),
            Self::Mysql => Some(3306),
            Self::Mongodb => Some(27017),
            Self::Redis => Some(6379),
            Self::Minio => None,
        }
    }
}

impl ServiceSpec {
    /// The kind; `None` for a word of another version.
    pub fn kind(&self) -> Option<ServiceKind> {
        ServiceKind::parse(&self.type_)
    }
}

/// What a Secret lacks of its Service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no value for {}; a {kind} service needs {} (`kip service update` sets them, and \
     cli/docs/service.md describes them)",
    listed(keys),
    listed(needed)
)]
pub struct MissingKeys {
    /// What the Service is.
    pub kind: ServiceKind,
    /// Every key without a value; never empty.
    pub keys: Vec<&'static str>,
    /// Every key that is needed.
    pub needed: Vec<&'static str>,
}

/// `A, B and C`.
fn listed(keys: &[&str]) -> String {
    match keys {
        [] => String::new(),
        [key] => (*key).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Keys of the Secret `<service>-credentials`.
pub mod credentials {
    /// Host name of a database or of Redis.
    pub const HOST: &str = "HOST";
    /// Its port.
    pub const PORT: &str = "PORT";
    /// Its user.
    pub const USERNAME: &str = "USERNAME";
    /// Its password.
    pub const PASSWORD: &str = "PASSWORD";
    /// Its database.
    pub const NAME: &str = "NAME";
    /// URL of MinIO.
    pub const ENDPOINT: &str = "ENDPOINT";
    /// Access key of MinIO.
    pub const ACCESS_KEY: &str = "ACCESS_KEY";
    /// Secret key of MinIO.
    pub const SECRET_KEY: &str = "SECRET_KEY";
    /// Certificate authority, in PEM. With it the connection is TLS, and certificate and host name
    /// are verified against it alone; without it the connection is plain.
    pub const CA: &str = "CA";
}

#[cfg(test)]
mod tests {
    use super::{ServiceKind, credentials};

    #[track_caller]
    fn check(kind: ServiceKind, more: &[&'static str], there: &[&str], expected: &str) {
        let checked = kind.check_keys(more, |key| there.contains(&key));
        let reported =
            checked.map_or_else(|missing| missing.to_string(), |()| "complete".to_owned());
        assert!(reported.starts_with(expected), "{kind} {there:?}: {reported}");
    }

    #[test]
    fn every_missing_key_is_named_at_once() {
        let all = ["HOST", "PORT", "USERNAME", "PASSWORD"];
        check(ServiceKind::Postgres, &[], &all, "complete");
        check(
            ServiceKind::Postgres,
            &[],
            &["PORT"],
            "no value for HOST, USERNAME and PASSWORD; a postgres service needs HOST, PORT, \
             USERNAME and PASSWORD (",
        );
        check(
            ServiceKind::Mysql,
            &[credentials::NAME],
            &all,
            "no value for NAME; a mysql service needs HOST, PORT, USERNAME, PASSWORD and NAME (",
        );
        check(ServiceKind::Redis, &[], &["HOST", "PORT"], "complete");
        check(ServiceKind::Redis, &[], &[], "no value for HOST and PORT; a redis service needs");
        check(
            ServiceKind::Minio,
            &[],
            &["HOST", "ENDPOINT"],
            "no value for ACCESS_KEY and SECRET_KEY; a minio service needs ENDPOINT, ACCESS_KEY",
        );
    }

    #[test]
    fn what_is_injected_is_a_key() {
        for kind in ServiceKind::ALL {
            let has = |key: &str| {
                kind.required_keys().contains(&key) || kind.optional_keys().contains(&key)
            };
            for variable in kind.variables() {
                let key = if *variable == "USER" { credentials::USERNAME } else { variable };
                assert!(has(key), "{kind} {variable}");
            }
            assert_eq!(kind.default_port().is_some(), has(credentials::PORT), "{kind}");
        }
    }
}
