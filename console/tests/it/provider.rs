//! An identity provider as the specifications have it (RFC 6749, RFC 7636, OpenID Connect Core), over
//! TLS: it gives tokens only to whoever proves to be the client that began the login.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use clap::Parser as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kipper_console::config::Config;
use parking_lot::Mutex;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::page::URL;

const CLIENT: &str = "kipper-console";
/// One that has to be encoded before it is a header's.
pub(crate) const SECRET: &str = "s3cret: with %, ünd more";

/// The provider; it ends with the test.
pub(crate) struct Idp {
    issuer: String,
    files: TempDir,
    state: Arc<State>,
    serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    issuer: String,
    ways: Mutex<Ways>,
    grants: Mutex<HashMap<String, Grant>>,
    refreshes: Mutex<HashSet<String>>,
    heard: Mutex<Vec<String>>,
    given: Mutex<Vec<String>>,
    silent: Notify,
}

/// How it behaves.
pub(crate) struct Ways {
    /// What a client proves itself with.
    pub(crate) secret: Option<&'static str>,
    /// Claims of ID tokens that are not as they should be.
    pub(crate) claims: Value,
    /// What its discovery says beyond what every one does.
    pub(crate) metadata: Value,
    /// How long an ID token counts.
    pub(crate) lifetime: Duration,
    /// Does it give refresh tokens?
    pub(crate) refreshes: bool,
    /// What it answers with, instead of what it should, by its paths.
    pub(crate) faults: HashMap<&'static str, Fault>,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            secret: Some(SECRET),
            claims: json!({}),
            metadata: json!({}),
            lifetime: Duration::from_mins(5),
            refreshes: false,
            faults: HashMap::new(),
        }
    }
}

