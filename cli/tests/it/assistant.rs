//! The assistant of `kip dev`'s console, with a provider of the test's own.

use std::fs;

use http::Method;
use kipper_console_contract::Console;
use kipper_model_server::{
    ModelServer,
    words::{End, Words},
};
use serde_json::{Value, json};

use crate::support::{Kip, folder};

const KEY: &str = "sk-canary-0123456789";
const HELLO: &str = "module.exports = async () => process.env.REGION\n";

/// `kip dev` with this provider, and its console.
fn start(model: &ModelServer) -> (tempfile::TempDir, Kip, Console) {
    let folder = folder(&[("hello.js", HELLO)]);
    let key = folder.path().join("key.txt");
    fs::write(&key, format!("{KEY}\n")).unwrap();
    let (url, key) =
        (format!("--ai-url={}/v1", model.url()), format!("--ai-key-file={}", key.display()));
    let flags = ["--console-port=0", "--ai-provider=openai", &url, "--ai-model=small", &key];
    let kip = Kip::start(folder.path(), &flags);
    let console = Console::new(&kip.wait_for("console on "));
    (folder, kip, console)
}

fn question() -> Value {
    json!({
        "messages": [{ "role": "user", "text": "Why is the region empty?" }],
        "draft": {
            "runtime": "node",
            "code": { "index.js": HELLO },
            "bindings": [{ "service": "eventdb", "kind": "postgres", "env": ["DB_HOST", "DB_NAME"] }],
            "envNames": ["REGION"],
            "secretNames": ["API_KEY"],
            "dependencies": { "pg": "8.11.5" }
        },
        "attachments": [{ "name": "Region.java", "text": "class Region {}" }]
    })
}

fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

fn of(type_: &'static str) -> impl Fn(&Value) -> bool {
    move |update| update["type"] == type_
}

#[test]
fn a_reply_arrives_as_it_is_written_and_the_model_knows_what_the_page_shows() {
    on(async {
        let mut model = ModelServer::start().await;
        let (_folder, kip, console) = start(&model);
        let settings = console.get("/api/v1/settings/ai").await.body;
        assert_eq!(
            (&settings["provider"], &settings["keySet"]),
            (&json!("openai"), &json!(true)),
            "{settings}"
        );
        assert_eq!(settings["canChange"], json!(false), "{settings}");

        let mut reply = console.events(Method::POST, "/api/v1/assistant", &question()).await;
        let asked = model.asked().await;
        assert_eq!(
            (asked.path.as_str(), asked.header("authorization")),
            ("/v1/chat/completions", format!("Bearer {KEY}").as_str())
        );
        let sent = asked.body.to_string();
        let mut stream = asked.stream(Words::OpenAi.content_type()).await;
        let first = reply.until("an event", of("knows")).await;
        assert!(first["tokens"].as_u64().unwrap() > 100, "{first}");
        let shown = console
            .send(Method::POST, "/api/v1/assistant/knows", &json!({ "draft": question()["draft"] }))
            .await;
        assert_eq!(shown.body, first["knows"]);
        for name in
            ["DB_HOST", "REGION", "API_KEY", "pg@8.11.5", "Region.java", "process.env.REGION"]
        {
            assert!(sent.contains(name), "{name}: {sent}");
        }
        for part in [Words::OpenAi.begin(), Words::OpenAi.text("Because")] {
            assert!(stream.send(part).await);
        }
        assert_eq!(reply.until("an event", of("delta")).await["text"], json!("Because"));

        // One at a time for a session; it is free again afterwards.
        let second = console.send(Method::POST, "/api/v1/assistant", &question()).await;
        assert_eq!((second.status, &second.body["reason"]), (429, &json!("busy")), "{second:?}");
        stream.send(Words::OpenAi.end(End::Whole)).await;
        let done = reply.until("an event", of("done")).await;
        assert_eq!((&done["stop"], &done["usage"]["input"]), (&json!("end"), &json!(12)), "{done}");
        drop(reply);

        let reply = console.events(Method::POST, "/api/v1/assistant", &question()).await;
        let stream = model.asked().await.stream(Words::OpenAi.content_type()).await;
        drop(reply);
        // Whoever leaves ends the request to the provider.
        stream.closed().await;
        assert!(!console.has_heard("canary") && !kip.lines().join("\n").contains("canary"));
    });
}

#[test]
fn what_cannot_be_asked_is_said_at_its_field_and_the_providers_words_are_passed_on() {
    on(async {
        let mut model = ModelServer::start().await;
        let (_folder, _kip, console) = start(&model);
        let mut wrong = question();
        wrong["attachments"][0]["name"] = json!(".env");
        let refused = console.send(Method::POST, "/api/v1/assistant", &wrong).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(
            refused.body["problems"][0]["path"],
            json!("attachments[0].name"),
            "{refused:?}"
        );
        let mut value = question();
        value["draft"]["env"] = json!({ "REGION": "canary" });
        let refused = console.send(Method::POST, "/api/v1/assistant", &value).await;
        assert_eq!(refused.status, 400, "{refused:?}");

        let mut reply = console.events(Method::POST, "/api/v1/assistant", &question()).await;
        let asked = model.asked().await;
        asked.json(401, &Words::OpenAi.refusal(&format!("wrong key {KEY}"))).await;
        let error = reply.until("an event", of("error")).await;
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&json!("unauthorized"), &json!(false)),
            "{error}"
        );
        assert!(!error.to_string().contains("canary"), "{error}");

        // Flags are not changed by the page, and the key goes to no other URL.
        let other = json!({ "provider": "openai", "url": "http://127.0.0.1:9/v1", "model": "small", "key": null });
        for (method, path) in
            [(Method::PUT, "/api/v1/settings/ai"), (Method::POST, "/api/v1/settings/ai/try")]
        {
            let refused = console.send(method, path, &other).await;
            assert_eq!(
                (refused.status, &refused.body["reason"]),
                (403, &json!("forbidden")),
                "{refused:?}"
            );
        }
        let same = json!({ "provider": "openai", "url": format!("{}/v1", model.url()), "model": "small", "key": null });
        let trying = async { console.send(Method::POST, "/api/v1/settings/ai/try", &same).await };
        let answering = async {
            model.asked().await.json(200, &Words::OpenAi.models(&["small", "large"])).await;
            let mut stream = model.asked().await.stream(Words::OpenAi.content_type()).await;
            for part in
                [Words::OpenAi.begin(), Words::OpenAi.text("OK"), Words::OpenAi.end(End::Whole)]
            {
                stream.send(part).await;
            }
            stream.end().await;
        };
        let (tried, ()) = tokio::join!(trying, answering);
        assert_eq!(
            tried.body,
            json!({ "models": ["small", "large"], "reply": "OK", "error": null })
        );
        assert!(!console.has_heard("canary"));
    });
}
