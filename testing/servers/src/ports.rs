//! Ports for servers that may be down for a while.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    os::{linux::net::SocketAddrExt as _, unix::net},
    sync::{Mutex, PoisonError},
};

use crate::ServerError;

/// Below what the kernel gives to outgoing connections (32768 and up) and to node ports (30000 and
/// up): while a server is down nobody takes its port by chance, and no client that keeps trying is
/// connected to itself.
const PORTS: RangeInclusive<u16> = 15_000..=29_999;
/// How many ports are tried before there is none.
const TRIES: usize = 200;

/// What keeps every other test, in this process and in others, from the ports that were drawn here:
/// for each a socket of a name that can be bound once on this machine, until this process ends.
static DRAWN: Mutex<Vec<net::UnixDatagram>> = Mutex::new(Vec::new());

/// A loopback port that was free a moment ago, and that nobody else draws while this process lives.
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
        if let Ok(drawn) = draw(port)
            && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        {
            DRAWN.lock().unwrap_or_else(PoisonError::into_inner).push(drawn);
            return Ok((port, listener));
        }
    }
    Err(ServerError::Port)
}

/// An abstract name goes with its socket, and belongs to the network namespace as ports do
/// (`unix(7)`).
fn draw(port: u16) -> std::io::Result<net::UnixDatagram> {
    let name = format!("kipper-port-{port}");
    net::UnixDatagram::bind_addr(&net::SocketAddr::from_abstract_name(name)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_is_drawn_once() {
        let (port, listener) = listen().unwrap();
        drop(listener);
        draw(port).unwrap_err();
        assert_ne!(free_port().unwrap(), port);
    }
}
