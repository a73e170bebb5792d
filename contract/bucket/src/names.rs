//! Names of the objects in the state bucket.
//!
//! | prefix | what |
//! |---|---|
//! | `pending/<namespace>/<function>/` | events, claimed in the order of their names |
//! | `failed/<namespace>/<function>/` | dead letters; moved back to `pending/` they are delivered again |
//! | `probe/<namespace>/<function>/` | for a moment while a poller starts |
//! | `state/<namespace>/<function>/` | what the watcher knows of the bucket |
//!
//! An event's name follows from what happened alone. Whoever sees the same upload or removal again,
//! by whatever way, makes the same name, and `If-None-Match` lets only the first be stored.

use ring::digest;

/// Ends every event object's name.
pub const SUFFIX: &str = ".json";

/// Prefix of a function's events.
pub fn pending(namespace: &str, function: &str) -> String {
    format!("pending/{namespace}/{function}/")
}

/// Prefix of a function's dead letters.
pub fn failed(namespace: &str, function: &str) -> String {
    format!("failed/{namespace}/{function}/")
}

/// Prefix of objects that exist for a moment while a poller starts.
pub fn probe(namespace: &str, function: &str) -> String {
    format!("probe/{namespace}/{function}/")
}

/// Prefix of what the watcher keeps of a function's bucket.
pub fn state(namespace: &str, function: &str) -> String {
    format!("state/{namespace}/{function}/")
}

/// Why the watcher cannot watch a function's bucket, for those that only count its events. There only
/// while it is so.
pub fn trouble(namespace: &str, function: &str) -> String {
    format!("{}trouble.txt", state(namespace, function))
}

/// The id of an upload: the same object written at the same moment is the same event.
pub fn created(bucket: &str, key: &str, etag: &str, modified_ms: u64) -> String {
    id(modified_ms, 0, &[bucket, key, etag, "created"])
}

/// The id of the removal of a known object: it happens to each upload at most once. It stands right
/// after the upload's, so that a function sees them in this order.
pub fn removed(bucket: &str, key: &str, etag: &str, modified_ms: u64) -> String {
    id(modified_ms, 1, &[bucket, key, etag, "removed"])
}

/// The id of the removal of an object nobody saw, by its moment.
pub fn removed_unseen(bucket: &str, key: &str, removed_ms: u64) -> String {
    id(removed_ms, 1, &[bucket, key, "", "removed unseen"])
}

/// Ordered by time; the digit orders what happens to one upload.
fn id(time_ms: u64, step: u8, parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // Lengths keep neighbouring parts apart.
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let hash: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{time_ms:015}-{step}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_happened_and_nothing_else() {
        let upload = created("photos", "cat.jpg", "e1", 1_764_118_800_123);
        assert_eq!(upload, created("photos", "cat.jpg", "e1", 1_764_118_800_123));
        assert!(upload.starts_with("001764118800123-0-") && upload.len() == 50, "{upload}");
        let removal = removed("photos", "cat.jpg", "e1", 1_764_118_800_123);
        let again = created("photos", "cat.jpg", "e1", 1_764_118_800_124);
        assert!(upload < removal && removal < again);
        let others = [
            created("photos", "cat.jpg", "e2", 1_764_118_800_123),
            created("photo", "scat.jpg", "e1", 1_764_118_800_123),
            removed_unseen("photos", "cat.jpg", 1_764_118_800_123),
            upload,
            removal,
            again,
        ];
        let distinct: std::collections::HashSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }
}
