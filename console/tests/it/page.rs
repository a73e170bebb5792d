//! A page of the console that is served to browsers under [`URL`].

use std::net::{Ipv4Addr, SocketAddr};

use http::{HeaderMap, Method, header::SET_COOKIE};
use kipper_api_server::{ApiServer, Asked};
use kipper_client::{Server, invoke::Gateway};
use kipper_console::{Access, Console as Served, Provider, SessionKey, Sessions};
use kipper_console_contract::{Console, Reply};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const URL: &str = "https://console.example";
pub(crate) const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// A page of the console.
pub(crate) struct Page {
    pub(crate) console: Console,
    _stop: DropGuard,
}

impl Page {
    /// Of the cluster with this API server, and this identity provider if any.
    pub(crate) async fn start(api: &ApiServer, provider: Option<Provider>) -> Self {
        let server = Server::at(api.url().parse().unwrap());
        let key = SessionKey::new(&[7; 32]).unwrap();
        let sessions = Sessions::new(server, key, "kipper-system", Gateway::default());
        let access = Access::sessions(sessions.with_provider(provider));
        let served = Served::new(access).under(URL.parse().unwrap());
        let bound = served.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let console = Console::new(&format!("http://{}/#token=no-session", bound.address()));
        let stop = CancellationToken::new();
        tokio::spawn(bound.serve(stop.clone()));
        Self { console, _stop: stop.drop_guard() }
    }

    /// A request with these cookies.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        cookies: &str,
        body: Value,
    ) -> Reply {
        let mut headers = self.console.headers();
        headers.insert("origin", URL.parse().unwrap());
        if !cookies.is_empty() {
            headers.insert("cookie", cookies.parse().unwrap());
        }
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        let path = format!("/api/v1/{path}");
        self.console.raw(URL, method, &path, headers, body.into()).await
    }

    /// Where a browser with these cookies goes to.
    pub(crate) async fn visit(&self, path: &str, cookies: &str) -> Reply {
        let mut headers = HeaderMap::new();
        if !cookies.is_empty() {
            headers.insert("cookie", cookies.parse().unwrap());
        }
        self.console.raw(URL, Method::GET, path, headers, Vec::new().into()).await
    }

    pub(crate) async fn get(&self, path: &str, cookies: &str) -> Reply {
        self.send(Method::GET, path, cookies, Value::Null).await
    }

    /// Logs in; `judge` answers the API server's review.
    pub(crate) async fn login(&self, api: &mut ApiServer, token: &str, judge: fn(Asked)) -> Reply {
        let login = self.send(Method::POST, "session", "", json!({ "token": token }));
        let (reply, ()) = tokio::join!(login, reviewed(api, token, judge));
        reply
    }
}

pub(crate) async fn reviewed(api: &mut ApiServer, token: &str, judge: fn(Asked)) {
    let asked = api.asked().await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", REVIEWS));
    assert_eq!(asked.authorization, format!("Bearer {token}"));
    judge(asked);
}

pub(crate) fn is_ada(asked: Asked) {
    asked.answer(201, r#"{"metadata":{},"status":{"userInfo":{"username":"ada"}}}"#);
}

pub(crate) fn is_nobody(asked: Asked) {
    asked.answer(401, r#"{"kind":"Status","status":"Failure","reason":"Unauthorized","code":401}"#);
}

/// What a browser sends after this answer.
pub(crate) fn cookies(headers: &HeaderMap) -> String {
    let set = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    let kept = set.filter(|text| !text.contains("Max-Age=0"));
    kept.map(|text| text.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}
