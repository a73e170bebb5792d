//! What is refused at start, before the first event.

use fred::types::{Resp3Frame, Value};

use super::{
    answer::{array, bytes, number},
    connection::{Connection, Script, invalid},
    keys::Keys,
};
use crate::source::SourceError;

/// The oldest Redis whose scripts may read the clock and write after it.
const MIN_VERSION: u32 = 5;

/// Refuses a server that could lose items, and a user that may not do what is needed.
///
/// `has_replicas`: claims wait for a replica, which is a right of its own.
pub(super) async fn check(
    connection: &Connection,
    keys: &Keys,
    has_replicas: bool,
) -> Result<(), SourceError> {
    let answer = connection.call("INFO", Vec::<Value>::new()).await?;
    let answer = answer.map_err(|words| refusal("INFO", &words))?;
    let info = bytes(answer).unwrap_or_default();
    server(&String::from_utf8_lossy(&info)).map_err(invalid)?;

    if has_replicas {
        let answer = connection.call("WAIT", vec![Value::from(0), Value::from(1)]).await?;
        answer.map_err(|words| refusal("WAIT", &words))?;
    }
    let script = Script::new(include_str!("scripts/check.lua").to_owned());
    let answer = connection.run(&script, keys.with_scratch(), Vec::new()).await;
    let answer = answer.map_err(|error| match error {
        SourceError::Failed(words) => refusal("a script", &words),
        error => error,
    })?;
    let mut parts = array(answer).unwrap_or_default().into_iter();
    let word = |frame: Option<Resp3Frame>| {
        let word = frame.and_then(bytes).unwrap_or_default();
        String::from_utf8_lossy(&word).into_owned()
    };
    match parts.next().as_ref().and_then(number) {
        Some(0) => Ok(()),
        Some(1) => {
            let (key, kind) = (word(parts.next()), word(parts.next()));
            Err(invalid(format!("the key {key:?} already holds a {kind}")))
        }
        Some(2) => {
            let other = word(parts.next());
            Err(invalid(format!("the keys of this list are those of the list {other:?}")))
        }
        Some(3) => {
            let (command, words) = (word(parts.next()), word(parts.next()));
            Err(refusal(&command, &words))
        }
        _ => Err(SourceError::Failed("unexpected answer to the check".to_owned())),
    }
}

/// Why something could not be run: because of the server's users and keys, which stay as they are
/// until somebody changes them, or of the moment.
fn refusal(what: &str, words: &str) -> SourceError {
    let text = format!("{what} is refused: {words}");
    let is_for_the_user =
        ["NOPERM", "WRONGTYPE", "ERR"].iter().any(|prefix| words.starts_with(prefix));
    if is_for_the_user { SourceError::Invalid(text) } else { SourceError::Failed(text) }
}

/// Refuses by what `INFO` says.
fn server(info: &str) -> Result<(), String> {
    let value = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    };
    match value("redis_mode") {
        Some("cluster") => return Err("Redis Cluster is not supported yet".to_owned()),
        Some("sentinel") => {
            let use_it = "redis-sentinel://…?sentinelServiceName=…";
            return Err(format!("the source is a sentinel, to be used as {use_it}"));
        }
        _ => {}
    }
    if value("role") == Some("slave") {
        return Err("the source is a replica: items can be claimed on the master only".to_owned());
    }
    let version = value("redis_version").unwrap_or("0");
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < MIN_VERSION {
        return Err(format!(
            "the source is Redis {version}; {MIN_VERSION} is the oldest that works"
        ));
    }
    match value("maxmemory_policy") {
        Some(policy) if policy != "noeviction" && !policy.starts_with("volatile-") => Err(format!(
            "maxmemory-policy {policy} evicts items that wait: it must be noeviction or volatile-*"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\
                        # Memory\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\n";

    #[test]
    fn a_server_is_refused_for_what_it_says_of_itself() {
        assert_eq!(server(GOOD), Ok(()));
        let check = |from: &str, to: &str, says: &str| {
            let refused = server(&GOOD.replace(from, to)).unwrap_err();
            assert!(refused.contains(says), "{says:?} in {refused:?}");
        };
        check("noeviction", "allkeys-lru", "allkeys-lru");
        check("noeviction", "allkeys-random", "allkeys-random");
        check("standalone", "cluster", "Cluster");
        check("standalone", "sentinel", "redis-sentinel://");
        check("role:master", "role:slave", "replica");
        check("7.0.15", "4.0.9", "4.0.9");
        check("redis_version:7.0.15", "", "Redis 0");
        assert_eq!(server(&GOOD.replace("noeviction", "volatile-ttl")), Ok(()));
    }
}
