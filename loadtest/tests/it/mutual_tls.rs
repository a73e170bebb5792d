//! Counts over mutual TLS, from a real reporter to a real adapter; without a certificate, refused.

use std::{collections::HashMap, fs, net::SocketAddr, path::Path, time::Duration};

use kipper_externalscaler::{ScaledObjectRef, external_scaler_client::ExternalScalerClient};
use kipper_interceptor::{
    Interceptor,
    config::ProxyConfig,
    reporter::ReporterConfig,
    source::{FunctionId, RouteSpec, Sources, memory},
};
use kipper_process::metrics;
use kipper_scaler_adapter::{Adapter, Config, config::CountsTls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

/// Reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(30);
const RECONNECTS: &str = "kipper_interceptor_counts_reconnects_total";

/// Writes a CA and one certificate of it for each purpose.
fn certificates(directory: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    let purposes = [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (name, purpose) in purposes {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// An interceptor with one function that has no pod, reporting to `adapter`. Returns where it
/// listens and its metrics.
async fn interceptor(
    function: &str,
    reporter: ReporterConfig,
    stop: &CancellationToken,
) -> (SocketAddr, prometheus::Registry) {
    let registry = metrics::registry("interceptor", "test").unwrap();
    let route = RouteSpec::new(FunctionId::new("ns", function), vec![format!("{function}.test")]);
    let (_, routes, endpoints) = memory::feed(vec![route], Vec::new());
    let (config, sources) = (ProxyConfig::default(), Sources::new(routes, endpoints));
    let interceptor = Interceptor::assemble(&config, &registry, sources, reporter).unwrap();
    let (router, address) = (interceptor.router(), interceptor.address().unwrap());
    tokio::spawn(interceptor.serve(stop.clone(), Duration::ZERO, Duration::ZERO));
    timeout(DEADLINE, router.wait_synced()).await.unwrap();
    (address, registry)
}

/// Sends a request that is held, and keeps its connection.
async fn held(address: SocketAddr, function: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {function}.test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn reconnects(registry: &prometheus::Registry) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|f| f.name() == RECONNECTS);
    family.and_then(|f| f.get_metric().first()).map_or(0.0, |m| m.get_counter().get_value())
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_need_a_certificate() {
    let directory = tempfile::TempDir::new().unwrap();
    certificates(directory.path());
    let file = |name: &str| Some(directory.path().join(name));
    let stop = CancellationToken::new();
    let counts_tls = CountsTls {
        counts_tls_cert: file("server.crt"),
        counts_tls_key: file("server.key"),
        counts_client_ca: file("ca.crt"),
    };
    let adapter = Adapter::bind(&Config { counts_tls, ..Config::in_process() }).await.unwrap();
    let (grpc, counts) = (adapter.external_scaler_addr(), adapter.counts_addr());
    tokio::spawn(adapter.serve(stop.clone()));

    let trusting = ReporterConfig {
        adapters: vec![counts.to_string()],
        adapter_ca: file("ca.crt"),
        adapter_server_name: Some("localhost".to_owned()),
        ..ReporterConfig::default()
    };
    let certified = ReporterConfig {
        adapter_cert: file("client.crt"),
        adapter_key: file("client.key"),
        ..trusting.clone()
    };
    let (with, _) = interceptor("with", certified, &stop).await;
    let (without, refused) = interceptor("without", trusting, &stop).await;
    let _requests = (held(with, "with").await, held(without, "without").await);

    let object = |name: &str| ScaledObjectRef {
        name: name.to_owned(),
        namespace: "ns".to_owned(),
        scaler_metadata: HashMap::new(),
    };
    let mut keda = ExternalScalerClient::connect(format!("http://{grpc}")).await.unwrap();
    let mut pushed = keda.stream_is_active(object("with")).await.unwrap().into_inner();
    let active = async { while !pushed.message().await.unwrap().unwrap().result {} };
    timeout(DEADLINE, active).await.expect("counts with a certificate arrive");

    // The one without has been turned away more than once by now, or will be.
    let turned_away = async {
        while reconnects(&refused) < 2.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, turned_away).await.expect("counts without a certificate are refused");
    let answer = keda.is_active(object("without")).await.unwrap().into_inner();
    assert!(!answer.result, "nothing of it was counted");
    stop.cancel();
}
