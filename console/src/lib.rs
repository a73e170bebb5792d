//! The web console: one server, two backends.
//!
//! `server` takes a request, `origin` and `access` say whether it may be answered, `api` reads it and
//! calls the [`Backend`](backend::Backend): functions of a cluster, or those of `kip dev`, which
//! implements it itself. What both have in common stands here once: `model` is what the page gets,
//! `catalog` what it shows of every Function, `check` what is wrong with one, `merge` and `save` how a
//! form that somebody else changed meanwhile is saved. `assistant` is what the assistant was set up with. `assets` is the page itself, built by
//! `web/build` and embedded.
//!
//! On a cluster (`process`, `config`) users log in: `sessions` has the API server judge a token, and
//! `session` puts it into a cookie, `seal`ed. `login` leads them to an identity provider (`oidc`) and
//! back, and `renewals` asks that for the next token. On one machine the token of the run is enough.
//!
//! No value of a Secret leaves here, and none is kept: a backend hands names out, never values.

mod error;
pub mod model;

mod catalog;
pub mod check;
mod merge;

pub mod assistant;
pub mod backend;
mod save;

mod cookie;
mod seal;
mod session;

mod oidc;
mod renewals;
mod sessions;

mod access;
mod api;
mod assets;
mod login;
mod origin;
mod server;

pub mod config;
pub mod process;

pub use access::Access;
pub use error::{Conflict, Login, Problem, Reason};
pub use oidc::{Provider, ProviderError};
pub use origin::{PublicUrl, PublicUrlError};
pub use seal::{KeyError, SessionKey};
pub use server::{BoundConsole, Console};
pub use sessions::Sessions;
