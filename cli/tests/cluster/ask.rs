//! `kip function ask`, with a provider of the test's own.

use http::Method;
use kipper_cluster::sandbox::run;
use kipper_model_server::{
    ModelServer,
    words::{End, Words},
};
use serde_json::json;

use crate::{kip::Kip, rights};

const KEY: &str = "sk-canary-0123456789";
const CODE: &str = "module.exports = async () => process.env.REGION\n";
const REPLY: &str =
    "Use a default:\n\n```js\nmodule.exports = async () => process.env.REGION ?? 'eu'\n```\n";

/// Answers the next question with this text.
async fn answer(model: &mut ModelServer, text: &str) -> String {
    let asked = model.asked().await;
    let sent = asked.body.to_string();
    let mut stream = asked.stream(Words::OpenAi.content_type()).await;
    for part in [Words::OpenAi.begin(), Words::OpenAi.text(text), Words::OpenAi.end(End::Whole)] {
        stream.send(part).await;
    }
    stream.end().await;
    sent
}

#[tokio::test]
async fn the_assistant_is_asked_and_its_code_is_applied_after_a_yes() {
    run("ask", |sandbox| async move {
        let mut model = ModelServer::start().await;
        let kip =
            Kip::new(&sandbox, &[("code.js", CODE), ("Region.java", "class Region {}\n")]).await;
        let name = sandbox.name("ask");
        let create = ["--code-file", "code.js", "--runtime", "node", "--env", "REGION=canary-env"];
        kip.ok(&[&["function", "create", &name][..], &create].concat()).await;
        let url = format!("{}/v1", model.url());
        let ai = ["--ai-provider", "openai", "--ai-url", &url, "--ai-model", "small"];
        let ask = ["function", "ask", &name, "Which region is it?", "--file", "Region.java"];

        let asking = [&ask[..], &ai].concat();
        let (end, sent) = tokio::join!(kip.run(&asking), answer(&mut model, REPLY));
        assert_eq!(end.code, 0, "{end:?}");
        assert!(
            sent.contains("REGION") && sent.contains("class Region") && !sent.contains("canary"),
            "{sent}"
        );
        assert!(end.stdout.starts_with("Use a default:\n"), "{end:?}");
        assert!(
            end.stdout
                .contains("-module.exports = async () => process.env.REGION\n+module.exports"),
            "{end:?}"
        );
        let stored = async || {
            kip.json(&["function", "get", &name, "-o", "json"]).await["spec"]["source"]["code"]
                .clone()
        };
        assert_eq!(stored().await, CODE);

        // Nobody can say yes here.
        let end = kip.run(&[&asking[..], &["--apply"]].concat()).await;
        assert!(end.code == 2 && end.stderr.contains("add --yes"), "{end:?}");
        let applying = [&asking[..], &["--apply", "--yes"]].concat();
        let (end, _) = tokio::join!(kip.run(&applying), answer(&mut model, REPLY));
        assert_eq!(end.code, 0, "{end:?}");
        assert_eq!(stored().await, "module.exports = async () => process.env.REGION ?? 'eu'\n");

        let (end, ()) = tokio::join!(kip.run(&asking), async {
            let refusal = Words::OpenAi.refusal("slow down");
            model.asked().await.json(429, &refusal).await;
        });
        assert!(end.code == 1 && end.stderr.contains("slow down"), "{end:?}");

        let reader = Kip::new(&sandbox, &[]).await.with_kubeconfig(&rights::reader(&sandbox).await);
        let end = reader.run(&ask[..4]).await;
        assert!(end.code == 1 && end.stderr.contains("--ai-provider"), "{end:?}");
    })
    .await;
}

/// The Secret is one for the whole cluster: no other test sets it.
#[tokio::test]
async fn who_may_patch_the_secret_sets_the_provider_for_everybody_who_may_read_it() {
    run("ask-settings", |sandbox| async move {
        let mut model = ModelServer::start().await;
        let kip = Kip::new(&sandbox, &[("code.js", CODE)]).await;
        let name = sandbox.name("ask-settings");
        kip.ok(&["function", "create", &name, "--code-file", "code.js", "--runtime", "node"]).await;
        let (_child, console) = crate::console::start(&kip).await;
        let path = "/api/v1/settings/ai";
        let url = format!("{}/v1", model.url());
        let wanted = json!({ "provider": "openai", "url": url, "model": "small", "key": KEY });
        let reply = console.send(Method::PUT, path, &wanted).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let shown = console.get(path).await.body;
        let facts = ["provider", "model", "keySet", "canChange"].map(|field| &shown[field]);
        assert_eq!(
            facts,
            [&json!("openai"), &json!("small"), &json!(true), &json!(true)],
            "{shown}"
        );
        // The key stays where it is, and goes nowhere else.
        let kept = json!({ "provider": "openai", "url": url, "model": "large", "key": null });
        assert_eq!(console.send(Method::PUT, path, &kept).await.status, 200);
        let elsewhere =
            json!({ "provider": "openai", "url": "http://127.0.0.1:9", "model": "m", "key": null });
        let refused = console.send(Method::PUT, path, &elsewhere).await;
        assert_eq!(
            (refused.status, &refused.body["problems"][0]["path"]),
            (422, &json!("key")),
            "{refused:?}"
        );

        let ask = ["function", "ask", &name, "Which region is it?"];
        let (end, bearer) = tokio::join!(kip.run(&ask), async {
            let asked = model.asked().await;
            let bearer = asked.header("authorization").to_owned();
            assert_eq!(asked.body["model"], "large");
            asked.json(503, &Words::OpenAi.refusal("overloaded")).await;
            bearer
        });
        assert_eq!(bearer, format!("Bearer {KEY}"));
        assert!(end.code == 1 && !format!("{end:?}").contains(KEY), "{end:?}");

        let reader = Kip::new(&sandbox, &[]).await.with_kubeconfig(&rights::reader(&sandbox).await);
        let (_child, theirs) = crate::console::start(&reader).await;
        let shown = theirs.get(path).await.body;
        assert_eq!(
            (&shown["provider"], &shown["canChange"]),
            (&json!(null), &json!(false)),
            "{shown}"
        );
        assert_eq!(theirs.send(Method::PUT, path, &kept).await.status, 403);
        assert_eq!(
            console.send(Method::DELETE, path, &json!(null)).await.body["provider"],
            json!(null)
        );
        assert!(!console.has_heard(KEY) && !theirs.has_heard(KEY));
    })
    .await;
}
