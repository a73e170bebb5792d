//! Replies in good order, however their bytes come.

use futures_util::StreamExt as _;
use kipper_assistant::{Assistant, Event, Stop, Usage};
use kipper_model_server::{
    ModelServer,
    words::{End, Words},
};
use serde_json::json;

use crate::support::{Asking, KEY, ask, ask_with, collect, prompt, settings};

const USAGE: Usage = Usage { input: Some(12), output: Some(34) };

fn done(stop: Stop) -> Event {
    Event::Done { stop, usage: USAGE }
}

#[tokio::test]
async fn arrives_in_every_protocol() {
    for words in Words::ALL {
        for (end, stop) in
            [(End::Whole, Stop::End), (End::Length, Stop::Length), (End::Refused, Stop::Refused)]
        {
            if words == Words::Ollama && end == End::Refused {
                continue;
            }
            let Asking { mut server, reply } = ask(words).await;
            let provider = async {
                let mut stream = server.asked().await.stream(words.content_type()).await;
                stream.send(words.begin()).await;
                stream.send(words.text("Hel")).await;
                stream.send(words.text("lo") + &words.end(end)).await;
                // Its end is known: whether the server closes as well does not matter.
                stream.closed().await;
            };
            let (reply, ()) = tokio::join!(collect(reply), provider);
            assert_eq!(reply, ("Hello".to_owned(), done(stop)), "{words:?}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_is_what_the_protocol_says() {
    for words in Words::ALL {
        let Asking { mut server, reply } =
            ask_with(words, |settings| settings.max_reply_tokens = Some(99)).await;
        let reply = tokio::spawn(collect(reply));
        let asked = server.asked().await;
        let turn = json!({"role": "user", "content": "hello"});
        let system = json!({"role": "system", "content": "You help."});
        let (path, key, body) = match words {
            Words::OpenAi => (
                "/chat/completions",
                ("authorization", format!("Bearer {KEY}")),
                json!({
                    "model": "some-model", "messages": [system, turn], "stream": true,
                    "stream_options": {"include_usage": true}, "max_completion_tokens": 99
                }),
            ),
            Words::Anthropic => (
                "/v1/messages",
                ("x-api-key", KEY.to_owned()),
                json!({
                    "model": "some-model", "system": "You help.", "messages": [turn], "stream": true,
                    "max_tokens": 99
                }),
            ),
            Words::Ollama => (
                "/api/chat",
                ("authorization", format!("Bearer {KEY}")),
                json!({
                    "model": "some-model", "messages": [system, turn], "stream": true,
                    "truncate": false, "shift": false, "options": {"num_ctx": 4096, "num_predict": 99}
                }),
            ),
        };
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", path));
        assert_eq!(asked.header(key.0), key.1, "{words:?}");
        assert_eq!(asked.header("content-type"), "application/json");
        let version = if words == Words::Anthropic { "2023-06-01" } else { "" };
        assert_eq!(asked.header("anthropic-version"), version);
        assert_eq!(asked.body, body);
        drop(asked);
        reply.await.unwrap();
    }
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    for words in Words::ALL {
        let Asking { mut server, reply } = ask_with(words, |settings| settings.key = None).await;
        let reply = tokio::spawn(collect(reply));
        let asked = server.asked().await;
        assert_eq!((asked.header("authorization"), asked.header("x-api-key")), ("", ""));
        drop(asked);
        reply.await.unwrap();
    }
}

#[tokio::test]
async fn bytes_may_be_split_anywhere() {
    for words in Words::ALL {
        let Asking { mut server, reply } = ask(words).await;
        let provider = async {
            let mut stream = server.asked().await.stream(words.content_type()).await;
            let whole =
                words.begin() + &words.text("gr\u{fc}\u{df}e \u{1f600}") + &words.end(End::Whole);
            for byte in whole.as_bytes().chunks(1) {
                assert!(stream.send(byte).await);
            }
            stream.end().await;
        };
        let (reply, ()) = tokio::join!(collect(reply), provider);
        assert_eq!(reply, ("gr\u{fc}\u{df}e \u{1f600}".to_owned(), done(Stop::End)), "{words:?}");
    }
}

#[tokio::test]
async fn events_may_be_written_in_every_way() {
    let whole = Words::OpenAi.text("a") + &Words::OpenAi.text("b") + &Words::OpenAi.end(End::Whole);
    for variant in [
        whole.replace('\n', "\r\n"),
        whole.replace('\n', "\r"),
        whole.replace("data: ", "data:"),
        format!("\u{feff}{whole}"),
        format!(": PROCESSING\n\n{}", whole.replace("\n\n", "\n\n: keep-alive\n\n")),
        whole.replace("data: ", "event: message\nid: 1\nretry: 10\ndata: "),
        whole.replace(",\"", ",\ndata: \""),
    ] {
        let Asking { mut server, reply } = ask(Words::OpenAi).await;
        let provider = async {
            let mut stream = server.asked().await.stream("text/event-stream").await;
            stream.send(&variant).await;
            stream.end().await;
        };
        let (reply, ()) = tokio::join!(collect(reply), provider);
        assert_eq!(reply, ("ab".to_owned(), done(Stop::End)), "{variant}");
    }
}

/// What servers that speak OpenAI's protocol make of it.
#[tokio::test]
async fn dialects_are_understood() {
    let text = Words::OpenAi.text("a");
    let event = |json: serde_json::Value| format!("data: {json}\n\n");
    let stop = event(json!({"choices": [{"delta": {"content": null}, "finish_reason": "stop"}]}));
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 34});
    let last = "data: [DONE]\n\n";
    let none = Usage::default();
    for (rest, usage, stop) in [
        (stop.clone() + &event(json!({"choices": null, "usage": usage})) + last, USAGE, Stop::End),
        (stop.clone() + &event(json!({"choices": [], "usage": usage})) + last, USAGE, Stop::End),
        (
            event(json!({"choices": [{"delta": {}, "finish_reason": "length"}], "usage": usage})),
            USAGE,
            Stop::Length,
        ),
        (stop.clone() + &event(json!({"choices": [], "usage": null})) + last, none, Stop::End),
        (stop.clone() + &event(json!({"error": null, "choices": []})), none, Stop::End),
        (last.to_owned(), none, Stop::End),
        (
            event(json!({"choices": [{"delta": {"reasoning_content": "x"}}]})) + &stop,
            none,
            Stop::End,
        ),
        (event(json!({"choices": [{"delta": {"refusal": ""}}]})) + &stop, none, Stop::End),
    ] {
        let Asking { mut server, reply } = ask(Words::OpenAi).await;
        let provider = async {
            let mut stream = server.asked().await.stream("text/event-stream").await;
            stream.send(text.clone() + &rest).await;
            stream.end().await;
        };
        let (reply, ()) = tokio::join!(collect(reply), provider);
        assert_eq!(reply, ("a".to_owned(), Event::Done { stop, usage }), "{rest}");
    }
}

#[tokio::test]
async fn a_refusal_in_words_is_one() {
    let Asking { mut server, reply } = ask(Words::OpenAi).await;
    let provider = async {
        let mut stream = server.asked().await.stream("text/event-stream").await;
        let refusal = json!({"choices": [{"delta": {"refusal": "I cannot do that."}}]});
        stream.send(format!("data: {refusal}\n\n")).await;
        stream.send(Words::OpenAi.end(End::Whole)).await;
    };
    let (reply, ()) = tokio::join!(collect(reply), provider);
    assert_eq!(reply, ("I cannot do that.".to_owned(), done(Stop::Refused)));
}

#[tokio::test]
async fn types_that_are_not_known_are_skipped() {
    let Asking { mut server, reply } = ask(Words::Anthropic).await;
    let provider = async {
        let mut stream = server.asked().await.stream("text/event-stream").await;
        stream.send(Words::Anthropic.begin()).await;
        let thinking = json!({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "x"}});
        let unknown = json!({"type": "something_new", "delta": {"text": "x"}});
        stream.send(format!("data: {thinking}\n\ndata: {unknown}\n\n")).await;
        stream.send(Words::Anthropic.text("a") + &Words::Anthropic.end(End::Whole)).await;
    };
    let (reply, ()) = tokio::join!(collect(reply), provider);
    assert_eq!(reply, ("a".to_owned(), done(Stop::End)));
}

