//! What the protocols say in good order: the parts of a reply, and a list of models.

use serde_json::{Value, json};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama's own.
    Ollama,
}

/// Why a model ends its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has said everything.
    Whole,
    /// A limit of tokens.
    Length,
    /// It refused.
    Refused,
}

impl Words {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Ollama];

    /// Content type of a reply.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Anthropic => "text/event-stream; charset=utf-8",
            Self::Ollama => "application/x-ndjson",
        }
    }

    /// What comes before the text: 12 tokens were sent.
    pub fn begin(self) -> String {
        match self {
            Self::OpenAi => event(&json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]})),
            Self::Anthropic => [
                typed(&json!({"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "usage": {"input_tokens": 12, "output_tokens": 1}}})),
                typed(&json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
                typed(&json!({"type": "ping"})),
            ]
            .concat(),
            Self::Ollama => String::new(),
        }
    }

    /// More text.
    pub fn text(self, text: &str) -> String {
        match self {
            Self::OpenAi => event(
                &json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}),
            ),
            Self::Anthropic => typed(
                &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            ),
            Self::Ollama => line(
                &json!({"model": "m", "message": {"role": "assistant", "content": text}, "done": false}),
            ),
        }
    }

    /// The end of a reply of 34 tokens. Ollama has no word for a refusal.
    pub fn end(self, end: End) -> String {
        match self {
            Self::OpenAi => {
                let reason = match end {
                    End::Whole => "stop",
                    End::Length => "length",
                    End::Refused => "content_filter",
                };
                [
                    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})),
                    event(&json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}})),
                    "data: [DONE]\n\n".to_owned(),
                ]
                .concat()
            }
            Self::Anthropic => {
                let reason = match end {
                    End::Whole => "end_turn",
                    End::Length => "max_tokens",
                    End::Refused => "refusal",
                };
                [
                    typed(&json!({"type": "content_block_stop", "index": 0})),
                    typed(&json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 34}})),
                    typed(&json!({"type": "message_stop"})),
                ]
                .concat()
            }
            Self::Ollama => {
                let reason = if end == End::Length { "length" } else { "stop" };
                line(
                    &json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": reason, "prompt_eval_count": 12, "eval_count": 34}),
                )
            }
        }
    }

    /// An error in the middle of a reply.
    pub fn error(self, message: &str) -> String {
        match self {
            Self::OpenAi => {
                event(&json!({"error": {"message": message, "type": "server_error", "code": null}}))
            }
            Self::Anthropic => typed(
                &json!({"type": "error", "error": {"type": "overloaded_error", "message": message}}),
            ),
            Self::Ollama => line(&json!({"error": message})),
        }
    }

    /// The body of an answer with an error.
    pub fn refusal(self, message: &str) -> Value {
        match self {
            Self::OpenAi => {
                json!({"error": {"message": message, "type": "invalid_request_error", "code": null}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
            }
            Self::Ollama => json!({"error": message}),
        }
    }

    /// A list of models.
    pub fn models(self, names: &[&str]) -> Value {
        match self {
            Self::OpenAi | Self::Anthropic => {
                let models: Vec<_> = names.iter().map(|name| json!({"id": name})).collect();
                json!({"data": models})
            }
            Self::Ollama => {
                let models: Vec<_> =
                    names.iter().map(|name| json!({"name": name, "model": name})).collect();
                json!({"models": models})
            }
        }
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn typed(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

fn line(data: &Value) -> String {
    format!("{data}\n")
}
