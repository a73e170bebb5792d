//! The flags that say where a server is and how to log in: which keys of the Secret they are, and
//! where their values come from.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use kipper_client::secrets::SecretValue;
use kipper_function::service::{
    ServiceKind,
    credentials::{ACCESS_KEY, CA, ENDPOINT, HOST, NAME, PASSWORD, PORT, SECRET_KEY, USERNAME},
};
use kipper_process::exit::UsageError;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::url::{self, Parts};
use crate::{prompt, secret_value};

/// Flags, each with the key that it is.
const FLAGS: [(&str, &str); 9] = [
    (HOST, "--host"),
    (PORT, "--port"),
    (USERNAME, "--username"),
    (PASSWORD, "--password-stdin or --password-file"),
    (NAME, "--database"),
    (ENDPOINT, "--endpoint"),
    (ACCESS_KEY, "--access-key"),
    (SECRET_KEY, "--secret-key-stdin or --secret-key-file"),
    (CA, "--ca-file"),
];
/// Keys whose values are typed, piped or read from a file.
const SECRET: [&str; 2] = [PASSWORD, SECRET_KEY];

/// Changes of the Secret's keys; `None` takes one away.
pub(super) type Changes = BTreeMap<&'static str, Option<SecretValue>>;

/// Where a server is, and how to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct DetailArgs {
    /// File with the connection URL: <type>://<user>:<password>@<host>:<port>/<database>
    #[arg(long, value_name = "PATH", conflicts_with_all = OTHERS)]
    pub url_file: Option<PathBuf>,

    /// Read the connection URL from stdin, or from a prompt
    #[arg(long, conflicts_with_all = OTHERS, conflicts_with = "url_file")]
    pub url_stdin: bool,

    /// Host name or address of the server
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// Port of the server [default: the usual one of the type]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// User; of a database server one that may create databases and users
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,

    /// File with the password, without the newline at its end
    #[arg(long, value_name = "PATH")]
    pub password_file: Option<PathBuf>,

    /// Read the password from stdin, or from a prompt
    #[arg(long, conflicts_with = "password_file")]
    pub password_stdin: bool,

    /// Database that triggers read from, unless they name another
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// URL of MinIO or another S3
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Access key of that S3
    #[arg(long, value_name = "KEY")]
    pub access_key: Option<String>,

    /// File with its secret key, without the newline at its end
    #[arg(long, value_name = "PATH")]
    pub secret_key_file: Option<PathBuf>,

    /// Read its secret key from stdin, or from a prompt
    #[arg(long, conflicts_with = "secret_key_file")]
    pub secret_key_stdin: bool,

    /// File with the certificate authority in PEM: connections use TLS, verified against it alone
    // A path as it stands: an empty one takes the authority away.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub ca_file: Option<PathBuf>,
}

/// What a URL says itself.
const OTHERS: [&str; 10] = [
    "host",
    "port",
    "username",
    "password_file",
    "password_stdin",
    "database",
    "endpoint",
    "access_key",
    "secret_key_file",
    "secret_key_stdin",
];

/// Where a secret value comes from.
enum Origin<'a> {
    File(&'a Path),
    Stdin,
}

impl DetailArgs {
    /// Whether a URL is given.
    pub(super) const fn has_url(&self) -> bool {
        self.url_stdin || self.url_file.is_some()
    }

