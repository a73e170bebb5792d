//! The protocols, by their words in settings.

mod anthropic;
mod ollama;
mod openai;

use crate::{provider::Provider, settings::Protocol};

/// What speaks it.
pub(crate) fn of(protocol: Protocol) -> &'static dyn Provider {
    match protocol {
        Protocol::OpenAi => &openai::OpenAi,
        Protocol::Anthropic => &anthropic::Anthropic,
        Protocol::Ollama => &ollama::Ollama,
    }
}

/// For `fuzz/`: reads bytes as a provider's reply, split at these places, and hands out its text.
pub fn read_all<'a>(protocol: Protocol, parts: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let provider = of(protocol);
    let mut decoder = crate::decode::Decoder::new(provider.framing());
    let mut progress = crate::provider::Progress::default();
    let mut reply = String::new();
    for part in parts {
        decoder.push(part);
        while let Some(event) = decoder.pull().ok()? {
            reply.push_str(&provider.read(&event, &mut progress).ok()?);
        }
    }
    Some(reply)
}