#[tokio::test]
async fn an_older_server_is_asked_once_more() {
    let words = Words::OpenAi;
    let refusal =
        words.refusal("Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead.");
    for accepted in [true, false] {
        let Asking { mut server, reply } =
            ask_with(words, |settings| settings.max_reply_tokens = Some(99)).await;
        let provider = async {
            let asked = server.asked().await;
            assert_eq!(asked.body["max_completion_tokens"], 99);
            asked.json(400, &refusal).await;
            let asked = server.asked().await;
            assert_eq!(asked.body["max_tokens"], 99);
            assert_eq!(asked.body.get("max_completion_tokens"), None);
            if !accepted {
                return asked.json(400, &refusal).await;
            }
            let mut stream = asked.stream(words.content_type()).await;
            stream.send(words.end(End::Whole)).await;
        };
        let ((_, last), ()) = tokio::join!(collect(reply), provider);
        assert_eq!(matches!(last, Event::Done { .. }), accepted, "{last:?}");
        assert!(server.is_idle());
    }
}

#[tokio::test]
async fn dropping_a_reply_closes_its_connection() {
    for words in Words::ALL {
        // Between two events.
        let Asking { mut server, mut reply } = ask(words).await;
        let provider = async {
            let mut stream = server.asked().await.stream(words.content_type()).await;
            stream.send(words.begin() + &words.text("a")).await;
            stream
        };
        let (event, stream) = tokio::join!(reply.next(), provider);
        assert_eq!(event, Some(Event::Delta { text: "a".to_owned() }));
        drop(reply);
        stream.closed().await;

        // Before the head of the answer.
        let Asking { mut server, mut reply } = ask(words).await;
        let asked = tokio::select! {
            event = reply.next() => panic!("{event:?}"),
            asked = server.asked() => asked,
        };
        drop(reply);
        asked.closed().await;
    }
}

