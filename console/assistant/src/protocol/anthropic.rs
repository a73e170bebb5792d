//! Anthropic's messages: `POST /v1/messages`, server-sent events of several types, `message_stop` at the end.
//!
//! Source: Anthropic's API reference, "Messages" and "Streaming messages". Types that are not known are
//! skipped, as it asks for.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::{
    decode::Framing,
    event::Stop,
    key::Key,
    prompt::Prompt,
    provider::{Progress, Provider, Trouble, count, names, parse, text, turns},
};

const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// The protocol wants a limit: enough for a large file.
const DEFAULT_LIMIT: u32 = 8192;

pub(super) struct Anthropic;

impl Provider for Anthropic {
    fn reply_path(&self) -> &'static str {
        "/v1/messages"
    }

    fn models_path(&self) -> &'static str {
        "/v1/models?limit=1000"
    }

    fn authorize(&self, headers: &mut HeaderMap, key: Option<&Key>) {
        headers.insert("anthropic-version", VERSION);
        if let Some(key) = key.and_then(|key| key.header("")) {
            headers.insert("x-api-key", key);
        }
    }

    fn body(&self, model: &str, prompt: &Prompt, max_reply_tokens: Option<u32>) -> Value {
        let mut body = json!({
            "model": model,
            "messages": turns(prompt),
            "max_tokens": max_reply_tokens.unwrap_or(DEFAULT_LIMIT),
            "stream": true,
        });
        if !prompt.system.is_empty() {
            body["system"] = prompt.system.as_str().into();
        }
        body
    }

    fn framing(&self) -> Framing {
        Framing::Events
    }

    fn read(&self, event: &str, progress: &mut Progress) -> Result<String, Trouble> {
        let event = parse(event)?;
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => {
                progress.is_understood = true;
                let usage = &mut progress.usage;
                count(&event, "/message/usage/output_tokens", &mut usage.output);
                usage.input = input(&event["message"]["usage"]).or(usage.input);
            }
            "content_block_start" => return Ok(text(&event, "/content_block/text")),
            "content_block_delta" => return Ok(text(&event, "/delta/text")),
            "message_delta" => {
                count(&event, "/usage/output_tokens", &mut progress.usage.output);
                if let Some(reason) = event.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    progress.stop = Some(match reason {
                        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
                        "refusal" => Stop::Refused,
                        _ => Stop::End,
                    });
                }
            }
            "message_stop" => {
                progress.is_over = true;
                progress.end();
            }
            _ => {}
        }
        Ok(String::new())
    }

    fn models(&self, list: &Value) -> Option<Vec<String>> {
        names(list.get("data")?, "id")
    }
}

/// What came from a cache, or went into one, was sent as well.
fn input(usage: &Value) -> Option<u64> {
    let input = usage.get("input_tokens")?.as_u64()?;
    let cached = ["cache_read_input_tokens", "cache_creation_input_tokens"];
    let cached = cached.into_iter().filter_map(|name| usage.get(name)?.as_u64());
    Some(cached.fold(input, u64::saturating_add))
}
