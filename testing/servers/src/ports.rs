//! Ports for servers that may be down for a while.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
};

use crate::ServerError;

/// Below what the kernel gives to outgoing connections (32768 and up) and to node ports (30000 and
/// up): while a server is down nobody takes its port by chance, and no client that keeps trying is
/// connected to itself.
const PORTS: RangeInclusive<u16> = 15_000..=29_999;
/// How many ports are tried before there is none.
const TRIES: usize = 200;

/// A loopback port that was free a moment ago. Another process may take it meanwhile, so whoever
/// binds it starts over with another one when that fails.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16, ServerError> {
    listen().map(|(port, _)| port)
}

/// The same as an address.
///
/// # Errors
/// When none is found.
pub fn free_address() -> Result<SocketAddr, ServerError> {
    free_port().map(|port| (Ipv4Addr::LOCALHOST, port).into())
}

/// The same, still bound.
pub(crate) fn listen() -> Result<(u16, TcpListener), ServerError> {
    for _ in 0..TRIES {
        let port = fastrand::u16(PORTS);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok((port, listener));
        }
    }
    Err(ServerError::Port)
}
