//! Loopback ports for the processes of functions.
//!
//! A process may take long before it listens, because it installs packages first. Until then its port
//! looks free, and a request for its function would reach whoever takes it: the process of another `kip
//! dev`. So a port is claimed by a lock on a file of its number, which ends with whoever holds it.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

use rustix::fs::{FlockOperation, flock};

/// Ports are taken from here. Below the range that Linux and macOS take source ports from, so that
/// neither an outgoing connection nor a probe that connects to itself can hold one.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports looked at before giving up.
const ATTEMPTS: usize = 200;

/// A port that nobody else takes while this lives.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _claim: File,
}

impl Port {
    /// One that nobody listens on at this moment.
    pub(crate) fn free() -> io::Result<Self> {
        let folder = folder();
        fs::create_dir_all(&folder)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let number = fastrand::u16(PORTS);
            let claim = File::create(folder.join(number.to_string()))?;
            if flock(&claim, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
                Ok(_) => return Ok(Self { number, _claim: claim }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }
}

/// Of this user's `kip dev`s, whatever they run.
fn folder() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("kipper-ports-{user}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_no_source_port() {
        let port = Port::free().unwrap();
        assert!(PORTS.contains(&port.number));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).unwrap();
    }

    #[test]
    fn a_port_is_claimed_while_nobody_listens_on_it_yet() {
        let port = Port::free().unwrap();
        let again = File::create(folder().join(port.number.to_string())).unwrap();
        flock(&again, FlockOperation::NonBlockingLockExclusive).unwrap_err();
        drop(port);
        flock(&again, FlockOperation::NonBlockingLockExclusive).unwrap();
    }
}
