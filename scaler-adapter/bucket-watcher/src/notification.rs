//! What a service POSTs when something happened in a bucket, read into a [`Notification`].
//!
//! Pure. The format is MinIO's, which is S3's event message (version 2.x): `Records`, each with the
//! event's name, the bucket and the object, whose key is escaped as in a query string.

use std::time::UNIX_EPOCH;

use kipper_bucket::{Event, Origin, bounded_ms, rfc3339, unescape};
use serde::Deserialize;

use crate::inventory::{Notice, Version};

/// One notification that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) event: Event,
    pub(crate) notice: Notice,
}

/// Why a body is not a notification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotificationError {
    #[error("not a notification: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a notification's {0} cannot be read")]
    Field(&'static str),
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Records")]
    records: Vec<MessageRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageRecord {
    event_name: String,
    #[serde(default)]
    event_time: String,
    s3: Subject,
}

#[derive(Deserialize)]
struct Subject {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "eTag")]
    etag: Option<String>,
    /// The moment of the write or removal in nanoseconds, in hexadecimal.
    #[serde(default)]
    sequencer: Option<String>,
}

/// Reads a body. What concerns neither a written nor a removed object is left out.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<Notification>, NotificationError> {
    let message: Message = serde_json::from_slice(body)?;
    let read = message.records.into_iter().filter_map(|record| read(record).transpose());
    read.collect()
}

fn read(record: MessageRecord) -> Result<Option<Notification>, NotificationError> {
    let MessageRecord { event_name, event_time, s3: Subject { bucket, object } } = record;
    let kind = event_name.strip_prefix("s3:").unwrap_or(&event_name);
    let is_created = kind.starts_with("ObjectCreated:");
    // A removal of what was not there is none.
    if !is_created && (!kind.starts_with("ObjectRemoved:") || kind.ends_with(":NoOP")) {
        return Ok(None);
    }
    let key = unescape(&object.key).ok_or(NotificationError::Field("key"))?;
    let time_ms = match object.sequencer.as_deref().map(|text| u64::from_str_radix(text, 16)) {
        Some(Ok(nanoseconds)) => bounded_ms(nanoseconds / 1_000_000),
        Some(Err(_)) => return Err(NotificationError::Field("sequencer")),
        None => millis(&event_time).map(bounded_ms).ok_or(NotificationError::Field("eventTime"))?,
    };
    let notice = if is_created {
        let etag = object.etag.as_deref().ok_or(NotificationError::Field("eTag"))?;
        let etag = etag.trim_matches('"').to_owned();
        Notice::Created { key: key.clone(), version: Version { etag, modified_ms: time_ms } }
    } else {
        Notice::Removed { key: key.clone(), removed_ms: time_ms }
    };
    let event = Event {
        name: format!("s3:{kind}"),
        bucket: bucket.name,
        key,
        size: object.size.filter(|_| is_created),
        etag: object.etag.filter(|_| is_created).map(|etag| etag.trim_matches('"').to_owned()),
        time: rfc3339(time_ms),
        origin: Origin::Webhook,
    };
    Ok(Some(Notification { event, notice }))
}

fn millis(time: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn body(name: &str, object: &str) -> Vec<u8> {
        format!(
            r#"{{"EventName":"{name}","Key":"photos/x","Records":[{{"eventVersion":"2.0",
            "eventName":"{name}","eventTime":"2026-11-26T01:00:00.123Z",
            "s3":{{"bucket":{{"name":"photos"}},"object":{object}}}}}]}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_written_object_is_read_with_its_moment_and_its_key() {
        let object =
            r#"{"key":"a+b%2Fc%25%C3%A4","size":4,"eTag":"e1","sequencer":"187B5E6C5B2A8C15"}"#;
        let found = parse(&body("s3:ObjectCreated:Put", object)).unwrap();
        let [Notification { event, notice }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*event.key, &*event.bucket, event.size), ("a b/c%ä", "photos", Some(4)));
        let modified_ms = 0x187B_5E6C_5B2A_8C15 / 1_000_000;
        let version = Version { etag: "e1".to_owned(), modified_ms };
        assert_eq!(*notice, Notice::Created { key: "a b/c%ä".to_owned(), version });
    }

    #[test]
    fn a_removed_object_has_neither_size_nor_etag() {
        let found = parse(&body("ObjectRemoved:Delete", r#"{"key":"k"}"#)).unwrap();
        let [Notification { event, notice }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*event.name, event.size), ("s3:ObjectRemoved:Delete", None));
        let removed_ms = millis("2026-11-26T01:00:00.123Z").unwrap();
        assert_eq!(*notice, Notice::Removed { key: "k".to_owned(), removed_ms });
        assert_eq!(event.time, "2026-11-26T01:00:00.123Z");
    }

    #[test]
    fn what_changed_nothing_is_left_out_and_what_is_none_is_refused() {
        for name in ["s3:ObjectRemoved:NoOP", "s3:ObjectAccessed:Get", "s3:BucketCreated"] {
            assert_eq!(parse(&body(name, r#"{"key":""}"#)).unwrap(), []);
        }
        for object in [
            r#"{"key":"%zz","eTag":"e"}"#,
            r#"{"key":"k"}"#,
            r#"{"key":"k","eTag":"e","sequencer":"now"}"#,
        ] {
            assert!(parse(&body("s3:ObjectCreated:Put", object)).is_err(), "{object}");
        }
        assert!(parse(b"{}").is_err());
    }
}
