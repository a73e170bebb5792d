//! Lines of pods that are gone, from a real Loki that was told of them.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use kipper_cluster::{
    bridge::on_bridge,
    names::{NODE_IMAGE, SERVER_IMAGE},
    objects,
    sandbox::{Sandbox, run},
    wait::{DEADLINE, expect, until},
};
use kipper_servers::{Loki, ServerError};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::kip::Kip;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The page's ranges, and a line just within each but not in the one before.
const RANGES: [(&str, u64); 6] = [
    ("5m", 2 * MINUTE),
    ("15m", 14 * MINUTE),
    ("1h", 55 * MINUTE),
    ("6h", 5 * HOUR),
    ("24h", 23 * HOUR),
    ("7d", 6 * DAY + 23 * HOUR),
];

/// What somebody might search for, and would mean something else as LogQL or as a pattern.
const TEXTS: [&str; 8] = [
    r#"say "hello" to {app="other"}"#,
    r"C:\temp\new",
    "`ticks` |= `x` | json",
    "a.*[b]+(c|d)?$",
    "100 % of $HOME && true; # no comment",
    "tab\tand é and 日本",
    "!= \"\" |~ \".+\"",
    "{namespace=\"kube-system\"}",
];

/// What a collector would tell a Loki of one function.
#[derive(Clone, Copy)]
struct Collector<'a> {
    loki: &'a Loki,
    tenant: &'static str,
    namespace: &'a str,
    app: &'a str,
}

impl Collector<'_> {
    /// Tells Loki of lines of one pod, each so many nanoseconds ago; oldest first.
    async fn push(&self, pod: &str, lines: &[(u64, String)]) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let values: Vec<Value> = lines
            .iter()
            .map(|(ago, text)| {
                json!([(now - Duration::from_nanos(*ago)).as_nanos().to_string(), text])
            })
            .collect();
        let labels = json!({
            "namespace": self.namespace, "app": self.app, "pod": pod, "container": "function",
        });
        let body = json!({ "streams": [{ "stream": labels, "values": values }] }).to_string();
        let stream = TcpStream::connect(self.loki.address()).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::post("/loki/api/v1/push")
            .header("host", "loki")
            .header("content-type", "application/json")
            .header("x-scope-orgid", self.tenant)
            .body(Full::<Bytes>::new(body.into()))
            .unwrap();
        let answer: hyper::Response<hyper::body::Incoming> =
            sender.send_request(request).await.unwrap();
        let status = answer.status();
        let told = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 204, "{told:?}");
        driver.abort();
    }
}

const fn seconds(seconds: u64) -> u64 {
    seconds * 1_000_000_000
}

