//! Why a server does not run.

use std::io;

/// What went wrong with a server of this run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A program that it needs is not there.
    #[error("{program} is not installed: {install}")]
    Missing {
        /// The program that was looked for.
        program: &'static str,
        /// The command that installs it.
        install: &'static str,
    },
    /// The server ended, or did not answer in time.
    #[error("{server} does not run:\n{log}")]
    Failed {
        /// Which server.
        server: &'static str,
        /// The end of what it and its guard wrote.
        log: String,
    },
    /// A client's command line program refused.
    #[error("{client} failed: {output}")]
    Client {
        /// Which program.
        client: &'static str,
        /// What it wrote.
        output: String,
    },
    /// No port could be bound.
    #[error("no free port found")]
    Port,
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The directory, a file, a process or a socket could not be had.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it was not possible.
        source: io::Error,
    },
}

impl ServerError {
    /// For `map_err`: keeps the cause beside what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
