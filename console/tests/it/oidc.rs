//! Users log in by OpenID Connect; the API server judges the ID token.

mod renewal;

use std::{collections::HashSet, io, sync::Once, time::Duration};

use http::{Method, header::SET_COOKIE};
use kipper_api_server::{ApiServer, Asked};
use kipper_console_contract::Reply;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    page::{Page, REVIEWS, cookies, is_ada, is_nobody},
    provider::{Fault, Idp, SECRET},
};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const BACK: &str = "/ns/shop/functions/hello#trigger";

struct World {
    api: ApiServer,
    idp: Idp,
    page: Page,
}

async fn start() -> World {
    listen_to_the_log();
    let (api, idp) = (ApiServer::start().await, Idp::start().await);
    let page = Page::start(&api, Some(idp.client(&["--oidc-name", "Example Login"]))).await;
    World { api, idp, page }
}

fn location(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{reply:?}");
    assert_eq!(reply.headers["cache-control"], "no-store");
    reply.headers["location"].to_str().unwrap().to_owned()
}

fn status(code: u16) -> String {
    json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" }).to_string()
}

impl World {
    /// Leads a browser to the provider: the URL there, and the browser's cookies.
    async fn begin(&self, to: &str) -> (String, String) {
        let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let reply = self.page.visit(&format!("/login/oidc?to={to}"), "").await;
        (location(&reply), cookies(&reply.headers))
    }

    /// Leads it there and back: where it is then, and its cookies. `judge` answers the API server's
    /// review.
    async fn login(&mut self, judge: fn(Asked)) -> (String, String) {
        let (url, begun) = self.begin(BACK).await;
        let path = self.idp.authorize(&url);
        let (reply, ()) = tokio::join!(self.page.visit(&path, &begun), async {
            let asked = self.api.asked().await;
            assert_eq!(asked.path, REVIEWS);
            judge(asked);
        });
        (location(&reply), cookies(&reply.headers))
    }

    /// Comes back from the provider by this path: why there is no session, as the page gets to know it.
    async fn refused(&self, path: &str, begun: &str) -> String {
        let reply = self.page.visit(path, begun).await;
        let cookies = cookies(&reply.headers);
        assert!(cookies.starts_with("__Host-kipper-login="), "{cookies}");
        assert!(location(&reply) == BACK || location(&reply) == "/", "{reply:?}");
        self.failure(&cookies).await
    }

    async fn failure(&self, cookies: &str) -> String {
        let reply = self.page.get("me", cookies).await;
        assert_eq!((reply.status, &reply.body["login"]), (401, &json!("token")), "{reply:?}");
        assert_eq!(reply.body["provider"]["name"], "Example Login");
        reply.body["provider"]["failure"].as_str().expect("a failure").to_owned()
    }

    /// A login that is refused while the provider behaves like this.
    async fn refused_with(&self, change: impl FnOnce(&mut crate::provider::Ways)) -> String {
        self.idp.behave(change);
        let (url, begun) = self.begin(BACK).await;
        let path = self.idp.authorize(&url);
        let why = self.refused(&path, &begun).await;
        self.idp.behave(|ways| *ways = crate::provider::Ways::default());
        why
    }
}

