//! The shapes of load that proxies are compared by: what is sent, who can take it, and what CPU per
//! request against each peer must reach.

use std::fmt;

use clap::ValueEnum;
use kipper_measure::{
    figures::Goal,
    load::{Direction, Method},
};

use crate::{
    measure::{Http1, Load},
    peer::PeerKind::{self, Envoy, HaproxyHttp, HaproxyTcp, Kipper, Nginx},
};

/// Body of a transfer: 1 GB, or what shows in an instant that transfers work.
const TRANSFER_BYTES: usize = 1 << 30;
const QUICK_TRANSFER_BYTES: usize = 16 << 20;
/// Connections of the shapes that are not about their number.
const CONNECTIONS: usize = 32;
const POST_BYTES: u32 = 1_024;

/// A shape of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum ShapeKind {
    /// 16 keep-alive connections
    C16,
    /// 32 keep-alive connections
    C32,
    /// 128 keep-alive connections
    C128,
    /// 128 keep-alive connections at 70 % of the rate that nginx reached with them: latency
    OpenLoop,
    /// A connection for every request, 32 at a time
    Once,
    /// POSTs of 1 KB over 32 keep-alive connections
    Post,
    /// HTTP/1.1 over 32 TLS connections
    Tls,
    /// HTTP/2 over TLS: 8 connections with 16 streams each
    #[value(name = "h2_8x16")]
    H2Eight,
    /// HTTP/2 over TLS: 64 connections with one stream each
    #[value(name = "h2_64x1")]
    H2SixtyFour,
    /// 1 GB from the backend
    Down,
    /// 1 GB to the backend
    Up,
}

impl fmt::Display for ShapeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl ShapeKind {
    /// What is sent; of the open loop as if it were a closed one.
    pub(super) fn load(self, quick: bool) -> Load {
        let bytes = if quick { QUICK_TRANSFER_BYTES } else { TRANSFER_BYTES };
        match self {
            Self::C16 => Load::Http1(Http1::keep_alive(16)),
            Self::C32 => Load::Http1(Http1::keep_alive(32)),
            Self::C128 | Self::OpenLoop => Load::Http1(Http1::keep_alive(128)),
            Self::Once => Load::Http1(Http1 { once: true, ..Http1::keep_alive(CONNECTIONS) }),
            Self::Post => Load::Http1(Http1 {
                method: Method::Post,
                body_bytes: POST_BYTES,
                ..Http1::keep_alive(CONNECTIONS)
            }),
            Self::Tls => Load::Tls { connections: CONNECTIONS, streams: None },
            Self::H2Eight => Load::Tls { connections: 8, streams: Some(16) },
            Self::H2SixtyFour => Load::Tls { connections: 64, streams: Some(1) },
            Self::Down => Load::Transfer { direction: Direction::Down, bytes },
            Self::Up => Load::Transfer { direction: Direction::Up, bytes },
        }
    }

    /// Whether it says something about this peer. The bare hyper proxies and the backend alone are
    /// there for what a kept connection costs.
    pub(super) fn is_for(self, peer: PeerKind) -> bool {
        match self {
            Self::C16 | Self::C32 | Self::C128 => true,
            Self::OpenLoop => peer.is_http_proxy(),
            Self::Once | Self::Post | Self::Down | Self::Up => {
                matches!(peer, Kipper | Nginx | HaproxyHttp | HaproxyTcp | Envoy)
            }
            Self::Tls | Self::H2Eight | Self::H2SixtyFour => peer.ends_tls(),
        }
    }

    /// What CPU per request against each peer must be.
    pub(super) fn cpu_goals(self) -> &'static [(PeerKind, Goal)] {
        match self {
            Self::C16 | Self::C128 => &[
                (Nginx, Goal::AtMost(0.9)),
                (HaproxyHttp, Goal::AtMost(0.85)),
                (HaproxyTcp, Goal::AtMost(1.15)),
                (Envoy, Goal::AtMost(0.25)),
            ],
            Self::Once => &[(Nginx, Goal::AtMost(1.0)), (HaproxyHttp, Goal::AtMost(1.0))],
            Self::H2Eight => &[(HaproxyHttp, Goal::AtMost(1.0)), (Nginx, Goal::AtMost(0.8))],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_for_peers_that_take_part() {
        for shape in ShapeKind::value_variants() {
            assert!(shape.is_for(Kipper), "{shape}");
            assert!(shape.cpu_goals().iter().all(|(peer, _)| shape.is_for(*peer)), "{shape}");
        }
    }
}
