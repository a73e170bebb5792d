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

impl ServiceSpec {
    /// The kind; `None` for a word of another version.
    pub fn kind(&self) -> Option<ServiceKind> {
        ServiceKind::parse(&self.type_)
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
}
