//! `kip console`: the web console with the rights of its user.

use std::net::{Ipv4Addr, SocketAddr};

use http::Method;
use kipper_cluster::{
    names::SERVER_IMAGE,
    sandbox::{Sandbox, run},
};
use kipper_console_contract::{Console, check};
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Child,
    task::JoinSet,
};

use crate::{kip::Kip, rights};

/// One that runs until the child is dropped.
pub(crate) async fn start(kip: &Kip) -> (Child, Console) {
    let mut child = kip.command(&["console", "--no-open"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let printed = lines.next_line().await.unwrap().expect("the URL");
    (child, Console::new(&printed))
}

/// Leads to the API server until it is cut: then there is none at its address.
struct Proxy {
    address: SocketAddr,
    to: SocketAddr,
    serving: JoinSet<()>,
}

impl Proxy {
    /// One to the cluster of this test, and a kubeconfig with which it is used.
    async fn start() -> (Self, String) {
        let mut own = Kubeconfig::read().unwrap();
        let cluster = own.clusters[0].cluster.as_mut().unwrap();
        let server: http::Uri = cluster.server.take().unwrap().parse().unwrap();
        let host = server.host().unwrap().to_owned();
        let to = tokio::net::lookup_host((host.as_str(), server.port_u16().unwrap_or(443)));
        let to = to.await.unwrap().next().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut proxy = Self { address, to, serving: JoinSet::new() };
        proxy.connect().await;
        cluster.server = Some(format!("https://{}", proxy.address));
        cluster.tls_server_name = Some(host);
        (proxy, serde_json::to_string(&own).unwrap())
    }

    /// Takes connections, at the same address as before.
    async fn connect(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let to = self.to;
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    // A connection that is cut is part of the test.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
    }

    async fn cut(&mut self) {
        self.serving.shutdown().await;
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_is_told_and_the_page_goes_on_when_it_is_back() {
    run("console-away", |sandbox| async move {
        let admin = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("console-away");
        admin.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let (mut proxy, kubeconfig) = Proxy::start().await;
        let kip = Kip::new(&sandbox, &[]).await.with_kubeconfig(&kubeconfig);
        let (_child, console) = start(&kip).await;
        let query = format!("ns={}&fn={name}", sandbox.namespace);
        let shown = |update: &Value| update["type"] == "function";
        let mut stream = console.stream(&query).await;
        stream.until("the function", shown).await;

        proxy.cut().await;
        let told = stream.until("the trouble", |update| update["type"] == "error").await;
        assert_eq!(told["reason"], "unreachable", "{told}");
        let one = one(&sandbox, &name);
        let reply = console.get(&one).await;
        assert_eq!((reply.status, &reply.body["reason"]), (502, &json!("unreachable")));

        proxy.connect().await;
        console.stream(&query).await.until("the function again", shown).await;
        assert_eq!(console.get(&one).await.status, 200);
    })
    .await;
}

/// By what a function is scaled, the page is told how busy it is.
#[tokio::test]
async fn the_load_of_a_function_is_what_its_autoscaler_says() {
    run("console-load", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("console-load");
        kip.ok(&["function", "create", &name, "--image", SERVER_IMAGE, "--wait"]).await;
        let (_child, console) = start(&kip).await;
        let query = format!("ns={}&fn={name}", sandbox.namespace);
        let mut stream = console.stream(&query).await;
        let is_rate = |update: &Value| update["type"] == "rate";
        let first = stream.until("a rate", is_rate).await;
        assert_eq!(first["source"], "autoscaler", "{first}");
        let call = json!({ "method": "GET", "path": "/" });
        let path = format!("{}/invoke", one(&sandbox, &name));
        let calls = async {
            loop {
                let reply = console.send(Method::POST, &path, &call).await;
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        };
        let busy = |update: &Value| {
            is_rate(update) && update["perSecond"].as_f64().is_some_and(|rate| rate > 0.0)
        };
        let update = tokio::select! {
            never = calls => never,
            update = stream.until("requests", busy) => update,
        };
        assert!(update["replicas"].as_i64().is_some_and(|replicas| replicas > 0), "{update}");
    })
    .await;
}

async fn spec(kip: &Kip, name: &str) -> Value {
    kip.json(&["function", "get", name, "-o", "json"]).await["spec"].clone()
}

fn one(sandbox: &Sandbox, name: &str) -> String {
    format!("/api/v1/ns/{}/functions/{name}", sandbox.namespace)
}

#[tokio::test]
async fn a_cluster_is_a_backend_as_any_other() {
    run("console", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let (_child, console) = start(&kip).await;
        check(&console, &sandbox.namespace, &sandbox.name("console")).await;
    })
    .await;
}

#[tokio::test]
async fn who_may_only_look_is_told_so_when_they_save() {
    run("console-reader", |sandbox| async move {
        let admin = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("console-reader");
        admin.ok(&["function", "create", &name, "--image", SERVER_IMAGE]).await;
        let before = spec(&admin, &name).await;
        let kip = Kip::new(&sandbox, &[]).await.with_kubeconfig(&rights::reader(&sandbox).await);
        let (_child, console) = start(&kip).await;

        let one = one(&sandbox, &name);
        let reply = console.get(&one).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        // Said before anything is typed, wherever the function is shown.
        let why = |what| {
            format!("your account may not {what} functions of the namespace {}", sandbox.namespace)
        };
        assert_eq!(reply.body["readOnly"], json!(why("change")));
        let query = format!("ns={}&fn={name}", sandbox.namespace);
        let shown = |update: &Value| update["type"] == "function";
        let update = console.stream(&query).await.until("the function", shown).await;
        assert_eq!(update["function"]["readOnly"], json!(why("change")));
        let rights = console.get(&format!("/api/v1/ns/{}/rights", sandbox.namespace)).await;
        assert_eq!(rights.body["create"], json!(why("create")));
        let base = json!({ "generation": reply.body["generation"], "spec": reply.body["spec"] });
        let mut changed = reply.body["spec"].clone();
        changed["env"] = json!({ "A": "1" });
        let secrets = json!({ "set": {}, "delete": [] });
        let save = json!({ "spec": changed, "secrets": secrets, "base": base });
        let reply = console.send(Method::PUT, &one, &save).await;
        assert_eq!((reply.status, &reply.body["reason"]), (403, &json!("forbidden")), "{reply:?}");
        let words = reply.body["error"].as_str().unwrap();
        assert!(words.contains("cannot") && words.contains("resource \"functions\""), "{words}");
        assert_eq!(spec(&admin, &name).await, before);
    })
    .await;
}
