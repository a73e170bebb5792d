//! Certificates are those that the machine trusts.

use std::process::Command;

use kipper_assistant::{Assistant, Code};
use kipper_model_server::{ModelServer, words::Words};

use crate::support::{failure, prompt, settings};

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let mut server = ModelServer::start_tls().await;
    let assistant = Assistant::new(settings(&server.url(), Words::OpenAi));
    let failure = failure(assistant.reply(prompt())).await;
    assert_eq!((failure.code, failure.retryable), (Code::Tls, false));
    let expected = format!("the certificate of localhost:{} is not trusted", server.port());
    assert!(failure.message.starts_with(&expected), "{failure}");
    assert!(server.is_idle(), "it saw no request");
}

#[tokio::test]
async fn a_plain_port_is_told_from_a_bad_certificate() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let url = format!("https://127.0.0.1:{port}");
    let failure = failure(Assistant::new(settings(&url, Words::OpenAi)).reply(prompt())).await;
    drop(serving.await.unwrap());
    assert_eq!(failure.code, Code::Tls);
    assert_eq!(failure.message, format!("127.0.0.1:{port} does not speak TLS: use http://"));
}

/// In a process of its own, because `SSL_CERT_FILE` is read from its environment.
#[tokio::test]
async fn an_authority_of_the_environment_is_trusted() {
    const URL: &str = "KIPPER_TEST_PROVIDER";
    if let Ok(url) = std::env::var(URL) {
        let models = Assistant::new(settings(&url, Words::OpenAi)).models().await;
        assert_eq!(models.unwrap(), ["one"]);
        return;
    }
    let mut server = ModelServer::start_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, server.authority()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tls::an_authority_of_the_environment_is_trusted"]);
    child.env(URL, server.url()).env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
    let provider = tokio::spawn(async move {
        server.asked().await.json(200, &Words::OpenAi.models(&["one"])).await;
        server
    });
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    provider.abort();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}
