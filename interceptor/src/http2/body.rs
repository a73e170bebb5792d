//! Bodies of responses to HTTP/2 clients.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::bridge::Bridge;
use crate::function::Lease;

/// What a stream keeps alive until its response has been sent.
pub(super) type Active = Box<dyn std::any::Any + Send>;

/// A response body and what is in flight while it lasts.
pub(super) struct ResponseBody {
    source: Source,
    _active: Active,
}

enum Source {
    /// An answer of this proxy's own.
    Own(Option<Bytes>),
    /// From a pod that speaks HTTP/1.1.
    Bridge(Box<Bridge>),
    /// From a pod that speaks HTTP/2; the lease ends with the body.
    H2(Incoming, #[allow(dead_code, reason = "held for its drop")] Lease),
}

impl ResponseBody {
    pub(super) fn own(text: String, active: Active) -> Self {
        Self { source: Source::Own(Some(text.into())), _active: active }
    }

    pub(super) fn bridge(bridge: Bridge, active: Active) -> Self {
        Self { source: Source::Bridge(Box::new(bridge)), _active: active }
    }

    pub(super) fn h2(body: Incoming, lease: Lease, active: Active) -> Self {
        Self { source: Source::H2(body, lease), _active: active }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match &mut self.get_mut().source {
            Source::Own(text) => Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            Source::Bridge(bridge) => bridge.poll_frame(cx),
            Source::H2(body, _) => {
                Pin::new(body).poll_frame(cx).map(|f| f.map(|f| f.map_err(std::io::Error::other)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(text) => text.is_none(),
            Source::Bridge(bridge) => bridge.is_end(),
            Source::H2(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64)),
            Source::Bridge(_) => SizeHint::default(),
            Source::H2(body, _) => body.size_hint(),
        }
    }
}
