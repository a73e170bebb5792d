//! The Secret `<fn>-trigger`: how poller and scaler reach the source of a function's events.

use std::{collections::BTreeMap, fmt};

use crate::{kind::Kind, variable::Variable};

/// A key of the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretKey {
    /// URL of the source, with user and password where it has them there.
    Url,
    /// Certificate authority of the source, in PEM.
    Ca,
    /// Access key of a bucket store.
    AccessKey,
    /// Its secret key.
    SecretKey,
    /// What a call of the drain port must bring.
    DrainToken,
    /// What tells the runtime that an event is its own poller's.
    EventToken,
    /// What a report to the scaler-adapters must bring.
    BacklogToken,
    /// Connection string of KEDA's PostgreSQL scaler.
    Connection,
    /// Connection string of KEDA's MySQL scaler.
    ConnectionString,
    /// Host, for KEDA.
    Host,
    /// Port, for KEDA.
    Port,
    /// User, for KEDA.
    Username,
    /// Password, for KEDA.
    Password,
    /// Database, for KEDA.
    DbName,
    /// `host:port` of a Redis, for KEDA.
    Address,
    /// `enable` or `disable`, for KEDA.
    Tls,
}

impl SecretKey {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Url,
        Self::Ca,
        Self::AccessKey,
        Self::SecretKey,
        Self::DrainToken,
        Self::EventToken,
        Self::BacklogToken,
        Self::Connection,
        Self::ConnectionString,
        Self::Host,
        Self::Port,
        Self::Username,
        Self::Password,
        Self::DbName,
        Self::Address,
        Self::Tls,
    ];

    /// The key as it stands in the Secret. What KEDA reads is called as its scalers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Ca => "ca",
            Self::AccessKey => "access-key",
            Self::SecretKey => "secret-key",
            Self::DrainToken => "drain-token",
            Self::EventToken => "event-token",
            Self::BacklogToken => "backlog-token",
            Self::Connection => "connection",
            Self::ConnectionString => "connectionString",
            Self::Host => "host",
            Self::Port => "port",
            Self::Username => "username",
            Self::Password => "password",
            Self::DbName => "dbName",
            Self::Address => "address",
            Self::Tls => "tls",
        }
    }

    /// The key of this name; `None` for one of another version.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// The keys that are variables of the sidecar. The certificate authority is a file instead.
    pub const VARIABLES: [(Variable, Self); 6] = [
        (Variable::SourceUrl, Self::Url),
        (Variable::SourceAccessKey, Self::AccessKey),
        (Variable::SourceSecretKey, Self::SecretKey),
        (Variable::DrainToken, Self::DrainToken),
        (Variable::EventToken, Self::EventToken),
        (Variable::BacklogToken, Self::BacklogToken),
    ];

    /// The keys that KEDA's scaler of this kind knows as its parameters (`authParams`); none where
    /// the scaler-adapter counts. Of these the Secret has what its source needs.
    pub const fn of_scaler(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Postgres => &[Self::Connection],
            Kind::Mysql => &[
                Self::ConnectionString,
                Self::Host,
                Self::Port,
                Self::Username,
                Self::Password,
                Self::DbName,
            ],
            Kind::Redis => &[Self::Address, Self::Username, Self::Password, Self::Tls, Self::Ca],
            Kind::Minio => &[],
        }
    }
}

/// What is in the Secret, in the order of the keys' names. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// The value of a key.
    pub fn get(&self, key: SecretKey) -> Option<&str> {
        self.0.get(key.name()).map(String::as_str)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: SecretKey, value: String) {
        self.0.insert(key.name(), value);
    }

    /// Name and value of every key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl FromIterator<(SecretKey, String)> for Values {
    fn from_iter<T: IntoIterator<Item = (SecretKey, String)>>(values: T) -> Self {
        Self(values.into_iter().map(|(key, value)| (key.name(), value)).collect())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_by_somebody() {
        for key in SecretKey::ALL {
            assert_eq!(SecretKey::parse(key.name()), Some(key));
            let of_poller = SecretKey::VARIABLES.iter().any(|(_, it)| *it == key);
            let of_keda = Kind::ALL.iter().any(|kind| SecretKey::of_scaler(*kind).contains(&key));
            assert!(of_poller || of_keda, "{key:?}");
        }
    }

    #[test]
    fn no_value_is_printed() {
        let values = Values::from_iter([(SecretKey::Url, "postgres://u:p@h".to_owned())]);
        assert_eq!(format!("{values:?}"), "{\"url\"}");
        assert_eq!(values.get(SecretKey::Url), Some("postgres://u:p@h"));
    }
}
