//! A header list of HTTP/2, read as a request's head and sent on to a pod that speaks HTTP/1.1.

use http::{HeaderName, HeaderValue, Method, Request, Uri, request::Parts};
use kipper_interceptor::fuzzing::http2_head;

use crate::head::{MOST_FIELDS, forwarded};

/// Lines of `name: value`, pseudo-header fields among them. The first byte says whether the stream ends with it.
pub fn header_list(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let Some(parts) = parts(data) else { return };
    let Ok(head) = http2_head(&parts, first & 1 == 1, MOST_FIELDS) else { return };
    forwarded(&head);
}

/// What the h2 crate makes of a list: names and values that it lets through.
fn parts(data: &[u8]) -> Option<Parts> {
    let mut request = Request::new(());
    let (mut authority, mut path) = (None, None);
    for line in data.split(|b| *b == b'\n') {
        let colon = 1 + line.get(1..)?.iter().position(|b| *b == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        match name {
            b":method" => *request.method_mut() = Method::from_bytes(value).ok()?,
            b":authority" => authority = Some(value),
            b":path" => path = Some(value),
            name => {
                let name = HeaderName::from_lowercase(name).ok()?;
                request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
            }
        }
    }
    let mut uri = Uri::builder();
    if let Some(authority) = authority {
        uri = uri.scheme("http").authority(authority);
    }
    *request.uri_mut() = uri.path_and_query(path?).build().ok()?;
    Some(request.into_parts().0)
}
