//! A provider of the test, and an assistant that asks it.

use std::time::Duration;

use futures_util::StreamExt as _;
use kipper_assistant::{
    Assistant, Bounds, Event, Failure, Key, Prompt, Protocol, Reply, Role, Settings, Turn,
};
use kipper_model_server::{ModelServer, words::Words};

pub(crate) const KEY: &str = "sk-canary-0123456789";

pub(crate) fn protocol(words: Words) -> Protocol {
    match words {
        Words::OpenAi => Protocol::OpenAi,
        Words::Anthropic => Protocol::Anthropic,
        Words::Ollama => Protocol::Ollama,
    }
}

/// For this URL; it may be on this machine.
pub(crate) fn settings(url: &str, words: Words) -> Settings {
    Settings {
        protocol: protocol(words),
        base_url: url.parse().unwrap(),
        model: "some-model".to_owned(),
        key: Some(Key::new(KEY).unwrap()),
        max_reply_tokens: None,
        allow_private: true,
        bounds: Bounds::default(),
    }
}

pub(crate) fn prompt() -> Prompt {
    let turn = Turn { role: Role::User, text: "hello".to_owned() };
    Prompt { system: "You help.".to_owned(), turns: vec![turn] }
}

/// A server, and the reply of a question that is on its way to it.
pub(crate) struct Asking {
    pub(crate) server: ModelServer,
    pub(crate) reply: Reply,
}

pub(crate) async fn ask(words: Words) -> Asking {
    ask_with(words, |_| {}).await
}

pub(crate) async fn ask_with(words: Words, change: impl FnOnce(&mut Settings)) -> Asking {
    let server = ModelServer::start().await;
    let mut settings = settings(&server.url(), words);
    change(&mut settings);
    let reply = Assistant::new(settings).reply(prompt());
    Asking { server, reply }
}

/// The whole text, and the event that ended the reply.
pub(crate) async fn collect(mut reply: Reply) -> (String, Event) {
    let mut text = String::new();
    while let Some(event) = reply.next().await {
        match event {
            Event::Delta { text: more } => {
                assert!(!more.is_empty());
                text.push_str(&more);
            }
            last => {
                assert!(reply.next().await.is_none(), "nothing follows {last:?}");
                return (text, last);
            }
        }
    }
    panic!("the reply just ended after {text:?}");
}

/// The failure that ended the reply.
pub(crate) async fn failure(reply: Reply) -> Failure {
    match collect(reply).await {
        (_, Event::Error(failure)) => failure,
        (text, last) => panic!("no failure, but {text:?} and {last:?}"),
    }
}

/// So short that nothing comes in it.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(20);
