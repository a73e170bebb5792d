//! A page's side of the API, without a page.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri};
use kipper_client::invoke::{self, Answer, Gateway, Request};
use serde_json::Value;

/// Longest wait for an answer or a line: beyond every cold start.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A console that runs.
pub struct Console {
    url: String,
    /// Scheme and host under which it answers.
    origin: String,
    /// Name and value of the field that says who asks.
    credentials: (&'static str, String),
    /// Everything that was answered, to be searched for what must not be in it.
    heard: Mutex<Vec<u8>>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body; null where there is none.
    pub body: Value,
}

/// The stream of changes.
pub struct Stream {
    answer: Answer,
    begun: Vec<u8>,
}

impl Console {
    /// By the URL that was printed when it started.
    pub fn new(printed: &str) -> Self {
        let at = printed.find("http://").expect("a URL");
        let (url, token) = printed[at..].trim_end().split_once("/#token=").expect("a token");
        Self::of(url, url, bearer(token))
    }

    fn of(url: &str, origin: &str, credentials: (&'static str, String)) -> Self {
        let (url, origin) = (url.to_owned(), origin.to_owned());
        Self { url, origin, credentials, heard: Mutex::default() }
    }

    /// That of a cluster at `url`, which answers as `origin`: logs in with a token of the cluster.
    pub async fn log_in(url: &str, origin: &str, token: &str) -> Self {
        let nobody = Self::of(url, origin, ("cookie", String::new()));
        let token = serde_json::json!({ "token": token });
        let reply = nobody.send(Method::POST, "/api/v1/session", &token).await;
        assert_eq!(reply.status, 204, "{reply:?}");
        let set = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
        let kept = set.filter(|text| !text.contains("Max-Age=0"));
        let cookies: Vec<&str> = kept.map(|text| text.split(';').next().unwrap()).collect();
        Self::of(url, origin, ("cookie", cookies.join("; ")))
    }

    /// The same console, for somebody with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self::of(&self.url, &self.origin, bearer(token))
    }

    /// What a page sends with every write.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let (name, credentials) = &self.credentials;
        headers.insert(*name, value(credentials));
        headers.insert("kipper-console", value("1"));
        headers.insert("origin", value(&self.origin));
        headers.insert("sec-fetch-site", value("same-origin"));
        headers
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &Value::Null).await
    }

    /// Writes.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Reply {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        self.raw(&self.origin, method, path, self.headers(), bytes.into()).await
    }

    /// Whatever somebody may send; `host` is the URL whose host it names.
    pub async fn raw(
        &self,
        host: &str,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Reply {
        let mut answer = self.open(host, method, path, headers, body).await;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        self.heard.lock().unwrap().extend_from_slice(&bytes);
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        let body = if bytes.is_empty() { Value::Null } else { body };
        Reply { status: answer.status.as_u16(), headers: answer.headers.clone(), body }
    }

    async fn open(
        &self,
        host: &str,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Answer {
        let interceptor: Uri = self.url.parse().unwrap();
        let gateway = Gateway { interceptor: Some(interceptor) };
        let request = Request { headers, body, timeout: TIMEOUT, ..Request::new(method, path) };
        invoke::send(&gateway, host, &request).await.unwrap()
    }

    /// Hears of changes.
    pub async fn stream(&self, query: &str) -> Stream {
        let path = format!("/api/v1/stream?{query}");
        let headers = self.headers();
        let answer = self.open(&self.origin, Method::GET, &path, headers, Bytes::new()).await;
        assert_eq!(answer.status, 200);
        Stream { answer, begun: Vec::new() }
    }

    /// Begins to hear what this is answered with, a line for each event.
    pub async fn events(&self, method: Method, path: &str, body: &Value) -> Stream {
        let body = serde_json::to_vec(body).unwrap().into();
        let answer = self.open(&self.origin, method, path, self.headers(), body).await;
        assert_eq!(answer.status, 200);
        Stream { answer, begun: Vec::new() }
    }

    /// The URL of the console.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Was this text in any answer so far?
    pub fn has_heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

impl Stream {
    /// The next update that satisfies the condition.
    pub async fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let update = tokio::time::timeout(TIMEOUT, self.next()).await;
            let update = update.unwrap_or_else(|_| panic!("no update: {what}"));
            if is_it(&update) {
                return update;
            }
        }
    }

    /// Waits for its end, whatever comes before.
    pub async fn end(mut self) {
        let ended = async { while self.answer.chunk().await.unwrap().is_some() {} };
        tokio::time::timeout(TIMEOUT, ended).await.expect("the stream ends");
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                if line.len() > 1 {
                    return serde_json::from_slice(&line).unwrap();
                }
                continue;
            }
            let chunk = self.answer.chunk().await.unwrap().expect("the stream goes on");
            self.begun.extend_from_slice(&chunk);
        }
    }
}
