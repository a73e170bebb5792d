//! The processes of a function: what they are started with, how many there are, how each one lives.

pub(crate) mod runtime;

pub(crate) mod launch;

pub(crate) mod output;

pub(crate) mod port;

pub(crate) mod process;

pub(crate) mod rollout;
pub(crate) mod wake;

pub(crate) mod cron;
pub(crate) mod fleet;
