//! What is added and removed on the way, per function and per peer.

use kipper_interceptor::{
    config::ProxyConfig,
    source::{RouteSpec, SecurityHeaders},
};

use crate::support::{Backend, Proxy, function, ok, ready};

const PLAIN: &str = "HTTP/1.1 200 OK\r\nServer: pod/1\r\nX-Powered-By: pod\r\n\
    Keep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn security_headers_by_default() {
    let pod = Backend::answering(|_| PLAIN);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    for (name, value) in [
        ("content-security-policy", Some("default-src 'self'")),
        ("x-content-type-options", Some("nosniff")),
        ("x-frame-options", Some("SAMEORIGIN")),
        ("referrer-policy", Some("strict-origin-when-cross-origin")),
        // RFC 6797: not over a connection that is not secure.
        ("strict-transport-security", None),
        ("server", None),
        ("x-powered-by", None),
        ("keep-alive", None),
    ] {
        assert_eq!(answer.field(name), value, "{name}");
    }
    assert!(answer.field("date").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn csp_allowlist_and_what_the_function_says_itself() {
    let own = "HTTP/1.1 200 OK\r\nX-Frame-Options: DENY\r\nContent-Length: 2\r\n\r\nok";
    let pod = Backend::answering(move |_| own);
    let proxy = Proxy::start().await;
    let spec = RouteSpec {
        security: Some(SecurityHeaders {
            csp_allowlist: vec!["https://cdn.test".into(), "bad; script-src *".into()],
        }),
        ..function("f")
    };
    proxy.add(spec, &[ready(pod.address)]).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    let policy = answer.field("content-security-policy");
    assert_eq!(policy, Some("default-src 'self' https://cdn.test"));
    assert_eq!(answer.field("x-frame-options"), Some("DENY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_security_headers() {
    let pod = Backend::answering(|_| PLAIN);
    let proxy = Proxy::start().await;
    let spec = RouteSpec { security: None, ..function("f") };
    proxy.add(spec, &[ready(pod.address)]).await;
    let answer = proxy.client().await.get("f.test", "/").await;
    assert_eq!(answer.field("content-security-policy"), None);
    assert_eq!(answer.field("x-content-type-options"), None);
    assert_eq!(answer.field("server"), Some("pod/1"));
}

/// A pod that says what it was told.
fn mirror() -> Backend {
    Backend::answering(|request| {
        let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
        let told = told.map(|name| request.field(name).unwrap_or_default().to_owned());
        ok(&told.join("|"))
    })
}

const SPOOFED: &str = "GET / HTTP/1.1\r\nHost: f.test\r\nX-Forwarded-For: 1.2.3.4\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.test\r\nX-Request-Id: given-1\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_speak_for_clients() {
    let pod = mirror();
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(SPOOFED).await;
    let answer = client.answer().await;
    let told: Vec<_> = answer.text().split('|').collect();
    assert_eq!(told[..3], ["127.0.0.1", "http", "f.test"]);
    assert_eq!(told[3].len(), 32, "a new id: {told:?}");
    assert_eq!(answer.field("strict-transport-security"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxies_speak_for_clients() {
    let pod = mirror();
    let config = ProxyConfig {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..ProxyConfig::default()
    };
    let proxy = Proxy::with(config).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let mut client = proxy.client().await;
    client.send(SPOOFED).await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "1.2.3.4, 127.0.0.1|https|public.test|given-1");
    // The client's connection to the trusted proxy was secure.
    assert!(answer.field("strict-transport-security").is_some());
    // The id of an error is the given one, too.
    client.send(SPOOFED.replace("f.test", "unknown.test")).await;
    client.answer().await.assert_error(404, "unknown_host");
}
