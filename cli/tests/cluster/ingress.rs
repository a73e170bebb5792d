//! A function's own URL: DNS, TLS and an ingress before it, as users' requests have them.

use std::{fs, path::PathBuf, process::Stdio};

use kipper_cluster::{names::BRIDGE, sandbox::run, wait::until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::kip::{End, Kip, ended};

const HELLO: &str = "module.exports = async (event, context) => ({ scheme: context.headers['x-forwarded-proto'] })\n";
/// What every host of the local cluster is below of.
const WILDCARD: &str = "*.kipper.run";

/// nginx in the place of an ingress controller, on the port that URLs without one mean.
struct Ingress {
    folder: TempDir,
    _nginx: Child,
}

impl Ingress {
    /// For the interceptor at this URL.
    async fn start(interceptor: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose issuer has its own name for self-signed.
        authority.distinguished_name.push(DnType::CommonName, "authority of this test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.pem", authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec![WILDCARD.to_owned()]).unwrap();
        write("server.pem", server.signed_by(&key, &issuer).unwrap().pem());
        write("server.key", key.serialize_pem());
        let conf = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;
             events {{}}
             http {{
               access_log off;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
               uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               server {{
                 listen {BRIDGE}:443 ssl;
                 ssl_certificate server.pem; ssl_certificate_key server.key;
                 location / {{
                   proxy_pass {interceptor};
                   proxy_http_version 1.1;
                   proxy_read_timeout 120s;
                   proxy_set_header Host $host;
                   proxy_set_header X-Forwarded-For $remote_addr;
                   proxy_set_header X-Forwarded-Proto https;
                 }}
               }}
             }}"
        );
        write("nginx.conf", conf);
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        let nginx = nginx.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        until("nginx", || async {
            TcpStream::connect((BRIDGE, 443)).await.map_err(|error| error.to_string())
        })
        .await;
        Self { folder, _nginx: nginx }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A user to whom the function's host leads to the ingress: with an /etc/hosts of its own, in mount
/// namespaces that end with its commands.
struct User<'a> {
    kip: &'a Kip,
    ca: PathBuf,
}

impl User<'_> {
    async fn types(&self, line: &str) -> End {
        let line = format!("unshare --mount sh -c 'mount --bind hosts /etc/hosts && {line}'");
        let mut command = self.kip.shell(&line);
        command.env("KIP_INTERCEPTOR", "").env("SSL_CERT_FILE", &self.ca);
        ended(command.env("CURL_CA_BUNDLE", &self.ca)).await
    }

    async fn ok(&self, line: &str) -> String {
        let end = self.types(line).await;
        assert_eq!(end.code, 0, "{line}: {end:?}");
        end.stdout
    }
}

#[tokio::test]
async fn a_function_is_asked_at_its_own_url() {
    run("ingress", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("hello.js", HELLO)]).await;
        let name = sandbox.name("url");
        let host = sandbox.host(&name);
        fs::write(kip.folder.path().join("hosts"), format!("{BRIDGE} {host}\n")).unwrap();
        let ingress = Ingress::start(kip.interceptor()).await;
        let user = User { kip: &kip, ca: ingress.file("ca.pem") };

        let told =
            user.ok(&format!("kip function create {name} --code-file hello.js --wait")).await;
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines[1..3],
            [format!("url       https://{host}"), format!("try       curl https://{host}")]
        );
        assert!(lines[3].starts_with("awake     200 after "), "{told}");
        // The line that it says to try.
        let curl = lines[2].strip_prefix("try       ").unwrap();
        assert_eq!(user.ok(&format!("{curl} --silent")).await, "{\"scheme\":\"https\"}");
        let answer = user.ok(&format!("kip function invoke {name} -o json")).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["status"], &answer["body"]["scheme"]), (&json!(200), &json!("https")));
        let headers = answer["headers"].as_array().unwrap();
        assert!(headers.iter().any(|h| h["name"] == "strict-transport-security"), "{answer}");

        let stranger = User { kip: &kip, ca: ingress.file("server.pem") };
        let end = stranger.types(&format!("kip function invoke {name}")).await;
        assert_eq!(end.code, 1, "{end:?}");
        let refused = format!("cannot connect to {host}:443: invalid peer certificate");
        assert!(end.stderr.contains(&refused), "{end:?}");
        // Nothing stands between a user and a host without DNS.
        let end = kip.shell(&format!("KIP_INTERCEPTOR= kip function invoke {name}"));
        let end = ended(end).await;
        assert_eq!(end.code, 1, "{end:?}");
        assert!(end.stderr.contains("--interceptor"), "{end:?}");
    })
    .await;
}
