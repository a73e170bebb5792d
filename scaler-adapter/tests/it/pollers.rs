//! What pollers report: replicas ahead of the HPA, for the function alone whose token it comes with.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use kipper_externalscaler::{GetMetricsRequest, ScaledObjectRef};
use kipper_kubernetes::{Scale, ScaleError};
use kipper_process::post::post;
use kipper_scaler_adapter::{
    Adapter, Config, Replicas, config::CountsTls, external_scaler::BACKLOG,
};
use kipper_trigger::{backlog_path, token::BacklogKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    support::{Keda, Served, object_with, patiently, serve_adapter},
    tls::Pki,
};

const WAITING: &str = "{\"waiting\":1000}";

/// One Deployment, which does as it is asked by whoever knows its replicas, and how often it did.
#[derive(Default)]
struct Pods {
    wanted: AtomicU32,
    given: AtomicU32,
}

impl Replicas for Pods {
    fn check(&self) -> BoxFuture<'static, Result<(), String>> {
        ready(Ok(())).boxed()
    }

    fn read(&self, _namespace: &str, _name: &str) -> BoxFuture<'static, Result<Scale, ScaleError>> {
        let wanted = self.wanted.load(Relaxed);
        ready(Ok(Scale { wanted, pods: wanted })).boxed()
    }

    fn raise(
        &self,
        _namespace: &str,
        _name: &str,
        from: u32,
        to: u32,
    ) -> BoxFuture<'static, Result<bool, ScaleError>> {
        let is_given = self.wanted.compare_exchange(from, to, Relaxed, Relaxed).is_ok();
        self.given.fetch_add(is_given.into(), Relaxed);
        ready(Ok(is_given)).boxed()
    }
}

struct Fixture {
    _pki: Pki,
    served: Served,
    backlog: SocketAddr,
    key: BacklogKey,
    pods: Arc<Pods>,
}

async fn start() -> Fixture {
    let pods = Pods { wanted: AtomicU32::new(1), ..Pods::default() };
    start_with(Arc::new(pods)).await
}

async fn start_with(pods: Arc<Pods>) -> Fixture {
    let pki = Pki::new();
    let CountsTls { counts_tls_key, .. } = pki.config().counts_tls;
    let key = BacklogKey::derive(&std::fs::read(counts_tls_key.unwrap()).unwrap());
    let listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let snapshot_wait = Duration::from_millis(10);
    let config = Config { backlog_listen: listen, snapshot_wait, ..pki.config() };
    let adapter = Adapter::bind(&config).await.unwrap();
    let replicas: Arc<dyn Replicas> = pods.clone();
    let adapter = adapter.with_replicas(replicas);
    let backlog = adapter.backlog_addr().unwrap();
    Fixture { _pki: pki, served: serve_adapter(adapter), backlog, key, pods }
}

impl Fixture {
    async fn report(&self, function: &str, token: &str, body: &str) -> StatusCode {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
        let path = backlog_path("shop-prod", function).parse().unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        patiently("answer", post(self.backlog, path, headers, body)).await.unwrap()
    }

    fn token(&self) -> String {
        self.key.token("shop-prod", "orders")
    }
}

fn object() -> ScaledObjectRef {
    let metadata = [("backlog", "true"), ("targetEvents", "100"), ("burstMaxReplicas", "5")];
    object_with("orders", &metadata)
}

async fn metric(keda: &mut Keda) -> f64 {
    let metric_name = BACKLOG.to_owned();
    let request = GetMetricsRequest { scaled_object_ref: Some(object()), metric_name };
    let answer = keda.0.get_metrics(request).await.unwrap().into_inner();
    answer.metric_values[0].metric_value_float
}

