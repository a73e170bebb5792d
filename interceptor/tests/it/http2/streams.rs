//! HTTP/2 clients of pods that speak HTTP/1.1.

use http::{Method, Uri};

use super::client::{Client, answer, request};
use crate::support::{Backend, Gate, Proxy, Recorder, ok, ready};

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection() {
    let (recorder, gate) = (Recorder::new(), Gate::closed());
    let pod = recorder.start(&gate);
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    let mut responses = Vec::new();
    for n in 0..20 {
        let get = request(Method::GET, "f.test", &format!("/{n}"));
        responses.push(client.start(get, true).await.0);
    }
    recorder.wait(8).await;
    gate.open();
    for (n, response) in responses.into_iter().enumerate() {
        let answer = answer(response).await.unwrap();
        assert_eq!(answer.body, format!("/{n}").as_bytes());
        assert_eq!(answer.fields["x-content-type-options"], "nosniff");
    }
    proxy.idle().await;
}

/// The `http` crate, and h2 with it, takes a query without a path. A pod's request line would have none.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_begins_with_a_slash() {
    let pod = Backend::answering(|request| ok(request.target()));
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for (method, path, status) in [
        (Method::GET, "?/a", 400),
        (Method::GET, "*", 400),
        (Method::OPTIONS, "*", 200),
        (Method::GET, "/?a", 200),
    ] {
        let uri = Uri::builder().scheme("http").authority("f.test").path_and_query(path);
        let request = http::Request::builder().method(method).uri(uri.build().unwrap());
        let (answered, _) = client.start(request.body(()).unwrap(), true).await;
        let answer = answer(answered).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        if status == 200 {
            assert_eq!(answer.body, path.as_bytes());
        }
    }
}

/// Two parsers could each take another one of them (RFC 9112 section 3.2, and HTTP/2 is no better).
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_are_none() {
    let pod = Backend::answering(|request| ok(request.target()));
    let proxy = Proxy::one(&[ready(pod.address)]).await;
    let mut client = Client::connect(proxy.address).await;
    for (hosts, status) in
        [(&["f.test"][..], 200), (&["f.test", "other.test"], 400), (&["f.test", "f.test"], 400)]
    {
        let mut request = request(Method::GET, "f.test", "/");
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        let (answered, _) = client.start(request, true).await;
        assert_eq!(answer(answered).await.unwrap().status, status, "{hosts:?}");
    }
}