/// Answers the API server's requests until the work is done: whose tokens they had.
async fn served<T>(api: &mut ApiServer, work: impl Future<Output = T>) -> (T, HashSet<String>) {
    let mut tokens = HashSet::new();
    let mut work = std::pin::pin!(work);
    loop {
        let asked = tokio::select! {
            done = &mut work => return (done, tokens),
            asked = api.asked() => asked,
        };
        tokens.insert(asked.authorization.trim_start_matches("Bearer ").to_owned());
        if asked.path == REVIEWS {
            is_ada(asked);
        } else {
            asked.answer(200, r#"{"metadata":{},"items":[]}"#);
        }
    }
}

#[tokio::test]
async fn a_user_logs_in_at_the_provider_and_acts_with_the_id_token() {
    let mut world = start().await;
    // What the page knows before.
    let reply = world.page.get("me", "").await;
    assert_eq!(reply.body["provider"], json!({ "name": "Example Login", "failure": null }));

    let (at, cookies) = world.login(is_ada).await;
    assert_eq!(at, BACK);
    assert!(cookies.starts_with("__Host-kipper-session="), "{cookies}");
    assert!(!cookies.contains("__Host-kipper-login"), "{cookies}");
    let (reply, tokens) = served(&mut world.api, world.page.get("namespaces", &cookies)).await;
    assert_eq!((reply.status, &reply.body), (200, &json!({ "items": [] })));
    assert_eq!(tokens, HashSet::from([world.idp.given()[0].clone()]));
    let logout = world.page.send(Method::DELETE, "session", &cookies, Value::Null).await;
    assert_eq!((logout.status, crate::page::cookies(&logout.headers).as_str()), (204, ""));
}

#[tokio::test]
async fn a_client_may_be_public_or_prove_itself_in_the_body() {
    let mut world = start().await;
    let post = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
    world.idp.behave(|ways| ways.metadata = post);
    assert_eq!(world.login(is_ada).await.0, BACK);
    let asked = world.idp.heard().pop().unwrap();
    assert!(asked.starts_with("POST /token ") && asked.contains("client_secret="), "{asked}");

    world.idp.behave(|ways| ways.secret = None);
    world.page = Page::start(&world.api, Some(world.idp.public_client())).await;
    assert_eq!(world.login(is_ada).await.0, BACK);
}

#[tokio::test]
async fn only_the_browser_that_began_a_login_finishes_it_and_only_once() {
    let mut world = start().await;
    let (url, begun) = world.begin(BACK).await;
    let path = world.idp.authorize(&url);
    let stale =
        "the login took longer than 10 minutes, or was started again in another tab; log in again";
    // Another browser: of nobody, or with a login of its own (an attacker's code, or another tab's), which
    // goes on.
    assert_eq!(world.refused(&path, "").await, stale);
    let (other_url, other) = world.begin("/").await;
    let reply = world.page.visit(&path, &other).await;
    assert_eq!(location(&reply), "/");
    assert!(!reply.headers.contains_key(SET_COOKIE), "{reply:?}");
    // A code that was got for another login does not fit this one's verifier.
    let foreign = world.idp.authorize(&other_url);
    let code = foreign.split('&').next().unwrap();
    let (_, state) = path.split_once('&').unwrap();
    let why = world.refused(&format!("{code}&{state}"), &begun).await;
    assert_eq!(why, "the identity provider refused: invalid_grant");

    let review = async { is_ada(world.api.asked().await) };
    let (reply, ()) = tokio::join!(world.page.visit(&path, &begun), review);
    assert_eq!(location(&reply), BACK);
    assert!(cookies(&reply.headers).starts_with("__Host-kipper-session="));
    // The code is used up, and the browser has forgotten the login.
    let ended = reply.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
    assert!(ended.into_iter().any(|set| set.starts_with("__Host-kipper-login=; Max-Age=0")));
    let why = world.refused(&path, &begun).await;
    assert_eq!(why, "the identity provider refused: invalid_grant");
}

#[tokio::test]
async fn what_the_provider_says_is_told_in_words() {
    let world = start().await;
    let (url, begun) = world.begin(BACK).await;
    let path = world.idp.authorize(&url);
    let state = path.split('&').find(|part| part.starts_with("state=")).unwrap();
    let with = |rest: &str| format!("/login/callback?{state}&{rest}");
    for (path, expected) in [
        (
            with("error=access_denied&error_description=Ada+said+no"),
            "the identity provider refused: access_denied (Ada said no)",
        ),
        (with("session_state=a"), "the identity provider's answer cannot be used: it has no code"),
        (
            with("code=a&iss=https://evil.example"),
            "the identity provider's answer cannot be used: it does not name its issuer (RFC 9207)",
        ),
        // Of another one not even the refusal is believed.
        (
            with("error=access_denied&iss=https://evil.example"),
            "the identity provider's answer cannot be used: it does not name its issuer (RFC 9207)",
        ),
    ] {
        assert_eq!(world.refused(&path, &begun).await, expected, "{path}");
    }
    // A login that is begun again is not a failed one.
    let (_, begun) = world.begin(BACK).await;
    let reply = world.page.get("me", &begun).await;
    assert_eq!(reply.body["provider"]["failure"], Value::Null);
}

#[tokio::test]
async fn an_answer_names_its_issuer_where_the_provider_says_that_it_does() {
    let world = start().await;
    let names = json!({ "authorization_response_iss_parameter_supported": true });
    world.idp.behave(|ways| ways.metadata = names);
    let (url, begun) = world.begin(BACK).await;
    let path = world.idp.authorize(&url);
    let why = world.refused(&path, &begun).await;
    assert!(why.ends_with("it does not name its issuer (RFC 9207)"), "{why}");
    let mut world = world;
    let path = format!("{path}&iss={}", world.idp.issuer());
    let review = async { is_ada(world.api.asked().await) };
    let (reply, ()) = tokio::join!(world.page.visit(&path, &begun), review);
    assert!(cookies(&reply.headers).starts_with("__Host-kipper-session="));
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_login_is_not_taken() {
    let world = start().await;
    let of = async |claims: Value| world.refused_with(|ways| ways.claims = claims).await;
    let cannot = "the identity provider's ID token cannot be used: ";
    for (claims, expected) in [
        (json!({ "iss": "https://other.example" }), "its issuer is \"https://other.example\""),
        (json!({ "aud": "other" }), "it is not meant for the client ID of this console"),
        (json!({ "nonce": "other" }), "it belongs to another login"),
        (json!({ "exp": 1 }), "it has expired"),
    ] {
        assert_eq!(of(claims).await, format!("{cannot}{expected}"));
    }
    let token = |token: Value| token.to_string();
    let answer = async |body: String| {
        let fault = Fault::Answer(200, body);
        world.refused_with(|ways| drop(ways.faults.insert("/token", fault))).await
    };
    let without = token(json!({ "access_token": "a", "token_type": "Bearer" }));
    assert_eq!(answer(without).await, format!("{cannot}the provider sent none"));
    let no_token = json!({ "access_token": "a", "token_type": "Bearer", "id_token": "a.b.c" });
    assert_eq!(answer(token(no_token)).await, format!("{cannot}it cannot be read"));
    let why = world.refused_with(|ways| ways.claims = json!({ "groups": "g".repeat(8192) })).await;
    assert!(why.ends_with("characters, and at most 8192 are possible"), "{why}");
}

#[tokio::test]
async fn a_provider_that_answers_nonsense_too_much_or_elsewhere_is_told() {
    let world = start().await;
    let fault = async |fault: Fault| {
        world.refused_with(|ways| drop(ways.faults.insert("/token", fault))).await
    };
    let used = "the identity provider's answer cannot be used: ";
    assert!(fault(Fault::Answer(200, "<html>".to_owned())).await.starts_with(used));
    assert!(fault(Fault::Answer(500, String::new())).await.starts_with(used));
    assert!(fault(Fault::Redirect("https://evil.example/token")).await.starts_with(used));
    let why = fault(Fault::Answer(200, " ".repeat((64 << 10) + 1))).await;
    assert_eq!(why, format!("{used}it is longer than 64 KiB"));
    for (status, words) in
        [(502, "502 Bad Gateway"), (503, "503 Service Unavailable"), (504, "504 Gateway Timeout")]
    {
        let why = fault(Fault::Answer(status, "<html>".to_owned())).await;
        let expected =
            format!("the identity provider cannot be reached: it answers with status {words}");
        assert_eq!(why, expected);
    }
    let error = json!({ "error": "invalid_client", "error_description": "no\u{1b}[2J" });
    let why = fault(Fault::Answer(401, error.to_string())).await;
    assert_eq!(why, "the identity provider refused: invalid_client (no[2J)");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_the_provider() {
    let mut world = start().await;
    let client = world.idp.client_with("wrong", &["--oidc-name", "Example Login"]);
    world.page = Page::start(&world.api, Some(client)).await;
    let (url, begun) = world.begin(BACK).await;
    let why = world.refused(&world.idp.authorize(&url), &begun).await;
    assert_eq!(why, "the identity provider refused: invalid_client");
}

#[tokio::test]
async fn a_provider_that_is_away_at_first_is_asked_again() {
    let mut world = start().await;
    for (fault, expected) in [
        (
            Fault::Answer(503, String::new()),
            "cannot be reached: it answers with status 503 Service Unavailable",
        ),
        (Fault::Redirect("https://evil.example"), "has status 302 Found"),
    ] {
        world.idp.behave(|ways| drop(ways.faults.insert(DISCOVERY, fault)));
        // Of a console that has just started: a failure is remembered for a while.
        let client = world.idp.client(&["--oidc-name", "Example Login"]);
        world.page = Page::start(&world.api, Some(client)).await;
        let (at, cookies) = world.begin("/").await;
        assert_eq!(at, "/");
        let why = world.failure(&cookies).await;
        assert!(why.ends_with(expected), "{why}");
    }
    let asked = world.idp.heard().len();
    assert_eq!(world.begin("/").await.0, "/");
    assert_eq!(world.idp.heard().len(), asked, "a failure is remembered for a while");

    world.idp.behave(|ways| ways.faults.clear());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    assert_eq!(world.login(is_ada).await.0, BACK);
    // And what it said counts for the next user.
    assert_eq!(world.login(is_ada).await.0, BACK);
    let heard = world.idp.heard();
    let discoveries = heard.iter().filter(|line| line.starts_with(&format!("GET {DISCOVERY}")));
    assert_eq!(discoveries.count(), asked + 1);
}

#[tokio::test]
async fn a_provider_that_nobody_can_trust_or_that_says_nothing_is_told() {
    let world = start().await;
    world.idp.behave(|ways| drop(ways.faults.insert(DISCOVERY, Fault::Silence)));
    let silent = async {
        world.idp.silent().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::time::resume();
    };
    let ((at, cookies), ()) = tokio::join!(world.begin("/"), silent);
    assert_eq!(at, "/");
    let why = world.failure(&cookies).await;
    assert_eq!(why, "the identity provider cannot be reached: no answer within 10 s");

    // Of another authority.
    let (api, idp, other) = (ApiServer::start().await, Idp::start().await, Idp::start().await);
    idp.mistake_for(&other);
    let page = Page::start(&api, Some(idp.client(&["--oidc-name", "Example Login"]))).await;
    let world = World { api, idp, page };
    let (_, cookies) = world.begin("/").await;
    let why = world.failure(&cookies).await;
    assert!(why.contains("cannot be reached: invalid peer certificate"), "{why}");
    assert!(world.idp.heard().is_empty());
}

#[tokio::test]
async fn a_token_that_the_cluster_does_not_take_names_the_user_it_would_be() {
    let mut world = start().await;
    let (at, cookies) = world.login(is_nobody).await;
    assert_eq!(at, BACK);
    let issuer = world.idp.issuer();
    let expected = format!(
        "the cluster does not accept the ID token (sub \"1234\", email \"ada@example.com\"): its API \
         server has to trust issuer {issuer} and audience \"kipper-console\", and to take the user's name \
         from a claim that the token has"
    );
    assert_eq!(world.failure(&cookies).await, expected);
    let (_, cookies) = world.login(|asked| asked.answer(500, &status(500))).await;
    assert!(!world.failure(&cookies).await.contains("does not accept"));
    // A token of the cluster is taken as ever, and the failure is over.
    let login = world.page.login(&mut world.api, "ada-token", is_ada).await;
    assert_eq!(login.status, 204);
}

#[tokio::test]
async fn a_browser_is_led_to_paths_of_the_page_alone() {
    let mut world = start().await;
    for to in ["https://evil.example", "//evil.example", "/\\evil.example", "/api/v1/me", ""] {
        let (url, begun) = world.begin(to).await;
        let path = world.idp.authorize(&url);
        let review = async { is_ada(world.api.asked().await) };
        let (reply, ()) = tokio::join!(world.page.visit(&path, &begun), review);
        assert_eq!(location(&reply), "/", "{to}");
    }
}

#[tokio::test]
async fn without_a_provider_there_is_only_the_token() {
    let api = ApiServer::start().await;
    let page = Page::start(&api, None).await;
    for path in ["/login/oidc", "/login/callback?code=a&state=b"] {
        let reply = page.visit(path, "").await;
        assert_eq!((reply.status, &reply.body["reason"]), (501, &json!("unsupported")));
    }
    assert_eq!(page.get("me", "").await.body.get("provider"), None);
}

/// What all tests write to the log, whatever its level.
#[derive(Clone)]
struct Log;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listen_to_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        log.with_writer(|| Log).init();
    });
}