#[tokio::test]
async fn what_stays_has_its_function_scaled_at_once() {
    let fixture = start().await;
    let mut keda = Keda::connect(fixture.served.grpc).await;
    let spec = keda.0.get_metric_spec(object()).await.unwrap().into_inner();
    assert_eq!(spec.metric_specs[0].metric_name, BACKLOG);
    assert!((spec.metric_specs[0].target_size_float - 100.0).abs() < 1e-9);

    // Before KEDA's stream there is nothing that could be scaled.
    assert_eq!(fixture.report("orders", &fixture.token(), WAITING).await, StatusCode::NO_CONTENT);
    assert!(metric(&mut keda).await < 1.0);
    let stream = patiently("stream", keda.0.stream_is_active(object())).await.unwrap();
    let mut stream = stream.into_inner();
    let scaled = async {
        while fixture.pods.wanted.load(Relaxed) != 5 {
            let told = fixture.report("orders", &fixture.token(), WAITING).await;
            assert_eq!(told, StatusCode::NO_CONTENT);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently("five replicas", scaled).await;
    // The HPA is told the larger of what waits and what was asked for.
    assert!(metric(&mut keda).await > 999.0);
    assert_eq!(
        fixture.report("orders", &fixture.token(), "{\"waiting\":3}").await,
        StatusCode::NO_CONTENT
    );
    let held = metric(&mut keda).await;
    assert!(held > 400.0 && held <= 500.0, "{held}");
    // It wakes nobody.
    assert!(!keda.0.is_active(object()).await.unwrap().into_inner().result);
    fixture.served.shutdown.cancel();
    let ended = patiently("end of the stream", stream.message()).await.unwrap();
    assert!(ended.is_none(), "nothing was pushed");
}

#[tokio::test]
async fn nobody_reports_for_another_function() {
    let fixture = start().await;
    let mut keda = Keda::connect(fixture.served.grpc).await;
    let _stream = patiently("stream", keda.0.stream_is_active(object())).await.unwrap();
    let elsewhere = fixture.key.token("shop-test", "orders");
    let others = fixture.key.token("shop-prod", "others");
    for token in ["", "sesame", &elsewhere, &others] {
        assert_eq!(fixture.report("orders", token, WAITING).await, StatusCode::UNAUTHORIZED);
    }
    let token = fixture.token();
    for (body, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("{\"waiting\":-1}", StatusCode::BAD_REQUEST),
        ("{\"unavailable\":\"x\"}", StatusCode::BAD_REQUEST),
        (&*format!("{{\"waiting\":1{}}}", " ".repeat(300)), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(fixture.report("orders", &token, body).await, status, "{body}");
    }
    assert_eq!(fixture.report("orders/more", &token, WAITING).await, StatusCode::NOT_FOUND);
    assert!(metric(&mut keda).await < 1.0);
    assert_eq!(fixture.pods.wanted.load(Relaxed), 1);

    // Nor does one hold the port who sends nothing.
    let mut silent = TcpStream::connect(fixture.backlog).await.unwrap();
    let head = format!(
        "POST /backlog/shop-prod/orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-length: 16\r\n\r\n"
    );
    silent.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    patiently("answer", silent.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// As for a moment when KEDA moves from one adapter to another.
#[tokio::test]
async fn two_adapters_with_a_stream_of_one_function_scale_it_once() {
    let first = start().await;
    let second = start_with(Arc::clone(&first.pods)).await;
    let mut streams = Vec::new();
    for adapter in [&first, &second] {
        let mut keda = Keda::connect(adapter.served.grpc).await;
        let stream = patiently("stream", keda.0.stream_is_active(object())).await.unwrap();
        streams.push((keda, stream));
    }
    // One of them asks and looks once more; the other looks and finds enough, or loses the race.
    for adapter in [&first, &second] {
        let looked = async {
            while adapter.served.metric("burst_looks_total") < 1.0 {
                for told in [&first, &second] {
                    let token = told.token();
                    let status = told.report("orders", &token, WAITING).await;
                    assert_eq!(status, StatusCode::NO_CONTENT);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        patiently("looks", looked).await;
    }
    assert_eq!(first.pods.wanted.load(Relaxed), 5);
    assert_eq!(first.pods.given.load(Relaxed), 1);
}
