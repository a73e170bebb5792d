//! Mutual TLS on either port.

use std::{fs, net::SocketAddr, path::PathBuf};

use kipper_scaler_adapter::{
    Config,
    config::{CountsTls, GrpcTls},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tempfile::TempDir;
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use crate::support::{Interceptor, Keda, counts, patiently, serve};

/// A CA, a server identity for `localhost`, and client identities.
pub(crate) struct Pki {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { dir: TempDir::new().unwrap(), ca };
        let (cert, key) = pki.issue(ExtendedKeyUsagePurpose::ServerAuth);
        fs::write(pki.path("cert"), cert).unwrap();
        fs::write(pki.path("key"), key).unwrap();
        fs::write(pki.path("ca"), pki.ca.pem()).unwrap();
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    fn identity(&self) -> Identity {
        let (cert, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        Identity::from_pem(cert, key)
    }

    /// A channel that trusts this CA and shows `identity`.
    fn channel(&self, addr: SocketAddr, identity: Option<Identity>) -> Channel {
        let ca = Certificate::from_pem(self.ca.pem());
        let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint = Channel::from_shared(format!("https://{addr}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            counts_tls: CountsTls {
                counts_tls_cert: Some(self.path("cert")),
                counts_tls_key: Some(self.path("key")),
                counts_client_ca: Some(self.path("ca")),
            },
            ..Config::in_process()
        }
    }
}

async fn report(channel: Channel) -> Result<Interceptor, Status> {
    Interceptor::open(channel, "i-1", 7, vec![counts("hello", 1)]).await
}

#[tokio::test]
async fn counts_without_a_certificate_of_the_ca_are_refused() {
    let pki = Pki::new();
    let served = serve(&pki.config()).await;
    let stranger = Pki::new();
    assert!(report(pki.channel(served.counts, None)).await.is_err());
    assert!(report(pki.channel(served.counts, Some(stranger.identity()))).await.is_err());
    let plain = Channel::from_shared(format!("http://{}", served.counts)).unwrap();
    assert!(report(plain.connect_lazy()).await.is_err());

    let interceptor = report(pki.channel(served.counts, Some(pki.identity()))).await.unwrap();
    // KEDA's port has settings of its own: plaintext here.
    let mut keda = Keda::connect(served.grpc).await;
    keda.until_active("hello", true).await;
    drop(interceptor);
}

#[tokio::test]
async fn keda_may_be_asked_for_a_certificate_too() {
    let pki = Pki::new();
    let grpc_tls = GrpcTls {
        grpc_tls_cert: Some(pki.path("cert")),
        grpc_tls_key: Some(pki.path("key")),
        grpc_client_ca: Some(pki.path("ca")),
    };
    let served = serve(&Config { grpc_tls, ..pki.config() }).await;
    let keda = |identity| {
        let channel = pki.channel(served.grpc, identity);
        Keda(kipper_externalscaler::external_scaler_client::ExternalScalerClient::new(channel))
    };
    let object = || crate::support::object("hello");
    let mut nobody = keda(None);
    let refused = patiently("refusal", nobody.0.get_metric_spec(object())).await;
    assert!(refused.is_err());
    let mut known = keda(Some(pki.identity()));
    let answered = patiently("answer", known.0.get_metric_spec(object())).await;
    assert_eq!(answered.unwrap().into_inner().metric_specs.len(), 1);
}

#[tokio::test]
async fn unreadable_files_are_named() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.counts_tls.counts_client_ca = Some(PathBuf::from("no-such-file.pem"));
    let error = kipper_scaler_adapter::Adapter::bind(&config).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no-such-file.pem"), "{error}");
}
