//! An upgraded connection (WebSocket and the like): bytes both ways until both sides are done.

use std::io;

use tokio::io::copy_bidirectional;

use super::{
    connection::Connection,
    io::{Io, Rewound},
};
use crate::upstream;

/// Copies both ways; what was read beyond the heads goes first. Returns the bytes moved from and
/// to the client. A drain lets it run until the
/// worker's runtime ends.
pub(crate) async fn run(
    connection: &mut Connection,
    up: upstream::Connection,
) -> io::Result<(u64, u64)> {
    let mut down: Rewound<&mut Io> =
        Rewound { head: std::mem::take(&mut connection.input), inner: &mut connection.io };
    let mut up = Rewound { head: up.input, inner: up.io };
    copy_bidirectional(&mut down, &mut up).await
}