async fn started(start: fn() -> Result<Loki, ServerError>) -> Loki {
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

async fn deployed(sandbox: &Sandbox, name: &str) -> (Kip, String) {
    let kip = Kip::new(sandbox, &[]).await;
    let name = sandbox.name(name);
    kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
    (kip, name)
}

#[tokio::test]
async fn every_range_and_every_text_is_found_of_pods_that_are_gone() {
    run("loki", |sandbox| async move {
        let (kip, name) = deployed(&sandbox, "gone").await;
        let loki = started(Loki::start).await;
        let (namespace, app) = (sandbox.namespace.as_str(), name.as_str());
        let collector = Collector { loki: &loki, tenant: "anybody", namespace, app };
        // Each line in a pod of its own, as a function has them that is woken so often.
        for (range, ago) in RANGES.iter().rev() {
            let pod = format!("{name}-{range}");
            collector.push(&pod, &[(seconds(*ago), format!("within {range}"))]).await;
        }
        collector.push("old", &[(seconds(8 * DAY), "long ago".to_owned())]).await;
        let elsewhere = Collector { namespace: "elsewhere", ..collector };
        elsewhere.push("p", &[(seconds(MINUTE), "of another namespace".to_owned())]).await;
        let other = Collector { app: "other", ..collector };
        other.push("p", &[(seconds(MINUTE), "of another function".to_owned())]).await;

        let url = loki.url();
        let logs = ["function", "logs", &name, "--loki", &url];
        for (at, (range, _)) in RANGES.iter().enumerate() {
            let told = kip.ok(&[&logs[..], &["--since", range]].concat()).await;
            let expected: Vec<String> =
                RANGES[..=at].iter().rev().map(|(range, _)| format!("within {range}")).collect();
            let texts: Vec<&str> =
                told.lines().map(|line| line.split_once("] ").map_or(line, |l| l.1)).collect();
            assert_eq!(texts, expected, "{range}: {told}");
        }

        let lines: Vec<_> =
            TEXTS.iter().map(|text| (seconds(MINUTE), format!("<{text}>"))).collect();
        collector.push("texts", &lines).await;
        for text in TEXTS {
            let told = kip.ok(&[&logs[..], &["--search", text]].concat()).await;
            assert_eq!(told, format!("<{text}>\n"));
            // In any case of its letters, and nothing else of it.
            let told = kip.ok(&[&logs[..], &["--search", &text.to_uppercase()]].concat()).await;
            assert_eq!(told, format!("<{text}>\n"));
        }
        let end = kip.run(&[&logs[..], &["--search", "<.*>"]].concat()).await;
        assert_eq!((end.code, end.stdout.as_str()), (0, ""), "{end:?}");
        assert!(end.stderr.contains("in the last 1h"), "{end:?}");

        // Set once, it is meant by every command: by the user, or for all by the chart.
        let info = json!({
            "metadata": { "name": "kipper-cluster-info" },
            "data": { "clusterDomain": "example.com", "loki": url },
        });
        objects::create(&sandbox.client, "ConfigMap", &sandbox.namespace, info).await;
        for set in [("KIP_LOKI", url.as_str()), ("KIP_SYSTEM_NAMESPACE", &sandbox.namespace)] {
            let mut logs = kip.command(&["function", "logs", &name, "--since", "5m", "--json"]);
            let logs = logs.env(set.0, set.1).output().await.unwrap();
            let lines = String::from_utf8(logs.stdout).unwrap();
            let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
            assert_eq!(line["pod"], json!(format!("{name}-5m")), "{set:?}");
            assert_eq!(line["container"], json!("function"), "{set:?}");
        }
        // And not where the pods are asked for.
        let mut pods = kip.command(&["function", "logs", &name, "--pods"]);
        let pods = pods.env("KIP_LOKI", &url).output().await.unwrap();
        assert!(pods.status.success() && pods.stdout.is_empty(), "{pods:?}");
        assert!(String::from_utf8_lossy(&pods.stderr).contains("is scaled to zero"), "{pods:?}");
    })
    .await;
}

#[tokio::test]
async fn lines_of_gone_pods_come_before_those_that_are_followed() {
    run("lokifollow", |sandbox| async move {
        let code = "module.exports = async (event) => console.log('got', event.n)\n";
        let kip = Kip::new(&sandbox, &[("code.js", code)]).await;
        let name = sandbox.name("tail");
        kip.ok(&["function", "create", &name, "--code-file", "code.js"]).await;
        kip.ok(&["function", "invoke", &name, "--data", "{\"n\":1}"]).await;
        let pods = sandbox.pods(&name).await;
        let pod = pods[0]["metadata"]["name"].as_str().unwrap();
        let loki = started(Loki::start).await;
        let (namespace, app) = (sandbox.namespace.as_str(), name.as_str());
        let collector = Collector { loki: &loki, tenant: "anybody", namespace, app };
        collector.push("gone", &[(seconds(MINUTE), "long gone".to_owned())]).await;
        // What the collector has of a pod that is there is not told twice.
        collector.push(pod, &[(seconds(1), "got 1".to_owned())]).await;

        let logs = ["function", "logs", &name, "-f", "--loki", &loki.url()];
        let mut logs = kip.command(&logs).spawn().unwrap();
        let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        while told.len() < 3 {
            let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
            let is_own = ["long gone", "got "].iter().any(|text| line.contains(text));
            told.extend(is_own.then_some(line));
            if told.len() == 2 {
                kip.ok(&["function", "invoke", &name, "--data", "{\"n\":2}"]).await;
            }
        }
        let texts = ["long gone".to_owned(), format!("[{pod}] got 1"), format!("[{pod}] got 2")];
        assert_eq!(told, texts);
        logs.kill().await.unwrap();
    })
    .await;
}

/// The API server leads only to pods, so one of them leads on to `address`.
async fn behind_a_service(sandbox: &Sandbox, name: &str, address: SocketAddr) {
    let labels = json!({ "leads-to": name });
    let forward = format!(
        "require('net').createServer((client) => {{
           const server = require('net').connect({}, '{}')
           client.on('error', () => server.destroy()).pipe(server)
           server.on('error', () => client.destroy()).pipe(client)
         }}).listen(3100)",
        address.port(),
        address.ip()
    );
    let pod = json!({
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "forward",
                "image": NODE_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["node", "-e", forward],
                "readinessProbe": { "tcpSocket": { "port": 3100 }, "periodSeconds": 1 },
            }],
        },
    });
    objects::create(&sandbox.client, "Pod", &sandbox.namespace, pod).await;
    let service = json!({
        "metadata": { "name": name },
        "spec": { "selector": labels, "ports": [{ "name": "http", "port": 3100 }] },
    });
    objects::create(&sandbox.client, "Service", &sandbox.namespace, service).await;
}

