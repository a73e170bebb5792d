//! One request, and the ways to answer it.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stream::{Socket, Stream};

/// Most header fields of a request.
const MAX_FIELDS: usize = 32;

/// A request that waits for its answer. Dropped, its connection closes.
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its body; null where it has none.
    pub body: Value,
    fields: Vec<(String, String)>,
    socket: Box<dyn Socket>,
}

/// Reads a request with its body; `None` from a client that goes before.
pub(crate) async fn read(mut socket: Box<dyn Socket>) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(head) = request.parse(&bytes).unwrap() else { continue };
        let method = request.method.unwrap().to_owned();
        let path = request.path.unwrap().to_owned();
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let fields = request.headers.iter();
        let fields: Vec<_> =
            fields.map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect();
        let length = fields.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        while bytes.len() < head + length {
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let body = serde_json::from_slice(&bytes[head..]).unwrap_or_default();
        return Some(Asked { method, path, body, fields, socket });
    }
}

impl Asked {
    /// The value of a header field; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(field, _)| field == name);
        field.map_or("", |(_, value)| value.as_str())
    }

    /// Answers with a whole body.
    pub async fn answer(self, status: u16, fields: &[(&str, &str)], body: &str) {
        let length = body.len().to_string();
        let fields = [fields, &[("content-length", &length), ("connection", "close")]].concat();
        self.raw(head(status, &fields) + body).await;
    }

    /// Answers with JSON.
    pub async fn json(self, status: u16, body: &Value) {
        self.answer(status, &[("content-type", "application/json")], &body.to_string()).await;
    }

    /// Begins an answer whose body follows.
    pub async fn stream(self, content_type: &str) -> Stream {
        let fields = [("content-type", content_type), ("transfer-encoding", "chunked")];
        let mut socket = self.socket;
        // A client that is gone shows with the next part.
        let _ = socket.write_all(head(200, &fields).as_bytes()).await;
        let _ = socket.flush().await;
        Stream(socket)
    }

    /// Answers with these bytes and closes.
    pub async fn raw(mut self, bytes: impl AsRef<[u8]>) {
        // A client may go before it has all.
        let _ = self.socket.write_all(bytes.as_ref()).await;
        let _ = self.socket.shutdown().await;
        let mut rest = [0; 1024];
        while matches!(self.socket.read(&mut rest).await, Ok(read) if read > 0) {}
    }

    /// Never answers; returns when the client has closed its connection.
    pub async fn closed(self) {
        Stream(self.socket).closed().await;
    }
}

fn head(status: u16, fields: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Test\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}
