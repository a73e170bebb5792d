//! Everything that goes wrong has one code, a sentence that says what to do, and an end.

use futures_util::StreamExt as _;
use kipper_assistant::{Assistant, Code, Event, Stop};
use kipper_model_server::{
    ModelServer, Stream,
    words::{End, Words},
};
use serde_json::json;

use crate::support::{AT_ONCE, Asking, ask, ask_with, collect, failure, settings};

/// A server that answers so; the failure that comes of it.
async fn refused(
    words: Words,
    status: u16,
    fields: &[(&str, &str)],
    body: &str,
) -> (Code, bool, String) {
    let Asking { mut server, reply } = ask(words).await;
    let provider = async { server.asked().await.answer(status, fields, body).await };
    let (failure, ()) = tokio::join!(failure(reply), provider);
    assert!(server.is_idle(), "nothing is asked twice");
    (failure.code, failure.retryable, failure.message)
}

#[tokio::test]
async fn statuses_are_told_apart() {
    for words in Words::ALL {
        let body = words.refusal("the words of the provider").to_string();
        for (status, fields, code, retryable, part) in [
            (401, &[][..], Code::Unauthorized, false, "does not accept the API key (401)"),
            (403, &[], Code::Forbidden, false, "provider says: the words of the provider"),
            (404, &[], Code::NotFound, false, "the model or the URL does not exist (404)"),
            (429, &[("retry-after", "7")], Code::RateLimited, true, "(429): try again in 7 s"),
            (500, &[], Code::ProviderFailed, true, "the provider failed (500): try again later"),
            (503, &[("retry-after", "7")], Code::ProviderFailed, true, "(503): try again in 7 s"),
            (400, &[], Code::Refused, false, "refused the request (400)"),
        ] {
            let (found, again, message) = refused(words, status, fields, &body).await;
            assert_eq!((found, again), (code, retryable), "{message}");
            assert!(message.contains(part), "{message}");
        }
    }
}

#[tokio::test]
async fn a_web_page_is_no_reply() {
    let html = [("content-type", "text/html; charset=utf-8")];
    let page = "<!DOCTYPE html><html><body>Welcome</body></html>";
    for words in Words::ALL {
        let (code, _, message) = refused(words, 200, &html, page).await;
        assert_eq!(code, Code::WrongProtocol);
        assert!(message.contains("answers with a web page: check the base URL"), "{message}");
        let (code, _, message) = refused(words, 502, &html, page).await;
        assert_eq!(
            (code, message.as_str()),
            (Code::ProviderFailed, "the provider failed (502): try again later")
        );
        // One that does not say so.
        let (code, _, _) = refused(words, 200, &[("content-type", "text/plain")], page).await;
        assert_eq!(code, Code::WrongProtocol);
    }
}

#[tokio::test]
async fn another_protocol_is_noticed() {
    for words in Words::ALL {
        for other in Words::ALL.into_iter().filter(|other| *other != words) {
            let Asking { mut server, reply } = ask(words).await;
            let provider = async {
                let mut stream = server.asked().await.stream(other.content_type()).await;
                stream.send(other.begin() + &other.text("a") + &other.end(End::Whole)).await;
                stream.end().await;
            };
            let (failure, ()) = tokio::join!(failure(reply), provider);
            assert_eq!(failure.code, Code::WrongProtocol, "{words:?} from {other:?}: {failure}");
        }
    }
}

