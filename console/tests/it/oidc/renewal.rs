//! Sessions of the identity provider whose token ends.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Method;
use serde_json::{Value, json};

use super::{served, start};
use crate::{
    page::{REVIEWS, cookies, is_ada},
    provider::Fault,
};

#[tokio::test]
async fn a_token_that_ends_is_renewed_once_for_all_requests_of_a_page() {
    let mut world = start().await;
    world.idp.behave(|ways| {
        ways.refreshes = true;
        ways.lifetime = Duration::from_secs(20);
    });
    let (_, before) = world.login(is_ada).await;
    world.idp.behave(|ways| ways.lifetime = Duration::from_mins(5));
    let requests: FuturesUnordered<_> =
        (0..10).map(|_| world.page.get("namespaces", &before)).collect();
    let (replies, tokens) = served(&mut world.api, requests.collect::<Vec<_>>()).await;
    let exchanges = world.idp.heard().iter().filter(|line| line.contains("=refresh_token")).count();
    assert_eq!(exchanges, 1);
    let given = world.idp.given();
    let id = |at: usize| given.iter().filter(|token| token.contains("canary-id")).nth(at).unwrap();
    assert_eq!(tokens, HashSet::from([id(1).clone()]));
    for reply in &replies {
        assert_eq!(reply.status, 200);
        assert!(cookies(&reply.headers).starts_with("__Host-kipper-session="), "{reply:?}");
    }

    // The next request has the new session, or comes late with the one from before.
    let after = cookies(&replies[0].headers);
    for session in [&after, &before] {
        let (reply, tokens) = served(&mut world.api, world.page.get("namespaces", session)).await;
        assert_eq!((reply.status, tokens), (200, HashSet::from([id(1).clone()])));
    }
    let exchanges = world.idp.heard().iter().filter(|line| line.contains("=refresh_token")).count();
    assert_eq!(exchanges, 1);
    // Without the need, a session stays as it is.
    let (reply, _) = served(&mut world.api, world.page.get("namespaces", &after)).await;
    assert_eq!(cookies(&reply.headers), "");
}

#[tokio::test]
async fn a_session_whose_token_is_not_renewed_goes_on_until_its_end() {
    let mut world = start().await;
    world.idp.behave(|ways| {
        ways.refreshes = true;
        ways.lifetime = Duration::from_secs(25);
    });
    let (_, session) = world.login(is_ada).await;
    world.idp.behave(|ways| ways.secret = None);
    let (reply, tokens) = served(&mut world.api, world.page.get("namespaces", &session)).await;
    assert_eq!((reply.status, cookies(&reply.headers).as_str()), (200, ""));
    assert_eq!(tokens, HashSet::from([world.idp.given()[0].clone()]));
}

#[tokio::test]
async fn an_answer_that_began_before_a_logout_brings_no_session_back() {
    // The page logs out with the session from before the renewal, or with the one after it.
    for has_next in [false, true] {
        let mut world = start().await;
        world.idp.behave(|ways| {
            ways.refreshes = true;
            ways.lifetime = Duration::from_secs(20);
        });
        let (_, before) = world.login(is_ada).await;
        world.idp.behave(|ways| ways.lifetime = Duration::from_mins(5));
        let mut last = before.clone();
        if has_next {
            let (reply, _) = served(&mut world.api, world.page.get("namespaces", &before)).await;
            last = cookies(&reply.headers);
            assert!(last.starts_with("__Host-kipper-session="), "{reply:?}");
        }
        let (reply, ()) = tokio::join!(world.page.get("namespaces", &before), async {
            let mut asked = world.api.asked().await;
            if asked.path == REVIEWS {
                is_ada(asked);
                asked = world.api.asked().await;
            }
            let logout = world.page.send(Method::DELETE, "session", &last, Value::Null).await;
            assert_eq!(logout.status, 204);
            asked.answer(200, r#"{"metadata":{},"items":[]}"#);
        });
        assert_eq!((reply.status, cookies(&reply.headers).as_str()), (200, ""), "{has_next}");
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_renewed_ends_with_its_token_where_the_provider_says_so() {
    let away = "the identity provider cannot be reached: ";
    for (fault, status, words) in [
        ("secret", 401, "log in again: the identity provider refused: invalid_client".to_owned()),
        ("down", 502, format!("{away}Connection refused")),
        ("busy", 502, format!("{away}it answers with status 503 Service Unavailable")),
    ] {
        let mut world = start().await;
        world.idp.behave(|ways| {
            ways.refreshes = true;
            ways.lifetime = Duration::from_secs(2);
        });
        let (_, session) = world.login(is_ada).await;
        match fault {
            "down" => world.idp.down().await,
            "busy" => world.idp.behave(|ways| {
                ways.faults.insert("/token", Fault::Answer(503, String::new()));
            }),
            _ => world.idp.behave(|ways| ways.secret = None),
        }
        let reply = loop {
            let (reply, _) = served(&mut world.api, world.page.get("namespaces", &session)).await;
            if reply.status != 200 {
                break reply;
            }
        };
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.body["error"].as_str().unwrap().starts_with(&words), "{reply:?}");
        let provider = json!({ "name": "Example Login", "failure": null });
        assert_eq!(reply.body.get("provider"), (status == 401).then_some(&provider));
    }
}