#[derive(Clone)]
pub(crate) enum Fault {
    Silence,
    Answer(u16, String),
    Redirect(&'static str),
}

struct Grant {
    challenge: String,
    nonce: String,
    redirect: String,
}

impl Idp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TempDir::new().unwrap();
        std::fs::write(files.path().join("ca.crt"), cert.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let state = Arc::new(State { issuer: issuer.clone(), ..State::default() });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, acceptor, Arc::clone(&state)));
        Self { issuer, files, state, serving }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the console is started with, and these flags.
    pub(crate) fn flags(&self, more: &[&str]) -> Vec<String> {
        let ca = self.files.path().join("ca.crt").display().to_string();
        let flags = ["kipper-console", "--public-url", URL, "--oidc-client-id", CLIENT];
        let own = ["--oidc-issuer-url", &self.issuer, "--oidc-ca-file", &ca];
        flags.iter().chain(&own).chain(more).map(|&flag| flag.to_owned()).collect()
    }

    /// The console's side of it; with the right secret.
    pub(crate) fn client(&self, more: &[&str]) -> kipper_console::Provider {
        self.client_with(SECRET, more)
    }

    pub(crate) fn client_with(&self, secret: &str, more: &[&str]) -> kipper_console::Provider {
        let path = self.files.path().join("secret");
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        let path = path.display().to_string();
        let config = self.flags(&[&["--oidc-client-secret-file", &path], more].concat());
        let config = Config::try_parse_from(config).unwrap();
        kipper_console::Provider::new(&config.oidc, &config.public_url).unwrap().unwrap()
    }

    /// Of a client without a secret.
    pub(crate) fn public_client(&self) -> kipper_console::Provider {
        let config = Config::try_parse_from(self.flags(&[])).unwrap();
        kipper_console::Provider::new(&config.oidc, &config.public_url).unwrap().unwrap()
    }

    /// From now on the console is given another one's authority in the place of this one's.
    pub(crate) fn mistake_for(&self, other: &Self) {
        let file = |idp: &Self| idp.files.path().join("ca.crt");
        std::fs::copy(file(other), file(self)).unwrap();
    }

    /// Takes no connection any more, and cuts those there are.
    pub(crate) async fn down(&mut self) {
        self.serving.shutdown().await;
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.state.ways.lock());
    }

    /// Does what a user does who is led to this URL and logs in: the path the browser is led back to.
    pub(crate) fn authorize(&self, url: &str) -> String {
        self.state.authorize(url)
    }

    /// Every request so far: its method, target and body.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.state.heard.lock().clone()
    }

    /// Every token so far.
    pub(crate) fn given(&self) -> Vec<String> {
        self.state.given.lock().clone()
    }

    /// Waits for a request that is not answered.
    pub(crate) async fn silent(&self) {
        self.state.silent.notified().await;
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            // Whoever does not trust the certificate goes away.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn form(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn answer(status: u16, body: String) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::new(body.into())).unwrap()
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.heard.lock().push(format!("{} {} {body}", head.method, head.uri));
        let fault = self.ways.lock().faults.get(head.uri.path()).cloned();
        match fault {
            None => {}
            Some(Fault::Silence) => {
                self.silent.notify_one();
                std::future::pending::<()>().await;
            }
            Some(Fault::Answer(status, body)) => return answer(status, body),
            Some(Fault::Redirect(to)) => {
                let mut answer = answer(302, String::new());
                answer.headers_mut().insert("location", to.parse().unwrap());
                return answer;
            }
        }
        let authorization =
            head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        match head.uri.path() {
            "/.well-known/openid-configuration" => answer(200, self.metadata().to_string()),
            "/token" => match self.token(&form(&body), authorization.as_deref()) {
                Ok(tokens) => answer(200, tokens.to_string()),
                Err(error) => answer(400, json!({ "error": error }).to_string()),
            },
            _ => answer(404, String::new()),
        }
    }

    fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        let mut metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
            "token_endpoint": format!("{issuer}/token"),
        });
        for (name, value) in self.ways.lock().metadata.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        metadata
    }

    fn authorize(&self, url: &str) -> String {
        let query = url.strip_prefix(&format!("{}/authorize?", self.issuer)).expect(url);
        self.heard.lock().push(format!("GET /authorize?{query} "));
        let asked = form(query);
        let is = |name: &str, expected: &str| {
            assert_eq!(asked.get(name).map(String::as_str), Some(expected), "{name} of {url}");
        };
        is("tenant", "a");
        is("response_type", "code");
        is("client_id", CLIENT);
        is("redirect_uri", &format!("{URL}/login/callback"));
        is("code_challenge_method", "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{url}");
        assert!(asked["state"].len() >= 22 && asked["nonce"].len() >= 22, "{url}");
        let code = format!("code-{}", self.grants.lock().len());
        let grant = Grant {
            challenge: asked["code_challenge"].clone(),
            nonce: asked["nonce"].clone(),
            redirect: asked["redirect_uri"].clone(),
        };
        self.grants.lock().insert(code.clone(), grant);
        let answer = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &asked["state"])
            .append_pair("session_state", "of-keycloak")
            .finish();
        format!("/login/callback?{answer}")
    }

    fn token(
        &self,
        asked: &HashMap<String, String>,
        authorization: Option<&str>,
    ) -> Result<Value, &'static str> {
        let text = |name: &str| asked.get(name).map_or("", String::as_str);
        let (client, secret) = match authorization {
            Some(value) => {
                let basic = value.strip_prefix("Basic ").ok_or("invalid_client")?;
                let basic = BASE64_STANDARD.decode(basic).map_err(|_| "invalid_client")?;
                let basic = String::from_utf8(basic).unwrap();
                let (client, secret) = basic.split_once(':').ok_or("invalid_client")?;
                // RFC 6749, 2.3.1.
                let decoded = |part: &str| form(&format!("a={part}"))["a"].clone();
                (decoded(client), Some(decoded(secret)))
            }
            None => (text("client_id").to_owned(), asked.get("client_secret").cloned()),
        };
        if client != CLIENT || secret.as_deref() != self.ways.lock().secret {
            return Err("invalid_client");
        }
        match text("grant_type") {
            "authorization_code" => {
                // A code is good once.
                let grant = self.grants.lock().remove(text("code")).ok_or("invalid_grant")?;
                let digest =
                    ring::digest::digest(&ring::digest::SHA256, text("code_verifier").as_bytes());
                let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest);
                if challenge != grant.challenge || text("redirect_uri") != grant.redirect {
                    return Err("invalid_grant");
                }
                Ok(self.tokens(Some(&grant.nonce)))
            }
            "refresh_token" => {
                let refresh = text("refresh_token");
                self.refreshes.lock().remove(refresh).then_some(()).ok_or("invalid_grant")?;
                Ok(self.tokens(None))
            }
            _ => Err("unsupported_grant_type"),
        }
    }

    fn tokens(&self, nonce: Option<&str>) -> Value {
        let ways = self.ways.lock();
        let mut given = self.given.lock();
        let mut claims = json!({
            "iss": self.issuer,
            "sub": "1234",
            "aud": CLIENT,
            "exp": (now() + ways.lifetime).as_secs(),
            "nonce": nonce,
            "email": "ada@example.com",
            "jti": given.len(),
        });
        for (name, value) in ways.claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let id = format!(
            "{}.{}.canary-id-{}",
            part(&json!({ "alg": "none" })),
            part(&claims),
            given.len()
        );
        let access = format!("canary-access-{}", given.len());
        given.extend([id.clone(), access.clone()]);
        let mut tokens = json!({ "access_token": access, "token_type": "Bearer", "id_token": id });
        if ways.refreshes {
            let refresh = format!("canary-refresh-{}", given.len());
            given.push(refresh.clone());
            self.refreshes.lock().insert(refresh.clone());
            tokens["refresh_token"] = refresh.into();
        }
        tokens
    }
}