/// A reply that begins with `a` and goes on like this.
async fn interrupted(words: Words, rest: impl AsyncFnOnce(Stream)) -> kipper_assistant::Failure {
    let Asking { mut server, reply } = ask(words).await;
    let provider = async {
        let mut stream = server.asked().await.stream(words.content_type()).await;
        stream.send(words.begin() + &words.text("a")).await;
        rest(stream).await;
    };
    let ((text, last), ()) = tokio::join!(collect(reply), provider);
    assert_eq!(text, "a");
    match last {
        Event::Error(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reply_that_is_not_complete_is_cut_off() {
    for words in Words::ALL {
        // No word of its end.
        let failure = interrupted(words, async |stream| stream.end().await).await;
        assert_eq!((failure.code, failure.retryable), (Code::CutOff, true));
        // Half an event.
        let whole = words.text("b");
        let half = whole[..whole.len() / 2].to_owned();
        let failure = interrupted(words, async |mut stream| {
            stream.send(half).await;
            stream.end().await;
        });
        assert_eq!(failure.await.code, Code::CutOff);
        // The connection breaks.
        let failure = interrupted(words, async |stream| drop(stream)).await;
        assert_eq!(failure.code, Code::CutOff);
        assert_eq!(failure.message, "the reply ended before it was complete: try again");
    }
}

#[tokio::test]
async fn the_end_of_the_model_is_the_end_of_the_reply() {
    // All but the last event, which says nothing new.
    let whole = Words::OpenAi.end(End::Length);
    let all_but_last = whole.strip_suffix("data: [DONE]\n\n").unwrap();
    let Asking { mut server, reply } = ask(Words::OpenAi).await;
    let provider = async {
        let mut stream = server.asked().await.stream("text/event-stream").await;
        stream.send(all_but_last).await;
        stream.end().await;
    };
    let ((_, last), ()) = tokio::join!(collect(reply), provider);
    assert!(matches!(last, Event::Done { stop: Stop::Length, .. }), "{last:?}");
}

/// The model's own end of a reply, without the words of its server after that.
fn stop(words: Words) -> String {
    let end = words.end(End::Whole);
    let last = match words {
        Words::OpenAi => end.find("data: {\"choices\":[],").unwrap(),
        Words::Anthropic => end.find("event: message_stop").unwrap(),
        Words::Ollama => end.len(),
    };
    end[..last].to_owned()
}

#[tokio::test]
async fn nothing_that_goes_wrong_after_the_model_s_end_makes_a_reply_fail() {
    for words in Words::ALL {
        for fault in ["breaks", "error", "nonsense", "half"] {
            let Asking { mut server, reply } = ask(words).await;
            let provider = async {
                let mut stream = server.asked().await.stream(words.content_type()).await;
                stream.send(words.begin() + &words.text("a") + &stop(words)).await;
                let part = match fault {
                    "error" => words.error("the GPU fell off the bus"),
                    "nonsense" => "data: <html>\n\n".to_owned(),
                    "half" => "data: {".to_owned(),
                    _ => String::new(),
                };
                stream.send(part).await;
            };
            let ((text, last), ()) = tokio::join!(collect(reply), provider);
            assert_eq!(text, "a");
            assert!(matches!(last, Event::Done { stop: Stop::End, .. }), "{fault}: {last:?}");
        }
    }
}

#[tokio::test]
async fn the_rest_after_the_model_s_end_is_not_waited_for_longer_than_5_s() {
    for words in [Words::OpenAi, Words::Anthropic] {
        let Asking { mut server, mut reply } = ask(words).await;
        let provider = async {
            let mut stream = server.asked().await.stream(words.content_type()).await;
            stream.send(words.begin() + &words.text("a") + &stop(words)).await;
            stream
        };
        let (event, stream) = tokio::join!(reply.next(), provider);
        assert_eq!(event, Some(Event::Delta { text: "a".to_owned() }));
        // What was sent in one piece is here in one piece: nothing of it is on its way any more.
        tokio::time::pause();
        let before = tokio::time::Instant::now();
        let last = reply.next().await;
        assert!(matches!(last, Some(Event::Done { stop: Stop::End, .. })), "{last:?}");
        assert_eq!(before.elapsed().as_secs(), 5);
        tokio::time::resume();
        drop(stream);
    }
}

/// As sglang and older releases of Ollama do.
#[tokio::test]
async fn a_reason_without_words_is_no_end() {
    for reason in ["", "null"] {
        let Asking { mut server, reply } = ask(Words::OpenAi).await;
        let provider = async {
            let mut stream = server.asked().await.stream("text/event-stream").await;
            let part = json!({"choices": [{"delta": {"content": "a"}, "finish_reason": reason}]});
            stream.send(format!("data: {part}\n\n")).await;
        };
        let ((text, last), ()) = tokio::join!(collect(reply), provider);
        assert_eq!(text, "a");
        assert!(matches!(&last, Event::Error(failure) if failure.code == Code::CutOff), "{last:?}");
    }
}

#[tokio::test]
async fn a_refusal_in_words_that_breaks_off_is_not_whole() {
    let Asking { mut server, reply } = ask(Words::OpenAi).await;
    let provider = async {
        let mut stream = server.asked().await.stream("text/event-stream").await;
        let refusal = json!({"choices": [{"delta": {"refusal": "I cannot"}}]});
        stream.send(format!("data: {refusal}\n\n")).await;
    };
    let ((text, last), ()) = tokio::join!(collect(reply), provider);
    assert_eq!(text, "I cannot");
    assert!(matches!(&last, Event::Error(failure) if failure.code == Code::CutOff), "{last:?}");
}

#[tokio::test]
async fn an_error_in_the_middle_is_told() {
    for words in Words::ALL {
        let failure = interrupted(words, async |mut stream| {
            stream.send(words.error("the GPU fell off the bus")).await;
            stream.closed().await;
        });
        let failure = failure.await;
        assert_eq!((failure.code, failure.retryable), (Code::ProviderFailed, true));
        let expected =
            "the provider failed: try again later; the provider says: the GPU fell off the bus";
        assert_eq!(failure.message, expected);
    }
}

#[tokio::test]
async fn silence_ends() {
    for words in Words::ALL {
        // No head of an answer.
        let Asking { mut server, reply } =
            ask_with(words, |settings| settings.bounds.idle = AT_ONCE).await;
        let provider = async { server.asked().await.closed().await };
        let (failure, ()) = tokio::join!(failure(reply), provider);
        assert_eq!((failure.code, failure.retryable), (Code::Silent, true));
        assert!(failure.message.starts_with("the provider sent nothing for 0.02 s"), "{failure}");

        // Nothing after it. The text before may come or not, as the machine likes.
        let Asking { mut server, reply } =
            ask_with(words, |settings| settings.bounds.idle = AT_ONCE).await;
        let provider = async {
            let mut stream = server.asked().await.stream(words.content_type()).await;
            stream.send(words.begin() + &words.text("a")).await;
            stream.closed().await;
        };
        let (failure, ()) = tokio::join!(crate::support::failure(reply), provider);
        assert_eq!(failure.code, Code::Silent);
    }
}

#[tokio::test]
async fn the_whole_has_an_end_too() {
    let words = Words::OpenAi;
    let Asking { mut server, reply } =
        ask_with(words, |settings| settings.bounds.whole = AT_ONCE * 10).await;
    let provider = async {
        let mut stream = server.asked().await.stream(words.content_type()).await;
        while stream.send(words.text("a")).await {
            tokio::task::yield_now().await;
        }
    };
    let (failure, ()) = tokio::join!(failure(reply), provider);
    let expected = "the reply was not complete within 0.2 s: ask for less";
    assert_eq!((failure.code, failure.message.as_str()), (Code::TookTooLong, expected));
}

#[tokio::test]
async fn a_reply_is_bounded() {
    for words in Words::ALL {
        // 16 KiB at a time, for as long as the client takes it.
        let Asking { mut server, mut reply } = ask(words).await;
        let event = words.text(&"x".repeat(16 << 10));
        let provider = async {
            let mut stream = server.asked().await.stream(words.content_type()).await;
            stream.send(words.begin()).await;
            while stream.send(&event).await {}
        };
        let client = async {
            let mut read = 0;
            loop {
                match reply.next().await.unwrap() {
                    Event::Delta { text } => read += text.len(),
                    last => return (read, last),
                }
            }
        };
        let ((read, last), ()) = tokio::join!(client, provider);
        let Event::Error(failure) = last else { panic!("{last:?}") };
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (Code::TooLarge, "the reply is larger than 10 MiB")
        );
        assert!((9 << 20..10 << 20).contains(&read), "{read}");
    }
}

#[tokio::test]
async fn an_event_is_bounded() {
    for words in Words::ALL {
        let huge = words.text(&"x".repeat(1 << 20));
        let failure = interrupted(words, async |mut stream| {
            stream.send(huge).await;
            stream.closed().await;
        });
        let failure = failure.await;
        let expected = "the provider sent an event larger than 1 MiB";
        assert_eq!((failure.code, failure.message.as_str()), (Code::TooLarge, expected));
    }
}

#[tokio::test]
async fn a_long_error_is_not_read_to_its_end() {
    let words = Words::OpenAi;
    let Asking { mut server, reply } = ask(words).await;
    let provider = async {
        let body = words.refusal(&"x".repeat(10 << 20)).to_string();
        server.asked().await.answer(500, &[], &body).await;
    };
    let (failure, ()) = tokio::join!(failure(reply), provider);
    assert_eq!(failure.message, "the provider failed (500): try again later");
    let (_, _, message) =
        refused(words, 500, &[], &words.refusal(&"x".repeat(60_000)).to_string()).await;
    assert!(message.ends_with("xxx\u{2026}") && message.len() < 700, "{}", message.len());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = ModelServer::start().await;
    for words in Words::ALL {
        for status in [301, 302, 303, 307, 308] {
            let to = format!("{}/v1/chat?token=canary", elsewhere.url());
            let (code, retryable, message) = refused(words, status, &[("location", &to)], "").await;
            assert_eq!((code, retryable), (Code::Redirect, false));
            let expected = format!("redirects to {}/v1/chat ({status})", elsewhere.url());
            assert!(message.contains(&expected) && !message.contains("canary"), "{message}");
        }
    }
    let mut elsewhere = elsewhere;
    assert!(elsewhere.is_idle());
}

#[tokio::test]
async fn what_is_not_http_is_told() {
    let Asking { mut server, reply } = ask(Words::OpenAi).await;
    let provider = async { server.asked().await.raw("220 mail.example.com ESMTP\r\n").await };
    let (failure, ()) = tokio::join!(failure(reply), provider);
    assert_eq!(failure.code, Code::WrongProtocol);
    assert!(failure.message.contains("does not speak HTTP: check the port"), "{failure}");

    let Asking { mut server, reply } = ask(Words::OpenAi).await;
    let provider = async { drop(server.asked().await) };
    let (failure, ()) = tokio::join!(crate::support::failure(reply), provider);
    assert_eq!(failure.code, Code::CutOff);
    assert!(failure.message.contains("closed before an answer came: try again"), "{failure}");
}

#[tokio::test]
async fn nobody_there_is_told() {
    // Bound and not listening: nobody accepts there, and nobody else gets the port.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let assistant = Assistant::new(settings(&url, Words::Ollama));
    let failure = failure(assistant.reply(crate::support::prompt())).await;
    assert_eq!((failure.code, failure.retryable), (Code::Unreachable, true));
    let expected = format!(
        "cannot connect to 127.0.0.1:{port}: Connection refused: check the base URL, and that the provider is running"
    );
    assert_eq!(failure.message, expected);
    assert_eq!(assistant.models().await.unwrap_err(), failure);
    assert_eq!(assistant.try_it().await.unwrap_err(), failure);
}

#[tokio::test]
async fn a_name_without_address_is_told() {
    // RFC 6761: never one of anybody.
    let assistant = Assistant::new(settings("https://provider.invalid/v1", Words::OpenAi));
    let failure = failure(assistant.reply(crate::support::prompt())).await;
    assert_eq!(failure.code, Code::Dns);
    assert!(
        failure.message.starts_with("the name provider.invalid cannot be resolved: "),
        "{failure}"
    );
}

#[tokio::test]
async fn what_is_no_list_of_models_is_told() {
    for words in Words::ALL {
        for (status, body, code) in [
            (401, "{}", Code::Unauthorized),
            (404, "404 page not found", Code::NotFound),
            (200, "{\"hello\": 1}", Code::WrongProtocol),
            (200, "not JSON", Code::WrongProtocol),
        ] {
            let mut server = ModelServer::start().await;
            let assistant = Assistant::new(settings(&server.url(), words));
            let provider = async { server.asked().await.answer(status, &[], body).await };
            let (models, ()) = tokio::join!(assistant.models(), provider);
            assert_eq!(models.unwrap_err().code, code, "{body}");
        }
    }
}