#[tokio::test]
async fn models_are_listed() {
    for words in Words::ALL {
        let mut server = ModelServer::start().await;
        let assistant = Assistant::new(settings(&server.url(), words));
        let provider = async {
            let asked = server.asked().await;
            let path = match words {
                Words::OpenAi => "/models",
                Words::Anthropic => "/v1/models?limit=1000",
                Words::Ollama => "/api/tags",
            };
            assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", path));
            assert!(
                format!("{}{}", asked.header("authorization"), asked.header("x-api-key"))
                    .ends_with(KEY)
            );
            asked.json(200, &words.models(&["one", "two"])).await;
        };
        let (models, ()) = tokio::join!(assistant.models(), provider);
        assert_eq!(models.unwrap(), ["one", "two"]);
    }
}

#[tokio::test]
async fn a_try_asks_for_one_word() {
    for words in Words::ALL {
        let mut server = ModelServer::start().await;
        let assistant = Assistant::new(settings(&server.url(), words));
        let provider = async {
            let asked = server.asked().await;
            let body = asked.body.to_string();
            assert!(body.len() < 300 && body.contains(":16"), "{body}");
            assert!(!body.contains("system"), "{body}");
            let mut stream = asked.stream(words.content_type()).await;
            stream
                .send(words.begin() + &words.text(&"O".repeat(1000)) + &words.end(End::Length))
                .await;
        };
        let (tried, ()) = tokio::join!(assistant.try_it(), provider);
        let tried = tried.unwrap();
        assert_eq!((tried.reply.len(), tried.stop, tried.usage), (200, Stop::Length, USAGE));
    }
}

#[tokio::test]
async fn a_long_prompt_gets_a_large_context() {
    let mut server = ModelServer::start().await;
    let assistant = Assistant::new(settings(&server.url(), Words::Ollama));
    let mut prompt = prompt();
    prompt.turns[0].text = "word ".repeat(20_000);
    let tokens = prompt.tokens();
    let reply = tokio::spawn(collect(assistant.reply(prompt)));
    let asked = server.asked().await;
    let context = asked.body["options"]["num_ctx"].as_u64().unwrap();
    assert!(context >= tokens + 8192 && context.is_power_of_two(), "{context} for {tokens}");
    drop(asked);
    reply.await.unwrap();
}
