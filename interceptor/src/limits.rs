//! What connections may do: their timers and sizes.

use std::time::{Duration, Instant};

use crate::message::section::HeadLimits;

/// Timers and sizes of downstream connections, whatever they speak.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// From the first byte of a head (or the accepted connection) to its end.
    pub(crate) header: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// A client that owes bytes, or does not take any, is looked at once per this time…
    pub(crate) grace: Duration,
    /// …and has to have moved this many bytes per second since the last look.
    pub(crate) min_rate: u64,
    /// A silent client is probed after this; zero = never.
    pub(crate) keep_alive: Duration,
    /// Sent bytes may stay unacknowledged this long; zero = as long as the kernel tries.
    pub(crate) user_timeout: Duration,
    /// Bounds of a request head.
    pub(crate) request_head: HeadLimits,
    /// Bounds of a pod's response head.
    pub(crate) response_head: HeadLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(180),
            grace: Duration::from_secs(20),
            min_rate: 500,
            keep_alive: Duration::from_secs(30),
            user_timeout: Duration::from_secs(60),
            request_head: HeadLimits { bytes: 32 << 10, fields: 100 },
            response_head: HeadLimits { bytes: 256 << 10, fields: 1000 },
        }
    }
}

impl Limits {
    /// Further away than any timer.
    pub(crate) fn far(&self) -> Instant {
        Instant::now() + Duration::from_secs(86_400)
    }
}

/// Timers and sizes of connections to pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodLimits {
    /// A pod has to accept a connection within this.
    pub(crate) connect: Duration,
    /// A silent pod is probed after this; zero = never.
    pub(crate) keep_alive: Duration,
    /// Longest header list of an HTTP/2 response, decoded.
    pub(crate) header_list: u32,
}

/// Bounds of downstream HTTP/2 connections (RFC 9113 section 10.5).
#[derive(Clone, Debug)]
pub(crate) struct Http2Limits {
    /// Streams open at a time on one connection.
    pub(crate) streams: u32,
    /// Longest header list, decoded.
    pub(crate) header_list: u32,
    /// What a client may send ahead on one stream.
    pub(crate) window: u32,
    /// Streams reset by the client before they were looked at; beyond it the connection ends.
    pub(crate) pending_resets: usize,
    /// A connection without open streams ends after this.
    pub(crate) idle: Duration,
    /// A connection is pinged this often…
    pub(crate) ping_interval: Duration,
    /// …and ends when no answer comes in time.
    pub(crate) ping_timeout: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 256,
            header_list: 32 << 10,
            window: 256 << 10,
            pending_resets: 50,
            idle: Duration::from_secs(180),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
