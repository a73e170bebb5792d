//! What the crate does for its users: a reply, a list of models, a try.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::{
    call::Call,
    event::{Event, Failure, Stop, Usage},
    prompt::{Prompt, Turn},
    protocol,
    request::Role,
    settings::Settings,
    stream::{self, Reply},
};

/// What a try asks for, and the most tokens of its answer.
const TRY: &str = "Reply with the word OK.";
const TRY_TOKENS: u32 = 16;
/// Most characters that are kept of a try's answer.
const MAX_TRIED: usize = 200;

/// One provider, as it was set up.
#[derive(Clone)]
pub struct Assistant {
    settings: Arc<Settings>,
}

/// A provider that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The beginning of its answer; may be empty, because thinking takes tokens too.
    pub reply: String,
    /// Why it ended.
    pub stop: Stop,
    /// What it took.
    pub usage: Usage,
}

impl Assistant {
    /// Of these settings. Calls nobody yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// Sends a prompt and hands out what comes back. Dropping the stream closes the connection.
    pub fn reply(&self, prompt: Prompt) -> Reply {
        stream::reply(Arc::clone(&self.settings), prompt)
    }

    /// The models that the endpoint names.
    ///
    /// # Errors
    /// When it names none in this protocol.
    pub async fn models(&self) -> Result<Vec<String>, Failure> {
        let settings = &*self.settings;
        let provider = protocol::of(settings.protocol);
        let deadline = Instant::now() + settings.bounds.whole;
        let call = Call { settings, provider, deadline };
        let mut answer = call.models().await?;
        if !answer.status.is_success() {
            let said = answer.said().await;
            return Err(call.failure(&answer, &said));
        }
        if answer.is("text/html") {
            return Err(call.wrong_protocol("a web page"));
        }
        let list = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        let models = provider.models(&list);
        models.ok_or_else(|| call.wrong_protocol("something other than a list of models"))
    }

    /// Asks the model for one word: shows that address, key and model are right.
    ///
    /// # Errors
    /// As a reply would fail.
    pub async fn try_it(&self) -> Result<Tried, Failure> {
        let settings = Settings { max_reply_tokens: Some(TRY_TOKENS), ..(*self.settings).clone() };
        let turn = Turn { role: Role::User, text: TRY.to_owned() };
        let prompt = Prompt { system: String::new(), turns: vec![turn] };
        let mut events = stream::reply(Arc::new(settings), prompt);
        let mut reply = String::new();
        while let Some(event) = events.next().await {
            match event {
                Event::Delta { text } => {
                    let room = MAX_TRIED.saturating_sub(reply.chars().count());
                    reply.extend(text.chars().take(room));
                }
                Event::Done { stop, usage } => return Ok(Tried { reply, stop, usage }),
                Event::Error(failure) => return Err(failure),
            }
        }
        Err(Failure::cut_off())
    }
}
