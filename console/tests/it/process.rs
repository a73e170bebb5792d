//! The process: what it does not start with.

use std::process::Command;

use crate::provider::Idp;

#[tokio::test]
async fn a_mistake_in_the_identity_providers_settings_ends_it_at_once() {
    let idp = Idp::start().await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().display().to_string();
    let base = ["kipper-console", "--public-url", "https://console.example"];
    let issuer = ["--oidc-issuer-url", idp.issuer()];
    let wanted = [&issuer[..], &["--oidc-client-id", "kipper"]].concat();
    for (flags, expected) in [
        (vec!["--oidc-issuer-url", "http://login.example.com"], "must be an https:// URL"),
        (issuer.to_vec(), "--oidc-client-id"),
        (vec!["--oidc-client-id", "kipper"], "--oidc-issuer-url"),
        (vec!["--oidc-ca-file", "/ca"], "--oidc-issuer-url"),
        ([&wanted[..], &["--oidc-scopes", "email"]].concat(), "openid one of them"),
        (
            [&wanted[..], &["--oidc-client-secret-file", "/nowhere/s"]].concat(),
            "cannot read the client secret /nowhere/s",
        ),
        ([&wanted[..], &["--oidc-client-secret-file", &empty]].concat(), "is empty"),
        (
            [&wanted[..], &["--oidc-ca-file", "/nowhere/ca"]].concat(),
            "cannot read the authorities of the identity provider /nowhere/ca",
        ),
        ([&wanted[..], &["--oidc-ca-file", &empty]].concat(), "has no certificates in PEM"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kipper-console"));
        let output = command.args(&base[1..]).args(&flags).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {error}");
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
    assert!(idp.heard().is_empty());
}
