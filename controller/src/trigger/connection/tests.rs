#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use super::*;

static CA: LazyLock<String> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.self_signed(&key).unwrap().pem()
});

#[track_caller]
fn check(kind: ServiceKind, secret: &[(&str, &str)], expected: &[(&str, &str)]) {
    check_in(kind, secret, None, expected);
}

#[track_caller]
fn check_in(
    kind: ServiceKind,
    secret: &[(&str, &str)],
    database: Option<&str>,
    expected: &[(&str, &str)],
) {
    let pairs = secret.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    let values = values(kind, &pairs.collect(), database, "shop-prod").unwrap();
    assert!(values.get(SecretKey::Ca).is_none_or(|ca| ca == CA.trim()));
    let values: BTreeMap<_, _> = values.iter().filter(|(key, _)| *key != "ca").collect();
    assert_eq!(values, expected.iter().copied().collect());
}

#[track_caller]
fn check_refused(kind: ServiceKind, secret: &[(&str, &str)], expected: &str) {
    let pairs = secret.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    let error = values(kind, &pairs.collect(), None, "shop-prod").unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

/// Everything a URL would read in another way.
const PASSWORD: &str = "p@s:w/o?r#d %20'\\é";
const ENCODED: &str = "p%40s%3Aw%2Fo%3Fr%23d%20%2520%27%5C%C3%A9";

#[test]
fn postgres() {
    let secret = [
        ("HOST", "db"),
        ("PORT", "5432\n"),
        ("USERNAME", "shop"),
        ("PASSWORD", PASSWORD),
        ("NAME", "my shop"),
    ];
    let keda = "statement_timeout=5000&application_name=kipper-keda";
    let url = format!("postgres://shop:{ENCODED}@db:5432/my%20shop");
    let connection =
        format!("postgres://shop:{ENCODED}@db.shop-prod.svc:5432/my%20shop?sslmode=disable&{keda}");
    check(ServiceKind::Postgres, &secret, &[("url", &url), ("connection", &connection)]);
    let elsewhere = |text: &str| text.replace("my%20shop", "orders%2F1");
    check_in(
        ServiceKind::Postgres,
        &secret,
        Some("orders/1"),
        &[("url", &elsewhere(&url)), ("connection", &elsewhere(&connection))],
    );
    check_refused(
        ServiceKind::Postgres,
        &secret[1..3],
        "no value for HOST and PASSWORD; a postgres service needs",
    );
    let connection = connection.replace("disable", "require");
    check(
        ServiceKind::Postgres,
        &[&secret[..], &[("CA", CA.as_str())]].concat(),
        &[("url", &format!("{url}?sslmode=require")), ("connection", &connection)],
    );
}

#[test]
fn mysql() {
    let secret = [
        ("HOST", "10.0.0.7"),
        ("PORT", "3306"),
        ("USERNAME", "shop"),
        ("PASSWORD", PASSWORD),
        ("NAME", "shop"),
    ];
    let url = format!("mysql://shop:{ENCODED}@10.0.0.7:3306/shop");
    check(
        ServiceKind::Mysql,
        &secret,
        &[
            ("url", &url),
            ("host", "10.0.0.7"),
            ("port", "3306"),
            ("username", "shop"),
            ("password", PASSWORD),
            ("dbName", "shop"),
        ],
    );
    let connection = format!("shop:{PASSWORD}@tcp(10.0.0.7:3306)/shop?tls=skip-verify");
    check(
        ServiceKind::Mysql,
        &[&secret[..], &[("CA", CA.as_str())]].concat(),
        &[("url", &format!("{url}?ssl-mode=required")), ("connectionString", &connection)],
    );
    check_refused(ServiceKind::Mysql, &secret[..4], "no value for NAME; a mysql service needs");
    check_refused(
        ServiceKind::Mysql,
        &[("HOST", "db"), ("PASSWORD", " ")],
        "no value for PORT, USERNAME, PASSWORD and NAME; a mysql service needs HOST, PORT, \
         USERNAME, PASSWORD and NAME (",
    );
    for secret in [&secret[..], &secret[..4]] {
        let url = format!("mysql://shop:{ENCODED}@10.0.0.7:3306/my%20orders");
        check_in(
            ServiceKind::Mysql,
            secret,
            Some("my orders"),
            &[
                ("url", &url),
                ("host", "10.0.0.7"),
                ("port", "3306"),
                ("username", "shop"),
                ("password", PASSWORD),
                ("dbName", "my orders"),
            ],
        );
    }
}

#[test]
fn redis() {
    let secret = [("HOST", "fd00::7"), ("PORT", "6379")];
    check(
        ServiceKind::Redis,
        &secret,
        &[("url", "redis://[fd00::7]:6379/0"), ("address", "[fd00::7]:6379"), ("tls", "disable")],
    );
    check(
        ServiceKind::Redis,
        &[("HOST", "cache.shop"), ("PORT", "6379"), ("PASSWORD", "a b"), ("CA", &CA)],
        &[
            ("url", "rediss://:a%20b@cache.shop:6379/0"),
            ("address", "cache.shop:6379"),
            ("password", "a b"),
            ("tls", "enable"),
        ],
    );
    check_refused(
        ServiceKind::Redis,
        &[("HOST", "cache"), ("PORT", "6379"), ("CA", "none")],
        "key CA of the service's credentials holds no certificates in PEM",
    );
}

#[test]
fn minio() {
    let keys = [("ACCESS_KEY", "key\n"), ("SECRET_KEY", "s/ecret")];
    let endpoints = [
        ("http://files:9000/", "http://files.shop-prod.svc:9000"),
        ("files:9000", "http://files.shop-prod.svc:9000"),
        ("https://s3.example.com", "https://s3.example.com"),
        ("http://10.0.0.7:9000", "http://10.0.0.7:9000"),
        ("http://[fd00::7]:9000", "http://[fd00::7]:9000"),
    ];
    for (endpoint, url) in endpoints {
        check(
            ServiceKind::Minio,
            &[&keys[..], &[("ENDPOINT", endpoint)]].concat(),
            &[("url", url), ("access-key", "key"), ("secret-key", "s/ecret")],
        );
    }
    for endpoint in [
        "ftp://files",
        "http://",
        "http://:9000",
        "http://files:x",
        "http://files/p",
        "http://a:b@files",
    ] {
        check_refused(
            ServiceKind::Minio,
            &[&keys[..], &[("ENDPOINT", endpoint)]].concat(),
            "key ENDPOINT of the service's credentials is not the http or https URL of a server",
        );
    }
}