#[tokio::test]
async fn the_last_ten_thousand_lines_are_read_in_their_order() {
    run("lokimany", |sandbox| async move {
        let (kip, name) = deployed(&sandbox, "many").await;
        let loki = started(Loki::with_tenants).await;
        let (namespace, app) = (sandbox.namespace.as_str(), name.as_str());
        let collector = Collector { loki: &loki, tenant: "shop", namespace, app };
        // Three lines of each microsecond, so that pages have their edges within one.
        let line = |n: u64| (seconds(60) - n / 3 * 1_000, format!("line {n}"));
        let lines: Vec<_> = (0..10_201).map(line).collect();
        collector.push("busy", &lines).await;

        behind_a_service(&sandbox, "logs", on_bridge(loki.port()).await).await;
        let service = format!("{}/logs", sandbox.namespace);
        let logs = ["function", "logs", &name, "--loki", &service];
        let mine = [&logs[..], &["--loki-tenant", "shop"]].concat();
        until("the API server to know of the Service", || async {
            let end = kip.run(&mine).await;
            expect(end.code == 0, || end.stderr)
        })
        .await;
        let end = kip.run(&mine).await;
        assert!(end.stderr.contains("only the last 10000 lines"), "{}", end.stderr);
        // Of lines of one time Loki does not keep the order.
        let mut numbers: Vec<u64> =
            end.stdout.lines().map(|line| line["line ".len()..].parse().unwrap()).collect();
        assert!(numbers.is_sorted_by_key(|n| n / 3));
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(201..10_201), "{} lines", numbers.len());

        let end = kip.run(&[&logs[..], &["--loki-tenant", "other"]].concat()).await;
        assert_eq!((end.code, end.stdout.as_str()), (0, ""), "{end:?}");
        let stderr = kip.fails(1, &logs).await;
        assert!(stderr.contains("Loki answered 401 Unauthorized: no org id"), "{stderr}");
        assert!(stderr.contains("hint: `--pods`"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_loki_that_is_not_there_is_told() {
    run("nologs", |sandbox| async move {
        let (kip, name) = deployed(&sandbox, "nologs").await;
        let logs = ["function", "logs", &name, "--loki"];
        let stderr = kip.fails(1, &[&logs[..], &["http://127.0.0.1:1"]].concat()).await;
        assert!(stderr.contains("Loki: cannot connect to 127.0.0.1:1: "), "{stderr}");
        let missing = format!("{}/loki", sandbox.namespace);
        let stderr = kip.fails(1, &[&logs[..], &[&missing]].concat()).await;
        let expected = format!("service loki does not exist in namespace {}", sandbox.namespace);
        assert!(stderr.contains(&expected), "{stderr}");
        let stderr = kip.fails(2, &[&logs[..], &["loki"]].concat()).await;
        assert!(stderr.contains("neither the URL of a Loki nor a Service"), "{stderr}");
    })
    .await;
}
