//! HTTP/2 clients of pods that speak HTTP/1.1.

use http::Method;

use super::client::{Client, answer, request};
use crate::support::{Gate, Proxy, Recorder, ready};

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
