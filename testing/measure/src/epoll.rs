//! A thin epoll: the load generator and the backend must cost less than what they measure.
//!
//! Level-triggered, one token per socket. Timeouts have nanosecond resolution (`epoll_pwait2`), so
//! that an open-loop schedule is not rounded to milliseconds.

use std::{io, os::fd::AsFd, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{Timespec, epoll},
    io::Errno,
};

/// Events taken per wait. More stay in the kernel until the next one.
const EVENTS_PER_WAIT: usize = 256;

pub(crate) struct Epoll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_PER_WAIT) })
    }

    /// Reports `token` whenever `source` is readable or closed. Dropping the source removes it.
    pub(crate) fn add(&self, source: impl AsFd, token: u32) -> io::Result<()> {
        let data = epoll::EventData::new_u64(u64::from(token));
        Ok(epoll::add(&self.epoll, source, data, epoll::EventFlags::IN)?)
    }

    /// Reports `token` from now on when `source` is writable, or again when it is readable.
    pub(crate) fn turn(&self, source: impl AsFd, token: u32, to_write: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(u64::from(token));
        let flags = if to_write { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, source, data, flags)?)
    }

    /// Fills `ready` with the tokens that became ready before `timeout`; `None` waits for one.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<u32>,
    ) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let events = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, events, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Every token was given to `add` as a `u32`.
        ready.extend(self.events.iter().filter_map(|event| u32::try_from(event.data.u64()).ok()));
        Ok(())
    }
}
