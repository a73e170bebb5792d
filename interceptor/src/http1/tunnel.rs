//! An upgraded connection (WebSocket and the like): bytes both ways until both sides are done.

use std::io;

use tokio::io::copy_bidirectional;

use crate::{
    upstream::http1::Connection,
    wire::{
        buffer::Buffer,
        io::{Io, Rewound},
    },
};

/// Copies both ways; what was read beyond the heads goes first. Returns the bytes moved from and
/// to the client. A drain lets it run until the worker's runtime ends.
pub(super) async fn run(
    io: &mut Io,
    input: &mut Buffer,
    pod: Connection,
) -> io::Result<(u64, u64)> {
    let mut down: Rewound<&mut Io> = Rewound { head: std::mem::take(input), inner: io };
    let mut up = Rewound { head: pod.input, inner: pod.io };
    copy_bidirectional(&mut down, &mut up).await
}
