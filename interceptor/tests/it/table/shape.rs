//! What a message has to look like, as far as a row says it.

use super::transport::Transport;
use crate::support::Message;

/// Fields in order.
pub(super) type Pairs = Vec<(String, String)>;

pub(super) fn pairs(fields: &[(&str, &str)]) -> Pairs {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What is not said is not looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    status: Option<u16>,
    /// One of the data plane's own answers, with this reason.
    reason: Option<&'static str>,
    target: Option<&'static str>,
    body: Option<Vec<u8>>,
    fields: Vec<(&'static str, Value)>,
    trailers: Option<Pairs>,
}

/// What a field has to be.
#[derive(Clone, Debug)]
enum Value {
    /// This; `{scheme}` is the client's.
    Is(String),
    Missing,
    There,
    /// There, if the client came over TLS, else not.
    OverTls,
    Fits(fn(&str) -> bool),
    /// So many times.
    Times(usize),
}

/// An answer of the function's.
pub(super) fn status(status: u16) -> Shape {
    Shape { status: Some(status), ..Shape::default() }
}

/// 200 with this body.
pub(super) fn ok(body: impl AsRef<[u8]>) -> Shape {
    status(200).body(body)
}

/// An answer of the data plane's own.
pub(super) fn error(status: u16, reason: &'static str) -> Shape {
    Shape { status: Some(status), reason: Some(reason), ..Shape::default() }
}

/// A request as a pod sees it.
pub(super) fn target(target: &'static str) -> Shape {
    Shape { target: Some(target), ..Shape::default() }
}

impl Shape {
    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    fn value(mut self, name: &'static str, value: Value) -> Self {
        self.fields.push((name, value));
        self
    }

    pub(super) fn field(self, name: &'static str, value: &str) -> Self {
        self.value(name, Value::Is(value.to_owned()))
    }

    pub(super) fn no(self, name: &'static str) -> Self {
        self.value(name, Value::Missing)
    }

    pub(super) fn has(self, name: &'static str) -> Self {
        self.value(name, Value::There)
    }

    pub(super) fn over_tls(self, name: &'static str) -> Self {
        self.value(name, Value::OverTls)
    }

    pub(super) fn fits(self, name: &'static str, fits: fn(&str) -> bool) -> Self {
        self.value(name, Value::Fits(fits))
    }

    pub(super) fn count(self, name: &'static str, times: usize) -> Self {
        self.value(name, Value::Times(times))
    }

    pub(super) fn trailers(mut self, trailers: &[(&str, &str)]) -> Self {
        self.trailers = Some(pairs(trailers));
        self
    }

    /// Panics where `got` is different.
    pub(super) fn check(&self, got: &Message, over: Transport) {
        let shown = format!("{} {:?}, a body of {}", got.line, got.fields, got.body.len());
        if let Some(status) = self.status {
            assert_eq!(got.status(), status, "{shown}");
            if let Some(reason) = self.reason {
                got.assert_error(status, reason);
                let again = got.field("retry-after").is_some();
                assert_eq!(again, matches!(status, 503 | 504), "retry-after: {shown}");
            }
        }
        if let Some(target) = self.target {
            assert_eq!(got.target(), target);
        }
        for (name, value) in &self.fields {
            let times = got.fields.iter().filter(|(n, _)| n == name).count();
            let got = got.field(name);
            match value {
                Value::Times(expected) => assert_eq!(times, *expected, "{name}"),
                Value::Is(value) => {
                    let value = value.replace("{scheme}", over.scheme());
                    assert_eq!(got, Some(&*value), "{name}: {shown}");
                }
                Value::Missing => assert_eq!(got, None, "{name}"),
                Value::There => assert!(got.is_some(), "{name}: {shown}"),
                Value::OverTls => assert_eq!(got.is_some(), over.tls(), "{name}: {shown}"),
                Value::Fits(fits) => assert!(got.is_some_and(fits), "{name}: {got:?}"),
            }
        }
        if let Some(body) = &self.body {
            assert_eq!(got.body.len(), body.len(), "length of the body: {shown}");
            assert!(got.body == *body, "the body is another one: {shown}");
        }
        if let Some(trailers) = &self.trailers {
            assert_eq!(&got.trailers, trailers, "trailers");
        }
    }
}
