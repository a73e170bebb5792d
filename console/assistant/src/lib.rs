//! The assistant beside the editor: what a model is asked about a function, and how its provider is spoken to.
//!
//! A [`Request`] is checked ([`limits`]) and becomes a [`Prompt`], of which [`Knows`] is the part that the
//! page shows. An [`Assistant`] sends it to one endpoint and hands out [`Event`]s while the reply arrives;
//! [`reply`] finds the code in it.
//!
//! Three protocols stand behind one trait (`provider`): OpenAI's chat completions, which most servers speak,
//! Anthropic's messages and Ollama's own (`protocol`). None of them knows how bytes come: `call` makes one
//! HTTP exchange, with addresses that may be called (`address`), no redirects and bounds for everything;
//! `decode` finds the events in the bytes; `stream` is the life of one reply. Dropping a reply closes its
//! connection. What a provider says instead becomes a sentence in `refusal`.
//!
//! Knows no Kubernetes and nothing of who uses it. It never sees the value of a variable or of a secret, and
//! the key of the provider goes into one header only ([`Key`]).
#![warn(missing_docs)]

mod event;
mod request;

pub mod limits;

mod knows;
mod tokens;

mod prompt;

pub mod reply;

mod address;
mod decode;
mod key;
mod settings;

mod refusal;

mod provider;

mod protocol;

mod call;

mod stream;

mod assistant;

/// What reads bytes of strangers and is private otherwise, for `fuzz/`.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::{
        decode::{Decoder, Framing, TooLarge},
        protocol::read_all,
    };
}

pub use assistant::{Assistant, Tried};
pub use event::{Code, Event, Failure, Stop, Usage};
pub use key::{Key, KeyError};
pub use knows::Knows;
pub use prompt::{Prompt, Turn, estimate};
pub use request::{Attachment, Binding, Draft, Message, Request, Role};
pub use settings::{BaseUrl, BaseUrlError, Bounds, Protocol, Settings};
pub use stream::Reply;
