//! OpenAI's chat completions, as most servers speak them: `POST /chat/completions`, server-sent events,
//! `[DONE]` at the end.
//!
//! Source: OpenAI's API reference, "Chat". Servers differ: the usage chunk has an empty list of choices or
//! `null`, some know `max_tokens` only, some end without `[DONE]`.

use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::{Value, json};

use crate::{
    decode::Framing,
    event::Stop,
    key::Key,
    prompt::Prompt,
    provider::{Progress, Provider, Trouble, count, names, parse, text, turns_with_system},
    refusal::Said,
};

const LIMIT: &str = "max_completion_tokens";
const OLDER_LIMIT: &str = "max_tokens";

pub(super) struct OpenAi;

impl Provider for OpenAi {
    fn reply_path(&self) -> &'static str {
        "/chat/completions"
    }

    fn models_path(&self) -> &'static str {
        "/models"
    }

    fn authorize(&self, headers: &mut HeaderMap, key: Option<&Key>) {
        headers.extend(key.and_then(|key| key.header("Bearer ")).map(|key| (AUTHORIZATION, key)));
    }

    fn body(&self, model: &str, prompt: &Prompt, max_reply_tokens: Option<u32>) -> Value {
        let mut body = json!({
            "model": model,
            "messages": turns_with_system(prompt),
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if let Some(most) = max_reply_tokens {
            body[LIMIT] = most.into();
        }
        body
    }

    fn older(&self, body: &Value, said: &Said) -> Option<Value> {
        if !said.names(LIMIT) {
            return None;
        }
        let mut body = body.clone();
        let most = body.as_object_mut()?.remove(LIMIT)?;
        body[OLDER_LIMIT] = most;
        Some(body)
    }

    fn framing(&self) -> Framing {
        Framing::Events
    }

    fn read(&self, event: &str, progress: &mut Progress) -> Result<String, Trouble> {
        if event.trim() == "[DONE]" {
            progress.is_understood = true;
            progress.is_over = true;
            progress.end();
            return Ok(String::new());
        }
        let event = parse(event)?;
        progress.is_understood |= event.get("choices").is_some();
        count(&event, "/usage/prompt_tokens", &mut progress.usage.input);
        count(&event, "/usage/completion_tokens", &mut progress.usage.output);
        let refusal = text(&event, "/choices/0/delta/refusal");
        progress.is_refusal |= !refusal.is_empty();
        match event.pointer("/choices/0/finish_reason").and_then(Value::as_str) {
            Some("length") => progress.stop = Some(Stop::Length),
            Some("content_filter") => progress.stop = Some(Stop::Refused),
            // Some servers give a reason with every event.
            None | Some("" | "null") => {}
            // After the words of a refusal it ends as usual.
            Some(_) => progress.end(),
        }
        Ok(text(&event, "/choices/0/delta/content") + &refusal)
    }

    fn models(&self, list: &Value) -> Option<Vec<String>> {
        names(list.get("data").unwrap_or(list), "id")
    }
}
