//! What a bucket's server POSTs: every event in it survives being stored.

use kipper_bucket::{Record, escape, unescape};
use kipper_bucket_watcher::fuzzing::events;

/// A notification's body.
pub fn notification(data: &[u8]) {
    for event in events(data).unwrap_or_default() {
        assert_eq!(unescape(&escape(&event.key)).as_deref(), Some(&*event.key));
        serde_json::from_slice::<serde_json::Value>(&event.body()).expect("a body is JSON");
        let stored = Record::new(event.clone()).to_bytes();
        assert_eq!(Record::parse(&stored).expect("a record can be read").event, event);
    }
}
