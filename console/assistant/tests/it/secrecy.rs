//! The key is in one header, and nowhere else.

use std::{fmt, marker::PhantomData};

use kipper_assistant::{Assistant, Key, Settings};
use kipper_model_server::words::{End, Words};

use crate::support::{Asking, KEY, ask, collect};

/// Whether a type has a trait: the inherent constant, where it applies, comes before the other one.
struct Has<T>(PhantomData<T>);
trait Lacks {
    const DEBUG: bool = false;
    const DISPLAY: bool = false;
}
impl<T> Lacks for Has<T> {}
impl<T: fmt::Debug> Has<T> {
    const DEBUG: bool = true;
}
impl<T: fmt::Display> Has<T> {
    const DISPLAY: bool = true;
}

#[test]
fn nothing_that_has_the_key_can_be_shown() {
    let shown = |debug: bool, display: bool| debug || display;
    assert!(!shown(Has::<Key>::DEBUG, Has::<Key>::DISPLAY));
    assert!(!shown(Has::<Settings>::DEBUG, Has::<Settings>::DISPLAY));
    assert!(!shown(Has::<Assistant>::DEBUG, Has::<Assistant>::DISPLAY));
    assert!(shown(Has::<String>::DEBUG, false) && shown(false, Has::<String>::DISPLAY));
}

/// A provider that repeats the key wherever it can.
#[tokio::test]
async fn no_event_repeats_it() {
    let echo = format!("your key {KEY}, or {}***", &KEY[..9]);
    for words in Words::ALL {
        for status in [400, 401, 403, 404, 422, 429, 500, 301] {
            let Asking { mut server, reply } = ask(words).await;
            let provider = async {
                let asked = server.asked().await;
                let location = format!("https://example.com/{KEY}");
                let fields =
                    [("location", location.as_str()), ("retry-after", KEY), ("server", KEY)];
                asked.answer(status, &fields, &words.refusal(&echo).to_string()).await;
            };
            let (last, ()) = tokio::join!(collect(reply), provider);
            assert!(!shown(&last).contains("canary"), "{last:?}");
        }
        let Asking { mut server, reply } = ask(words).await;
        let provider = async {
            let mut stream = server.asked().await.stream(words.content_type()).await;
            stream.send(words.begin() + &words.error(&echo)).await;
            stream.closed().await;
        };
        let (last, ()) = tokio::join!(collect(reply), provider);
        assert!(shown(&last).contains("[key]") && !shown(&last).contains("canary"), "{last:?}");
    }
}

fn shown(last: &(String, kipper_assistant::Event)) -> String {
    format!("{last:?}{}", serde_json::to_string(&last.1).unwrap())
}

/// It is sent with each request, and never in a path or a body.
#[tokio::test]
async fn it_is_in_a_header_only() {
    for words in Words::ALL {
        let Asking { mut server, reply } = ask(words).await;
        let provider = async {
            let asked = server.asked().await;
            assert!(!format!("{}{}", asked.path, asked.body).contains("canary"));
            let header = format!("{}{}", asked.header("authorization"), asked.header("x-api-key"));
            assert!(header.ends_with(KEY));
            asked.stream(words.content_type()).await.send(words.end(End::Whole)).await;
        };
        tokio::join!(collect(reply), provider);
    }
}
