//! Ollama's own protocol: `POST /api/chat`, a JSON object a line, `done` in the last one.
//!
//! Source: Ollama's `docs/api.md` and `api/types.go`. Its server cuts what does not fit the context from the
//! beginning, and says nothing: so the size is set for each prompt, and servers that know how (0.12.6 and
//! newer) are asked to fail instead.

use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::{Value, json};

use crate::{
    decode::Framing,
    event::Stop,
    key::Key,
    prompt::Prompt,
    provider::{Progress, Provider, Trouble, count, names, parse, text, turns_with_system},
};

/// Room for a reply where no limit is set.
const DEFAULT_LIMIT: u32 = 8192;
/// The smallest context that is asked for, and the largest.
const CONTEXT: [u64; 2] = [4096, 1 << 20];

pub(super) struct Ollama;

impl Provider for Ollama {
    fn reply_path(&self) -> &'static str {
        "/api/chat"
    }

    fn models_path(&self) -> &'static str {
        "/api/tags"
    }

    fn authorize(&self, headers: &mut HeaderMap, key: Option<&Key>) {
        headers.extend(key.and_then(|key| key.header("Bearer ")).map(|key| (AUTHORIZATION, key)));
    }

    fn body(&self, model: &str, prompt: &Prompt, max_reply_tokens: Option<u32>) -> Value {
        let most = max_reply_tokens.unwrap_or(DEFAULT_LIMIT);
        json!({
            "model": model,
            "messages": turns_with_system(prompt),
            "stream": true,
            "truncate": false,
            "shift": false,
            "options": {"num_ctx": context(prompt.tokens(), most), "num_predict": most},
        })
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn read(&self, event: &str, progress: &mut Progress) -> Result<String, Trouble> {
        let event = parse(event)?;
        progress.is_understood |= event.get("message").is_some();
        if event.get("done").and_then(Value::as_bool) == Some(true) {
            progress.is_understood = true;
            progress.is_over = true;
            count(&event, "/prompt_eval_count", &mut progress.usage.input);
            count(&event, "/eval_count", &mut progress.usage.output);
            let reason = event.get("done_reason").and_then(Value::as_str);
            progress.stop = Some(if reason == Some("length") { Stop::Length } else { Stop::End });
        }
        Ok(text(&event, "/message/content"))
    }

    fn models(&self, list: &Value) -> Option<Vec<String>> {
        names(list.get("models")?, "name")
    }
}

/// A context for so many tokens and a reply. With a quarter more, because tokens are estimated, and a power
/// of two, because the model is loaded again for every other size.
fn context(tokens: u64, most: u32) -> u64 {
    let [least, largest] = CONTEXT;
    (tokens + tokens / 4 + u64::from(most)).min(largest).next_power_of_two().max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_has_room_for_prompt_and_reply() {
        for (tokens, most, expected) in [
            (0, 16, 4096),
            (3000, 16, 4096),
            (3277, 16, 8192),
            (1000, 8192, 16384),
            (100_000, 8192, 262_144),
            (u64::MAX / 2, 8192, 1 << 20),
        ] {
            assert_eq!(context(tokens, most), expected, "{tokens}");
        }
    }
}
