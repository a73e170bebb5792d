//! Addresses that are not called, looked at after names were resolved.

use kipper_assistant::{Assistant, Code};
use kipper_model_server::{ModelServer, words::Words};

use crate::support::{failure, prompt, settings};

async fn refused(url: &str, allow_private: bool) -> (Code, String) {
    let mut settings = settings(url, Words::OpenAi);
    settings.allow_private = allow_private;
    let failure = failure(Assistant::new(settings).reply(prompt())).await;
    (failure.code, failure.message)
}

#[tokio::test]
async fn private_addresses_need_the_flag() {
    let mut server = ModelServer::start().await;
    let port = server.port();
    // A name is as good as what it resolves to.
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0x7f.1", "2130706433"] {
        let (code, message) = refused(&format!("http://{host}:{port}"), false).await;
        assert_eq!(code, Code::AddressRefused, "{message}");
        assert!(message.contains("is a private address: to use it, allow"), "{message}");
    }
    for host in ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fd00::1]", "[::1]"] {
        let (code, message) = refused(&format!("http://{host}:{port}"), false).await;
        assert_eq!(code, Code::AddressRefused, "{message}");
    }
    // Nobody connected, and with the flag somebody does.
    assert!(server.is_idle());
    let assistant = Assistant::new(settings(&format!("http://localhost:{port}"), Words::OpenAi));
    let provider = async { server.asked().await.json(200, &Words::OpenAi.models(&["one"])).await };
    let (models, ()) = tokio::join!(assistant.models(), provider);
    assert_eq!(models.unwrap(), ["one"]);
}

#[tokio::test]
async fn some_addresses_are_never_called() {
    for host in [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "255.255.255.255",
    ] {
        let (code, message) = refused(&format!("http://{host}/v1"), true).await;
        assert_eq!(code, Code::AddressRefused, "{message}");
        assert!(message.contains("is never connected to"), "{message}");
    }
}