#[tokio::test]
async fn tokens_and_secrets_are_in_no_log_and_no_url() {
    let mut world = start().await;
    world.idp.behave(|ways| {
        ways.refreshes = true;
        ways.lifetime = Duration::from_secs(20);
    });
    let (_, session) = world.login(is_ada).await;
    let (reply, _) = served(&mut world.api, world.page.get("namespaces", &session)).await;
    assert_eq!(reply.status, 200);
    world.idp.behave(|ways| ways.secret = None);
    world.login_fails().await;
    let (reply, _) = served(&mut world.api, world.page.get("namespaces", &session)).await;
    assert_eq!(reply.status, 200);

    let log = String::from_utf8(LOG.lock().clone()).unwrap();
    assert!(log.contains("a session's token was not renewed"), "the log is listened to");
    let heard = world.idp.heard();
    let urls: Vec<&str> = heard.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    let given = world.idp.given();
    assert!(given.len() >= 6, "{given:?}");
    for canary in given.iter().map(String::as_str).chain([SECRET, "s3cret"]) {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!urls.iter().any(|url| url.contains(canary)), "{canary} is in a URL");
        assert!(!world.page.console.has_heard(canary), "{canary} left the console");
    }
}

impl World {
    async fn login_fails(&self) {
        let (url, begun) = self.begin(BACK).await;
        let why = self.refused(&self.idp.authorize(&url), &begun).await;
        assert_eq!(why, "the identity provider refused: invalid_client");
    }
}
