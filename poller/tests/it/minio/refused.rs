//! What is refused at start, and what is waited for.

use kipper_servers::{Minio, minio::Options};

use super::bucket::{Bucket, endpoint};
use crate::{
    function::Function,
    poller::{Poller, Process, TARGET},
    wait::until,
};

fn with(bucket: &Bucket, name: &str, value: &str) -> Vec<String> {
    let mut flags = bucket.flags(TARGET);
    flags.retain(|flag| !flag.starts_with(&format!("--{name}=")));
    flags.push(format!("--{name}={value}"));
    flags
}

#[tokio::test]
async fn what_only_the_user_can_mend_is_one_line_and_exit_64() {
    let bucket = Bucket::new().await;
    for (name, value, says) in [
        ("source-secret-key", "wrong", "SignatureDoesNotMatch"),
        ("source-access-key", "nobody", "InvalidAccessKeyId"),
        ("source-secret-key", "", "needs access key and secret key"),
        ("source-url", "ftp://127.0.0.1", "http"),
        ("source-url", "http://me:100%@127.0.0.1", "percent-encoded"),
        ("source-ca", "/dev/null", ""),
        ("lease", "1s", "lease"),
    ] {
        let mut flags = with(&bucket, name, value);
        if name == "source-ca" {
            flags.retain(|flag| !flag.starts_with("--source-url="));
            flags.push("--source-url=https://127.0.0.1:1".to_owned());
        }
        flags.push("--log-level=error".to_owned());
        let output = Process::output(&flags);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}: {error}");
        assert_eq!(error.trim().lines().count(), 1, "{name}: {error}");
        assert!(error.contains(says), "{name}: {error}");
        assert!(!error.contains(Minio::SECRET_KEY), "{error}");
    }
}

/// The watcher makes the state bucket; a poller that is there first waits.
#[tokio::test]
async fn a_state_bucket_that_is_not_there_yet_is_waited_for() {
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    let name = format!("{}-later", bucket.name);
    let later = Bucket { name, endpoint: bucket.endpoint.clone(), s3: bucket.s3.clone() };
    let poller = Poller::start(&later.flags(&function.url()));
    later.s3.create_bucket(&later.name).await.unwrap();
    later.fill(0, 1).await;
    until("delivered", async || function.count() == 1).await;
    poller.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_also_with_tls() {
    let server = Minio::start(&Options { tls: true, ..Options::default() }).unwrap();
    let mut endpoint = endpoint(&server);
    endpoint.authority = Some(server.ca_pem().to_owned());
    let bucket = Bucket::at(endpoint).await;
    bucket.fill(0, 3).await;
    server.kill().unwrap();
    let function = Function::start().await;
    let mut flags = bucket.flags(&function.url());
    flags.push(format!("--source-ca={}", server.ca_file().display()));
    let poller = Poller::start(&flags);
    server.start_again().unwrap();
    until("all deleted", async || bucket.left().await == Some(0)).await;
    poller.stop().await;
    assert_eq!(function.count(), 3);
}
