//! What the admin port says, and to whom; what the log says of bad answers.

use serde_json::{Value, json};

use crate::support::{Backend, Process, Wire};

fn routes(pod: &Backend) -> Value {
    json!([
        {"namespace": "it", "name": "b", "hosts": ["f.test", "b.test"], "endpoints": [pod.address]},
        {"namespace": "it", "name": "a", "hosts": ["f.test"], "endpoints": [pod.address]},
    ])
}

/// Names of all functions are for whoever works on this machine; the rest is for probes and scrapers.
#[tokio::test(flavor = "multi_thread")]
async fn routes_have_their_readers() {
    let pod = Backend::answering(|_| "");
    let process = Process::start(&routes(&pod), &[]).await;
    let answer = process.admin_body("/routes").await;
    assert_eq!(answer.status(), 200);
    let mut list: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    list.sort_by_key(|f| f["name"].to_string());
    let hosts: Vec<_> = list.iter().map(|f| (&f["hosts"], &f["hostsOfOthers"])).collect();
    assert_eq!(hosts[0], (&json!(["f.test"]), &json!({})), "the first by age, then by name");
    assert_eq!(hosts[1], (&json!(["b.test"]), &json!({"f.test": "it/a"})));
    process.logged("more than one function has this host").await;

    let process = Process::start(&routes(&pod), &["--routes-readers", "192.0.2.0/24"]).await;
    assert_eq!(process.admin("/routes").await, 403);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(process.admin(path).await, 200, "{path}");
    }
}

/// Whose answers are not passed on finds out which function and why.
#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_are_told_by_function_and_rule() {
    let pod = Backend::answering(
        |_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let process = Process::start(&routes(&pod), &[]).await;
    for _ in 0..3 {
        let answer = Wire::connect(process.address).await.get("b.test", "/").await;
        answer.assert_error(502, "bad_response");
    }
    let rule = "both Content-Length and Transfer-Encoding";
    process.logged(rule).await;
    let metrics = process.admin_body("/metrics").await;
    let series = format!(
        "kipper_interceptor_refused_answers_total{{function=\"b\",namespace=\"it\",rule=\"{rule}\"}} 3"
    );
    assert!(metrics.text().contains(&series), "{}", metrics.text());
    let told = process.log();
    assert_eq!(told.matches(rule).count(), 1, "once in a while: {told}");
    assert!(told.contains("it/b"), "{told}");
}
