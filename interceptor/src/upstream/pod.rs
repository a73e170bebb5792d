//! What an exchange needs of a pod, whichever protocol it speaks.

use std::task::{Context, Poll};

use crate::{
    error::ProxyError,
    message::{body::BodySink, head::ResponseHead, section::HeadLimits},
};

/// How a pod failed an exchange.
#[derive(Debug)]
pub(crate) enum PodError {
    /// Nothing of the request was processed: it may go elsewhere.
    NotSent,
    /// It may have been processed.
    Failed(ProxyError),
}

/// One request on its way to a pod, and the response on its way back. As a sink it takes the
/// request's body.
pub(crate) trait Pod: BodySink {
    /// Bytes of the request that are not written yet.
    fn unsent(&self) -> usize;

    /// Bytes of both directions that are in memory.
    fn kept(&mut self) -> usize;

    /// Writes what is to be written. After [`PodError::Failed`] the pod takes nothing more of the
    /// request, but it may have answered.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PodError>>;

    /// The next response head, interim ones too: its status, once `take` has seen it. Reads at most
    /// `most` bytes at a time. One that is longer than the budget's floor waits while that is all there is, and
    /// wakes nobody.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: HeadLimits,
        to_head: bool,
        most: usize,
        take: impl FnMut(&ResponseHead<'_>) -> Result<(), ProxyError>,
    ) -> Poll<Result<u16, PodError>>;

    /// Moves what was read of the response's body to `sink`. True at its end.
    fn transfer(&mut self, sink: &mut impl BodySink) -> Result<bool, ProxyError>;

    /// Reads more of the response's body: `most` bytes, or what an HTTP/2 frame holds.
    fn poll_more(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<(), ProxyError>>;

    /// May the connection take another request, now that the response is over?
    fn is_reusable(&self) -> bool;
}
