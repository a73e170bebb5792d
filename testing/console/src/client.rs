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
    token: String,
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
        Self { url: url.to_owned(), token: token.to_owned(), heard: Mutex::default() }
    }

    /// The same console, for somebody with another token.
    pub fn with_token(&self, token: &str) -> Self {
        let (url, token) = (self.url.clone(), token.to_owned());
        Self { url, token, heard: Mutex::default() }
    }

    /// What a page sends with every write.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        headers.insert("authorization", value(&format!("Bearer {}", self.token)));
        headers.insert("kipper-console", value("1"));
        headers.insert("origin", value(&self.url));
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
        self.raw(&self.url, method, path, self.headers(), bytes.into()).await
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
        let answer = self.open(&self.url, Method::GET, &path, headers, Bytes::new()).await;
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
