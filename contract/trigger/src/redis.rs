//! Names of the keys that a poller keeps beside a list, which KEDA counts too.

/// The key `name` of a list: `{<list>}:kp:<name>`, or `<list>:kp:<name>` where the list has a hash
/// tag. In a cluster all of them have to have the list's slot.
pub fn key(list: &str, name: &str) -> String {
    if has_hash_tag(list) { format!("{list}:kp:{name}") } else { format!("{{{list}}}:kp:{name}") }
}

/// The sorted set of leases: items in the hands of a pod are in the list no more, and here.
pub fn leases(list: &str) -> String {
    key(list, "leases")
}

/// Whether only a part of the key decides on its slot (Redis Cluster specification, "Hash tags").
fn has_hash_tag(key: &str) -> bool {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    tag.is_some_and(|(tag, _)| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::leases;

    #[test]
    fn a_hash_tag_of_the_list_is_kept() {
        for (list, expected) in [
            ("orders", "{orders}:kp:leases"),
            ("{shop}:orders", "{shop}:orders:kp:leases"),
            ("shop{7}:orders", "shop{7}:orders:kp:leases"),
            // Braces around nothing are no such tag.
            ("a{}b", "{a{}b}:kp:leases"),
            ("a{b", "{a{b}:kp:leases"),
            ("a}{b", "{a}{b}:kp:leases"),
            ("", "{}:kp:leases"),
        ] {
            assert_eq!(leases(list), expected);
        }
    }
}
