//! The life of one reply: asked, arriving, ended by exactly one `Done` or `Error`.
//!
//! Nothing runs while nobody polls it, and dropping it closes the connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use http::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    call::{Answer, Call},
    decode::{Decoder, Framing},
    event::{Code, Event, Failure},
    prompt::Prompt,
    protocol,
    provider::{Progress, Provider, Trouble},
    settings::Settings,
};

/// How long is waited, after the model's own end, for what a server still has to say: the count of tokens.
const AFTER_STOP: Duration = Duration::from_secs(5);

/// The events of a reply.
pub type Reply = BoxStream<'static, Event>;

/// Asks for a reply.
pub(crate) fn reply(settings: Arc<Settings>, prompt: Prompt) -> Reply {
    stream::unfold(State::Asked(settings, prompt), next).boxed()
}

enum State {
    Asked(Arc<Settings>, Prompt),
    Arriving(Box<Arriving>),
    Ended,
}

async fn next(state: State) -> Option<(Event, State)> {
    let arriving = match state {
        State::Asked(settings, prompt) => Box::pin(Arriving::begin(settings, &prompt)).await,
        State::Arriving(arriving) => Ok(arriving),
        State::Ended => return None,
    };
    let event = match arriving {
        Err(failure) => Err(failure),
        Ok(mut arriving) => match Box::pin(arriving.event()).await {
            Ok(event @ Event::Delta { .. }) => return Some((event, State::Arriving(arriving))),
            last => last,
        },
    };
    Some((event.unwrap_or_else(Event::Error), State::Ended))
}

struct Arriving {
    settings: Arc<Settings>,
    provider: &'static dyn Provider,
    deadline: Instant,
    answer: Answer,
    decoder: Decoder,
    progress: Progress,
    /// Did any event come?
    has_events: bool,
    /// Until when the rest is waited for; absent before the model's own end.
    rest: Option<Instant>,
}

impl Arriving {
    async fn begin(settings: Arc<Settings>, prompt: &Prompt) -> Result<Box<Self>, Failure> {
        let provider = protocol::of(settings.protocol);
        let deadline = Instant::now() + settings.bounds.whole;
        let call = Call { settings: &settings, provider, deadline };
        let body = provider.body(&settings.model, prompt, settings.max_reply_tokens);
        let answer = accepted(&call, &body).await?;
        if answer.is("text/html") {
            return Err(call.wrong_protocol("a web page"));
        }
        Ok(Box::new(Self {
            provider,
            deadline,
            answer,
            decoder: Decoder::new(provider.framing()),
            progress: Progress::default(),
            has_events: false,
            rest: None,
            settings,
        }))
    }

    /// The next event; everything but a delta is the last one. Once the model has ended, its reply is whole,
    /// whatever goes wrong after that.
    async fn event(&mut self) -> Result<Event, Failure> {
        match self.step().await {
            Err(_) if self.progress.stop.is_some() => self.ended(),
            event => event,
        }
    }

    async fn step(&mut self) -> Result<Event, Failure> {
        loop {
            if self.progress.is_over {
                return self.ended();
            }
            let too_large =
                |_| Failure::new(Code::TooLarge, "the provider sent an event larger than 1 MiB");
            if let Some(event) = self.decoder.pull().map_err(too_large)? {
                self.has_events = true;
                let text = self.read(&event)?;
                if !text.is_empty() {
                    // Not its end after all.
                    self.rest = None;
                    return Ok(Event::Delta { text });
                }
            } else if let Some(chunk) = self.chunk().await? {
                self.decoder.push(&chunk);
            } else {
                return self.ended();
            }
        }
    }

    /// The next bytes; `None` at the end of the answer, and when the rest takes too long.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.progress.stop.is_none() {
            return self.answer.chunk().await;
        }
        let until = *self.rest.get_or_insert_with(|| Instant::now() + AFTER_STOP);
        timeout_at(until, self.answer.chunk()).await.unwrap_or(Ok(None))
    }

    fn read(&mut self, event: &str) -> Result<String, Failure> {
        self.provider.read(event, &mut self.progress).map_err(|trouble| match trouble {
            Trouble::NotJson => self.call().wrong_protocol("events that are not JSON"),
            Trouble::Said(said) => said.failure(self.settings.key.as_ref()),
        })
    }

    /// A reply is whole when its model said so.
    fn ended(&self) -> Result<Event, Failure> {
        if let Some(stop) = self.progress.stop {
            return Ok(Event::Done { stop, usage: self.progress.usage });
        }
        let is_strange = self.has_events || !self.is_stream();
        if is_strange && !self.progress.is_understood {
            return Err(self
                .call()
                .wrong_protocol("something other than a reply in this protocol"));
        }
        Err(Failure::cut_off())
    }

    fn is_stream(&self) -> bool {
        match self.provider.framing() {
            Framing::Events => self.answer.is("text/event-stream"),
            Framing::Lines => {
                self.answer.is("application/x-ndjson") || self.answer.is("application/json")
            }
        }
    }

    fn call(&self) -> Call<'_> {
        Call { settings: &self.settings, provider: self.provider, deadline: self.deadline }
    }
}

/// The answer to a body, or to its older form where a server asks for it.
async fn accepted(call: &Call<'_>, body: &Value) -> Result<Answer, Failure> {
    let mut answer = call.post(body).await?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let mut said = answer.said().await;
    let is_about_body =
        matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
    let older = if is_about_body { call.provider.older(body, &said) } else { None };
    if let Some(older) = older {
        answer = call.post(&older).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        said = answer.said().await;
    }
    Err(call.failure(&answer, &said))
}