    /// Checks that every file can be opened.
    ///
    /// # Errors
    /// The first one that cannot.
    pub(super) fn check_files(&self) -> anyhow::Result<()> {
        let files = [&self.url_file, &self.password_file, &self.secret_key_file, &self.ca_file];
        // An empty path takes away what there was.
        let files = files.into_iter().flatten().filter(|path| !path.as_os_str().is_empty());
        for path in files {
            fs::File::open(path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// The URL, taken apart.
    pub(super) fn url(&self) -> anyhow::Result<Parts> {
        let text = match &self.url_file {
            Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
            None if prompt::is_possible() => prompt::hidden("Connection URL")?,
            None => std::io::read_to_string(std::io::stdin().lock())?,
        };
        let parts = url::parse(&text)
            .map_err(|problem| UsageError::new(format!("the connection URL {problem}")))?;
        if parts.is_tls && self.ca_file.is_none() {
            return Err(UsageError::new("rediss:// needs --ca-file").into());
        }
        Ok(parts)
    }

    /// Checks the flags as far as no file is needed for it. With `is_new` they have to say all that a
    /// service of this kind needs.
    pub(super) fn check(&self, kind: ServiceKind, is_new: bool) -> Result<(), UsageError> {
        let mut given: Vec<&str> = self.plain().into_iter().map(|(key, _)| key).collect();
        given.extend(SECRET.into_iter().filter(|key| self.origin(key).is_some()));
        given.extend(self.ca_file.as_ref().map(|_| CA));
        let keys = || kind.required_keys().iter().chain(kind.optional_keys());
        if let Some(key) = given.iter().find(|key| !keys().any(|known| known == *key)) {
            let message = format!("{} is not for a {kind} service", flag(key));
            return Err(UsageError::new(message));
        }
        if self.host.as_deref().is_some_and(is_no_host) {
            let message = "--host must be a host name or an address, without scheme and port";
            return Err(UsageError::new(message));
        }
        if let Some(endpoint) = self.endpoint.as_deref().filter(|endpoint| is_no_endpoint(endpoint))
        {
            let message = "--endpoint must be the http or https URL of a server";
            let meant = format!("http://{endpoint}");
            let is_meant = !endpoint.contains("://") && !is_no_endpoint(&meant);
            let message = match is_meant {
                true => format!("{message}; did you mean {meant}?"),
                false => message.to_owned(),
            };
            return Err(UsageError::new(message));
        }
        if !is_new || self.has_url() {
            return Ok(());
        }
        let is_asked = |key: &str| SECRET.contains(&key) && prompt::is_possible();
        let has = |key: &str| given.contains(&key) || key == PORT || is_asked(key);
        let missing: Vec<_> =
            kind.required_keys().iter().filter(|key| !has(key)).map(|key| flag(key)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let or_url = match kind {
            ServiceKind::Minio => "",
            _ => "; or give all of it as one URL, with --url-file or --url-stdin",
        };
        let missing = missing.join(", ");
        Err(UsageError::new(format!("a {kind} service needs {missing}{or_url}")))
    }

    /// Reads the values of all keys that are given; `url` is what [`DetailArgs::url`] found. Of a new
    /// service the values it cannot do without are asked for, and the port has a default.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no such value.
    pub(super) fn changes(
        &self,
        kind: ServiceKind,
        url: Option<Parts>,
        is_new: bool,
    ) -> anyhow::Result<Changes> {
        let mut changes = Changes::new();
        for (key, value) in self.plain().into_iter().chain(url.into_iter().flat_map(of_url)) {
            let value = (!value.is_empty()).then(|| SecretValue::new(value)).transpose()?;
            changes.insert(key, value);
        }
        if let (true, Some(port)) = (is_new, kind.default_port()) {
            let port = SecretValue::new(port.to_string())?;
            changes.entry(PORT).or_insert(Some(port));
        }
        for key in SECRET {
            let value = match self.origin(key) {
                Some(Origin::File(path)) => secret_value::from_file(path)?,
                Some(Origin::Stdin) if prompt::is_possible() => secret_value::prompted(key)?,
                Some(Origin::Stdin) => secret_value::from_stdin()?,
                None if is_new
                    && kind.required_keys().contains(&key)
                    && !changes.contains_key(key)
                    && prompt::is_possible() =>
                {
                    secret_value::prompted(key)?
                }
                None => continue,
            };
            changes.insert(key, Some(value));
        }
        if let Some(path) = &self.ca_file {
            changes.insert(CA, authority(path)?);
        }
        Ok(changes)
    }

    /// Keys whose values stand on the command line.
    fn plain(&self) -> Vec<(&'static str, String)> {
        let given = [
            (HOST, self.host.clone()),
            (PORT, self.port.map(|port| port.to_string())),
            (USERNAME, self.username.clone()),
            (NAME, self.database.clone()),
            (ENDPOINT, self.endpoint.clone()),
            (ACCESS_KEY, self.access_key.clone()),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn origin(&self, key: &str) -> Option<Origin<'_>> {
        let (file, stdin) = match key {
            PASSWORD => (&self.password_file, self.password_stdin),
            _ => (&self.secret_key_file, self.secret_key_stdin),
        };
        file.as_deref().map(Origin::File).or(stdin.then_some(Origin::Stdin))
    }
}

fn of_url(parts: Parts) -> impl Iterator<Item = (&'static str, String)> {
    let given = [
        (HOST, Some(parts.host)),
        (PORT, parts.port.map(|port| port.to_string())),
        (USERNAME, parts.username),
        (PASSWORD, parts.password),
        (NAME, parts.database),
    ];
    given.into_iter().filter_map(|(key, value)| Some((key, value?)))
}

fn flag(key: &str) -> &'static str {
    FLAGS.iter().find(|(of, _)| *of == key).map_or("", |(_, flag)| flag)
}

/// As the controller sees it.
fn is_no_host(host: &str) -> bool {
    host.is_empty() || host.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}

fn is_no_endpoint(endpoint: &str) -> bool {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@');
    rest.is_none_or(|rest| {
        let address = rest.trim_end_matches('/');
        address.is_empty() || address.contains(wrong)
    })
}

/// The certificates of a file; an empty path takes them away.
fn authority(path: &Path) -> anyhow::Result<Option<SecretValue>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut certificates = CertificateDer::pem_slice_iter(text.as_bytes());
    if !matches!(certificates.next(), Some(Ok(_))) {
        let message = format!("{}: the file contains no certificate in PEM", path.display());
        return Err(UsageError::new(message).into());
    }
    Ok(Some(SecretValue::new(text)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: DetailArgs,
    }

    fn parse(flags: &[&str]) -> Result<DetailArgs, clap::Error> {
        Example::try_parse_from([&["x"], flags].concat()).map(|example| example.args)
    }

    #[track_caller]
    fn check(kind: ServiceKind, flags: &[&str], expected: &str) {
        let checked = parse(flags).unwrap().check(kind, true);
        let reported = checked.map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(reported, expected, "{flags:?}");
    }

    #[test]
    fn flags_fit_the_kind_and_say_all_it_needs() {
        let postgres = ["--host=db", "--username=u", "--password-file=p"];
        check(ServiceKind::Postgres, &postgres, "");
        check(ServiceKind::Redis, &["--host=cache"], "");
        let minio = ["--endpoint=http://files:9000", "--access-key=k", "--secret-key-file=s"];
        check(ServiceKind::Minio, &minio, "");
        check(ServiceKind::Postgres, &["--url-stdin"], "");
        check(
            ServiceKind::Mysql,
            &["--port=3307"],
            "a mysql service needs --host, --username, --password-stdin or --password-file; or give \
             all of it as one URL, with --url-file or --url-stdin",
        );
        check(
            ServiceKind::Minio,
            &["--endpoint=https://s3"],
            "a minio service needs --access-key, --secret-key-stdin or --secret-key-file",
        );
        check(ServiceKind::Redis, &["--database=0"], "--database is not for a redis service");
        check(ServiceKind::Minio, &["--host=x"], "--host is not for a minio service");
        let message = "--host must be a host name or an address, without scheme and port";
        check(ServiceKind::Redis, &["--host=redis://cache"], message);
        let message = "--endpoint must be the http or https URL of a server";
        let meant = format!("{message}; did you mean http://files:9000?");
        check(ServiceKind::Minio, &["--endpoint=files:9000"], &meant);
        check(ServiceKind::Minio, &["--endpoint=http://a:b@files"], message);
        for flags in [
            &["--url-stdin", "--host=db"][..],
            &["--url-file=x", "--url-stdin"],
            &["--password-stdin", "--password-file=x"],
            &["--port=0"],
            &["--password=hunter2"],
        ] {
            parse(flags).unwrap_err();
        }
    }

    #[test]
    fn values_come_from_flags_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("password"), "hunter2\n").unwrap();
        fs::write(path("url"), "postgres://u:hunter2@db/shop\n").unwrap();
        let value = |text: &str| Some(SecretValue::new(text.to_owned()).unwrap());
        let args = parse(&["--host=db", "--username=u", "--password-file", &path("password")]);
        let changes = args.unwrap().changes(ServiceKind::Mysql, None, true).unwrap();
        let expected = [
            (HOST, value("db")),
            (PASSWORD, value("hunter2")),
            (PORT, value("3306")),
            (USERNAME, value("u")),
        ];
        assert_eq!(changes, expected.into());

        let args = parse(&["--url-file", &path("url")]).unwrap();
        let parts = args.url().unwrap();
        let changes = args.changes(parts.kind, Some(parts), true).unwrap();
        let expected = [
            (HOST, value("db")),
            (NAME, value("shop")),
            (PASSWORD, value("hunter2")),
            (PORT, value("5432")),
            (USERNAME, value("u")),
        ];
        assert_eq!(changes, expected.into());

        let args = parse(&["--database=", "--ca-file="]).unwrap();
        let changes = args.changes(ServiceKind::Postgres, None, false).unwrap();
        assert_eq!(changes, [(NAME, None), (CA, None)].into());
        let args = parse(&["--ca-file", &path("password")]).unwrap();
        let error = args.changes(ServiceKind::Postgres, None, false).unwrap_err();
        assert!(error.to_string().ends_with("contains no certificate in PEM"), "{error}");
    }
}
