//! Sessions of the identity provider whose token ends.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::json;

use super::{served, start};
use crate::page::{cookies, is_ada};

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
async fn a_session_that_cannot_be_renewed_ends_with_its_token() {
    for is_away in [false, true] {
        let mut world = start().await;
        world.idp.behave(|ways| {
            ways.refreshes = true;
            ways.lifetime = Duration::from_secs(2);
        });
        let (_, session) = world.login(is_ada).await;
        world.idp.behave(|ways| ways.secret = None);
        if is_away {
            world.idp.down().await;
        }
        let reply = loop {
            let (reply, _) = served(&mut world.api, world.page.get("namespaces", &session)).await;
            if reply.status != 200 {
                break reply;
            }
        };
        let (status, words) = match is_away {
            false => (401, "log in again: the identity provider refused: invalid_client"),
            true => (502, "the identity provider cannot be reached: Connection refused"),
        };
        assert_eq!(reply.status, status, "{reply:?}");
        assert!(reply.body["error"].as_str().unwrap().starts_with(words), "{reply:?}");
        let provider = json!({ "name": "Example Login", "failure": null });
        assert_eq!(reply.body.get("provider"), (!is_away).then_some(&provider));
    }
}
