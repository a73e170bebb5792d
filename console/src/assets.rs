//! The page: what `web/build` made, embedded. Without it there is one page that says so.

use std::fmt::Write as _;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What is replaced by the nonce of an answer.
const PLACEHOLDER: &str = "__NONCE__";
const PAGE: &str = "index.html";
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><title>Kipper console</title>\
    <p>This build of kip has no console: the page was not built. Run <code>console/web/build</code> \
    and build kip again.</p></html>";

/// Path and bytes, by path.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

fn file(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
}

/// Is the page in this build?
pub(crate) fn are_built() -> bool {
    file(PAGE).is_some()
}

/// The file of this path; the page itself for every path that is none, because the page has its own.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Response {
    let path = path.trim_start_matches('/');
    if path.starts_with("assets/") {
        return asset(path, headers).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response());
    }
    page()
}

/// A file whose name has a digest of its content.
fn asset(path: &str, headers: &HeaderMap) -> Option<Response> {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes_brotli =
        accepted.is_some_and(|value| value.split(',').any(|name| name.trim() == "br"));
    let compressed = file(&format!("{path}.br")).filter(|_| takes_brotli);
    let is_compressed = compressed.is_some();
    let bytes = compressed.or_else(|| file(path))?;
    let mut response = Response::new(Body::from(Bytes::from_static(bytes)));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    fields.insert(CACHE_CONTROL, forever);
    if is_compressed {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    Some(response)
}

fn page() -> Response {
    let nonce = nonce();
    let text = file(PAGE).map_or_else(
        || NOT_BUILT.to_owned(),
        |page| String::from_utf8_lossy(page).replace(PLACEHOLDER, &nonce),
    );
    let mut response = Response::new(Body::from(text));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Hexadecimal, so this is a header's value.
    if let Ok(policy) = HeaderValue::from_str(&policy(&nonce)) {
        fields.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Nothing but what the console itself serves (CSP level 3, Trusted Types).
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; \
         img-src 'self' data:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'none'; require-trusted-types-for 'script'; \
         trusted-types svelte-trusted-html"
    )
}

/// What every answer carries, whatever it is.
pub(crate) fn secure(fields: &mut HeaderMap) {
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    let resource = HeaderName::from_static("cross-origin-resource-policy");
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(opener, HeaderValue::from_static("same-origin"));
    fields.insert(resource, HeaderValue::from_static("same-origin"));
}

fn nonce() -> String {
    let mut bytes = [0; 16];
    // Without random numbers there is none, and styles that need it are left out.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}
