//! An event object's JSON: what happened, how often it was tried, and whose it is at the moment.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::escape::escape;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was written, for the first time or over an older one.
    Created,
    /// It was removed.
    Removed,
}

/// How the event was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The service said so.
    Webhook,
    /// Two lists of the bucket differed.
    Diff,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// S3's name of it, such as `s3:ObjectCreated:Put`.
    pub name: String,
    /// Bucket it happened in.
    pub bucket: String,
    /// The object's key, not escaped.
    pub key: String,
    /// Bytes; only of objects that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// ETag without quotes; of a removed object its last one, if it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it happened (RFC 3339); for a removal that a list told, when the list was taken.
    pub time: String,
    /// How it was noticed.
    pub origin: Origin,
}

impl Event {
    /// What the function is sent: the fields MinIO's notifications have, and the same flat.
    pub fn body(&self) -> Vec<u8> {
        let mut object = json!({ "key": escape(&self.key) });
        let mut body = json!({
            "EventName": self.name,
            "Key": format!("{}/{}", self.bucket, self.key),
            "bucket": self.bucket,
            "key": self.key,
            "eventTime": self.time,
            "source": self.origin,
        });
        if let Some(size) = self.size {
            body["size"] = size.into();
            object["size"] = size.into();
        }
        if let Some(etag) = &self.etag {
            body["etag"] = etag.as_str().into();
            object["eTag"] = etag.as_str().into();
        }
        body["Records"] = json!([{
            "eventVersion": "2.0",
            "eventSource": "kipper:s3",
            "eventName": self.name,
            "eventTime": self.time,
            "s3": { "bucket": { "name": self.bucket }, "object": object },
        }]);
        body.to_string().into_bytes()
    }
}

/// Who may work on an event, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A poller; a new one after every start.
    pub owner: String,
    /// Milliseconds since 1970 by the server's clock.
    pub until_ms: u64,
}

/// Why an event is among the dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the last delivery came to.
    pub reason: String,
    /// How many deliveries there were.
    pub attempts: u32,
}

/// An event object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// Deliveries that failed.
    #[serde(default)]
    pub attempts: u32,
    /// Whose it is; nobody's if absent or over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// In a dead letter; one that was moved back has it too and begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// New with every write, because some servers make an ETag of nothing but the content.
    #[serde(default)]
    pub nonce: String,
}

impl Record {
    /// An event nobody has tried yet.
    pub fn new(event: Event) -> Self {
        Self { event, attempts: 0, lease: None, failed: None, nonce: nonce() }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When it is no event.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The object's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys have a form in JSON; nothing here can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// 128 random bits.
pub fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_sent_what_minio_sends_and_the_same_flat() {
        let event = Event {
            name: "s3:ObjectCreated:Put".to_owned(),
            bucket: "photos".to_owned(),
            key: "a b/ä.jpg".to_owned(),
            size: Some(4),
            etag: Some("e1".to_owned()),
            time: "2026-11-26T01:00:00.123Z".to_owned(),
            origin: Origin::Webhook,
        };
        let body: serde_json::Value = serde_json::from_slice(&event.body()).unwrap();
        assert_eq!(body["EventName"], "s3:ObjectCreated:Put");
        assert_eq!(body["Key"], "photos/a b/ä.jpg");
        assert_eq!(body["key"], "a b/ä.jpg");
        assert_eq!(body["source"], "webhook");
        let record = &body["Records"][0];
        assert_eq!(record["s3"]["object"]["key"], "a%20b/%C3%A4.jpg");
        assert_eq!(record["s3"]["object"]["size"], 4);
        assert_eq!(record["s3"]["bucket"]["name"], "photos");
    }

    #[test]
    fn a_record_comes_back() {
        let event = Event {
            name: "s3:ObjectRemoved:Delete".to_owned(),
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            size: None,
            etag: None,
            time: String::new(),
            origin: Origin::Diff,
        };
        let mut record = Record::new(event);
        assert_eq!(Record::parse(&record.to_bytes()).unwrap(), record);
        record.lease = Some(Lease { owner: "me".to_owned(), until_ms: 1 });
        record.failed = Some(Failure { reason: "500".to_owned(), attempts: 10 });
        assert_eq!(Record::parse(&record.to_bytes()).unwrap(), record);
        assert!(Record::parse(b"{}").is_err());
    }
}
