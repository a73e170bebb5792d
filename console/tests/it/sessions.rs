//! Users log in with tokens, which the API server judges.

use http::{Method, header::SET_COOKIE};
use kipper_api_server::ApiServer;
use kipper_console_contract::Reply;
use serde_json::{Value, json};

use crate::page::{Page, URL, cookies, is_ada, is_nobody, reviewed};

const NAMESPACES: &str = "/api/v1/namespaces";

async fn start() -> (ApiServer, Page) {
    let api = ApiServer::start().await;
    let page = Page::start(&api, None).await;
    (api, page)
}

#[track_caller]
fn assert_unauthenticated(reply: &Reply) {
    let found = (reply.status, &reply.body["reason"], &reply.body["login"]);
    assert_eq!(found, (401, &json!("unauthenticated"), &json!("token")), "{:?}", reply.body);
}

#[tokio::test]
async fn a_user_acts_with_the_token_of_the_session_and_with_no_other() {
    let (mut api, page) = start().await;
    let login = page.login(&mut api, "ada-token", is_ada).await;
    assert_eq!((login.status, &login.body), (204, &Value::Null));
    let cookies = cookies(&login.headers);
    assert!(cookies.starts_with("__Host-kipper-session=") && !cookies.contains("ada-token"));

    // The token counts for a while: what is asked next is what the page wants.
    let (reply, ()) = tokio::join!(page.get("namespaces", &cookies), async {
        let asked = api.asked().await;
        assert_eq!(
            (asked.path.as_str(), asked.authorization.as_str()),
            (NAMESPACES, "Bearer ada-token")
        );
        let items = r#"[{"metadata":{"name":"shop"}}]"#;
        asked.answer(200, &format!(r#"{{"metadata":{{}},"items":{items}}}"#));
    });
    assert_eq!((reply.status, &reply.body), (200, &json!({ "items": ["shop"] })));
    assert!(!page.console.has_heard("ada-token"));
}

#[tokio::test]
async fn without_a_session_nothing_is_asked_of_the_cluster() {
    let (mut api, page) = start().await;
    // An `Authorization` header, as the page of one machine sends it, is no session either.
    for path in ["me", "meta", "namespaces", "ns/shop/functions", "stream?ns=shop"] {
        assert_unauthenticated(&page.get(path, "").await);
        assert_unauthenticated(&page.get(path, "__Host-kipper-session=AAAA").await);
    }
    for token in ["", " ", &"t".repeat(9000)] {
        let reply = page.send(Method::POST, "session", "", json!({ "token": token })).await;
        assert_eq!((reply.status, &reply.body["problems"][0]["path"]), (422, &json!("token")));
    }
    let reply = page.send(Method::POST, "session", "", json!({ "token": "a\nb" })).await;
    assert_unauthenticated(&reply);
    // The first that the API server hears of is a token.
    let login = page.login(&mut api, "ada-token", is_ada).await;
    assert_eq!(login.status, 204);
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused_and_a_cluster_that_is_away_is_told() {
    let (mut api, page) = start().await;
    let reply = page.login(&mut api, "foreign", is_nobody).await;
    assert_unauthenticated(&reply);
    assert!(cookies(&reply.headers).is_empty());
    api.down().await;
    drop(api);
    let reply = page.send(Method::POST, "session", "", json!({ "token": "ada-token" })).await;
    assert_eq!((reply.status, &reply.body["reason"]), (502, &json!("unreachable")));
}

#[tokio::test]
async fn a_token_that_loses_its_rights_in_a_session_is_told_by_the_next_call() {
    let (mut api, page) = start().await;
    let cookies = cookies(&page.login(&mut api, "ada-token", is_ada).await.headers);
    let refused = async |api: &mut ApiServer, code: u16, message: &str| {
        let status =
            json!({ "kind": "Status", "status": "Failure", "code": code, "message": message });
        api.asked().await.answer(code, &status.to_string());
    };
    let list = || page.get("ns/shop/functions", &cookies);
    let (reply, ()) = tokio::join!(list(), refused(&mut api, 403, "ada cannot list functions"));
    assert_eq!((reply.status, &reply.body["reason"]), (403, &json!("forbidden")));
    assert!(reply.body["error"].as_str().unwrap().contains("ada cannot list functions"));
    let (reply, ()) = tokio::join!(list(), refused(&mut api, 401, "Unauthorized"));
    // The session has ended with that, and says how another one begins.
    assert_unauthenticated(&reply);
    let (reply, ()) = tokio::join!(list(), reviewed(&mut api, "ada-token", is_nobody));
    assert_unauthenticated(&reply);
}

#[tokio::test]
async fn a_session_that_was_ended_is_judged_anew_if_it_comes_back() {
    let (mut api, page) = start().await;
    let session = cookies(&page.login(&mut api, "ada-token", is_ada).await.headers);
    let logout = page.send(Method::DELETE, "session", &session, Value::Null).await;
    assert_eq!(logout.status, 204);
    assert!(logout.headers.get_all(SET_COOKIE).iter().count() > 0);
    assert!(cookies(&logout.headers).is_empty());
    let (reply, ()) =
        tokio::join!(page.get("me", &session), reviewed(&mut api, "ada-token", is_nobody));
    assert_unauthenticated(&reply);
}

#[tokio::test]
async fn a_sibling_host_can_neither_log_in_nor_write() {
    let (_api, page) = start().await;
    let body = || json!({ "token": "t" }).to_string().into();
    for (name, value) in [
        ("origin", "https://fn-evil.example"),
        ("sec-fetch-site", "same-site"),
        ("kipper-console", "0"),
    ] {
        let mut headers = page.console.headers();
        headers.insert("origin", URL.parse().unwrap());
        headers.insert(name, value.parse().unwrap());
        let path = "/api/v1/session";
        let reply = page.console.raw(URL, Method::POST, path, headers, body()).await;
        assert_eq!((reply.status, &reply.body["reason"]), (403, &json!("origin")), "{name}");
    }
    let host = "https://fn-evil.example";
    let headers = page.console.headers();
    let reply = page.console.raw(host, Method::GET, "/api/v1/me", headers, Vec::new().into()).await;
    assert_eq!(reply.status, 403);
}
