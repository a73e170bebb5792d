//! Items and lists of any content: nothing in them is ever anything but data.

use kipper_poller::source::Source as _;
use serde_json::{Value, json};

use super::list::{List, claim};
use crate::{function::Function, poller::Poller, wait::until};

/// What one item becomes.
async fn body(list: &List, item: &[u8]) -> Value {
    let source = list.source().await;
    list.push(item).await;
    let events = claim(&source, 10).await;
    assert_eq!(events.len(), 1, "{item:?}");
    let body = serde_json::from_slice(&events[0].body).unwrap();
    let events: Vec<_> = events.into_iter().map(std::sync::Arc::new).collect();
    source.ack(&events, false).await.unwrap();
    list.assert_clean().await;
    body
}

#[tokio::test]
async fn an_item_of_any_bytes_arrives() {
    let list = List::new().await;
    let large = "ä".repeat(500_000);
    let texts = [
        "",
        " ",
        "hello",
        "*3\r\n$7\r\nmessage\r\n",
        "subscribe",
        "message",
        "pmessage",
        "-ERR no error",
        "{{id}}",
        "'; DROP TABLE orders; --",
        "' .. redis.call('FLUSHALL') .. '",
        "]] redis.call('FLUSHALL') --[[",
        "a\0b",
        "\u{1F600}\u{2028}",
        "{\"unclosed\": ",
        "\\u0000",
        &large,
    ];
    for text in texts {
        assert_eq!(body(&list, text.as_bytes()).await, json!({ "data": text }));
    }
    let binary: &[&[u8]] = &[b"\xff", b"\x00\xfe\r\n", &[0x80; 1_000]];
    for item in binary {
        let body = body(&list, item).await;
        assert_eq!(body["encoding"], "base64");
        assert!(body["data"].as_str().unwrap().len() >= item.len());
    }
    for item in ["{}", "[]", "1e400", "\"text\"", "true", r#"{"a":{"b":"\ud800"}}"#] {
        let source = list.source().await;
        list.push(item).await;
        let events = claim(&source, 1).await;
        assert_eq!(events[0].body, item);
        let events: Vec<_> = events.into_iter().map(std::sync::Arc::new).collect();
        source.ack(&events, false).await.unwrap();
    }
}

/// Equal items are events of their own.
#[tokio::test]
async fn equal_items_are_told_apart() {
    let (list, function) = (List::new().await, Function::start().await);
    list.push_all(vec![b"same".to_vec(); 300]).await;
    let poller = Poller::start(&list.flags(&function.url()));
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!((function.count(), function.by_id().len()), (300, 300));
}

#[tokio::test]
async fn a_list_of_any_name_works() {
    let names = [
        "with space",
        "{tagged}:orders",
        "a{}b",
        "{",
        "}{",
        "ä\"'\\$&;|<>*?[a]",
        "line\nbreak\r",
        "nul\0byte",
        "{list}:kp",
        "%s%d",
    ];
    for name in names {
        let list = List::called(name).await;
        let source = list.source().await;
        list.push_all(vec![b"1".to_vec(), b"2".to_vec()]).await;
        let events: Vec<_> = claim(&source, 5).await.into_iter().map(std::sync::Arc::new).collect();
        assert_eq!(events.len(), 2, "{name:?}");
        source.ack(&events[..1], false).await.unwrap();
        source.fail(&events[1], "a reason", 1, false).await.unwrap();
        assert_eq!(list.waiting().await, 0, "{name:?}");
    }
}

/// A dead letter holds the item's very bytes, as a redrive needs them.
#[tokio::test]
async fn a_dead_letter_keeps_every_byte() {
    let list = List::new().await;
    let source = list.source().await;
    let item: Vec<u8> = (0..=255).chain(*b"/\\\"\r\n").collect();
    list.push(item.clone()).await;
    let events = claim(&source, 1).await;
    source.fail(&events[0], "400: \"no\"\n", 1, false).await.unwrap();
    let decode = "return cjson.decode(redis.call('LINDEX', KEYS[1], 0)).item";
    let back: bytes::Bytes = list.ask(&["EVAL", decode, "1", &list.key("dead")]).await;
    assert_eq!(back, item);
}
