//! What listens on this machine only, where pods and the API server reach it.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::names::BRIDGE;

/// A port of the loopback, where pods reach it.
pub async fn on_bridge(port: u16) -> SocketAddr {
    let listener = TcpListener::bind((BRIDGE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Either side may leave; the other then sees it leave.
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}
